// Pass mx-expand-products.
#include "dialects/mx/Transforms/Passes.h"

#include "mlir/IR/Builders.h"

namespace vernier::mx {
#define GEN_PASS_DEF_EXPANDPRODUCTS
#include "dialects/mx/Transforms/Passes.h.inc"
} // namespace vernier::mx

using namespace mlir;
using namespace vernier::mx;

namespace {
struct ExpandProducts : vernier::mx::impl::ExpandProductsBase<ExpandProducts> {
  void runOnOperation() override {
    OpBuilder builder(&getContext());
    WalkResult walk = getOperation().walk([&](ProductInterface op) {
      if (op.contractsRows())
        return WalkResult::advance();
      for (OpOperand &operand : op->getOpOperands()) {
        auto type = llvm::dyn_cast<ScaledType>(operand.get().getType());
        if (!type || !type.getFormat().isPacked())
          continue;
        if (type.getRank() != 2) {
          op->emitOpError() << "expected a 4-bit operand of rank 2, but got " << type << "; give the weights in E4M3";
          return WalkResult::interrupt();
        }
        builder.setInsertionPoint(op);
        auto fp8 = FormatAttr::get(&getContext(), Float8E4M3FNType::get(&getContext()), 1, 128, type.getFormat().getScale(),
                                   ScaleRule::Ceil);
        auto result = ScaledType::getChecked([&] { return op->emitOpError(); }, &getContext(), type.getShape(), fp8, false);
        if (!result)
          return WalkResult::interrupt();
        operand.set(RequantizeOp::create(builder, op->getLoc(), result, operand.get()));
      }
      return WalkResult::advance();
    });
    if (walk.wasInterrupted())
      signalPassFailure();
  }
};
} // namespace
