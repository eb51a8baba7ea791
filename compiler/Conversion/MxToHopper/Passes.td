#ifndef VERNIER_MX_TO_HOPPER_PASSES
#define VERNIER_MX_TO_HOPPER_PASSES

include "mlir/Pass/PassBase.td"

def ConvertMxToHopper : Pass<"convert-mx-to-hopper", "::mlir::ModuleOp"> {
  let summary = "kernels to functions over tiles";
  let description = [{
    Replaces a fused function by one function a kernel: what one thread block does, as operations on tiles, with the
    layout that the heuristics choose (see the folder's README for the signature).

    ```mlir
    %q = mx.kernel @f(%a = %x : tensor<?x1024xbf16>) -> !mx.scaled<?x1024, #fp8> { ... }
    ```
    becomes
    ```mlir
    func.func @f(%a: memref<?x1024xbf16>, %q: memref<?x1024xi8>, %s: memref<?x8xi8>, %rows: index)
        attributes {hopper.layout = #hopper.layout<8 x 1024, threads = 2 x 128, vector = 8, rowGroup = 1>} {
      scf.for %task = %block to %tasks step %blocks {
        %x = hopper.load %a rows %r cols %c : memref<?x1024xbf16>, vector<8x1xi32> -> vector<8x1024xbf16>
        %m = hopper.reduce amax %x : vector<8x1024xbf16> -> vector<8x8xi32>
        ...
      }
    }
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::math::MathDialect", "::mlir::memref::MemRefDialect",
                           "::mlir::scf::SCFDialect", "::mlir::vector::VectorDialect", "::mlir::func::FuncDialect",
                           "::mlir::gpu::GPUDialect", "::vernier::hopper::HopperDialect"];
}

#endif
