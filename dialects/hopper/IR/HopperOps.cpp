// Constraints of the operations.
#include "dialects/hopper/IR/Hopper.h"

#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace vernier::hopper;

#define GET_OP_CLASSES
#include "dialects/hopper/IR/HopperOps.cpp.inc"

static VectorType tileOf(Value value) { return llvm::cast<VectorType>(value.getType()); }

/// The first constraint on moves: one row number a row, and an address that the memref has.
static LogicalResult verifyMove(Operation *op, MemRefType memref, VectorType tile, Value rows, Value cols) {
  int64_t rank = memref.getRank(), given = (rows ? 1 : 0) + (cols ? 1 : 0);
  if (rank != given)
    return op->emitOpError() << "expected " << rank << " of rows and cols for " << memref << ", but got " << given;
  if (rows && tileOf(rows).getDimSize(0) != tile.getDimSize(0))
    return op->emitOpError() << "expected one row number a row of " << tile << ", but got " << rows.getType();
  return success();
}

static LogicalResult verifyMultiple(Operation *op, VectorType large, VectorType small) {
  for (int dim : {0, 1})
    if (large.getDimSize(dim) % small.getDimSize(dim))
      return op->emitOpError() << "expected the shape of " << large << " to be a multiple of the shape of " << small;
  return success();
}

LogicalResult LoadOp::verify() {
  return verifyMove(*this, llvm::cast<MemRefType>(getMemref().getType()), tileOf(getResult()), getRows(), getCols());
}

LogicalResult StoreOp::verify() {
  return verifyMove(*this, llvm::cast<MemRefType>(getMemref().getType()), tileOf(getValue()), getRows(), getCols());
}

LogicalResult StoreTransposedOp::verify() {
  auto memref = llvm::cast<MemRefType>(getMemref().getType());
  if (memref.getRank() != 2)
    return emitOpError() << "expected a memref of rank 2, but got " << memref;
  return success();
}

LogicalResult ReduceOp::verify() {
  VectorType input = tileOf(getInput()), result = tileOf(getResult());
  if (failed(verifyMultiple(*this, input, result)))
    return failure();
  Type expected = input.getElementType();
  if (getKind() == ReduceKind::AMax || getKind() == ReduceKind::UMax)
    expected = IntegerType::get(getContext(), 32);
  if (result.getElementType() != expected)
    return emitOpError() << "expected a result of " << expected << ", but got " << result;
  return success();
}

LogicalResult ExpandOp::verify() {
  if (tileOf(getInput()).getElementType() != tileOf(getResult()).getElementType())
    return emitOpError() << "expected equal element types, but got " << getInput().getType() << " and "
                         << getResult().getType();
  return verifyMultiple(*this, tileOf(getResult()), tileOf(getInput()));
}

LogicalResult EncodeOp::verify() {
  if (tileOf(getInput()).getShape() != tileOf(getResult()).getShape())
    return emitOpError() << "expected equal shapes, but got " << getInput().getType() << " and " << getResult().getType();
  for (Value grid : {getScale(), getPoison(), getNoise()})
    if (grid && failed(verifyMultiple(*this, tileOf(getInput()), tileOf(grid))))
      return failure();
  return success();
}

LogicalResult RecodeOp::verify() {
  for (Value grid : {getShift(), getPoison()})
    if (failed(verifyMultiple(*this, tileOf(getCodes()), tileOf(grid))))
      return failure();
  return success();
}
