// RUN: vernier-compile --target sm_90a --until ptx %s | FileCheck %s
// RUN: vernier-compile --target sm_90a %s | FileCheck %s --check-prefix=CUBIN
// RUN: vernier-compile --target sm_90a --until cubin %s | FileCheck %s --check-prefix=LOG

#fp8 = #mx.format<f8E4M3FN, 1x128, f8E8M0FNU, ceil>
#mxfp4 = #mx.format<f4E2M1FN, 1x32, f8E8M0FNU, floor>

// The wait for the launch before comes ahead of all that is loaded. Loads of sixteen bytes through the read-only path, packed
// maxima, conversions of pairs, stores of words.
// CHECK: .target sm_90a
// CHECK: .visible .entry quantize
// CHECK: .maxntid 256
// CHECK-NOT: ld.global
// CHECK: griddepcontrol.wait;
// CHECK-NOT: ld.global
// CHECK: griddepcontrol.launch_dependents;
// CHECK: ld.global.nc.v4.b32
// CHECK: max.NaN.bf16x2
// CHECK: shfl.sync.bfly.b32
// CHECK: cvt.rn.satfinite.e4m3x2.f32
// CHECK: st.global.v2.b32
// CHECK-NOT: .local
func.func @quantize(%x: tensor<?x7168xbf16>) -> (!mx.scaled<?x7168, #fp8>, !mx.scaled<?x7168, #mxfp4>) {
  %q = mx.quantize %x : tensor<?x7168xbf16> -> !mx.scaled<?x7168, #fp8>
  %r = mx.quantize %x : tensor<?x7168xbf16> -> !mx.scaled<?x7168, #mxfp4>
  return %q, %r : !mx.scaled<?x7168, #fp8>, !mx.scaled<?x7168, #mxfp4>
}

// CUBIN: kernel quantize: tiles of
// CUBIN-NEXT: 256 threads, {{[0-9]+}} registers, 0 bytes spilled
// LOG: Compiling entry function 'quantize' for 'sm_90a'
// LOG: 0 bytes spill stores, 0 bytes spill loads
