// The shape of a matrix product's tiles, and how they are staged.
#ifndef VERNIER_COMPILER_HEURISTICS_PRODUCTSHAPE_H
#define VERNIER_COMPILER_HEURISTICS_PRODUCTSHAPE_H

#include "dialects/hopper/IR/Hopper.h"
#include "llvm/ADT/SmallVector.h"

namespace vernier::heuristics {

/// What the choice hangs on. Rows are a run-time number.
struct ProductNeeds {
  int64_t cols = 0;         ///< of the result, or of a panel of it; 0: a run-time number.
  int64_t results = 1;      ///< matrices side by side, each the sum over a group of its own; 1: one.
  bool grouped = false;     ///< rows or K belong to groups, whose sizes the host does not know.
  int64_t panels = 1;       ///< parts of the result's columns that are wanted together.
  int64_t scaledBlocks = 1; ///< blocks of K in a staged tile whose sums are scaled apart; 0: the operands have no scales.
  int64_t passedBits = 16;  ///< of an element that is passed to those that finish.
  bool packed = false;      ///< whether they make two codes a byte.
  int64_t storedBits = 4;   ///< of the widest element that they store.
  int64_t matrices = 1;     ///< that they read, panels of the product among them.
  bool computes = false;    ///< whether they do more than quantise to codes of eight bits, once.
  bool adds = false;        ///< whether sums are added to a matrix, which the copy engine can bring.
  int64_t madeBits = 0;     ///< an element, of the widest numbers that threads make the left operand from; 0: it is fetched.
  bool copied = false;      ///< whether the copy engine can take the result away.
  int64_t blockCols = 1;    ///< columns of the result that must be seen together.
  int64_t scaleRows = 0;    ///< columns of the result that share the right operand's scales; 0: it has none.
};

/// A tile has `slabs` * 64 * `warpgroups` rows: each slab is one accumulator of every consumer thread for every panel.
struct ProductShape {
  int64_t warpgroups = 2; ///< of consumers.
  int64_t slabs = 1;
  int64_t panels = 1;
  int64_t cols = 128;
  int64_t stages = 4;
  int64_t cluster = 2; ///< blocks, side by side across the columns, that fetch the left operand together.
  int64_t band = 8;    ///< row tiles that are walked together across the columns, so that operands stay in the L2 cache.

  int64_t pieces = 1;  ///< in which the columns of a slab are passed to those that finish.
  int64_t buffers = 1; ///< pieces of slabs, all panels of them, that may be on their way.
  /// Of those that finish.
  int64_t vector = 8, finishRows = 8;
  int64_t makeRows = 0; ///< of the left operand, that threads make at once; 0: it is fetched.

  int64_t slabRows() const { return 64 * warpgroups; }
  int64_t rows() const { return slabs * slabRows(); }
  /// Nanoseconds that a block takes for 128 of K of a tile, and of one slab of it, for which it fetches what the tile needs.
  int64_t cost() const;
  int64_t pieceCost() const;
  int64_t passedCols() const { return cols / pieces; }
  hopper::LayoutAttr finishLayout(mlir::MLIRContext *context) const {
    return hopper::LayoutAttr::get(context, finishRows, passedCols(), hopper::kWarpgroup * vector / passedCols(),
                                   passedCols() / vector, vector, 1, 0);
  }
  /// Of those that make staged rows of elements of so many bits: each makes 16 bytes of a row at a time.
  hopper::LayoutAttr makeLayout(mlir::MLIRContext *context, int64_t bits) const {
    constexpr int64_t rowBytes = hopper::StagedType::kRowBytes, bytes = 16, across = rowBytes / bytes;
    return hopper::LayoutAttr::get(context, makeRows, rowBytes * 8 / bits, hopper::kWarpgroup / across, across,
                                   bytes * 8 / bits, 1, 0);
  }
};

/// What a caller wants instead of the model's choice; 0: nothing. Kept as far as a product allows it.
struct ProductWish {
  int64_t warpgroups = 0, slabs = 0, cols = 0, cluster = 0, stages = 0, band = 0;

  ProductWish() = default;
  /// From a function's attribute `mx.product_shape` (see the mx dialect); null: no wish.
  explicit ProductWish(mlir::DictionaryAttr attribute);
  bool any() const { return warpgroups || slabs || cols || cluster || stages || band; }
};

ProductShape chooseProduct(const ProductNeeds &needs, const ProductWish &wish = {});

/// For many tiles, then others where there are so few that most multiprocessors would have none: which one runs is decided with
/// every call, when rows are known. One alone where a caller wants it so, or where groups or threads have a part in a tile.
llvm::SmallVector<ProductShape> chooseProducts(const ProductNeeds &needs, const ProductWish &wish = {});

} // namespace vernier::heuristics

#endif
