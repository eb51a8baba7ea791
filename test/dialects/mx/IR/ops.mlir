// RUN: vernier-opt %s | vernier-opt | FileCheck %s
// RUN: vernier-opt %s --mlir-print-op-generic | vernier-opt | FileCheck %s

#fp8 = #mx.format<f8E4M3FN, 1x128, f8E8M0FNU, ceil>
#fp8_block = #mx.format<f8E4M3FN, 128x128, f8E8M0FNU, ceil>
#mxfp4 = #mx.format<f4E2M1FN, 1x32, f8E8M0FNU, floor>
#mxfp4_column = #mx.format<f4E2M1FN, 32x1, f8E8M0FNU, floor>
#nvfp4 = #mx.format<f4E2M1FN, 1x16, f8E4M3FN, nearest>

// CHECK-DAG: #fp8 = #mx.format<f8E4M3FN, 1x128, f8E8M0FNU, ceil>
// CHECK-DAG: #fp8_block = #mx.format<f8E4M3FN, 128x128, f8E8M0FNU, ceil>
// CHECK-DAG: #mxfp4 = #mx.format<f4E2M1FN, 1x32, f8E8M0FNU, floor>
// CHECK-DAG: #mxfp4_column = #mx.format<f4E2M1FN, 32x1, f8E8M0FNU, floor>
// CHECK-DAG: #nvfp4 = #mx.format<f4E2M1FN, 1x16, f8E4M3FN, nearest>

// CHECK-LABEL: func.func @conversions
// CHECK-SAME: (%[[X:.+]]: tensor<?x256xf32>, %[[SEED:.+]]: tensor<i64>, %[[SCALE:.+]]: tensor<f32>)
func.func @conversions(%x: tensor<?x256xf32>, %seed: tensor<i64>, %scale: tensor<f32>) -> tensor<?x256xbf16> {
  // CHECK-NEXT: %[[Q:.+]] = mx.quantize %[[X]] : tensor<?x256xf32> -> <?x256, #fp8>
  %q = mx.quantize %x : tensor<?x256xf32> -> !mx.scaled<?x256, #fp8>
  // CHECK-NEXT: mx.quantize %[[X]] seed %[[SEED]] : tensor<i64> rounding stochastic : tensor<?x256xf32> -> <?x256, #mxfp4>
  %s = mx.quantize %x seed %seed : tensor<i64> rounding stochastic : tensor<?x256xf32> -> !mx.scaled<?x256, #mxfp4>
  // CHECK-NEXT: mx.quantize %[[X]] tensor_scale %[[SCALE]] : tensor<f32> : tensor<?x256xf32> -> <?x256, #nvfp4>
  %n = mx.quantize %x tensor_scale %scale : tensor<f32> : tensor<?x256xf32> -> !mx.scaled<?x256, #nvfp4>
  // CHECK-NEXT: mx.quantize %[[X]] : tensor<?x256xf32> -> <?x256, #mxfp4_column>
  %c = mx.quantize %x : tensor<?x256xf32> -> !mx.scaled<?x256, #mxfp4_column>
  // CHECK-NEXT: %[[R:.+]] = mx.requantize %[[Q]] : <?x256, #fp8> -> <?x256, #mxfp4>
  %r = mx.requantize %q : !mx.scaled<?x256, #fp8> -> !mx.scaled<?x256, #mxfp4>
  // CHECK-NEXT: mx.dequantize %[[R]] : <?x256, #mxfp4> -> tensor<?x256xbf16>
  %d = mx.dequantize %r : !mx.scaled<?x256, #mxfp4> -> tensor<?x256xbf16>
  return %d : tensor<?x256xbf16>
}

