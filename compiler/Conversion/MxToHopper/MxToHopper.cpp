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

namespace {
struct ConvertMxToHopper : vernier::impl::ConvertMxToHopperBase<ConvertMxToHopper> {
  void runOnOperation() override {
    SmallVector<func::FuncOp> fused(getOperation().getOps<func::FuncOp>()); // lowering adds others
    for (func::FuncOp function : fused) {
      mx::Sizes sizes(function);
      heuristics::ProductWish wish(function->getAttrOfType<DictionaryAttr>(mx::MxDialect::kProductShape));
      auto lowered = mx::forEachKernel(function, sizes, [&](mx::KernelOp kernel, const mx::KernelPlan &plan) -> LogicalResult {
        if (plan.kind == mx::KernelKind::Product)
          if (std::string reason = whyNoProduct(kernel); !reason.empty())
            return kernel.emitError() << reason << "; compile this function for target \"host\"";
        if (plan.kind != mx::KernelKind::Product) {
          lower(kernel, plan, sizes);
          return success();
        }
        func::FuncOp usual;
        for (const heuristics::ProductShape &shape : productShapes(kernel, plan, wish)) {
          func::FuncOp function = lower(kernel, plan, sizes, &shape);
          if (usual)
            standFor(function, usual, shape);
          else
            usual = function;
        }
        return success();
      });
      if (failed(lowered))
        return signalPassFailure();
      function.erase();
    }
  }

  func::FuncOp makeFunction(mx::KernelOp kernel) {
    OpBuilder b(&getContext());
    b.setInsertionPointToEnd(getOperation().getBody());
    SmallVector<Type> types = mx::memrefsOf(kernel.getOperandTypes());
    size_t inputs = types.size();
    llvm::append_range(types, mx::memrefsOf(kernel.getResultTypes()));
    auto function = func::FuncOp::create(b, kernel.getLoc(), kernel.getName(), b.getFunctionType(types, {}));
    function.addEntryBlock();
    for (size_t i = 0; i < inputs; ++i)
      function.setArgAttr(i, hopper::kReadOnly, b.getUnitAttr());
    return function;
  }

  /// Another kernel for the same product.
  void standFor(func::FuncOp function, func::FuncOp usual, const heuristics::ProductShape &shape) {
    function->setAttr(hopper::kInsteadOf, FlatSymbolRefAttr::get(usual.getNameAttr()));
    function.setName((usual.getName() + "_" + Twine(shape.rows()) + "x" + Twine(shape.cols)).str());
  }

  /// `shape`: of a product's tiles.
  func::FuncOp lower(mx::KernelOp kernel, const mx::KernelPlan &plan, const mx::Sizes &sizes,
                     const heuristics::ProductShape *shape = nullptr) {
    func::FuncOp function = makeFunction(kernel);
    Location loc = kernel.getLoc();
    OpBuilder b = OpBuilder::atBlockEnd(&function.getBody().front());
    heuristics::TileChoice choice;
    if (shape) {
      choice.layout = hopper::accumulatorLayout(&getContext(), shape->warpgroups, shape->cols);
      function->setAttr(hopper::kStages, b.getI64IntegerAttr(shape->stages));
      if (shape->cluster > 1)
        function->setAttr(hopper::kCluster, b.getI64IntegerAttr(shape->cluster));
      function->setAttr(hopper::kPieces, b.getI64IntegerAttr(shape->slabs));
      // K that is not known here is the same for all kernels of the product.
      mx::ProductInterface product = plan.product;
      int64_t depth = product.getGroupOffsets() ? 1 : mx::shapeOf(product.getLeft().getType()).back();
      int64_t blocks = int64_t(llvm::divideCeil(depth, 128));
      function->setAttr(hopper::kCost, b.getDenseI64ArrayAttr({shape->cost() * blocks, shape->pieceCost() * blocks}));
    } else {
      choice = heuristics::chooseTiles(kernel, plan);
    }
    function->setAttr(hopper::kLayout, choice.layout);
    function->setAttr(hopper::kWaves, b.getI64IntegerAttr(choice.waves));
    if (!choice.loadsAhead)
      function->setAttr(hopper::kLoadsInTime, b.getUnitAttr());
    function->setAttr(hopper::kBlocks, b.getI64IntegerAttr(choice.blocks));
    TileEmitter emitter(b, kernel, plan, sizes, function, choice.layout);
    Value block = gpu::BlockIdOp::create(b, loc, gpu::Dimension::x), blocks = gpu::GridDimOp::create(b, loc, gpu::Dimension::x);
    TaskCount tasks = shape                                  ? emitProductKernel(emitter, *shape, block, blocks)
                      : plan.kind == mx::KernelKind::Columns ? emitColumnKernel(emitter, block, blocks)
                                                             : emitRowKernel(emitter, block, blocks);
    func::ReturnOp::create(b, loc);
    SmallVector<Attribute> wanted;
    for (const mx::Size &size : emitter.wantedSizes())
      wanted.push_back(mx::encodeSize(size, b));
    function->setAttr(hopper::kSizes, b.getArrayAttr(wanted));
    SmallVector<Attribute> factors;
    for (const auto &factor : tasks)
      factors.push_back(b.getArrayAttr(llvm::map_to_vector(factor, [&](const TaskTerm &term) -> Attribute {
        return b.getDictionaryAttr({b.getNamedAttr("size", mx::encodeSize(term.size, b)),
                                    b.getNamedAttr("divisor", b.getI64IntegerAttr(term.divisor)),
                                    b.getNamedAttr("down", b.getBoolAttr(term.roundDown))});
      })));
    function->setAttr(hopper::kTasks, b.getArrayAttr(factors));
    return function;
  }
};
} // namespace
