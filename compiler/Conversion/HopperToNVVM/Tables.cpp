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
/// sign, in either half; a half that is not may take one from the other, which is then computed as well.
LogicalResult Distribution::lookup(hopper::LookupOp op) {
  auto function = op.getTable().getDefiningOp<hopper::TabulateOp>();
  CodeWords words(b, loc);
  auto real = VectorType::get({V}, b.getF32Type());
  constexpr int64_t both = 0x10001;
  constexpr int64_t outside = (kSign - 1) & ~(TableType::kMagnitudes - 1);
  Value none = arith::SelectOp::create(b, loc, number(function.getWorth()), i32(0), i32(-1));
  Parts results;
  for (Value part : parts(op.getInput())) {
    SmallVector<Value> places;
    Value any = none;
    int64_t perWord = V % 2 ? 1 : 2;
    for (int64_t w = 0; w < V / perWord; ++w) {
      Value word;
      if (perWord == 2) {
        Value all = vector::BitCastOp::create(b, loc, VectorType::get({V / 2}, b.getI32Type()), part);
        word = extract(all, w);
      } else {
        Value half = arith::BitcastOp::create(b, loc, b.getI16Type(), extract(part, w));
        word = words.bitOr(arith::ExtUIOp::create(b, loc, b.getI32Type(), half), i32(TableType::kFirst << 16));
      }
      word = arith::SubIOp::create(b, loc, word, i32(TableType::kFirst * both));
      any = words.bitOr(any, word);
      // The sign next to the magnitude.
      word = words.add(word, words.shr(words.bitAnd(word, i32(kSign * both)), i32(15 - kIndexBits)));
      for (int64_t half = 0; half < perWord; ++half) {
        Value index = words.bitAnd(half ? words.shr(word, i32(16)) : word, i32(TableType::kEntries - 1));
        places.push_back(words.shl(index, i32(2)));
      }
    }
    Value misses = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ne, words.bitAnd(any, i32(outside * both)), i32(0));
    auto branch = scf::IfOp::create(b, loc, real, misses, /*withElseRegion=*/true);
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(branch.thenBlock());
    scf::YieldOp::create(b, loc, evaluate(function, part));
    b.setInsertionPointToStart(branch.elseBlock());
    SmallVector<Value> found;
    for (Value place : places)
      found.push_back(LLVM::LoadOp::create(b, loc, b.getF32Type(), sharedPointer(int64_t(*function.getShared()), place), 4));
    scf::YieldOp::create(b, loc, fromNumbers(found, b.getF32Type()));
    results.push_back(branch.getResult(0));
  }
  tiles[op.getResult()] = results;
  return success();
}
