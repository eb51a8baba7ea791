// Reductions over all rows: each task owns a range of columns and walks down all of them.
#include "compiler/Conversion/MxToHopper/Kernels.h"

#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace vernier;
using namespace vernier::tiled;

TaskCount vernier::tiled::emitColumnKernel(TileEmitter &e, Value task, Value step) {
  OpBuilder &b = e.builder();
  Location loc = e.location();
  SmallVector<mx::ReduceOp> reductions =
      llvm::map_to_vector(e.ops.outputs, [](Value output) { return output.getDefiningOp<mx::ReduceOp>(); });
  Value input = reductions.front().getInput();
  bool vectors = mx::shapeOf(input.getType()).size() == 1;
  int64_t width = vectors ? 1 : mx::shapeOf(input.getType())[1];
  Value rowCount = e.size(e.plan.rows);
  auto type = e.tile(e.R, vectors ? 1 : e.C, b.getF32Type());

  auto walk = [&](const Chunk &chunk) {
    SmallVector<Value> initial;
    for (mx::ReduceOp reduce : reductions)
      initial.push_back(e.lanes.neutral(reduce.getKind(), e.zeros(type)));
    // In runs of rows, whose results are combined: a sum of many small numbers keeps them all.
    constexpr int64_t run = 4096;
    auto runs = scf::ForOp::create(b, loc, e.index(0), rowCount, e.index(run), initial);
    {
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPointToStart(runs.getBody());
      Value first = runs.getInductionVar();
      Value last = arith::MinUIOp::create(b, loc, e.addTo(first, run), rowCount);
      auto tiles = scf::ForOp::create(b, loc, first, last, e.index(e.R), initial);
      {
        OpBuilder::InsertionGuard inner(b);
        b.setInsertionPointToStart(tiles.getBody());
        Value row = tiles.getInductionVar();
        Value left = arith::MinUIOp::create(b, loc, arith::SubIOp::create(b, loc, rowCount, row), e.index(e.R));
        e.beginTile({row, left, row});
        SmallVector<Value> next;
        for (auto [i, reduce] : llvm::enumerate(reductions)) {
          Value v =
              vectors ? e.perRow(reduce.getInput(), e.tileRows()) : e.matrix(reduce.getInput(), e.tileRows(), chunk, 0).data;
          v = arith::SelectOp::create(b, loc, e.expandLike(e.tileRows().valid, v), v, e.lanes.neutral(reduce.getKind(), v));
          next.push_back(e.lanes.combine(reduce.getKind(), tiles.getRegionIterArg(i), v));
        }
        scf::YieldOp::create(b, loc, next);
      }
      SmallVector<Value> next;
      for (auto [i, reduce] : llvm::enumerate(reductions))
        next.push_back(e.lanes.combine(reduce.getKind(), runs.getRegionIterArg(i), tiles.getResult(i)));
      scf::YieldOp::create(b, loc, next);
    }
    for (auto [i, output] : llvm::enumerate(e.ops.outputs)) {
      Value total = e.reduce(reduceKindOf(reductions[i].getKind()), runs.getResult(i), 1, vectors ? 1 : e.C);
      hopper::StoreOp::create(b, loc, total, e.outputBuffer(output), Value(), Value(), vectors ? Value() : chunk.start,
                              chunk.valid ? e.add(chunk.start, chunk.valid) : Value(), Value(), 1);
    }
  };

  Value tasks = vectors ? e.index(1) : e.countChunks(input, width);
  e.loop(task, tasks, step, [&](Value number) { walk(vectors ? Chunk{} : e.chunkAt(input, width, number)); });
  TaskCount count(1);
  vectors ? count[0].push_back({mx::Size::fixed(1)}) : count[0].push_back({e.columnsOf(input, width), e.C});
  return count;
}
