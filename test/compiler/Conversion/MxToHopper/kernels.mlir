// RUN: vernier-opt %s --convert-mx-to-hopper --canonicalize --cse | FileCheck %s
// RUN: not vernier-compile --target sm_90a --until tiled %S/refused.mlir 2>&1 | FileCheck %s --check-prefix=PRODUCT
// PRODUCT: K must be known and a multiple of 8 on sm_90a; compile this function for target "host"

#fp8 = #mx.format<f8E4M3FN, 1x128, f8E8M0FNU, ceil>
#fp8_column = #mx.format<f8E4M3FN, 128x1, f8E8M0FNU, ceil>

// Several formats and orientations from one load of the tile.
func.func @f(%x: tensor<?x1024xbf16>) -> (!mx.scaled<?x1024, #fp8>, !mx.scaled<1024x?, #fp8>) {
  %0:2 = mx.kernel @both(%a = %x : tensor<?x1024xbf16>) -> (!mx.scaled<?x1024, #fp8>, !mx.scaled<1024x?, #fp8>) {
    %q = mx.quantize %a : tensor<?x1024xbf16> -> !mx.scaled<?x1024, #fp8>
    %c = mx.quantize %a : tensor<?x1024xbf16> -> !mx.scaled<?x1024, #fp8_column>
    %t = mx.transpose %c : !mx.scaled<?x1024, #fp8_column> -> !mx.scaled<1024x?, #fp8>
    mx.yield %q, %t : !mx.scaled<?x1024, #fp8>, !mx.scaled<1024x?, #fp8>
  }
  return %0#0, %0#1 : !mx.scaled<?x1024, #fp8>, !mx.scaled<1024x?, #fp8>
}

// CHECK-LABEL: func.func @both(
// CHECK-SAME: %[[X:.+]]: memref<?x1024xbf16> {hopper.read_only}
// CHECK-SAME: hopper.layout = #hopper.layout<128 x
// CHECK: scf.for
// CHECK: %[[A:.+]] = hopper.load %[[X]]
// CHECK-NOT: hopper.load
// CHECK: hopper.reduce amax %[[A]] : vector<128x[[C:[0-9]+]]xbf16> -> vector<128x1xi32>
// CHECK: hopper.encode %[[A]]
// CHECK: hopper.store
// CHECK: hopper.reduce amax %[[A]] : vector<128x[[C]]xbf16> -> vector<1x[[C]]xi32>
// CHECK: hopper.encode %[[A]]
// CHECK: hopper.store_transposed
