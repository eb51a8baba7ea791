// Kernels of tiles of whole rows.
#include "compiler/Conversion/MxToHopper/GroupedTiles.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"

using namespace mlir;
using namespace vernier;
using namespace vernier::tiled;
using arith::CmpIPredicate;

namespace {
/// Segments that are computed together: equal widths, so that one walk over chunks serves them all.
using Walks = llvm::MapVector<int64_t, SmallVector<mx::Segment>>;

class RowKernel {
public:
  RowKernel(TileEmitter &e) : e(e), b(e.builder()), loc(e.location()) {
    for (const mx::Segment &segment : e.plan.segments)
      walks[segment.width].push_back(segment);
    // What is found along a whole row keeps its columns in one task. Tall tiles are few: the walks of one are apart as well.
    bool tall = e.plan.rowTile > 1;
    splitsColumns = e.plan.rowReductions.empty() && e.plan.rowOutputs.empty() && (walks.size() == 1 || tall);
    // Scales of turned tiles are few bytes in each row of the result: runs of tiles, one below the other, gather them. Where
    // numbers are quantised, threads have no time for it: on one H200 it took 8% off turning codes, and put 4% on turning BF16.
    if (splitsColumns && tall && !e.plan.groupOffsets)
      for (const mx::Segment &segment : e.plan.segments)
        if (auto transpose = segment.output.getDefiningOp<mx::TransposeOp>();
            transpose && !e.ops.contains(transpose.getInput()))
          longestRun = std::max(longestRun, hopper::StoreGatheredOp::kWindow / e.turnedScaleRows(transpose));
  }

  TaskCount emit(Value task, Value step) {
    if (e.plan.groupOffsets)
      grouped.emplace(e, e.plan.groupOffsets, e.plan.rows, e.R);
    Value tiles = grouped ? grouped->count() : e.divide(e.addTo(e.size(e.plan.rows), e.R - 1), e.R), tasks = tiles, across;
    TaskCount count{grouped ? grouped->countTerms() : SmallVector<TaskTerm>{{e.plan.rows, e.R}}};
    SmallVector<Value> ends; // of each walk's chunks
    if (splitsColumns) {
      count.emplace_back();
      for (auto &[width, segments] : walks) {
        count.back().push_back({e.columnsOf(segments.front().output, width), e.C});
        Value chunks = e.countChunks(segments.front().output, width);
        across = across ? e.add(across, chunks) : chunks;
        ends.push_back(across);
      }
      tasks = arith::MulIOp::create(b, loc, tiles, across);
    }
    if (e.hasTensorScales())
      e.when(is(task, 0), [&] { e.storeTensorScales(); });
    e.makeTables(task, tasks, step);
    if (longestRun > 1) {
      emitRuns(tiles, tasks, across, ends, task, step);
      return count;
    }
    e.loop(task, tasks, step, [&](Value number) {
      if (!across)
        return emitTask(number, walks.getArrayRef(), nullptr);
      Value tile = arith::DivUIOp::create(b, loc, number, across);
      Value column = arith::RemUIOp::create(b, loc, number, across);
      forWalk(column, ends, [&](const Walks::value_type &walk, const Chunk &chunk) { emitTask(tile, walk, &chunk); });
    });
    return count;
  }

private:
  /// The walk that a chunk belongs to, by its number among those of all walks, which end at `ends`.
  void forWalk(Value column, ArrayRef<Value> ends, llvm::function_ref<void(const Walks::value_type &, const Chunk &)> body) {
    Value begin = e.index(0);
    for (auto [walk, end] : llvm::zip(walks.getArrayRef(), ends)) {
      auto emitOne = [&, &walk = walk] {
        body(walk, e.chunkAt(walk.second.front().output, walk.first, arith::SubIOp::create(b, loc, column, begin)));
      };
      if (walks.size() == 1) {
        emitOne();
      } else {
        Value after = arith::CmpIOp::create(b, loc, CmpIPredicate::uge, column, begin);
        Value before = arith::CmpIOp::create(b, loc, CmpIPredicate::ult, column, end);
        e.when(arith::AndIOp::create(b, loc, after, before), emitOne);
      }
      begin = end;
    }
  }

