#include "dialects/mx/Analysis/KernelPlan.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/ADT/STLExtras.h"

#include <set>

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

static unsigned rankOf(Value value) { return shapeOf(value.getType()).size(); }

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

static std::string nameOf(Operation *op) { return op->getName().getStringRef().str(); }

namespace {
/// Walks from the outputs to the operands, asking of each operation what it asks of its operands.
class Planner {
public:
  Planner(const KernelOps &kernel, const Sizes &sizes, const KernelRules &rules) : kernel(kernel), sizes(sizes), rules(rules) {}

  PlanResult run() {
    bool good = plan();
    return good ? PlanResult{std::move(result), ""} : PlanResult{std::nullopt, std::move(reason)};
  }

private:
  bool refuse(const Twine &why) {
    if (reason.empty())
      reason = why.str();
    return false;
  }

  bool plan();
  bool planProduct();
  bool planPrologue();
  bool fromProduct(Value value);
  bool findPanels();
  bool columnsOfProduct(Value value, int64_t offset, int64_t width, std::set<int64_t> &offsets);
  bool planOutput(Value output);
  bool demand(Value value, Role role, bool gathered);
  bool demandOperands(Operation *op, Role role, bool gathered);
  bool unifyRows(const Size &rows, Operation *op);
  void noteBlocks(FormatAttr format, bool computed);
  bool aligned(Value value, int64_t begin, int64_t width);
  const SmallVector<int64_t> &breaksOf(Value value);
  unsigned stageOf(Value value);

  const KernelOps &kernel;
  const Sizes &sizes;
  const KernelRules &rules;
  KernelPlan result;
  std::string reason;
  bool haveRows = false, ungroupedTiles = false;
  Operation *rowsFrom = nullptr;
  std::optional<Role> haveRank;
  std::optional<Size> haveCols, runTimeCols;
  llvm::DenseSet<Operation *> visitedRowReductions;
  std::set<std::tuple<void *, int, bool>> visited;
  llvm::DenseMap<Value, unsigned> stages;
  llvm::DenseMap<Value, bool> ofProduct;
};
} // namespace

