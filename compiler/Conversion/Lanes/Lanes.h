// Arithmetic on lanes: a vector, or a scalar, of numbers that are all treated alike.
#ifndef VERNIER_COMPILER_CONVERSION_LANES_LANES_H
#define VERNIER_COMPILER_CONVERSION_LANES_LANES_H

#include "dialects/mx/IR/Mx.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/TypeUtilities.h"

namespace vernier {

class Lanes {
public:
  Lanes(mlir::OpBuilder &builder, mlir::Location loc) : b(builder), loc(loc) {}

  // --- integers and floats of 32 bits; `like` gives the shape of a constant ---
  mlir::Value i32(mlir::Value like, int64_t value);
  mlir::Value f32(mlir::Value like, double value);
  mlir::Value integer(mlir::Value like, unsigned bits, int64_t value);
  mlir::Value add(mlir::Value a, mlir::Value c);
  mlir::Value sub(mlir::Value a, mlir::Value c);
  mlir::Value bitAnd(mlir::Value a, int64_t mask);
  mlir::Value bitOr(mlir::Value a, mlir::Value c);
  mlir::Value shl(mlir::Value a, int64_t bits);
  mlir::Value shr(mlir::Value a, int64_t bits);
  mlir::Value umax(mlir::Value a, mlir::Value c);
  mlir::Value clamp(mlir::Value a, int64_t low, int64_t high); ///< signed
  mlir::Value cmp(mlir::arith::CmpIPredicate predicate, mlir::Value a, int64_t value);
  mlir::Value select(mlir::Value condition, mlir::Value a, mlir::Value c);
  mlir::Value bits(mlir::Value real);    ///< f32 -> i32, same bits
  mlir::Value real(mlir::Value integer); ///< i32 -> f32, same bits
  mlir::Value widen(mlir::Value narrow); ///< i8 -> i32, zero-extended
  mlir::Value narrow(mlir::Value wide);  ///< i32 -> i8
  mlir::Value absBits(mlir::Value real); ///< magnitude of an f32 as an ordered integer

  // --- shapes ---
  /// Combines neighbours in blocks of `block` lanes, in a fixed order (halves of every block, again and again).
  mlir::Value foldBlocks(mlir::Value v, int64_t block, llvm::function_ref<mlir::Value(mlir::Value, mlir::Value)> combine);
  /// All lanes to one number.
  mlir::Value foldAll(mlir::Value v, llvm::function_ref<mlir::Value(mlir::Value, mlir::Value)> combine);
  /// Repeats every lane `times` times.
  mlir::Value repeat(mlir::Value v, int64_t times);
  mlir::Value splat(mlir::Value scalar, int64_t lanes);
  int64_t count(mlir::Value v); ///< lanes; 1 for a scalar.
  /// Rows of a square (16 of 16 lanes) to its columns.
  llvm::SmallVector<mlir::Value> turnSquare(llvm::SmallVector<mlir::Value> rows);

  // --- reductions ---
  mlir::Value combine(mx::ReduceKind kind, mlir::Value a, mlir::Value c);
  /// What changes nothing when combined: 0, -inf or +inf.
  mlir::Value neutral(mx::ReduceKind kind, mlir::Value like);

  // --- formats (LanesFormats.cpp, LanesRecode.cpp) ---
  /// Element codes (i8) to FP32, exactly; NaN codes to NaN.
  mlir::Value decode(mlir::Value codes, mlir::Type element);
  /// FP32 to element codes (i8), nearest-even, saturating. Not for NaN: those are poisoned with their blocks.
  mlir::Value encode(mlir::Value value, mlir::Type element);
  /// round(code * 2^shift) as codes of another element, on 16-bit integers; `shift` is i32 and has one lane or a divisor
  /// of the codes' lanes. With `rises` false, no shift is positive and the elements are the same.
  mlir::Value recode(mlir::Value codes, mlir::Type from, mlir::Type to, mlir::Value shift, bool rises);
  /// The same with uniform noise below the last kept bit; `noise` holds 32 random bits a lane.
  mlir::Value encodeStochastic(mlir::Value value, mlir::Type element, mlir::Value noise);
  /// Scale byte (i32) from the magnitude bits of the largest value, times 2^(base - 127) where there is a base byte.
  mlir::Value scaleByte(mlir::Value amaxBits, mx::FormatAttr format, mlir::Value baseByte);
  /// 2^(byte - 127) as FP32; byte 255 gives NaN.
  mlir::Value scaleValue(mlir::Value byte);
  /// 2^(127 - byte) as FP32, for finite scales.
  mlir::Value inverseScale(mlir::Value byte);
  /// 2^exponent as FP32, clamped to normal numbers.
  mlir::Value power(mlir::Value exponent);
  /// Codes of a poisoned block: NaN where the element has one, else 0.
  mlir::Value poison(mlir::Value codes, mlir::Value poisoned, mlir::Type element);
  /// FP32 to bf16, nearest-even; subnormals kept, which the conversion instruction does not do.
  mlir::Value toBF16(mlir::Value value);
  /// 4-bit codes, one a lane, to bytes of two and back.
  mlir::Value pack(mlir::Value codes);
  mlir::Value unpack(mlir::Value bytes);

  // --- functions (LanesMath.cpp) ---
  // Each within 2 ulp of FP32.
  mlir::Value exp(mlir::Value x);
  /// For x up to 89, with `negative` up to 0; or NaN.
  mlir::Value expBelow(mlir::Value x, bool negative);
  mlir::Value log(mlir::Value x);
  mlir::Value sigmoid(mlir::Value x);
  mlir::Value tanh(mlir::Value x);
  mlir::Value erfc(mlir::Value x);
  mlir::Value pow(mlir::Value x, mlir::Value y);
  /// First word of Philox 4x32-10 with key `seed` and counter `index` (i64 lanes).
  mlir::Value philox(mlir::Value seed, mlir::Value index);

  mlir::OpBuilder &builder() { return b; }
  mlir::Location location() const { return loc; }

private:
  mlir::Value recodeAny(mlir::Value codes, mlir::Type from, mlir::Type to, mlir::Value shift, bool rises);
  mlir::Type typeLike(mlir::Value like, mlir::Type element);
  mlir::Value roundedCode(mlir::Value magnitude, const mx::ElementLimits &limits);

  mlir::OpBuilder &b;
  mlir::Location loc;
};

} // namespace vernier

#endif
