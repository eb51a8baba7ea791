#include "compiler/Pipelines/Registration.h"

#include "compiler/Conversion/HopperToNVVM/Passes.h"
#include "compiler/Conversion/MxToHopper/Passes.h"
#include "compiler/Conversion/MxToHost/Passes.h"
#include "dialects/hopper/IR/Hopper.h"
#include "dialects/hopper/Transforms/Passes.h"
#include "dialects/mx/IR/Mx.h"
#include "dialects/mx/Transforms/Passes.h"
#include "mlir/Conversion/ArithToLLVM/ArithToLLVM.h"
#include "mlir/Conversion/ControlFlowToLLVM/ControlFlowToLLVM.h"
#include "mlir/Conversion/FuncToLLVM/ConvertFuncToLLVM.h"
#include "mlir/Conversion/IndexToLLVM/IndexToLLVM.h"
#include "mlir/Conversion/MathToLLVM/MathToLLVM.h"
#include "mlir/Conversion/MemRefToLLVM/MemRefToLLVM.h"
#include "mlir/Conversion/Passes.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/Index/IR/IndexDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/NVVM/NVVMToLLVMIRTranslation.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;

void vernier::registerDialects(DialectRegistry &registry) {
  registry.insert<mx::MxDialect, func::FuncDialect, arith::ArithDialect, math::MathDialect, scf::SCFDialect,
                  cf::ControlFlowDialect, vector::VectorDialect, memref::MemRefDialect, index::IndexDialect, gpu::GPUDialect,
                  hopper::HopperDialect, NVVM::NVVMDialect, LLVM::LLVMDialect>();
  registerBuiltinDialectTranslation(registry);
  registerLLVMDialectTranslation(registry);
  registerNVVMDialectTranslation(registry);
}

void vernier::registerPasses() {
  mx::registerMxPasses();
  registerMxToHostPasses();
  registerMxToHopperPasses();
  hopper::registerHopperPasses();
  registerHopperToNVVMPasses();
  registerTransformsPasses();
  registerConversionPasses();
}