bool Planner::plan() {
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

/// One tile serves every output: segments of one width, made from the same columns of the product, or of few parts of them.
bool Planner::findPanels() {
  int64_t columns = shapeOf(result.product->getResult(0).getType())[1], width = columns;
  for (const Segment &segment : result.segments)
    width = std::min(width, segment.width);
  SmallVector<Segment> segments;
  std::set<int64_t> offsets;
  if (ShapedType::isDynamic(columns)) {
    for (const Segment &segment : result.segments)
      if (!ShapedType::isDynamic(segment.width) || !columnsOfProduct(segment.output, 0, columns, offsets))
        return refuse("parts of a run-time number of columns of a product");
    return true;
  }
  for (const Segment &segment : result.segments) {
    if (ShapedType::isDynamic(segment.width) || segment.width % width)
      return refuse("results of " + Twine(segment.width) + " and " + Twine(width) +
                    " columns have no tiles of a product in common");
    for (int64_t begin = segment.begin, end = begin + segment.width; begin < end; begin += width) {
      if (!columnsOfProduct(segment.output, begin, width, offsets) ||
          (segment.width > width && !aligned(segment.output, begin, width)))
        return false;
      segments.push_back({segment.output, begin, width});
    }
  }
  result.segments = std::move(segments);
  result.panels.assign(offsets.begin(), offsets.end());
  if (width == columns)
    return true;
  result.panelCols = width;
  constexpr size_t mostPanels = 2;
  if (offsets.size() > mostPanels)
    return refuse("more than " + Twine(mostPanels) + " parts of a product's columns are wanted together");
  auto right = llvm::dyn_cast<ScaledType>(result.product.getRight().getType());
  int64_t height = right ? right.getFormat().getBlockRows() : 0;
  if (height > 1 && llvm::any_of(offsets, [&](int64_t offset) { return offset % height; }))
    return refuse("a part of a product's columns begins inside blocks of its right operand");
  int64_t bits = llvm::cast<RankedTensorType>(result.product->getResult(0).getType()).getElementTypeBitWidth();
  if (offsets.size() > 1 && (height == 1 || bits > 16 || result.product.getAddend()))
    return refuse("two parts of a product's columns find no room beside one another");
  if (offsets.size() > 1 && kernel.contains(result.product.getLeft()))
    return refuse("two parts of a product's columns and threads that make its left operand find no room beside one another");
  return true;
}

/// Adds where the columns of the product begin that columns `offset` to `offset` + `width` of a value are made from.
bool Planner::columnsOfProduct(Value value, int64_t offset, int64_t width, std::set<int64_t> &offsets) {
  if (value == result.product->getResult(0)) {
    offsets.insert(offset);
    return true;
  }
  if (!fromProduct(value) || rankOf(value) != 2)
    return true;
  Operation *op = value.getDefiningOp();
  if (auto slice = llvm::dyn_cast<SliceOp>(op))
    return columnsOfProduct(slice.getInput(), offset + int64_t(slice.getOffset()), width, offsets);
  if (auto concat = llvm::dyn_cast<ConcatOp>(op)) {
    auto [input, begin] = concat.pieceAt(offset);
    if (begin + width > shapeOf(input.getType())[1])
      return refuse("a concatenation beside a product meets inside its tiles");
    return columnsOfProduct(input, begin, width, offsets);
  }
  return llvm::all_of(op->getOperands(), [&](Value operand) { return columnsOfProduct(operand, offset, width, offsets); });
}

/// What may stand beside a product: operations that a tile of its result is enough for.
bool Planner::planProduct() {
  if (!rules.aroundProducts)
    return refuse("a matrix product is a kernel of its own on this target");
  Value product = result.product->getResult(0);
  if (rankOf(product) != 2)
    return refuse("gradients of weights are a kernel of their own");
  for (Operation *op : kernel.ops) {
    if (op != result.product && llvm::isa<ProductInterface>(op))
      return refuse("two matrix products have no tiles in common");
    bool wanders = llvm::isa<PermuteOp, UnpermuteOp, ReduceOp, TransposeOp>(op);
    if (wanders && llvm::any_of(op->getOperands(), [&](Value operand) { return fromProduct(operand); }))
      return refuse(nameOf(op) + " needs more of a product than the tile that one block has of it");
    if (llvm::isa<ReduceOp, UnpermuteOp, TransposeOp>(op))
      return refuse(nameOf(op) + " beside a matrix product");
    for (Value made : op->getResults())
      if (auto scaled = llvm::dyn_cast<ScaledType>(made.getType())) {
        if (scaled.getFormat().getBlockRows() > 1)
          return refuse("blocks that span rows need more of a product than the threads of one block share");
        if (scaled.getFormat().hasTensorScale())
          return refuse("the scale of a whole tensor is not stored beside a product");
      }
    // Tiles of groups begin at any row, and so inside blocks that span rows.
    if (op != result.product && result.product.getGroupOffsets())
      for (Value operand : op->getOperands())
        if (auto scaled = llvm::dyn_cast<ScaledType>(operand.getType()); scaled && scaled.getFormat().getBlockRows() > 1)
          return refuse("rows of groups begin inside blocks that span rows");
  }
  for (Value operand : result.product->getOperands())
    if (kernel.contains(operand) && operand != result.product.getLeft())
      return refuse("what a product multiplies must be in memory first");
  if (kernel.contains(result.product.getLeft()) && !planPrologue())
    return false;
  for (Value output : kernel.outputs)
    if (rankOf(output) != 2 || !fromProduct(output))
      return refuse("a result beside that of a product has nothing of it");
  return true;
}

/// What may make a product's left operand: operations that rows and a block of columns are enough for, so that threads make
/// tiles of it where others would be fetched.
bool Planner::planPrologue() {
  Value left = result.product.getLeft();
  if (result.product.getContraction() != Contraction::Columns || result.product.getAddend())
    return refuse("what a product multiplies must be in memory first where it is turned, or added to another matrix");
  int64_t depth = shapeOf(left.getType())[1];
  constexpr int64_t whole = 128;
  if (ShapedType::isDynamic(depth) || depth % whole)
    return refuse("what a product multiplies must be in memory first where K is no multiple of " + Twine(whole));
  llvm::SetVector<Operation *> ahead = kernel.aheadOfProduct();
  for (Operation *op : ahead)
    for (Operation *user : op->getUsers())
      if (kernel.ops.contains(user) && user != result.product && !ahead.contains(user) && !llvm::isa<arith::ConstantOp>(op))
        return refuse("a value that makes what a product multiplies is used beside the product too");
  if (!breaksOf(left).empty())
    return refuse("a concatenation is multiplied: it must be in memory first");
  return aligned(left, 0, depth);
}

/// Whether a value hangs on the product's result.
bool Planner::fromProduct(Value value) {
  if (!kernel.contains(value))
    return false;
  if (value == result.product->getResult(0))
    return true;
  if (auto it = ofProduct.find(value); it != ofProduct.end())
    return it->second;
  bool found = llvm::any_of(value.getDefiningOp()->getOperands(), [&](Value operand) { return fromProduct(operand); });
  return ofProduct[value] = found;
}

bool Planner::planOutput(Value output) {
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

bool Planner::unifyRows(const Size &rows, Operation *op) {
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

void Planner::noteBlocks(FormatAttr format, bool computed) {
  result.blockCols = std::max(result.blockCols, format.getBlockCols());
  if (!computed || format.getBlockRows() == 1)
    return;
  result.rowTile = std::max(result.rowTile, format.getBlockRows());
  ungroupedTiles = true;
}

bool Planner::demand(Value value, Role role, bool gathered) {
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

bool Planner::demandOperands(Operation *op, Role role, bool gathered) {
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
bool Planner::aligned(Value value, int64_t begin, int64_t width) {
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

const SmallVector<int64_t> &Planner::breaksOf(Value value) {
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

unsigned Planner::stageOf(Value value) {
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
  return Planner(kernel, sizes, rules).run();
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
