// Blocks to one number: within a thread, then a warp, then a thread block.
#include "compiler/Conversion/HopperToNVVM/Distribution.h"

#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace vernier;
using namespace vernier::simt;
using hopper::ReduceKind;

Value Distribution::combine(ReduceKind kind, Value a, Value c) {
  switch (kind) {
  case ReduceKind::Sum:
    return arith::AddFOp::create(b, loc, a, c);
  case ReduceKind::Min:
    return arith::MinimumFOp::create(b, loc, a, c);
  case ReduceKind::UMax:
    return arith::MaxUIOp::create(b, loc, a, c);
  case ReduceKind::Max:
  case ReduceKind::AMax: // of floats without signs; NaN wins
    return arith::MaximumFOp::create(b, loc, a, c);
  }
  llvm_unreachable("all kinds are listed");
}

/// Magnitudes in the narrowest type that is exact: 16-bit pairs share instructions.
Parts Distribution::magnitudes(hopper::ReduceOp op) {
  Type element = tileType(op.getInput()).getElementType();
  Parts result;
  for (Value part : parts(op.getInput())) {
    if (isCodes(element)) {
      SmallVector<Value> halves = CodeWords(b, loc).toHalves(part, element);
      auto type = VectorType::get({V}, b.getF16Type());
      Value joined = arith::ConstantOp::create(b, loc, b.getZeroAttr(type));
      for (auto [i, half] : llvm::enumerate(halves))
        joined = vector::InsertStridedSliceOp::create(b, loc, half, joined, int64_t(2 * i), 1);
      part = joined;
    }
    result.push_back(math::AbsFOp::create(b, loc, part));
  }
  return result;
}

LogicalResult Distribution::reduce(hopper::ReduceOp op) {
  VectorType from = tileType(op.getInput()), to = tileType(op.getResult());
  ReduceKind kind = op.getKind();
  Parts input = kind == ReduceKind::AMax ? magnitudes(op) : parts(op.getInput());
  int64_t fromRows = from.getDimSize(0), toRows = to.getDimSize(0), toCols = to.getDimSize(1);
  int64_t fromLocal = layout.localCols(from.getDimSize(1)), toLocal = layout.localCols(toCols);
  // Rows first, lane by lane, then lanes by halves.
  SmallVector<Value> rows(layout.localRows(toRows));
  for (auto [i, part] : llvm::enumerate(input)) {
    Value &row = rows[layout.localRowOf(layout.itemOf(int64_t(i), fromRows), toRows)];
    row = row ? combine(kind, row, part) : part;
  }
  SmallVector<Value> numbers;
  for (Value row : rows) {
    Value folded = lanes.foldBlocks(row, fromLocal / toLocal, [&](Value a, Value c) { return combine(kind, a, c); });
    if (kind == ReduceKind::AMax) {
      auto real = VectorType::get({toLocal}, b.getF32Type());
      if (folded.getType() != real)
        folded = arith::ExtFOp::create(b, loc, real, folded);
    }
    for (int64_t j = 0; j < toLocal; ++j)
      numbers.push_back(extract(folded, j));
  }
  bool integer = kind == ReduceKind::AMax || kind == ReduceKind::UMax;
  ReduceKind rest = integer ? ReduceKind::UMax : kind;
  if (kind == ReduceKind::AMax)
    for (Value &v : numbers)
      v = arith::BitcastOp::create(b, loc, b.getI32Type(), v);
  // Threads that hold parts of one block differ in these bits of their numbers.
  SmallVector<int64_t> masks, acrossWarps;
  for (int64_t m = layout.sharingCols(from.getDimSize(1)); m < layout.sharingCols(toCols); m *= 2)
    masks.push_back(m);
  for (int64_t m = layout.sharingRows(fromRows); m < layout.sharingRows(toRows); m *= 2)
    masks.push_back(m * layout.getThreadCols());
  Value all = i32(-1), clamp = i32(31);
  for (int64_t mask : masks) {
    if (mask >= 32) {
      acrossWarps.push_back(mask);
      continue;
    }
    for (Value &v : numbers) {
      Value bits = integer ? v : arith::BitcastOp::create(b, loc, b.getI32Type(), v).getResult();
      Value other = NVVM::ShflOp::create(b, loc, b.getI32Type(), all, bits, i32(mask), clamp, NVVM::ShflKind::bfly, UnitAttr());
      v = combine(rest, v, integer ? other : arith::BitcastOp::create(b, loc, b.getF32Type(), other).getResult());
    }
  }
  if (!acrossWarps.empty()) {
    if (!op.getShared())
      return op.emitError() << "expected shared memory; run hopper-allocate-shared first";
    combineAcrossWarps(op, numbers, acrossWarps);
  }
  Parts result;
  for (size_t i = 0; i < numbers.size(); i += toLocal)
    result.push_back(fromNumbers(ArrayRef<Value>(numbers).slice(i, toLocal), to.getElementType()));
  tiles[op.getResult()] = result;
  return success();
}

