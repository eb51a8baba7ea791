// Pass hopper-allocate-shared.
#include "dialects/hopper/Transforms/Passes.h"

#include "mlir/IR/Builders.h"
#include "llvm/Support/MathExtras.h"

#include <set>

namespace vernier::hopper {
#define GEN_PASS_DEF_ALLOCATESHARED
#include "dialects/hopper/Transforms/Passes.h.inc"
} // namespace vernier::hopper

using namespace mlir;
using namespace vernier::hopper;

/// How long a warp takes to write and to read 128 words of a tile that is stored transposed, in cycles of shared memory: 8
/// where no bank is asked for twice.
static int64_t bankCycles(LayoutAttr layout, int64_t bits, int64_t padding) {
  int64_t perWord = 32 / bits, rowWords = layout.getRows() / perWord;
  auto place = [&](int64_t column, int64_t word) { return column * rowWords + column / layout.getVector() * padding + word; };
  constexpr int64_t banks = 32;
  // Of the first lanes of a warp, which take some neighbouring words each.
  auto cycles = [&](int64_t lanes, int64_t words, llvm::function_ref<int64_t(int64_t)> address) {
    std::set<int64_t> wanted[banks];
    size_t most = 0;
    for (int64_t lane = 0; lane < lanes; ++lane)
      for (int64_t word = 0; word < words; ++word) {
        int64_t at = address(lane) + word;
        wanted[at % banks].insert(at);
        most = std::max(most, wanted[at % banks].size());
      }
    return int64_t(most);
  };
  int64_t writes = cycles(banks, 1, [&](int64_t lane) {
    int64_t column = lane % layout.getThreadCols() * layout.getVector(),
            row = lane / layout.getThreadCols() * layout.getRowGroup();
    return place(column, row / perWord);
  });
  int64_t unitWords = std::min<int64_t>(4, rowWords), units = rowWords / unitWords;
  auto unit = [&](int64_t lane) { return place(lane / units % layout.getCols(), lane % units * unitWords); };
  // A unit at once where it is aligned, else word by word.
  bool together = padding % unitWords == 0;
  int64_t reads = together ? cycles(banks / unitWords, unitWords, unit) : cycles(banks, 1, unit);
  return unitWords * (writes + reads);
}

static int64_t choosePadding(LayoutAttr layout, int64_t bits) {
  int64_t best = 0;
  for (int64_t padding : {4, 8, 16, 1, 2})
    if (bankCycles(layout, bits, padding) < bankCycles(layout, bits, best))
      best = padding;
  return best;
}

namespace {
struct AllocateShared : vernier::hopper::impl::AllocateSharedBase<AllocateShared> {
  void runOnOperation() override {
    if (!getOperation()->hasAttr(kLayout))
      return;
    OpBuilder b(&getContext());
    SmallVector<std::pair<Operation *, int64_t>> users; // and their bytes
    getOperation().walk([&](Operation *op) {
      if (auto store = llvm::dyn_cast<StoreTransposedOp>(op)) {
        auto tile = llvm::cast<VectorType>(store.getValue().getType());
        int64_t bits = tile.getElementTypeBitWidth();
        LayoutAttr layout = layoutAt(op);
        if (tile.getShape() != ArrayRef<int64_t>{layout.getRows(), layout.getCols()} || bits > 32)
          return;
        store.setPadding(choosePadding(layout, bits));
        int64_t words = tile.getNumElements() * bits / 32 + layout.getThreadCols() * int64_t(*store.getPadding());
        users.push_back({op, llvm::alignTo(words * 4, 128)});
      }
      if (auto reduce = llvm::dyn_cast<ReduceOp>(op)) {
        auto from = llvm::cast<VectorType>(reduce.getInput().getType()),
             to = llvm::cast<VectorType>(reduce.getResult().getType());
        LayoutAttr layout = layoutAt(op);
        int64_t across = layout.sharingCols(to.getDimSize(1)),
                down = layout.sharingRows(to.getDimSize(0)) * layout.getThreadCols();
        bool moreCols = across > std::max<int64_t>(32, layout.sharingCols(from.getDimSize(1)));
        bool moreRows = layout.sharingRows(to.getDimSize(0)) > layout.sharingRows(from.getDimSize(0)) && down > 32;
        if (moreCols || moreRows)
          users.push_back({op, layout.localRows(to.getDimSize(0)) * layout.localCols(to.getDimSize(1)) * layout.threads() * 4});
      }
    });
    // Tiles that are passed come first. They begin at multiples of 1024 bytes, as those of the ring do.
    int64_t ring = 0;
    getOperation().walk([&](RolesOp roles) {
      int64_t passed = llvm::alignTo(roles.getPassedBytes(), 1024) * int64_t(roles.getBuffers());
      roles.setShared(passed);
      ring = llvm::alignTo(passed + roles.sharedBytes(), 128);
    });
    // Tables stay as long as the kernel runs, what is gathered until it is stored.
    getOperation().walk([&](Operation *op) {
      if (auto tabulate = llvm::dyn_cast<TabulateOp>(op)) {
        tabulate.setShared(ring);
        ring += TableType::kBytes;
      }
      if (auto store = llvm::dyn_cast<StoreGatheredOp>(op)) {
        store.setShared(ring);
        ring += llvm::alignTo(StoreGatheredOp::sharedBytes(layoutAt(op).getCols()), 128);
      }
    });
    int64_t bytes = 0, largest = 0;
    for (auto [op, mine] : users) {
      bytes += mine;
      largest = std::max(largest, mine);
    }
    // Too much for two blocks on a multiprocessor: one after the other, in the same bytes.
    constexpr int64_t plenty = 96 * 1024;
    bool overlaid = bytes > plenty;
    int64_t next = 0;
    for (auto [op, mine] : users) {
      op->setAttr("shared", b.getI64IntegerAttr(ring + (overlaid ? 0 : next)));
      next += mine;
      Block *block = op->getBlock();
      bool alone = overlaid || llvm::none_of(users, [&, op = op](auto &other) {
                     return other.first != op && other.first->getBlock() == block;
                   });
      if (alone)
        op->setAttr("alone", b.getUnitAttr());
    }
    if (overlaid)
      bytes = largest;
    getOperation()->setAttr(kShared, b.getI64IntegerAttr(ring + bytes));
  }
};
} // namespace
