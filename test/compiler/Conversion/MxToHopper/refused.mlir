// RUN: vernier-opt %s
func.func @unaligned(%a: tensor<?x36xbf16>, %b: tensor<64x36xbf16>) -> tensor<?x64xbf16> {
  %d = mx.matmul %a, %b : tensor<?x36xbf16>, tensor<64x36xbf16> -> tensor<?x64xbf16>
  return %d : tensor<?x64xbf16>
}
