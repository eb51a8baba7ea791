// Kernels of one matrix product: what may be made of its left operand before it, and of its result behind it.
#include "dialects/mx/Analysis/KernelPlanner.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/ADT/STLExtras.h"

using namespace mlir;
using namespace vernier::mx;

/// One tile serves every output: segments of one width, made from the same columns of the product, or of few parts of them.
bool KernelPlanner::findPanels() {
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
bool KernelPlanner::columnsOfProduct(Value value, int64_t offset, int64_t width, std::set<int64_t> &offsets) {
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
bool KernelPlanner::planProduct() {
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
bool KernelPlanner::planPrologue() {
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
bool KernelPlanner::fromProduct(Value value) {
  if (!kernel.contains(value))
    return false;
  if (value == result.product->getResult(0))
    return true;
  if (auto it = ofProduct.find(value); it != ofProduct.end())
    return it->second;
  bool found = llvm::any_of(value.getDefiningOp()->getOperands(), [&](Value operand) { return fromProduct(operand); });
  return ofProduct[value] = found;
}
