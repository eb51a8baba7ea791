// The layout attribute: constraints, and who holds what.
#include "dialects/hopper/IR/Hopper.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace vernier::hopper;

#define GET_ATTRDEF_CLASSES
#include "dialects/hopper/IR/HopperAttrs.cpp.inc"

void HopperDialect::registerAttributes() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/hopper/IR/HopperAttrs.cpp.inc"
      >();
}

LogicalResult LayoutAttr::verify(llvm::function_ref<InFlightDiagnostic()> emitError, int64_t rows, int64_t cols,
                                 int64_t threadRows, int64_t threadCols, int64_t vector, int64_t rowGroup, int64_t adjacent) {
  for (int64_t value : {rows, cols, threadRows, threadCols, vector, rowGroup, adjacent ? adjacent : 1})
    if (value < 1 || !llvm::isPowerOf2_64(value))
      return emitError() << "expected powers of two, but got " << value;
  if (cols % (threadCols * vector))
    return emitError() << "expected threads across times vector to divide " << cols << " columns, but got " << threadCols
                       << " * " << vector;
  if (rows % (threadRows * rowGroup))
    return emitError() << "expected threads down times rowGroup to divide " << rows << " rows, but got " << threadRows << " * "
                       << rowGroup;
  if (adjacent > threadRows)
    return emitError() << "expected at most " << threadRows << " adjacent rows of threads, but got " << adjacent;
  return success();
}

// Down, the rows of a tile are counted by the row in a group, then the thread within its `adjacent` ones, then the group,
// then the thread's number above that. Across, by the column in a vector, the thread, and the vector's number.

int64_t LayoutAttr::rowOf(int64_t item) const {
  int64_t group = getRowGroup();
  return item / group * adjacentRows() * group + item % group;
}

int64_t LayoutAttr::localRows(int64_t gridRows) const {
  int64_t height = blockRows(gridRows), group = getRowGroup(), stripe = adjacentRows() * group;
  if (height <= group)
    return items() / height;
  return height <= stripe ? items() / group : std::max<int64_t>(1, items() / group / (height / stripe));
}

int64_t LayoutAttr::localCols(int64_t gridCols) const {
  int64_t width = blockCols(gridCols), vector = getVector(), stripe = getThreadCols() * vector;
  if (width <= vector)
    return lanes() / width;
  return width <= stripe ? lanes() / vector : getCols() / width;
}

int64_t LayoutAttr::localRowOf(int64_t item, int64_t gridRows) const { return item / (items() / localRows(gridRows)); }

int64_t LayoutAttr::localColOf(int64_t lane, int64_t gridCols) const { return lane / (lanes() / localCols(gridCols)); }

int64_t LayoutAttr::itemOf(int64_t localRow, int64_t gridRows) const { return localRow * (items() / localRows(gridRows)); }

int64_t LayoutAttr::laneOf(int64_t localCol, int64_t gridCols) const { return localCol * (lanes() / localCols(gridCols)); }

int64_t LayoutAttr::neighbours(int64_t gridCols) const { return std::max<int64_t>(1, getVector() / blockCols(gridCols)); }

int64_t LayoutAttr::colOffset(int64_t localCol, int64_t gridCols) const {
  int64_t lane = laneOf(localCol, gridCols), vector = getVector();
  return (lane / vector * getThreadCols() * vector + lane % vector) / blockCols(gridCols);
}

int64_t LayoutAttr::sharingRows(int64_t gridRows) const {
  int64_t height = blockRows(gridRows), group = getRowGroup(), whole = items() * adjacentRows();
  if (height <= group)
    return 1;
  return height <= whole ? std::min(height / group, adjacentRows()) : adjacentRows() * (height / whole);
}

int64_t LayoutAttr::sharingCols(int64_t gridCols) const {
  int64_t width = blockCols(gridCols);
  return width <= getVector() ? 1 : std::min(width / getVector(), getThreadCols());
}

