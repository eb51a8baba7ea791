// Codes in 32-bit words: what sm_90a's instructions make of them.
#include "compiler/Conversion/HopperToNVVM/Distribution.h"

#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace vernier;
using namespace vernier::simt;

Value CodeWords::i32(int64_t value) { return arith::ConstantOp::create(b, loc, b.getI32IntegerAttr(int32_t(value))); }

Value CodeWords::prmt(Value a, Value c, Value selector) {
  return intrinsic(b, loc, "llvm.nvvm.prmt", b.getI32Type(), {a, c, selector});
}

Value CodeWords::pair(Value low, Value high, Type element) {
  return vector::FromElementsOp::create(b, loc, VectorType::get({2}, element), ValueRange{low, high});
}

Value CodeWords::splat(double value, VectorType type) {
  Attribute number = b.getFloatAttr(type.getElementType(), value);
  return arith::ConstantOp::create(b, loc, DenseElementsAttr::get(type, number));
}

Value CodeWords::joinHalfWords(Value low, Value high) {
  Value both = pair(low, high, b.getI16Type());
  return vector::ExtractOp::create(b, loc, vector::BitCastOp::create(b, loc, VectorType::get({1}, b.getI32Type()), both),
                                   int64_t(0));
}

Value CodeWords::e4m3FromFloats(Value low, Value high) {
  return intrinsic(b, loc, "llvm.nvvm.ff.to.e4m3x2.rn", b.getI16Type(), {high, low});
}

Value CodeWords::e4m3FromHalves(Value low, Value high) {
  auto convert = [&](Value v) { return intrinsic(b, loc, "llvm.nvvm.f16x2.to.e4m3x2.rn", b.getI16Type(), {v}); };
  return joinHalfWords(convert(low), convert(high));
}

SmallVector<Value> CodeWords::toHalves(Value words, Type element) {
  SmallVector<Value> halves;
  auto halfPair = VectorType::get({2}, b.getF16Type());
  auto asHalves = [&](Value word) -> Value {
    Value one = vector::FromElementsOp::create(b, loc, VectorType::get({1}, b.getI32Type()), ValueRange{word});
    return vector::BitCastOp::create(b, loc, halfPair, one);
  };
  for (int64_t w = 0, n = llvm::cast<VectorType>(words.getType()).getNumElements(); w < n; ++w) {
    Value word = vector::ExtractOp::create(b, loc, words, w);
    if (element.getIntOrFloatBitWidth() == 8) {
      Value one = vector::FromElementsOp::create(b, loc, VectorType::get({1}, b.getI32Type()), ValueRange{word});
      Value parts = vector::BitCastOp::create(b, loc, VectorType::get({2}, b.getI16Type()), one);
      for (int64_t i : {0, 1})
        halves.push_back(
            intrinsic(b, loc, "llvm.nvvm.e4m3x2.to.f16x2.rn", halfPair, {vector::ExtractOp::create(b, loc, parts, i)}));
      continue;
    }
    // The numbers of E2M1 have an f16 whose low byte is 0: a table of eight high bytes, and the sign above it.
    for (int64_t part : {0, 1}) {
      Value codes = part ? shr(word, i32(16)) : word;
      Value magnitudes = prmt(i32(0x3e3c3800), i32(0x46444240), bitAnd(codes, i32(0x7777)));
      Value signs = prmt(i32(0x8000), i32(0), bitAnd(shr(codes, i32(3)), i32(0x1111)));
      Value bytes = bitOr(magnitudes, signs);
      halves.push_back(asHalves(prmt(bytes, i32(0), i32(0x1404))));
      halves.push_back(asHalves(prmt(bytes, i32(0), i32(0x3424))));
    }
  }
  return halves;
}

