// transpose, permute, unpermute, slice, concat: constraints and sizes. Folds are in MxFolds.cpp.
#include "dialects/mx/IR/MxOps.h"

using namespace mlir;
using namespace vernier::mx;

bool TransposeOp::reblocks() {
  auto scaled = llvm::dyn_cast<ScaledType>(getInput().getType());
  return scaled && scaled.getFormat().isRowBlocked();
}

/// Rank and sizes of a transpose that makes every block a matrix.
static LogicalResult verifyBlocks(TransposeOp op, ArrayRef<int64_t> from, ArrayRef<int64_t> to) {
  if (!op.getOffsets() || ShapedType::isDynamic(op.getOffsets().getType().getDimSize(0)) ||
      op.getOffsets().getType().getDimSize(0) < 2)
    return op.emitOpError() << "expected a static number of offsets with blocks";
  int64_t groups = op.getOffsets().getType().getDimSize(0) - 1;
  int64_t blocks = ShapedType::isDynamic(from[0]) ? ShapedType::kDynamic : from[0] / TransposeOp::kBlock + groups;
  if (int64_t expected[] = {blocks, from[1], TransposeOp::kBlock}; !compatible(expected, to))
    return op.emitOpError() << "expected a result of " << shapeString(expected) << ", but got " << shapeString(to);
  return success();
}

LogicalResult TransposeOp::verify() {
  ArrayRef<int64_t> from = shapeOf(getInput().getType()), to = shapeOf(getResult().getType());
  if (from.size() != 2 || to.size() != (getBlocks() ? 3 : 2))
    return emitOpError() << "expected rank 2" << (getBlocks() ? " and a result of rank 3" : "") << ", but got "
                         << shapeString(from) << " and " << shapeString(to);
  if (getBlocks() && failed(verifyBlocks(*this, from, to)))
    return failure();
  if (!getBlocks() && (!compatible(from[0], to[1]) || !compatible(from[1], to[0])))
    return emitOpError() << "expected the result's shape to be the input's reversed, but got " << shapeString(from) << " and "
                         << shapeString(to);
  auto source = llvm::dyn_cast<ScaledType>(getInput().getType());
  auto target = llvm::dyn_cast<ScaledType>(getResult().getType());
  if (bool(source) != bool(target))
    return emitOpError() << "expected input and result to be both scaled or both plain";
  if (getOffsets() && !reblocks() && (source || !getBlocks()))
    return emitOpError() << "offsets need a scaled input with blocks along its rows (1xB)";
  if (!source) {
    if (llvm::cast<RankedTensorType>(getInput().getType()).getElementType() !=
        llvm::cast<RankedTensorType>(getResult().getType()).getElementType())
      return emitOpError() << "expected equal element types, but got " << getInput().getType() << " and "
                           << getResult().getType();
    return success();
  }
  if (target.getGrouped() != (getOffsets() && !getBlocks()))
    return emitOpError() << "expected the result to be grouped exactly when there are offsets and no blocks";
  FormatAttr format = target.getFormat();
  if (!reblocks()) {
    if (format != source.getFormat().transposed())
      return emitOpError() << "expected the result's format to be " << source.getFormat().transposed() << ", but got "
                           << format;
    return success();
  }
  if (source.getFormat().hasTensorScale())
    return emitOpError() << "expected E8M0 scales; dequantize instead";
  int64_t height = getBlocks() ? source.getFormat().getBlockCols() : 1;
  if (!llvm::isa<Float8E4M3FNType>(format.getElement()) || format.getBlockRows() != height || format.getBlockCols() != kBlock ||
      format.hasTensorScale())
    return emitOpError() << "expected a result of f8E4M3FN in blocks of " << height << "x" << kBlock << ", but got " << format;
  return success();
}

DimSource TransposeOp::getDimSource(unsigned dim) {
  if (!getBlocks())
    return {getInput(), 1 - dim};
  if (dim == 1)
    return {getInput(), 1};
  return {getInput(), 0, /*roundUpTo=*/1, kBlock, getOffsets().getType().getDimSize(0) - 1};
}

bool TransposeOp::isExact() { return !reblocks(); }

