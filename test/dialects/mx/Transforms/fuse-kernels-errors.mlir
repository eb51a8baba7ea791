// RUN: vernier-opt %s --mx-fuse-kernels=max-kernels=1 --split-input-file --verify-diagnostics

// expected-error@+1 {{needs 2 kernels, but at most 1 were allowed}}
func.func @two(%x: tensor<?x256xf32>) -> tensor<?x256xf32> {
  %s = mx.reduce sum %x axis 0 : tensor<?x256xf32> -> tensor<256xf32>
  // expected-note@+1 {{a reduction over all rows must be finished before its result is used}}
  %b = mx.broadcast %s dims [1] like %x : tensor<256xf32>, tensor<?x256xf32> -> tensor<?x256xf32>
  %y = arith.subf %x, %b : tensor<?x256xf32>
  return %y : tensor<?x256xf32>
}

// -----

func.func @twice(%x: tensor<?x256xf32>) -> tensor<?x256xf32> {
  // expected-error@+1 {{expected a function without kernels; this one has been fused already}}
  %y = mx.kernel @k(%a = %x : tensor<?x256xf32>) -> tensor<?x256xf32> {
    %n = arith.negf %a : tensor<?x256xf32>
    mx.yield %n : tensor<?x256xf32>
  }
  return %y : tensor<?x256xf32>
}

// -----

func.func @grouped_read(%t: !mx.scaled<256x?, #mx.format<f8E4M3FN, 1x128, f8E8M0FNU, ceil>, grouped>) -> tensor<256x?xf32> {
  // expected-error@+1 {{no kernel can hold this operation: nothing here reads a grouped transpose}}
  %d = mx.dequantize %t : !mx.scaled<256x?, #mx.format<f8E4M3FN, 1x128, f8E8M0FNU, ceil>, grouped> -> tensor<256x?xf32>
  return %d : tensor<256x?xf32>
}
