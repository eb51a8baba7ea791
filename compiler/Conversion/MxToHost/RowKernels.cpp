// Kernels of tiles of whole rows.
#include "compiler/Conversion/MxToHost/Kernels.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace vernier;
using namespace vernier::host;

Value vernier::host::loadOffset(TileEmitter &e, Value offsets, Value at, Value rows) {
  OpBuilder &b = e.lanes.builder();
  Location loc = e.lanes.location();
  Value entry = memref::LoadOp::create(b, loc, offsets, at);
  Value offset = arith::IndexCastOp::create(b, loc, b.getIndexType(), entry);
  return arith::MinSIOp::create(b, loc, arith::MaxSIOp::create(b, loc, offset, e.index(0)), rows);
}

Value vernier::host::countGroupedTiles(TileEmitter &e, Value rows, Value offsets, int64_t height) {
  // Tiles of group g start at floor(offsets[g] / height) + g: room for every group's tiles without a prefix sum.
  OpBuilder &b = e.lanes.builder();
  Value groups = e.offsetBy(memref::DimOp::create(b, e.lanes.location(), offsets, 0), -1);
  return e.addIndex(e.divide(rows, height), groups);
}

GroupedTile vernier::host::findGroupedTile(TileEmitter &e, Value number, Value totalRows, Value offsets, int64_t height) {
  OpBuilder &b = e.lanes.builder();
  Location loc = e.lanes.location();
  Value groups = e.offsetBy(memref::DimOp::create(b, loc, offsets, 0), -1);
  Value zero = e.index(0);
  // The last group whose tiles start at or before this one.
  auto search = scf::ForOp::create(b, loc, zero, groups, e.index(1), ValueRange{zero});
  {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(search.getBody());
    Value g = search.getInductionVar();
    Value start = e.addIndex(e.divide(loadOffset(e, offsets, g, totalRows), height), g);
    Value reached = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ule, start, number);
    scf::YieldOp::create(b, loc, ValueRange{arith::SelectOp::create(b, loc, reached, g, search.getRegionIterArg(0))});
  }
  Value group = search.getResult(0);
  Value first = loadOffset(e, offsets, group, totalRows), last = loadOffset(e, offsets, e.offsetBy(group, 1), totalRows);
  Value start = e.addIndex(e.divide(first, height), group);
  Value local = arith::MulIOp::create(b, loc, arith::SubIOp::create(b, loc, number, start), e.index(height));
  Value firstRow = e.addIndex(first, local);
  Value left = arith::SubIOp::create(b, loc, last, firstRow);
  Value rows = arith::MaxSIOp::create(b, loc, arith::MinSIOp::create(b, loc, left, e.index(height)), zero);
  // Rows ahead of the first group belong to no tile.
  Value ahead = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ult, number, start);
  return {firstRow, arith::SelectOp::create(b, loc, ahead, zero, rows), group};
}

static Value countTiles(TileEmitter &e, const KernelFrame &frame) {
  Value rows = frame.sizes[0];
  if (Value offsets = e.plan.groupOffsets)
    return countGroupedTiles(e, rows, e.inputBuffers(offsets)[0], e.plan.rowTile);
  return e.divide(e.offsetBy(rows, e.plan.rowTile - 1), e.plan.rowTile);
}

Value vernier::host::countRowTasks(TileEmitter &e, const KernelFrame &frame) {
  Value tiles = countTiles(e, frame);
  if (!e.hasTensorScales())
    return tiles;
  return arith::MaxUIOp::create(e.lanes.builder(), e.lanes.location(), tiles, e.index(1));
}

namespace {
/// Reductions along rows that one pass over the columns can find together.
class RowReductions {
public:
  RowReductions(TileEmitter &e) : e(e), b(e.lanes.builder()), loc(e.lanes.location()) {
    for (mx::ReduceOp reduce : e.plan.rowReductions) {
      values.push_back(e.scratch({e.plan.rowTile}, b.getF32Type()));
      partial.push_back(e.scratch({e.plan.rowTile, e.lanesFor()}, b.getF32Type()));
      e.setRowReduction(reduce, values.back());
    }
  }

