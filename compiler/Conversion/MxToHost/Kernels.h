// The loops of each kind of kernel. Each emits the body of a function whose last operands are begin and end, and
// returns the number of tasks through `tasks`, emitted into a second function.
#ifndef VERNIER_COMPILER_CONVERSION_MXTOHOST_KERNELS_H
#define VERNIER_COMPILER_CONVERSION_MXTOHOST_KERNELS_H

#include "compiler/Conversion/MxToHost/TileEmitter.h"

namespace vernier::host {

/// What a lowering is given: the function to fill, and the values of the sizes it asked for.
struct KernelFrame {
  mlir::func::FuncOp function;
  llvm::SmallVector<mlir::Value> sizes;
  mlir::Value begin, end;      ///< null while the tasks are counted.
  bool tensorCoreSums = false; ///< whether products are summed as tensor cores do (see the mx dialect).
};

/// Sizes that the lowering of a kernel wants as operands.
llvm::SmallVector<mx::Size> wantedSizes(mx::KernelOp kernel, const mx::KernelPlan &plan, const mx::Sizes &sizes);

mlir::Value countRowTasks(TileEmitter &emitter, const KernelFrame &frame);
void emitRowKernel(TileEmitter &emitter, const KernelFrame &frame);

mlir::Value countColumnTasks(TileEmitter &emitter, const KernelFrame &frame);
void emitColumnKernel(TileEmitter &emitter, const KernelFrame &frame);

mlir::Value countProductTasks(TileEmitter &emitter, const KernelFrame &frame);
void emitProductKernel(TileEmitter &emitter, const KernelFrame &frame);

/// offsets[at], kept within 0 and `rows` whatever it says: offsets that are computed are not checked before the call.
mlir::Value loadOffset(TileEmitter &emitter, mlir::Value offsets, mlir::Value at, mlir::Value rows);

/// Number of tiles of `height` rows when tiles start anew with every group: an upper bound, with empty tiles.
mlir::Value countGroupedTiles(TileEmitter &emitter, mlir::Value rows, mlir::Value offsets, int64_t height);

/// The tile with number `number`; `rows` is 0 for an empty one. Also gives the group.
struct GroupedTile {
  mlir::Value firstRow, rows, group;
};
GroupedTile findGroupedTile(TileEmitter &emitter, mlir::Value number, mlir::Value totalRows, mlir::Value offsets,
                            int64_t height);

} // namespace vernier::host

#endif
