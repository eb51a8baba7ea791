// RUN: vernier-opt %s | vernier-opt | FileCheck %s
// RUN: vernier-opt %s --mlir-print-op-generic | vernier-opt | FileCheck %s

// CHECK-LABEL: func.func @moves
// CHECK-SAME: hopper.layout = #hopper.layout<64 x 128, threads = 16 x 16, vector = 8, rowGroup = 4>
func.func @moves(%m: memref<?x4096xbf16>, %q: memref<?x4096xi8>, %t: memref<4096x?xi8>, %first: index, %c: index, %n: index, %ok: vector<64x1xi1>)
    attributes {hopper.layout = #hopper.layout<64 x 128, threads = 16 x 16, vector = 8, rowGroup = 4>} {
  // CHECK: %[[R:.+]] = hopper.rows %{{.+}} : vector<64x1xi32>
  %r = hopper.rows %first : vector<64x1xi32>
  // CHECK: hopper.columns %{{.+}} : vector<1x128xindex>
  %cols = hopper.columns %c : vector<1x128xindex>
  // CHECK: hopper.load %{{.+}} rows %[[R]] cols %{{.+}} alignment 8 : memref<?x4096xbf16>, vector<64x1xi32> -> vector<64x128xbf16>
  %x = hopper.load %m rows %r cols %c alignment 8 : memref<?x4096xbf16>, vector<64x1xi32> -> vector<64x128xbf16>
  // CHECK: hopper.load %{{.+}} rows %[[R]] present %{{.+}} cols %{{.+}} limit %{{.+}} : memref<?x4096xi8>, vector<64x1xi32>, vector<64x1xi1> -> vector<64x128xf8E4M3FN>
  %g = hopper.load %q rows %r present %ok cols %c limit %n : memref<?x4096xi8>, vector<64x1xi32>, vector<64x1xi1> -> vector<64x128xf8E4M3FN>
  // CHECK: hopper.keep %{{.+}} if %{{.+}} : vector<64x128xf8E4M3FN>, vector<64x1xi1>
  %k = hopper.keep %g if %ok : vector<64x128xf8E4M3FN>, vector<64x1xi1>
  // CHECK: hopper.store %{{.+}} to %{{.+}} rows %[[R]] valid %{{.+}} cols %{{.+}} alignment 16
  hopper.store %k to %q rows %r valid %ok cols %c alignment 16 : vector<64x128xf8E4M3FN>, memref<?x4096xi8>, vector<64x1xi32>, vector<64x1xi1>
  // CHECK: hopper.store_transposed %{{.+}} to %{{.+}} at %{{.+}}, %{{.+}} rows %{{.+}} stride %{{.+}} shared 0 padding 4 alone : vector<64x128xf8E4M3FN>, memref<4096x?xi8>
  hopper.store_transposed %k to %t at %c, %first rows %n stride %n shared 0 padding 4 alone : vector<64x128xf8E4M3FN>, memref<4096x?xi8>
  return
}

// CHECK-LABEL: func.func @numbers
func.func @numbers(%x: vector<64x128xbf16>, %s: vector<64x1xf32>, %p: vector<64x1xi1>, %d: vector<64x4xi32>, %noise: vector<64x128xi32>) {
  // CHECK: hopper.reduce amax %{{.+}} : vector<64x128xbf16> -> vector<64x4xi32>
  %a = hopper.reduce amax %x : vector<64x128xbf16> -> vector<64x4xi32>
  // CHECK: hopper.reduce umax %{{.+}} shared 512 alone : vector<64x4xi32> -> vector<1x4xi32>
  %u = hopper.reduce umax %a shared 512 alone : vector<64x4xi32> -> vector<1x4xi32>
  // CHECK: hopper.expand %{{.+}} : vector<64x1xf32> -> vector<64x128xf32>
  %e = hopper.expand %s : vector<64x1xf32> -> vector<64x128xf32>
  // CHECK: %[[Q:.+]] = hopper.encode %{{.+}} scale %{{.+}} : vector<64x1xf32> poison %{{.+}} : vector<64x1xi1> : vector<64x128xbf16> -> vector<64x128xf4E2M1FN>
  %q = hopper.encode %x scale %s : vector<64x1xf32> poison %p : vector<64x1xi1> : vector<64x128xbf16> -> vector<64x128xf4E2M1FN>
  // CHECK: hopper.encode %{{.+}} noise %{{.+}} : vector<64x128xi32> : vector<64x128xf32> -> vector<64x128xf8E4M3FN>
  %n = hopper.encode %e noise %noise : vector<64x128xi32> : vector<64x128xf32> -> vector<64x128xf8E4M3FN>
  // CHECK: hopper.recode %[[Q]] shift %{{.+}} falls poison %{{.+}} : vector<64x128xf4E2M1FN>, vector<64x4xi32>, vector<64x1xi1> -> vector<64x128xf8E4M3FN>
  %r = hopper.recode %q shift %d falls poison %p : vector<64x128xf4E2M1FN>, vector<64x4xi32>, vector<64x1xi1> -> vector<64x128xf8E4M3FN>
  // CHECK: hopper.decode %{{.+}} : vector<64x128xf8E4M3FN> -> vector<64x128xf32>
  %v = hopper.decode %r : vector<64x128xf8E4M3FN> -> vector<64x128xf32>
  return
}

// CHECK-LABEL: func.func @tables
func.func @tables(%x: vector<64x128xbf16>, %worth: i1) {
  // CHECK: %[[T:.+]] = hopper.tabulate if %{{.+}} shared 128 {
  %t = hopper.tabulate if %worth shared 128 {
  ^bb0(%number: vector<1x1xbf16>):
    %f = arith.extf %number : vector<1x1xbf16> to vector<1x1xf32>
    %s = mx.sigmoid %f : vector<1x1xf32>
    // CHECK: hopper.tabulated %{{.+}} : vector<1x1xf32>
    hopper.tabulated %s : vector<1x1xf32>
  }
  // CHECK: hopper.lookup %{{.+}} in %[[T]] : vector<64x128xbf16> -> vector<64x128xf32>
  %y = hopper.lookup %x in %t : vector<64x128xbf16> -> vector<64x128xf32>
  return
}

// CHECK-LABEL: func.func @gathered
func.func @gathered(%s: vector<2x128xi8>, %m: memref<4096x256xi8>, %i: index, %last: i1) {
  // CHECK: hopper.store_gathered %{{.+}} to %{{.+}} at %{{.+}}, %{{.+}} from %{{.+}} rows %{{.+}} if %{{.+}} shared 0 : vector<2x128xi8>, memref<4096x256xi8>
  hopper.store_gathered %s to %m at %i, %i from %i rows %i if %last shared 0 : vector<2x128xi8>, memref<4096x256xi8>
  return
}