/// There is no conversion to E2M1. The rounding: with P the power of two at or below the magnitude, at least 1, numbers of E2M1
/// near it are multiples of P / 2; adding P * 2^(p - 2), where p bits are the significand, leaves just those, rounded to
/// nearest-even. 7 and more would round to 8, so magnitudes are cut at 6 first. All of it is scaled by 2^-6: then the numbers'
/// E4M3 codes are four times their E2M1 codes (see packQuarter). Signs are left out; they come from the source.
Value CodeWords::magnitudeToE2M1(Value scaled) {
  auto type = llvm::cast<VectorType>(scaled.getType());
  Type element = type.getElementType();
  int bits = element.getIntOrFloatBitWidth();
  int significand = llvm::cast<FloatType>(element).getFPMantissaWidth();
  auto integers = VectorType::get(type.getShape(), b.getIntegerType(bits));
  uint64_t sign = uint64_t(1) << (bits - 1), fraction = (uint64_t(1) << (significand - 1)) - 1;
  APInt kept(bits, ~(sign | fraction), /*isSigned=*/false, /*implicitTrunc=*/true);
  Value exponent =
      arith::ConstantOp::create(b, loc, DenseElementsAttr::get(integers, b.getIntegerAttr(b.getIntegerType(bits), kept)));
  Value magnitude = arith::MinNumFOp::create(b, loc, math::AbsFOp::create(b, loc, scaled), splat(6.0 / 64, type));
  Value least = arith::MaxNumFOp::create(b, loc, magnitude, splat(1.0 / 64, type));
  Value power = arith::BitcastOp::create(
      b, loc, type, arith::AndIOp::create(b, loc, arith::BitcastOp::create(b, loc, integers, least), exponent));
  double shift = std::ldexp(1.0, significand - 2);
  Value sum = math::FmaOp::create(b, loc, power, splat(shift, type), magnitude);
  return math::FmaOp::create(b, loc, power, splat(-shift, type), sum);
}

/// Swapped, codes 1, 0, 3, 2 come in the bytes of a word: a multiplication that moves the first of each pair above the second
/// puts them side by side. Otherwise they come in order, and shifts do it.
Value CodeWords::packQuarter(Value low, Value high, Value lowSigns, Value highSigns, bool swapped) {
  auto quarter = [&](Value word, Value signs) {
    if (swapped) {
      Value codes = bitOr(shr(word, i32(2)), bitAnd(shr(signs, i32(4)), i32(0x08080808)));
      return mul(codes, i32(0x1001));
    }
    Value codes = bitOr(shl(word, i32(2)), bitAnd(signs, i32(0x80808080)));
    return bitOr(shr(codes, i32(4)), shr(codes, i32(8)));
  };
  return prmt(quarter(low, lowSigns), quarter(high, highSigns), i32(swapped ? 0x7531 : 0x6420));
}

/// The bytes that hold the signs of four numbers, in the order 1, 0, 3, 2.
Value CodeWords::swappedSigns(Value numbers, int64_t first) {
  auto type = llvm::cast<VectorType>(numbers.getType());
  int64_t bytes = type.getElementTypeBitWidth() / 8;
  auto words = VectorType::get({type.getNumElements() * bytes / 4}, b.getI32Type());
  Value all = type == words ? numbers : vector::BitCastOp::create(b, loc, words, numbers).getResult();
  auto word = [&](int64_t i) -> Value { return vector::ExtractOp::create(b, loc, all, first * bytes / 4 + i); };
  if (bytes == 2)
    return prmt(word(0), word(1), i32(0x5713));
  return prmt(prmt(word(0), word(1), i32(0x0037)), prmt(word(2), word(3), i32(0x0037)), i32(0x5410));
}

/// Pairs of rows first, then pairs of pairs.
SmallVector<Value> CodeWords::turnedBytes(ArrayRef<Value> rows) {
  Value a = prmt(rows[0], rows[1], i32(0x5140)), c = prmt(rows[0], rows[1], i32(0x7362));
  Value d = prmt(rows[2], rows[3], i32(0x5140)), e = prmt(rows[2], rows[3], i32(0x7362));
  SmallVector<Value> columns;
  for (auto [low, high, selector] : {std::tuple(a, d, 0x5410), {a, d, 0x7632}, {c, e, 0x5410}, {c, e, 0x7632}})
    columns.push_back(prmt(low, high, i32(selector)));
  return columns;
}
