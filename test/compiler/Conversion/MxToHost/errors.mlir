// RUN: vernier-opt %s --convert-mx-to-host --verify-diagnostics

func.func @unfused(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  // expected-error@+1 {{expected kernels only; run mx-fuse-kernels first}}
  %y = arith.negf %x : tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}
