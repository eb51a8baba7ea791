// The hopper dialect: tiles, their layout over threads, and moves.
#ifndef VERNIER_DIALECTS_HOPPER_IR_HOPPER_H
#define VERNIER_DIALECTS_HOPPER_IR_HOPPER_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "dialects/hopper/IR/HopperDialect.h.inc"
#include "dialects/hopper/IR/HopperEnums.h.inc"

#define GET_ATTRDEF_CLASSES
#include "dialects/hopper/IR/HopperAttrs.h.inc"

#define GET_TYPEDEF_CLASSES
#include "dialects/hopper/IR/HopperTypes.h.inc"

#define GET_OP_CLASSES
#include "dialects/hopper/IR/HopperOps.h.inc"

namespace vernier::hopper {
/// Of an `mx.kernel`: how often it was lowered before and the assembler ran out of registers. Its threads then get less to
/// hold.
inline constexpr llvm::StringLiteral kLighter = "hopper.lighter";

// Attributes of a function that is a kernel.
inline constexpr llvm::StringLiteral kLayout = "hopper.layout";             ///< the layout of its tiles.
inline constexpr llvm::StringLiteral kBlocks = "hopper.blocks";             ///< thread blocks that are to fit a multiprocessor.
inline constexpr llvm::StringLiteral kWaves = "hopper.waves";               ///< blocks for each one that runs at a time.
inline constexpr llvm::StringLiteral kLoadsInTime = "hopper.loads_in_time"; ///< there: no registers for loads ahead of time.
inline constexpr llvm::StringLiteral kStages = "hopper.stages";   ///< slots of the ring between producer and consumers.
inline constexpr llvm::StringLiteral kCluster = "hopper.cluster"; ///< thread blocks of a cluster; neighbours in the grid.
inline constexpr llvm::StringLiteral kShared = "hopper.shared";   ///< bytes of shared memory.
inline constexpr llvm::StringLiteral kTasks = "hopper.tasks"; ///< number of tasks: a product of sums of {size, divisor, down}.
inline constexpr llvm::StringLiteral kPieces = "hopper.pieces";        ///< into which a task is shared out where few are left.
inline constexpr llvm::StringLiteral kCost = "hopper.cost";            ///< nanoseconds of a task, and of a piece.
inline constexpr llvm::StringLiteral kInsteadOf = "hopper.instead_of"; ///< the kernel that does the same, and is always there.
inline constexpr llvm::StringLiteral kSizes = "vernier.sizes";         ///< what each index operand after the buffers is.
inline constexpr llvm::StringLiteral kReadOnly = "hopper.read_only";   ///< on an operand: nothing writes through it.

/// The layout of the result of `hopper.multiply`: 64 rows to each group of four warps.
LayoutAttr accumulatorLayout(mlir::MLIRContext *context, int64_t warpgroups, int64_t cols);
inline constexpr int64_t kWarpgroup = 128; ///< its threads.

/// A tensor map that a kernel takes after its other operands: tiles of one of its memrefs, as a copy fetches them.
struct TensorMap {
  unsigned argument;
  StagedType tile;
  bool operator==(const TensorMap &other) const { return argument == other.argument && tile == other.tile; }
};
llvm::SmallVector<TensorMap> tensorMapsOf(mlir::Operation *function);
/// Thread blocks of a cluster; 1 where there are no clusters.
int64_t clusterOf(mlir::Operation *function);
/// Threads of a block: those of the layout; where there are roles, a warpgroup that fetches, and one that finishes, if any
/// does.
int64_t threadsOf(mlir::Operation *function);
/// The layout of tiles where an operation stands: that of what finishes or makes tiles around it, or the function's.
LayoutAttr layoutAt(mlir::Operation *op);
} // namespace vernier::hopper

#endif