  void emit() {
    ArrayRef<mx::ReduceOp> all = e.plan.rowReductions;
    for (size_t begin = 0, end; begin < all.size(); begin = end) {
      unsigned stage = e.plan.rowStage.lookup(all[begin]);
      for (end = begin; end < all.size() && e.plan.rowStage.lookup(all[end]) == stage;)
        ++end;
      emitStage(begin, end);
    }
  }

private:
  void emitStage(size_t begin, size_t end) {
    int64_t width = e.lanesFor();
    auto type = VectorType::get({width}, b.getF32Type());
    Value zero = e.index(0);
    e.tileRows([&](Row row) {
      Value local = arith::SubIOp::create(b, loc, row.index, tileStart);
      for (size_t i = begin; i < end; ++i) {
        Value like = arith::ConstantOp::create(b, loc, b.getZeroAttr(type));
        vector::StoreOp::create(b, loc, e.lanes.neutral(mx::ReduceOp(e.plan.rowReductions[i]).getKind(), like), partial[i],
                                ValueRange{local, zero});
      }
    });
    // Segments of equal width share a loop over columns.
    llvm::MapVector<int64_t, SmallVector<std::pair<size_t, mx::Segment>>> byWidth;
    for (size_t i = begin; i < end; ++i)
      for (mx::Segment segment : e.plan.segmentsOf(mx::ReduceOp(e.plan.rowReductions[i]).getInput()))
        byWidth[segment.width].push_back({i, segment});
    for (auto &[segmentWidth, items] : byWidth) {
      e.chunks(dynamicWidthSource(items.front().second.output), segmentWidth, width, [&](const Chunk &chunk) {
        SmallVector<std::pair<Value, int64_t>> roots;
        for (auto &[i, segment] : items)
          roots.push_back({segment.output, segment.begin});
        e.columnScales(roots, chunk);
        e.tileRows([&](Row row) {
          Value local = arith::SubIOp::create(b, loc, row.index, tileStart);
          for (auto &[i, segment] : items) {
            mx::ReduceOp reduce = e.plan.rowReductions[i];
            Value v = e.matrix(segment.output, row, chunk, segment.begin).data;
            if (chunk.valid)
              v = e.lanes.select(e.isPadding(chunk, v), e.lanes.neutral(reduce.getKind(), v), v);
            Value sofar = vector::LoadOp::create(b, loc, type, partial[i], ValueRange{local, zero});
            vector::StoreOp::create(b, loc, e.lanes.combine(reduce.getKind(), sofar, v), partial[i], ValueRange{local, zero});
          }
        });
      });
    }
    e.tileRows([&](Row row) {
      Value local = arith::SubIOp::create(b, loc, row.index, tileStart);
      for (size_t i = begin; i < end; ++i) {
        mx::ReduceOp reduce = e.plan.rowReductions[i];
        Value v = vector::LoadOp::create(b, loc, type, partial[i], ValueRange{local, zero});
        Value total = e.lanes.foldAll(v, [&](Value a, Value c) { return e.lanes.combine(reduce.getKind(), a, c); });
        memref::StoreOp::create(b, loc, total, values[i], local);
      }
    });
  }

  /// An operand of the kernel, or an output, with the columns of `value`: where a run-time width can be read.
  Value dynamicWidthSource(Value value) {
    while (e.ops.contains(value)) {
      Operation *op = value.getDefiningOp();
      auto broadcast = llvm::dyn_cast<mx::BroadcastOp>(op);
      bool fromInput = broadcast && broadcast.getDims() == ArrayRef<int64_t>{1};
      value = broadcast && !fromInput ? broadcast.getLike() : op->getOperand(0);
    }
    return value;
  }

  TileEmitter &e;
  OpBuilder &b;
  Location loc;
  SmallVector<Value> values, partial;

public:
  Value tileStart;
};
} // namespace

