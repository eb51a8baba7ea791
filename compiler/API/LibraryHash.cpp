// The build id of the shared object or program that this code is part of.
#include "compiler/API/Compiler.h"

#include <cstring>
#include <link.h>

static int visit(dl_phdr_info *info, size_t, void *out) {
  auto here = reinterpret_cast<ElfW(Addr)>(&visit);
  bool mine = false;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const auto &header = info->dlpi_phdr[i];
    ElfW(Addr) start = info->dlpi_addr + header.p_vaddr;
    mine |= header.p_type == PT_LOAD && here >= start && here < start + header.p_memsz;
  }
  if (!mine)
    return 0;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const auto &header = info->dlpi_phdr[i];
    if (header.p_type != PT_NOTE)
      continue;
    const char *at = reinterpret_cast<const char *>(info->dlpi_addr + header.p_vaddr), *end = at + header.p_memsz;
    while (at + sizeof(ElfW(Nhdr)) <= end) {
      const auto *note = reinterpret_cast<const ElfW(Nhdr) *>(at);
      const char *name = at + sizeof(*note), *data = name + ((note->n_namesz + 3) & ~3u);
      if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 && std::memcmp(name, "GNU", 4) == 0) {
        for (unsigned j = 0; j < note->n_descsz; ++j) {
          static_cast<std::string *>(out)->push_back("0123456789abcdef"[(data[j] >> 4) & 15]);
          static_cast<std::string *>(out)->push_back("0123456789abcdef"[data[j] & 15]);
        }
        return 1;
      }
      at = data + ((note->n_descsz + 3) & ~3u);
    }
  }
  return 1;
}

std::string vernier::libraryHash() {
  static const std::string hash = [] {
    std::string text;
    dl_iterate_phdr(visit, &text);
    return text;
  }();
  return hash;
}
