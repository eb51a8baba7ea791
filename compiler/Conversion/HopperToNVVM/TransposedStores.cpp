// Tiles and grids to memory with their rows as columns.
#include "compiler/Conversion/HopperToNVVM/Distribution.h"

#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace vernier;
using namespace vernier::simt;
using arith::CmpIPredicate;

static Value add(OpBuilder &b, Location loc, Value a, Value c) { return arith::AddIOp::create(b, loc, a, c); }

/// Few bytes, such as scales: each number by its first holder, one by one.
LogicalResult Distribution::storeGridTransposed(hopper::StoreTransposedOp op) {
  VectorType tile = tileType(op.getValue());
  Address address = addressOf(op.getMemref(), tile, op.getStride());
  Value owns = ownsGrid(tile);
  int64_t gridRows = tile.getDimSize(0), height = layout.blockRows(gridRows);
  for (auto [i, part] : llvm::enumerate(parts(op.getValue()))) {
    Value row = toIndex(arith::DivUIOp::create(b, loc, itemRow(layout.itemOf(i, gridRows)), i32(height)));
    Value rowCondition = andBelow(b, loc, owns, row, number(op.getRows()));
    for (int64_t j = 0, n = layout.localCols(tile.getDimSize(1)); j < n; ++j) {
      Value col = toIndex(add(b, loc, gridColumn(tile.getDimSize(1)), i32(layout.colOffset(j, tile.getDimSize(1)))));
      Value condition = andBelow(b, loc, rowCondition, col, number(op.getCols()));
      OpBuilder::InsertionGuard guard(b);
      if (condition) { // most warps have nothing to store
        auto branch = scf::IfOp::create(b, loc, condition, /*withElseRegion=*/false);
        b.setInsertionPointToStart(branch.thenBlock());
      }
      Value to = pointer(address, add(b, loc, number(op.getFirstCol()), col), add(b, loc, number(op.getFirstRow()), row));
      LLVM::StoreOp::create(b, loc, extract(part, j), to);
    }
  }
  return success();
}

/// Waiting bytes lie row by row. Where they are read, a warp takes a column's.
LogicalResult Distribution::storeGathered(hopper::StoreGatheredOp op) {
  using hopper::StoreGatheredOp;
  if (!op.getShared())
    return op.emitError() << "expected shared memory; run hopper-allocate-shared first";
  VectorType grid = tileType(op.getValue());
  int64_t gridRows = grid.getDimSize(0), gridCols = grid.getDimSize(1), height = layout.blockRows(gridRows);
  int64_t offset = *op.getShared(), rowBytes = StoreGatheredOp::rowBytes(layout.getCols());
  constexpr int64_t window = StoreGatheredOp::kWindow;
  CodeWords words(b, loc);
  auto when = [&](Value condition, llvm::function_ref<void()> body) {
    auto branch = scf::IfOp::create(b, loc, condition, /*withElseRegion=*/false);
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(branch.thenBlock());
    body();
  };
  Value firstRow = number(op.getFirstRow()), owns = ownsGrid(grid);
  Value firstInWindow = words.bitAnd(arith::IndexCastOp::create(b, loc, b.getI32Type(), firstRow), i32(window - 1));
  auto put = [&] {
    int64_t count = layout.localCols(gridCols), piece = std::min<int64_t>(layout.neighbours(gridCols), 4);
    for (auto [i, part] : llvm::enumerate(parts(op.getValue()))) {
      Value row = arith::DivUIOp::create(b, loc, itemRow(layout.itemOf(int64_t(i), gridRows)), i32(height));
      Value begin = words.add(words.mul(words.add(firstInWindow, row), i32(rowBytes)), gridColumn(gridCols));
      for (int64_t j = 0; j < count; j += piece) {
        Value bytes = vector::ExtractStridedSliceOp::create(b, loc, part, j, piece, 1);
        LLVM::StoreOp::create(b, loc, bytes, sharedPointer(offset + layout.colOffset(j, gridCols), begin), unsigned(piece));
      }
    }
  };
  owns ? when(owns, put) : put();
  when(number(op.getLast()), [&] {
    barrier();
    Address address = addressOf(op.getMemref(), grid, op.getStride());
    Value end = add(b, loc, firstRow, op.getRows() ? number(op.getRows()) : index(gridRows));
    Value base = arith::AndIOp::create(b, loc, firstRow, index(-window));
    auto loop = scf::ForOp::create(b, loc, thread, i32(gridCols * window), i32(layout.threads()));
    {
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPointToStart(loop.getBody());
      Value col = words.shr(loop.getInductionVar(), i32(llvm::Log2_64(window)));
      Value inWindow = words.bitAnd(loop.getInductionVar(), i32(window - 1));
      Value row = add(b, loc, base, toIndex(inWindow)), column = toIndex(col);
      Value waits = arith::AndIOp::create(b, loc, arith::CmpIOp::create(b, loc, CmpIPredicate::uge, row, number(op.getFrom())),
                                          arith::CmpIOp::create(b, loc, CmpIPredicate::ult, row, end));
      when(andBelow(b, loc, waits, column, number(op.getCols())), [&] {
        Value at = words.add(words.mul(inWindow, i32(rowBytes)), col);
        Value byte = LLVM::LoadOp::create(b, loc, b.getI8Type(), sharedPointer(offset, at), 1);
        LLVM::StoreOp::create(b, loc, byte, pointer(address, add(b, loc, number(op.getFirstCol()), column), row));
      });
    }
    barrier(); // the next tile's bytes take their places
  });
  return success();
}

