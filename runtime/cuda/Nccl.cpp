#include "runtime/cuda/Nccl.h"

#include <cstdlib>
#include <dlfcn.h>

using namespace vernier::runtime;
using namespace vernier::runtime::cuda;

static Result<const Nccl *> open() {
  static Nccl table;
  const char *given = std::getenv("VERNIER_NCCL");
  void *library = dlopen(given ? given : "libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
  if (!library)
    return Error{std::string("no NCCL: ") + dlerror() + "; install it, import torch first, or set VERNIER_NCCL"};
  std::string missing;
  auto find = [&](auto &slot, const char *name) {
    slot = reinterpret_cast<std::remove_reference_t<decltype(slot)>>(dlsym(library, name));
    if (!slot && missing.empty())
      missing = name;
  };
  find(table.getVersion, "ncclGetVersion");
  find(table.getUniqueId, "ncclGetUniqueId");
  find(table.getErrorString, "ncclGetErrorString");
  find(table.getLastError, "ncclGetLastError");
  find(table.commInitRank, "ncclCommInitRank");
  find(table.commDestroy, "ncclCommDestroy");
  find(table.commAbort, "ncclCommAbort");
  find(table.commGetAsyncError, "ncclCommGetAsyncError");
  find(table.groupStart, "ncclGroupStart");
  find(table.groupEnd, "ncclGroupEnd");
  find(table.send, "ncclSend");
  find(table.receive, "ncclRecv");
  if (!missing.empty())
    return Error{"NCCL is too old: it has no " + missing};
  return &table;
}

Result<const Nccl *> vernier::runtime::cuda::nccl() {
  static Result<const Nccl *> opened = open();
  return opened;
}
