// Folds. Each one keeps every bit of every result; what only keeps values, or nearly so, does not belong here.
#include "dialects/mx/IR/MxOps.h"

using namespace mlir;
using namespace vernier::mx;

/// quantize(dequantize(t)) is t when t itself came out of nearest-even quantisation to the same format by the `floor` rule:
/// rounding and saturation keep the amax in its binade and the clamp acts alike twice, so the same scale is found again.
/// Not under `ceil`: an amax just above half the range rounds down to half of it, and the next smaller scale then fits.
/// Not under `even`: an amax near FP32's end rounds up to 2^128, which FP32 does not hold. Not through a narrower type.
OpFoldResult QuantizeOp::fold(FoldAdaptor) {
  auto dequantize = getInput().getDefiningOp<DequantizeOp>();
  if (!dequantize || getRounding() != Rounding::NearestEven || getTensorScale())
    return {};
  FormatAttr format = getResult().getType().getFormat();
  auto original = dequantize.getInput().getDefiningOp<QuantizeOp>();
  if (!original || original.getRounding() != Rounding::NearestEven || original.getResult().getType() != getResult().getType() ||
      format.getRule() != ScaleRule::Floor || !getInput().getType().getElementType().isF32())
    return {};
  return dequantize.getInput();
}

/// requantize to the same format by the same argument (on codes, nothing overflows under `even`), and a chain whose first step
/// is exact and of equal blocks: the second step then sees the same decoded values and, because amax-derived scales do not
/// depend on how a value is encoded, finds the same bits.
OpFoldResult RequantizeOp::fold(FoldAdaptor) {
  FormatAttr target = getResult().getType().getFormat();
  if (auto original = getInput().getDefiningOp<QuantizeOp>())
    if (original.getRounding() == Rounding::NearestEven && original.getResult().getType() == getResult().getType() &&
        target.getRule() != ScaleRule::Ceil)
      return getInput();
  auto first = getInput().getDefiningOp<RequantizeOp>();
  if (!first || !first.isExact())
    return {};
  FormatAttr source = first.getInput().getType().getFormat(), middle = getInput().getType().getFormat();
  if (source.getBlockCols() != middle.getBlockCols() || target.getBlockCols() > middle.getBlockCols())
    return {};
  getInputMutable().assign(first.getInput());
  return getResult();
}

/// A transpose of a transpose is the original when neither re-blocks.
OpFoldResult TransposeOp::fold(FoldAdaptor) {
  auto inner = getInput().getDefiningOp<TransposeOp>();
  if (!inner || inner.reblocks() || reblocks() || inner.getInput().getType() != getResult().getType())
    return {};
  return inner.getInput();
}

/// All columns, or a slice of a slice.
OpFoldResult SliceOp::fold(FoldAdaptor) {
  if (getInput().getType() == getResult().getType())
    return getInput();
  auto inner = getInput().getDefiningOp<SliceOp>();
  if (!inner)
    return {};
  setOffset(getOffset() + inner.getOffset());
  getInputMutable().assign(inner.getInput());
  return getResult();
}
