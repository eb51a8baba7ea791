// Reductions over all rows: each task owns a range of columns and walks down all of them, in the order of the rows.
#include "compiler/Conversion/MxToHost/Kernels.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace vernier;
using namespace vernier::host;

static bool ofVectors(TileEmitter &e) {
  return mx::shapeOf(e.ops.outputs[0].getDefiningOp<mx::ReduceOp>().getInput().getType()).size() == 1;
}

Value vernier::host::countColumnTasks(TileEmitter &e, const KernelFrame &frame) {
  if (ofVectors(e))
    return e.index(1);
  return e.divide(e.offsetBy(frame.sizes[1], e.lanesFor() - 1), e.lanesFor());
}

void vernier::host::emitColumnKernel(TileEmitter &e, const KernelFrame &frame) {
  OpBuilder &b = e.lanes.builder();
  Location loc = e.lanes.location();
  bool vectors = ofVectors(e);
  SmallVector<mx::ReduceOp> reductions =
      llvm::map_to_vector(e.ops.outputs, [](Value output) { return output.getDefiningOp<mx::ReduceOp>(); });
  Type element = b.getF32Type();
  Type type = vectors ? element : Type(VectorType::get({e.lanesFor()}, element));

  auto walk = [&](std::optional<Chunk> chunk) {
    SmallVector<Value> initial;
    for (mx::ReduceOp reduce : reductions) {
      Value like = arith::ConstantOp::create(b, loc, b.getZeroAttr(type));
      initial.push_back(e.lanes.neutral(reduce.getKind(), like));
    }
    // In runs of rows, whose results are combined: a sum of many small numbers keeps them all.
    constexpr int64_t run = 4096;
    auto runs = scf::ForOp::create(b, loc, e.index(0), frame.sizes[0], e.index(run), initial);
    {
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPointToStart(runs.getBody());
      Value first = runs.getInductionVar();
      Value last = arith::MinUIOp::create(b, loc, e.offsetBy(first, run), frame.sizes[0]);
      auto rows = scf::ForOp::create(b, loc, first, last, e.index(1), initial);
      {
        OpBuilder::InsertionGuard inner(b);
        b.setInsertionPointToStart(rows.getBody());
        SmallVector<Value> next;
        Row row{rows.getInductionVar(), {}};
        for (auto [i, reduce] : llvm::enumerate(reductions)) {
          Value v = chunk ? e.matrix(reduce.getInput(), row, *chunk, 0).data : e.perRow(reduce.getInput(), row);
          next.push_back(e.lanes.combine(reduce.getKind(), rows.getRegionIterArg(i), v));
        }
        scf::YieldOp::create(b, loc, next);
      }
      SmallVector<Value> next;
      for (auto [i, reduce] : llvm::enumerate(reductions))
        next.push_back(e.lanes.combine(reduce.getKind(), runs.getRegionIterArg(i), rows.getResult(i)));
      scf::YieldOp::create(b, loc, next);
    }
    for (auto [i, output] : llvm::enumerate(e.ops.outputs)) {
      Value buffer = e.outputBuffers(output)[0], total = runs.getResult(i);
      if (!chunk)
        memref::StoreOp::create(b, loc, total, buffer, ValueRange{});
      else if (chunk->valid)
        vector::MaskedStoreOp::create(
            b, loc, buffer, chunk->start,
            vector::CreateMaskOp::create(b, loc, VectorType::get({chunk->lanes}, b.getI1Type()), chunk->valid), total);
      else
        vector::StoreOp::create(b, loc, total, buffer, chunk->start);
    }
  };

  e.loop(frame.begin, frame.end, 1, [&](Value number) {
    if (vectors)
      return walk(std::nullopt);
    Value start = arith::MulIOp::create(b, loc, number, e.index(e.lanesFor()));
    Value left = arith::SubIOp::create(b, loc, frame.sizes[1], start);
    Value whole = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::uge, left, e.index(e.lanesFor()));
    e.when(whole, [&] { walk(Chunk{start, e.lanesFor(), {}}); });
    Value partial = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ult, left, e.index(e.lanesFor()));
    e.when(partial, [&] { walk(Chunk{start, e.lanesFor(), left}); });
  });
}
