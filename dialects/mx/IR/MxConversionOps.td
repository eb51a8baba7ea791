// Into, out of and between block formats.
#ifndef VERNIER_MX_CONVERSION_OPS
#define VERNIER_MX_CONVERSION_OPS

include "dialects/mx/IR/MxTypes.td"
include "dialects/mx/IR/MxInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Mx_QuantizeOp : Mx_Op<"quantize", [Pure, AttrSizedOperandSegments,
    DeclareOpInterfaceMethods<Mx_DimsInterface>]> {
  let summary = "real numbers to a block format";
  let description = [{
    For every block B of the result's format:

    ```
    amax     = max |x| over B
    exponent = rule(amax)                    clamped to [-127, 127]
    code[i]  = round(x[i] / 2^exponent)      saturating at the element's maximum
    ```

    `floor` is floor(log2 amax) - emax, with emax = 2 for E2M1 and 8 for E4M3; `even` first rounds amax to the element's
    mantissa; `ceil` is the smallest exponent at which amax does not saturate. All three look at exponent and mantissa
    bits only. A block with a NaN or an infinity gets scale byte 255 and decodes to NaN everywhere (its codes are NaN in
    E4M3 and 0 in E2M1); an all-zero block gets scale byte 0.

    With `nearest`, the scale is the E4M3 number nearest to amax / max * s, s = `tensor_scale`, and an element is
    round(x * s / scale).

    `stochastic` rounding adds uniform noise below the last kept bit, drawn by Philox 4x32-10 with key `seed` and the
    element's index as counter.

    Shapes: input [M, N] -> result [M, N]; scales [ceil(M / blockRows), N / blockCols].

    Constraints:
    1. the shapes of input and result are equal;
    2. a static number of columns is a multiple of blockCols;
    3. `seed` is there exactly when the rounding is stochastic; `tensor_scale` exactly when the format has one;
    4. stochastic rounding needs a static number of columns and E8M0 scales.

    Example:

    ```mlir
    %t = mx.quantize %x : tensor<?x4096xf32> -> !mx.scaled<?x4096, #mx.format<f8E4M3FN, 1x128, f8E8M0FNU, ceil>>
    ```
  }];
  let arguments = (ins Mx_Real:$input, Optional<RankedTensorOf<[I64]>>:$seed, Optional<RankedTensorOf<[F32]>>:$tensor_scale,
                   DefaultValuedAttr<Mx_Rounding, "Rounding::NearestEven">:$rounding);
  let results = (outs Mx_ScaledType:$result);
  let assemblyFormat = [{
    $input (`seed` $seed^ `:` type($seed))? (`tensor_scale` $tensor_scale^ `:` type($tensor_scale))?
    (`rounding` $rounding^)? attr-dict `:` type($input) `->` type($result)
  }];
  let hasVerifier = 1;
  let hasFolder = 1;
}

def Mx_DequantizeOp : Mx_Op<"dequantize", [Pure, DeclareOpInterfaceMethods<Mx_DimsInterface>]> {
  let summary = "a block format to real numbers";
  let description = [{
    `result[i] = code[i] * scale(block of i)`, computed in FP32 and rounded to nearest-even for bf16 and f16. A scale
    byte of 255, or a NaN code, gives NaN.

    Shapes: input [M, N] -> result [M, N].

    Constraints:
    1. the shapes of input and result are equal.

    Example:

    ```mlir
    %x = mx.dequantize %t : !mx.scaled<?x64, #mx.format<f4E2M1FN, 1x32, f8E8M0FNU, floor>> -> tensor<?x64xf32>
    ```
  }];
  let arguments = (ins Mx_ScaledType:$input);
  let results = (outs Mx_Real:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
}

def Mx_RequantizeOp : Mx_Op<"requantize", [Pure, DeclareOpInterfaceMethods<Mx_DimsInterface>,
    DeclareOpInterfaceMethods<Mx_ReencodingInterface>]> {
  let summary = "one block format to another, on the codes";
  let description = [{
    Two cases, told apart by the blocks alone:

    *finer or equal* (a block of the result lies inside one of the input): the bits of quantising the decoded values, got
    from the codes without leaving their range. With amax the largest code of the block and E the input's exponent, the
    exponent of the result is E + rule(amax).

    *coarser* (a block of the result spans several of the input, F_j their exponents): E = max_j F_j - h, where h is the
    largest shift that keeps every input code in range (6 from E2M1 to E4M3, 0 from E4M3 to E4M3), clamped at byte 0;
    `code'[i] = round(code[i] * 2^(F_j - E))`, nearest-even. Lossless exactly while no nonzero code falls below the
    result's last subnormal bit: for E2M1 to E4M3, while -8 <= F_j - E <= 6.

    A scale byte of 255 poisons every block of the result that it touches.

    Shapes: input [M, N] -> result [M, N].

    Constraints:
    1. the shapes of input and result are equal; both scales are E8M0;
    2. both blocks run along rows, and one block's length divides the other's;
    3. a static number of columns is a multiple of the result's block.

    Example:

    ```mlir
    %u = mx.requantize %t : !mx.scaled<?x256, #mx.format<f8E4M3FN, 1x128, f8E8M0FNU, ceil>>
                         -> !mx.scaled<?x256, #mx.format<f4E2M1FN, 1x32, f8E8M0FNU, floor>>
    ```
  }];
  let arguments = (ins Mx_ScaledType:$input);
  let results = (outs Mx_ScaledType:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
  let hasFolder = 1;
}

#endif
