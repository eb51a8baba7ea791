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

int64_t vernier::hopper::bankConflicts(LayoutAttr layout, int64_t bits, ArrayRef<int64_t> swizzle) {
  int64_t perWord = 32 / bits, rowWords = layout.getRows() / perWord;
  auto place = [&](int64_t column, int64_t word) {
    int64_t turned = (column >> swizzle[0]) << swizzle[1];
    if (swizzle.size() > 2)
      turned ^= (column >> swizzle[2]) << swizzle[3];
    return column * rowWords + (word ^ (turned & (rowWords - 1)));
  };
  auto worst = [&](llvm::function_ref<int64_t(int64_t)> address) {
    std::set<int64_t> banks[32];
    size_t most = 0;
    for (int64_t lane = 0; lane < 32; ++lane) {
      int64_t at = address(lane);
      banks[at % 32].insert(at);
      most = std::max(most, banks[at % 32].size());
    }
    return int64_t(most);
  };
  int64_t writes = worst([&](int64_t lane) {
    int64_t column = lane % layout.getThreadCols() * layout.getVector(),
            row = lane / layout.getThreadCols() * layout.getRowGroup();
    return place(column, row / perWord);
  });
  int64_t unitWords = std::min<int64_t>(4, rowWords), units = rowWords / unitWords;
  int64_t reads = worst([&](int64_t lane) { return place(lane / units % layout.getCols(), lane % units * unitWords); });
  return writes + reads;
}

SmallVector<int64_t> vernier::hopper::chooseSwizzle(LayoutAttr layout, int64_t bits) {
  SmallVector<int64_t> best{0, 0};
  int64_t least = bankConflicts(layout, bits, best);
  for (int64_t a = 0; a < 8; ++a)
    for (int64_t c = 0; c < 5; ++c) {
      if (int64_t count = bankConflicts(layout, bits, {a, c}); count < least)
        std::tie(least, best) = std::pair(count, SmallVector<int64_t>{a, c});
      for (int64_t d = 0; d < a; ++d)
        for (int64_t e = 0; e < 5 && least > 2; ++e)
          if (int64_t count = bankConflicts(layout, bits, {a, c, d, e}); count < least)
            std::tie(least, best) = std::pair(count, SmallVector<int64_t>{a, c, d, e});
    }
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
        store.setSwizzle(chooseSwizzle(layout, bits));
        users.push_back({op, tile.getNumElements() * bits / 8});
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
