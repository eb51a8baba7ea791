// Matrix products of scaled or plain operands.
#ifndef VERNIER_MX_PRODUCT_OPS
#define VERNIER_MX_PRODUCT_OPS

include "dialects/mx/IR/MxTypes.td"
include "dialects/mx/IR/MxInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

class Mx_ProductOp<string mnemonic> : Mx_Op<mnemonic, [Pure, DeclareOpInterfaceMethods<Mx_DimsInterface>,
    DeclareOpInterfaceMethods<Mx_ProductInterface>]>;

def Mx_MatmulOp : Mx_ProductOp<"matmul"> {
  let summary = "D = A * B^T";
  let description = [{
    ```
    D[m, n] = acc[m, n] + sum over k-blocks of sA * sB * (sum over the block of a[m, k] * b[n, k])
    ```

    The inner sum is promoted to FP32 every 128 of K (every block, where blocks are shorter) and scaled there. A plain
    operand has scale 1. An operand in a 4-bit format counts as its re-encoding to E4M3 with 128-wide blocks.

    Shapes: a [M, K], b [N, K], accumulate [M, N] -> [M, N].

    Constraints:
    1. K of both operands is equal;
    2. a scaled operand has blocks along K; both operands are scaled, or both are plain;
    3. `accumulate` is f32 and so is the result then.

    Example:

    ```mlir
    %d = mx.matmul %a, %b : !mx.scaled<?x256, #mx.format<f8E4M3FN, 1x128, f8E8M0FNU, ceil>>,
                            !mx.scaled<512x256, #mx.format<f8E4M3FN, 128x128, f8E8M0FNU, ceil>> -> tensor<?x512xbf16>
    ```
  }];
  let arguments = (ins Mx_Value:$a, Mx_Value:$b, Optional<2DTensorOf<[F32]>>:$accumulate);
  let results = (outs Mx_Real:$result);
  let assemblyFormat = [{
    $a `,` $b (`accumulate` $accumulate^ `:` type($accumulate))? attr-dict `:` type($a) `,` type($b) `->` type($result)
  }];
  let hasVerifier = 1;
}

def Mx_GroupedMatmulOp : Mx_ProductOp<"grouped_matmul"> {
  let summary = "each group of rows times its own matrix";
  let description = [{
    `D[m] = A[m] * B[e]^T` for offsets[e] <= m < offsets[e+1], as in `mx.matmul`. Rows outside every group are 0. Groups
    may be empty and need no padding.

    `spans`: group e has the rows offsets[2e] <= m < offsets[2e+1]: rows between groups belong to none.

    Shapes: a [M, K], b [E, N, K], offsets [E + 1], or [2 E] with `spans` -> [M, N].

    Constraints:
    1. K of both operands is equal, and b has rank 3;
    2. a scaled operand has blocks along K; both operands are scaled, or both are plain.

    Example:

    ```mlir
    %d = mx.grouped_matmul %a, %b offsets %o : tensor<?x64xbf16>, tensor<8x32x64xbf16>, tensor<?xi32> -> tensor<?x32xbf16>
    ```
  }];
  let arguments = (ins Mx_Value:$a, Mx_Value:$b, Mx_Index:$offsets, UnitAttr:$spans);
  let results = (outs Mx_Real:$result);
  let assemblyFormat = [{
    $a `,` $b `offsets` $offsets (`spans` $spans^)? attr-dict `:` type($a) `,` type($b) `,` type($offsets) `->` type($result)
  }];
  let hasVerifier = 1;
}

def Mx_GroupedWgradOp : Mx_ProductOp<"grouped_wgrad"> {
  let summary = "the weight gradient of each group of rows";
  let description = [{
    `G[e] = acc[e] + dY[rows of e]^T * X[rows of e]`, rows of e being offsets[e]:offsets[e+1]. Both operands are given by
    rows; a scaled one counts as its scaling-aware transpose with the same offsets (see `mx.transpose`), so that the
    bits are those of transposing first. Promotion to FP32 every 128 rows of a group.
    A target that multiplies along columns only has `mx-expand-products` turn both operands first (`mx.block_wgrad`).

    Shapes: dy [M, N], x [M, K], offsets [E + 1], accumulate [E, N, K] -> [E, N, K].

    Constraints:
    1. dy and x have equal rows, and the result their columns;
    2. a scaled operand has blocks along its rows; both operands are scaled, or both are plain.

    Example:

    ```mlir
    %g = mx.grouped_wgrad %dy, %x offsets %o : tensor<?x32xbf16>, tensor<?x64xbf16>, tensor<9xi32> -> tensor<8x32x64xf32>
    ```
  }];
  let arguments = (ins Mx_Value:$dy, Mx_Value:$x, Mx_Index:$offsets, Optional<3DTensorOf<[F32]>>:$accumulate);
  let results = (outs 3DTensorOf<[F32]>:$result);
  let assemblyFormat = [{
    $dy `,` $x `offsets` $offsets (`accumulate` $accumulate^ `:` type($accumulate))? attr-dict
    `:` type($dy) `,` type($x) `,` type($offsets) `->` type($result)
  }];
  let hasVerifier = 1;
}

def Mx_BlockWgradOp : Mx_ProductOp<"block_wgrad"> {
  let summary = "the weight gradient of each group of rows, from operands turned block by block";
  let description = [{
    `mx.grouped_wgrad` of operands that `mx.transpose ... offsets ... blocks` made with the same offsets:
    `G[e] = acc[e] + sum over the blocks b of group e of dY[b] * X[b]^T`. The blocks of group e are the
    ceil((offsets[e+1] - offsets[e]) / 128) ones from floor(offsets[e] / 128) + e on.

    Shapes: dy [B, N, 128], x [B, K, 128], offsets [E + 1], accumulate [E, N, K] -> [E, N, K].

    Constraints:
    1. dy and x are made of equally many rows (`rows`, where that is static), and the result has the rows of their matrices as
       rows and columns;
    2. both operands are scaled, in blocks of 128 along their columns, or both are plain.

    Example:

    ```mlir
    %g = mx.block_wgrad %dy, %x offsets %o
      : tensor<?x32x128xbf16>, tensor<?x64x128xbf16>, tensor<9xi32> -> tensor<8x32x64xf32>
    ```
  }];
  let arguments = (ins Mx_Value:$dy, Mx_Value:$x, Mx_Index:$offsets, Optional<3DTensorOf<[F32]>>:$accumulate,
                   OptionalAttr<I64Attr>:$rows);
  let results = (outs 3DTensorOf<[F32]>:$result);
  let assemblyFormat = [{
    $dy `,` $x `offsets` $offsets (`rows` $rows^)? (`accumulate` $accumulate^ `:` type($accumulate))? attr-dict
    `:` type($dy) `,` type($x) `,` type($offsets) `->` type($result)
  }];
  let hasVerifier = 1;
}

#endif
