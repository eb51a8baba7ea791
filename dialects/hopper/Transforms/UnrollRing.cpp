// Pass hopper-unroll-ring.
#include "dialects/hopper/Transforms/Passes.h"

#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/SCF/Utils/Utils.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/IR/IRMapping.h"

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
      int64_t factor = factorOf(loop);
      if (factor == 1)
        continue;
      auto unrolled = loopUnrollByFactor(loop, uint64_t(factor));
      if (failed(unrolled)) {
        loop.emitError() << "expected a loop that can be unrolled";
        return signalPassFailure();
      }
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

  /// The largest power of two that divides the iterations and leaves no more than a few products, and a loop behind the one
  /// that is apart: the copies of one that runs once would be scheduled into one another, where all partial sums are alive at
  /// once.
  static int64_t factorOf(scf::ForOp loop) {
    // On one H200, two slots of two products each took 1% off dense products. Four took as much again, but three times as long
    // to assemble. Loops of one product are those of tiles with few rows.
    constexpr int64_t leastProducts = 2, mostProducts = 4;
    std::optional<int64_t> first = getConstantIntValue(loop.getLowerBound()), end = getConstantIntValue(loop.getUpperBound()),
                           step = getConstantIntValue(loop.getStep());
    if (!first || !end || !step || (*end - *first) % *step)
      return 1;
    int64_t iterations = (*end - *first) / *step, factor = 1;
    auto products = loop.getBody()->getOps<MultiplyOp>();
    int64_t count = std::distance(products.begin(), products.end());
    while (count >= leastProducts && 2 * factor * count <= mostProducts && iterations % (2 * factor) == 0 &&
           iterations > 4 * factor)
      factor *= 2;
    return factor;
  }
};
} // namespace
