// RUN: vernier-opt %s --mx-fold-exact | FileCheck %s

#fp8 = #mx.format<f8E4M3FN, 1x128, f8E8M0FNU, ceil>
#fp8_block = #mx.format<f8E4M3FN, 128x128, f8E8M0FNU, ceil>
#mxfp4 = #mx.format<f4E2M1FN, 1x32, f8E8M0FNU, floor>
#mxfp4_even = #mx.format<f4E2M1FN, 1x32, f8E8M0FNU, even>
#mxfp8 = #mx.format<f8E4M3FN, 1x32, f8E8M0FNU, floor>

// CHECK-LABEL: func.func @exact_pair
func.func @exact_pair(%x: tensor<?x64xf32>) -> !mx.scaled<?x64, #mxfp4> {
  // CHECK-NEXT: %[[Q:.+]] = mx.quantize
  // CHECK-NEXT: return %[[Q]]
  %q = mx.quantize %x : tensor<?x64xf32> -> !mx.scaled<?x64, #mxfp4>
  %d = mx.dequantize %q : !mx.scaled<?x64, #mxfp4> -> tensor<?x64xf32>
  %r = mx.quantize %d : tensor<?x64xf32> -> !mx.scaled<?x64, #mxfp4>
  return %r : !mx.scaled<?x64, #mxfp4>
}

// Of unknown origin, the scale of a block need not be the one its codes would be given.
// CHECK-LABEL: func.func @pair_of_unknown_origin
func.func @pair_of_unknown_origin(%q: !mx.scaled<?x64, #mxfp4>) -> !mx.scaled<?x64, #mxfp4> {
  // CHECK-NEXT: mx.dequantize
  // CHECK-NEXT: mx.quantize
  %d = mx.dequantize %q : !mx.scaled<?x64, #mxfp4> -> tensor<?x64xf32>
  %r = mx.quantize %d : tensor<?x64xf32> -> !mx.scaled<?x64, #mxfp4>
  return %r : !mx.scaled<?x64, #mxfp4>
}

// bfloat16 does not hold every decoded value.
// CHECK-LABEL: func.func @pair_through_bf16
func.func @pair_through_bf16(%x: tensor<?x64xf32>) -> !mx.scaled<?x64, #mxfp4> {
  // CHECK-COUNT-2: mx.quantize
  %q = mx.quantize %x : tensor<?x64xf32> -> !mx.scaled<?x64, #mxfp4>
  %d = mx.dequantize %q : !mx.scaled<?x64, #mxfp4> -> tensor<?x64xbf16>
  %r = mx.quantize %d : tensor<?x64xbf16> -> !mx.scaled<?x64, #mxfp4>
  return %r : !mx.scaled<?x64, #mxfp4>
}

// Under `ceil` the scale can drop the second time.
// CHECK-LABEL: func.func @pair_under_ceil
func.func @pair_under_ceil(%x: tensor<?x128xf32>) -> !mx.scaled<?x128, #fp8> {
  // CHECK-COUNT-2: mx.quantize
  %q = mx.quantize %x : tensor<?x128xf32> -> !mx.scaled<?x128, #fp8>
  %d = mx.dequantize %q : !mx.scaled<?x128, #fp8> -> tensor<?x128xf32>
  %r = mx.quantize %d : tensor<?x128xf32> -> !mx.scaled<?x128, #fp8>
  return %r : !mx.scaled<?x128, #fp8>
}

// Near FP32's end, `even` rounds an amax up to what FP32 does not hold.
// CHECK-LABEL: func.func @pair_under_even
func.func @pair_under_even(%x: tensor<?x64xf32>) -> !mx.scaled<?x64, #mxfp4_even> {
  // CHECK-COUNT-2: mx.quantize
  %q = mx.quantize %x : tensor<?x64xf32> -> !mx.scaled<?x64, #mxfp4_even>
  %d = mx.dequantize %q : !mx.scaled<?x64, #mxfp4_even> -> tensor<?x64xf32>
  %r = mx.quantize %d : tensor<?x64xf32> -> !mx.scaled<?x64, #mxfp4_even>
  return %r : !mx.scaled<?x64, #mxfp4_even>
}

