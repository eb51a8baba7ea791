#include "compiler/Pipelines/Pipelines.h"

#include "compiler/Conversion/MxToHost/Passes.h"
#include "dialects/mx/Transforms/Passes.h"
#include "mlir/Conversion/Passes.h"
#include "mlir/Dialect/Arith/Transforms/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/Transforms/RequestCWrappers.h"
#include "mlir/Dialect/MemRef/Transforms/Passes.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;

void vernier::buildFused(OpPassManager &manager, const PipelineOptions &options) {
  auto &function = manager.nest<func::FuncOp>();
  function.addPass(createCSEPass());
  function.addPass(mx::createFoldExact());
  function.addPass(mx::createSinkTransposes());
  mx::ExpandProductsOptions expand;
  expand.turnRows = options.target == Target::SM90a;
  function.addPass(mx::createExpandProducts(expand));
  function.addPass(mx::createFoldExact());
  function.addPass(createCSEPass());
  mx::FuseKernelsOptions fuse;
  fuse.maxKernels = options.maxKernels;
  fuse.aroundProducts = options.target == Target::SM90a;
  fuse.fuse = options.fuse;
  function.addPass(mx::createFuseKernels(fuse));
}

void vernier::buildLoops(OpPassManager &manager, const PipelineOptions &) {
  manager.addPass(createConvertMxToHost());
  auto &function = manager.nest<func::FuncOp>();
  function.addPass(createCanonicalizerPass());
  function.addPass(createCSEPass());
}

void vernier::buildLLVM(OpPassManager &manager, const PipelineOptions &) {
  auto &function = manager.nest<func::FuncOp>();
  function.addPass(LLVM::createLLVMRequestCWrappersPass());

  function.addPass(memref::createExpandStridedMetadataPass());
  // LLVM's intrinsics first (fma, sqrt, ...): what it has none for, such as erfc, is called lane by lane.
  manager.addPass(createConvertMathToLLVMPass());
  manager.addPass(createConvertMathToLibmPass());
  manager.addPass(createConvertVectorToLLVMPass());
  manager.addPass(createSCFToControlFlowPass());
  manager.addPass(createConvertIndexToLLVMPass());
  manager.addPass(createArithToLLVMConversionPass());
  manager.addPass(createFinalizeMemRefToLLVMConversionPass());
  manager.addPass(createConvertFuncToLLVMPass());
  manager.addPass(createConvertControlFlowToLLVMPass());
  manager.addPass(createReconcileUnrealizedCastsPass());
}
