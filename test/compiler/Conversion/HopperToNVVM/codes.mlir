// RUN: vernier-opt %s --convert-hopper-to-nvvm | FileCheck %s

// CHECK: llvm.mlir.global external @vernier_shared() {addr_space = 3 : i32, alignment = 1024 : i64}

// Pairs of E4M3 have conversions; NaN codes keep their signs.
// CHECK-LABEL: llvm.func @recode(
// CHECK-SAME: !llvm.ptr<1> {llvm.align = 16 : i64, llvm.noalias, llvm.readonly}
// CHECK-SAME: nvvm.kernel, nvvm.maxntid = array<i32: 256>
// CHECK-COUNT-8: llvm.nvvm.e4m3x2.to.f16x2.rn
// CHECK-COUNT-8: llvm.nvvm.f16x2.to.e4m3x2.rn
func.func @recode(%m: memref<?x1024xi8> {hopper.read_only}, %o: memref<?x1024xi8>, %i: index)
    attributes {hopper.layout = #hopper.layout<4 x 1024, threads = 4 x 64, vector = 16, rowGroup = 1>} {
  %c = arith.constant 0 : index
  %s = arith.constant dense<-1> : vector<4x8xi32>
  %p = arith.constant dense<false> : vector<4x8xi1>
  %r = hopper.rows %i : vector<4x1xi32>
  %x = hopper.load %m rows %r cols %c alignment 16 : memref<?x1024xi8>, vector<4x1xi32> -> vector<4x1024xf8E4M3FN>
  %y = hopper.recode %x shift %s falls poison %p : vector<4x1024xf8E4M3FN>, vector<4x8xi32>, vector<4x8xi1> -> vector<4x1024xf8E4M3FN>
  hopper.store %y to %o rows %r cols %c alignment 16 : vector<4x1024xf8E4M3FN>, memref<?x1024xi8>, vector<4x1xi32>
  return
}

// Blocks of 32 out of eight threads' lanes: within a warp, by shuffles.
// CHECK-LABEL: llvm.func @amax(
// CHECK: math.absf %{{.+}} : vector<8xbf16>
// CHECK: arith.maximumf %{{.+}} : vector<4xbf16>
// CHECK-COUNT-2: nvvm.shfl.sync bfly
// CHECK-NOT: nvvm.shfl
func.func @amax(%m: memref<?x1024xbf16> {hopper.read_only}, %o: memref<?x32xi32>, %i: index)
    attributes {hopper.layout = #hopper.layout<2 x 1024, threads = 2 x 128, vector = 8, rowGroup = 1>} {
  %c = arith.constant 0 : index
  %r = hopper.rows %i : vector<2x1xi32>
  %x = hopper.load %m rows %r cols %c alignment 8 : memref<?x1024xbf16>, vector<2x1xi32> -> vector<2x1024xbf16>
  %a = hopper.reduce amax %x : vector<2x1024xbf16> -> vector<2x32xi32>
  hopper.store %a to %o rows %r cols %c : vector<2x32xi32>, memref<?x32xi32>, vector<2x1xi32>
  return
}
