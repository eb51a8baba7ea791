#ifndef VERNIER_MX_TO_HOST_PASSES
#define VERNIER_MX_TO_HOST_PASSES

include "mlir/Pass/PassBase.td"

def ConvertMxToHost : Pass<"convert-mx-to-host", "::mlir::ModuleOp"> {
  let summary = "kernels to loops over vectors";
  let description = [{
    Replaces a fused function by one function a kernel (see the folder's README for the signature). The attribute
    `vernier.sizes` lists, for each `index` operand after the buffers, the expression that gives it.

    ```mlir
    %q = mx.kernel @f(%a = %x : tensor<?x64xbf16>) -> tensor<?x64xf32> { ... }
    ```
    becomes
    ```mlir
    func.func @f(%a: memref<?x64xbf16>, %q: memref<?x64xf32>, %rows: index, %begin: index, %end: index) {
      scf.for %row = %begin to %end step %c1 {
        scf.for %col = %c0 to %c64 step %c64 { vector.load ... vector.store ... }
      }
    }
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::math::MathDialect", "::mlir::memref::MemRefDialect",
                           "::mlir::scf::SCFDialect", "::mlir::vector::VectorDialect", "::mlir::func::FuncDialect"];
}

#endif
