// Scales of products: fetched into registers, put into the ring, read from it.
#include "compiler/Conversion/HopperToNVVM/Distribution.h"

#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace vernier;
using namespace vernier::simt;
using arith::CmpIPredicate;

int64_t Distribution::heldScales(int64_t count) { return llvm::divideCeil(count, scaleThreads()); }

LogicalResult Distribution::loadScales(hopper::LoadScalesOp op) {
  int64_t count = op.getResult().getType().getRows(), cols = op.getResult().getType().getCols(), height = op.getHeight();
  auto word = b.getIntegerType(unsigned(8 * cols));
  Type loads = op.getWhole() ? word : b.getI8Type();
  Address address = addressOf(op.getMemref(), VectorType::get({count, 1}, b.getI8Type()), Value());
  CodeWords words(b, loc);
  Value mine = words.add(coordinate(op.getRow()), arith::SubIOp::create(b, loc, thread, i32(firstScaleThread)));
  Value last = words.add(coordinate(op.getLimit()), i32(-1));
  int64_t width = llvm::cast<MemRefType>(op.getMemref().getType()).getShape().back();
  bool beyond = !op.getWhole() && cols > 1 && (ShapedType::isDynamic(width) || width % cols);
  SmallVector<Value> loaded;
  for (int64_t i = 0; i < heldScales(count); ++i) {
    Value row = arith::MinUIOp::create(b, loc, words.add(mine, i32(i * scaleThreads())), last); // rows are numbers of 32 bits
    if (height > 1)
      row = arith::DivUIOp::create(b, loc, row, i32(height));
    row = toIndex(row);
    auto load = [&](Value col) -> Value {
      unsigned alignment = loads.getIntOrFloatBitWidth() / 8;
      return LLVM::LoadOp::create(b, loc, loads, pointer(address, row, col), alignment);
    };
    if (op.getWhole() || cols == 1) {
      loaded.push_back(load(number(op.getCol())));
      continue;
    }
    Value all;
    for (int64_t j = 0; j < cols; ++j) {
      Value col = arith::AddIOp::create(b, loc, number(op.getCol()), index(j));
      if (beyond)
        col = arith::MinUIOp::create(b, loc, col, index(width - 1));
      Value one = arith::ExtUIOp::create(b, loc, word, load(col));
      if (j)
        one = arith::ShLIOp::create(b, loc, one, arith::ConstantOp::create(b, loc, b.getIntegerAttr(word, 8 * j)));
      all = all ? arith::OrIOp::create(b, loc, all, one).getResult() : one;
    }
    loaded.push_back(all);
  }
  tiles[op.getResult()] = {fromNumbers(loaded, word)};
  return success();
}

/// Byte `at` of a word of scales, as FP32.
Value Distribution::scaleOf(Value word, Value at) {
  auto type = llvm::cast<IntegerType>(word.getType());
  if (type.getWidth() > 8) {
    Value bits = arith::IndexCastOp::create(b, loc, type, arith::MulIOp::create(b, loc, at, index(8)));
    word = arith::TruncIOp::create(b, loc, b.getI8Type(), arith::ShRUIOp::create(b, loc, word, bits));
  }
  return lanes.scaleValue(arith::ExtUIOp::create(b, loc, b.getI32Type(), word));
}

LogicalResult Distribution::putScales(hopper::PutScalesOp op) {
  int64_t count = op.getScales().getType().getRows();
  Value held = parts(op.getScales())[0], mine = arith::SubIOp::create(b, loc, thread, i32(firstScaleThread));
  Value to = stagedPointer(slots.lookup(op.getSlot()), op.getOffset()), factor;
  if (op.getFactor())
    factor = scaleOf(extract(parts(op.getFactor())[0], 0), number(op.getFactorFirst()));
  for (int64_t i = 0; i < heldScales(count); ++i) {
    OpBuilder::InsertionGuard guard(b);
    Value at = arith::AddIOp::create(b, loc, mine, i32(i * scaleThreads()));
    if ((i + 1) * scaleThreads() > count)
      b.setInsertionPointToStart(
          scf::IfOp::create(b, loc, arith::CmpIOp::create(b, loc, CmpIPredicate::ult, at, i32(count)), false).thenBlock());
    for (int64_t j = 0; j < int64_t(op.getBlocks()); ++j) {
      Value scale = scaleOf(extract(held, i), arith::AddIOp::create(b, loc, number(op.getFirst()), index(j)));
      if (factor)
        scale = arith::MinimumFOp::create(b, loc, arith::MulFOp::create(b, loc, scale, factor), lanes.f32(scale, 0x1p127));
      Value place = j ? CodeWords(b, loc).add(at, i32(j * count)) : at;
      LLVM::StoreOp::create(b, loc, scale, LLVM::GEPOp::create(b, loc, to.getType(), b.getF32Type(), to, ValueRange{place}));
    }
  }
  return success();
}

LogicalResult Distribution::commit(hopper::CommitOp op) {
  if (makes()) // for the tensor cores to see
    fenceProxy();
  NVVM::MBarrierArriveOp::create(b, loc, b.getI64Type(), barrierOf(slots.lookup(op.getSlot()).barriers, true), Value());
  return success();
}

LogicalResult Distribution::readScales(hopper::ReadScalesOp op) {
  VectorType tile = tileType(op.getResult());
  Value from = LLVM::IntToPtrOp::create(b, loc, LLVM::LLVMPointerType::get(b.getContext(), 3), number(op.getScales()));
  auto load = [&](Value at, int64_t count) -> Value {
    Value pointer = LLVM::GEPOp::create(b, loc, from.getType(), b.getF32Type(), from, ValueRange{at});
    return LLVM::LoadOp::create(b, loc, VectorType::get({count}, b.getF32Type()), pointer, unsigned(4 * count));
  };
  CodeWords words(b, loc);
  int64_t first = op.getFirst(), rows = tile.getDimSize(0), cols = tile.getDimSize(1);
  Parts result;
  if (cols == 1) {
    for (int64_t i = 0, n = layout.localRows(rows); i < n; ++i) {
      Value row = words.shr(itemRow(layout.itemOf(i, rows)), i32(llvm::Log2_64(layout.blockRows(rows))));
      result.push_back(load(words.add(row, i32(first)), 1));
    }
  } else {
    int64_t local = layout.localCols(cols), together = layout.neighbours(cols);
    SmallVector<Value> numbers;
    for (int64_t j = 0; j < local; j += together) {
      Value piece = load(words.add(gridColumn(cols), i32(first + layout.colOffset(j, cols))), together);
      for (int64_t k = 0; k < together; ++k)
        numbers.push_back(extract(piece, k));
    }
    result.push_back(fromNumbers(numbers, b.getF32Type()));
  }
  tiles[op.getResult()] = result;
  return success();
}
