// RUN: vernier-opt %s --split-input-file --verify-diagnostics

// expected-error@+2 {{expected an element of f8E4M3FN or f4E2M1FN, but got 'f32'}}
// expected-error@+1 {{failed to parse Mx_ScaledType parameter 'format'}}
func.func private @element(!mx.scaled<?x64, #mx.format<f32, 1x32, f8E8M0FNU, floor>>)

// -----

// expected-error@+2 {{expected the sides of a block to be powers of two in [1, 128], but got 1x48}}
// expected-error@+1 {{failed to parse Mx_ScaledType parameter 'format'}}
func.func private @block(!mx.scaled<?x96, #mx.format<f8E4M3FN, 1x48, f8E8M0FNU, floor>>)

// -----

// expected-error@+2 {{expected a block of more than one element, but got 1x1}}
// expected-error@+1 {{failed to parse Mx_ScaledType parameter 'format'}}
func.func private @one(!mx.scaled<?x96, #mx.format<f8E4M3FN, 1x1, f8E8M0FNU, floor>>)

// -----

// expected-error@+2 {{expected rule nearest with a scale of 'f8E4M3FN', but got floor}}
// expected-error@+1 {{failed to parse Mx_ScaledType parameter 'format'}}
func.func private @rule(!mx.scaled<?x96, #mx.format<f4E2M1FN, 1x16, f8E4M3FN, floor>>)

// -----

// expected-error@+2 {{expected a scale rule (floor, even, ceil or nearest), but got 'up'}}
// expected-error@+1 {{failed to parse Mx_ScaledType parameter 'format'}}
func.func private @rule_name(!mx.scaled<?x96, #mx.format<f4E2M1FN, 1x32, f8E8M0FNU, up>>)

// -----

// expected-error@+1 {{expected an even number of columns of a 4-bit element, but got 63; pad to 64}}
func.func private @odd(!mx.scaled<?x63, #mx.format<f4E2M1FN, 32x1, f8E8M0FNU, floor>>)

// -----

#fp8 = #mx.format<f8E4M3FN, 1x128, f8E8M0FNU, ceil>
func.func @multiple(%x: tensor<?x1000xf32>) {
  // expected-error@+1 {{expected the columns to be a multiple of the block of 128, but got 1000; pad to 1024}}
  %q = mx.quantize %x : tensor<?x1000xf32> -> !mx.scaled<?x1000, #fp8>
  return
}

// -----

#fp8 = #mx.format<f8E4M3FN, 1x128, f8E8M0FNU, ceil>
func.func @multiple_of_32(%x: tensor<?x992xf32>) {
  // expected-error@+1 {{pad to 1024 or use a format with blocks of 32}}
  %q = mx.quantize %x : tensor<?x992xf32> -> !mx.scaled<?x992, #fp8>
  return
}

// -----

#mxfp4 = #mx.format<f4E2M1FN, 1x32, f8E8M0FNU, floor>
func.func @shape(%x: tensor<?x64xf32>) {
  // expected-error@+1 {{expected input and result to have equal shapes, but got ?x64 and ?x96}}
  %q = mx.quantize %x : tensor<?x64xf32> -> !mx.scaled<?x96, #mxfp4>
  return
}

// -----

#mxfp4 = #mx.format<f4E2M1FN, 1x32, f8E8M0FNU, floor>
func.func @seed(%x: tensor<?x64xf32>) {
  // expected-error@+1 {{stochastic rounding needs a seed}}
  %q = mx.quantize %x rounding stochastic : tensor<?x64xf32> -> !mx.scaled<?x64, #mxfp4>
  return
}

// -----

#nvfp4 = #mx.format<f4E2M1FN, 1x16, f8E4M3FN, nearest>
func.func @tensor_scale(%x: tensor<?x64xf32>) {
  // expected-error@+1 {{a format with f8E4M3FN scales needs a tensor scale}}
  %q = mx.quantize %x : tensor<?x64xf32> -> !mx.scaled<?x64, #nvfp4>
  return
}

// -----

#fp8 = #mx.format<f8E4M3FN, 1x128, f8E8M0FNU, ceil>
#fp8_block = #mx.format<f8E4M3FN, 128x128, f8E8M0FNU, ceil>
func.func @requantize_blocks(%t: !mx.scaled<?x128, #fp8_block>) {
  // expected-error@+1 {{expected the input to have blocks along its rows (1xB), but got blocks of 128x128}}
  %q = mx.requantize %t : !mx.scaled<?x128, #fp8_block> -> !mx.scaled<?x128, #fp8>
  return
}

// -----

#mxfp4 = #mx.format<f4E2M1FN, 1x32, f8E8M0FNU, floor>
func.func @transpose_format(%t: !mx.scaled<?x64, #mxfp4>) {
  // expected-error@+1 {{expected a result of f8E4M3FN in blocks of 1x128, but got #mx.format<f4E2M1FN, 1x32, f8E8M0FNU, floor>}}
  %q = mx.transpose %t : !mx.scaled<?x64, #mxfp4> -> !mx.scaled<64x?, #mxfp4>
  return
}

// -----

func.func @transpose_shape(%x: tensor<8x64xf32>) {
  // expected-error@+1 {{expected the result's shape to be the input's reversed, but got 8x64 and 64x9}}
  %q = mx.transpose %x : tensor<8x64xf32> -> tensor<64x9xf32>
  return
}

// -----

func.func @offsets_of_plain(%x: tensor<8x64xf32>, %o: tensor<3xi32>) {
  // expected-error@+1 {{offsets need a scaled input with blocks along its rows (1xB)}}
  %q = mx.transpose %x offsets %o : tensor<3xi32> : tensor<8x64xf32> -> tensor<64x8xf32>
  return
}

// -----

func.func @blocks_of_any_number_of_groups(%x: tensor<8x64xf32>, %o: tensor<?xi32>) {
  // expected-error@+1 {{expected a static number of offsets with blocks}}
  %q = mx.transpose %x offsets %o : tensor<?xi32> blocks : tensor<8x64xf32> -> tensor<3x64x128xf32>
  return
}

// -----

func.func @blocks_shape(%x: tensor<300x64xf32>, %o: tensor<3xi32>) {
  // expected-error@+1 {{expected a result of 4x64x128, but got 3x64x128}}
  %q = mx.transpose %x offsets %o : tensor<3xi32> blocks : tensor<300x64xf32> -> tensor<3x64x128xf32>
  return
}

// -----

#fp8 = #mx.format<f8E4M3FN, 1x128, f8E8M0FNU, ceil>
#mxfp8 = #mx.format<f8E4M3FN, 1x32, f8E8M0FNU, floor>
func.func @blocks_format(%x: !mx.scaled<?x64, #mxfp8>, %o: tensor<3xi32>) {
  // expected-error@+1 {{expected a result of f8E4M3FN in blocks of 32x128, but got}}
  %q = mx.transpose %x offsets %o : tensor<3xi32> blocks : !mx.scaled<?x64, #mxfp8> -> !mx.scaled<?x64x128, #fp8>
  return
}

// -----

func.func @block_wgrad_shape(%a: tensor<?x32x64xf32>, %o: tensor<9xi32>) {
  // expected-error@+1 {{expected dy [B, N, 128] and x [B, K, 128], but got ?x32x64 and ?x32x64}}
  %q = mx.block_wgrad %a, %a offsets %o : tensor<?x32x64xf32>, tensor<?x32x64xf32>, tensor<9xi32> -> tensor<8x32x32xf32>
  return
}

// -----

func.func @block_wgrad_rows(%a: tensor<11x32x128xf32>, %o: tensor<9xi32>) {
  // expected-error@+1 {{expected the rows that 11x32x128 is made of, exactly where that is static}}
  %q = mx.block_wgrad %a, %a offsets %o rows 300 : tensor<11x32x128xf32>, tensor<11x32x128xf32>, tensor<9xi32> -> tensor<8x32x32xf32>
  return
}

// -----

func.func @slice(%x: tensor<?x64xf32>) {
  // expected-error@+1 {{expected columns 48:80 to lie inside the 64 columns of the input}}
  %q = mx.slice %x at 48 : tensor<?x64xf32> -> tensor<?x32xf32>
  return
}

// -----

#mxfp4 = #mx.format<f4E2M1FN, 1x32, f8E8M0FNU, floor>
func.func @slice_block(%x: !mx.scaled<?x64, #mxfp4>) {
  // expected-error@+1 {{expected columns 16:48 to be whole blocks of 32}}
  %q = mx.slice %x at 16 : !mx.scaled<?x64, #mxfp4> -> !mx.scaled<?x32, #mxfp4>
  return
}

// -----

func.func @concat(%x: tensor<?x64xf32>) {
  // expected-error@+1 {{expected 128 columns in the result, but got 'tensor<?x96xf32>'}}
  %q = mx.concat %x, %x : tensor<?x64xf32>, tensor<?x64xf32> -> tensor<?x96xf32>
  return
}

// -----

func.func @permute(%x: tensor<?x64xf32>, %i: tensor<?xi32>) {
  // expected-error@+1 {{expected pad_to to be at least 1, but got 0}}
  %q = mx.permute %x by %i pad_to 0 : tensor<?x64xf32>, tensor<?xi32> -> tensor<?x64xf32>
  return
}

// -----

func.func @reduce(%x: tensor<?x64xf32>) {
  // expected-error@+1 {{expected an axis inside rank 1 or 2, but got axis 2 of ?x64}}
  %q = mx.reduce sum %x axis 2 : tensor<?x64xf32> -> tensor<?xf32>
  return
}

// -----

func.func @broadcast(%x: tensor<?x64xf32>, %v: tensor<32xf32>) {
  // expected-error@+1 {{expected dimension 0 of 32 to become dimension 1 of ?x64}}
  %q = mx.broadcast %v dims [1] like %x : tensor<32xf32>, tensor<?x64xf32> -> tensor<?x64xf32>
  return
}

// -----

#fp8 = #mx.format<f8E4M3FN, 1x128, f8E8M0FNU, ceil>
func.func @matmul_k(%a: !mx.scaled<?x256, #fp8>, %b: !mx.scaled<?x384, #fp8>) {
  // expected-error@+1 {{expected equal K, but got ?x256 and ?x384}}
  %q = mx.matmul %a, %b : !mx.scaled<?x256, #fp8>, !mx.scaled<?x384, #fp8> -> tensor<?x?xf32>
  return
}

// -----

#fp8 = #mx.format<f8E4M3FN, 1x128, f8E8M0FNU, ceil>
func.func @matmul_mixed(%a: !mx.scaled<?x256, #fp8>, %b: tensor<?x256xf32>) {
  // expected-error@+1 {{expected both operands to be scaled or both to be plain}}
  %q = mx.matmul %a, %b : !mx.scaled<?x256, #fp8>, tensor<?x256xf32> -> tensor<?x?xf32>
  return
}

// -----

func.func @wgrad_offsets(%a: tensor<?x32xf32>, %o: tensor<5xi32>) {
  // expected-error@+1 {{expected 9 offsets for 8 experts, but got 5}}
  %q = mx.grouped_wgrad %a, %a offsets %o : tensor<?x32xf32>, tensor<?x32xf32>, tensor<5xi32> -> tensor<8x32x32xf32>
  return
}

// -----

func.func @yield(%x: tensor<?x64xf32>) {
  // expected-error@+1 {{expected to yield values of the 1 results' types, but got 0}}
  %0 = mx.kernel @k(%a = %x : tensor<?x64xf32>) -> tensor<?x64xf32> {
    mx.yield
  }
  return
}

// -----

// expected-error@+1 {{mx.product_shape: expected a dictionary, but got 3 : i64}}
func.func @shape_of_a_number() attributes {mx.product_shape = 3 : i64} { return }

// -----

// expected-error@+1 {{mx.product_shape: expected numbers named warpgroups, slabs, cols, cluster, stages or band, but got "rows"}}
func.func @shape_of_another_name() attributes {mx.product_shape = {rows = 3 : i64}} { return }

// -----

// expected-error@+1 {{mx.product_shape: expected cols to be a power of two from 32 to 128, but got 96}}
func.func @shape_that_is_no_power() attributes {mx.product_shape = {cols = 96 : i64}} { return }

// -----

// expected-error@+1 {{mx.tensor_core_sums: expected no value, but got 3 : i64}}
func.func @sums_with_a_value() attributes {mx.tensor_core_sums = 3 : i64} {
  return
}
