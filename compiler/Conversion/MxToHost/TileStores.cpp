// Results into memory. A transposed result gathers in a buffer of the tile and leaves it turned.
#include "compiler/Conversion/MxToHost/TileEmitter.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace vernier;
using namespace vernier::host;
using arith::CmpIPredicate;

/// The transpose that makes an output, or null.
static mx::TransposeOp turning(Value output) { return output.getDefiningOp<mx::TransposeOp>(); }

/// Integer type in which elements are moved.
static Type bitsOf(OpBuilder &b, Type type) {
  Type element = getElementTypeOrSelf(type);
  if (auto scaled = llvm::dyn_cast<mx::ScaledType>(type))
    return b.getI8Type();
  return b.getIntegerType(std::max(8u, element.getIntOrFloatBitWidth()));
}

TileEmitter::Store TileEmitter::beginStore(const mx::Segment &segment, int64_t count) {
  Store result{segment, {}};
  if (turning(segment.output))
    result.turned = scratch({plan.rowTile, count}, bitsOf(b, segment.output.getType()));
  return result;
}

void TileEmitter::storeRow(Store &item, Row row, const Chunk &chunk) {
  Value output = item.segment.output;
  int64_t offset = item.segment.begin;
  Value column = offsetBy(chunk.start, offset);
  if (mx::TransposeOp transpose = turning(output)) {
    LaneValue v = matrix(transpose.getInput(), row, chunk, offset);
    Value data = v.data;
    if (transpose.reblocks()) {
      auto source = llvm::cast<mx::ScaledType>(transpose.getInput().getType()).getFormat();
      auto target = llvm::cast<mx::ScaledType>(output.getType()).getFormat();
      Value byte = lanes.widen(columnScale(transpose, chunk, offset, row.index));
      Value shift = lanes.sub(lanes.widen(v.scales), byte);
      Value codes = lanes.recode(v.data, source.getElement(), target.getElement(), shift,
                                 /*rises=*/source.getElement() != target.getElement());
      Value poisoned = lanes.repeat(lanes.cmp(CmpIPredicate::eq, byte, 255), source.getBlockCols());
      data = lanes.poison(codes, poisoned, target.getElement());
    }
    Type bits = bitsOf(b, output.getType());
    auto type = VectorType::get({chunk.lanes}, bits);
    if (getElementTypeOrSelf(data.getType()).isInteger(1))
      data = arith::ExtUIOp::create(b, loc, type, data);
    else if (data.getType() != type)
      data = arith::BitcastOp::create(b, loc, type, data);
    Value local = arith::SubIOp::create(b, loc, row.index, tile.firstRow);
    store(data, item.turned, {local, index(0)}, {});
    return;
  }
  LaneValue v = matrix(output, row, chunk, offset);
  ArrayRef<Value> buffers = outputBuffers(output);
  auto scaled = llvm::dyn_cast<mx::ScaledType>(output.getType());
  if (!scaled) {
    Value data = v.data;
    if (getElementTypeOrSelf(data.getType()).isInteger(1))
      data = arith::ExtUIOp::create(b, loc, VectorType::get({chunk.lanes}, b.getI8Type()), data);
    store(data, buffers[0], {row.index, column}, chunk.valid);
    return;
  }
  mx::FormatAttr format = scaled.getFormat();
  if (format.isPacked())
    store(lanes.pack(v.data), buffers[0], {row.index, divide(column, 2)}, validOf(chunk, 2));
  else
    store(v.data, buffers[0], {row.index, column}, chunk.valid);
  auto storeScales = [&] {
    int64_t width = format.getBlockCols();
    store(v.scales, buffers[1], {divide(row.index, format.getBlockRows()), divide(column, width)}, validOf(chunk, width));
  };
  if (format.getBlockRows() == 1)
    storeScales();
  else // once a block: with its first row
    when(arith::CmpIOp::create(b, loc, CmpIPredicate::eq,
                               arith::RemUIOp::create(b, loc, row.index, index(format.getBlockRows())), index(0)),
         storeScales);
}

void TileEmitter::finishStore(Store &item, const Chunk &chunk) {
  if (!item.turned)
    return;
  storeTurned(item, chunk);
  if (llvm::isa<mx::ScaledType>(item.segment.output.getType()))
    storeTurnedScales(item, chunk);
}

