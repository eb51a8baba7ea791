// RUN: vernier-opt %s --pass-pipeline='builtin.module(func.func(hopper-allocate-shared))' | FileCheck %s

// Two operations of one loop wait for one another: neither is alone, and each has its bytes.
// CHECK-LABEL: func.func @two
// CHECK-SAME: hopper.shared = 17536 : i64
func.func @two(%s: vector<128x1xi32>, %x: vector<128x128xf8E4M3FN>, %t: memref<4096x?xi8>, %n: index)
    attributes {hopper.layout = #hopper.layout<128 x 128, threads = 32 x 8, vector = 16, rowGroup = 4>} {
  // CHECK: hopper.reduce umax %{{.+}} shared 0 : vector<128x1xi32> -> vector<1x1xi32>
  %u = hopper.reduce umax %s : vector<128x1xi32> -> vector<1x1xi32>
  // CHECK: hopper.store_transposed {{.+}} shared 1024 padding 4 :
  hopper.store_transposed %x to %t at %n, %n stride %n : vector<128x128xf8E4M3FN>, memref<4096x?xi8>
  // Grids are stored number by number.
  // CHECK: hopper.store_transposed %{{.+}} to %{{.+}} at %{{[^ ]+}}, %{{[^ ]+}} stride %{{[^ ]+}} : vector<1x1xi8>
  %b = arith.trunci %u : vector<1x1xi32> to vector<1x1xi8>
  hopper.store_transposed %b to %t at %n, %n stride %n : vector<1x1xi8>, memref<4096x?xi8>
  return
}

// A reduction within a warp needs no shared memory; one across warps does, and here it is alone.
// CHECK-LABEL: func.func @rows
// CHECK-SAME: hopper.shared = 1024 : i64
func.func @rows(%x: vector<1x2048xf32>) attributes {hopper.layout = #hopper.layout<1 x 2048, threads = 1 x 256, vector = 8, rowGroup = 1>} {
  // CHECK: hopper.reduce max %{{.+}} : vector<1x2048xf32> -> vector<1x16xf32>
  %a = hopper.reduce max %x : vector<1x2048xf32> -> vector<1x16xf32>
  // CHECK: hopper.reduce sum %{{.+}} shared 0 alone : vector<1x16xf32> -> vector<1x1xf32>
  %b = hopper.reduce sum %a : vector<1x16xf32> -> vector<1x1xf32>
  return
}

// Tables and bytes that wait for others keep their places; what tiles pass through lies behind them.
// CHECK-LABEL: func.func @kept
// CHECK-SAME: hopper.shared = 53504 : i64
func.func @kept(%x: vector<128x128xf8E4M3FN>, %s: vector<1x128xi8>, %t: memref<4096x?xi8>, %n: index, %is: i1)
    attributes {hopper.layout = #hopper.layout<128 x 128, threads = 32 x 8, vector = 16, rowGroup = 4>} {
  // CHECK: hopper.tabulate if %{{.+}} shared 0
  %table = hopper.tabulate if %is {
  ^bb0(%number: vector<1x1xbf16>):
    %f = arith.extf %number : vector<1x1xbf16> to vector<1x1xf32>
    hopper.tabulated %f : vector<1x1xf32>
  }
  // CHECK: hopper.store_transposed {{.+}} shared 36992 padding 4 alone :
  hopper.store_transposed %x to %t at %n, %n stride %n : vector<128x128xf8E4M3FN>, memref<4096x?xi8>
  // CHECK: hopper.store_gathered {{.+}} shared 32768 :
  hopper.store_gathered %s to %t at %n, %n from %n stride %n if %is : vector<1x128xi8>, memref<4096x?xi8>
  return
}
