#include "compiler/Conversion/MxToHopper/GroupedTiles.h"

using namespace mlir;
using namespace vernier;
using namespace vernier::tiled;
using arith::CmpIPredicate;

GroupedTiles::GroupedTiles(TileEmitter &emitter, Value offsets, const mx::Size &rows, int64_t height)
    : e(emitter), rowSize(rows), offsetCount(emitter.sizeOf(offsets, 0)), height(height), offsets(emitter.inputBuffer(offsets)),
      rows(emitter.size(rows)), groups(emitter.addTo(emitter.size(offsetCount), -1)) {}

Value GroupedTiles::count() { return e.add(e.divide(rows, height), groups); }

SmallVector<TaskTerm> GroupedTiles::countTerms() {
  return {{rowSize, height, /*roundDown=*/true}, {offsetCount}, {mx::Size::fixed(-1)}};
}

std::pair<Value, Value> GroupedTiles::bounds() {
  return {e.loadOffset(offsets, e.index(0), rows), e.loadOffset(offsets, groups, rows)};
}

/// The tile's group is the last one whose tiles start at or before it. Starts ascend, so halving finds it.
GroupedTiles::Found GroupedTiles::find(Value number) {
  OpBuilder &b = e.builder();
  Location loc = e.location();
  auto startOf = [&](Value group) { return e.add(e.divide(e.loadOffset(offsets, group, rows), height), group); };
  auto search = scf::WhileOp::create(b, loc, TypeRange{b.getIndexType(), b.getIndexType()}, ValueRange{e.index(0), groups});
  Block *before = b.createBlock(&search.getBefore(), {}, {b.getIndexType(), b.getIndexType()}, {loc, loc});
  Value span = arith::SubIOp::create(b, loc, before->getArgument(1), before->getArgument(0));
  scf::ConditionOp::create(b, loc, arith::CmpIOp::create(b, loc, CmpIPredicate::ugt, span, e.index(1)), before->getArguments());
  Block *after = b.createBlock(&search.getAfter(), {}, {b.getIndexType(), b.getIndexType()}, {loc, loc});
  Value low = after->getArgument(0), high = after->getArgument(1);
  Value middle = e.divide(e.add(low, high), 2);
  Value reached = arith::CmpIOp::create(b, loc, CmpIPredicate::ule, startOf(middle), number);
  scf::YieldOp::create(b, loc,
                       ValueRange{arith::SelectOp::create(b, loc, reached, middle, low),
                                  arith::SelectOp::create(b, loc, reached, high, middle)});
  b.setInsertionPointAfter(search);
  Value group = search.getResult(0);
  Value first = e.loadOffset(offsets, group, rows), last = e.loadOffset(offsets, e.addTo(group, 1), rows);
  Value local = arith::MulIOp::create(b, loc, arith::SubIOp::create(b, loc, number, startOf(group)), e.index(height));
  Value firstRow = e.add(first, local);
  Value left = arith::SubIOp::create(b, loc, last, firstRow);
  Value count = arith::MaxSIOp::create(b, loc, arith::MinSIOp::create(b, loc, left, e.index(height)), e.index(0));
  // Rows ahead of the first group belong to no tile.
  Value ahead = arith::CmpIOp::create(b, loc, CmpIPredicate::ult, number, startOf(group));
  count = arith::SelectOp::create(b, loc, ahead, e.index(0), count);
  return {group, {firstRow, count, number}};
}

GroupedTiles::Found GroupedTiles::findDense(Value number) {
  Type index = e.builder().getIndexType();
  auto found =
      hopper::GroupTileOp::create(e.builder(), e.location(), index, index, index, number, offsets, groups, rows, height);
  return {found.getGroup(), {found.getRow(), found.getRows(), number}};
}
