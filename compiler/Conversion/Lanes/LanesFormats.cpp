// Codes and scales. Each function is one paragraph of the numerics contract.
#include "compiler/Conversion/Lanes/Lanes.h"

#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/ADT/bit.h"

using namespace mlir;
using namespace vernier;

using arith::CmpIPredicate;

static int64_t floatBits(double value) { return llvm::bit_cast<uint32_t>(float(value)); }

Value Lanes::decode(Value codes, Type element) {
  mx::ElementLimits limits = mx::limitsOf(element);
  int mantissa = limits.mantissaBits;
  unsigned width = element.getIntOrFloatBitWidth();
  Value code = widen(codes);
  Value magnitude = bitAnd(code, (1 << (width - 1)) - 1);
  Value sign = shl(bitAnd(code, 1 << (width - 1)), 32 - width);
  // Normal: move the fields and re-bias. Subnormal: an integer count of the smallest step. FP32 subnormals never
  // appear, which would be slow and would hang on the mode of the floating-point unit.
  Value normal = add(shl(magnitude, 23 - mantissa), i32(magnitude, int64_t(127 - limits.bias()) << 23));
  Value count = arith::UIToFPOp::create(b, loc, typeLike(magnitude, b.getF32Type()), magnitude);
  Value subnormal = bits(arith::MulFOp::create(b, loc, count, f32(magnitude, std::ldexp(1.0, limits.minExponent - mantissa))));
  Value value = select(cmp(CmpIPredicate::ult, magnitude, 1 << mantissa), subnormal, normal);
  if (limits.hasNaN)
    value = select(cmp(CmpIPredicate::ugt, magnitude, limits.maxCode), i32(magnitude, 0x7fc00000), value);
  return real(bitOr(value, sign));
}

/// Rounds FP32 magnitude bits that are in range to the element's codes.
Value Lanes::roundedCode(Value magnitude, const mx::ElementLimits &limits) {
  int drop = 23 - limits.mantissaBits;
  // Normal: add just under half of the last kept bit, and its own value to break ties to even; a carry moves into the
  // exponent, as it should.
  Value odd = bitAnd(shr(magnitude, drop), 1);
  Value rounded = shr(add(add(magnitude, i32(magnitude, (1 << (drop - 1)) - 1)), odd), drop);
  Value normal = sub(rounded, i32(magnitude, int64_t(127 - limits.bias()) << limits.mantissaBits));
  // Subnormal: adding a number whose last bit is the smallest step lets the adder round to nearest even.
  double magic = std::ldexp(1.0, 23 + limits.minExponent - limits.mantissaBits);
  Value sum = arith::AddFOp::create(b, loc, real(magnitude), f32(magnitude, magic));
  Value subnormal = sub(bits(sum), i32(magnitude, floatBits(magic)));
  return select(cmp(CmpIPredicate::ult, magnitude, floatBits(std::ldexp(1.0, limits.minExponent))), subnormal, normal);
}

Value Lanes::encode(Value value, Type element) {
  mx::ElementLimits limits = mx::limitsOf(element);
  unsigned width = element.getIntOrFloatBitWidth();
  Value all = bits(value);
  Value magnitude = bitAnd(all, 0x7fffffff);
  Value sign = bitAnd(shr(all, 32 - width), 1 << (width - 1));
  Value limited = arith::MinUIOp::create(b, loc, magnitude, i32(magnitude, floatBits(limits.max)));
  Value code = roundedCode(limited, limits);
  return narrow(bitOr(code, sign));
}

Value Lanes::encodeStochastic(Value value, Type element, Value noise) {
  mx::ElementLimits limits = mx::limitsOf(element);
  unsigned width = element.getIntOrFloatBitWidth();
  int drop = 23 - limits.mantissaBits;
  Value all = bits(value);
  Value magnitude = arith::MinUIOp::create(b, loc, bitAnd(all, 0x7fffffff), i32(all, floatBits(limits.max)));
  Value sign = bitAnd(shr(all, 32 - width), 1 << (width - 1));
  Value normal = sub(shr(add(magnitude, shr(noise, 32 - drop)), drop),
                     i32(magnitude, int64_t(127 - limits.bias()) << limits.mantissaBits));
  // Subnormal: the value in units of the smallest step, with 22 bits behind the point.
  Value steps = arith::MulFOp::create(b, loc, real(magnitude),
                                      f32(magnitude, std::ldexp(1.0, limits.mantissaBits - limits.minExponent + 22)));
  Value below = cmp(CmpIPredicate::ult, magnitude, floatBits(std::ldexp(1.0, limits.minExponent)));
  Value fixedPoint = arith::FPToUIOp::create(b, loc, all.getType(), select(below, steps, f32(steps, 0)));
  Value subnormal = shr(add(fixedPoint, shr(noise, 10)), 22);
  Value code = arith::MinUIOp::create(b, loc, select(below, subnormal, normal), i32(normal, limits.maxCode));
  return narrow(bitOr(code, sign));
}