// CHECK-LABEL: func.func @movement
// CHECK-SAME: (%[[X:.+]]: tensor<?x256xf32>, %[[T:.+]]: !mx.scaled<?x256, #mxfp4>, %[[I:.+]]: tensor<?xi32>, %[[J:.+]]: tensor<?x2xi32>, %[[W:.+]]: tensor<?x2xf32>)
func.func @movement(%x: tensor<?x256xf32>, %t: !mx.scaled<?x256, #mxfp4>, %i: tensor<?xi32>, %j: tensor<?x2xi32>, %w: tensor<?x2xf32>) {
  // CHECK-NEXT: mx.transpose %[[X]] : tensor<?x256xf32> -> tensor<256x?xf32>
  %0 = mx.transpose %x : tensor<?x256xf32> -> tensor<256x?xf32>
  // CHECK-NEXT: mx.transpose %[[T]] offsets %[[I]] : tensor<?xi32> : !mx.scaled<?x256, #mxfp4> -> !mx.scaled<256x?, #fp8, grouped>
  %1 = mx.transpose %t offsets %i : tensor<?xi32> : !mx.scaled<?x256, #mxfp4> -> !mx.scaled<256x?, #fp8, grouped>
  // CHECK-NEXT: mx.permute %[[T]] by %[[I]] pad_to 128 : !mx.scaled<?x256, #mxfp4>, tensor<?xi32> -> !mx.scaled<?x256, #mxfp4>
  %2 = mx.permute %t by %i pad_to 128 : !mx.scaled<?x256, #mxfp4>, tensor<?xi32> -> !mx.scaled<?x256, #mxfp4>
  // CHECK-NEXT: mx.unpermute %[[X]] by %[[J]] weights %[[W]] : tensor<?x256xf32>, tensor<?x2xi32>, tensor<?x2xf32> -> tensor<?x256xf32>
  %3 = mx.unpermute %x by %j weights %w : tensor<?x256xf32>, tensor<?x2xi32>, tensor<?x2xf32> -> tensor<?x256xf32>
  // CHECK-NEXT: mx.unpermute %[[X]] by %[[J]] : tensor<?x256xf32>, tensor<?x2xi32> -> tensor<?x256xf32>
  %4 = mx.unpermute %x by %j : tensor<?x256xf32>, tensor<?x2xi32> -> tensor<?x256xf32>
  // CHECK-NEXT: %[[S:.+]] = mx.slice %[[X]] at 64 : tensor<?x256xf32> -> tensor<?x128xf32>
  %5 = mx.slice %x at 64 : tensor<?x256xf32> -> tensor<?x128xf32>
  // CHECK-NEXT: mx.concat %[[S]], %[[X]] : tensor<?x128xf32>, tensor<?x256xf32> -> tensor<?x384xf32>
  %6 = mx.concat %5, %x : tensor<?x128xf32>, tensor<?x256xf32> -> tensor<?x384xf32>
  return
}

// CHECK-LABEL: func.func @vectors
// CHECK-SAME: (%[[X:.+]]: tensor<?x256xf32>, %[[R:.+]]: tensor<?xf32>, %[[C:.+]]: tensor<256xf32>)
func.func @vectors(%x: tensor<?x256xf32>, %r: tensor<?xf32>, %c: tensor<256xf32>) {
  // CHECK-NEXT: mx.broadcast %[[R]] dims [0] like %[[X]] : tensor<?xf32>, tensor<?x256xf32> -> tensor<?x256xf32>
  %0 = mx.broadcast %r dims [0] like %x : tensor<?xf32>, tensor<?x256xf32> -> tensor<?x256xf32>
  // CHECK-NEXT: mx.broadcast %[[R]] dims [0] like %[[C]] : tensor<?xf32>, tensor<256xf32> -> tensor<?x256xf32>
  %1 = mx.broadcast %r dims [0] like %c : tensor<?xf32>, tensor<256xf32> -> tensor<?x256xf32>
  // CHECK-NEXT: mx.reduce sum %[[X]] axis 1 : tensor<?x256xf32> -> tensor<?xf32>
  %2 = mx.reduce sum %x axis 1 : tensor<?x256xf32> -> tensor<?xf32>
  // CHECK-NEXT: mx.reduce max %[[X]] axis 0 : tensor<?x256xf32> -> tensor<256xf32>
  %3 = mx.reduce max %x axis 0 : tensor<?x256xf32> -> tensor<256xf32>
  return
}

