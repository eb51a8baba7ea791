// Moves of tiles whose threads hold few neighbouring columns, again and again: neighbours swap what they hold.
#include "compiler/Conversion/HopperToNVVM/Distribution.h"

#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace vernier;
using namespace vernier::simt;

static constexpr int64_t kPieceBytes = 16;

/// Stripes whose chunks share a word: what threads swap is words.
static int64_t stripesAWord(int64_t chunkBytes) { return std::max<int64_t>(1, 4 / chunkBytes); }

/// Threads that swap: as many as have a piece of sixteen bytes together. 1: there is nothing to swap.
int64_t Distribution::swappingThreads(VectorType tile, int64_t alignment) {
  int64_t bits = tile.getElementTypeBitWidth(), chunkBytes = layout.getVector() * bits / 8;
  bool whole = tile.getDimSize(0) == layout.getRows() && tile.getDimSize(1) == layout.getCols();
  if (!whole || chunkBytes < 1 || chunkBytes >= kPieceBytes || alignment * bits / 8 < kPieceBytes)
    return 1;
  int64_t threads = kPieceBytes / (chunkBytes * stripesAWord(chunkBytes));
  int64_t words = layout.lanes() * bits / 32, together = threads * std::max<int64_t>(1, chunkBytes / 4);
  return threads <= layout.getThreadCols() && words && words % together == 0 ? threads : 1;
}

/// Thread t of those that swap holds stripe t; those beyond them hold its later pieces.
std::pair<Value, int64_t> Distribution::swappedColumns(Value cols, int64_t bits, int64_t threads) {
  CodeWords code(b, loc);
  int64_t piece = kPieceBytes * 8 / bits;
  int64_t stripe = layout.getThreadCols() * layout.getVector() * stripesAWord(layout.getVector() * bits / 8);
  Value mine = code.bitAnd(threadCol, i32(threads - 1)), behind = code.shr(threadCol, i32(llvm::Log2_64(threads)));
  Value first = code.add(code.mul(mine, i32(stripe)), code.mul(behind, i32(piece)));
  return {arith::AddIOp::create(b, loc, cols, toIndex(first)), threads * stripe};
}

/// Of `threads` neighbours, each holding a chunk of as many stripes of columns: thread t gets all chunks of stripe t, in order.
/// One exchange for each bit of t; what a thread has of stripes with the other value of that bit goes to its partner.
SmallVector<Value> Distribution::swapChunks(SmallVector<Value> words, int64_t threads) {
  Value all = i32(-1), clamp = i32(31);
  int64_t chunk = int64_t(words.size()) / threads; // words of a stripe that a thread holds; grows with every exchange
  for (int64_t bit = 1; bit < threads; bit *= 2) {
    Value odd =
        arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ne, arith::AndIOp::create(b, loc, thread, i32(bit)), i32(0));
    SmallVector<Value> next;
    for (size_t first = 0; first < words.size(); first += size_t(2 * chunk)) {
      SmallVector<Value> kept, received;
      for (int64_t w = 0; w < chunk; ++w) {
        Value even = words[first + w], other = words[first + chunk + w];
        kept.push_back(arith::SelectOp::create(b, loc, odd, other, even));
        Value sent = arith::SelectOp::create(b, loc, odd, even, other);
        received.push_back(
            NVVM::ShflOp::create(b, loc, b.getI32Type(), all, sent, i32(bit), clamp, NVVM::ShflKind::bfly, UnitAttr()));
      }
      for (auto [mine, theirs] : llvm::zip(kept, received))
        next.push_back(arith::SelectOp::create(b, loc, odd, theirs, mine));
      for (auto [mine, theirs] : llvm::zip(kept, received))
        next.push_back(arith::SelectOp::create(b, loc, odd, mine, theirs));
    }
    words = std::move(next);
    chunk *= 2;
  }
  return words;
}

