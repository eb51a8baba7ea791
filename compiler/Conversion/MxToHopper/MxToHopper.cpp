// Pass convert-mx-to-hopper.
#include "compiler/Conversion/MxToHopper/Kernels.h"
#include "compiler/Conversion/MxToHopper/Passes.h"
#include "compiler/Heuristics/TileShape.h"
#include "dialects/mx/Analysis/Storage.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

namespace vernier {
#define GEN_PASS_DEF_CONVERTMXTOHOPPER
#include "compiler/Conversion/MxToHopper/Passes.h.inc"
} // namespace vernier

using namespace mlir;
using namespace vernier;
using namespace vernier::tiled;

/// [argument, dim, constant, round-ups...]
static DenseI64ArrayAttr encodeSize(OpBuilder &b, const mx::Size &size) {
  SmallVector<int64_t> words{size.argument, int64_t(size.dim), size.constant};
  llvm::append_range(words, size.roundUps);
  return b.getDenseI64ArrayAttr(words);
}

namespace {
struct ConvertMxToHopper : vernier::impl::ConvertMxToHopperBase<ConvertMxToHopper> {
  void runOnOperation() override {
    SmallVector<func::FuncOp> fused(getOperation().getOps<func::FuncOp>()); // lowering adds others
    for (func::FuncOp function : fused) {
      mx::Sizes sizes(function);
      for (Operation &op : function.getBody().front().without_terminator()) {
        auto kernel = llvm::dyn_cast<mx::KernelOp>(op);
        if (!kernel) {
          op.emitError() << "expected kernels only; run mx-fuse-kernels first";
          return signalPassFailure();
        }
        mx::PlanResult plan = mx::planKernel(mx::KernelOps::of(kernel), sizes);
        if (!plan.plan) {
          kernel.emitError() << "no plan for this kernel: " << plan.reason;
          return signalPassFailure();
        }
        if (plan.plan->kind == mx::KernelKind::Product) {
          kernel.emitError() << "matrix products have no sm_90a lowering yet; compile this function for target \"host\"";
          return signalPassFailure();
        }
        lower(kernel, *plan.plan, sizes);
      }
      function.erase();
    }
  }

  func::FuncOp makeFunction(mx::KernelOp kernel) {
    OpBuilder b(&getContext());
    b.setInsertionPointToEnd(getOperation().getBody());
    SmallVector<Type> types;
    auto addBuffers = [&](Type type) {
      for (const mx::Buffer &buffer : mx::buffersOf(type))
        types.push_back(MemRefType::get(buffer.shape, buffer.element));
    };
    llvm::for_each(kernel.getOperandTypes(), addBuffers);
    size_t inputs = types.size();
    llvm::for_each(kernel.getResultTypes(), addBuffers);
    auto function = func::FuncOp::create(b, kernel.getLoc(), kernel.getName(), b.getFunctionType(types, {}));
    function.addEntryBlock();
    for (size_t i = 0; i < inputs; ++i)
      function.setArgAttr(i, hopper::kReadOnly, b.getUnitAttr());
    return function;
  }

  void lower(mx::KernelOp kernel, const mx::KernelPlan &plan, const mx::Sizes &sizes) {
    func::FuncOp function = makeFunction(kernel);
    Location loc = kernel.getLoc();
    OpBuilder b = OpBuilder::atBlockEnd(&function.getBody().front());
    heuristics::TileChoice choice = heuristics::chooseTiles(kernel, plan);
    function->setAttr(hopper::kLayout, choice.layout);
    function->setAttr(hopper::kWaves, b.getI64IntegerAttr(choice.waves));
    function->setAttr(hopper::kBlocks, b.getI64IntegerAttr(choice.blocks));
    TileEmitter emitter(b, kernel, plan, sizes, function, choice.layout);
    Value block = gpu::BlockIdOp::create(b, loc, gpu::Dimension::x), blocks = gpu::GridDimOp::create(b, loc, gpu::Dimension::x);
    TaskCount tasks =
        plan.kind == mx::KernelKind::Columns ? emitColumnKernel(emitter, block, blocks) : emitRowKernel(emitter, block, blocks);
    func::ReturnOp::create(b, loc);
    SmallVector<Attribute> wanted;
    for (const mx::Size &size : emitter.wantedSizes())
      wanted.push_back(encodeSize(b, size));
    function->setAttr(hopper::kSizes, b.getArrayAttr(wanted));
    SmallVector<Attribute> factors;
    for (const auto &factor : tasks)
      factors.push_back(b.getArrayAttr(llvm::map_to_vector(factor, [&](const TaskTerm &term) -> Attribute {
        return b.getDictionaryAttr({b.getNamedAttr("size", encodeSize(b, term.size)),
                                    b.getNamedAttr("divisor", b.getI64IntegerAttr(term.divisor)),
                                    b.getNamedAttr("down", b.getBoolAttr(term.roundDown))});
      })));
    function->setAttr(hopper::kTasks, b.getArrayAttr(factors));
  }
};
} // namespace