SmallVector<SmallVector<Value>> Distribution::turnedWords(ArrayRef<Value> rows, int64_t bits) {
  CodeWords words(b, loc);
  int64_t perWord = 32 / bits;
  SmallVector<SmallVector<Value>> result;
  for (size_t first = 0; first < rows.size(); first += perWord) {
    SmallVector<Value> columns;
    ArrayRef<Value> group = rows.slice(first, perWord);
    auto wordsOf = [&](Value row) -> Value {
      auto type = llvm::cast<VectorType>(row.getType());
      int64_t count = type.getNumElements() * type.getElementTypeBitWidth() / 32;
      return type.getElementTypeBitWidth() == 32 && type.getElementType().isInteger(32)
                 ? row
                 : vector::BitCastOp::create(b, loc, VectorType::get({count}, b.getI32Type()), row).getResult();
    };
    SmallVector<Value> source = llvm::map_to_vector(group, wordsOf);
    int64_t count = llvm::cast<VectorType>(source[0].getType()).getNumElements();
    for (int64_t w = 0; w < count; ++w) {
      SmallVector<Value> square = llvm::map_to_vector(source, [&](Value row) { return extract(row, w); });
      auto prmt = [&](Value a, Value c, int64_t selector) { return words.prmt(a, c, i32(selector)); };
      if (bits == 32) {
        columns.push_back(square[0]);
      } else if (bits == 16) {
        columns.push_back(prmt(square[0], square[1], 0x5410));
        columns.push_back(prmt(square[0], square[1], 0x7632));
      } else if (bits == 8) {
        llvm::append_range(columns, words.turnedBytes(square));
      } else {
        // Eight rows of eight codes: swap nibbles within pairs of rows, then turn bytes.
        SmallVector<Value> even, odd;
        for (int r = 0; r < 8; r += 2) {
          auto mask = [&](Value v, int64_t m) { return words.bitAnd(v, i32(m)); };
          even.push_back(words.bitOr(mask(square[r], 0x0f0f0f0f), words.shl(mask(square[r + 1], 0x0f0f0f0f), i32(4))));
          odd.push_back(words.bitOr(words.shr(mask(square[r], 0xf0f0f0f0), i32(4)), mask(square[r + 1], 0xf0f0f0f0)));
        }
        for (auto [evenColumn, oddColumn] : llvm::zip(words.turnedBytes(even), words.turnedBytes(odd)))
          columns.append({evenColumn, oddColumn});
      }
    }
    result.push_back(columns);
  }
  return result;
}

