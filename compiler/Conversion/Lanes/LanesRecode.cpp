// Codes of one element to codes of another, without a detour through numbers.
//
// The general way works on 16-bit integers and is right for everything. Real data is nearly always tamer than that, and
// a whole chunk of it can then be re-encoded on bytes: each pair of elements has a short way for the codes that stay
// normal, with a test whether all codes of the chunk are such.
#include "compiler/Conversion/Lanes/Lanes.h"

#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace vernier;

using arith::CmpIPredicate;

namespace {
/// A short way: bytes, and whether they are right (i1).
struct ShortWay {
  Value codes, holds;
};

/// Arithmetic on bytes.
class Bytes {
public:
  Bytes(Lanes &lanes, Value codes) : lanes(lanes), b(lanes.builder()), loc(lanes.location()), codes(codes) {}

  Value number(int64_t value) { return lanes.integer(codes, 8, value); }
  Value add(Value a, Value c) { return arith::AddIOp::create(b, loc, a, c); }
  Value sub(Value a, Value c) { return arith::SubIOp::create(b, loc, a, c); }
  Value bitAnd(Value a, int64_t mask) { return arith::AndIOp::create(b, loc, a, number(mask)); }
  Value bitOr(Value a, Value c) { return arith::OrIOp::create(b, loc, a, c); }
  Value left(Value a, int64_t bits) { return arith::ShLIOp::create(b, loc, a, number(bits)); }
  Value right(Value a, int64_t bits) { return arith::ShRUIOp::create(b, loc, a, number(bits)); }
  Value is(CmpIPredicate predicate, Value a, Value c) { return arith::CmpIOp::create(b, loc, predicate, a, c); }
  Value count(Value condition) { return arith::ExtUIOp::create(b, loc, codes.getType(), condition); }
  /// One value a block (i32) to one a lane (i8).
  Value perLane(Value blocks) { return lanes.repeat(lanes.narrow(blocks), lanes.count(codes) / lanes.count(blocks)); }
  Value all(Value condition) { return vector::ReductionOp::create(b, loc, vector::CombiningKind::AND, condition); }
  Value both(Value a, Value c) { return arith::AndIOp::create(b, loc, a, c); }
  /// low <= v <= high in every lane (i32).
  Value within(Value v, int64_t low, int64_t high) {
    return all(both(lanes.cmp(CmpIPredicate::sge, v, low), lanes.cmp(CmpIPredicate::sle, v, high)));
  }

  Lanes &lanes;
  OpBuilder &b;
  Location loc;
  Value codes;
};
} // namespace

/// Equal elements: the exponent field moves by the shift, as long as source and result are normal, or zero.
static ShortWay sameElement(Bytes bytes, const mx::ElementLimits &limits, Value shift) {
  Lanes &lanes = bytes.lanes;
  int64_t step = 1 << limits.mantissaBits, top = limits.maxCode;
  Value move = lanes.shl(lanes.clamp(shift, -16, 16), limits.mantissaBits);
  // Magnitudes between low and high stay normal and in range.
  Value low = lanes.clamp(lanes.sub(lanes.i32(move, step), move), step, top + 1);
  Value high = lanes.clamp(lanes.sub(lanes.i32(move, top), move), -1, top);
  Value span = lanes.sub(high, low);
  Value magnitude = bytes.bitAnd(bytes.codes, 0x7f);
  Value zero = bytes.is(CmpIPredicate::eq, magnitude, bytes.number(0));
  Value inside = bytes.is(CmpIPredicate::ule, bytes.sub(magnitude, bytes.perLane(low)), bytes.perLane(span));
  Value moved = lanes.select(zero, magnitude, bytes.add(magnitude, bytes.perLane(move)));
  return {bytes.bitOr(moved, bytes.bitAnd(bytes.codes, 0x80)),
          bytes.both(bytes.all(bytes.bitOr(inside, zero)), bytes.within(span, 0, 127))};
}