LogicalResult PermuteOp::verify() {
  ArrayRef<int64_t> from = shapeOf(getInput().getType()), to = shapeOf(getResult().getType());
  if (from.size() != to.size() || from.empty() || from.size() > 2 || (from.size() == 2 && !compatible(from[1], to[1])))
    return emitOpError() << "expected input and result to have equal columns, but got " << shapeString(from) << " and "
                         << shapeString(to);
  if (failed(verifyRowBlocked(*this, getInput().getType(), "the input")))
    return failure();
  auto source = llvm::dyn_cast<ScaledType>(getInput().getType());
  auto target = llvm::dyn_cast<ScaledType>(getResult().getType());
  bool same = source && target ? source.getFormat() == target.getFormat()
                               : !source && !target &&
                                     llvm::cast<RankedTensorType>(getInput().getType()).getElementType() ==
                                         llvm::cast<RankedTensorType>(getResult().getType()).getElementType();
  if (!same)
    return emitOpError() << "expected input and result to have one element type or format, but got " << getInput().getType()
                         << " and " << getResult().getType();
  if (getPadTo() < 1)
    return emitOpError() << "expected pad_to to be at least 1, but got " << getPadTo();
  return success();
}

DimSource PermuteOp::getDimSource(unsigned dim) {
  if (dim == 0)
    return {getIndex(), 0, int64_t(getPadTo())};
  return {getInput(), dim};
}

LogicalResult UnpermuteOp::verify() {
  ArrayRef<int64_t> from = getInput().getType().getShape(), to = getResult().getType().getShape(),
                    index = getIndex().getType().getShape();
  if (from.size() != 2 || !compatible(from[1], to[1]) || !compatible(index[0], to[0]))
    return emitOpError() << "expected input [P, N] and index [T, k] to give [T, N], but got " << shapeString(from) << " and "
                         << shapeString(index) << " for " << shapeString(to);
  if (ShapedType::isDynamic(index[1]))
    return emitOpError() << "expected the index to have a static number of columns, but got " << shapeString(index);
  if (getWeights() && !compatible(getWeights().getType().getShape(), index))
    return emitOpError() << "expected weights in the shape of the index, but got "
                         << shapeString(getWeights().getType().getShape()) << " and " << shapeString(index);
  return success();
}

DimSource UnpermuteOp::getDimSource(unsigned dim) { return dim == 0 ? DimSource{getIndex(), 0} : DimSource{getInput(), 1}; }

LogicalResult SliceOp::verify() {
  ArrayRef<int64_t> from = shapeOf(getInput().getType()), to = shapeOf(getResult().getType());
  if (from.size() != 2 || to.size() != 2 || ShapedType::isDynamic(from[1]) || ShapedType::isDynamic(to[1]))
    return emitOpError() << "expected rank 2 and static columns, but got " << shapeString(from) << " and " << shapeString(to);
  int64_t offset = getOffset(), width = to[1];
  if (offset < 0 || offset + width > from[1])
    return emitOpError() << "expected columns " << offset << ":" << offset + width << " to lie inside the " << from[1]
                         << " columns of the input";
  auto source = llvm::dyn_cast<ScaledType>(getInput().getType());
  auto target = llvm::dyn_cast<ScaledType>(getResult().getType());
  if (bool(source) != bool(target) || (source && source.getFormat() != target.getFormat()))
    return emitOpError() << "expected input and result to have one format";
  if (!source)
    return success();
  if (failed(verifyRowBlocked(*this, source, "the input")))
    return failure();
  int64_t block = source.getFormat().getBlockCols();
  if (offset % block || width % block)
    return emitOpError() << "expected columns " << offset << ":" << offset + width << " to be whole blocks of " << block;
  return success();
}

DimSource SliceOp::getDimSource(unsigned dim) { return {getInput(), dim}; }

LogicalResult ConcatOp::verify() {
  if (getInputs().empty())
    return emitOpError() << "expected at least one input";
  auto result = llvm::cast<RankedTensorType>(getResult().getType());
  int64_t width = 0;
  for (Value input : getInputs()) {
    auto type = llvm::cast<RankedTensorType>(input.getType());
    if (type.getRank() != 2 || type.isDynamicDim(1) || type.getElementType() != result.getElementType() ||
        !compatible(type.getDimSize(0), result.getDimSize(0)))
      return emitOpError() << "expected inputs of rank 2, static columns, equal rows and element type, but got " << type
                           << " for " << result;
    width += type.getDimSize(1);
  }
  if (result.getRank() != 2 || result.getDimSize(1) != width)
    return emitOpError() << "expected " << width << " columns in the result, but got " << result;
  return success();
}

std::pair<Value, int64_t> ConcatOp::pieceAt(int64_t column) {
  for (Value input : getInputs()) {
    int64_t width = shapeOf(input.getType())[1];
    if (column < width)
      return {input, column};
    column -= width;
  }
  llvm_unreachable("a column of the result lies in one of the inputs");
}

DimSource ConcatOp::getDimSource(unsigned dim) { return {getInputs().front(), dim}; }