LogicalResult Distribution::storeTransposed(hopper::StoreTransposedOp op) {
  VectorType tile = tileType(op.getValue());
  int64_t R = layout.getRows(), C = layout.getCols(), group = layout.getRowGroup();
  int64_t bits = tile.getElementTypeBitWidth();
  bool fits = tile.getDimSize(0) == R && tile.getDimSize(1) == C && bits <= 32 && 32 / bits <= group && V * bits >= 32;
  if (!fits) {
    if (bits < 8)
      return op.emitError() << "expected " << 32 / bits << " neighbouring rows a thread, but the layout is " << layout;
    return storeGridTransposed(op);
  }
  if (!op.getShared() || !op.getPadding())
    return op.emitError() << "expected shared memory; run hopper-allocate-shared first";
  int64_t offset = *op.getShared(), padding = *op.getPadding(), perWord = 32 / bits, rowWords = R / perWord;
  CodeWords words(b, loc);
  /// Byte offset of a word of a column.
  auto place = [&](Value column, Value word) {
    Value padded = words.mul(words.shr(column, i32(llvm::Log2_64(V))), i32(padding));
    return words.shl(words.add(words.add(words.mul(column, i32(rowWords)), padded), word), i32(2));
  };
  if (op.getAlone())
    barrier(); // the readers of the tile before are done
  Value firstCol = gridColumn(C);
  Parts rows = parts(op.getValue());
  for (int64_t g = 0; g < items / group; ++g) {
    SmallVector<SmallVector<Value>> turned = turnedWords(ArrayRef<Value>(rows).slice(g * group, group), bits);
    Value first = place(firstCol, words.shr(itemRow(g * group), i32(llvm::Log2_64(perWord))));
    for (auto [w, columns] : llvm::enumerate(turned))
      for (auto [c, word] : llvm::enumerate(columns)) {
        Value bitsOfWord =
            word.getType().isInteger(32) ? word : arith::BitcastOp::create(b, loc, b.getI32Type(), word).getResult();
        LLVM::StoreOp::create(b, loc, bitsOfWord, sharedPointer(offset + int64_t(c * rowWords + w) * 4, first), 4);
      }
  }
  barrier();
  // Sixteen bytes of a row of the result at a time.
  int64_t unitWords = std::min<int64_t>(4, rowWords), unitsPerColumn = rowWords / unitWords, units = C * unitsPerColumn;
  int64_t unitBytes = unitWords * 4;
  Address address = addressOf(op.getMemref(), tile, op.getStride());
  struct Unit {
    Value words, to;
  };
  auto fetch = [&](Value unit) {
    Value column = words.shr(unit, i32(llvm::Log2_64(unitsPerColumn)));
    Value word = words.shl(words.bitAnd(unit, i32(unitsPerColumn - 1)), i32(llvm::Log2_64(unitWords)));
    Value first = place(column, word), read;
    if (padding % unitWords == 0) {
      read =
          LLVM::LoadOp::create(b, loc, VectorType::get({unitWords}, b.getI32Type()), sharedPointer(offset, first), unitBytes);
    } else {
      SmallVector<Value> apart;
      for (int64_t k = 0; k < unitWords; ++k)
        apart.push_back(LLVM::LoadOp::create(b, loc, b.getI32Type(), sharedPointer(offset + k * 4, first), 4));
      read = fromNumbers(apart, b.getI32Type());
    }
    Value columnIndex = toIndex(column), firstRow = toIndex(words.mul(word, i32(perWord)));
    Value to =
        pointer(address, add(b, loc, number(op.getFirstCol()), columnIndex), add(b, loc, number(op.getFirstRow()), firstRow));
    return Unit{read, to};
  };
  auto when = [&](Value condition) {
    auto branch = scf::IfOp::create(b, loc, condition, /*withElseRegion=*/false);
    b.setInsertionPointToStart(branch.thenBlock());
  };
  // The same for all threads: a whole tile, and rows of the result that begin at multiples of sixteen bytes.
  Value whole = arith::ConstantOp::create(b, loc, b.getBoolAttr(true));
  auto demand = [&](Value condition) { whole = arith::AndIOp::create(b, loc, whole, condition); };
  if (op.getRows())
    demand(arith::CmpIOp::create(b, loc, CmpIPredicate::eq, number(op.getRows()), index(R)));
  if (op.getCols())
    demand(arith::CmpIOp::create(b, loc, CmpIPredicate::eq, number(op.getCols()), index(C)));
  if (int64_t(op.getAlignment()) * bits / 8 < unitBytes) {
    auto aligned = [&](Value bytes) {
      Value low = arith::AndIOp::create(b, loc, bytes, index(unitBytes - 1));
      demand(arith::CmpIOp::create(b, loc, CmpIPredicate::eq, low, index(0)));
    };
    aligned(address.stride);
    Value first = number(op.getFirstRow());
    aligned(bits < 8 ? arith::ShRUIOp::create(b, loc, first, index(1)).getResult()
                     : arith::MulIOp::create(b, loc, first, index(bits / 8)).getResult());
  }
  auto branch = scf::IfOp::create(b, loc, whole, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(branch.thenBlock());
  for (int64_t u = 0; u < units; u += layout.threads()) {
    OpBuilder::InsertionGuard inner(b);
    Value number = words.add(thread, i32(u));
    if (units < layout.threads())
      when(arith::CmpIOp::create(b, loc, CmpIPredicate::ult, number, i32(units)));
    Unit unit = fetch(number);
    LLVM::StoreOp::create(b, loc, unit.words, unit.to, unitBytes);
  }
  // A ragged end, or a result whose rows begin anywhere: pieces of sixteen bytes that are aligned in memory. A piece begins
  // somewhere in a word of the tile; five words and a shift make it. Not unrolled: it is rarer.
  b.setInsertionPointToStart(branch.elseBlock());
  int64_t pieces = unitsPerColumn + 1;
  auto loop = scf::ForOp::create(b, loc, thread, i32(C * pieces), i32(layout.threads()));
  b.setInsertionPointToStart(loop.getBody());
  Value column = arith::DivUIOp::create(b, loc, loop.getInductionVar(), i32(pieces));
  Value piece = arith::RemUIOp::create(b, loc, loop.getInductionVar(), i32(pieces));
  if (op.getCols())
    when(arith::CmpIOp::create(b, loc, CmpIPredicate::ult, toIndex(column), number(op.getCols())));
  Value rowsLeft = op.getRows() ? arith::IndexCastOp::create(b, loc, b.getI32Type(), number(op.getRows())).getResult() : i32(R);
  Value bytesLeft = bits < 8 ? words.shr(words.add(rowsLeft, i32(1)), i32(1)) : words.mul(rowsLeft, i32(bits / 8));
  Value start = pointer(address, add(b, loc, number(op.getFirstCol()), toIndex(column)), number(op.getFirstRow()));
  Value startBits = arith::TruncIOp::create(b, loc, b.getI32Type(), LLVM::PtrToIntOp::create(b, loc, b.getI64Type(), start));
  // Of the piece, in bytes from the tile's first row.
  Value begin = words.add(words.mul(piece, i32(unitBytes)),
                          arith::SubIOp::create(b, loc, i32(0), words.bitAnd(startBits, i32(unitBytes - 1))));
  Value firstWord = arith::ShRSIOp::create(b, loc, begin, i32(2)), shift = words.shl(words.bitAnd(begin, i32(3)), i32(3));
  SmallVector<Value> raw, shifted;
  for (int64_t k = 0; k <= unitWords; ++k) {
    Value word = words.add(firstWord, i32(k));
    Value inside = arith::MinSIOp::create(b, loc, arith::MaxSIOp::create(b, loc, word, i32(0)), i32(rowWords - 1));
    raw.push_back(LLVM::LoadOp::create(b, loc, b.getI32Type(), sharedPointer(offset, place(column, inside)), 4));
  }
  for (int64_t k = 0; k < unitWords; ++k)
    shifted.push_back(intrinsic(b, loc, "llvm.fshr.i32", b.getI32Type(), {raw[k + 1], raw[k], shift}));
  auto between = [&](Value at, int64_t width) {
    Value after = arith::CmpIOp::create(b, loc, CmpIPredicate::sge, at, i32(0));
    Value before = arith::CmpIOp::create(b, loc, CmpIPredicate::sle, words.add(at, i32(width)), bytesLeft);
    return arith::AndIOp::create(b, loc, after, before).getResult();
  };
  Value to = LLVM::GEPOp::create(b, loc, start.getType(), b.getI8Type(), start,
                                 ValueRange{arith::ExtSIOp::create(b, loc, b.getI64Type(), begin)});
  // An odd number of packed codes ends in half a byte: its partner is 0.
  bool halves = bits < 8 && op.getRows();
  Value wholePiece = between(begin, halves ? unitBytes + 1 : unitBytes);
  auto some = scf::IfOp::create(b, loc, wholePiece, /*withElseRegion=*/true);
  b.setInsertionPointToStart(some.thenBlock());
  LLVM::StoreOp::create(b, loc, fromNumbers(shifted, b.getI32Type()), to, unitBytes);
  b.setInsertionPointToStart(some.elseBlock());
  int64_t movedBits = std::max<int64_t>(8, bits);
  auto movedType = b.getIntegerType(movedBits);
  for (int64_t k = 0; k < unitBytes * 8 / movedBits; ++k) {
    Value element = words.shr(shifted[k * movedBits / 32], i32(k * movedBits % 32));
    Value moved = movedBits == 32 ? element : arith::TruncIOp::create(b, loc, movedType, element).getResult();
    OpBuilder::InsertionGuard inner(b);
    Value at = words.add(begin, i32(k * movedBits / 8));
    when(between(at, movedBits / 8));
    if (halves) {
      Value both = arith::CmpIOp::create(b, loc, CmpIPredicate::slt, words.add(words.shl(at, i32(1)), i32(1)), rowsLeft);
      Value low = arith::AndIOp::create(b, loc, moved, arith::ConstantOp::create(b, loc, b.getI8IntegerAttr(15)));
      moved = arith::SelectOp::create(b, loc, both, moved, low);
    }
    Value where = LLVM::GEPOp::create(b, loc, to.getType(), movedType, to, ArrayRef<LLVM::GEPArg>{int32_t(k)});
    LLVM::StoreOp::create(b, loc, moved, where);
  }
  return success();
}