LayoutAttr vernier::hopper::accumulatorLayout(MLIRContext *context, int64_t warpgroups, int64_t cols) {
  return LayoutAttr::get(context, 64 * warpgroups, cols, 32 * warpgroups, 4, 2, 1, 8);
}

int64_t vernier::hopper::clusterOf(Operation *function) {
  auto cluster = function->getAttrOfType<IntegerAttr>(kCluster);
  return cluster ? cluster.getInt() : 1;
}

StagedType CopyOp::copied(Operation *function) {
  auto tile = llvm::cast<StagedType>(getTile());
  int64_t shares = getMulticast() ? clusterOf(function) : 1;
  return StagedType::get(getContext(), tile.getRows() / shares, tile.getCols(), tile.getElement());
}

StagedType CopyOp::part(Operation *function, int64_t units) {
  StagedType all = copied(function);
  return StagedType::get(getContext(), all.getRows() * units / kUnits, all.getCols(), all.getElement());
}

Value CopyOp::unitsOf(OpBuilder &b, Location loc, Value rows, int64_t tileRows) {
  Type type = rows.getType();
  auto number = [&](int64_t value) -> Value { return arith::ConstantOp::create(b, loc, type, b.getIntegerAttr(type, value)); };
  int64_t unit = tileRows / kUnits;
  Value units = arith::AddIOp::create(b, loc, arith::MinUIOp::create(b, loc, rows, number(tileRows)), number(unit - 1));
  units = arith::DivUIOp::create(b, loc, units, number(unit));
  // Of three it would take two copies, and three of seven.
  Value last = arith::AndIOp::create(b, loc, units, number(3));
  Value odd = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, last, number(3));
  return arith::AddIOp::create(b, loc, units, arith::SelectOp::create(b, loc, odd, number(1), number(0)));
}

int64_t vernier::hopper::threadsOf(Operation *function) {
  int64_t threads = function->getAttrOfType<LayoutAttr>(kLayout).threads();
  function->walk([&](RolesOp roles) { threads += kWarpgroup * (roles.finishes() ? 2 : 1); });
  return threads;
}

LayoutAttr vernier::hopper::layoutAt(Operation *op) {
  for (Operation *inner = op, *around = op->getParentOp(); around; inner = around, around = around->getParentOp()) {
    if (auto finish = llvm::dyn_cast<FinishOp>(around))
      return finish.getLayout();
    if (auto make = llvm::dyn_cast<MakeOp>(around))
      return make.getLayout();
    if (auto roles = llvm::dyn_cast<RolesOp>(around)) {
      if (inner->getParentRegion() == &roles.getFinish())
        return *roles.getFinishLayout();
      if (inner->getParentRegion() == &roles.getScales() && roles.getMakeLayout())
        return *roles.getMakeLayout();
    }
    if (auto layout = around->getAttrOfType<LayoutAttr>(kLayout))
      return layout;
  }
  return {};
}

SmallVector<TensorMap> vernier::hopper::tensorMapsOf(Operation *function) {
  SmallVector<TensorMap> maps;
  auto add = [&](Value memref, StagedType tile) {
    TensorMap map{llvm::cast<BlockArgument>(memref).getArgNumber(), tile};
    if (!llvm::is_contained(maps, map))
      maps.push_back(map);
  };
  function->walk([&](Operation *op) {
    if (auto copy = llvm::dyn_cast<CopyOp>(op)) {
      add(copy.getMemref(), copy.copied(function));
      for (int64_t units = copy.getRows() ? CopyOp::kUnits / 2 : 0; units > 0; units /= 2)
        add(copy.getMemref(), copy.part(function, units));
    } else if (auto prefetch = llvm::dyn_cast<PrefetchOp>(op))
      add(prefetch.getMemref(), llvm::cast<StagedType>(prefetch.getTile()));
    else if (auto fill = llvm::dyn_cast<FillOp>(op))
      add(fill.getMemref(), llvm::cast<PassedType>(fill.getTile()).part());
    else if (auto copy = llvm::dyn_cast<CopyPassedOp>(op))
      add(copy.getMemref(), copy.getTile().getType().part());
  });
  return maps;
}
