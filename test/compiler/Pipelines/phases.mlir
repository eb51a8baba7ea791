// RUN: vernier-compile %s --until input | FileCheck %s --check-prefix=INPUT
// RUN: vernier-compile %s --until fused | FileCheck %s --check-prefix=FUSED
// RUN: vernier-compile %s --until loops | FileCheck %s --check-prefix=LOOPS
// RUN: vernier-compile %s --until llvm | FileCheck %s --check-prefix=LLVM
// RUN: vernier-compile %s --until fused | vernier-compile --from fused --until loops | FileCheck %s --check-prefix=LOOPS
// RUN: rm -rf %t && mkdir %t && vernier-compile %s --dump-dir %t
// RUN: cat %t/module.0.input.mlir | FileCheck %s --check-prefix=INPUT
// RUN: cat %t/module.1.fused.mlir | FileCheck %s --check-prefix=FUSED
// RUN: cat %t/module.2.loops.mlir | FileCheck %s --check-prefix=LOOPS
// RUN: cat %t/module.3.llvm.mlir | FileCheck %s --check-prefix=LLVM

// INPUT: arith.negf {{.*}} : tensor<?x64xf32>
// FUSED: mx.kernel @f(
// LOOPS: func.func @f(%{{.+}}: memref<?x64xf32>
// LOOPS: arith.negf {{.*}} : vector<64xf32>
// LLVM: llvm.func @f(
// LLVM: llvm.fneg {{.*}} : vector<64xf32>
func.func @f(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %y = arith.negf %x : tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}
