// RUN: vernier-compile --target sm_90a --until fused %s | FileCheck %s --check-prefix=FUSED
// RUN: vernier-compile --target sm_90a --until tiled %s | FileCheck %s --check-prefix=TILED
// RUN: vernier-compile --target sm_90a --until ptx %s | FileCheck %s
// RUN: vernier-compile --target sm_90a --until cubin %s | FileCheck %s --check-prefix=LOG
// RUN: vernier-compile --target host --until fused %s | FileCheck %s --check-prefix=HOST

#fp8 = #mx.format<f8E4M3FN, 1x128, f8E8M0FNU, ceil>
#mxfp4 = #mx.format<f4E2M1FN, 1x32, f8E8M0FNU, floor>

// Both operands are turned by one kernel, whatever their formats; the host contracts rows as they are.
// FUSED: mx.kernel @gradient_0
// FUSED: mx.transpose {{.+}} blocks : !mx.scaled<?x512, #fp8> -> !mx.scaled<?x512x128, #fp8_block>
// FUSED: mx.transpose {{.+}} blocks : !mx.scaled<?x512, #mxfp4> -> !mx.scaled<?x512x128, #fp8_block_32x128>
// FUSED: mx.kernel @gradient_1
// FUSED: mx.block_wgrad
// HOST: mx.grouped_wgrad
// HOST-NOT: mx.kernel

// The kernel that turns: rows beyond a group's are zeros.
// TILED-LABEL: func.func @gradient_0
// TILED: hopper.keep
// TILED: hopper.store_transposed
// The product: a block of K for each block of rows, whose four scales across are multiplied with those of the rows.
// TILED-LABEL: func.func @gradient_1
// TILED: hopper.fetch %arg0[{{.+}}] multicast keep : memref<?x512x128xi8> -> <256 x 128 x f8E4M3FN>
// TILED: hopper.fetch %arg2[{{.+}}] keep : memref<?x512x128xi8> -> <128 x 128 x f8E4M3FN>
// TILED: hopper.fetch_scales {{.+}} -> <4>
// TILED: hopper.prefetch %arg5[{{.+}}] : memref<8x512x512xf32>, !hopper.staged<256 x 32 x f32>
// TILED: hopper.finish({{.+}}) onto %arg5[{{.+}}] rows {{.+}} : memref<8x512x512xf32> together 1 pieces 4 buffers 4

// CHECK-LABEL: .visible .entry gradient_1
// CHECK: wgmma.mma_async.sync.aligned.m64n128k32.f32.e4m3.e4m3
// Gradients come and go by the copy engine: the sums are added to them where they are passed.
// CHECK: ld.shared.v2.b32
// CHECK: add.rn.f32
// CHECK: st.shared.v2.b32
// CHECK-DAG: cp.async.bulk.prefetch.tensor.2d.L2.global.tile
// CHECK-DAG: cp.async.bulk.tensor.2d.shared::cta.global.tile.mbarrier::complete_tx::bytes.L2::cache_hint
// CHECK-DAG: cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group

// LOG: 0 bytes spill stores, 0 bytes spill loads
// LOG: 0 bytes spill stores, 0 bytes spill loads
// LOG-NOT: C75
func.func @gradient(%dy: !mx.scaled<?x512, #fp8>, %x: !mx.scaled<?x512, #mxfp4>, %o: tensor<9xi32>, %acc: tensor<8x512x512xf32>)
    -> tensor<8x512x512xf32> {
  %g = mx.grouped_wgrad %dy, %x offsets %o accumulate %acc : tensor<8x512x512xf32>
    : !mx.scaled<?x512, #fp8>, !mx.scaled<?x512, #mxfp4>, tensor<9xi32> -> tensor<8x512x512xf32>
  return %g : tensor<8x512x512xf32>
}
