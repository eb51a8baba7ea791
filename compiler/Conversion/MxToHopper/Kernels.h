// The tasks of each kind of kernel.
#ifndef VERNIER_COMPILER_CONVERSION_MXTOHOPPER_KERNELS_H
#define VERNIER_COMPILER_CONVERSION_MXTOHOPPER_KERNELS_H

#include "compiler/Conversion/MxToHopper/TileEmitter.h"
#include "compiler/Heuristics/ProductShape.h"

namespace vernier::tiled {

/// size / divisor, rounded up or down.
struct TaskTerm {
  mx::Size size;
  int64_t divisor = 1;
  bool roundDown = false;
};
/// The number of tasks: a product of sums.
using TaskCount = llvm::SmallVector<llvm::SmallVector<TaskTerm>>;

/// Emits what one thread block does: `task` is its first task, `step` the number of blocks.
TaskCount emitRowKernel(TileEmitter &emitter, mlir::Value task, mlir::Value step);
TaskCount emitColumnKernel(TileEmitter &emitter, mlir::Value task, mlir::Value step);

TaskCount emitProductKernel(TileEmitter &emitter, const heuristics::ProductShape &shape, mlir::Value task, mlir::Value step);

/// Why a product cannot run on this target; empty: it can.
std::string whyNoProduct(mx::KernelOp kernel);
/// Of its tiles: one for many of them, and others for few (heuristics::chooseProducts).
llvm::SmallVector<heuristics::ProductShape> productShapes(mx::KernelOp kernel, const mx::KernelPlan &plan,
                                                          const heuristics::ProductWish &wish);

} // namespace vernier::tiled

#endif
