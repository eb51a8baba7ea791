// RUN: vernier-opt %s --mx-expand-products | FileCheck %s
// RUN: vernier-opt %s --mx-expand-products=turn-rows | FileCheck %s --check-prefix=TURN

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

// A target that multiplies along columns has operands turned first, scaled or plain; of static rows, the number of blocks is static.
// TURN: #fp8_block_32x128 = #mx.format<f8E4M3FN, 32x128, f8E8M0FNU, ceil>
// TURN-LABEL: func.func @turned_wgrad
// TURN-SAME: (%[[X:.+]]: !mx.scaled<300x256, #{{.+}}>, %[[Y:.+]]: tensor<?x64xbf16>, %[[O:.+]]: tensor<9xi32>, %[[ACC:.+]]: tensor<8x256x256xf32>)
func.func @turned_wgrad(%x: !mx.scaled<300x256, #mxfp4>, %y: tensor<?x64xbf16>, %o: tensor<9xi32>, %acc: tensor<8x256x256xf32>)
    -> (tensor<8x256x256xf32>, tensor<8x64x64xf32>) {
  // TURN-NEXT: %[[T:.+]] = mx.transpose %[[X]] offsets %[[O]] : tensor<9xi32> blocks : !mx.scaled<300x256, #{{.+}}> -> !mx.scaled<10x256x128, #fp8_block_32x128>
  // TURN-NEXT: %[[U:.+]] = mx.transpose %[[X]]
  // TURN-NEXT: mx.block_wgrad %[[T]], %[[U]] offsets %[[O]] rows 300 accumulate %[[ACC]]
  %0 = mx.grouped_wgrad %x, %x offsets %o accumulate %acc : tensor<8x256x256xf32> : !mx.scaled<300x256, #mxfp4>, !mx.scaled<300x256, #mxfp4>, tensor<9xi32> -> tensor<8x256x256xf32>
  // TURN: mx.transpose %[[Y]] offsets %[[O]] : tensor<9xi32> blocks : tensor<?x64xbf16> -> tensor<?x64x128xbf16>
  // TURN: mx.block_wgrad {{.+}} : tensor<?x64x128xbf16>, tensor<?x64x128xbf16>, tensor<9xi32> -> tensor<8x64x64xf32>
  %1 = mx.grouped_wgrad %y, %y offsets %o : tensor<?x64xbf16>, tensor<?x64xbf16>, tensor<9xi32> -> tensor<8x64x64xf32>
  return %0, %1 : tensor<8x256x256xf32>, tensor<8x64x64xf32>
}
