#include "compiler/Conversion/HopperToNVVM/DeviceMath.h"

#include "compiler/Conversion/HopperToNVVM/Distribution.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace vernier;
using namespace vernier::simt;

/// An intrinsic of one number, lane by lane.
static Value perLane(Lanes &lanes, StringRef name, Value v) {
  OpBuilder &b = lanes.builder();
  Location loc = lanes.location();
  auto type = llvm::cast<VectorType>(v.getType());
  SmallVector<Value> results;
  for (int64_t i = 0; i < type.getNumElements(); ++i)
    results.push_back(intrinsic(b, loc, name, type.getElementType(), {vector::ExtractOp::create(b, loc, v, i)}));
  return vector::FromElementsOp::create(b, loc, type, results);
}

/// As Lanes::sigmoid, with a reciprocal in place of the division: rcp.approx of 1 + e, and one step of Newton's from r - 1 and
/// e * r apart, which takes in what 1 + e lost to rounding. Within 2 ulp.
static Value sigmoid(Lanes &lanes, Value x) {
  OpBuilder &b = lanes.builder();
  Location loc = lanes.location();
  auto fma = [&](Value a, Value c, Value d) -> Value { return math::FmaOp::create(b, loc, a, c, d); };
  Value e = lanes.expBelow(arith::NegFOp::create(b, loc, math::AbsFOp::create(b, loc, x)), /*negative=*/true);
  Value one = lanes.f32(x, 1), total = arith::AddFOp::create(b, loc, one, e);
  Value r = perLane(lanes, "llvm.nvvm.rcp.approx.ftz.f", total);
  Value miss = fma(arith::NegFOp::create(b, loc, e), r, arith::SubFOp::create(b, loc, one, r));
  r = fma(r, miss, r);
  Value positive = arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OGE, x, lanes.f32(x, 0));
  return arith::MulFOp::create(b, loc, lanes.select(positive, one, e), r);
}

Value vernier::simt::deviceMath(Lanes &lanes, Operation &op, ArrayRef<Value> operands) {
  if (op.getNumResults() != 1 || !getElementTypeOrSelf(op.getResult(0).getType()).isF32())
    return {};
  if (llvm::isa<math::ExpOp>(op))
    return lanes.exp(operands[0]);
  if (llvm::isa<mx::SigmoidOp>(op))
    return sigmoid(lanes, operands[0]);
  if (llvm::isa<math::LogOp>(op))
    return lanes.log(operands[0]);
  if (llvm::isa<math::TanhOp>(op))
    return lanes.tanh(operands[0]);
  if (llvm::isa<math::ErfcOp>(op))
    return lanes.erfc(operands[0]);
  if (llvm::isa<math::PowFOp>(op))
    return lanes.pow(operands[0], operands[1]);
  return {};
}
