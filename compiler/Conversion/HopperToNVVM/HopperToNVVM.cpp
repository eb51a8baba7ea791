// Pass convert-hopper-to-nvvm.
#include "compiler/Conversion/HopperToNVVM/Distribution.h"
#include "compiler/Conversion/HopperToNVVM/Passes.h"

#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

namespace vernier {
#define GEN_PASS_DEF_CONVERTHOPPERTONVVM
#include "compiler/Conversion/HopperToNVVM/Passes.h.inc"
} // namespace vernier

using namespace mlir;
using namespace vernier;

namespace {
struct ConvertHopperToNVVM : vernier::impl::ConvertHopperToNVVMBase<ConvertHopperToNVVM> {
  void runOnOperation() override {
    SmallVector<func::FuncOp> kernels;
    for (auto function : getOperation().getOps<func::FuncOp>())
      if (function->hasAttr(hopper::kLayout))
        kernels.push_back(function);
    if (kernels.empty())
      return;
    OpBuilder b = OpBuilder::atBlockBegin(getOperation().getBody());
    // Sized by the launch.
    auto bytes = LLVM::LLVMArrayType::get(b.getI8Type(), 0);
    auto shared = LLVM::GlobalOp::create(b, getOperation().getLoc(), bytes, /*isConstant=*/false, LLVM::Linkage::External,
                                         "vernier_shared", Attribute(), /*alignment=*/1024, /*addrSpace=*/3);
    for (func::FuncOp source : kernels) {
      b.setInsertionPoint(source);
      LLVM::LLVMFuncOp target = makeEntry(b, source);
      if (failed(simt::Distribution(source, target, shared).run()))
        return signalPassFailure();
      source.erase();
    }
  }

  LLVM::LLVMFuncOp makeEntry(OpBuilder &b, func::FuncOp source) {
    SmallVector<Type> types;
    for (Type type : source.getArgumentTypes())
      types.push_back(llvm::isa<MemRefType>(type) ? Type(LLVM::LLVMPointerType::get(&getContext(), 1)) : b.getI64Type());
    SmallVector<hopper::TensorMap> maps = hopper::tensorMapsOf(source);
    types.append(maps.size(), LLVM::LLVMPointerType::get(&getContext()));
    auto type = LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(&getContext()), types);
    std::string name = source.getName().str();
    source.setName(name + ".tiles");
    auto target = LLVM::LLVMFuncOp::create(b, source.getLoc(), name, type);
    target.addEntryBlock(b);
    target->setAttr(NVVM::NVVMDialect::getKernelFuncAttrName(), b.getUnitAttr());
    target->setAttr(NVVM::NVVMDialect::getMaxntidAttrName(), b.getDenseI32ArrayAttr({int32_t(hopper::threadsOf(source))}));
    // Always there: without it, ptxas spills a little to fit one more block.
    auto blocks = source->getAttrOfType<IntegerAttr>(hopper::kBlocks);
    target->setAttr(NVVM::NVVMDialect::getMinctasmAttrName(), b.getI32IntegerAttr(blocks ? int32_t(blocks.getInt()) : 1));
    if (int64_t cluster = hopper::clusterOf(source); cluster > 1)
      target->setAttr(NVVM::NVVMDialect::getClusterDimAttrName(), b.getDenseI32ArrayAttr({int32_t(cluster)}));
    for (auto [i, type] : llvm::enumerate(source.getArgumentTypes())) {
      if (!llvm::isa<MemRefType>(type))
        continue;
      // No buffer overlaps one that is written: the runtime sees to it.
      target.setArgAttr(i, LLVM::LLVMDialect::getNoAliasAttrName(), b.getUnitAttr());
      target.setArgAttr(i, LLVM::LLVMDialect::getAlignAttrName(), b.getI64IntegerAttr(16));
      if (source.getArgAttr(i, hopper::kReadOnly))
        target.setArgAttr(i, LLVM::LLVMDialect::getReadonlyAttrName(), b.getUnitAttr());
    }
    constexpr int64_t mapBytes = 128, mapAlignment = 64;
    for (size_t i = source.getNumArguments(); i < types.size(); ++i) {
      target.setArgAttr(i, LLVM::LLVMDialect::getByValAttrName(),
                        TypeAttr::get(LLVM::LLVMArrayType::get(b.getI8Type(), mapBytes)));
      target.setArgAttr(i, LLVM::LLVMDialect::getAlignAttrName(), b.getI64IntegerAttr(mapAlignment));
      target.setArgAttr(i, NVVM::NVVMDialect::getGridConstantAttrName(), b.getUnitAttr());
    }
    return target;
  }
};
} // namespace
