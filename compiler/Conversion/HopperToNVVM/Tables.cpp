// Tables of functions of bf16 numbers.
#include "compiler/Conversion/HopperToNVVM/Distribution.h"

#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace vernier;
using namespace vernier::simt;
using hopper::TableType;

// A number's place is its magnitude, less the least one, and behind all magnitudes where it is negative.
static constexpr int64_t kSign = 0x8000;
static constexpr int64_t kIndexBits = llvm::CTLog2<TableType::kMagnitudes>();
static_assert(TableType::kMagnitudes == int64_t(1) << kIndexBits && kIndexBits < 15);

Value Distribution::evaluate(hopper::TabulateOp function, Value argument) {
  Block &body = function.getBody().front();
  ArrayRef<int64_t> shape = llvm::cast<VectorType>(argument.getType()).getShape();
  DenseMap<Value, Value> values{{body.getArgument(0), argument}};
  for (Operation &op : body.without_terminator()) {
    auto type = VectorType::get(shape, getElementTypeOrSelf(op.getResult(0).getType()));
    if (auto constant = llvm::dyn_cast<arith::ConstantOp>(op)) {
      Attribute number = llvm::cast<DenseElementsAttr>(constant.getValue()).getSplatValue<Attribute>();
      values[constant] = arith::ConstantOp::create(b, loc, DenseElementsAttr::get(type, number));
      continue;
    }
    SmallVector<Value> operands = llvm::map_to_vector(op.getOperands(), [&](Value v) { return values.lookup(v); });
    values[op.getResult(0)] = elementwise(op, type, operands);
  }
  return values.lookup(llvm::cast<hopper::TabulatedOp>(body.getTerminator()).getValue());
}

/// All threads of the block, some neighbours each at a time.
LogicalResult Distribution::tabulate(hopper::TabulateOp op) {
  if (!op.getShared())
    return op.emitError() << "expected shared memory to be allocated";
  constexpr int64_t together = 4;
  auto branch = scf::IfOp::create(b, loc, number(op.getWorth()), /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(branch.thenBlock());
  Value first = arith::MulIOp::create(b, loc, thread, i32(together));
  auto loop = scf::ForOp::create(b, loc, first, i32(TableType::kEntries), i32(together * layout.threads()));
  {
    OpBuilder::InsertionGuard inner(b);
    b.setInsertionPointToStart(loop.getBody());
    CodeWords words(b, loc);
    Value entry = loop.getInductionVar();
    Value sign = words.shl(words.shr(entry, i32(kIndexBits)), i32(15));
    Value bits = words.bitOr(words.add(words.bitAnd(entry, i32(TableType::kMagnitudes - 1)), i32(TableType::kFirst)), sign);
    SmallVector<Value> all;
    for (int64_t i = 0; i < together; ++i)
      all.push_back(arith::TruncIOp::create(b, loc, b.getI16Type(), words.add(bits, i32(i))));
    auto type = VectorType::get({together}, b.getBF16Type());
    Value results = evaluate(op, vector::BitCastOp::create(b, loc, type, fromNumbers(all, b.getI16Type())));
    Value to = sharedPointer(int64_t(*op.getShared()), words.shl(entry, i32(2)));
    LLVM::StoreOp::create(b, loc, results, to, /*alignment=*/16);
  }
  b.setInsertionPointAfter(loop);
  barrier();
  return success();
}

/// Two numbers a word. Less the least magnitude, those that the table has are below its number of magnitudes but for their
/// sign, in either half; a half that is not may take one from the other, which is then computed as well. Few numbers are
/// computed at a time: they are seldom any, and a thread has no registers for many.
LogicalResult Distribution::lookup(hopper::LookupOp op) {
  auto function = op.getTable().getDefiningOp<hopper::TabulateOp>();
  CodeWords words(b, loc);
  constexpr int64_t both = 0x10001, together = 4;
  constexpr int64_t outside = (kSign - 1) & ~(TableType::kMagnitudes - 1);
  Value none = arith::SelectOp::create(b, loc, number(function.getWorth()), i32(0), i32(-1));
  auto misses = [&](ArrayRef<Value> all) -> Value {
    Value any = none;
    for (Value word : all)
      any = words.bitOr(any, word);
    return arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ne, words.bitAnd(any, i32(outside * both)), i32(0));
  };
  int64_t perWord = V % 2 ? 1 : 2;
  auto found = [&](ArrayRef<Value> all) {
    SmallVector<Value> numbers;
    for (Value word : all) {
      // The sign next to the magnitude.
      word = words.add(word, words.shr(words.bitAnd(word, i32(kSign * both)), i32(15 - kIndexBits)));
      for (int64_t half = 0; half < perWord; ++half) {
        Value index = words.bitAnd(half ? words.shr(word, i32(16)) : word, i32(TableType::kEntries - 1));
        Value place = sharedPointer(int64_t(*function.getShared()), words.shl(index, i32(2)));
        numbers.push_back(LLVM::LoadOp::create(b, loc, b.getF32Type(), place, 4));
      }
    }
    return fromNumbers(numbers, b.getF32Type());
  };
  auto either = [&](Type type, Value condition, llvm::function_ref<Value()> yes, llvm::function_ref<Value()> no) -> Value {
    auto branch = scf::IfOp::create(b, loc, type, condition, /*withElseRegion=*/true);
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(branch.thenBlock());
    scf::YieldOp::create(b, loc, yes());
    b.setInsertionPointToStart(branch.elseBlock());
    scf::YieldOp::create(b, loc, no());
    return branch.getResult(0);
  };
  auto real = [&](int64_t count) { return VectorType::get({count}, b.getF32Type()); };
  Parts results;
  for (Value part : parts(op.getInput())) {
    SmallVector<Value> all;
    for (int64_t w = 0; w < V / perWord; ++w) {
      Value word;
      if (perWord == 2) {
        word = extract(vector::BitCastOp::create(b, loc, VectorType::get({V / 2}, b.getI32Type()), part), w);
      } else {
        Value half = arith::BitcastOp::create(b, loc, b.getI16Type(), extract(part, w));
        word = words.bitOr(arith::ExtUIOp::create(b, loc, b.getI32Type(), half), i32(TableType::kFirst << 16));
      }
      all.push_back(arith::SubIOp::create(b, loc, word, i32(TableType::kFirst * both)));
    }
    auto sliceBySlice = [&] {
      Value result = arith::ConstantOp::create(b, loc, b.getZeroAttr(real(V)));
      for (int64_t first = 0, count = std::min<int64_t>(V, together); first < V; first += count) {
        ArrayRef<Value> some = ArrayRef(all).slice(first / perWord, count / perWord);
        Value slice = either(
            real(count), misses(some),
            [&] {
              return evaluate(function, vector::ExtractStridedSliceOp::create(b, loc, part, ArrayRef<int64_t>{first},
                                                                              ArrayRef<int64_t>{count}, ArrayRef<int64_t>{1}));
            },
            [&] { return found(some); });
        result = vector::InsertStridedSliceOp::create(b, loc, slice, result, ArrayRef<int64_t>{first}, ArrayRef<int64_t>{1});
      }
      return result;
    };
    results.push_back(either(real(V), misses(all), sliceBySlice, [&] { return found(all); }));
  }
  tiles[op.getResult()] = results;
  return success();
}