/// A 4-bit element with one mantissa bit to a wider one: magnitude m is m << d above a base; its one subnormal, 1, is a
/// power of two and lies half a step lower.
static ShortWay fromFourBits(Bytes bytes, const mx::ElementLimits &from, const mx::ElementLimits &to, Value shift) {
  Lanes &lanes = bytes.lanes;
  int64_t widen = to.mantissaBits - from.mantissaBits;
  // Field of the result for the source's field 0.
  Value field = lanes.add(shift, lanes.i32(shift, to.bias() - from.bias()));
  int64_t fields = from.maxCode >> from.mantissaBits;
  Value base = lanes.shl(field, to.mantissaBits);
  Value magnitude = bytes.bitAnd(bytes.codes, 7);
  Value one = bytes.is(CmpIPredicate::eq, magnitude, bytes.number(1));
  Value zero = bytes.is(CmpIPredicate::eq, magnitude, bytes.number(0));
  Value scaled = bytes.add(bytes.left(magnitude, widen), bytes.perLane(base));
  scaled = lanes.select(one, bytes.perLane(base), scaled);
  scaled = lanes.select(zero, magnitude, scaled);
  Value sign = bytes.left(bytes.bitAnd(bytes.codes, 8), 4);
  return {bytes.bitOr(scaled, sign), bytes.within(field, 1, int64_t(to.maxCode >> to.mantissaBits) - fields)};
}

/// To a 4-bit element with one mantissa bit, two bits fewer: normal results round in place, the others are told apart by
/// comparing with the codes of a quarter (below or at it: 0) and of three quarters (from there on: 1.0).
static ShortWay toFourBits(Bytes bytes, const mx::ElementLimits &from, const mx::ElementLimits &to, Value shift) {
  Lanes &lanes = bytes.lanes;
  int64_t bits = from.mantissaBits, half = 1 << (bits - 1);
  Value oneField = lanes.sub(lanes.i32(shift, from.bias()), shift); // the field whose numbers become 1 to 2
  auto codeOf = [&](int64_t fieldsBelow, int64_t fraction) {
    return bytes.perLane(
        lanes.add(lanes.shl(lanes.sub(oneField, lanes.i32(oneField, fieldsBelow)), bits), lanes.i32(oneField, fraction)));
  };
  Value magnitude = bytes.bitAnd(bytes.codes, 0x7f);
  Value odd = bytes.bitAnd(bytes.right(magnitude, 2), 1);
  Value rounded = bytes.right(bytes.add(bytes.add(magnitude, bytes.number(1)), odd), 2);
  Value bias = bytes.perLane(lanes.shl(lanes.sub(oneField, lanes.i32(oneField, 1)), to.mantissaBits));
  Value normal = bytes.sub(rounded, bias);
  Value small = bytes.add(bytes.count(bytes.is(CmpIPredicate::ugt, magnitude, codeOf(2, 0))),
                          bytes.count(bytes.is(CmpIPredicate::uge, magnitude, codeOf(1, half))));
  Value code = lanes.select(bytes.is(CmpIPredicate::ult, magnitude, codeOf(0, 0)), small, normal);
  code = arith::MinUIOp::create(bytes.b, bytes.loc, code, bytes.number(to.maxCode));
  Value sign = bytes.right(bytes.bitAnd(bytes.codes, 0x80), 4);
  return {bytes.bitOr(code, sign), bytes.within(oneField, 3, 15)};
}

