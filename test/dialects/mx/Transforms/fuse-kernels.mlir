// RUN: vernier-opt %s --mx-fuse-kernels | FileCheck %s

#fp8 = #mx.format<f8E4M3FN, 1x128, f8E8M0FNU, ceil>
#mxfp4 = #mx.format<f4E2M1FN, 1x32, f8E8M0FNU, floor>

// One value in two formats and turned: one kernel, which reads the input once.
// CHECK-LABEL: func.func @one_pass
// CHECK-SAME: (%[[X:.+]]: tensor<?x256xbf16>, %[[W:.+]]: tensor<?xf32>)
func.func @one_pass(%x: tensor<?x256xbf16>, %w: tensor<?xf32>) -> (!mx.scaled<?x256, #fp8>, !mx.scaled<?x256, #mxfp4>, !mx.scaled<256x?, #fp8>) {
  // CHECK-NEXT: %[[K:.+]]:3 = mx.kernel @one_pass(%[[A:.+]] = %[[X]] : tensor<?x256xbf16>, %[[B:.+]] = %[[W]] : tensor<?xf32>)
  // CHECK-NOT: reasons
  // CHECK: %[[E:.+]] = arith.extf %[[A]]
  // CHECK: %[[V:.+]] = mx.broadcast %[[B]] dims [0]
  // CHECK: %[[Y:.+]] = arith.mulf %[[E]], %[[V]]
  // CHECK: mx.quantize %[[Y]]
  // CHECK: mx.quantize %[[Y]]
  // CHECK: mx.transpose
  // CHECK: mx.yield
  // CHECK: return %[[K]]#0, %[[K]]#1, %[[K]]#2
  %e = arith.extf %x : tensor<?x256xbf16> to tensor<?x256xf32>
  %v = mx.broadcast %w dims [0] like %e : tensor<?xf32>, tensor<?x256xf32> -> tensor<?x256xf32>
  %y = arith.mulf %e, %v : tensor<?x256xf32>
  %q8 = mx.quantize %y : tensor<?x256xf32> -> !mx.scaled<?x256, #fp8>
  %q4 = mx.quantize %y : tensor<?x256xf32> -> !mx.scaled<?x256, #mxfp4>
  %t = mx.transpose %q8 : !mx.scaled<?x256, #fp8> -> !mx.scaled<256x?, #fp8>
  return %q8, %q4, %t : !mx.scaled<?x256, #fp8>, !mx.scaled<?x256, #mxfp4>, !mx.scaled<256x?, #fp8>
}

// A mean over all rows is needed before the first row can be finished.
// CHECK-LABEL: func.func @two_directions
func.func @two_directions(%x: tensor<?x256xf32>) -> !mx.scaled<?x256, #fp8> {
  // CHECK: mx.kernel @two_directions_0
  // CHECK: mx.reduce sum
  // CHECK: mx.kernel @two_directions_1
  // CHECK-SAME: reasons = ["apart from kernel 0: a reduction over all rows must be finished before its result is used"]
  // CHECK: mx.quantize
  %s = mx.reduce sum %x axis 0 : tensor<?x256xf32> -> tensor<256xf32>
  %b = mx.broadcast %s dims [1] like %x : tensor<256xf32>, tensor<?x256xf32> -> tensor<?x256xf32>
  %y = arith.subf %x, %b : tensor<?x256xf32>
  %q = mx.quantize %y : tensor<?x256xf32> -> !mx.scaled<?x256, #fp8>
  return %q : !mx.scaled<?x256, #fp8>
}

// Nothing shared but the rows: one launch is possible, so one launch it is.
// CHECK-LABEL: func.func @unrelated
func.func @unrelated(%x: tensor<?x256xf32>, %y: tensor<?x64xf32>) -> (tensor<?x256xf32>, tensor<?x64xf32>) {
  // CHECK: mx.kernel @unrelated_0
  // CHECK: mx.kernel @unrelated_1
  %a = arith.negf %x : tensor<?x256xf32>
  %b = math.absf %y : tensor<?x64xf32>
  return %a, %b : tensor<?x256xf32>, tensor<?x64xf32>
}

// CHECK-LABEL: func.func @equal_rows
func.func @equal_rows(%x: tensor<8x256xf32>, %y: tensor<8x64xf32>) -> (tensor<8x256xf32>, tensor<8x64xf32>) {
  // CHECK: mx.kernel @equal_rows(
  // CHECK-NOT: mx.kernel
  %a = arith.negf %x : tensor<8x256xf32>
  %b = math.absf %y : tensor<8x64xf32>
  return %a, %b : tensor<8x256xf32>, tensor<8x64xf32>
}

// Cheaper to compute twice than to write and read in between.
// CHECK-LABEL: func.func @recompute
func.func @recompute(%x: tensor<?x256xbf16>) -> (!mx.scaled<?x256, #fp8>, tensor<256xf32>) {
  // CHECK: mx.kernel @recompute_0(%{{.+}} = %{{.+}} : tensor<?x256xbf16>)
  // CHECK: arith.extf
  // CHECK: mx.kernel @recompute_1(%{{.+}} = %{{.+}} : tensor<?x256xbf16>)
  // CHECK: arith.extf
  %e = arith.extf %x : tensor<?x256xbf16> to tensor<?x256xf32>
  %q = mx.quantize %e : tensor<?x256xf32> -> !mx.scaled<?x256, #fp8>
  %s = mx.reduce sum %e axis 0 : tensor<?x256xf32> -> tensor<256xf32>
  return %q, %s : !mx.scaled<?x256, #fp8>, tensor<256xf32>
}

// Halves that are joined again are split where they meet: still one kernel.
// CHECK-LABEL: func.func @split_and_join
func.func @split_and_join(%x: tensor<?x256xf32>) -> !mx.scaled<?x256, #fp8> {
  // CHECK: mx.kernel @split_and_join(
  // CHECK-NOT: mx.kernel
  %a = mx.slice %x at 0 : tensor<?x256xf32> -> tensor<?x128xf32>
  %b = mx.slice %x at 128 : tensor<?x256xf32> -> tensor<?x128xf32>
  %p = arith.mulf %a, %b : tensor<?x128xf32>
  %s = arith.addf %a, %b : tensor<?x128xf32>
  %c = mx.concat %p, %s : tensor<?x128xf32>, tensor<?x128xf32> -> tensor<?x256xf32>
  %q = mx.quantize %c : tensor<?x256xf32> -> !mx.scaled<?x256, #fp8>
  return %q : !mx.scaled<?x256, #fp8>
}

// Unless they meet inside a block.
// CHECK-LABEL: func.func @meet_inside_a_block
func.func @meet_inside_a_block(%x: tensor<?x64xf32>) -> !mx.scaled<?x128, #fp8> {
  // CHECK: mx.kernel @meet_inside_a_block_0
  // CHECK: mx.kernel @meet_inside_a_block_1
  // CHECK-SAME: a slice or concatenation meets inside a block: column 64 is no multiple of 128
  %n = arith.negf %x : tensor<?x64xf32>
  %c = mx.concat %x, %n : tensor<?x64xf32>, tensor<?x64xf32> -> tensor<?x128xf32>
  %q = mx.quantize %c : tensor<?x128xf32> -> !mx.scaled<?x128, #fp8>
  return %q : !mx.scaled<?x128, #fp8>
}
