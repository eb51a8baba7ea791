// The layout attribute: constraints, and who holds what.
#include "dialects/hopper/IR/Hopper.h"

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
                                 int64_t threadRows, int64_t threadCols, int64_t vector, int64_t rowGroup) {
  for (int64_t value : {rows, cols, threadRows, threadCols, vector, rowGroup})
    if (value < 1 || !llvm::isPowerOf2_64(value))
      return emitError() << "expected powers of two, but got " << value;
  if (threadCols * vector != cols)
    return emitError() << "expected threads across times vector to be " << cols << " columns, but got " << threadCols << " * "
                       << vector;
  if (rows % (threadRows * rowGroup))
    return emitError() << "expected threads down times rowGroup to divide " << rows << " rows, but got " << threadRows << " * "
                       << rowGroup;
  return success();
}

int64_t LayoutAttr::localRows(int64_t gridRows) const {
  int64_t height = blockRows(gridRows), group = getRowGroup(), stripe = getThreadRows() * group;
  if (height <= group)
    return items() / height;
  return height <= stripe ? items() / group : gridRows;
}

int64_t LayoutAttr::localCols(int64_t gridCols) const {
  int64_t width = blockCols(gridCols);
  return width >= getVector() ? 1 : getVector() / width;
}

int64_t LayoutAttr::localRowOf(int64_t item, int64_t gridRows) const {
  int64_t height = blockRows(gridRows), group = getRowGroup(), stripe = getThreadRows() * group;
  if (height <= group)
    return item / height;
  return height <= stripe ? item / group : item / group / (height / stripe);
}

int64_t LayoutAttr::localColOf(int64_t lane, int64_t gridCols) const {
  int64_t width = blockCols(gridCols);
  return width >= getVector() ? 0 : lane / width;
}

int64_t LayoutAttr::itemOf(int64_t localRow, int64_t gridRows) const { return localRow * (items() / localRows(gridRows)); }

int64_t LayoutAttr::sharingRows(int64_t gridRows) const {
  int64_t height = blockRows(gridRows);
  return height <= getRowGroup() ? 1 : std::min(height / getRowGroup(), getThreadRows());
}

int64_t LayoutAttr::sharingCols(int64_t gridCols) const {
  int64_t width = blockCols(gridCols);
  return width <= getVector() ? 1 : width / getVector();
}