Value Lanes::recode(Value codes, Type from, Type to, Value shift, bool rises) {
  mx::ElementLimits source = mx::limitsOf(from), target = mx::limitsOf(to);
  bool fourBitSource = from.getIntOrFloatBitWidth() == 4 && source.mantissaBits == 1;
  bool fourBitTarget = to.getIntOrFloatBitWidth() == 4 && target.mantissaBits == 1 && source.mantissaBits == 3;
  Bytes bytes(*this, codes);
  ShortWay way;
  if (from == to && from.getIntOrFloatBitWidth() == 8)
    way = sameElement(bytes, source, shift);
  else if (fourBitSource && to.getIntOrFloatBitWidth() == 8)
    way = fromFourBits(bytes, source, target, shift);
  else if (fourBitTarget && from.getIntOrFloatBitWidth() == 8)
    way = toFourBits(bytes, source, target, shift);
  else
    return recodeAny(codes, from, to, shift, rises);
  auto branch = scf::IfOp::create(b, loc, codes.getType(), way.holds, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(branch.thenBlock());
  scf::YieldOp::create(b, loc, way.codes);
  b.setInsertionPointToStart(branch.elseBlock());
  scf::YieldOp::create(b, loc, recodeAny(codes, from, to, shift, rises));
  return branch.getResult(0);
}

Value Lanes::recodeAny(Value codes, Type from, Type to, Value shift, bool rises) {
  mx::ElementLimits source = mx::limitsOf(from), target = mx::limitsOf(to);
  unsigned sourceWidth = from.getIntOrFloatBitWidth(), targetWidth = to.getIntOrFloatBitWidth();
  Type wide = typeLike(codes, b.getIntegerType(16));
  auto number = [&](int64_t value) { return integer(codes, 16, value); };
  auto op2 = [&]<typename Op>(Value a, Value c) -> Value { return Op::create(b, loc, a, c); };
  auto andI = [&](Value a, int64_t mask) { return op2.operator()<arith::AndIOp>(a, number(mask)); };
  auto less = [&](Value a, int64_t limit) -> Value {
    return arith::CmpIOp::create(b, loc, CmpIPredicate::ult, a, number(limit));
  };
  Value all = arith::ExtUIOp::create(b, loc, wide, codes);
  Value magnitude = andI(all, (1 << (sourceWidth - 1)) - 1);
  Value exponent = op2.operator()<arith::ShRUIOp>(magnitude, number(source.mantissaBits));
  // Significand with its hidden bit, and the exponent field it belongs to.
  Value hidden = number(1 << source.mantissaBits);
  Value subnormal = less(magnitude, 1 << source.mantissaBits);
  Value fraction = andI(magnitude, (1 << source.mantissaBits) - 1);
  Value significand = select(subnormal, fraction, op2.operator()<arith::OrIOp>(fraction, hidden));
  Value field = op2.operator()<arith::MaxUIOp>(exponent, number(1));
  if (rises)
    // A subnormal may become normal: move its leading bit to where the hidden bit is.
    for (int bit = source.mantissaBits; bit >= 1; --bit) {
      Value low = less(significand, 1 << source.mantissaBits);
      significand = select(low, op2.operator()<arith::ShLIOp>(significand, number(1)), significand);
      field = select(low, op2.operator()<arith::SubIOp>(field, number(1)), field);
    }
  // t: exponent of the result above the target's smallest normal exponent.
  Value delta = add(shift, i32(shift, -source.bias() - target.minExponent));
  Value t = arith::TruncIOp::create(b, loc, typeLike(delta, b.getIntegerType(16)), clamp(delta, -64, 64));
  t = op2.operator()<arith::AddIOp>(repeat(t, count(codes) / count(t)), field);
  Value zero = number(0);
  Value deficit = op2.operator()<arith::MaxSIOp>(op2.operator()<arith::SubIOp>(zero, t), zero);
  int narrower = source.mantissaBits - target.mantissaBits;
  // One bit more than needed below the point, so that there is always one to round away.
  Value s = op2.operator()<arith::ShLIOp>(significand, number(1 + std::max(0, -narrower)));
  Value drop =
      op2.operator()<arith::MinSIOp>(op2.operator()<arith::AddIOp>(deficit, number(1 + std::max(0, narrower))), number(14));
  Value half = op2.operator()<arith::ShLIOp>(number(1), op2.operator()<arith::SubIOp>(drop, number(1)));
  Value odd = andI(op2.operator()<arith::ShRUIOp>(s, drop), 1);
  Value sum =
      op2.operator()<arith::AddIOp>(op2.operator()<arith::AddIOp>(s, half), op2.operator()<arith::SubIOp>(odd, number(1)));
  Value rounded = op2.operator()<arith::ShRUIOp>(sum, drop);
  Value above = op2.operator()<arith::ShLIOp>(op2.operator()<arith::MaxSIOp>(t, zero), number(target.mantissaBits));
  Value code = op2.operator()<arith::AddIOp>(rounded, above);
  if (rises) {
    code = op2.operator()<arith::MinUIOp>(code, number(target.maxCode));
    code = select(arith::CmpIOp::create(b, loc, CmpIPredicate::eq, significand, zero), zero, code);
  }
  if (source.hasNaN && target.hasNaN)
    code = select(arith::CmpIOp::create(b, loc, CmpIPredicate::ugt, magnitude, number(source.maxCode)),
                  number((1 << (targetWidth - 1)) - 1), code);
  Value sign = andI(all, 1 << (sourceWidth - 1));
  if (targetWidth > sourceWidth)
    sign = op2.operator()<arith::ShLIOp>(sign, number(targetWidth - sourceWidth));
  else if (targetWidth < sourceWidth)
    sign = op2.operator()<arith::ShRUIOp>(sign, number(sourceWidth - targetWidth));
  return narrow(op2.operator()<arith::OrIOp>(code, sign));
}
