// Functions of real numbers and the random generator.
#include "compiler/Conversion/MxToHost/Lanes.h"

#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace vernier::host;

/// exp(x) = 2^n * exp(r) with n = round(x / ln 2) and |r| <= ln(2) / 2; ln 2 in two parts, so that r keeps its bits, and
/// the Taylor polynomial of degree 7, whose error is below 2^-27. Below 1 ulp.
Value Lanes::exp(Value x) {
  auto mul = [&](Value a, Value c) -> Value { return arith::MulFOp::create(b, loc, a, c); };
  auto fma = [&](Value a, Value c, Value d) -> Value { return math::FmaOp::create(b, loc, a, c, d); };
  Value high = arith::MinimumFOp::create(b, loc, x, f32(x, 89.0));
  Value in = arith::MaximumFOp::create(b, loc, high, f32(x, -104.0));
  constexpr double magic = 12582912.0; // 1.5 * 2^23: adding it rounds to an integer in the low bits.
  Value shifted = arith::AddFOp::create(b, loc, mul(in, f32(x, 1.44269504088896341)), f32(x, magic));
  Value n = arith::SubFOp::create(b, loc, shifted, f32(x, magic));
  Value r = fma(n, f32(x, -0.693359375), in);
  r = fma(n, f32(x, 2.12194440e-4), r);
  // 1 + (r + r^2 * q): the small terms are summed before the 1, so that the last addition alone rounds at full size.
  Value q = f32(x, 1.0 / 5040);
  for (double c : {1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5})
    q = fma(q, r, f32(x, c));
  Value p = arith::AddFOp::create(b, loc, fma(mul(r, r), q, r), f32(x, 1.0));
  // 2^n in two steps, since n reaches below the exponents of normal numbers.
  Value exponent = sub(bits(shifted), bits(f32(x, magic)));
  Value half = arith::ShRSIOp::create(b, loc, exponent, i32(exponent, 1));
  return mul(mul(p, power(half)), power(sub(exponent, half)));
}

Value Lanes::philox(Value seed, Value index) {
  Type i64 = b.getI64Type(), i32Type = b.getI32Type();
  Type words = typeLike(index, i32Type), wide = typeLike(index, i64);
  auto low = [&](Value v) -> Value { return arith::TruncIOp::create(b, loc, words, v); };
  auto highWord = [&](Value v) -> Value { return low(arith::ShRUIOp::create(b, loc, v, integer(v, 64, 32))); };
  auto spread = [&](Value scalar) -> Value { return llvm::isa<VectorType>(words) ? splat(scalar, count(index)) : scalar; };
  Value seedLow = arith::TruncIOp::create(b, loc, i32Type, seed);
  Value seedHigh = arith::TruncIOp::create(b, loc, i32Type, arith::ShRUIOp::create(b, loc, seed, integer(seed, 64, 32)));
  Value k0 = spread(seedLow), k1 = spread(seedHigh);
  Value c0 = low(index), c1 = highWord(index), c2 = i32(c0, 0), c3 = i32(c0, 0);
  for (int round = 0; round < 10; ++round) {
    auto product = [&](Value c, int64_t multiplier) -> Value {
      Value extended = arith::ExtUIOp::create(b, loc, wide, c);
      return arith::MulIOp::create(b, loc, extended, integer(index, 64, multiplier));
    };
    auto bitXor = [&](Value a, Value c) -> Value { return arith::XOrIOp::create(b, loc, a, c); };
    Value p0 = product(c0, 0xD2511F53), p1 = product(c2, 0xCD9E8D57);
    c0 = bitXor(bitXor(highWord(p1), c1), k0);
    c2 = bitXor(bitXor(highWord(p0), c3), k1);
    c1 = low(p1);
    c3 = low(p0);
    k0 = add(k0, i32(k0, 0x9E3779B9));
    k1 = add(k1, i32(k1, 0xBB67AE85));
  }
  return c0;
}
