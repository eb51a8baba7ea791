// Functions of real numbers and the random generator.
#include "compiler/Conversion/Lanes/Lanes.h"

#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace vernier;

/// exp(x) = 2^n * exp(r) with n = round(x / ln 2) and |r| <= ln(2) / 2; ln 2 in two parts, so that r keeps its bits, and
/// 1 + r * q(r) with q a minimax fit whose error is below 2^-28. Below 1 ulp.
Value Lanes::exp(Value x) { return expBelow(arith::MinimumFOp::create(b, loc, x, f32(x, 89.0)), /*negative=*/false); }

/// exp of numbers up to 89, or up to 0.
Value Lanes::expBelow(Value x, bool negative) {
  auto mul = [&](Value a, Value c) -> Value { return arith::MulFOp::create(b, loc, a, c); };
  auto fma = [&](Value a, Value c, Value d) -> Value { return math::FmaOp::create(b, loc, a, c, d); };
  Value in = arith::MaximumFOp::create(b, loc, x, f32(x, -104.0));
  constexpr double magic = 12582912.0; // 1.5 * 2^23: adding it rounds to an integer in the low bits.
  Value shifted = fma(in, f32(x, 1.44269504088896341), f32(x, magic));
  Value n = arith::SubFOp::create(b, loc, shifted, f32(x, magic));
  Value r = fma(n, f32(x, -0.693359375), in);
  r = fma(n, f32(x, 2.12194440e-4), r);
  Value q = f32(x, 0.00139336426898);
  for (double c : {0.00836914981813, 0.0416664649911, 0.166665052485, 0.500000001346, 1.00000001077, 1.0})
    q = fma(q, r, f32(x, c));
  // 2^n in two factors, since n reaches below the exponents of normal numbers: one of them a constant, where n does not reach
  // above them too. `shifted` is n above a number whose low bits are zero; shifting it up by 23 leaves n alone.
  if (negative)
    return mul(mul(q, real(add(shl(bits(shifted), 23), i32(bits(shifted), (127 + 64) << 23)))), f32(x, 0x1p-64));
  Value half = shr(bits(shifted), 1), rest = sub(bits(shifted), half);
  auto factor = [&](Value exponent) { return real(add(shl(exponent, 23), i32(exponent, 0x3f800000))); };
  return mul(mul(q, factor(half)), factor(rest));
}

/// With e = exp(-|x|): 1 / (1 + e), or e / (1 + e) for negative x; nothing overflows. What 1 + e lost to rounding moves the
/// ratio by -ratio * lost / total, and 1 / total is the ratio or what it lacks to 1. Within 2 ulp.
Value Lanes::sigmoid(Value x) {
  auto subF = [&](Value a, Value c) -> Value { return arith::SubFOp::create(b, loc, a, c); };
  auto mul = [&](Value a, Value c) -> Value { return arith::MulFOp::create(b, loc, a, c); };
  Value e = expBelow(real(bitOr(bits(x), i32(bits(x), 0x80000000))), /*negative=*/true);
  Value positive = arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OGE, x, f32(x, 0));
  Value one = f32(x, 1);
  Value total = arith::AddFOp::create(b, loc, one, e);
  Value ratio = arith::DivFOp::create(b, loc, select(positive, one, e), total);
  Value lost = subF(e, subF(total, one));
  return subF(ratio, mul(mul(ratio, lost), select(positive, ratio, subF(one, ratio))));
}

