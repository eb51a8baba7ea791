// RUN: vernier-compile --target sm_90a --until fused %s | FileCheck %s --check-prefix=FUSED
// RUN: vernier-compile --target host --until fused %s | FileCheck %s --check-prefix=HOST
// RUN: vernier-compile --target sm_90a --until tiled %s | FileCheck %s --check-prefix=TILED
// RUN: vernier-compile --target sm_90a --until ptx %s | FileCheck %s
// RUN: vernier-compile --target sm_90a --until cubin %s | FileCheck %s --check-prefix=LOG

#fp8 = #mx.format<f8E4M3FN, 1x128, f8E8M0FNU, ceil>
#block = #mx.format<f8E4M3FN, 128x128, f8E8M0FNU, ceil>

// What becomes of the product is part of its kernel where a tile is enough for it; the host keeps them apart.
// FUSED-COUNT-1: mx.kernel
// FUSED-NOT: mx.kernel
// HOST-COUNT-2: mx.kernel

// The sum of a slab, rounded to the product's type, is passed to other threads, which make of it what the kernel makes of the
// product, a few rows at a time.
// TILED-LABEL: func.func @quantized
// TILED: hopper.multiply
// TILED: arith.truncf {{.+}} : vector<128x128xf32> to vector<128x128xbf16>
// TILED: hopper.finish
// TILED: hopper.read_passed {{.+}} -> vector<8x128xbf16>
// TILED: hopper.load %arg4 rows {{.+}} : memref<?x512xbf16>, vector<8x1xi32> -> vector<8x128xbf16>
// TILED: hopper.reduce amax
// TILED: hopper.encode
// TILED-NOT: hopper.copy_passed
// TILED: hopper.store

// CHECK-LABEL: .visible .entry quantized
// CHECK: wgmma.mma_async
// CHECK: stmatrix
// CHECK: ld.shared.v4.b32
// CHECK: shfl.sync.bfly.b32
// CHECK: cvt.rn.satfinite.e4m3x2.f32

// LOG: 0 bytes spill stores, 0 bytes spill loads
// LOG-NOT: C75
func.func @quantized(%a: !mx.scaled<?x1024, #fp8>, %b: !mx.scaled<512x1024, #block>, %residual: tensor<?x512xbf16>)
    -> !mx.scaled<?x512, #fp8> {
  %p = mx.matmul %a, %b : !mx.scaled<?x1024, #fp8>, !mx.scaled<512x1024, #block> -> tensor<?x512xbf16>
  %x = arith.extf %p : tensor<?x512xbf16> to tensor<?x512xf32>
  %r = arith.extf %residual : tensor<?x512xbf16> to tensor<?x512xf32>
  %y = arith.addf %x, %r : tensor<?x512xf32>
  %q = mx.quantize %y : tensor<?x512xf32> -> !mx.scaled<?x512, #fp8>
  return %q : !mx.scaled<?x512, #fp8>
}
