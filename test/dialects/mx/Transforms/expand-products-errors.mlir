// RUN: vernier-opt %s --mx-expand-products --split-input-file --verify-diagnostics

#fp8 = #mx.format<f8E4M3FN, 1x128, f8E8M0FNU, ceil>
#mxfp4 = #mx.format<f4E2M1FN, 1x32, f8E8M0FNU, floor>
func.func @stack(%a: !mx.scaled<?x256, #fp8>, %b: !mx.scaled<8x512x256, #mxfp4>, %o: tensor<9xi32>) -> tensor<?x512xbf16> {
  // expected-error@+1 {{expected a 4-bit operand of rank 2, but got '!mx.scaled<8x512x256,}}
  %0 = mx.grouped_matmul %a, %b offsets %o : !mx.scaled<?x256, #fp8>, !mx.scaled<8x512x256, #mxfp4>, tensor<9xi32> -> tensor<?x512xbf16>
  return %0 : tensor<?x512xbf16>
}