// CHECK-LABEL: func.func @double_transpose
// CHECK-SAME: (%[[X:.+]]: tensor<?x64xf32>, %[[T:.+]]: !mx.scaled
func.func @double_transpose(%x: tensor<?x64xf32>, %t: !mx.scaled<?x128, #fp8_block>) -> (tensor<?x64xf32>, !mx.scaled<?x128, #fp8_block>) {
  // CHECK-NEXT: return %[[X]], %[[T]]
  %0 = mx.transpose %x : tensor<?x64xf32> -> tensor<64x?xf32>
  %1 = mx.transpose %0 : tensor<64x?xf32> -> tensor<?x64xf32>
  %2 = mx.transpose %t : !mx.scaled<?x128, #fp8_block> -> !mx.scaled<128x?, #fp8_block>
  %3 = mx.transpose %2 : !mx.scaled<128x?, #fp8_block> -> !mx.scaled<?x128, #fp8_block>
  return %1, %3 : tensor<?x64xf32>, !mx.scaled<?x128, #fp8_block>
}

// A transpose that re-blocks moves values to common scales: two of them are not nothing.
// CHECK-LABEL: func.func @double_reblocking_transpose
func.func @double_reblocking_transpose(%t: !mx.scaled<?x128, #fp8>) -> !mx.scaled<?x128, #fp8> {
  // CHECK-COUNT-2: mx.transpose
  %0 = mx.transpose %t : !mx.scaled<?x128, #fp8> -> !mx.scaled<128x?, #fp8>
  %1 = mx.transpose %0 : !mx.scaled<128x?, #fp8> -> !mx.scaled<?x128, #fp8>
  return %1 : !mx.scaled<?x128, #fp8>
}

// MXFP4 to MXFP8 keeps every value, and back again finds the bits of re-encoding MXFP4 itself.
// CHECK-LABEL: func.func @requantize_through_an_exact_step
// CHECK-SAME: (%[[T:.+]]: !mx.scaled
func.func @requantize_through_an_exact_step(%t: !mx.scaled<?x64, #mxfp4>) -> !mx.scaled<?x64, #mxfp4> {
  // CHECK-NEXT: mx.requantize %[[T]]
  // CHECK-NEXT: return
  %0 = mx.requantize %t : !mx.scaled<?x64, #mxfp4> -> !mx.scaled<?x64, #mxfp8>
  %1 = mx.requantize %0 : !mx.scaled<?x64, #mxfp8> -> !mx.scaled<?x64, #mxfp4>
  return %1 : !mx.scaled<?x64, #mxfp4>
}

// CHECK-LABEL: func.func @requantize_through_a_rounding_step
func.func @requantize_through_a_rounding_step(%t: !mx.scaled<?x128, #fp8>) -> !mx.scaled<?x128, #mxfp8> {
  // CHECK-COUNT-2: mx.requantize
  %0 = mx.requantize %t : !mx.scaled<?x128, #fp8> -> !mx.scaled<?x128, #mxfp4>
  %1 = mx.requantize %0 : !mx.scaled<?x128, #mxfp4> -> !mx.scaled<?x128, #mxfp8>
  return %1 : !mx.scaled<?x128, #mxfp8>
}

// CHECK-LABEL: func.func @slices
// CHECK-SAME: (%[[X:.+]]: tensor<?x64xf32>)
func.func @slices(%x: tensor<?x64xf32>) -> (tensor<?x64xf32>, tensor<?x8xf32>) {
  // CHECK-NEXT: %[[S:.+]] = mx.slice %[[X]] at 20 : tensor<?x64xf32> -> tensor<?x8xf32>
  // CHECK-NEXT: return %[[X]], %[[S]]
  %0 = mx.slice %x at 0 : tensor<?x64xf32> -> tensor<?x64xf32>
  %1 = mx.slice %x at 16 : tensor<?x64xf32> -> tensor<?x32xf32>
  %2 = mx.slice %1 at 4 : tensor<?x32xf32> -> tensor<?x8xf32>
  return %0, %2 : tensor<?x64xf32>, tensor<?x8xf32>
}
