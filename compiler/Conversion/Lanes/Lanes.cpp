#include "compiler/Conversion/Lanes/Lanes.h"

#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace vernier;

Type Lanes::typeLike(Value like, Type element) {
  if (auto vector = llvm::dyn_cast<VectorType>(like.getType()))
    return VectorType::get(vector.getShape(), element);
  return element;
}

int64_t Lanes::count(Value v) {
  auto vector = llvm::dyn_cast<VectorType>(v.getType());
  return vector ? vector.getNumElements() : 1;
}

static Value constant(OpBuilder &b, Location loc, Type type, TypedAttr scalar) {
  if (auto vector = llvm::dyn_cast<VectorType>(type))
    return arith::ConstantOp::create(b, loc, DenseElementsAttr::get(vector, Attribute(scalar)));
  return arith::ConstantOp::create(b, loc, scalar);
}

Value Lanes::integer(Value like, unsigned width, int64_t value) {
  Type type = b.getIntegerType(width);
  return constant(b, loc, typeLike(like, type), b.getIntegerAttr(type, value));
}
Value Lanes::i32(Value like, int64_t value) { return integer(like, 32, int32_t(value)); }
Value Lanes::f32(Value like, double value) {
  return constant(b, loc, typeLike(like, b.getF32Type()), b.getF32FloatAttr(float(value)));
}
Value Lanes::add(Value a, Value c) { return arith::AddIOp::create(b, loc, a, c); }
Value Lanes::sub(Value a, Value c) { return arith::SubIOp::create(b, loc, a, c); }
Value Lanes::bitAnd(Value a, int64_t mask) { return arith::AndIOp::create(b, loc, a, i32(a, mask)); }
Value Lanes::bitOr(Value a, Value c) { return arith::OrIOp::create(b, loc, a, c); }
Value Lanes::shl(Value a, int64_t n) { return arith::ShLIOp::create(b, loc, a, i32(a, n)); }
Value Lanes::shr(Value a, int64_t n) { return arith::ShRUIOp::create(b, loc, a, i32(a, n)); }
Value Lanes::umax(Value a, Value c) { return arith::MaxUIOp::create(b, loc, a, c); }
Value Lanes::clamp(Value a, int64_t low, int64_t high) {
  return arith::MinSIOp::create(b, loc, arith::MaxSIOp::create(b, loc, a, i32(a, low)), i32(a, high));
}
Value Lanes::cmp(arith::CmpIPredicate predicate, Value a, int64_t value) {
  unsigned width = getElementTypeOrSelf(a.getType()).getIntOrFloatBitWidth();
  return arith::CmpIOp::create(b, loc, predicate, a, integer(a, width, value));
}
Value Lanes::select(Value condition, Value a, Value c) { return arith::SelectOp::create(b, loc, condition, a, c); }
Value Lanes::bits(Value v) { return arith::BitcastOp::create(b, loc, typeLike(v, b.getI32Type()), v); }
Value Lanes::real(Value v) { return arith::BitcastOp::create(b, loc, typeLike(v, b.getF32Type()), v); }
Value Lanes::widen(Value v) { return arith::ExtUIOp::create(b, loc, typeLike(v, b.getI32Type()), v); }
Value Lanes::narrow(Value v) { return arith::TruncIOp::create(b, loc, typeLike(v, b.getI8Type()), v); }
Value Lanes::absBits(Value v) { return bitAnd(bits(v), 0x7fffffff); }

Value Lanes::splat(Value scalar, int64_t lanes) {
  return vector::BroadcastOp::create(b, loc, VectorType::get({lanes}, scalar.getType()), scalar);
}

Value Lanes::foldBlocks(Value v, int64_t block, llvm::function_ref<Value(Value, Value)> combine) {
  for (; block > 1; block /= 2) {
    int64_t lanes = count(v);
    SmallVector<int64_t> low, high;
    for (int64_t start = 0; start < lanes; start += block)
      for (int64_t i = 0; i < block / 2; ++i) {
        low.push_back(start + i);
        high.push_back(start + block / 2 + i);
      }
    Value a = vector::ShuffleOp::create(b, loc, v, v, low), c = vector::ShuffleOp::create(b, loc, v, v, high);
    v = combine(a, c);
  }
  return v;
}

Value Lanes::foldAll(Value v, llvm::function_ref<Value(Value, Value)> combine) {
  return vector::ExtractOp::create(b, loc, foldBlocks(v, count(v), combine), int64_t(0));
}

Value Lanes::repeat(Value v, int64_t times) {
  if (times == 1)
    return v;
  SmallVector<int64_t> mask;
  for (int64_t i = 0, lanes = count(v); i < lanes; ++i)
    mask.append(times, i);
  return vector::ShuffleOp::create(b, loc, v, v, mask);
}

SmallVector<Value> Lanes::turnSquare(SmallVector<Value> rows) {
  // Interleaving the first half of the rows with the second, again and again, turns the square.
  int64_t side = rows.size();
  SmallVector<int64_t> low, high;
  for (int64_t k = 0; k < side / 2; ++k) {
    low.append({k, side + k});
    high.append({side / 2 + k, side + side / 2 + k});
  }
  for (int64_t step = 1; step < side; step *= 2) {
    SmallVector<Value> next;
    for (int64_t k = 0; k < side / 2; ++k) {
      next.push_back(vector::ShuffleOp::create(b, loc, rows[k], rows[k + side / 2], low));
      next.push_back(vector::ShuffleOp::create(b, loc, rows[k], rows[k + side / 2], high));
    }
    rows = std::move(next);
  }
  return rows;
}

Value Lanes::combine(mx::ReduceKind kind, Value a, Value c) {
  switch (kind) {
  case mx::ReduceKind::Sum:
    return arith::AddFOp::create(b, loc, a, c);
  case mx::ReduceKind::Max:
    return arith::MaximumFOp::create(b, loc, a, c);
  case mx::ReduceKind::Min:
    return arith::MinimumFOp::create(b, loc, a, c);
  }
  llvm_unreachable("all kinds are listed");
}

Value Lanes::neutral(mx::ReduceKind kind, Value like) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  return f32(like, kind == mx::ReduceKind::Sum ? 0.0 : kind == mx::ReduceKind::Max ? -infinity : infinity);
}
