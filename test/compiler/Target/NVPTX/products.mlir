// RUN: vernier-compile --target sm_90a --until tiled %s | FileCheck %s --check-prefix=TILED
// RUN: vernier-compile --target sm_90a --until ptx %s | FileCheck %s
// RUN: vernier-compile --target sm_90a %s | FileCheck %s --check-prefix=CUBIN
// RUN: vernier-compile --target sm_90a --until cubin %s | FileCheck %s --check-prefix=LOG

#fp8 = #mx.format<f8E4M3FN, 1x128, f8E8M0FNU, ceil>
#block = #mx.format<f8E4M3FN, 128x128, f8E8M0FNU, ceil>

// Partial sums of 128 along K, scaled and added in FP32; two slabs of rows share what was fetched.
// The scales of a slab are the products of those of its rows and its tile, read from words of four blocks. Slabs are passed to
// those that bring them to memory.
// TILED: scf.for {{.+}} iter_args({{.+}}) -> (vector<128x128xf32>, vector<128x128xf32>)
// TILED: hopper.fetch %arg0[{{.+}}] rows %{{.+}} multicast : memref<?x7168xi8> -> <256 x 128 x f8E4M3FN>
// TILED: hopper.fetch %arg2[{{.+}}] : memref<4096x7168xi8> -> <128 x 128 x f8E4M3FN>
// TILED: hopper.fetch_scales %arg1[{{.+}}] limit %{{.+}} height 1 blocks 1 word 4 times %arg3[{{.+}}] : memref<?x56xi8>, memref<32x56xi8> -> <256>
// TILED: hopper.multiply %{{.+}} depth 128, %{{.+}} -> vector<128x128xf32>
// TILED: math.fma
// TILED: hopper.multiply %{{.+}} row 128 depth 128, %{{.+}} -> vector<128x128xf32>
// TILED: math.fma
// TILED: hopper.finish({{.+}} : vector<128x128xbf16>, vector<128x128xbf16>) together 1 buffers 2 layout <16 x 128, threads = 8 x 16, vector = 8, rowGroup = 1>
// TILED: hopper.copy_passed %{{.+}} to %arg4[{{.+}}] : <128 x 128 x bf16>, memref<?x4096xbf16>
// TILED: hopper.read_passed
// TILED: hopper.store
// Where rows are so few that most multiprocessors would have no such tile: smaller ones, and no block waits for a neighbour.
// TILED: func.func @product_128x128(
// TILED: func.func @product_128x64({{.+}} hopper.cost = array<i64: 14000, 14000>, hopper.instead_of = @product, {{.+}} hopper.pieces = 1 : i64
// TILED: hopper.fetch %arg2[{{.+}}] : memref<4096x7168xi8> -> <64 x 128 x f8E4M3FN>
// TILED: func.func @product_64x64(
// TILED: hopper.fetch %arg0[{{.+}}] rows %{{.+}} : memref<?x7168xi8> -> <64 x 128 x f8E4M3FN>

// CHECK: .visible .entry product
// CHECK-SAME: (
// CHECK: .param .align 64 .b8 product_param_{{[0-9]+}}[128]
// CHECK: .reqnctapercluster 2
// CHECK: mbarrier.init.shared
// CHECK: setmaxnreg.inc.sync.aligned.u32 208
// CHECK: mbarrier.try_wait.parity.shared
// CHECK: wgmma.mma_async.sync.aligned.m64n128k32.f32.e4m3.e4m3
// CHECK: mbarrier.test_wait.parity.shared
// CHECK: stmatrix.sync.aligned.m8n8.x4.shared.b16
// CHECK: setmaxnreg.dec.sync.aligned.u32 48
// CHECK: cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster
// CHECK: setmaxnreg.dec.sync.aligned.u32 {{48|40}}
// CHECK: cp.async.bulk.tensor.2d.global.shared::cta
func.func @product(%a: !mx.scaled<?x7168, #fp8>, %b: !mx.scaled<4096x7168, #block>) -> tensor<?x4096xbf16> {
  %d = mx.matmul %a, %b : !mx.scaled<?x7168, #fp8>, !mx.scaled<4096x7168, #block> -> tensor<?x4096xbf16>
  return %d : tensor<?x4096xbf16>
}

// CUBIN: kernel product: matrix product of tiles of 256 x 128 x 128, 3 stages, clusters of 2
// CUBIN-NEXT: 512 threads, {{[0-9]+}} registers, 0 bytes spilled
// CUBIN-NEXT: kernel product_128x128: matrix product of tiles of 128 x 128 x 128
// CUBIN-NEXT: 0 bytes spilled
// CUBIN-NEXT: kernel product_128x64: matrix product of tiles of 128 x 64 x 128
// CUBIN-NEXT: 0 bytes spilled
// CUBIN-NEXT: kernel product_64x64: matrix product of tiles of 64 x 64 x 128
// CUBIN-NEXT: 0 bytes spilled
// No spills, and no product that the assembler serialises (C75xx).
// LOG: 0 bytes spill stores, 0 bytes spill loads
// LOG-NOT: C75
