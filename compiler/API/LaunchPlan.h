// What a call must do, read off the IR.
#ifndef VERNIER_COMPILER_API_LAUNCHPLAN_H
#define VERNIER_COMPILER_API_LAUNCHPLAN_H

#include "mlir/IR/BuiltinOps.h"
#include "runtime/Artifact.h"

namespace vernier {

/// Fills arguments, results, buffers, checks and kernels from the fused module; `lowered` is the same program with its
/// kernels lowered (phase `loops` or `scheduled`), and says which sizes each takes and how it is launched.
mlir::LogicalResult describeLaunch(mlir::ModuleOp fused, mlir::ModuleOp lowered, runtime::Artifact &artifact);

} // namespace vernier

#endif
