#include "dialects/mx/Analysis/KernelPlanner.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/ADT/STLExtras.h"

using namespace mlir;
using namespace vernier::mx;

bool vernier::mx::isElementwise(Operation *op) { return OpTrait::hasElementwiseMappableTraits(op); }

KernelOps KernelOps::of(KernelOp kernel) {
  KernelOps result;
  for (Operation &op : kernel.getBody().front().without_terminator())
    result.ops.insert(&op);
  llvm::append_range(result.outputs, kernel.getBody().front().getTerminator()->getOperands());
  return result;
}

ProductInterface KernelOps::product() const {
  auto found = llvm::find_if(ops, [](Operation *op) { return llvm::isa<ProductInterface>(op); });
  return found == ops.end() ? ProductInterface() : llvm::cast<ProductInterface>(*found);
}

llvm::SetVector<Operation *> KernelOps::aheadOfProduct() const {
  llvm::SetVector<Operation *> ahead;
  ProductInterface made = product();
  auto need = [&](Value value) {
    if (contains(value))
      ahead.insert(value.getDefiningOp());
  };
  if (made)
    need(made.getLeft());
  for (size_t i = 0; i < ahead.size(); ++i)
    llvm::for_each(ahead[i]->getOperands(), need);
  return ahead;
}

SmallVector<Segment> KernelPlan::segmentsOf(Value value) const {
  int64_t width = shapeOf(value.getType()).back();
  if (ShapedType::isDynamic(width))
    return {{value, 0, ShapedType::kDynamic}};
  SmallVector<int64_t> bounds{0};
  if (auto it = breaks.find(value); it != breaks.end())
    llvm::append_range(bounds, it->second);
  bounds.push_back(width);
  SmallVector<Segment> segments;
  for (auto [begin, end] : llvm::zip(ArrayRef(bounds).drop_back(), ArrayRef(bounds).drop_front()))
    segments.push_back({value, begin, end - begin});
  return segments;
}

bool KernelPlanner::plan() {
  if ((result.product = kernel.product())) {
    result.kind = KernelKind::Product;
    if (kernel.ops.size() == 1)
      return true;
    if (!planProduct())
      return false;
  } else if (llvm::any_of(kernel.outputs, [](Value output) {
               auto reduce = output.getDefiningOp<ReduceOp>();
               return reduce && reduce.getAxis() == 0;
             }))
    result.kind = KernelKind::Columns;
  for (Value output : kernel.outputs)
    if (!planOutput(output))
      return false;
  if (!haveRows)
    result.rows = Size::fixed(1);
  if (result.groupOffsets)
    for (Value output : kernel.outputs)
      if (auto transpose = output.getDefiningOp<TransposeOp>(); !transpose || !transpose.getOffsets())
        return refuse("tiles that start anew with each group leave out rows that belong to no group");
  if (result.groupOffsets && ungroupedTiles)
    return refuse("blocks along rows start anew with each group in one part and run on in another");
  // Row reductions in the order of their stages; ties in program order.
  for (Operation *op : kernel.ops)
    if (auto reduce = llvm::dyn_cast<ReduceOp>(op); reduce && visitedRowReductions.contains(op)) {
      stageOf(reduce.getResult());
      result.rowReductions.push_back(reduce);
      result.rowStage[op] = stages[reduce.getResult()];
    }
  llvm::stable_sort(result.rowReductions, [&](ReduceOp a, ReduceOp b) { return result.rowStage[a] < result.rowStage[b]; });
  for (ReduceOp reduce : result.rowReductions) {
    breaksOf(reduce.getInput());
    for (const Segment &segment : result.segmentsOf(reduce.getInput()))
      if (!aligned(reduce.getInput(), segment.begin, segment.width))
        return false;
  }
  if (!reason.empty())
    return false;
  for (Value output : kernel.outputs) {
    Value source = output;
    if (auto transpose = output.getDefiningOp<TransposeOp>())
      source = transpose.getInput();
    if (rankOf(source) != 2 || result.kind == KernelKind::Columns) {
      result.rowOutputs.push_back(output);
      continue;
    }
    breaksOf(source);
    if (!reason.empty())
      return false;
    for (const Segment &segment : result.segmentsOf(source)) {
      if (!aligned(source, segment.begin, segment.width))
        return false;
      result.segments.push_back({output, segment.begin, segment.width});
    }
  }
  return !result.product || findPanels();
}

