// Pass hopper-nest-reductions.
#include "dialects/hopper/Transforms/Passes.h"

#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"

namespace vernier::hopper {
#define GEN_PASS_DEF_NESTREDUCTIONS
#include "dialects/hopper/Transforms/Passes.h.inc"
} // namespace vernier::hopper

using namespace mlir;
using namespace vernier::hopper;

static VectorType gridOf(ReduceOp reduce) { return llvm::cast<VectorType>(reduce.getResult().getType()); }

/// Whether every number of `coarse` combines whole numbers of `fine`.
static bool nests(VectorType fine, VectorType coarse) {
  return fine != coarse && fine.getDimSize(0) % coarse.getDimSize(0) == 0 && fine.getDimSize(1) % coarse.getDimSize(1) == 0;
}

namespace {
struct NestReductions : vernier::hopper::impl::NestReductionsBase<NestReductions> {
  void runOnOperation() override {
    if (!getOperation()->hasAttr(kLayout))
      return;
    llvm::MapVector<std::tuple<Block *, Value, ReduceKind>, SmallVector<ReduceOp>> together;
    getOperation().walk([&](ReduceOp reduce) {
      if (reduce.getKind() != ReduceKind::Sum) // whose order is its own
        together[{reduce->getBlock(), reduce.getInput(), reduce.getKind()}].push_back(reduce);
    });
    for (auto &[key, reductions] : together)
      nest(reductions);
  }

  /// Reductions of one tile, in one block.
  void nest(SmallVector<ReduceOp> &reductions) {
    llvm::stable_sort(reductions,
                      [](ReduceOp a, ReduceOp c) { return gridOf(a).getNumElements() > gridOf(c).getNumElements(); });
    llvm::SmallMapVector<ReduceOp, ReduceOp, 4> finer; // of each coarse one, the nearest
    llvm::SmallSetVector<ReduceOp, 4> moved;
    for (size_t i = 1; i < reductions.size(); ++i)
      for (size_t j = i; j-- > 0;)
        if (nests(gridOf(reductions[j]), gridOf(reductions[i]))) {
          finer[reductions[i]] = reductions[j];
          moved.insert(reductions[j]), moved.insert(reductions[i]);
          break;
        }
    if (moved.empty())
      return;
    // The finest first, all of them where the first was: what they are needed for comes later.
    Operation *first = *llvm::min_element(moved, [](ReduceOp a, ReduceOp c) { return a->isBeforeInBlock(c); }), *last = nullptr;
    for (ReduceOp reduce : reductions) {
      if (!moved.contains(reduce))
        continue;
      if (last)
        reduce->moveAfter(last);
      else if (reduce.getOperation() != first)
        reduce->moveBefore(first);
      last = reduce;
    }
    for (auto [coarse, fine] : finer) {
      coarse.getInputMutable().assign(fine.getResult());
      if (coarse.getKind() == ReduceKind::AMax) // of bits that are magnitudes already
        coarse.setKind(ReduceKind::UMax);
    }
  }
};
} // namespace
