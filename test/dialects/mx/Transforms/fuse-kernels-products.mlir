// RUN: vernier-opt %s --mx-fuse-kernels='around-products=true max-kernels=1' | FileCheck %s
// RUN: not vernier-opt %s --mx-fuse-kernels='max-kernels=1' 2>&1 | FileCheck %s --check-prefix=WITHOUT

#fp8 = #mx.format<f8E4M3FN, 1x128, f8E8M0FNU, ceil>
#mxfp4 = #mx.format<f4E2M1FN, 1x32, f8E8M0FNU, floor>
#block = #mx.format<f8E4M3FN, 128x128, f8E8M0FNU, ceil>

// Rows are gathered and re-encoded where they are multiplied.
// CHECK-LABEL: func.func @gathered
// CHECK: mx.kernel
// CHECK-NEXT: mx.permute
// CHECK-NEXT: mx.requantize
// CHECK-NEXT: mx.matmul
// CHECK-NOT: mx.kernel
// WITHOUT: needs 2 kernels, but at most 1 were allowed
// WITHOUT: a matrix product is a kernel of its own on this target
func.func @gathered(%x: !mx.scaled<?x256, #mxfp4>, %i: tensor<?xi32>, %w: !mx.scaled<128x256, #block>) -> tensor<?x128xbf16> {
  %p = mx.permute %x by %i : !mx.scaled<?x256, #mxfp4>, tensor<?xi32> -> !mx.scaled<?x256, #mxfp4>
  %q = mx.requantize %p : !mx.scaled<?x256, #mxfp4> -> !mx.scaled<?x256, #fp8>
  %y = mx.matmul %q, %w : !mx.scaled<?x256, #fp8>, !mx.scaled<128x256, #block> -> tensor<?x128xbf16>
  return %y : tensor<?x128xbf16>
}
