// Pass mx-fold-exact.
#include "dialects/mx/Transforms/Passes.h"

#include "mlir/Interfaces/SideEffectInterfaces.h"

namespace vernier::mx {
#define GEN_PASS_DEF_FOLDEXACT
#include "dialects/mx/Transforms/Passes.h.inc"
} // namespace vernier::mx

using namespace mlir;
using namespace vernier::mx;

namespace {
struct FoldExact : vernier::mx::impl::FoldExactBase<FoldExact> {
  void runOnOperation() override {
    bool changed = true;
    while (changed) {
      changed = false;
      SmallVector<Operation *> ops;
      getOperation().walk([&](Operation *op) {
        if (llvm::isa_and_nonnull<MxDialect>(op->getDialect()) && op->getNumResults() == 1)
          ops.push_back(op);
      });
      for (Operation *op : ops)
        changed |= fold(op);
      for (Operation *op : llvm::reverse(ops))
        if (isOpTriviallyDead(op))
          op->erase();
    }
  }

  bool fold(Operation *op) {
    SmallVector<OpFoldResult> results;
    if (failed(op->fold(results)))
      return false;
    if (results.empty()) // changed in place
      return true;
    op->getResult(0).replaceAllUsesWith(llvm::cast<Value>(results.front()));
    return true;
  }
};
} // namespace
