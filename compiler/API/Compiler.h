// The compiler as a library. No MLIR in sight: bindings and tools see text in, artifacts out.
#ifndef VERNIER_COMPILER_API_COMPILER_H
#define VERNIER_COMPILER_API_COMPILER_H

#include "runtime/Artifact.h"
#include "runtime/Cache.h"
#include "runtime/HostProgram.h"
#include "runtime/Result.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace vernier {

struct CompileOptions {
  std::string target = "host"; ///< or "sm_90a".
  int64_t maxKernels = 0;      ///< refuse to form more kernels than this; 0: any number.
  std::string ptxas = {};      ///< NVIDIA's assembler; empty: looked for (see Target/NVPTX/Ptxas.h).
  bool fuse = true;            ///< false: a kernel for every operation, for comparison.
};

/// A module at one phase.
struct PhaseDump {
  std::string name, suffix, text;
};

/// A phase of the targets that have it, in order.
struct PhaseInfo {
  std::string name, description, suffix;
  bool onHost, onGpu;
};
std::vector<PhaseInfo> listPhases();

/// Compiles a module in phase `input` with one function. Errors are the diagnostics, with their notes.
runtime::Result<runtime::Artifact> compile(const std::string &module, const CompileOptions &options);

/// Lowers a module from one phase to another. With `all`, the result holds every phase on the way.
runtime::Result<std::vector<PhaseDump>> lower(const std::string &module, const std::string &from, const std::string &until,
                                              bool all, const CompileOptions &options);

/// Key of the artifact: a digest of ABI version, canonical module without locations, options, chip, the contents of
/// the compiler's own library and the version of ptxas.
runtime::Result<std::string> cacheKey(const std::string &module, const CompileOptions &options);

/// compile(), through the cache.
runtime::Result<runtime::Cached> compileCached(const std::string &module, const CompileOptions &options, runtime::Cache &cache);

/// Makes a host artifact callable.
runtime::Result<std::unique_ptr<runtime::HostProgram>> loadHost(std::shared_ptr<const runtime::Artifact> artifact);

/// What identifies this build of the compiler: the build id that the linker computed from its contents.
std::string libraryHash();

} // namespace vernier

#endif
