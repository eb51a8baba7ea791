// RUN: vernier-opt %s --mx-expand-products | FileCheck %s

#fp8_block = #mx.format<f8E4M3FN, 128x128, f8E8M0FNU, ceil>
#mxfp4 = #mx.format<f4E2M1FN, 1x32, f8E8M0FNU, floor>

// CHECK: #fp8 = #mx.format<f8E4M3FN, 1x128, f8E8M0FNU, ceil>

// CHECK-LABEL: func.func @matmul
// CHECK-SAME: (%[[A:.+]]: !mx.scaled<?x256, #{{.+}}>, %[[B:.+]]: !mx.scaled
func.func @matmul(%a: !mx.scaled<?x256, #mxfp4>, %b: !mx.scaled<512x256, #fp8_block>) -> tensor<?x512xbf16> {
  // CHECK-NEXT: %[[E:.+]] = mx.requantize %[[A]] : <?x256, #{{.+}}> -> <?x256, #fp8>
  // CHECK-NEXT: mx.matmul %[[E]], %[[B]]
  %0 = mx.matmul %a, %b : !mx.scaled<?x256, #mxfp4>, !mx.scaled<512x256, #fp8_block> -> tensor<?x512xbf16>
  return %0 : tensor<?x512xbf16>
}

// CHECK-LABEL: func.func @wgrad
func.func @wgrad(%a: !mx.scaled<?x256, #mxfp4>, %o: tensor<9xi32>) -> tensor<8x256x256xf32> {
  // CHECK-NEXT: mx.grouped_wgrad
  %0 = mx.grouped_wgrad %a, %a offsets %o : !mx.scaled<?x256, #mxfp4>, !mx.scaled<?x256, #mxfp4>, tensor<9xi32> -> tensor<8x256x256xf32>
  return %0 : tensor<8x256x256xf32>
}
