// Pass hopper-unroll-ring.
#include "dialects/hopper/Transforms/Passes.h"

#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/SCF/Utils/Utils.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/SetVector.h"

namespace vernier::hopper {
#define GEN_PASS_DEF_UNROLLRING
#include "dialects/hopper/Transforms/Passes.h.inc"
} // namespace vernier::hopper

using namespace mlir;
using namespace vernier::hopper;

namespace {
struct UnrollRing : vernier::hopper::impl::UnrollRingBase<UnrollRing> {
  void runOnOperation() override {
    SmallVector<scf::ForOp> loops;
    getOperation().walk([&](scf::ForOp loop) {
      if (!loop.getBody()->getOps<AwaitOp>().empty())
        loops.push_back(loop);
    });
    for (scf::ForOp loop : loops) {
      auto products = llvm::to_vector(loop.getBody()->getOps<MultiplyOp>());
      bool overlaps = products.size() == 1 && !products.front().getAccumulate();
      int64_t factor = overlaps ? slotsAtOnce(loop, products.front()) : slotsInTurn(loop, int64_t(products.size()));
      if (factor == 1)
        continue;
      auto unrolled = loopUnrollByFactor(loop, uint64_t(factor));
      if (failed(unrolled)) {
        loop.emitError() << "expected a loop that can be unrolled";
        return signalPassFailure();
      }
      if (overlaps)
        overlap(*loop.getBody());
      peel(loop);
    }
  }

  /// The first iteration apart: its sums start from nothing, which need not be written to registers first.
  static void peel(scf::ForOp loop) {
    OpBuilder b(loop);
    IRMapping mapping;
    mapping.map(loop.getInductionVar(), loop.getLowerBound());
    mapping.map(loop.getRegionIterArgs(), loop.getInitArgs());
    for (Operation &op : loop.getBody()->without_terminator())
      b.clone(op, mapping);
    for (auto [initial, next] : llvm::zip(loop.getInitArgsMutable(), loop.getBody()->getTerminator()->getOperands()))
      initial.set(mapping.lookupOrDefault(next));
    loop.setLowerBound(arith::AddIOp::create(b, loop.getLoc(), loop.getLowerBound(), loop.getStep()));
  }

  /// Begins all products of a block before the first is awaited: what hangs on the result of one, and the release of its slot,
  /// moves behind everything else.
  static void overlap(Block &block) {
    auto products = llvm::to_vector(block.getOps<MultiplyOp>());
    llvm::SetVector<Operation *> late;
    for (auto [i, product] : llvm::enumerate(products)) {
      OpBuilder b(product);
      auto type = llvm::cast<VectorType>(product.getType());
      auto sums = SumsType::get(b.getContext(), type.getDimSize(0), type.getDimSize(1));
      Value begun = BeginProductOp::create(b, product.getLoc(), sums, product.getA(), product.getB(), product.getRow(),
                                           product.getFirst(), product.getDepth());
      auto done = AwaitProductOp::create(b, product.getLoc(), type, begun, products.size() - 1 - i);
      product.replaceAllUsesWith(done.getResult());
      product.erase();
    }
    for (Operation &op : block.without_terminator())
      if (llvm::isa<AwaitProductOp, ReleaseOp>(op) ||
          llvm::any_of(op.getOperands(), [&](Value v) { return late.contains(v.getDefiningOp()); }))
        late.insert(&op);
    for (Operation *op : late)
      op->moveBefore(block.getTerminator());
  }

  struct Iterations {
    int64_t count;
    /// The largest power of two that divides them, up to some, and leaves a loop behind the one that is apart which runs more
    /// than once: the copies of one that runs once would be scheduled into one another, where all partial sums are alive at
    /// once.
    int64_t shared(int64_t most) const {
      int64_t factor = 1;
      while (2 * factor <= most && count % (2 * factor) == 0 && count > 4 * factor)
        factor *= 2;
      return factor;
    }
  };
  static Iterations iterationsOf(scf::ForOp loop) {
    std::optional<int64_t> first = getConstantIntValue(loop.getLowerBound()), end = getConstantIntValue(loop.getUpperBound()),
                           step = getConstantIntValue(loop.getStep());
    return {first && end && step && (*end - *first) % *step == 0 ? (*end - *first) / *step : 1};
  }

  /// On one H200, two slots of two products each took 1% off dense products. Four took as much again, but three times as long
  /// to assemble.
  static int64_t slotsInTurn(scf::ForOp loop, int64_t products) {
    constexpr int64_t mostProducts = 4;
    return products < 2 ? 1 : iterationsOf(loop).shared(mostProducts / products);
  }

  /// Of one product each, whose time is that of waiting: as many as there are registers for their sums and scales, and no more
  /// than about a quarter of the ring: the others are on their way from memory. (Of 8 slots of 20 KiB, 4 on their way took 650
  /// ns on one H200.) Where threads make tiles, they need the registers.
  static int64_t slotsAtOnce(scf::ForOp loop, MultiplyOp product) {
    constexpr int64_t mostRegisters = 192, mostSlots = 4;
    auto roles = loop->getParentOfType<RolesOp>();
    if (roles.getMakeLayout())
      return 1;
    LayoutAttr layout = layoutAt(loop);
    auto registersOf = [&](Value tile) {
      auto type = llvm::cast<VectorType>(tile.getType());
      return layout.localRows(type.getDimSize(0)) * layout.localCols(type.getDimSize(1));
    };
    int64_t sums = registersOf(product), aSlot = sums;
    for (ReadScalesOp scales : loop.getBody()->getOps<ReadScalesOp>())
      aSlot += registersOf(scales);
    return iterationsOf(loop).shared(std::min({mostSlots, int64_t(roles.getStages() + 1) / 4, (mostRegisters - sums) / aSlot}));
  }
};
} // namespace
