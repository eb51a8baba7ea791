// Checks that the verifiers of several files share.
#ifndef VERNIER_DIALECTS_MX_IR_MXOPS_H
#define VERNIER_DIALECTS_MX_IR_MXOPS_H

#include "dialects/mx/IR/Mx.h"

namespace vernier::mx {
/// Static columns must be a multiple of `block`; says to what to pad.
mlir::LogicalResult verifyColumns(mlir::Operation *op, int64_t columns, int64_t block);
/// Shapes must agree; names both.
mlir::LogicalResult verifySameShape(mlir::Operation *op, mlir::Type a, mlir::Type b, llvm::StringRef what);
/// "blocks along rows", for an operand called `name`.
mlir::LogicalResult verifyRowBlocked(mlir::Operation *op, mlir::Type type, llvm::StringRef name);
} // namespace vernier::mx

#endif
