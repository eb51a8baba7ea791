// The shape of a matrix product's tiles, and how they are staged.
#ifndef VERNIER_COMPILER_HEURISTICS_PRODUCTSHAPE_H
#define VERNIER_COMPILER_HEURISTICS_PRODUCTSHAPE_H

#include <cstdint>

namespace vernier::heuristics {

/// What the choice hangs on. Rows are a run-time number.
struct ProductNeeds {
  int64_t cols = 0;         ///< of the result; 0: a run-time number.
  int64_t scaledBlocks = 1; ///< blocks of K in a staged tile whose sums are scaled apart; 0: the operands have no scales.
  int64_t storedBits = 0;   ///< of an element of the result that leaves through shared memory; 0: it does not.
  int64_t blockCols = 1;    ///< columns of the result that must be seen together.
  int64_t scaleRows = 0;    ///< columns of the result that share the right operand's scales; 0: it has none.
};

/// A tile has `slabs` * 64 * `warpgroups` rows: each slab is one accumulator of every consumer thread.
struct ProductShape {
  int64_t warpgroups = 2; ///< of consumers.
  int64_t slabs = 1;
  int64_t cols = 128;
  int64_t stages = 4;
  int64_t cluster = 2; ///< blocks, side by side across the columns, that fetch the left operand together.
  int64_t band = 8;    ///< row tiles that are walked together across the columns, so that operands stay in the L2 cache.

  int64_t buffers = 0; ///< slabs of the result that may be on their way out of shared memory; 0: they leave from registers.

  int64_t slabRows() const { return 64 * warpgroups; }
  int64_t rows() const { return slabs * slabRows(); }
};

ProductShape chooseProduct(const ProductNeeds &needs);

} // namespace vernier::heuristics

#endif
