// Pass mx-fuse-kernels: puts the clusters that KernelClusters.cpp finds into regions.
#include "dialects/mx/Transforms/KernelClusters.h"
#include "dialects/mx/Transforms/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/IRMapping.h"

namespace vernier::mx {
#define GEN_PASS_DEF_FUSEKERNELS
#include "dialects/mx/Transforms/Passes.h.inc"
} // namespace vernier::mx

using namespace mlir;
using namespace vernier::mx;

namespace {
struct FuseKernels : vernier::mx::impl::FuseKernelsBase<FuseKernels> {
  using FuseKernelsBase::FuseKernelsBase;

  void runOnOperation() override {
    func::FuncOp function = getOperation();
    if (!llvm::hasSingleElement(function.getBody())) {
      function.emitError() << "expected a function of one block";
      return signalPassFailure();
    }
    Block &block = function.getBody().front();
    for (Operation &op : block.without_terminator())
      if (llvm::isa<KernelOp>(op)) {
        op.emitError() << "expected a function without kernels; this one has been fused already";
        return signalPassFailure();
      }
    separateBroadcasts(block);
    computeReturnedConstants(block);
    Sizes sizes(function);
    KernelRules rules;
    rules.aroundProducts = aroundProducts;
    rules.fuse = fuse;
    std::vector<Cluster> clusters = formClusters(block, sizes, CostModel(), rules);
    if (maxKernels && int64_t(clusters.size()) > maxKernels) { // fewer are wanted, even if they take longer
      CostModel fewLaunches;
      fewLaunches.launchMicroseconds = 1e6;
      clusters = formClusters(block, sizes, fewLaunches, rules);
    }
    for (Cluster &cluster : clusters)
      if (PlanResult plan = planKernel(cluster.kernel, sizes, rules); !plan.plan) {
        cluster.kernel.ops.back()->emitError() << "no kernel can hold this operation: " << plan.reason;
        return signalPassFailure();
      }
    if (maxKernels && int64_t(clusters.size()) > maxKernels) {
      InFlightDiagnostic diag = function.emitError() << "needs " << clusters.size() << " kernels, but at most "
                                                     << int64_t(maxKernels) << " were allowed";
      for (Cluster &cluster : clusters)
        for (const std::string &reason : cluster.reasons)
          diag.attachNote(cluster.kernel.ops.front()->getLoc()) << reason;
      return signalPassFailure();
    }
    outline(function, clusters);
  }

  /// A constant belongs to whichever kernel uses it; one that is returned needs an operation to come out of.
  void computeReturnedConstants(Block &block) {
    OpBuilder builder(block.getTerminator());
    for (OpOperand &operand : block.getTerminator()->getOpOperands())
      if (auto constant = operand.get().getDefiningOp<arith::ConstantOp>())
        operand.set(BroadcastOp::create(builder, constant.getLoc(), constant.getType(), constant, constant,
                                        llvm::to_vector(llvm::seq<int64_t>(shapeOf(constant.getType()).size()))));
  }

  /// A broadcast costs nothing where it is used and a whole matrix where it is stored: one copy for each user.
  void separateBroadcasts(Block &block) {
    SmallVector<BroadcastOp> broadcasts(block.getOps<BroadcastOp>());
    for (BroadcastOp broadcast : llvm::reverse(broadcasts)) {
      OpBuilder builder(broadcast);
      SmallVector<OpOperand *> uses;
      for (OpOperand &use : broadcast->getUses())
        uses.push_back(&use);
      if (uses.empty())
        continue;
      for (OpOperand *use : llvm::drop_begin(uses))
        use->set(builder.clone(*broadcast)->getResult(0));
    }
  }

  void outline(func::FuncOp function, std::vector<Cluster> &clusters) {
    OpBuilder builder(function.getBody().front().getTerminator());
    IRMapping values;
    for (auto [number, cluster] : llvm::enumerate(clusters)) {
      KernelOps &kernel = cluster.kernel;
      llvm::SetVector<Value> inputs;
      for (Operation *op : kernel.ops)
        for (Value operand : op->getOperands())
          if (!kernel.contains(operand))
            inputs.insert(operand);
      SmallVector<Value> operands = llvm::map_to_vector(inputs, [&](Value v) { return values.lookupOrDefault(v); });
      std::string name = function.getName().str();
      if (clusters.size() > 1)
        name += "_" + std::to_string(number);
      SmallVector<Location> locations;
      for (Operation *op : kernel.ops)
        locations.push_back(op->getLoc());
      SmallVector<StringRef> reasons(cluster.reasons.begin(), cluster.reasons.end());
      auto op = KernelOp::create(builder, builder.getFusedLoc(locations), TypeRange(ValueRange(kernel.outputs)), name, operands,
                                 reasons.empty() ? ArrayAttr() : builder.getStrArrayAttr(reasons));
      Block *body = builder.createBlock(&op.getBody());
      IRMapping inside;
      for (Value input : inputs)
        inside.map(input, body->addArgument(input.getType(), input.getLoc()));
      for (Operation *inner : kernel.ops)
        builder.clone(*inner, inside);
      SmallVector<Value> yielded = llvm::map_to_vector(kernel.outputs, [&](Value v) { return inside.lookup(v); });
      YieldOp::create(builder, function.getLoc(), yielded);
      builder.setInsertionPointAfter(op);
      for (auto [output, result] : llvm::zip(kernel.outputs, op.getResults()))
        values.map(output, result);
    }
    Operation *terminator = function.getBody().front().getTerminator();
    for (OpOperand &operand : terminator->getOpOperands())
      operand.set(values.lookupOrDefault(operand.get()));
    SmallVector<Operation *> originals;
    for (Operation &op : function.getBody().front().without_terminator())
      if (!llvm::isa<KernelOp>(op))
        originals.push_back(&op);
    for (Operation *op : llvm::reverse(originals))
      op->erase();
  }
};
} // namespace
