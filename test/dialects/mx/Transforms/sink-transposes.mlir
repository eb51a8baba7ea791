// RUN: vernier-opt %s --mx-sink-transposes | FileCheck %s

#fp8 = #mx.format<f8E4M3FN, 1x128, f8E8M0FNU, ceil>
#mxfp4 = #mx.format<f4E2M1FN, 1x32, f8E8M0FNU, floor>

// CHECK-DAG: #fp8_column = #mx.format<f8E4M3FN, 128x1, f8E8M0FNU, ceil>
// CHECK-DAG: #fp8 = #mx.format<f8E4M3FN, 1x128, f8E8M0FNU, ceil>

// CHECK-LABEL: func.func @quantize
// CHECK-SAME: (%[[X:.+]]: tensor<?x256xf32>)
func.func @quantize(%x: tensor<?x256xf32>) -> !mx.scaled<256x?, #fp8> {
  // CHECK-NEXT: %[[Q:.+]] = mx.quantize %[[X]] : tensor<?x256xf32> -> <?x256, #fp8_column>
  // CHECK-NEXT: %[[T:.+]] = mx.transpose %[[Q]] : !mx.scaled<?x256, #fp8_column> -> !mx.scaled<256x?, #fp8>
  // CHECK-NEXT: return %[[T]]
  %0 = mx.transpose %x : tensor<?x256xf32> -> tensor<256x?xf32>
  %1 = mx.quantize %0 : tensor<256x?xf32> -> !mx.scaled<256x?, #fp8>
  return %1 : !mx.scaled<256x?, #fp8>
}

// CHECK-LABEL: func.func @elementwise
// CHECK-SAME: (%[[X:.+]]: tensor<?x256xf32>, %[[V:.+]]: tensor<256xf32>)
func.func @elementwise(%x: tensor<?x256xf32>, %v: tensor<256xf32>) -> tensor<256x?xf32> {
  // CHECK: %[[B:.+]] = mx.broadcast %[[V]] dims [1] like %[[X]]
  // CHECK-NEXT: %[[M:.+]] = arith.mulf %[[X]], %[[B]] : tensor<?x256xf32>
  // CHECK-NEXT: mx.transpose %[[M]]
  %0 = mx.transpose %x : tensor<?x256xf32> -> tensor<256x?xf32>
  %1 = mx.broadcast %v dims [0] like %0 : tensor<256xf32>, tensor<256x?xf32> -> tensor<256x?xf32>
  %2 = arith.mulf %0, %1 : tensor<256x?xf32>
  return %2 : tensor<256x?xf32>
}

// An operand that is no transpose holds the walk where it is.
// CHECK-LABEL: func.func @mixed
func.func @mixed(%x: tensor<?x256xf32>, %y: tensor<256x?xf32>) -> tensor<256x?xf32> {
  // CHECK-NEXT: mx.transpose
  // CHECK-NEXT: arith.addf
  %0 = mx.transpose %x : tensor<?x256xf32> -> tensor<256x?xf32>
  %1 = arith.addf %0, %y : tensor<256x?xf32>
  return %1 : tensor<256x?xf32>
}

// Stochastic rounding numbers the elements of its own input.
// CHECK-LABEL: func.func @stochastic
func.func @stochastic(%x: tensor<64x256xf32>, %s: tensor<i64>) -> !mx.scaled<256x64, #mxfp4> {
  // CHECK-NEXT: mx.transpose
  // CHECK-NEXT: mx.quantize
  %0 = mx.transpose %x : tensor<64x256xf32> -> tensor<256x64xf32>
  %1 = mx.quantize %0 seed %s : tensor<i64> rounding stochastic : tensor<256x64xf32> -> !mx.scaled<256x64, #mxfp4>
  return %1 : !mx.scaled<256x64, #mxfp4>
}