static void emitTile(TileEmitter &e, RowReductions &reductions, const Tile &tile) {
  e.beginTile(tile);
  reductions.tileStart = tile.firstRow;
  reductions.emit();
  llvm::MapVector<int64_t, SmallVector<mx::Segment>> byWidth;
  for (const mx::Segment &segment : e.plan.segments)
    byWidth[segment.width].push_back(segment);
  for (auto &[width, segments] : byWidth)
    e.chunks(segments.front().output, width, e.lanesFor(), [&](const Chunk &chunk) {
      SmallVector<std::pair<Value, int64_t>> roots;
      SmallVector<TileEmitter::Store> stores;
      for (const mx::Segment &segment : segments) {
        roots.push_back({segment.output, segment.begin});
        stores.push_back(e.beginStore(segment, chunk.lanes));
      }
      e.columnScales(roots, chunk);
      e.tileRows([&](Row row) {
        for (TileEmitter::Store &store : stores)
          e.storeRow(store, row, chunk);
      });
      for (TileEmitter::Store &store : stores)
        e.finishStore(store, chunk);
    });
  if (!e.plan.rowOutputs.empty())
    e.tileRows([&](Row row) {
      for (Value output : e.plan.rowOutputs)
        e.storeRowOutput(output, row);
    });
}

/// A tile of a grouped transpose without rows leaves its scales zero.
static void clearEmptyBlocks(TileEmitter &e, Value number) {
  OpBuilder &b = e.lanes.builder();
  Location loc = e.lanes.location();
  for (const mx::Segment &segment : e.plan.segments) {
    auto transpose = segment.output.getDefiningOp<mx::TransposeOp>();
    if (!transpose || !transpose.getOffsets() || segment.begin)
      continue;
    Value scales = e.outputBuffers(segment.output)[1];
    e.loop(e.index(0), memref::DimOp::create(b, loc, scales, 0), 1, [&](Value column) {
      Value zero = arith::ConstantOp::create(b, loc, b.getI8IntegerAttr(0));
      memref::StoreOp::create(b, loc, zero, scales, ValueRange{column, number});
    });
  }
}

/// Rows before the first group and after the last one are zeros in the result.
static void clearOutsideGroups(TileEmitter &e, Value rows, Value offsets) {
  OpBuilder &b = e.lanes.builder();
  Location loc = e.lanes.location();
  Value groups = e.offsetBy(memref::DimOp::create(b, loc, offsets, 0), -1);
  Value first = loadOffset(e, offsets, e.index(0), rows), last = loadOffset(e, offsets, groups, rows);
  for (const mx::Segment &segment : e.plan.segments) {
    if (segment.begin)
      continue;
    Value payload = e.outputBuffers(segment.output)[0];
    e.loop(e.index(0), memref::DimOp::create(b, loc, payload, 0), 1, [&](Value column) {
      auto clear = [&](Value row) {
        Value zero = arith::ConstantOp::create(b, loc, b.getI8IntegerAttr(0));
        memref::StoreOp::create(b, loc, zero, payload, ValueRange{column, row});
      };
      e.loop(e.index(0), first, 1, clear);
      e.loop(last, rows, 1, clear);
    });
  }
}

void vernier::host::emitRowKernel(TileEmitter &e, const KernelFrame &frame) {
  OpBuilder &b = e.lanes.builder();
  Location loc = e.lanes.location();
  RowReductions reductions(e);
  Value rows = frame.sizes[0];
  Value end = frame.end;
  if (e.hasTensorScales()) {
    Value isFirst = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, frame.begin, e.index(0));
    e.when(isFirst, [&] { e.storeTensorScales(); });
    end = arith::MinUIOp::create(b, loc, end, countTiles(e, frame));
  }
  e.loop(frame.begin, end, 1, [&](Value number) {
    if (Value offsets = e.plan.groupOffsets) {
      GroupedTile tile = findGroupedTile(e, number, rows, e.inputBuffers(offsets)[0], e.plan.rowTile);
      Value isFirst = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, number, e.index(0));
      e.when(isFirst, [&] { clearOutsideGroups(e, rows, e.inputBuffers(offsets)[0]); });
      Value empty = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, tile.rows, e.index(0));
      e.when(empty, [&] { clearEmptyBlocks(e, number); });
      Value filled = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ne, tile.rows, e.index(0));
      e.when(filled, [&] { emitTile(e, reductions, {tile.firstRow, tile.rows, number}); });
      return;
    }
    if (e.plan.rowTile == 1)
      return emitTile(e, reductions, {number, e.index(1), number});
    Value first = arith::MulIOp::create(b, loc, number, e.index(e.plan.rowTile));
    Value left = arith::SubIOp::create(b, loc, rows, first);
    Value count = arith::MinUIOp::create(b, loc, left, e.index(e.plan.rowTile));
    emitTile(e, reductions, {first, count, number});
  });
}
