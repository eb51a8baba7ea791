// LLVM-dialect module -> object file for this machine.
#ifndef VERNIER_COMPILER_TARGET_HOST_OBJECTFILE_H
#define VERNIER_COMPILER_TARGET_HOST_OBJECTFILE_H

#include "mlir/IR/BuiltinOps.h"
#include "llvm/Support/Error.h"

#include <string>

namespace vernier::host {

/// Name of this machine's processor and its features: what code is generated for, and part of the cache key.
std::string hostChip();

/// Compiles every function of the module. For each kernel `k` the object also has `k.packed` and `k.tasks.packed`,
/// which take their operands as an array of pointers; a count comes back through the last one.
llvm::Expected<std::string> compileObject(mlir::ModuleOp module);

} // namespace vernier::host

#endif
