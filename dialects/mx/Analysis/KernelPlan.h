// Whether a set of operations can run as one kernel, and the shape of that kernel.
#ifndef VERNIER_DIALECTS_MX_ANALYSIS_KERNELPLAN_H
#define VERNIER_DIALECTS_MX_ANALYSIS_KERNELPLAN_H

#include "dialects/mx/Analysis/Sizes.h"
#include "dialects/mx/IR/Mx.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"

namespace vernier::mx {

/// Operations that are to run together, in program order, and the values that leave them.
struct KernelOps {
  llvm::SetVector<mlir::Operation *> ops;
  llvm::SmallVector<mlir::Value> outputs;

  static KernelOps of(KernelOp kernel);
  bool contains(mlir::Value value) const { return value.getDefiningOp() && ops.contains(value.getDefiningOp()); }
  /// The first product, or null.
  ProductInterface product() const;
  /// What its left operand is made by.
  llvm::SetVector<mlir::Operation *> aheadOfProduct() const;
};

/// How one value is wanted for one row of the row space.
enum class Role {
  Full,   ///< a matrix: the row.
  PerRow, ///< a vector over rows: one number.
  PerCol, ///< a vector over columns: all of it, the same for every row.
  Scalar,
};

/// The kinds of kernel a target has a lowering for.
enum class KernelKind {
  Rows,    ///< every output is made from tiles of whole rows, independently of other tiles.
  Columns, ///< reductions over all rows; independent between columns.
  Product, ///< one matrix product, what makes its left operand, and what becomes of its result, tile by tile.
};

/// What a target's kernels can hold beside what all can.
struct KernelRules {
  bool aroundProducts = true; ///< operations that make a product's left operand, and operations on its result.
  bool fuse = true;           ///< several operations.
};

/// One output, or a part of its columns that is computed alike.
struct Segment {
  mlir::Value output;
  int64_t begin; ///< first column.
  int64_t width; ///< kDynamic: all columns, a run-time number.
};

struct KernelPlan {
  KernelKind kind = KernelKind::Rows;
  ProductInterface product; ///< of a kernel of that kind.
  /// Where parts of the product's columns begin that are wanted together, in a kernel of that kind, and how many columns each
  /// has; 0: there is one part, all of them.
  llvm::SmallVector<int64_t> panels{0};
  int64_t panelCols = 0;
  Size rows;                ///< rows of the row space.
  int64_t rowTile = 1;      ///< rows that must be seen together: the largest block height.
  int64_t blockCols = 1;    ///< columns that must be seen together: the largest block width.
  mlir::Value groupOffsets; ///< row tiles start anew with each group of rows; null: they do not.
  /// Columns of rank-2 outputs and of operands of row reductions, split where concatenations meet.
  llvm::SmallVector<Segment> segments;
  /// Outputs with one value a row, or one for the kernel.
  llvm::SmallVector<mlir::Value> rowOutputs;
  /// Reductions along rows, in the order in which they can be computed; each starts a new pass over the columns.
  llvm::SmallVector<ReduceOp> rowReductions;
  mlir::DenseMap<mlir::Operation *, unsigned> rowStage;
  /// Where the columns of a value must be split.
  llvm::DenseMap<mlir::Value, llvm::SmallVector<int64_t>> breaks;

  /// Segments of any rank-2 value of the kernel.
  llvm::SmallVector<Segment> segmentsOf(mlir::Value value) const;
};

/// The plan, or a sentence that says why there is none.
struct PlanResult {
  std::optional<KernelPlan> plan;
  std::string reason;
};

PlanResult planKernel(const KernelOps &kernel, const Sizes &sizes, const KernelRules &rules = {});

/// Plans the kernels of a fused function, in order. Anything else in it, or a kernel without a plan, is an error.
mlir::LogicalResult forEachKernel(mlir::func::FuncOp function, const Sizes &sizes,
                                  llvm::function_ref<mlir::LogicalResult(KernelOp, const KernelPlan &)> visit);

/// Whether every result element depends on the operands' elements at the same place alone.
bool isElementwise(mlir::Operation *op);

} // namespace vernier::mx

#endif
