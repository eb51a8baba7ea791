// PTX into machine code, without registers that spill.
#ifndef VERNIER_COMPILER_API_ASSEMBLE_H
#define VERNIER_COMPILER_API_ASSEMBLE_H

#include "compiler/Target/NVPTX/Ptxas.h"
#include "mlir/IR/BuiltinOps.h"
#include "runtime/Artifact.h"

namespace vernier {

/// Assembles the PTX of a module. A kernel that spills is assembled by itself, with its registers shared out in other ways,
/// until nothing may help it any more; the module and the PTX are then those of the best way.
runtime::Result<nvptx::Assembly> assembleWithoutSpills(const std::string &ptxas, mlir::ModuleOp module, std::string &ptx);

/// Puts what the assembler found, and its machine code, into an artifact.
void describeAssembly(nvptx::Assembly assembly, runtime::Artifact &artifact);

/// Marks every kernel that spilled, in the module of fused kernels that an artifact was made of, to be lowered with fewer
/// elements for each thread (hopper.lighter). False where nothing is left to try.
bool lightenSpilled(mlir::ModuleOp fused, const runtime::Artifact &artifact);

/// Bytes that all kernels of an artifact spill.
int64_t spilledBytes(const runtime::Artifact &artifact);

} // namespace vernier

#endif
