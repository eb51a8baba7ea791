// The shape of a kernel's tiles and how the threads of a block share them.
#ifndef VERNIER_COMPILER_HEURISTICS_TILESHAPE_H
#define VERNIER_COMPILER_HEURISTICS_TILESHAPE_H

#include "dialects/hopper/IR/Hopper.h"
#include "dialects/mx/Analysis/KernelPlan.h"

namespace vernier::heuristics {

/// How often a kernel can be made lighter: in `kLighterShapes` - 1 steps by the shape of its tiles, and then in as many shapes
/// without loads ahead of time.
inline constexpr int64_t kLighterShapes = 3, kLightest = 2 * kLighterShapes - 1;

/// What the choice hangs on.
struct TileNeeds {
  int64_t widestBytes = 1;      ///< of an element in memory.
  int64_t widestStoredBits = 4; ///< of an element of a result.
  bool packed = false;          ///< two codes a byte somewhere.
  bool codes = false;           ///< 8-bit codes somewhere.
  bool numbers = false;         ///< something is computed in FP32.
  bool recodes = false;         ///< codes of one format become those of another.
  int64_t rowTile = 1;          ///< rows that must be seen together.
  int64_t blockCols = 1;        ///< columns that must be seen together.
  int64_t narrowestTurned = 0;  ///< bytes of the narrowest transposed element, in eighths; 0: nothing is transposed.
  bool gathers = false;         ///< rows are found by an index.
  bool grouped = false;         ///< tiles start anew with each group of rows.
  bool wholeRows = false;       ///< something is found along whole rows.
  bool downColumns = false;     ///< a reduction over all rows.
  bool tabulates = false;       ///< functions are looked up in tables.
  int64_t work = 0;             ///< operations on numbers, for each of a tile's elements.
  int64_t loadedBits = 0;       ///< read for each column of the widest segment.
  int64_t width = 0;            ///< columns of the widest segment; 0: known at run time only.
  int64_t lighter = 0;          ///< how often the assembler ran out of registers (hopper.lighter).
  int64_t commonWidth = 0;      ///< a number that divides the width of every segment; 0: unknown.
};

/// A layout, and how many blocks are to fit a multiprocessor: registers are bounded accordingly, unless that spills.
struct TileChoice {
  hopper::LayoutAttr layout;
  int64_t blocks = 1;
  int64_t waves = 1;      ///< blocks for each one that runs at a time.
  bool loadsAhead = true; ///< loads for the next tile may wait in registers.
};

TileNeeds needsOf(mx::KernelOp kernel, const mx::KernelPlan &plan);
TileChoice chooseTiles(mlir::MLIRContext *context, const TileNeeds &needs);
TileChoice chooseTiles(mx::KernelOp kernel, const mx::KernelPlan &plan);

} // namespace vernier::heuristics

#endif