bool KernelPlanner::planOutput(Value output) {
  Operation *op = output.getDefiningOp();
  if (!op || !kernel.contains(output))
    return refuse("a result is an argument");
  if (result.kind == KernelKind::Columns) {
    auto reduce = llvm::dyn_cast<ReduceOp>(op);
    if (!reduce || reduce.getAxis() != 0)
      return refuse("a reduction over all rows runs down the columns, the rest along the rows");
    Role role = rankOf(reduce.getInput()) == 2 ? Role::Full : Role::PerRow;
    if (haveRank && *haveRank != role)
      return refuse("reductions over all rows of a matrix and of a vector have no columns in common");
    haveRank = role;
    if (role == Role::Full && haveCols && !(*haveCols == sizes.get(reduce.getInput(), 1)))
      return refuse("reductions over all rows of " + haveCols->str() + " and " + sizes.get(reduce.getInput(), 1).str() +
                    " columns have no columns in common");
    if (role == Role::Full)
      haveCols = sizes.get(reduce.getInput(), 1);
    if (!unifyRows(sizes.get(reduce.getInput(), 0), op) || !demand(reduce.getInput(), role, false))
      return false;
    breaksOf(reduce.getInput());
    if (!result.breaks[reduce.getInput()].empty())
      return refuse("a reduction over all rows of a concatenation");
    return reason.empty() && (role != Role::Full || aligned(reduce.getInput(), 0, shapeOf(reduce.getInput().getType())[1]));
  }
  if (auto transpose = llvm::dyn_cast<TransposeOp>(op)) {
    if (!unifyRows(sizes.get(transpose.getInput(), 0), op))
      return false;
    // Whole blocks of the result, or whole cache lines of it.
    result.rowTile = std::max<int64_t>(result.rowTile, TransposeOp::kBlock);
    if (Value offsets = transpose.getOffsets()) {
      if (result.groupOffsets && result.groupOffsets != offsets)
        return refuse("two transposes with different group offsets");
      result.groupOffsets = offsets;
      if (kernel.contains(offsets))
        return refuse("the group offsets are computed, and must be in memory first");
    } else {
      ungroupedTiles = true;
    }
    return demand(transpose.getInput(), Role::Full, false);
  }
  Role role = rankOf(output) == 2 ? Role::Full : rankOf(output) == 1 ? Role::PerRow : Role::Scalar;
  if (rankOf(output) > 2)
    return refuse("a result of rank " + Twine(rankOf(output)));
  // A scalar is one row: beside no rows at all it would never be computed.
  if (!unifyRows(role == Role::Scalar ? Size::fixed(1) : sizes.get(output, 0), op))
    return false;
  return demand(output, role, false);
}

bool KernelPlanner::unifyRows(const Size &rows, Operation *op) {
  if (!haveRows) {
    result.rows = rows;
    haveRows = true;
    rowsFrom = op;
    return true;
  }
  if (result.rows == rows)
    return true;
  return refuse("different rows: " + result.rows.str() + " (" + nameOf(rowsFrom) + ") and " + rows.str() + " (" + nameOf(op) +
                ")");
}

void KernelPlanner::noteBlocks(FormatAttr format, bool computed) {
  result.blockCols = std::max(result.blockCols, format.getBlockCols());
  if (!computed || format.getBlockRows() == 1)
    return;
  result.rowTile = std::max(result.rowTile, format.getBlockRows());
  ungroupedTiles = true;
}

bool KernelPlanner::demand(Value value, Role role, bool gathered) {
  if (!visited.insert({value.getAsOpaquePointer(), int(role), gathered}).second)
    return true;
  if (auto scaled = llvm::dyn_cast<ScaledType>(value.getType())) {
    if (scaled.getGrouped())
      return refuse("nothing here reads a grouped transpose");
    noteBlocks(scaled.getFormat(), kernel.contains(value));
    if (result.kind == KernelKind::Columns && kernel.contains(value) && scaled.getFormat().getBlockRows() > 1)
      return refuse("blocks that span rows are found tile by tile, a reduction over all rows walks them one by one");
    if (gathered && !scaled.getFormat().isRowBlocked() && kernel.contains(value))
      return refuse("rows are gathered out of blocks that span rows");
  }
  if (!kernel.contains(value))
    return true;
  Operation *op = value.getDefiningOp();
  if (role == Role::Full && !gathered && !llvm::isa<TransposeOp>(op) && !unifyRows(sizes.get(value, 0), op))
    return false;
  return demandOperands(op, role, gathered);
}

