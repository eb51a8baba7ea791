// Tiles of rows that start anew with each group.
#ifndef VERNIER_COMPILER_CONVERSION_MXTOHOPPER_GROUPEDTILES_H
#define VERNIER_COMPILER_CONVERSION_MXTOHOPPER_GROUPEDTILES_H

#include "compiler/Conversion/MxToHopper/Kernels.h"

namespace vernier::tiled {

/// Tiles of `height` rows. Those of group g begin at tile floor(offsets[g] / height) + g, which leaves room for every group's
/// tiles without a prefix sum. Some stay empty.
class GroupedTiles {
public:
  GroupedTiles(TileEmitter &emitter, mlir::Value offsets, const mx::Size &rows, int64_t height);

  /// How many tiles there are.
  mlir::Value count();
  llvm::SmallVector<TaskTerm> countTerms();

  struct Found {
    mlir::Value group;
    Tile tile; ///< `rows` is 0 where the tile is empty.
  };
  Found find(mlir::Value number);
  /// The same when tiles are counted one after the other through all groups: empty ones come last, so that tasks of equal
  /// work are shared out evenly. There are `count` at most.
  Found findDense(mlir::Value number);
  /// The first row of the first group, and the row after the last one: rows beyond belong to no group.
  std::pair<mlir::Value, mlir::Value> bounds();

private:
  TileEmitter &e;
  mx::Size rowSize, offsetCount;
  int64_t height;
  mlir::Value offsets, rows, groups;
};

} // namespace vernier::tiled

#endif
