// matmul, grouped_matmul, grouped_wgrad, block_wgrad: constraints and sizes.
#include "dialects/mx/IR/MxOps.h"

using namespace mlir;
using namespace vernier::mx;

/// Both scaled or both plain, scaled ones without a tensor scale.
static LogicalResult verifyOperands(Operation *op, Type a, Type b) {
  auto left = llvm::dyn_cast<ScaledType>(a), right = llvm::dyn_cast<ScaledType>(b);
  if (bool(left) != bool(right))
    return op->emitOpError() << "expected both operands to be scaled or both to be plain, but got " << a << " and " << b;
  for (ScaledType type : {left, right}) {
    if (type && type.getFormat().hasTensorScale())
      return op->emitOpError() << "expected E8M0 scales, but got " << type;
    if (type && type.getGrouped())
      return op->emitOpError() << "no product reads a grouped transpose; grouped_wgrad takes its operands by rows";
    if (type && type.getFormat().getBlockCols() < 16)
      return op->emitOpError() << "expected blocks of at least 16 along K, but got " << type;
  }
  return success();
}

static LogicalResult verifyContraction(Operation *op, Type a, Type b, unsigned rightRank) {
  ArrayRef<int64_t> left = shapeOf(a), right = shapeOf(b);
  if (left.size() != 2 || right.size() != rightRank)
    return op->emitOpError() << "expected operands of rank 2 and " << rightRank << ", but got " << shapeString(left) << " and "
                             << shapeString(right);
  if (!compatible(left.back(), right.back()))
    return op->emitOpError() << "expected equal K, but got " << shapeString(left) << " and " << shapeString(right);
  for (Type type : {a, b})
    if (auto scaled = llvm::dyn_cast<ScaledType>(type); scaled && scaled.getFormat().isColumnBlocked())
      return op->emitOpError() << "expected blocks along K, but got " << scaled << "; transpose it first";
  return verifyOperands(op, a, b);
}

static LogicalResult verifyAccumulate(Operation *op, Value accumulate, Type result) {
  if (!accumulate)
    return success();
  if (!llvm::cast<RankedTensorType>(result).getElementType().isF32())
    return op->emitOpError() << "expected an f32 result with accumulate, but got " << result;
  return verifySameShape(op, accumulate.getType(), result, "accumulate and result");
}

LogicalResult MatmulOp::verify() {
  if (failed(verifyContraction(*this, getA().getType(), getB().getType(), 2)) ||
      failed(verifyAccumulate(*this, getAccumulate(), getResult().getType())))
    return failure();
  int64_t expected[] = {shapeOf(getA().getType())[0], shapeOf(getB().getType())[0]};
  if (!compatible(expected, shapeOf(getResult().getType())))
    return emitOpError() << "expected a result of " << shapeString(expected) << ", but got "
                         << shapeString(shapeOf(getResult().getType()));
  return success();
}
DimSource MatmulOp::getDimSource(unsigned dim) { return dim == 0 ? DimSource{getA(), 0} : DimSource{getB(), 0}; }
Value MatmulOp::getLeft() { return getA(); }
Value MatmulOp::getRight() { return getB(); }
Value MatmulOp::getGroupOffsets() { return {}; }
bool MatmulOp::groupsAreSpans() { return false; }
Value MatmulOp::getAddend() { return getAccumulate(); }
Contraction MatmulOp::getContraction() { return Contraction::Columns; }

LogicalResult GroupedMatmulOp::verify() {
  if (failed(verifyContraction(*this, getA().getType(), getB().getType(), 3)))
    return failure();
  int64_t expected[] = {shapeOf(getA().getType())[0], shapeOf(getB().getType())[1]};
  if (!compatible(expected, shapeOf(getResult().getType())))
    return emitOpError() << "expected a result of " << shapeString(expected) << ", but got "
                         << shapeString(shapeOf(getResult().getType()));
  return success();
}
DimSource GroupedMatmulOp::getDimSource(unsigned dim) { return dim == 0 ? DimSource{getA(), 0} : DimSource{getB(), 1}; }
Value GroupedMatmulOp::getLeft() { return getA(); }
Value GroupedMatmulOp::getRight() { return getB(); }
Value GroupedMatmulOp::getGroupOffsets() { return getOffsets(); }
bool GroupedMatmulOp::groupsAreSpans() { return getSpans(); }
Value GroupedMatmulOp::getAddend() { return {}; }
Contraction GroupedMatmulOp::getContraction() { return Contraction::Columns; }

