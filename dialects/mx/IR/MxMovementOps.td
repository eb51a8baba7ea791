// Rows, columns and blocks change place; values do not.
#ifndef VERNIER_MX_MOVEMENT_OPS
#define VERNIER_MX_MOVEMENT_OPS

include "dialects/mx/IR/MxTypes.td"
include "dialects/mx/IR/MxInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Mx_TransposeOp : Mx_Op<"transpose", [Pure, DeclareOpInterfaceMethods<Mx_DimsInterface>,
    DeclareOpInterfaceMethods<Mx_ReencodingInterface>]> {
  let summary = "rows become columns; blocks along rows are re-blocked along the old rows";
  let description = [{
    A plain tensor, or a scaled one whose block is turned with it (`128x1` to `1x128`, `128x128`): a move of bytes.

    A scaled tensor with blocks along its rows (`1xB`) becomes one with E4M3 elements and blocks of 128 along the *old
    rows*. For each tile of 128 rows and one block of columns: E = max over the rows of F_row - h (h = 6 from E2M1, 0 from
    E4M3; clamped at byte 0), `code'[c, r] = round(code[r, c] * 2^(F_r - E))`, nearest-even, into the subnormals where it
    must. A NaN code stays NaN; a row scale of NaN poisons its columns' block. Lossless as in `mx.requantize`.

    With `offsets` [G + 1], rows offsets[g]:offsets[g+1] are group g, and blocks start anew with every group, so that a
    tail is ragged and an empty group has none. The scales have floor(M / 128) + G columns; the blocks of group g start
    at column floor(offsets[g] / 128) + g, the others are 0.

    With `offsets` and `blocks`, every block of 128 rows becomes a matrix of its own, a plain tensor's too: block b of the
    groups, at the position that its scales have above, is result[b], and zeros fill up a tail. Matrices that belong to no
    block are unspecified. This is how `mx.block_wgrad` reads a tensor.

    Shapes: input [M, N] -> result [N, M]; with `blocks` [floor(M / 128) + G, N, 128].

    Constraints:
    1. the input has rank 2, and the result's shape is the input's reversed, or one matrix a block;
    2. from `1xB` the result is E4M3 with `1x128` blocks, with `blocks` `Bx128`; from any other block the format is the
       input's, turned;
    3. `offsets` needs a `1xB` input, and the result's type then says `grouped`;
    4. `blocks` needs a static number of offsets, and an input that is plain or has blocks of `1xB`.

    Example:

    ```mlir
    %c = mx.transpose %t : !mx.scaled<?x64, #mx.format<f4E2M1FN, 1x32, f8E8M0FNU, floor>>
                        -> !mx.scaled<64x?, #mx.format<f8E4M3FN, 1x128, f8E8M0FNU, ceil>>
    ```
  }];
  let arguments = (ins Mx_Value:$input, Optional<Mx_Index>:$offsets, UnitAttr:$blocks);
  let results = (outs Mx_Value:$result);
  let assemblyFormat = [{
    $input (`offsets` $offsets^ `:` type($offsets))? (`blocks` $blocks^)? attr-dict `:` type($input) `->` type($result)
  }];
  let hasVerifier = 1;
  let hasFolder = 1;
  let extraClassDeclaration = [{
    /// Rows that are re-blocked together, and make one matrix with `blocks`.
    static constexpr int64_t kBlock = 128;
    /// The operand is scaled and its blocks are re-blocked, rather than turned.
    bool reblocks();
  }];
}