/// log(x) = k ln 2 + log(1 + f) with 1 + f in [sqrt(1/2), sqrt(2)): f - f^2 / 2 + s (f^2 / 2 + R(s^2)), s = f / (2 + f), and
/// R's four coefficients from the minimax fit that C libraries share. Below 1 ulp.
Value Lanes::log(Value x) {
  auto mul = [&](Value a, Value c) -> Value { return arith::MulFOp::create(b, loc, a, c); };
  auto addF = [&](Value a, Value c) -> Value { return arith::AddFOp::create(b, loc, a, c); };
  auto subF = [&](Value a, Value c) -> Value { return arith::SubFOp::create(b, loc, a, c); };
  auto fma = [&](Value a, Value c, Value d) -> Value { return math::FmaOp::create(b, loc, a, c, d); };
  constexpr double infinity = std::numeric_limits<double>::infinity();
  Value small = cmp(arith::CmpIPredicate::ult, absBits(x), 0x00800000);
  Value in = bits(select(small, mul(x, f32(x, 33554432.0)), x));
  Value offset = add(in, i32(in, 0x3f800000 - 0x3f3504f3));
  Value k = sub(arith::ShRSIOp::create(b, loc, offset, i32(in, 23)), select(small, i32(in, 127 + 25), i32(in, 127)));
  Value f = subF(real(add(bitAnd(offset, 0x007fffff), i32(in, 0x3f3504f3))), f32(x, 1.0));
  Value s = arith::DivFOp::create(b, loc, f, addF(f, f32(x, 2.0)));
  Value z = mul(s, s), w = mul(z, z);
  Value odd = mul(z, fma(w, f32(x, 0.28498786688), f32(x, 0.66666662693)));
  Value even = mul(w, fma(w, f32(x, 0.24279078841), f32(x, 0.40000972152)));
  Value half = mul(mul(f, f), f32(x, 0.5));
  Value kReal = arith::SIToFPOp::create(b, loc, x.getType(), k);
  Value tail = fma(kReal, f32(x, 9.0580006145e-06), mul(s, addF(half, addF(odd, even))));
  Value result = fma(kReal, f32(x, 6.9313812256e-01), addF(subF(tail, half), f));
  result = select(cmp(arith::CmpIPredicate::eq, absBits(x), 0), f32(x, -infinity), result);
  // Above all finite numbers: infinity stays, NaN stays; negative numbers have no logarithm.
  result = select(cmp(arith::CmpIPredicate::uge, absBits(x), 0x7f800000), x, result);
  Value negative =
      arith::AndIOp::create(b, loc, cmp(arith::CmpIPredicate::slt, bits(x), 0), cmp(arith::CmpIPredicate::ne, absBits(x), 0));
  return select(negative, real(i32(in, 0x7fc00000)), result);
}

/// A polynomial near 0, elsewhere 1 - 2 / (exp(2 |x|) + 1). Below 2 ulp.
Value Lanes::tanh(Value x) {
  auto mul = [&](Value a, Value c) -> Value { return arith::MulFOp::create(b, loc, a, c); };
  Value magnitude = real(absBits(x));
  Value square = mul(x, x), p = f32(x, -5.70498872745e-3);
  for (double c : {2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1})
    p = math::FmaOp::create(b, loc, p, square, f32(x, c));
  Value near = math::FmaOp::create(b, loc, mul(p, square), magnitude, magnitude);
  Value e = arith::AddFOp::create(b, loc, exp(mul(magnitude, f32(x, 2.0))), f32(x, 1.0));
  Value far = arith::SubFOp::create(b, loc, f32(x, 1.0), arith::DivFOp::create(b, loc, f32(x, 2.0), e));
  Value isNear = arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OLT, magnitude, f32(x, 0.625));
  Value result = bits(select(isNear, near, far));
  return real(bitOr(result, arith::AndIOp::create(b, loc, bits(x), i32(result, 0x80000000))));
}

