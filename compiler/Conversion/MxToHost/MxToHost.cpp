// Pass convert-mx-to-host.
#include "compiler/Conversion/MxToHost/Kernels.h"
#include "compiler/Conversion/MxToHost/Passes.h"
#include "dialects/mx/Analysis/Storage.h"

#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

namespace vernier {
#define GEN_PASS_DEF_CONVERTMXTOHOST
#include "compiler/Conversion/MxToHost/Passes.h.inc"
} // namespace vernier

using namespace mlir;
using namespace vernier;
using namespace vernier::host;

SmallVector<mx::Size> vernier::host::wantedSizes(mx::KernelOp kernel, const mx::KernelPlan &plan, const mx::Sizes &sizes) {
  SmallVector<mx::Size> wanted;
  if (plan.kind == mx::KernelKind::Rows)
    wanted.push_back(plan.rows);
  if (plan.kind == mx::KernelKind::Columns) {
    wanted.push_back(plan.rows);
    Value output = kernel.getBody().front().getTerminator()->getOperand(0);
    Value input = output.getDefiningOp<mx::ReduceOp>().getInput();
    if (mx::shapeOf(input.getType()).size() == 2)
      wanted.push_back(sizes.get(input, 1));
  }
  return wanted;
}

namespace {
struct ConvertMxToHost : vernier::impl::ConvertMxToHostBase<ConvertMxToHost> {
  void runOnOperation() override {
    SmallVector<func::FuncOp> fused(getOperation().getOps<func::FuncOp>()); // lowering adds others
    for (func::FuncOp function : fused) {
      mx::Sizes sizes(function);
      auto lowered = mx::forEachKernel(function, sizes, [&](mx::KernelOp kernel, const mx::KernelPlan &plan) -> LogicalResult {
        for (Operation *op : mx::KernelOps::of(kernel).ops)
          if (auto transpose = llvm::dyn_cast<mx::TransposeOp>(op);
              llvm::isa<mx::BlockWgradOp>(op) || (transpose && transpose.getBlocks()))
            return op->emitOpError() << "the host contracts rows as they are; mx-expand-products without turn-rows keeps them";
        lower(kernel, tuned(kernel, plan), sizes, function->hasAttr(mx::MxDialect::kTensorCoreSums));
        return success();
      });
      if (failed(lowered))
        return signalPassFailure();
      function.erase();
    }
  }

  /// A transposed result is written in runs of one tile's rows: longer ones touch fewer pages at a time. The plan's tile
  /// is what must be seen together; several of them may be.
  static mx::KernelPlan tuned(mx::KernelOp kernel, mx::KernelPlan plan) {
    constexpr int64_t longRun = 512;
    bool turns =
        llvm::any_of(mx::KernelOps::of(kernel).outputs, [](Value output) { return output.getDefiningOp<mx::TransposeOp>(); });
    if (turns && !plan.groupOffsets)
      plan.rowTile = std::max(plan.rowTile, longRun);
    return plan;
  }

  func::FuncOp makeFunction(mx::KernelOp kernel, StringRef name, ArrayRef<mx::Size> wanted, bool counts) {
    OpBuilder b(&getContext());
    b.setInsertionPointToEnd(getOperation().getBody());
    SmallVector<Type> types = mx::memrefsOf(kernel.getOperandTypes());
    llvm::append_range(types, mx::memrefsOf(kernel.getResultTypes()));
    types.append(wanted.size() + (counts ? 0 : 2), b.getIndexType());
    SmallVector<Type> results;
    if (counts)
      results.push_back(b.getIndexType());
    auto function = func::FuncOp::create(b, kernel.getLoc(), name, b.getFunctionType(types, results));
    function.addEntryBlock();
    return function;
  }

  void lower(mx::KernelOp kernel, const mx::KernelPlan &plan, const mx::Sizes &sizes, bool tensorCoreSums) {
    SmallVector<mx::Size> wanted = wantedSizes(kernel, plan, sizes);
    for (bool counts : {false, true}) {
      std::string name = kernel.getName().str() + (counts ? ".tasks" : "");
      func::FuncOp function = makeFunction(kernel, name, wanted, counts);
      OpBuilder b = OpBuilder::atBlockEnd(&function.getBody().front());
      KernelFrame frame{function, {}, {}, {}, tensorCoreSums};
      ArrayRef<BlockArgument> tail = function.getArguments().take_back(wanted.size() + (counts ? 0 : 2));
      for (unsigned i = 0; i < wanted.size(); ++i)
        frame.sizes.push_back(tail[i]);
      if (!counts) {
        frame.begin = tail[wanted.size()];
        frame.end = tail[wanted.size() + 1];
        function->setAttr("vernier.sizes", b.getArrayAttr(llvm::map_to_vector(wanted, [&](const mx::Size &size) -> Attribute {
          return mx::encodeSize(size, b);
        })));
      }
      TileEmitter emitter(b, kernel, plan, function);
      SmallVector<Value> results;
      switch (plan.kind) {
      case mx::KernelKind::Rows:
        counts ? results.push_back(countRowTasks(emitter, frame)) : emitRowKernel(emitter, frame);
        break;
      case mx::KernelKind::Columns:
        counts ? results.push_back(countColumnTasks(emitter, frame)) : emitColumnKernel(emitter, frame);
        break;
      case mx::KernelKind::Product:
        counts ? results.push_back(countProductTasks(emitter, frame)) : emitProductKernel(emitter, frame);
        break;
      }
      func::ReturnOp::create(b, kernel.getLoc(), results);
    }
  }
};
} // namespace
