// broadcast and reduce: constraints and sizes.
#include "dialects/mx/IR/MxOps.h"

using namespace mlir;
using namespace vernier::mx;

LogicalResult BroadcastOp::verify() {
  auto input = llvm::cast<RankedTensorType>(getInput().getType());
  auto result = llvm::cast<RankedTensorType>(getResult().getType());
  ArrayRef<int64_t> like = shapeOf(getLike().getType());
  // A vector `like` gives the one dimension that a vector input does not.
  bool outer = like.size() == 1 && result.getRank() == 2 && input.getRank() == 1 && getDims().size() == 1 &&
               (getDims()[0] == 0 || getDims()[0] == 1) && compatible(like[0], result.getDimSize(1 - getDims()[0]));
  if (!outer && !compatible(like, result.getShape()))
    return emitOpError() << "expected the result in the shape of 'like', but got " << shapeString(result.getShape()) << " and "
                         << shapeString(like);
  if (int64_t(getDims().size()) != input.getRank())
    return emitOpError() << "expected " << input.getRank() << " dims, one for each of the input, but got " << getDims().size();
  for (auto [i, dim] : llvm::enumerate(getDims()))
    if (dim < 0 || dim >= result.getRank() || !compatible(input.getDimSize(i), result.getDimSize(dim)))
      return emitOpError() << "expected dimension " << i << " of " << shapeString(input.getShape()) << " to become dimension "
                           << dim << " of " << shapeString(result.getShape());
  if (input.getElementType() != result.getElementType())
    return emitOpError() << "expected equal element types, but got " << input << " and " << result;
  if (input.getRank() > 1)
    return emitOpError() << "expected an input of rank 0 or 1, but got " << input;
  return success();
}

DimSource BroadcastOp::getDimSource(unsigned dim) {
  if (shapeOf(getLike().getType()).size() == 1 && llvm::cast<RankedTensorType>(getResult().getType()).getRank() == 2)
    return int64_t(dim) == getDims()[0] ? DimSource{getInput(), 0} : DimSource{getLike(), 0};
  return {getLike(), dim};
}

LogicalResult ReduceOp::verify() {
  auto input = getInput().getType(), result = getResult().getType();
  int64_t axis = getAxis();
  if (input.getRank() < 1 || input.getRank() > 2 || axis < 0 || axis >= input.getRank())
    return emitOpError() << "expected an axis inside rank 1 or 2, but got axis " << axis << " of "
                         << shapeString(input.getShape());
  SmallVector<int64_t> expected(input.getShape());
  expected.erase(expected.begin() + axis);
  if (!compatible(expected, result.getShape()))
    return emitOpError() << "expected a result of shape [" << shapeString(expected) << "], but got ["
                         << shapeString(result.getShape()) << "]";
  return success();
}

DimSource ReduceOp::getDimSource(unsigned dim) {
  return {getInput(), unsigned(int64_t(dim) >= int64_t(getAxis()) ? dim + 1 : dim)};
}
