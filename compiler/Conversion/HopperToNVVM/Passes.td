#ifndef VERNIER_HOPPER_TO_NVVM_PASSES
#define VERNIER_HOPPER_TO_NVVM_PASSES

include "mlir/Pass/PassBase.td"

def ConvertHopperToNVVM : Pass<"convert-hopper-to-nvvm", "::mlir::ModuleOp"> {
  let summary = "functions over tiles to functions of one thread";
  let description = [{
    Every function with a `hopper.layout` becomes a kernel entry over pointers to global memory. Before:

    ```mlir
    %y = arith.addf %x, %x : vector<8x1024xf32>        // layout: 2 x 128 threads, vector = 8
    ```
    after, four rows of eight numbers a thread:
    ```mlir
    %y0 = arith.addf %x0, %x0 : vector<8xf32>
    ...
    %y3 = arith.addf %x3, %x3 : vector<8xf32>
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::math::MathDialect", "::mlir::scf::SCFDialect",
                           "::mlir::vector::VectorDialect", "::mlir::func::FuncDialect", "::mlir::LLVM::LLVMDialect",
                           "::mlir::NVVM::NVVMDialect"];
}

#endif
