// Run-time sizes as expressions over the sizes of a function's arguments.
#ifndef VERNIER_DIALECTS_MX_ANALYSIS_SIZES_H
#define VERNIER_DIALECTS_MX_ANALYSIS_SIZES_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Value.h"
#include "llvm/ADT/SmallVector.h"

#include <map>
#include <string>

namespace vernier::mx {

/// A constant, or dimension `dim` of argument `argument`, then rounded up to each of `roundUps` in turn; of that a part,
/// rounded down, and some more.
struct Size {
  int argument = -1; ///< -1: the constant.
  unsigned dim = 0;
  int64_t constant = 0;
  llvm::SmallVector<int64_t, 2> roundUps;
  int64_t divisor = 1;
  int64_t plus = 0;

  static Size fixed(int64_t value) { return {-1, 0, value, {}}; }
  bool isConstant() const { return argument < 0; }
  bool isPart() const { return divisor != 1 || plus != 0; }
  bool operator==(const Size &other) const {
    return argument == other.argument && dim == other.dim && constant == other.constant && roundUps == other.roundUps &&
           divisor == other.divisor && plus == other.plus;
  }
  /// "arg0.0", "round_up(arg0.0, 128)", "floor(arg0.0 / 128) + 8" or a number.
  std::string str() const;
};

/// As an attribute: [argument, dim, constant, divisor, plus, round-ups...].
mlir::DenseI64ArrayAttr encodeSize(const Size &size, mlir::Builder &b);
Size decodeSize(mlir::DenseI64ArrayAttr words);

/// The sizes of every value in a function, and the equalities between arguments that its operations demand.
class Sizes {
public:
  explicit Sizes(mlir::func::FuncOp function);

  /// Size of a dimension of a value inside the function, kernels' regions included.
  Size get(mlir::Value value, unsigned dim) const;

  /// Rows of the operand that a weight gradient contracts: those that were turned, where its blocks are matrices.
  Size turnedRows(mlir::Value operand, mlir::Operation *wgrad) const;

  struct Equality {
    Size left, right;
  };
  /// What a caller must be held to: each pair is equal, or the call is refused.
  llvm::ArrayRef<Equality> equalities() const { return equalities_; }

private:
  Size canonical(Size size) const;
  Size raw(mlir::Value value, unsigned dim) const;
  void demandEqual(mlir::Value a, unsigned dimA, mlir::Value b, unsigned dimB);
  void demandEqual(Size left, Size right);
  void visit(mlir::Operation *op);

  std::map<std::pair<int, unsigned>, Size> substitution_;
  llvm::SmallVector<Equality> equalities_;
};

} // namespace vernier::mx

#endif