void TileEmitter::storeTurned(Store &item, const Chunk &chunk) {
  constexpr int64_t side = 16;
  Value output = item.segment.output;
  Value target = outputBuffers(output)[0];
  auto scaled = llvm::dyn_cast<mx::ScaledType>(output.getType());
  bool packed = scaled && scaled.getFormat().isPacked();
  Type bits = llvm::cast<MemRefType>(item.turned.getType()).getElementType();
  Type stored = llvm::cast<MemRefType>(target.getType()).getElementType();
  Value columns = chunk.valid ? chunk.valid : index(chunk.lanes);
  Value firstColumn = offsetBy(chunk.start, item.segment.begin);
  auto asStored = [&](Value v) -> Value {
    if (bits == stored)
      return v;
    auto vector = llvm::dyn_cast<VectorType>(v.getType());
    return arith::BitcastOp::create(b, loc, vector ? Type(VectorType::get(vector.getShape(), stored)) : stored, v);
  };
  // Rows innermost: the lines of sixteen rows of the result are completed before the next ones are begun.
  loop(index(0), columns, side, [&](Value j) {
    loop(index(0), tile.rows, side, [&](Value i) {
      Value wholeRows = arith::CmpIOp::create(b, loc, CmpIPredicate::ule, offsetBy(i, side), tile.rows);
      Value wholeColumns = arith::CmpIOp::create(b, loc, CmpIPredicate::ule, offsetBy(j, side), columns);
      Value whole = arith::AndIOp::create(b, loc, wholeRows, wholeColumns);
      Value row = addIndex(tile.firstRow, i), column = addIndex(firstColumn, j);
      auto branch = scf::IfOp::create(b, loc, whole, /*withElseRegion=*/true);
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPointToStart(branch.thenBlock());
      SmallVector<Value> square;
      for (int64_t r = 0; r < side; ++r)
        square.push_back(load(item.turned, {offsetBy(i, r), j}, side, {}));
      square = lanes.turnSquare(std::move(square));
      for (int64_t c = 0; c < side; ++c) {
        if (packed)
          store(lanes.pack(square[c]), target, {offsetBy(column, c), divide(row, 2)}, {});
        else
          store(asStored(square[c]), target, {offsetBy(column, c), row}, {});
      }
      b.setInsertionPointToStart(branch.elseBlock());
      // A ragged corner, one element (or one packed pair) at a time.
      Value rowsLeft = arith::MinUIOp::create(b, loc, arith::SubIOp::create(b, loc, tile.rows, i), index(side));
      Value columnsLeft = arith::MinUIOp::create(b, loc, arith::SubIOp::create(b, loc, columns, j), index(side));
      loop(index(0), columnsLeft, 1, [&](Value c) {
        loop(index(0), rowsLeft, packed ? 2 : 1, [&](Value r) {
          Value from = addIndex(i, r), at = addIndex(j, c);
          Value v = memref::LoadOp::create(b, loc, item.turned, ValueRange{from, at});
          Value targetRow = addIndex(row, r);
          if (packed) {
            // The partner of the last of an odd number of rows is 0. The buffer has the row: an odd count is no multiple of 16.
            Value second = memref::LoadOp::create(b, loc, item.turned, ValueRange{offsetBy(from, 1), at});
            Value inside = arith::CmpIOp::create(b, loc, CmpIPredicate::ult, offsetBy(from, 1), tile.rows);
            second = arith::SelectOp::create(b, loc, inside, second, lanes.integer(second, 8, 0));
            v = lanes.bitOr(v, arith::ShLIOp::create(b, loc, second, lanes.integer(second, 8, 4)));
            targetRow = divide(targetRow, 2);
          }
          memref::StoreOp::create(b, loc, asStored(v), target, ValueRange{addIndex(column, c), targetRow});
        });
      });
    });
  });
}

void TileEmitter::storeTurnedScales(Store &item, const Chunk &chunk) {
  Value output = item.segment.output;
  mx::TransposeOp transpose = turning(output);
  Value target = outputBuffers(output)[1];
  auto source = llvm::cast<mx::ScaledType>(transpose.getInput().getType()).getFormat();
  auto format = llvm::cast<mx::ScaledType>(output.getType()).getFormat();
  Value columns = chunk.valid ? chunk.valid : index(chunk.lanes);
  Value firstColumn = offsetBy(chunk.start, item.segment.begin);
  // Blocks of the result along its rows are blocks of the tile: `height` rows of the source each.
  int64_t height = transpose.reblocks() ? mx::TransposeOp::kBlock : source.getBlockRows();
  int64_t width = format.getBlockRows(); // columns of the source that share a scale in the result
  int64_t sourceWidth = source.getBlockCols();
  Value bytes = scratch({chunk.lanes / sourceWidth}, b.getI8Type());
  loop(index(0), tile.rows, height, [&](Value local) {
    Value row = addIndex(tile.firstRow, local);
    Value scales;
    if (transpose.reblocks())
      scales = columnScale(transpose, chunk, item.segment.begin, row);
    else
      scales = matrix(transpose.getInput(), {row, {}}, chunk, item.segment.begin).scales;
    store(scales, bytes, {index(0)}, {});
    Value block = transpose.getOffsets() ? tile.blockIndex : divide(row, height);
    loop(index(0), columns, width, [&](Value c) {
      Value v = memref::LoadOp::create(b, loc, bytes, divide(c, sourceWidth));
      memref::StoreOp::create(b, loc, v, target, ValueRange{divide(addIndex(firstColumn, c), width), block});
    });
  });
}

bool TileEmitter::hasTensorScales() const {
  return llvm::any_of(ops.outputs, [](Value output) {
    auto scaled = llvm::dyn_cast<mx::ScaledType>(output.getType());
    return scaled && scaled.getFormat().hasTensorScale();
  });
}

void TileEmitter::storeTensorScales() {
  for (Value output : ops.outputs)
    if (auto scaled = llvm::dyn_cast<mx::ScaledType>(output.getType()); scaled && scaled.getFormat().hasTensorScale())
      memref::StoreOp::create(b, loc, tensorScale(output), outputBuffers(output)[2], ValueRange{});
}

void TileEmitter::storeRowOutput(Value output, Row row) {
  auto type = llvm::cast<RankedTensorType>(output.getType());
  Value v = type.getRank() == 0 ? scalar(output) : perRow(output, row);
  if (v.getType().isInteger(1))
    v = arith::ExtUIOp::create(b, loc, b.getI8Type(), v);
  SmallVector<Value> at;
  if (type.getRank() == 1)
    at.push_back(row.index);
  memref::StoreOp::create(b, loc, v, outputBuffers(output)[0], at);
}