/// Every thread leaves its numbers, number n of thread t at word n * threads + t; partners meet there. With many numbers each
/// partner combines its share of them, and all fetch what the others found.
void Distribution::combineAcrossWarps(hopper::ReduceOp op, SmallVector<Value> &numbers, ArrayRef<int64_t> masks) {
  ReduceKind kind = op.getKind() == ReduceKind::AMax ? ReduceKind::UMax : op.getKind();
  int64_t threads = layout.threads(), partners = int64_t(1) << masks.size(), count = numbers.size();
  Type type = numbers.front().getType();
  Value id = thread;
  CodeWords words(b, loc);
  int64_t allMasks = 0;
  for (int64_t mask : masks)
    allMasks |= mask;
  Value base = words.bitAnd(id, i32(~allMasks));
  auto place = [&](Value number, Value who) {
    Value at = words.add(words.mul(number, i32(threads)), who);
    return sharedPointer(*op.getShared(), words.shl(at, i32(2)));
  };
  auto partner = [&](int64_t p) {
    int64_t bits = 0;
    for (auto [k, mask] : llvm::enumerate(masks))
      bits |= (p >> k & 1) ? mask : 0;
    return words.bitOr(base, i32(bits));
  };
  if (op.getAlone())
    barrier();
  for (auto [n, v] : llvm::enumerate(numbers))
    LLVM::StoreOp::create(b, loc, v, place(i32(n), id), 4);
  barrier();
  auto meet = [&](Value number) {
    Value sum;
    for (int64_t p = 0; p < partners; ++p) { // in one order, whoever adds
      Value v = LLVM::LoadOp::create(b, loc, type, place(number, partner(p)), 4);
      sum = sum ? combine(kind, sum, v) : v;
    }
    return sum;
  };
  // To share takes two more barriers and `count` loads.
  constexpr int64_t fewLoads = 32;
  bool spares = count < partners; // more partners than numbers
  if (partners <= 2 || (spares && (count * partners <= fewLoads || !llvm::isPowerOf2_64(uint64_t(count))))) {
    for (auto [n, v] : llvm::enumerate(numbers))
      v = meet(i32(n));
    return;
  }
  // Which partner this thread is: the mask bits of its number, gathered.
  Value mine = i32(0);
  for (auto [k, mask] : llvm::enumerate(masks))
    mine = words.bitOr(mine, words.shl(words.bitAnd(words.shr(id, i32(llvm::Log2_64(mask))), i32(1)), i32(k)));
  int64_t share = std::max<int64_t>(1, count / partners);
  Value first = spares ? words.bitAnd(mine, i32(count - 1)) : words.mul(mine, i32(share));
  SmallVector<Value> found;
  for (int64_t s = 0; s < share; ++s)
    found.push_back(meet(words.add(first, i32(s))));
  barrier();
  {
    OpBuilder::InsertionGuard guard(b);
    if (spares) {
      Value writes = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ult, mine, i32(count));
      b.setInsertionPointToStart(scf::IfOp::create(b, loc, writes, /*withElseRegion=*/false).thenBlock());
    }
    for (int64_t s = 0; s < share; ++s)
      LLVM::StoreOp::create(b, loc, found[s], place(words.add(first, i32(s)), base), 4);
  }
  barrier();
  for (auto [n, v] : llvm::enumerate(numbers))
    v = LLVM::LoadOp::create(b, loc, type, place(i32(n), base), 4);
}
