// Numbers of tiles and the order in which tiles are taken.
#ifndef VERNIER_COMPILER_CONVERSION_MXTOHOPPER_TILENUMBERS_H
#define VERNIER_COMPILER_CONVERSION_MXTOHOPPER_TILENUMBERS_H

#include "mlir/Dialect/Arith/IR/Arith.h"

namespace vernier::tiled {

/// Tiles are counted in 32 bits, and numbers of them divided by reciprocals: a division of 64 bits takes a hundred
/// instructions, one of 32 as long as a step of a sum.
class TileNumbers {
public:
  TileNumbers(mlir::OpBuilder &builder, mlir::Location location) : b(builder), loc(location) {}

  mlir::Value i32(int64_t value);
  mlir::Value narrow(mlir::Value index); ///< to i32.
  mlir::Value widen(mlir::Value number); ///< to index.

  /// What numbers are divided by, found once.
  struct Divisor {
    mlir::Value value, inverse; ///< i32, f32.
  };
  Divisor divisor(mlir::Value value);
  /// Quotient and remainder, as long as the quotient is below 2^21.
  std::pair<mlir::Value, mlir::Value> split(mlir::Value number, const Divisor &divisor);

  /// A matrix of tiles that are taken band by band: down its `height` rows of tiles before the next column of tiles. The last
  /// band may be lower.
  struct Bands {
    mlir::Value down; ///< rows of tiles (i32).
    int64_t height;
    Divisor tiles; ///< of a whole band.
  };
  Bands bands(mlir::Value down, mlir::Value across, int64_t height);
  /// Row and column of a tile.
  std::pair<mlir::Value, mlir::Value> placeOf(mlir::Value number, const Bands &bands);

private:
  mlir::OpBuilder &b;
  mlir::Location loc;
};

} // namespace vernier::tiled

#endif
