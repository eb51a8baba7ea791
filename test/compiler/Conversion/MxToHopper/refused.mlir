// RUN: vernier-opt %s
func.func @gradient(%dy: tensor<?x32xbf16>, %x: tensor<?x64xbf16>, %o: tensor<9xi32>) -> tensor<8x32x64xf32> {
  %g = mx.grouped_wgrad %dy, %x offsets %o : tensor<?x32xbf16>, tensor<?x64xbf16>, tensor<9xi32> -> tensor<8x32x64xf32>
  return %g : tensor<8x32x64xf32>
}
