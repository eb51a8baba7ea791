#include "compiler/Conversion/MxToHopper/TileNumbers.h"

using namespace mlir;
using namespace vernier::tiled;
using arith::CmpIPredicate;

Value TileNumbers::i32(int64_t value) { return arith::ConstantOp::create(b, loc, b.getI32IntegerAttr(int32_t(value))); }
Value TileNumbers::narrow(Value index) { return arith::IndexCastOp::create(b, loc, b.getI32Type(), index); }
Value TileNumbers::widen(Value number) { return arith::IndexCastUIOp::create(b, loc, b.getIndexType(), number); }

TileNumbers::Divisor TileNumbers::divisor(Value value) {
  Value one = arith::ConstantOp::create(b, loc, b.getF32FloatAttr(1));
  Value real = arith::UIToFPOp::create(b, loc, b.getF32Type(), value);
  return {value, arith::DivFOp::create(b, loc, one, real, arith::FastMathFlags::afn)};
}

/// The first guess is wrong by one at most.
std::pair<Value, Value> TileNumbers::split(Value number, const Divisor &divisor) {
  Value guess = arith::MulFOp::create(b, loc, arith::UIToFPOp::create(b, loc, b.getF32Type(), number), divisor.inverse);
  Value quotient = arith::FPToUIOp::create(b, loc, b.getI32Type(), guess);
  Value rest = arith::SubIOp::create(b, loc, number, arith::MulIOp::create(b, loc, quotient, divisor.value));
  auto correct = [&](CmpIPredicate predicate, Value limit, int64_t by) {
    Value wrong = arith::CmpIOp::create(b, loc, predicate, rest, limit);
    Value nextQuotient = arith::AddIOp::create(b, loc, quotient, i32(by));
    Value nextRest = arith::SubIOp::create(b, loc, rest, arith::MulIOp::create(b, loc, divisor.value, i32(by)));
    quotient = arith::SelectOp::create(b, loc, wrong, nextQuotient, quotient);
    rest = arith::SelectOp::create(b, loc, wrong, nextRest, rest);
  };
  correct(CmpIPredicate::slt, i32(0), -1);
  correct(CmpIPredicate::uge, divisor.value, 1);
  return {quotient, rest};
}

TileNumbers::Bands TileNumbers::bands(Value down, Value across, int64_t height) {
  return {down, height, divisor(arith::MulIOp::create(b, loc, across, i32(height)))};
}

std::pair<Value, Value> TileNumbers::placeOf(Value number, const Bands &bands) {
  auto [bandNumber, inBand] = split(number, bands.tiles);
  Value first = arith::MulIOp::create(b, loc, bandNumber, i32(bands.height));
  Value left = arith::SubIOp::create(b, loc, bands.down, first);
  // An inverse found anew holds no register from tile to tile.
  Divisor height = divisor(arith::MinUIOp::create(b, loc, left, i32(bands.height)));
  auto [across, down] = split(inBand, height);
  return {arith::AddIOp::create(b, loc, first, down), across};
}