def Mx_PermuteOp : Mx_Op<"permute", [Pure, DeclareOpInterfaceMethods<Mx_DimsInterface>]> {
  let summary = "gathers rows by an index";
  let description = [{
    `result[i] = input[index[i]]`, bytes and scales together. An index of -1, and every row that `pad_to` adds past the
    end of the index, gives a row of zeros (scale byte 0).

    Shapes: input [M, N], index [P] -> result [ceil(P / pad_to) * pad_to, N].

    Constraints:
    1. the columns, element type and format of input and result are equal;
    2. a scaled input has blocks along rows;
    3. `pad_to` is at least 1.

    Example:

    ```mlir
    %y = mx.permute %x by %index pad_to 128 : tensor<?x256xbf16>, tensor<?xi32> -> tensor<?x256xbf16>
    ```
  }];
  let arguments = (ins Mx_Value:$input, Mx_Index:$index, DefaultValuedAttr<I64Attr, "1">:$pad_to);
  let results = (outs Mx_Value:$result);
  let assemblyFormat = [{
    $input `by` $index (`pad_to` $pad_to^)? attr-dict `:` type($input) `,` type($index) `->` type($result)
  }];
  let hasVerifier = 1;
}

def Mx_UnpermuteOp : Mx_Op<"unpermute", [Pure, DeclareOpInterfaceMethods<Mx_DimsInterface>]> {
  let summary = "gathers the copies of a row and adds them, weighted";
  let description = [{
    `result[t] = sum_j weights[t, j] * input[index[t, j]]`, in FP32 and in the order of j; -1 adds nothing. Without
    weights, each copy counts once.

    Shapes: input [P, N], index [T, k], weights [T, k] -> result [T, N].

    Constraints:
    1. the columns of input and result are equal, and so are the shapes of index and weights;
    2. k is static.

    Example:

    ```mlir
    %y = mx.unpermute %x by %index weights %w : tensor<?x256xbf16>, tensor<?x2xi32>, tensor<?x2xf32> -> tensor<?x256xf32>
    ```
  }];
  let arguments = (ins Mx_Real:$input, 2DTensorOf<[I32]>:$index, Optional<2DTensorOf<[F32]>>:$weights);
  let results = (outs 2DTensorOf<[F32]>:$result);
  let assemblyFormat = [{
    $input `by` $index (`weights` $weights^)? attr-dict `:` type($input) `,` type($index) (`,` type($weights)^)? `->` type($result)
  }];
  let hasVerifier = 1;
}

def Mx_SliceOp : Mx_Op<"slice", [Pure, DeclareOpInterfaceMethods<Mx_DimsInterface>]> {
  let summary = "a range of columns";
  let description = [{
    `result[r, c] = input[r, offset + c]`.

    Shapes: input [M, N] -> result [M, width], 0 <= offset, offset + width <= N.

    Constraints:
    1. the range lies inside the input;
    2. a scaled input has blocks along rows, and offset and width are multiples of the block.

    Example:

    ```mlir
    %up = mx.slice %x at 128 : tensor<?x256xbf16> -> tensor<?x128xbf16>
    ```
  }];
  let arguments = (ins Mx_Value:$input, I64Attr:$offset);
  let results = (outs Mx_Value:$result);
  let assemblyFormat = "$input `at` $offset attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
  let hasFolder = 1;
}

def Mx_ConcatOp : Mx_Op<"concat", [Pure, DeclareOpInterfaceMethods<Mx_DimsInterface>]> {
  let summary = "columns side by side";
  let description = [{
    Shapes: inputs [M, N_i] -> result [M, sum N_i].

    Constraints:
    1. at least one input, equal rows and element types, and the widths add up.

    Example:

    ```mlir
    %g = mx.concat %a, %b : tensor<?x128xf32>, tensor<?x128xf32> -> tensor<?x256xf32>
    ```
  }];
  let arguments = (ins Variadic<Mx_Plain>:$inputs);
  let results = (outs Mx_Plain:$result);
  let assemblyFormat = "$inputs attr-dict `:` type($inputs) `->` type($result)";
  let extraClassDeclaration = [{
    /// The input that a column of the result lies in, and the column there.
    std::pair<::mlir::Value, int64_t> pieceAt(int64_t column);
  }];
  let hasVerifier = 1;
}

#endif