// CHECK-LABEL: func.func @products
// CHECK-SAME: (%[[A:.+]]: !mx.scaled<?x256, #fp8>, %[[B:.+]]: !mx.scaled<512x256, #fp8_block>, %[[E:.+]]: !mx.scaled<8x512x256, #fp8_block>, %[[O:.+]]: tensor<9xi32>, %[[ACC:.+]]: tensor<?x512xf32>)
func.func @products(%a: !mx.scaled<?x256, #fp8>, %b: !mx.scaled<512x256, #fp8_block>, %e: !mx.scaled<8x512x256, #fp8_block>,
                    %o: tensor<9xi32>, %acc: tensor<?x512xf32>) {
  // CHECK-NEXT: mx.matmul %[[A]], %[[B]] : !mx.scaled<?x256, #fp8>, !mx.scaled<512x256, #fp8_block> -> tensor<?x512xbf16>
  %0 = mx.matmul %a, %b : !mx.scaled<?x256, #fp8>, !mx.scaled<512x256, #fp8_block> -> tensor<?x512xbf16>
  // CHECK-NEXT: mx.matmul %[[A]], %[[B]] accumulate %[[ACC]] : tensor<?x512xf32> :
  %1 = mx.matmul %a, %b accumulate %acc : tensor<?x512xf32> : !mx.scaled<?x256, #fp8>, !mx.scaled<512x256, #fp8_block> -> tensor<?x512xf32>
  // CHECK-NEXT: mx.grouped_matmul %[[A]], %[[E]] offsets %[[O]] spans :
  %spans = mx.grouped_matmul %a, %e offsets %o spans : !mx.scaled<?x256, #fp8>, !mx.scaled<8x512x256, #fp8_block>, tensor<9xi32> -> tensor<?x512xf32>
  // CHECK-NEXT: mx.grouped_matmul %[[A]], %[[E]] offsets %[[O]] :
  %2 = mx.grouped_matmul %a, %e offsets %o : !mx.scaled<?x256, #fp8>, !mx.scaled<8x512x256, #fp8_block>, tensor<9xi32> -> tensor<?x512xf32>
  // CHECK-NEXT: mx.grouped_wgrad %[[A]], %[[A]] offsets %[[O]] :
  %3 = mx.grouped_wgrad %a, %a offsets %o : !mx.scaled<?x256, #fp8>, !mx.scaled<?x256, #fp8>, tensor<9xi32> -> tensor<8x256x256xf32>
  // CHECK-NEXT: %[[T:.+]] = mx.transpose %[[A]] offsets %[[O]] : tensor<9xi32> blocks : !mx.scaled<?x256, #fp8> -> !mx.scaled<?x256x128, #fp8_block>
  %4 = mx.transpose %a offsets %o : tensor<9xi32> blocks : !mx.scaled<?x256, #fp8> -> !mx.scaled<?x256x128, #fp8_block>
  // CHECK-NEXT: mx.block_wgrad %[[T]], %[[T]] offsets %[[O]] :
  %5 = mx.block_wgrad %4, %4 offsets %o : !mx.scaled<?x256x128, #fp8_block>, !mx.scaled<?x256x128, #fp8_block>, tensor<9xi32> -> tensor<8x256x256xf32>
  return
}

// CHECK-LABEL: func.func @kernels
// CHECK-SAME: (%[[X:.+]]: tensor<?x256xbf16>)
func.func @kernels(%x: tensor<?x256xbf16>) -> tensor<?x256xf32> {
  // CHECK-NEXT: %[[K:.+]] = mx.kernel @cast(%[[ARG:.+]] = %[[X]] : tensor<?x256xbf16>) attributes {reasons = ["none"]} -> tensor<?x256xf32> {
  %0 = mx.kernel @cast(%arg = %x : tensor<?x256xbf16>) attributes {reasons = ["none"]} -> tensor<?x256xf32> {
    // CHECK-NEXT: %[[Y:.+]] = arith.extf %[[ARG]]
    %y = arith.extf %arg : tensor<?x256xbf16> to tensor<?x256xf32>
    // CHECK-NEXT: mx.yield %[[Y]] : tensor<?x256xf32>
    mx.yield %y : tensor<?x256xf32>
  }
  return %0 : tensor<?x256xf32>
}
