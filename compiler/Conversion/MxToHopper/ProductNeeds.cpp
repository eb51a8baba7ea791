// Which products this target can multiply, and what the shape of their tiles hangs on.
#include "compiler/Conversion/MxToHopper/Kernels.h"
#include "compiler/Conversion/MxToHopper/Operands.h"

using namespace mlir;
using namespace vernier;
using namespace vernier::tiled;

Type vernier::tiled::passedElement(mx::ProductInterface op) {
  Type element = llvm::cast<RankedTensorType>(op->getResult(0).getType()).getElementType();
  return op.getAddend() ? Float32Type::get(element.getContext()) : element;
}

bool vernier::tiled::reachable(mx::ProductInterface op, Value matrix) {
  auto type = llvm::cast<RankedTensorType>(matrix.getType());
  int64_t cols = llvm::cast<RankedTensorType>(op->getResult(0).getType()).getShape().back();
  return type.getElementType() == passedElement(op) && !ShapedType::isDynamic(cols) &&
         cols * type.getElementTypeBitWidth() % 128 == 0;
}

std::string vernier::tiled::whyNoProduct(mx::KernelOp kernel) {
  mx::ProductInterface op = mx::KernelOps::of(kernel).product();
  if (op.getContraction() == mx::Contraction::Rows)
    return "operands whose rows are contracted must be turned first on sm_90a";
  Operand left(op.getLeft()), right(op.getRight());
  if (left.element != right.element)
    return "operands of different elements have no sm_90a lowering yet";
  if (!llvm::isa<Float8E4M3FNType, BFloat16Type, Float16Type>(left.element))
    return "operands must be E4M3 codes, bf16 or f16 on sm_90a";
  auto known = [](mx::FormatAttr format) {
    int64_t height = format.getBlockRows(), width = format.getBlockCols();
    return (height == 1 && (width == 32 || width == 128)) || ((height == 32 || height == 128) && width == 128);
  };
  if (left.format && (!known(left.format) || !known(right.format)))
    return "scaled operands must have blocks of 1x128, 128x128, 32x128 or 1x32 on sm_90a";
  int64_t depth = mx::shapeOf(op.getLeft().getType()).back(), rightDepth = mx::shapeOf(op.getRight().getType()).back();
  int64_t bytes = depth * left.element.getIntOrFloatBitWidth() / 8;
  if (ShapedType::isDynamic(depth) || ShapedType::isDynamic(rightDepth) || depth == 0 || bytes % 16)
    return "K must be known and a multiple of " + std::to_string(128 / left.element.getIntOrFloatBitWidth()) + " on sm_90a";
  return {};
}

SmallVector<heuristics::ProductShape> vernier::tiled::productShapes(mx::KernelOp kernel, const mx::KernelPlan &plan,
                                                                    const heuristics::ProductWish &wish) {
  mx::ProductInterface op = plan.product;
  Operand left(op.getLeft()), right(op.getRight());
  heuristics::ProductNeeds needs;
  int64_t cols = plan.panelCols ? plan.panelCols : mx::shapeOf(op->getResult(0).getType()).back();
  needs.cols = ShapedType::isDynamic(cols) ? 0 : cols;
  if (op.getContraction() == mx::Contraction::Blocks)
    needs.results = mx::shapeOf(op->getResult(0).getType()).front();
  needs.grouped = bool(op.getGroupOffsets());
  needs.panels = int64_t(plan.panels.size());
  needs.scaledBlocks = left.format ? 128 / std::min(left.format.getBlockCols(), right.format.getBlockCols()) : 0;
  needs.passedBits = passedElement(op).getIntOrFloatBitWidth();
  needs.matrices = needs.panels + (op.getAddend() ? 1 : 0);
  auto bitsOf = [](Type type) {
    auto scaled = llvm::dyn_cast<mx::ScaledType>(type);
    return scaled ? int64_t(scaled.getFormat().getElementBits())
                  : int64_t(llvm::cast<RankedTensorType>(type).getElementTypeBitWidth());
  };
  mx::KernelOps ops = mx::KernelOps::of(kernel);
  Value addend = op.getAddend();
  needs.adds = addend && reachable(op, addend);
  bool alone = ops.outputs.size() == 1 && ops.outputs.front() == op->getResult(0);
  needs.copied = alone && (!addend || needs.adds) && reachable(op, op->getResult(0));
  for (Value output : ops.outputs)
    needs.storedBits = std::max(needs.storedBits, bitsOf(output.getType()));
  // What the left operand is made from: the widest matrix that is read for it.
  llvm::SetVector<Operation *> ahead = ops.aheadOfProduct();
  for (Operation *op : ahead) {
    if (!llvm::isa<mx::RequantizeOp, mx::PermuteOp, mx::SliceOp>(op)) // numbers, which take more room than codes
      needs.madeBits = std::max<int64_t>(needs.madeBits, 16);
    for (Value operand : op->getOperands())
      if (!ops.contains(operand) && mx::shapeOf(operand.getType()).size() == 2)
        needs.madeBits = std::max(needs.madeBits, bitsOf(operand.getType()));
  }
  llvm::SmallDenseSet<Value> read;
  int64_t conversions = 0;
  // Blocks beside the product: those that are computed, and those that are read.
  for (Operation *beside : ops.ops) {
    if (beside == op || ahead.contains(beside))
      continue;
    for (Value operand : beside->getOperands())
      if (!ops.contains(operand) && mx::shapeOf(operand.getType()).size() == 2 && read.insert(operand).second)
        ++needs.matrices;
    auto quantize = llvm::dyn_cast<mx::QuantizeOp>(beside);
    needs.computes |= !quantize || quantize.getSeed() || quantize.getResult().getType().getFormat().isPacked() || conversions++;
    SmallVector<Type> types(beside->getOperandTypes());
    llvm::append_range(types, beside->getResultTypes());
    for (Type type : types)
      if (auto scaled = llvm::dyn_cast<mx::ScaledType>(type)) {
        needs.blockCols = std::max(needs.blockCols, scaled.getFormat().getBlockCols());
        needs.packed |= scaled.getFormat().isPacked();
      }
  }
  needs.scaleRows = right.format ? right.format.getBlockRows() : 0;
  return heuristics::chooseProducts(needs, wish);
}