/// Of weight gradients: one matrix for each group, of the second sizes of both operands.
static LogicalResult verifyExperts(ProductInterface op) {
  auto result = llvm::cast<RankedTensorType>(op->getResult(0).getType());
  Type dy = op.getLeft().getType(), x = op.getRight().getType();
  int64_t expected[] = {shapeOf(dy)[1], shapeOf(x)[1]};
  if (!compatible(expected, result.getShape().drop_front()))
    return op->emitOpError() << "expected a result of experts x " << shapeString(expected) << ", but got "
                             << shapeString(result.getShape());
  if (result.isDynamicDim(0))
    return op->emitOpError() << "expected a static number of experts, but got " << shapeString(result.getShape());
  int64_t experts = result.getDimSize(0), count = shapeOf(op.getGroupOffsets().getType())[0];
  if (!compatible(count, experts + 1))
    return op->emitOpError() << "expected " << experts + 1 << " offsets for " << experts << " experts, but got " << count;
  if (failed(verifyOperands(op, dy, x)))
    return failure();
  return verifyAccumulate(op, op.getAddend(), result);
}

LogicalResult GroupedWgradOp::verify() {
  ArrayRef<int64_t> dy = shapeOf(getDy().getType()), x = shapeOf(getX().getType());
  if (dy.size() != 2 || x.size() != 2 || !compatible(dy[0], x[0]))
    return emitOpError() << "expected dy [M, N] and x [M, K], but got " << shapeString(dy) << " and " << shapeString(x);
  if (failed(verifyRowBlocked(*this, getDy().getType(), "dy")) || failed(verifyRowBlocked(*this, getX().getType(), "x")))
    return failure();
  return verifyExperts(*this);
}
DimSource GroupedWgradOp::getDimSource(unsigned dim) { return {dim == 1 ? getDy() : getX(), 1}; }
Value GroupedWgradOp::getLeft() { return getDy(); }
Value GroupedWgradOp::getRight() { return getX(); }
Value GroupedWgradOp::getGroupOffsets() { return getOffsets(); }
bool GroupedWgradOp::groupsAreSpans() { return false; }
Value GroupedWgradOp::getAddend() { return getAccumulate(); }
Contraction GroupedWgradOp::getContraction() { return Contraction::Rows; }

LogicalResult BlockWgradOp::verify() {
  ArrayRef<int64_t> dy = shapeOf(getDy().getType()), x = shapeOf(getX().getType()), result = getResult().getType().getShape();
  if (dy.size() != 3 || x.size() != 3 || !compatible(dy[0], x[0]) || dy[2] != TransposeOp::kBlock || x[2] != dy[2])
    return emitOpError() << "expected dy [B, N, " << TransposeOp::kBlock << "] and x [B, K, " << TransposeOp::kBlock
                         << "], but got " << shapeString(dy) << " and " << shapeString(x);
  for (Type type : {getDy().getType(), getX().getType()})
    if (auto scaled = llvm::dyn_cast<ScaledType>(type); scaled && scaled.getFormat().getBlockCols() != TransposeOp::kBlock)
      return emitOpError() << "expected blocks of " << TransposeOp::kBlock << " along K, but got " << scaled;
  bool isStatic = !ShapedType::isDynamic(dy[0]);
  if (isStatic != getRows().has_value() || (isStatic && int64_t(*getRows()) / TransposeOp::kBlock + result[0] != dy[0]))
    return emitOpError() << "expected the rows that " << shapeString(dy) << " is made of, exactly where that is static";
  return verifyExperts(*this);
}
DimSource BlockWgradOp::getDimSource(unsigned dim) { return {dim == 1 ? getDy() : getX(), 1}; }
Value BlockWgradOp::getLeft() { return getDy(); }
Value BlockWgradOp::getRight() { return getX(); }
Value BlockWgradOp::getGroupOffsets() { return getOffsets(); }
bool BlockWgradOp::groupsAreSpans() { return false; }
Value BlockWgradOp::getAddend() { return getAccumulate(); }
Contraction BlockWgradOp::getContraction() { return Contraction::Blocks; }
