// Results into memory.
#include "compiler/Conversion/MxToHopper/TileEmitter.h"

#include "dialects/mx/Analysis/Storage.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace vernier;
using namespace vernier::tiled;

static VectorType typeOf(Value v) { return llvm::cast<VectorType>(v.getType()); }

/// Booleans are stored as bytes.
static Value asStored(TileEmitter &e, Value v) {
  if (!getElementTypeOrSelf(v.getType()).isInteger(1))
    return v;
  OpBuilder &b = e.builder();
  return arith::ExtUIOp::create(b, e.location(), VectorType::get(typeOf(v).getShape(), b.getI8Type()), v);
}

void TileEmitter::storeSegment(const mx::Segment &segment, const Chunk &chunk) {
  Value output = segment.output;
  if (auto transpose = output.getDefiningOp<mx::TransposeOp>())
    return storeTurned(segment, transpose, chunk);
  Value column = addTo(chunk.start, segment.begin);
  Value limit = chunk.valid ? add(column, chunk.valid) : Value();
  TileValue v = matrix(output, rows, chunk, segment.begin);
  int64_t places = segment.begin | segment.width; // where it begins and where the next one does: no store may reach into that
  hopper::StoreOp::create(b, loc, asStored(*this, v.data), outputBuffer(output), rows.index, rows.valid, column, limit,
                          stride(output, 0), alignment(output, places));
  auto scaled = llvm::dyn_cast<mx::ScaledType>(output.getType());
  if (!scaled)
    return;
  int64_t height = scaled.getFormat().getBlockRows(), width = scaled.getFormat().getBlockCols();
  Value scaleRows = rows.index, valid = rows.valid;
  if (height > 1) { // the first row of every block, if there is one
    Value end = rowNumber(add(current.firstRow, current.rows), R / height);
    scaleRows = hopper::RowsOp::create(b, loc, end.getType(), current.firstRow);
    valid = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ult, scaleRows, end);
  }
  Value scaleLimit = limit ? divide(addTo(limit, width - 1), width) : Value();
  hopper::StoreOp::create(b, loc, lanes.narrow(v.scales), outputBuffer(output, 1), divide(scaleRows, height), valid,
                          divide(column, width), scaleLimit, stride(output, 1), alignment(output, places, width));
}

/// A store down columns of the memref, whose schedule is to follow.
void TileEmitter::storeColumns(Value grid, Value memref, Value firstCol, Value firstRow, Value rows, Value cols, Value stride,
                               int64_t aligned) {
  hopper::StoreTransposedOp::create(b, loc, grid, memref, firstCol, firstRow, rows, cols, stride, aligned, IntegerAttr(),
                                    IntegerAttr(), false);
}

void TileEmitter::storeTurned(const mx::Segment &segment, mx::TransposeOp transpose, const Chunk &chunk) {
  Value output = segment.output;
  TileValue v = transpose.reblocks() ? reblocked(transpose, chunk, segment.begin)
                                     : matrix(transpose.getInput(), rows, chunk, segment.begin);
  if (transpose.getBlocks())
    return storeBlock(segment, chunk, asStored(*this, v.data), v.scales);
  int64_t rowsOfInput = mx::shapeOf(output.getType())[1];
  // Tiles begin at multiples of R, those of groups anywhere.
  int64_t aligned =
      plan.groupOffsets || ShapedType::isDynamic(rowsOfInput) ? 1 : int64_t(1) << llvm::countr_zero(uint64_t(rowsOfInput | R));
  storeColumns(asStored(*this, v.data), outputBuffer(output), addTo(chunk.start, segment.begin), current.firstRow, current.rows,
               chunk.valid, stride(output, 0), aligned);
  if (llvm::isa<mx::ScaledType>(output.getType()))
    storeTurnedScales(segment, transpose, chunk, v.scales);
}

/// The tile as a matrix of its own: rows that are not there are zeros.
void TileEmitter::storeBlock(const mx::Segment &segment, const Chunk &chunk, Value data, Value scales) {
  Value output = segment.output, column = addTo(chunk.start, segment.begin), height = size(output, 1);
  data = hopper::KeepOp::create(b, loc, data.getType(), data, rows.valid);
  auto rowOf = [&](Value rowsOfMatrix, Value at) {
    return add(arith::MulIOp::create(b, loc, current.blockIndex, rowsOfMatrix), at);
  };
  storeColumns(data, flattened(outputBuffer(output)), rowOf(height, column), index(0), Value(), chunk.valid, Value(),
               mx::TransposeOp::kBlock);
  auto scaled = llvm::dyn_cast<mx::ScaledType>(output.getType());
  if (!scaled)
    return;
  int64_t width = scaled.getFormat().getBlockRows();
  Value cols = chunk.valid ? divide(addTo(chunk.valid, width - 1), width) : Value();
  storeColumns(lanes.narrow(expand(scales, 1, C / width)), flattened(outputBuffer(output, 1)),
               rowOf(divide(addTo(height, width - 1), width), divide(column, width)), index(0), Value(), cols, Value());
}