/// exp(-a^2) / (1 + 2 a) * P(q) with a = |x| and q = (a - 4) / (a + 4), in FP64: products of three rounded factors would
/// miss by 5 ulp. P is a Chebyshev fit of degree 11 on a in [0, 10.1], where erfc underflows.
Value Lanes::erfc(Value x) {
  Type wide = typeLike(x, b.getF64Type());
  auto number = [&](double v) -> Value {
    return arith::ConstantOp::create(b, loc, DenseElementsAttr::get(llvm::cast<VectorType>(wide), v));
  };
  auto fma = [&](Value a, Value c, Value d) -> Value { return math::FmaOp::create(b, loc, a, c, d); };
  Value limited = arith::MinimumFOp::create(b, loc, real(absBits(x)), f32(x, 10.1));
  Value a = arith::ExtFOp::create(b, loc, wide, limited);
  Value q =
      arith::DivFOp::create(b, loc, arith::SubFOp::create(b, loc, a, number(4)), arith::AddFOp::create(b, loc, a, number(4)));
  Value p = number(-0.0006529517855397417);
  for (double c : {-0.0011707049069710075, 0.005010903007745404, -0.016025416886807742, 0.03723552812176736,
                   -0.06635028700421661, 0.09371954982353702, -0.10103855825715444, 0.06809792045655934, 0.015379665629863665,
                   -0.1396211321966304, 1.2329951184781531})
    p = fma(p, q, number(c));
  p = arith::DivFOp::create(b, loc, p, fma(a, number(2), number(1)));
  // exp(-a^2): the part of a^2 that FP32 has, and the rest to first order.
  Value square = arith::MulFOp::create(b, loc, a, a);
  Value high = arith::TruncFOp::create(b, loc, x.getType(), square);
  Value rest = arith::SubFOp::create(b, loc, arith::ExtFOp::create(b, loc, wide, high), square);
  Value e = arith::ExtFOp::create(b, loc, wide, exp(arith::NegFOp::create(b, loc, high)));
  Value positive = arith::MulFOp::create(b, loc, p, fma(e, rest, e));
  Value isNegative = cmp(arith::CmpIPredicate::slt, bits(x), 0);
  Value result = select(isNegative, arith::SubFOp::create(b, loc, number(2), positive), positive);
  return arith::TruncFOp::create(b, loc, x.getType(), result);
}