bool KernelPlanner::demandOperands(Operation *op, Role role, bool gathered) {
  if (op == result.product)
    return role == Role::Full ? demand(result.product.getLeft(), Role::Full, false)
                              : refuse("the result of a product is used as a vector");
  if (llvm::isa<TransposeOp>(op))
    return refuse("a transposed value is used further: its rows are columns of this kernel");
  if (auto broadcast = llvm::dyn_cast<BroadcastOp>(op)) {
    if (broadcast.getDims().empty())
      return demand(broadcast.getInput(), Role::Scalar, false);
    Role inner = role == Role::Full ? (broadcast.getDims()[0] == 0 ? Role::PerRow : Role::PerCol) : role;
    return demand(broadcast.getInput(), inner, inner == Role::PerRow && gathered);
  }
  if (auto reduce = llvm::dyn_cast<ReduceOp>(op)) {
    if (reduce.getAxis() == 0)
      return refuse("a reduction over all rows must be finished before its result is used");
    if (result.kind == KernelKind::Columns)
      return refuse("a reduction along the rows walks rows, one over all rows walks columns");
    if (role != Role::PerRow)
      return refuse("a reduction along the rows is used along the columns");
    if (gathered)
      return refuse("the rows that are gathered hang on a reduction along the rows");
    visitedRowReductions.insert(op);
    return unifyRows(sizes.get(reduce.getInput(), 0), op) && demand(reduce.getInput(), Role::Full, false);
  }
  if (auto permute = llvm::dyn_cast<PermuteOp>(op)) {
    if (role == Role::PerCol)
      return refuse("a permuted vector is used along the columns");
    if (gathered)
      return refuse("a gather of a gather");
    if (kernel.contains(permute.getIndex()))
      return refuse("the index of a permute is computed, and must be in memory first");
    return demand(permute.getInput(), role, true);
  }
  if (auto unpermute = llvm::dyn_cast<UnpermuteOp>(op)) {
    if (gathered)
      return refuse("a gather of a gather");
    for (Value operand : {Value(unpermute.getIndex()), Value(unpermute.getWeights())})
      if (operand && kernel.contains(operand))
        return refuse("the index or weights of an unpermute are computed, and must be in memory first");
    return demand(unpermute.getInput(), Role::Full, true);
  }
  if (auto quantize = llvm::dyn_cast<QuantizeOp>(op)) {
    for (Value scalar : {Value(quantize.getSeed()), Value(quantize.getTensorScale())})
      if (scalar && !demand(scalar, Role::Scalar, false))
        return false;
    if (gathered && quantize.getSeed())
      return refuse("stochastic rounding counts elements before the gather");
    return demand(quantize.getInput(), Role::Full, gathered);
  }
  if (llvm::isa<DequantizeOp, RequantizeOp, SliceOp>(op))
    return demand(op->getOperand(0), Role::Full, gathered);
  if (llvm::isa<ConcatOp>(op) || isElementwise(op) || llvm::isa<arith::ConstantOp>(op)) {
    for (Value operand : op->getOperands())
      if (!demand(operand, role, gathered))
        return false;
    return true;
  }
  return refuse(nameOf(op) + " has no lowering into a fused kernel");
}

