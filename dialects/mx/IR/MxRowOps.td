// Elementwise functions, and what lies between a matrix and its vectors: broadcasts and reductions.
#ifndef VERNIER_MX_ROW_OPS
#define VERNIER_MX_ROW_OPS

include "dialects/mx/IR/MxTypes.td"
include "dialects/mx/IR/MxInterfaces.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Mx_SigmoidOp : Mx_Op<"sigmoid", [Pure, SameOperandsAndResultType] # ElementwiseMappable.traits> {
  let summary = "1 / (1 + exp(-x)), elementwise";
  let description = [{
    In FP32, within 2 ulp; NaN stays NaN. An operation of its own, since targets have cheaper ways to it than by its parts.
    It also applies to scalars and vectors, in lowered code.

    Example:

    ```mlir
    %s = mx.sigmoid %x : tensor<?x64xf32>
    ```
  }];
  let arguments = (ins AnyTypeOf<[F32, VectorOfAnyRankOf<[F32]>, RankedTensorOf<[F32]>]>:$input);
  let results = (outs AnyTypeOf<[F32, VectorOfAnyRankOf<[F32]>, RankedTensorOf<[F32]>]>:$result);
  let assemblyFormat = "$input attr-dict `:` type($input)";
}

def Mx_BroadcastOp : Mx_Op<"broadcast", [Pure, DeclareOpInterfaceMethods<Mx_DimsInterface>]> {
  let summary = "repeats a scalar, one value a row, or one value a column";
  let description = [{
    Dimension i of the input becomes dimension `dims[i]` of the result; the input repeats along the others. `dims` is
    `[]` for a scalar, `[0]` for one value a row, `[1]` for one value a column. The run-time sizes of the result are
    those of `like`, of which nothing else is read.

    Shapes: input [], [M] or [N], like [M, N] -> result [M, N]; input [], like [M] -> result [M]; or, for an outer
    product, input [M], like [N] (dims [0]) or input [N], like [M] (dims [1]) -> result [M, N].

    Constraints:
    1. the rank of the result is that of `like`, unless input and `like` are vectors; static sizes agree;
    2. `dims` names one dimension of the result for each of the input.

    Example:

    ```mlir
    %b = mx.broadcast %w dims [0] like %x : tensor<?xf32>, tensor<?x64xbf16> -> tensor<?x64xf32>
    ```
  }];
  let arguments = (ins Mx_Plain:$input, Mx_Value:$like, DenseI64ArrayAttr:$dims);
  let results = (outs Mx_Plain:$result);
  let assemblyFormat = "$input `dims` $dims `like` $like attr-dict `:` type($input) `,` type($like) `->` type($result)";
  let hasVerifier = 1;
}

def Mx_ReduceOp : Mx_Op<"reduce", [Pure, DeclareOpInterfaceMethods<Mx_DimsInterface>]> {
  let summary = "sum, maximum or minimum along one axis";
  let description = [{
    `result[r] = kind over c of input[r, c]` for axis 1, `result[c] = kind over r of input[r, c]` for axis 0. A sum of
    no numbers is 0; a maximum or minimum of none is -inf or +inf; a NaN wins both. The order of a sum is fixed within a
    target and free between targets.

    Shapes: input [M, N] -> [M] (axis 1) or [N] (axis 0); input [M] -> [] (axis 0).

    Constraints:
    1. the axis lies inside the input's rank, and the result lacks exactly that dimension.

    Example:

    ```mlir
    %s = mx.reduce sum %x axis 1 : tensor<?x64xf32> -> tensor<?xf32>
    ```
  }];
  let arguments = (ins RankedTensorOf<[F32]>:$input, Mx_ReduceKind:$kind, I64Attr:$axis);
  let results = (outs RankedTensorOf<[F32]>:$result);
  let assemblyFormat = "$kind $input `axis` $axis attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
}

#endif
