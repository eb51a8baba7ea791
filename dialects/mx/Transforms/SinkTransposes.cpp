// Pass mx-sink-transposes.
#include "dialects/mx/Analysis/KernelPlan.h"
#include "dialects/mx/Transforms/Passes.h"

#include "mlir/IR/PatternMatch.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

namespace vernier::mx {
#define GEN_PASS_DEF_SINKTRANSPOSES
#include "dialects/mx/Transforms/Passes.h.inc"
} // namespace vernier::mx

using namespace mlir;
using namespace vernier::mx;

namespace {

struct QuantizeOfTranspose : OpRewritePattern<QuantizeOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(QuantizeOp op, PatternRewriter &rewriter) const override {
    auto transpose = op.getInput().getDefiningOp<TransposeOp>();
    if (!transpose || transpose.getOffsets())
      return rewriter.notifyMatchFailure(op, "the input is no transpose");
    if (op.getSeed())
      return rewriter.notifyMatchFailure(op, "stochastic rounding counts elements in the order of its input");
    if (op.getTensorScale())
      return rewriter.notifyMatchFailure(op, "E4M3 scales go with blocks along rows");
    Value source = transpose.getInput();
    ArrayRef<int64_t> shape = shapeOf(source.getType());
    FormatAttr format = op.getResult().getType().getFormat().transposed();
    if (format.getBlockRows() == 1)
      return rewriter.notifyMatchFailure(op, "a transpose of blocks along rows makes them anew");
    if (ShapedType::isDynamic(shape[1]) || shape[1] % format.getBlockCols())
      return rewriter.notifyMatchFailure(op, "blocks would not fill the columns");
    if (format.isPacked() && shape[1] % 2)
      return rewriter.notifyMatchFailure(op, "an odd number of columns of a 4-bit element");
    auto turned = QuantizeOp::create(rewriter, op.getLoc(), ScaledType::get(getContext(), shape, format, false), source,
                                     Value(), Value(), op.getRounding());
    rewriter.replaceOpWithNewOp<TransposeOp>(op, op.getResult().getType(), turned.getResult(), Value());
    return success();
  }
};

/// A broadcast seen from the other side.
Value turnBroadcast(BroadcastOp op, Value like, PatternRewriter &rewriter) {
  auto type = llvm::cast<RankedTensorType>(op.getResult().getType());
  SmallVector<int64_t> dims = llvm::map_to_vector(op.getDims(), [](int64_t dim) { return 1 - dim; });
  auto turned = RankedTensorType::get({type.getDimSize(1), type.getDimSize(0)}, type.getElementType());
  return BroadcastOp::create(rewriter, op.getLoc(), turned, op.getInput(), like, dims);
}

struct ElementwiseOfTranspose : RewritePattern {
  explicit ElementwiseOfTranspose(MLIRContext *context) : RewritePattern(MatchAnyOpTypeTag(), 1, context) {}
  LogicalResult matchAndRewrite(Operation *op, PatternRewriter &rewriter) const override {
    if (!isElementwise(op) || op->getNumResults() != 1)
      return rewriter.notifyMatchFailure(op, "not elementwise");
    Value like;
    for (Value operand : op->getOperands()) {
      if (auto transpose = operand.getDefiningOp<TransposeOp>(); transpose && !transpose.getOffsets())
        like = transpose.getInput();
      else if (!operand.getDefiningOp<BroadcastOp>() || shapeOf(operand.getType()).size() != 2)
        return rewriter.notifyMatchFailure(op, "an operand is neither a transpose nor a broadcast");
    }
    if (!like)
      return rewriter.notifyMatchFailure(op, "no operand is a transpose");
    SmallVector<Value> operands;
    for (Value operand : op->getOperands()) {
      auto transpose = operand.getDefiningOp<TransposeOp>();
      operands.push_back(transpose ? transpose.getInput()
                                   : turnBroadcast(operand.getDefiningOp<BroadcastOp>(), like, rewriter));
    }
    auto type = llvm::cast<RankedTensorType>(op->getResult(0).getType());
    auto turned = RankedTensorType::get({type.getDimSize(1), type.getDimSize(0)}, type.getElementType());
    Operation *clone = rewriter.clone(*op);
    clone->setOperands(operands);
    clone->getResult(0).setType(turned);
    rewriter.replaceOpWithNewOp<TransposeOp>(op, type, clone->getResult(0), Value());
    return success();
  }
};

struct SinkTransposes : vernier::mx::impl::SinkTransposesBase<SinkTransposes> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<QuantizeOfTranspose, ElementwiseOfTranspose>(&getContext());
    // Folding is another pass's business (see mx-fold-exact).
    GreedyRewriteConfig config;
    config.enableFolding(false).enableConstantCSE(false);
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns), config)))
      signalPassFailure();
  }
};
} // namespace