/// Words in which several stripes have a chunk each, one word of every thread, as words of each stripe in turn.
static SmallVector<Value> stripeByStripe(CodeWords &code, OpBuilder &b, Location loc, ArrayRef<Value> words, int64_t stripes) {
  if (stripes == 1)
    return SmallVector<Value>(words);
  if (stripes == 4)
    return code.turnedBytes(words);
  auto selector = [&](int64_t halves) -> Value { return arith::ConstantIntOp::create(b, loc, halves, 32); };
  SmallVector<Value> result;
  for (int64_t halves : {0x5410, 0x7632})
    for (size_t w = 0; w < words.size(); w += 2)
      result.push_back(code.prmt(words[w], words[w + 1], selector(halves)));
  return result;
}

LogicalResult Distribution::storeSwapped(hopper::StoreOp op, int64_t threads) {
  VectorType tile = tileType(op.getValue());
  Address address = addressOf(op.getMemref(), tile, op.getStride());
  CodeWords code(b, loc);
  int64_t bits = tile.getElementTypeBitWidth(), stripes = stripesAWord(layout.getVector() * bits / 8);
  int64_t swaps = layout.lanes() / layout.getVector() / stripes / threads;
  int64_t wordCount = layout.lanes() * bits / 32, perSwap = wordCount / swaps;
  auto [column, step] = swappedColumns(number(op.getCols()), bits, threads);
  for (auto [i, part] : llvm::enumerate(parts(op.getValue()))) {
    Value row = toIndex(extract(parts(op.getRows())[i], 0));
    Value valid = op.getValid() ? extract(parts(op.getValid())[i], 0) : Value();
    Value all = vector::BitCastOp::create(b, loc, VectorType::get({wordCount}, b.getI32Type()), part);
    for (int64_t s = 0; s < swaps; ++s) {
      SmallVector<Value> words;
      for (int64_t w = 0; w < perSwap; ++w)
        words.push_back(extract(all, s * perSwap + w));
      words = stripeByStripe(code, b, loc, swapChunks(words, threads), stripes);
      Value here = arith::AddIOp::create(b, loc, column, index(s * step));
      Value condition = andBelow(b, loc, valid, here, number(op.getLimit()));
      OpBuilder::InsertionGuard guard(b);
      if (condition)
        b.setInsertionPointToStart(scf::IfOp::create(b, loc, condition, /*withElseRegion=*/false).thenBlock());
      LLVM::StoreOp::create(b, loc, fromNumbers(words, b.getI32Type()), pointer(address, row, here), kPieceBytes);
    }
  }
  return success();
}

/// The reverse: a swap undoes itself.
LogicalResult Distribution::loadSwapped(hopper::LoadOp op, int64_t threads) {
  VectorType tile = tileType(op.getResult());
  Address address = addressOf(op.getMemref(), tile, op.getStride());
  int64_t bits = tile.getElementTypeBitWidth(), swaps = layout.lanes() / layout.getVector() / threads;
  int64_t perSwap = layout.lanes() * bits / 32 / swaps, perPiece = kPieceBytes / 4;
  auto [column, step] = swappedColumns(number(op.getCols()), bits, threads);
  auto pieceType = VectorType::get({perPiece}, b.getI32Type());
  Parts result;
  for (auto [i, partType] : llvm::enumerate(partTypes(tile))) {
    Value row = toIndex(extract(parts(op.getRows())[i], 0));
    SmallVector<Value> pieces; // all on their way before the first is used
    for (int64_t s = 0; s < swaps; ++s) {
      Value here = arith::AddIOp::create(b, loc, column, index(s * step));
      pieces.push_back(LLVM::LoadOp::create(b, loc, pieceType, pointer(address, row, here), kPieceBytes));
    }
    SmallVector<Value> all;
    for (Value piece : pieces) {
      SmallVector<Value> words;
      for (int64_t w = 0; w < perSwap; ++w)
        words.push_back(extract(piece, w));
      llvm::append_range(all, swapChunks(words, threads));
    }
    result.push_back(
        vector::BitCastOp::create(b, loc, llvm::cast<VectorType>(partType), fromNumbers(all, b.getI32Type())).getResult());
  }
  tiles[op.getResult()] = result;
  return success();
}