  /// Tasks in runs of one below the other: a block has all of a run, and blocks that work at the same time have runs side by
  /// side, whose rows of the operands and of other results share sectors. One loop over all of a block's tasks, so that loads
  /// cross from one run to the next.
  void emitRuns(Value tiles, Value tasks, Value across, ArrayRef<Value> ends, Value block, Value blocks) {
    auto add = [&](Value a, Value c) -> Value { return arith::AddIOp::create(b, loc, a, c); };
    auto sub = [&](Value a, Value c) -> Value { return arith::SubIOp::create(b, loc, a, c); };
    auto mul = [&](Value a, Value c) -> Value { return arith::MulIOp::create(b, loc, a, c); };
    auto div = [&](Value a, Value c) -> Value { return arith::DivUIOp::create(b, loc, a, c); };
    auto below = [&](Value a, Value c) -> Value { return arith::CmpIOp::create(b, loc, CmpIPredicate::ule, a, c); };
    // Found once, in 32 bits: divisions of 64 take long.
    auto narrow = [&](Value v) -> Value { return arith::IndexCastOp::create(b, loc, b.getI32Type(), v); };
    auto wide = [&](Value v) -> Value { return arith::IndexCastUIOp::create(b, loc, b.getIndexType(), v); };
    auto number = [&](int64_t v) -> Value { return arith::ConstantOp::create(b, loc, b.getI32IntegerAttr(int32_t(v))); };
    Value height = narrow(tiles), width = narrow(across), total = narrow(tasks), all = narrow(blocks), mine = narrow(block);
    // A power of two of tiles, as long as blocks are without work for an eighth of the time at most. Runs are counted across
    // first, so that those at the end of the rows, which may be shorter, come last; no block may have two of them.
    Value most = add(total, div(total, number(8))), one = below(width, all), shift = number(0);
    for (int64_t log = 1; int64_t(1) << log <= longestRun; ++log) {
      int64_t length = int64_t(1) << log;
      Value runs = mul(div(add(height, number(length - 1)), number(length)), width);
      Value rounds = div(add(runs, sub(all, number(1))), all);
      Value good = arith::AndIOp::create(b, loc, below(mul(mul(rounds, all), number(length)), most), one);
      shift = arith::SelectOp::create(b, loc, good, number(log), shift);
    }
    auto runsOfBlock = [&](Value runs) {
      return div(add(sub(runs, arith::MinUIOp::create(b, loc, runs, mine)), sub(all, number(1))), all);
    };
    Value length = arith::ShLIOp::create(b, loc, number(1), shift), inRunBits = sub(length, number(1));
    Value whole = mul(arith::ShRUIOp::create(b, loc, height, shift), width);
    Value wholeRuns = runsOfBlock(whole), shorter = sub(runsOfBlock(add(whole, width)), wholeRuns);
    Value rest = arith::AndIOp::create(b, loc, height, inRunBits);
    Value count = wide(add(arith::ShLIOp::create(b, loc, wholeRuns, shift), mul(shorter, rest)));
    Value shiftBy = wide(shift), mask = wide(inRunBits);
    e.loop(e.index(0), count, e.index(1), [&](Value number) {
      Value inRun = arith::AndIOp::create(b, loc, number, mask);
      Value at = add(block, mul(arith::ShRUIOp::create(b, loc, number, shiftBy), blocks));
      Value row = div(at, across), column = sub(at, mul(row, across));
      Value first = arith::ShLIOp::create(b, loc, row, shiftBy), tile = add(first, inRun);
      Value fills = arith::CmpIOp::create(b, loc, CmpIPredicate::eq, inRun, mask);
      run = {mul(first, e.index(e.R)), arith::OrIOp::create(b, loc, fills, is(sub(e.addTo(tile, 1), tiles), 0))};
      forWalk(column, ends, [&](const Walks::value_type &walk, const Chunk &chunk) { emitTask(tile, walk, &chunk); });
    });
  }

  Value is(Value a, int64_t value) { return arith::CmpIOp::create(b, loc, CmpIPredicate::eq, a, e.index(value)); }

