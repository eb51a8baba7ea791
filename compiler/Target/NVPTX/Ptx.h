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

/// Lowers by one the number of blocks that a kernel's registers must leave room for, in the module and in its PTX (the
/// assembler alone takes notice of it, so that nothing is emitted anew); false if it is one already.
bool relaxBlocks(mlir::ModuleOp module, llvm::StringRef kernel, std::string &ptx);

inline constexpr int64_t kRegisterUnit = 8; ///< in which a thread is given registers.

/// Registers of every thread of a block that has a multiprocessor for itself, when it is launched.
constexpr int64_t launchRegisters(int64_t threads) {
  int64_t whole = 65536 / threads;
  return (whole < 255 ? whole : 255) / kRegisterUnit * kRegisterUnit;
}

/// Registers that every thread of a side gets or gives, in units of kRegisterUnit.
struct RegisterMove {
  int64_t computing = 0, fetching = 0;
};
/// Where the warps of a kernel share registers among them (setmaxnreg): moves some between its sides. What is left over or
/// missing is the share of those that finish; where there are none, of those that fetch. False where they do not share, or
/// where one side would not have enough.
bool moveRegisters(mlir::ModuleOp module, llvm::StringRef kernel, RegisterMove move);

} // namespace vernier::nvptx

#endif
