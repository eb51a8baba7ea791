// What a matrix product reads and passes on.
#ifndef VERNIER_COMPILER_CONVERSION_MXTOHOPPER_OPERANDS_H
#define VERNIER_COMPILER_CONVERSION_MXTOHOPPER_OPERANDS_H

#include "dialects/mx/IR/Mx.h"

namespace vernier::tiled {

/// One side of the product, by rows; K across.
struct Operand {
  mlir::Value value;
  mx::FormatAttr format; ///< null: plain numbers.
  mlir::Type element;

  explicit Operand(mlir::Value value) : value(value) {
    if (auto scaled = llvm::dyn_cast<mx::ScaledType>(value.getType())) {
      format = scaled.getFormat();
      element = format.getElement();
    } else {
      element = llvm::cast<mlir::RankedTensorType>(value.getType()).getElementType();
    }
  }
};

/// Of sums on their way to those that finish them.
mlir::Type passedElement(mx::ProductInterface op);

/// Whether the copy engine reaches rows of a matrix in the result's shape, whose elements are those that are passed.
bool reachable(mx::ProductInterface op, mlir::Value matrix);

} // namespace vernier::tiled

#endif
