// The mx dialect: attributes, types and operations.
#ifndef VERNIER_DIALECTS_MX_IR_MX_H
#define VERNIER_DIALECTS_MX_IR_MX_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/Interfaces/ControlFlowInterfaces.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "dialects/mx/IR/MxDialect.h.inc"
#include "dialects/mx/IR/MxEnums.h.inc"

namespace vernier::mx {
/// Where a run-time size comes from: a dimension of an operand, rounded up to a multiple; of that a part, rounded down,
/// and some more.
struct DimSource {
  mlir::Value value;
  unsigned dim = 0;
  int64_t roundUpTo = 1;
  int64_t divisor = 1;
  int64_t plus = 0;
};

/// What the sum of a matrix product runs along.
enum class Contraction {
  Columns, ///< of both operands.
  Rows,    ///< of both operands, group by group.
  Blocks,  ///< of rows that were turned, each with its columns.
};
} // namespace vernier::mx

#define GET_ATTRDEF_CLASSES
#include "dialects/mx/IR/MxAttrs.h.inc"

#define GET_TYPEDEF_CLASSES
#include "dialects/mx/IR/MxTypes.h.inc"

#include "dialects/mx/IR/MxInterfaces.h.inc"

#define GET_OP_CLASSES
#include "dialects/mx/IR/MxOps.h.inc"

namespace vernier::mx {
/// Shape of a builtin tensor or a scaled one.
llvm::ArrayRef<int64_t> shapeOf(mlir::Type type);
/// "?x4096", for messages.
std::string shapeString(llvm::ArrayRef<int64_t> shape);
/// Whether two dimensions may be equal: both static and equal, or at least one of them run-time.
bool compatible(int64_t a, int64_t b);
bool compatible(llvm::ArrayRef<int64_t> a, llvm::ArrayRef<int64_t> b);

/// Largest finite magnitude of an element type is max = mantissa * 2^exponent with 1 <= mantissa < 2.
struct ElementLimits {
  int maxExponent;  ///< emax: exponent of the largest number (2 for E2M1, 8 for E4M3).
  int minExponent;  ///< exponent of the smallest normal number.
  int mantissaBits; ///< stored bits of the mantissa.
  unsigned maxCode; ///< magnitude code of the largest finite number.
  bool hasNaN;      ///< a code for NaN exists (all ones).
  double max;       ///< the largest finite number.
  int bias() const { return 1 - minExponent; }
};
ElementLimits limitsOf(mlir::Type element);

/// The largest left shift that keeps every code of `from` within `to`: 6 from E2M1 to E4M3.
int headroom(mlir::Type from, mlir::Type to);
} // namespace vernier::mx

#endif
