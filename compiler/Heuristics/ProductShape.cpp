#include "compiler/Heuristics/ProductShape.h"

#include "llvm/ADT/bit.h"

#include <algorithm>
#include <cstdlib>

using namespace vernier::heuristics;

ProductShape vernier::heuristics::chooseProduct(const ProductNeeds &needs) {
  ProductShape shape;
  // 128 columns of FP32 sums are 64 registers a thread and slab, and 64 more while partial sums are scaled apart.
  if (needs.cols)
    shape.cols = std::clamp<int64_t>(int64_t(llvm::bit_ceil(uint64_t(needs.cols))), 8, 128);
  shape.slabs = 2;
  // At 1400 TFLOPS, tiles of 256 x 128 would read 8 TB/s from the L2 cache, which gives less: two blocks share 5 of them.
  if (needs.cols && needs.cols <= shape.cols)
    shape.cluster = 1;
  constexpr int64_t rowBytes = 128, sharedBytes = 227 * 1024, slack = 1024;
  constexpr int64_t scaleBytes = 2048; // rows' and columns', to the next KiB
  int64_t slot = (shape.rows() + shape.cols) * rowBytes + (needs.scaled ? scaleBytes : 0);
  shape.stages = std::clamp<int64_t>((sharedBytes - slack) / slot, 2, 8);
  if (const char *v = getenv("VERNIER_CLUSTER")) shape.cluster = atoi(v);
  if (const char *v = getenv("VERNIER_STAGES")) shape.stages = atoi(v);
  if (const char *v = getenv("VERNIER_BAND")) shape.band = atoi(v);
  return shape;
}