/// Rows of a tile that share a scale of the transposed matrix.
static int64_t turnedBlockRows(mx::TransposeOp transpose) {
  auto source = llvm::cast<mx::ScaledType>(transpose.getInput().getType()).getFormat();
  return transpose.reblocks() ? mx::TransposeOp::kBlock : source.getBlockRows();
}

int64_t TileEmitter::turnedScaleRows(mx::TransposeOp transpose) const {
  bool scaled = llvm::isa<mx::ScaledType>(transpose.getResult().getType());
  return scaled ? R / turnedBlockRows(transpose) : hopper::StoreGatheredOp::kWindow;
}

/// The scale of block (i, j) of the tile belongs to block (j, i) of the result: a store down a column of the result's scales,
/// which a memref with the last stride first describes. Few bytes: in a run of tiles they wait for those of the next.
void TileEmitter::storeTurnedScales(const mx::Segment &segment, mx::TransposeOp transpose, const Chunk &chunk, Value scales) {
  Value output = segment.output;
  auto format = llvm::cast<mx::ScaledType>(output.getType()).getFormat();
  int64_t height = turnedBlockRows(transpose);
  int64_t width = format.getBlockRows(); // columns of it a block of the result
  Value grid = lanes.narrow(expand(scales, R / height, C / width));
  Value firstBlock = transpose.getOffsets() ? current.blockIndex : divide(current.firstRow, height);
  Value blocks = divide(addTo(current.rows, height - 1), height);
  Value cols = chunk.valid ? divide(addTo(chunk.valid, width - 1), width) : Value();
  Value firstCol = divide(addTo(chunk.start, segment.begin), width);
  constexpr int64_t window = hopper::StoreGatheredOp::kWindow;
  int64_t gridRows = turnedScaleRows(transpose);
  if (!current.endsRun || gridRows >= window) {
    storeColumns(grid, outputBuffer(output, 1), firstCol, firstBlock, blocks, cols, stride(output, 1));
    return;
  }
  Value ofWindow = arith::AndIOp::create(b, loc, firstBlock, index(-window));
  Value from = arith::MaxUIOp::create(b, loc, ofWindow, divide(current.runFirstRow, height));
  Value inWindow = arith::AndIOp::create(b, loc, firstBlock, index(window - 1));
  Value full = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, inWindow, index(window - gridRows));
  Value last = arith::OrIOp::create(b, loc, full, current.endsRun);
  hopper::StoreGatheredOp::create(b, loc, grid, outputBuffer(output, 1), firstCol, firstBlock, from, blocks, cols,
                                  stride(output, 1), last, IntegerAttr());
}

/// Whether a result is made of blocks alone: whatever lies between them belongs to nobody.
static bool storesBlocks(Value output) {
  auto transpose = output.getDefiningOp<mx::TransposeOp>();
  return transpose && transpose.getBlocks();
}

void TileEmitter::clearEmptyBlocks(const mx::Segment &segment, const Chunk &chunk, Value block) {
  if (storesBlocks(segment.output))
    return;
  auto format = llvm::cast<mx::ScaledType>(segment.output.getType()).getFormat();
  int64_t width = format.getBlockRows();
  Value grid = zeros(tile(1, C / width, b.getI8Type()));
  Value cols = chunk.valid ? divide(addTo(chunk.valid, width - 1), width) : Value();
  storeColumns(grid, outputBuffer(segment.output, 1), divide(addTo(chunk.start, segment.begin), width), block, index(1), cols,
               stride(segment.output, 1));
}

void TileEmitter::clearOutsideGroups(const mx::Segment &segment, const Chunk &chunk, Value first, Value last) {
  if (storesBlocks(segment.output))
    return;
  Value rowCount = size(plan.rows);
  auto clear = [&](Value begin, Value end) {
    loop(begin, end, index(R), [&](Value row) {
      Value left = arith::MinUIOp::create(b, loc, arith::SubIOp::create(b, loc, end, row), index(R));
      storeColumns(zeros(tile(R, C, b.getI8Type())), outputBuffer(segment.output), addTo(chunk.start, segment.begin), row, left,
                   chunk.valid, stride(segment.output, 0));
    });
  };
  clear(index(0), first);
  clear(last, rowCount);
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
      hopper::StoreOp::create(b, loc, tensorScale(output), outputBuffer(output, 2), Value(), Value(), Value(), Value(), Value(),
                              1);
}

void TileEmitter::storeRowOutput(Value output) {
  bool single = llvm::cast<RankedTensorType>(output.getType()).getRank() == 0;
  Value v = asStored(*this, single ? scalar(output) : perRow(output, rows));
  hopper::StoreOp::create(b, loc, v, outputBuffer(output), single ? Value() : rows.index, single ? Value() : rows.valid,
                          Value(), Value(), Value(), 1);
}
