// LLVM-dialect module -> PTX.
#ifndef VERNIER_COMPILER_TARGET_NVPTX_PTX_H
#define VERNIER_COMPILER_TARGET_NVPTX_PTX_H

#include "mlir/IR/BuiltinOps.h"
#include "llvm/Support/Error.h"

#include <string>

namespace vernier::nvptx {

inline constexpr const char *kChip = "sm_90a";

/// PTX of every kernel of the module, for sm_90a.
llvm::Expected<std::string> emitPtx(mlir::ModuleOp module);

/// Lowers by one the number of blocks that a kernel's registers must leave room for; false if it is one already.
bool relaxBlocks(mlir::ModuleOp module, llvm::StringRef kernel);

/// Where the warps of a kernel share registers among them (setmaxnreg): takes `steps` times as many as can be asked for (8)
/// from every thread that computes, for those that fetch. False where they do not, or where one side would not have enough.
bool moveRegisters(mlir::ModuleOp module, llvm::StringRef kernel, int64_t steps);

} // namespace vernier::nvptx

#endif