/// Columns begin:begin + width of a value are computed in chunks that start at `begin`: no block may reach across either end.
bool KernelPlanner::aligned(Value value, int64_t begin, int64_t width) {
  if (rankOf(value) != 2)
    return true;
  if (ShapedType::isDynamic(width)) {
    // A run-time number of columns is one number for the whole kernel.
    Size columns = sizes.get(value, 1);
    if (!runTimeCols)
      runTimeCols = columns;
    return *runTimeCols == columns || refuse("different run-time columns: " + runTimeCols->str() + " and " + columns.str());
  }
  if (auto scaled = llvm::dyn_cast<ScaledType>(value.getType())) {
    int64_t block = scaled.getFormat().getBlockCols(), end = begin + width;
    if (scaled.getFormat().isPacked())
      block = std::max<int64_t>(block, 2);
    for (int64_t bound : {begin, end})
      if (bound % block && bound != scaled.getCols())
        return refuse("a slice or concatenation meets inside a block: column " + Twine(bound) + " is no multiple of " +
                      Twine(block));
  }
  if (!kernel.contains(value))
    return true;
  Operation *op = value.getDefiningOp();
  if (auto slice = llvm::dyn_cast<SliceOp>(op))
    return aligned(slice.getInput(), begin + slice.getOffset(), width);
  if (auto concat = llvm::dyn_cast<ConcatOp>(op)) {
    auto [input, inner] = concat.pieceAt(begin);
    return aligned(input, inner, width);
  }
  if (llvm::isa<BroadcastOp, ReduceOp, ProductInterface>(op))
    return true;
  return llvm::all_of(op->getOperands(), [&](Value operand) { return aligned(operand, begin, width); });
}

const SmallVector<int64_t> &KernelPlanner::breaksOf(Value value) {
  if (auto it = result.breaks.find(value); it != result.breaks.end())
    return it->second;
  SmallVector<int64_t> bounds;
  auto merge = [&](Value operand) {
    if (rankOf(operand) == 2) {
      SmallVector<int64_t> more = breaksOf(operand);
      llvm::append_range(bounds, more);
    }
  };
  Operation *op = kernel.contains(value) ? value.getDefiningOp() : nullptr;
  if (auto concat = llvm::dyn_cast_or_null<ConcatOp>(op)) {
    int64_t at = 0;
    for (Value input : concat.getInputs()) {
      for (int64_t bound : SmallVector<int64_t>(breaksOf(input)))
        bounds.push_back(at + bound);
      if (at)
        bounds.push_back(at);
      at += shapeOf(input.getType())[1];
    }
  } else if (auto slice = llvm::dyn_cast_or_null<SliceOp>(op)) {
    int64_t offset = slice.getOffset(), width = shapeOf(slice.getResult().getType())[1];
    for (int64_t bound : SmallVector<int64_t>(breaksOf(slice.getInput())))
      if (bound > offset && bound < offset + width)
        bounds.push_back(bound - offset);
  } else if (op && (llvm::isa<QuantizeOp, DequantizeOp, RequantizeOp>(op))) {
    merge(op->getOperand(0));
  } else if (auto permute = llvm::dyn_cast_or_null<PermuteOp>(op)) {
    merge(permute.getInput());
  } else if (auto unpermute = llvm::dyn_cast_or_null<UnpermuteOp>(op)) {
    merge(unpermute.getInput());
  } else if (op && isElementwise(op)) {
    for (Value operand : op->getOperands())
      merge(operand);
  }
  llvm::sort(bounds);
  bounds.erase(llvm::unique(bounds), bounds.end());
  return result.breaks[value] = bounds;
}

unsigned KernelPlanner::stageOf(Value value) {
  if (auto it = stages.find(value); it != stages.end())
    return it->second;
  unsigned stage = 0;
  if (kernel.contains(value)) {
    Operation *op = value.getDefiningOp();
    for (Value operand : op->getOperands())
      stage = std::max(stage, stageOf(operand));
    if (auto reduce = llvm::dyn_cast<ReduceOp>(op); reduce && reduce.getAxis() != 0)
      ++stage;
  }
  return stages[value] = stage;
}

PlanResult vernier::mx::planKernel(const KernelOps &kernel, const Sizes &sizes, const KernelRules &rules) {
  return KernelPlanner(kernel, sizes, rules).run();
}

LogicalResult vernier::mx::forEachKernel(func::FuncOp function, const Sizes &sizes,
                                         llvm::function_ref<LogicalResult(KernelOp, const KernelPlan &)> visit) {
  for (Operation &op : function.getBody().front().without_terminator()) {
    auto kernel = llvm::dyn_cast<KernelOp>(op);
    if (!kernel)
      return op.emitError() << "expected kernels only; run mx-fuse-kernels first";
    PlanResult result = planKernel(KernelOps::of(kernel), sizes);
    if (!result.plan)
      return kernel.emitError() << "no plan for this kernel: " << result.reason;
    if (failed(visit(kernel, *result.plan)))
      return failure();
  }
  return success();
}
