// Checks that the verifiers of several files share.
#include "dialects/mx/IR/MxOps.h"

using namespace mlir;

LogicalResult vernier::mx::verifyColumns(Operation *op, int64_t columns, int64_t block) {
  if (ShapedType::isDynamic(columns) || columns % block == 0)
    return success();
  InFlightDiagnostic diag = op->emitOpError()
                            << "expected the columns to be a multiple of the block of " << block << ", but got " << columns
                            << "; pad to " << (columns + block - 1) / block * block;
  if (block > 32 && columns % 32 == 0)
    diag << " or use a format with blocks of 32";
  return diag;
}

LogicalResult vernier::mx::verifySameShape(Operation *op, Type a, Type b, StringRef what) {
  if (compatible(shapeOf(a), shapeOf(b)))
    return success();
  return op->emitOpError() << "expected " << what << " to have equal shapes, but got " << shapeString(shapeOf(a)) << " and "
                           << shapeString(shapeOf(b));
}

LogicalResult vernier::mx::verifyRowBlocked(Operation *op, Type type, StringRef name) {
  auto scaled = llvm::dyn_cast<ScaledType>(type);
  if (!scaled || scaled.getFormat().isRowBlocked())
    return success();
  return op->emitOpError() << "expected " << name << " to have blocks along its rows (1xB), but got blocks of "
                           << scaled.getFormat().getBlockRows() << "x" << scaled.getFormat().getBlockCols();
}
