// RUN: vernier-opt %s
func.func @product(%a: tensor<?x256xbf16>, %b: tensor<64x256xbf16>) -> tensor<?x64xf32> {
  %0 = mx.matmul %a, %b : tensor<?x256xbf16>, tensor<64x256xbf16> -> tensor<?x64xf32>
  return %0 : tensor<?x64xf32>
}
