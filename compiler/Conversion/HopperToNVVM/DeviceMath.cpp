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

/// 2^n * 2^r with n = round(x * log2 e): the remainder in two steps keeps its bits, and ex2.approx is within 2 ulp of
/// 1 there. 2^n in two factors, since n reaches below the exponents of normal numbers.
static Value exp(Lanes &lanes, Value x) {
  OpBuilder &b = lanes.builder();
  Location loc = lanes.location();
  auto fma = [&](Value a, Value c, Value d) -> Value { return math::FmaOp::create(b, loc, a, c, d); };
  auto mul = [&](Value a, Value c) -> Value { return arith::MulFOp::create(b, loc, a, c); };
  constexpr double magic = 12582912.0, log2e = 1.4426950408889634;
  double high = float(log2e);
  Value in = arith::MaximumFOp::create(b, loc, arith::MinimumFOp::create(b, loc, x, lanes.f32(x, 89.0)), lanes.f32(x, -104.0));
  Value shifted = fma(in, lanes.f32(x, high), lanes.f32(x, magic));
  Value n = arith::SubFOp::create(b, loc, shifted, lanes.f32(x, magic));
  Value negative = arith::NegFOp::create(b, loc, n);
  Value r = fma(in, lanes.f32(x, log2e - high), fma(in, lanes.f32(x, high), negative));
  Value p = perLane(lanes, "llvm.nvvm.ex2.approx", r);
  Value exponent = lanes.sub(lanes.bits(shifted), lanes.bits(lanes.f32(x, magic)));
  Value half = arith::ShRSIOp::create(b, loc, exponent, lanes.i32(exponent, 1));
  auto power = [&](Value e) { return lanes.real(lanes.shl(lanes.add(e, lanes.i32(e, 127)), 23)); };
  return mul(mul(p, power(half)), power(lanes.sub(exponent, half)));
}

Value vernier::simt::deviceMath(Lanes &lanes, Operation &op, ArrayRef<Value> operands) {
  if (op.getNumResults() != 1 || !getElementTypeOrSelf(op.getResult(0).getType()).isF32())
    return {};
  if (llvm::isa<math::ExpOp>(op))
    return exp(lanes, operands[0]);
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