  /// The tile with a number; of one walk, where its columns are split.
  void emitTask(Value number, ArrayRef<Walks::value_type> walked, const Chunk *chunk) {
    Value rows = e.size(e.plan.rows);
    if (!grouped) {
      Value first = arith::MulIOp::create(b, loc, number, e.index(e.R));
      Value left = arith::SubIOp::create(b, loc, rows, first);
      Value here = arith::MinUIOp::create(b, loc, left, e.index(e.R));
      emitTile({first, here, number, run.firstRow, run.isLast}, walked, chunk);
      return;
    }
    Tile tile = grouped->find(number).tile;
    e.when(is(number, 0), [&] {
      auto [first, last] = grouped->bounds();
      forSegments(walked, chunk, [&, first = first, last = last](const mx::Segment &segment, const Chunk &at) {
        e.clearOutsideGroups(segment, at, first, last);
      });
    });
    Value empty = is(tile.rows, 0);
    e.when(empty, [&] {
      forSegments(walked, chunk, [&](const mx::Segment &segment, const Chunk &at) { e.clearEmptyBlocks(segment, at, number); });
    });
    e.when(arith::CmpIOp::create(b, loc, CmpIPredicate::ne, tile.rows, e.index(0)), [&] { emitTile(tile, walked, chunk); });
  }

  void forSegments(ArrayRef<Walks::value_type> walked, const Chunk *chunk,
                   llvm::function_ref<void(const mx::Segment &, const Chunk &)> body) {
    for (auto &[width, segments] : walked) {
      auto all = [&, &segments = segments](const Chunk &at) {
        for (const mx::Segment &segment : segments)
          body(segment, at);
      };
      chunk ? all(*chunk) : e.chunks(segments.front().output, width, all);
    }
  }

  void emitTile(const Tile &tile, ArrayRef<Walks::value_type> walked, const Chunk *chunk) {
    e.beginTile(tile);
    reduceRows();
    forSegments(walked, chunk, [&](const mx::Segment &segment, const Chunk &at) { e.storeSegment(segment, at); });
    for (Value output : e.plan.rowOutputs)
      e.storeRowOutput(output);
  }

  /// Reductions along rows, stage by stage: those of one stage share their walks.
  void reduceRows() {
    ArrayRef<mx::ReduceOp> all = e.plan.rowReductions;
    for (size_t begin = 0, end; begin < all.size(); begin = end) {
      unsigned stage = e.plan.rowStage.lookup(all[begin]);
      for (end = begin; end < all.size() && e.plan.rowStage.lookup(all[end]) == stage;)
        ++end;
      reduceStage(all.slice(begin, end - begin));
    }
  }

  void reduceStage(ArrayRef<mx::ReduceOp> reductions) {
    // From chunk to chunk each thread carries one number a row, not one a column.
    int64_t gridCols = e.C / e.layout.getVector();
    auto type = e.tile(e.R, gridCols, b.getF32Type());
    SmallVector<Value> partial;
    llvm::MapVector<int64_t, SmallVector<std::pair<size_t, mx::Segment>>> together;
    for (auto [i, reduce] : llvm::enumerate(reductions)) {
      partial.push_back(e.lanes.neutral(mx::ReduceOp(reduce).getKind(), e.zeros(type)));
      for (mx::Segment segment : e.plan.segmentsOf(mx::ReduceOp(reduce).getInput()))
        together[segment.width].push_back({i, segment});
    }
    for (auto &[width, items] : together)
      partial = e.foldChunks(items.front().second.output, width, partial,
                             [&, &items = items](const Chunk &chunk, ValueRange carried) {
                               SmallVector<Value> next(carried);
                               Value exists = e.existingColumns(chunk);
                               for (auto &[i, segment] : items) {
                                 mx::ReduceKind kind = mx::ReduceOp(reductions[i]).getKind();
                                 Value v = e.matrix(segment.output, e.tileRows(), chunk, segment.begin).data;
                                 if (exists)
                                   v = arith::SelectOp::create(b, loc, e.expand(exists, e.R, e.C), v, e.lanes.neutral(kind, v));
                                 next[i] = e.lanes.combine(kind, next[i], e.reduce(reduceKindOf(kind), v, e.R, gridCols));
                               }
                               return next;
                             });
    for (auto [i, reduce] : llvm::enumerate(reductions))
      e.setRowReduction(reduce, e.reduce(reduceKindOf(mx::ReduceOp(reduce).getKind()), partial[i], e.R, 1));
  }

  TileEmitter &e;
  OpBuilder &b;
  Location loc;
  Walks walks;
  std::optional<GroupedTiles> grouped;
  bool splitsColumns = false;
  int64_t longestRun = 1; ///< of tiles that a block works on one below the other.
  struct {
    Value firstRow, isLast;
  } run; ///< that the task belongs to, where tasks come in runs.
};
} // namespace

TaskCount vernier::tiled::emitRowKernel(TileEmitter &e, Value task, Value step) { return RowKernel(e).emit(task, step); }
