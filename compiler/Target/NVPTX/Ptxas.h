// PTX -> cubin, through NVIDIA's assembler.
#ifndef VERNIER_COMPILER_TARGET_NVPTX_PTXAS_H
#define VERNIER_COMPILER_TARGET_NVPTX_PTXAS_H

#include "runtime/Result.h"

#include <map>
#include <string>
#include <vector>

namespace vernier::nvptx {

/// What ptxas says of one kernel.
struct KernelReport {
  int registers = 0;
  int64_t stackBytes = 0, spillStores = 0, spillLoads = 0, sharedBytes = 0;
  std::vector<std::string> warnings;
};

struct Assembly {
  std::string cubin;
  std::map<std::string, KernelReport> kernels;
  std::vector<std::string> warnings; ///< that name no kernel.
  std::string log;
};

/// The assembler: `preferred` if it is not empty, else $VERNIER_PTXAS, $CUDA_HOME/bin, the path, /usr/local/cuda/bin. Empty if
/// there is none: the driver then assembles.
std::string findPtxas(const std::string &preferred);

/// "13.0.88", or why it does not run.
runtime::Result<std::string> ptxasVersion(const std::string &ptxas);

/// All kernels, or one of them alone. Errors hold the command, its status and its log.
runtime::Result<Assembly> assemble(const std::string &ptxas, const std::string &ptx, const std::string &kernel = {});

/// Reads ptxas' log (-v).
void parseLog(const std::string &log, Assembly &assembly);

} // namespace vernier::nvptx

#endif
