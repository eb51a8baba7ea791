// Passes of the sm_90a target.
#include "compiler/Conversion/HopperToNVVM/Passes.h"
#include "compiler/Conversion/MxToHopper/Passes.h"
#include "compiler/Pipelines/Pipelines.h"
#include "dialects/hopper/Transforms/Passes.h"
#include "mlir/Conversion/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;

void vernier::buildTiled(OpPassManager &manager, const PipelineOptions &) {
  manager.addPass(createConvertMxToHopper());
  auto &function = manager.nest<func::FuncOp>();
  function.addPass(createCanonicalizerPass());
  function.addPass(createCSEPass());
}

void vernier::buildScheduled(OpPassManager &manager, const PipelineOptions &) {
  auto &function = manager.nest<func::FuncOp>();
  function.addPass(hopper::createNestReductions());
  function.addPass(hopper::createSpecializeWarps());
  function.addPass(hopper::createUnrollRing());
  function.addPass(hopper::createAllocateShared());
  function.addPass(hopper::createPipelineLoads());
  function.addPass(createCSEPass());
}

void vernier::buildNVVM(OpPassManager &manager, const PipelineOptions &) {
  manager.addPass(createConvertHopperToNVVM());
  auto &function = manager.nest<LLVM::LLVMFuncOp>();
  function.addPass(createCSEPass());
  function.addPass(createLoopInvariantCodeMotionPass());
  manager.addPass(createConvertMathToLLVMPass());
  manager.addPass(createConvertVectorToLLVMPass());
  manager.addPass(createSCFToControlFlowPass());
  manager.addPass(createConvertIndexToLLVMPass());
  manager.addPass(createArithToLLVMConversionPass());
  manager.addPass(createConvertNVVMToLLVMPass());
  manager.addPass(createConvertControlFlowToLLVMPass());
  manager.addPass(createReconcileUnrealizedCastsPass());
}
