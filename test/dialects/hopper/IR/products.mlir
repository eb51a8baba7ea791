// RUN: vernier-opt %s | vernier-opt | FileCheck %s
// RUN: vernier-opt %s --mlir-print-op-generic | vernier-opt | FileCheck %s

// CHECK-LABEL: func.func @staged
// CHECK-SAME: #hopper.layout<128 x 128, threads = 64 x 4, vector = 2, rowGroup = 1, adjacent = 8>
func.func @staged(%m: memref<?x4096xi8>, %s: memref<?x32xi8>, %offsets: memref<?xi32>, %row: index, %k: index, %n: index,
                  %t: vector<128x128xbf16>, %o: memref<?x4096xbf16>)
    attributes {hopper.layout = #hopper.layout<128 x 128, threads = 64 x 4, vector = 2, rowGroup = 1, adjacent = 8>} {
  // CHECK: %[[A:.+]] = hopper.fetch %{{.+}}[%{{.+}}, %{{.+}}] multicast : memref<?x4096xi8> -> <256 x 128 x f8E4M3FN>
  %a = hopper.fetch %m[%row, %k] multicast : memref<?x4096xi8> -> !hopper.staged<256 x 128 x f8E4M3FN>
  // CHECK: %[[B:.+]] = hopper.fetch
  %b = hopper.fetch %m[%row, %k] : memref<?x4096xi8> -> !hopper.staged<128 x 128 x f8E4M3FN>
  // CHECK: %{{.+}}, %{{.+}}, %{{.+}} = hopper.group_tile %{{.+}} of %{{.+}} groups %{{.+}} limit %{{.+}} height 256 : memref<?xi32>
  %group, %first, %rows = hopper.group_tile %k of %offsets groups %n limit %row height 256 : memref<?xi32>
  // CHECK: hopper.prefetch %{{.+}}[%{{.+}}, %{{.+}}] : memref<?x4096xi8>, !hopper.staged<128 x 128 x f8E4M3FN>
  hopper.prefetch %m[%row, %k] : memref<?x4096xi8>, !hopper.staged<128 x 128 x f8E4M3FN>
  // CHECK: hopper.finish(%{{.+}}, %{{.+}} : vector<128x128xbf16>, vector<128x128xbf16>) together 1 buffers 2 layout <8 x 128, threads = 8 x 16, vector = 8, rowGroup = 1>
  // CHECK-NEXT: ^bb0(%{{.+}}: index, %[[T:.+]]: !hopper.passed<128 x 128 x bf16>)
  hopper.finish (%t, %t : vector<128x128xbf16>, vector<128x128xbf16>) together 1 buffers 2
      layout <8 x 128, threads = 8 x 16, vector = 8, rowGroup = 1> {
  ^bb0(%number: index, %tile: !hopper.passed<128 x 128 x bf16>):
    // CHECK: hopper.read_passed %[[T]][%{{.+}}] : <128 x 128 x bf16> -> vector<8x128xbf16>
    %some = hopper.read_passed %tile[%k] : !hopper.passed<128 x 128 x bf16> -> vector<8x128xbf16>
    // CHECK: hopper.copy_passed %[[T]] to %{{.+}}[%{{.+}}, %{{.+}}] : <128 x 128 x bf16>, memref<?x4096xbf16>
    hopper.copy_passed %tile to %o[%row, %k] : !hopper.passed<128 x 128 x bf16>, memref<?x4096xbf16>
  }
  // CHECK: %[[S:.+]] = hopper.fetch_scales %{{.+}}[%{{.+}}, %{{.+}}] limit %{{.+}} height 1 blocks 1 word 1 : memref<?x32xi8> -> <256>
  %scales = hopper.fetch_scales %s[%row, %k] limit %n height 1 blocks 1 word 1 : memref<?x32xi8> -> !hopper.scales<256>
  // CHECK: hopper.fetch_scales {{.+}} height 1 blocks 2 word 4 times %{{.+}}[%{{.+}}, %{{.+}}] : memref<?x32xi8>, memref<?x32xi8> -> <512>
  %products = hopper.fetch_scales %s[%row, %k] limit %n height 1 blocks 2 word 4 times %s[%n, %k] : memref<?x32xi8>, memref<?x32xi8> -> !hopper.scales<512>
  // CHECK: hopper.read_scales %[[S]] from 128 : <256> -> vector<128x1xf32>
  %v = hopper.read_scales %scales from 128 : !hopper.scales<256> -> vector<128x1xf32>
  // CHECK: %[[P:.+]] = hopper.multiply %[[A]] row 128 first 32 depth 32, %[[B]] : <256 x 128 x f8E4M3FN>, <128 x 128 x f8E4M3FN> -> vector<128x128xf32>
  %p = hopper.multiply %a row 128 first 32 depth 32, %b : !hopper.staged<256 x 128 x f8E4M3FN>, !hopper.staged<128 x 128 x f8E4M3FN> -> vector<128x128xf32>
  // CHECK: %{{.+}}, %{{.+}} = hopper.make layout <16 x 128, threads = 16 x 8, vector = 16, rowGroup = 1> {
  // CHECK-NEXT: ^bb0(%{{.+}}: index):
  // CHECK: hopper.made %{{.+}}, %{{.+}} : vector<16x128xf8E4M3FN>, vector<16x1xf32>
  // CHECK-NEXT: } : <256 x 128 x f8E4M3FN>, !hopper.scales<256>
  %made, %made_scales = hopper.make layout <16 x 128, threads = 16 x 8, vector = 16, rowGroup = 1> {
  ^bb0(%skipped: index):
    %codes = arith.constant dense<0.0> : vector<16x128xf8E4M3FN>
    %ones = arith.constant dense<1.0> : vector<16x1xf32>
    hopper.made %codes, %ones : vector<16x128xf8E4M3FN>, vector<16x1xf32>
  } : !hopper.staged<256 x 128 x f8E4M3FN>, !hopper.scales<256>
  // CHECK: hopper.multiply %[[A]] depth 128, %[[B]] accumulate %[[P]]
  %q = hopper.multiply %a depth 128, %b accumulate %p : !hopper.staged<256 x 128 x f8E4M3FN>, !hopper.staged<128 x 128 x f8E4M3FN> -> vector<128x128xf32>
  return
}
