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
  using ExpandProductsBase::ExpandProductsBase;

  void runOnOperation() override {
    OpBuilder builder(&getContext());
    WalkResult walk = getOperation().walk([&](ProductInterface op) {
      if (auto wgrad = llvm::dyn_cast<GroupedWgradOp>(op.getOperation())) {
        if (turnRows)
          turnOperands(wgrad);
        return WalkResult::advance();
      }
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

  static void turnOperands(GroupedWgradOp op) {
    OpBuilder b(op);
    auto turned = [&](Value operand) -> Value {
      ArrayRef<int64_t> from = shapeOf(operand.getType());
      int64_t blocks = ShapedType::isDynamic(from[0]) ? ShapedType::kDynamic
                                                      : from[0] / TransposeOp::kBlock + op.getResult().getType().getDimSize(0);
      int64_t shape[] = {blocks, from[1], TransposeOp::kBlock};
      Type type;
      if (auto scaled = llvm::dyn_cast<ScaledType>(operand.getType()))
        type = ScaledType::get(b.getContext(), shape,
                               FormatAttr::get(b.getContext(), b.getType<Float8E4M3FNType>(), scaled.getFormat().getBlockCols(),
                                               TransposeOp::kBlock, scaled.getFormat().getScale(), ScaleRule::Ceil),
                               false);
      else
        type = RankedTensorType::get(shape, llvm::cast<RankedTensorType>(operand.getType()).getElementType());
      return TransposeOp::create(b, op.getLoc(), type, operand, op.getOffsets(), /*blocks=*/true);
    };
    Value dy = turned(op.getDy()), x = turned(op.getX());
    int64_t rows = shapeOf(op.getDy().getType())[0];
    IntegerAttr known = ShapedType::isDynamic(rows) ? IntegerAttr() : b.getI64IntegerAttr(rows);
    Value result =
        BlockWgradOp::create(b, op.getLoc(), op.getResult().getType(), dy, x, op.getOffsets(), op.getAccumulate(), known);
    op.getResult().replaceAllUsesWith(result);
    op.erase();
  }
};
} // namespace
