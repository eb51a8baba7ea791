#include "compiler/Heuristics/ProductShape.h"

#include "llvm/ADT/bit.h"
#include "llvm/Support/MathExtras.h"

#include <algorithm>

using namespace vernier::heuristics;

ProductShape vernier::heuristics::chooseProduct(const ProductNeeds &needs) {
  ProductShape shape;
  // 128 columns of FP32 sums are 64 registers a thread and slab, and 64 more while partial sums are scaled apart.
  if (needs.cols)
    shape.cols =
        std::clamp<int64_t>(int64_t(llvm::bit_ceil(uint64_t(needs.cols))), std::max<int64_t>(32, needs.blockCols), 128);
  // Scales of columns, one each, are registers too.
  shape.slabs = needs.scaleRows == 1 ? 1 : 2;
  // At 1400 TFLOPS, tiles of 256 x 128 would read 8 TB/s from the L2 cache, which gives less: two blocks share 5 of them.
  if (needs.cols && needs.cols <= shape.cols)
    shape.cluster = 1;
  constexpr int64_t rowBytes = 128, sharedBytes = 227 * 1024, slack = 1024;
  int64_t slot = (shape.rows() + shape.cols) * rowBytes;
  if (needs.scaledBlocks) // FP32 scales of rows and of columns, to the next KiB
    slot += llvm::alignTo((shape.rows() + std::max<int64_t>(1, shape.cols / needs.scaleRows)) * 4 * needs.scaledBlocks, 1024);
  int64_t leaving = 0, storedCols = needs.storedBits ? rowBytes * 8 / needs.storedBits : 0;
  if (storedCols && shape.cols % storedCols == 0) {
    // Two slabs of 16-bit numbers, or one of 32: more would take the ring's third stage.
    shape.buffers = needs.storedBits > 16 ? 1 : shape.slabs;
    leaving = shape.buffers * shape.slabRows() * shape.cols * needs.storedBits / 8;
  }
  shape.stages = std::clamp<int64_t>((sharedBytes - slack - leaving) / slot, 2, 8);
  return shape;
}