Value Lanes::scaleByte(Value amax, mx::FormatAttr format, Value base) {
  mx::ElementLimits limits = mx::limitsOf(format.getElement());
  int drop = 23 - limits.mantissaBits;
  Value exponent;
  switch (format.getRule()) {
  case mx::ScaleRule::Even:
    exponent = shr(add(add(amax, i32(amax, (1 << (drop - 1)) - 1)), bitAnd(shr(amax, drop), 1)), 23);
    break;
  case mx::ScaleRule::Ceil: {
    int64_t largest = floatBits(limits.max) & 0x7fffff;
    Value above = cmp(CmpIPredicate::ugt, bitAnd(amax, 0x7fffff), largest);
    exponent = add(shr(amax, 23), arith::ExtUIOp::create(b, loc, amax.getType(), above));
    break;
  }
  default:
    exponent = shr(amax, 23);
  }
  // FP32 subnormals have exponent field 0: whatever their leading bit, the clamp below gives byte 0.
  Value byte = sub(exponent, i32(amax, limits.maxExponent));
  if (base)
    byte = add(byte, sub(base, i32(base, 127)));
  byte = clamp(byte, 0, 254);
  byte = select(cmp(CmpIPredicate::eq, amax, 0), i32(amax, 0), byte);
  byte = select(cmp(CmpIPredicate::uge, amax, 0x7f800000), i32(amax, 255), byte);
  if (base)
    byte = select(cmp(CmpIPredicate::eq, base, 255), i32(amax, 255), byte);
  return byte;
}

Value Lanes::scaleValue(Value byte) {
  // The first, 2^-127, and the last, NaN, have the same bit set beside their exponents.
  Value special = cmp(CmpIPredicate::ult, bitAnd(add(byte, i32(byte, 1)), 255), 2);
  return real(select(special, bitOr(shl(byte, 23), i32(byte, 0x00400000)), shl(byte, 23)));
}

Value Lanes::inverseScale(Value byte) {
  Value normal = shl(sub(i32(byte, 254), byte), 23);
  return real(select(cmp(CmpIPredicate::uge, byte, 254), i32(byte, 0x00400000), normal));
}

Value Lanes::power(Value exponent) { return real(shl(add(clamp(exponent, -126, 127), i32(exponent, 127)), 23)); }

Value Lanes::poison(Value codes, Value poisoned, Type element) {
  mx::ElementLimits limits = mx::limitsOf(element);
  return select(poisoned, integer(codes, 8, limits.hasNaN ? int64_t(limits.maxCode) + 1 : 0), codes);
}

Value Lanes::toBF16(Value value) {
  Value all = bits(value);
  Value odd = bitAnd(shr(all, 16), 1);
  Value rounded = shr(add(add(all, i32(all, 0x7fff)), odd), 16);
  Value quiet = bitOr(shr(all, 16), i32(all, 0x40));
  Value result = select(cmp(CmpIPredicate::ugt, bitAnd(all, 0x7fffffff), 0x7f800000), quiet, rounded);
  Value half = arith::TruncIOp::create(b, loc, typeLike(all, b.getIntegerType(16)), result);
  return arith::BitcastOp::create(b, loc, typeLike(all, b.getBF16Type()), half);
}

Value Lanes::pack(Value codes) {
  SmallVector<int64_t> even, odd;
  for (int64_t i = 0, lanes = count(codes); i < lanes; i += 2) {
    even.push_back(i);
    odd.push_back(i + 1);
  }
  Value low = vector::ShuffleOp::create(b, loc, codes, codes, even);
  Value high = vector::ShuffleOp::create(b, loc, codes, codes, odd);
  return bitOr(low, arith::ShLIOp::create(b, loc, high, integer(high, 8, 4)));
}

Value Lanes::unpack(Value bytes) {
  Value low = arith::AndIOp::create(b, loc, bytes, integer(bytes, 8, 15));
  Value high = arith::ShRUIOp::create(b, loc, bytes, integer(bytes, 8, 4));
  SmallVector<int64_t> mask;
  for (int64_t i = 0, lanes = count(bytes); i < lanes; ++i)
    mask.append({i, lanes + i});
  return vector::ShuffleOp::create(b, loc, low, high, mask);
}
