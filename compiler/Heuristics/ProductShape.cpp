#include "compiler/Heuristics/ProductShape.h"

#include "llvm/ADT/bit.h"
#include "llvm/Support/MathExtras.h"

#include <algorithm>

using namespace vernier::heuristics;

ProductWish::ProductWish(mlir::DictionaryAttr attribute) {
  auto read = [&](llvm::StringRef name, int64_t &field) {
    if (auto value = attribute ? attribute.getAs<mlir::IntegerAttr>(name) : mlir::IntegerAttr())
      field = value.getInt();
  };
  read("warpgroups", warpgroups), read("slabs", slabs), read("cols", cols), read("cluster", cluster), read("stages", stages),
      read("band", band);
}

ProductShape vernier::heuristics::chooseProduct(const ProductNeeds &needs, const ProductWish &wish) {
  ProductShape shape;
  // 128 columns of FP32 sums are 64 registers a thread and slab, and 64 more while partial sums are scaled apart.
  if (needs.cols)
    shape.cols =
        std::clamp<int64_t>(int64_t(llvm::bit_ceil(uint64_t(needs.cols))), std::max<int64_t>(32, needs.blockCols), 128);
  if (wish.cols)
    shape.cols = std::min(shape.cols, std::max(wish.cols, needs.blockCols));
  shape.panels = needs.panels;
  // Scales of columns, one each, are registers too; and so are those of many blocks, which fewer threads fetch where one warp
  // brings what sums are added to.
  shape.slabs = needs.scaleRows == 1 || needs.panels > 1 || (needs.adds && needs.scaledBlocks > 2) ? 1 : 2;
  if (needs.madeBits) // so is what is made, and what it is made from, as much of it as is on its way from memory
    shape.slabs = 1;
  if (wish.warpgroups)
    shape.warpgroups = wish.warpgroups;
  if (wish.slabs)
    shape.slabs = std::min(shape.slabs, wish.slabs);
  if (wish.band)
    shape.band = wish.band;
  // With many groups sums are short, and what they are added to takes longer than the products: blocks of a cluster would wait
  // for one another's. One H200 took 7% less time for 32 groups, 0.6% more for 8.
  constexpr int64_t manyGroups = 16;
  if (needs.adds && needs.results >= manyGroups)
    shape.cluster = 1;
  // Of an odd number of tiles side by side, the last cluster's second block would have none. To be two by two is worth 3%.
  constexpr int64_t manyTiles = 32;
  if (int64_t across = llvm::divideCeil(needs.cols, shape.cols); across % 2 && across < manyTiles)
    shape.cluster = 1;
  if (needs.madeBits) { // every block makes the tiles that it multiplies
    shape.cluster = 1;
    // As many loads as registers hold: with one row of a thread at a time, one H200 took ten times as long as from memory.
    shape.makeRows = std::min<int64_t>(shape.rows(), needs.madeBits <= 8 ? 128 : needs.madeBits <= 16 ? 64 : 32);
  } else if (wish.cluster) {
    shape.cluster = wish.cluster;
  }
  // Otherwise two blocks share 5 tiles: at 1400 TFLOPS, tiles of 256 x 128 would read 8 TB/s from the L2 cache, which gives
  // less.
  if (needs.cols && needs.cols <= shape.cols)
    shape.cluster = 1;
  constexpr int64_t rowBytes = 128, sharedBytes = 227 * 1024, slack = 1024;
  int64_t slot = (shape.rows() + shape.panels * shape.cols) * rowBytes;
  if (needs.scaledBlocks) { // FP32 scales of rows and of columns, to the next KiB
    int64_t scales = shape.rows() + std::max<int64_t>(1, shape.cols / needs.scaleRows);
    slot += llvm::alignTo(shape.panels * scales * 4 * needs.scaledBlocks, 1024);
  }
  // What is passed takes room of the ring: two slabs of 16-bit numbers, or one of 32.
  int64_t passed = shape.panels * shape.slabRows() * std::max<int64_t>(shape.cols * needs.passedBits / 8, rowBytes);
  shape.buffers = passed > 32 * 1024 ? 1 : 2;
  shape.stages = std::clamp<int64_t>((sharedBytes - slack - shape.buffers * passed) / slot, 2, 12);
  if (wish.stages)
    shape.stages = std::min(shape.stages, wish.stages);
  // A slab of FP32 leaves room for no other: of pieces, as narrow as the copy engine takes them, some come, some are added to
  // and some leave at once.
  if (needs.copied && needs.passedBits == 32 && shape.cols * 4 % rowBytes == 0) {
    shape.pieces = shape.cols * 4 / rowBytes;
    passed /= shape.pieces;
    shape.buffers = std::clamp<int64_t>((sharedBytes - slack - shape.stages * slot) / passed, 1, 8);
  }
  // A thread that finishes reads sixteen bytes at a time, writes no less than a word, and has few registers: sixteen numbers
  // of one matrix, neighbours where they are scaled together and leave as codes; fewer where more is done with them.
  bool fewSums = shape.slabs * shape.panels == 1; // then there are more registers
  int64_t elements = !needs.computes && (fewSums || (needs.matrices == 1 && needs.passedBits == 16)) ? 16 : 8;
  shape.vector = std::max<int64_t>(128 / needs.passedBits, needs.packed ? 8 : 4);
  if (elements == 16 && needs.storedBits <= 8 && needs.passedBits == 16)
    shape.vector = elements;
  shape.vector = std::min(shape.vector, shape.passedCols());
  shape.finishRows = std::clamp<int64_t>(
      hopper::kWarpgroup * shape.vector / shape.passedCols() * std::max<int64_t>(1, elements / shape.vector), 1, 64);
  return shape;
}

/// For 128 of K on one H200: of tiles of 64 x 64, 128 x 64, 128 x 128 and 256 x 128, 182, 232 to 294, 367 to 398 and
/// 677 to 770 ns. Waiting for one another takes its time whatever the tile; what it has of multiplications comes to it.
static int64_t costOf(const ProductShape &shape, int64_t slabs) {
  constexpr int64_t alone = 100, perSquare = 300; // of 128 x 128
  return alone + perSquare * slabs * shape.slabRows() * shape.panels * shape.cols / (128 * 128);
}

int64_t ProductShape::cost() const { return costOf(*this, slabs); }

/// One slab of two, for which a block fetches what it would for both: 470 ns where few multiprocessors had one, 680 where all
/// had.
int64_t ProductShape::pieceCost() const { return (costOf(*this, slabs) + costOf(*this, 1)) / 2; }

llvm::SmallVector<ProductShape> vernier::heuristics::chooseProducts(const ProductNeeds &needs, const ProductWish &wish) {
  llvm::SmallVector<ProductShape> shapes{chooseProduct(needs, wish)};
  if (wish.any() || needs.grouped || needs.madeBits)
    return shapes;
  // Blocks that need not be two by two fill the multiprocessors best; of their operands the L2 cache has enough for few tiles.
  for (auto [warpgroups, cols] : {std::pair(2, 128), std::pair(2, 64), std::pair(1, 64)}) {
    ProductWish few;
    few.warpgroups = warpgroups, few.slabs = 1, few.cols = cols, few.cluster = 1;
    ProductShape shape = chooseProduct(needs, few);
    if (shape.cost() < shapes.back().cost())
      shapes.push_back(shape);
  }
  return shapes;
}