/// |x|^y = 2^(y log2 |x|) in FP64, where log2 is the series of atanh; then the cases that C's pow lists.
Value Lanes::pow(Value x, Value y) {
  Type wide = typeLike(x, b.getF64Type()), words = typeLike(x, b.getI64Type());
  auto number = [&](double v) -> Value {
    return arith::ConstantOp::create(b, loc, DenseElementsAttr::get(llvm::cast<VectorType>(wide), v));
  };
  auto addD = [&](Value a, Value c) -> Value { return arith::AddFOp::create(b, loc, a, c); };
  auto mul = [&](Value a, Value c) -> Value { return arith::MulFOp::create(b, loc, a, c); };
  auto fma = [&](Value a, Value c, Value d) -> Value { return math::FmaOp::create(b, loc, a, c, d); };
  auto is = [&](arith::CmpFPredicate predicate, Value a, Value c) -> Value {
    return arith::CmpFOp::create(b, loc, predicate, a, c);
  };
  auto both = [&](Value a, Value c) -> Value { return arith::AndIOp::create(b, loc, a, c); };
  constexpr double infinity = std::numeric_limits<double>::infinity();
  Value magnitude = real(absBits(x));
  // Every FP32 number is a normal FP64 one.
  Value in = arith::BitcastOp::create(b, loc, words, arith::ExtFOp::create(b, loc, wide, magnitude));
  constexpr int64_t rootHalf = 0x3fe6a09e667f3bcd;
  Value offset = add(in, integer(in, 64, 0x3ff0000000000000 - rootHalf));
  Value k = sub(arith::ShRUIOp::create(b, loc, offset, integer(in, 64, 52)), integer(in, 64, 1023));
  Value fraction = arith::AndIOp::create(b, loc, offset, integer(in, 64, 0x000fffffffffffff));
  Value m = arith::BitcastOp::create(b, loc, wide, add(fraction, integer(in, 64, rootHalf)));
  Value s = arith::DivFOp::create(b, loc, addD(m, number(-1)), addD(m, number(1)));
  Value z = mul(s, s), series = number(1.0 / 17);
  for (int n = 15; n >= 1; n -= 2)
    series = fma(series, z, number(1.0 / n));
  Value log2 = fma(mul(s, series), number(2.8853900817779268), arith::SIToFPOp::create(b, loc, wide, k));
  Value t = mul(arith::ExtFOp::create(b, loc, wide, y), log2);
  t = arith::MaxNumFOp::create(b, loc, arith::MinNumFOp::create(b, loc, t, number(200)), number(-200));
  constexpr double magic = 6755399441055744.0; // 1.5 * 2^52
  Value shifted = addD(t, number(magic)), n = addD(shifted, number(-magic));
  Value r = mul(arith::SubFOp::create(b, loc, t, n), number(0.6931471805599453)), p = number(1.0 / 39916800);
  for (double c : {3628800., 362880., 40320., 5040., 720., 120., 24., 6., 2., 1., 1.})
    p = fma(p, r, number(1.0 / c));
  Value whole = arith::FPToSIOp::create(b, loc, words, n);
  Value factor = arith::BitcastOp::create(
      b, loc, wide, arith::ShLIOp::create(b, loc, add(whole, integer(in, 64, 1023)), integer(in, 64, 52)));
  Value result = arith::TruncFOp::create(b, loc, x.getType(), mul(p, factor));
  // Zero and infinity, by the sign of y.
  Value rises = is(arith::CmpFPredicate::OGT, y, f32(y, 0));
  Value zeroX = is(arith::CmpFPredicate::OEQ, magnitude, f32(x, 0)),
        infiniteX = is(arith::CmpFPredicate::OEQ, magnitude, f32(x, infinity));
  result = select(zeroX, select(rises, f32(x, 0), f32(x, infinity)), result);
  result = select(infiniteX, select(rises, f32(x, infinity), f32(x, 0)), result);
  // Negative numbers have whole powers only, odd ones negative.
  Value absY = real(absBits(y));
  Value huge = is(arith::CmpFPredicate::OGE, absY, f32(y, 16777216.0));
  Value asInteger = arith::FPToSIOp::create(b, loc, typeLike(y, b.getI32Type()), select(huge, f32(y, 0), y));
  Value isWhole = arith::OrIOp::create(
      b, loc, huge, is(arith::CmpFPredicate::OEQ, arith::SIToFPOp::create(b, loc, y.getType(), asInteger), y));
  Value isOdd = both(cmp(arith::CmpIPredicate::ne, bitAnd(asInteger, 1), 0), isWhole);
  Value negative = cmp(arith::CmpIPredicate::slt, bits(x), 0);
  result = select(both(negative, isOdd), arith::NegFOp::create(b, loc, result), result);
  Value nan = real(i32(bits(x), 0x7fc00000));
  Value finiteNonzero = both(is(arith::CmpFPredicate::OLT, x, f32(x, 0)), is(arith::CmpFPredicate::OGT, x, f32(x, -infinity)));
  Value noWhole = arith::XOrIOp::create(b, loc, isWhole, integer(isWhole, 1, 1));
  Value finiteY = is(arith::CmpFPredicate::OLT, absY, f32(y, infinity));
  result = select(both(both(finiteNonzero, noWhole), finiteY), nan, result);
  Value anyNaN = arith::OrIOp::create(b, loc, is(arith::CmpFPredicate::UNO, x, x), is(arith::CmpFPredicate::UNO, y, y));
  result = select(anyNaN, nan, result);
  Value one =
      arith::OrIOp::create(b, loc, is(arith::CmpFPredicate::OEQ, x, f32(x, 1)), is(arith::CmpFPredicate::OEQ, y, f32(y, 0)));
  Value minusOne = both(is(arith::CmpFPredicate::OEQ, x, f32(x, -1)), is(arith::CmpFPredicate::OEQ, absY, f32(y, infinity)));
  return select(arith::OrIOp::create(b, loc, one, minusOne), f32(x, 1), result);
}

Value Lanes::philox(Value seed, Value index) {
  Type i64 = b.getI64Type();
  Type words = typeLike(index, b.getI32Type()), wide = typeLike(index, i64);
  auto low = [&](Value v) -> Value { return arith::TruncIOp::create(b, loc, words, v); };
  auto highWord = [&](Value v) -> Value { return low(arith::ShRUIOp::create(b, loc, v, integer(v, 64, 32))); };
  Value k0 = low(seed), k1 = highWord(seed);
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
