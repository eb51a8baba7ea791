// quantize, dequantize, requantize: constraints and exactness. Folds are in MxFolds.cpp.
#include "dialects/mx/IR/MxOps.h"

using namespace mlir;
using namespace vernier::mx;

LogicalResult QuantizeOp::verify() {
  FormatAttr format = getResult().getType().getFormat();
  if (failed(verifySameShape(*this, getInput().getType(), getResult().getType(), "input and result")) ||
      failed(verifyColumns(*this, getResult().getType().getCols(), format.getBlockCols())))
    return failure();
  bool stochastic = getRounding() == Rounding::Stochastic;
  if (stochastic != bool(getSeed()))
    return emitOpError() << (stochastic ? "stochastic rounding needs a seed" : "a seed needs stochastic rounding");
  if (stochastic && ShapedType::isDynamic(getResult().getType().getCols()))
    return emitOpError() << "stochastic rounding needs a static number of columns, to number the elements";
  if (stochastic && format.hasTensorScale())
    return emitOpError() << "stochastic rounding is not defined with f8E4M3FN scales";
  if (format.hasTensorScale() != bool(getTensorScale()))
    return emitOpError() << (format.hasTensorScale() ? "a format with f8E4M3FN scales needs a tensor scale"
                                                     : "a tensor scale needs a format with f8E4M3FN scales");
  return success();
}

DimSource QuantizeOp::getDimSource(unsigned dim) { return {getInput(), dim}; }

LogicalResult DequantizeOp::verify() {
  return verifySameShape(*this, getInput().getType(), getResult().getType(), "input and result");
}

DimSource DequantizeOp::getDimSource(unsigned dim) { return {getInput(), dim}; }

LogicalResult RequantizeOp::verify() {
  ScaledType from = getInput().getType(), to = getResult().getType();
  FormatAttr source = from.getFormat(), target = to.getFormat();
  if (failed(verifySameShape(*this, from, to, "input and result")) ||
      failed(verifyColumns(*this, to.getCols(), target.getBlockCols())) || failed(verifyRowBlocked(*this, to, "the result")) ||
      failed(verifyRowBlocked(*this, from, "the input")))
    return failure();
  if (source.hasTensorScale() || target.hasTensorScale())
    return emitOpError() << "expected E8M0 scales on both sides; dequantize and quantize instead";
  return success();
}

DimSource RequantizeOp::getDimSource(unsigned dim) { return {getInput(), dim}; }

bool RequantizeOp::isExact() {
  FormatAttr source = getInput().getType().getFormat(), target = getResult().getType().getFormat();
  ElementLimits from = limitsOf(source.getElement()), to = limitsOf(target.getElement());
  // A block of the result that spans several of the input may have to drop bits of those with a smaller exponent.
  if (target.getBlockCols() > source.getBlockCols())
    return false;
  // A NaN code under a finite scale poisons its whole block.
  if (from.hasNaN)
    return false;
  // Every code survives when the target has the mantissa and the whole range of exponents, subnormals included.
  return to.mantissaBits >= from.mantissaBits &&
         to.maxExponent - to.minExponent + to.mantissaBits >= from.maxExponent - from.minExponent + from.mantissaBits;
}
