// A shared library that is found when it is first needed.
#ifndef VERNIER_RUNTIME_CUDA_LIBRARY_H
#define VERNIER_RUNTIME_CUDA_LIBRARY_H

#include <dlfcn.h>
#include <string>

namespace vernier::runtime::cuda {

/// Stays loaded as long as the process lives.
class Library {
public:
  explicit Library(const char *name) : handle(dlopen(name, RTLD_NOW | RTLD_LOCAL)), why(handle ? "" : dlerror()) {}

  explicit operator bool() const { return handle; }
  /// Why it was not loaded.
  const std::string &failure() const { return why; }
  /// Fills a table's slot; the first name that the library lacks is kept.
  template <typename Function> void find(Function &slot, const char *name) {
    slot = reinterpret_cast<Function>(dlsym(handle, name));
    if (!slot && lacked.empty())
      lacked = name;
  }
  /// Empty: it has all.
  const std::string &missing() const { return lacked; }

private:
  void *handle;
  std::string why, lacked;
};

} // namespace vernier::runtime::cuda

#endif
