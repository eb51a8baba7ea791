#ifndef VERNIER_MX_PASSES
#define VERNIER_MX_PASSES

include "mlir/Pass/PassBase.td"

def FoldExact : Pass<"mx-fold-exact", "::mlir::func::FuncOp"> {
  let summary = "fold what keeps every bit";
  let description = [{
    Applies the folds of the mx operations (see `IR/MxFolds.cpp`) until none applies: pairs that undo one another, chains of
    re-encodings that compose, slices of slices. The folds of upstream operations are left alone: some of them make
    constants of the result's type, and a tensor with run-time sizes can have none.

    ```mlir
    %0 = mx.transpose %x : tensor<?x64xf32> -> tensor<64x?xf32>
    %1 = mx.transpose %0 : tensor<64x?xf32> -> tensor<?x64xf32>
    %2 = arith.negf %1 : tensor<?x64xf32>
    ```
    becomes
    ```mlir
    %2 = arith.negf %x : tensor<?x64xf32>
    ```
  }];
}

def SinkTransposes : Pass<"mx-sink-transposes", "::mlir::func::FuncOp"> {
  let summary = "move transposes behind what is computed on their results";
  let description = [{
    A kernel walks rows. A value that is transposed first and then quantised would need a second walk down the columns;
    quantised in blocks down the columns first and transposed last, it leaves the same walk as the rows do, and the
    transpose is a move of bytes. The bits are the same either way.

    ```mlir
    %t = mx.transpose %x : tensor<?x256xf32> -> tensor<256x?xf32>
    %q = mx.quantize %t : tensor<256x?xf32> -> !mx.scaled<256x?, #fp8>
    ```
    becomes
    ```mlir
    %p = mx.quantize %x : tensor<?x256xf32> -> !mx.scaled<?x256, #fp8_column>
    %q = mx.transpose %p : !mx.scaled<?x256, #fp8_column> -> !mx.scaled<256x?, #fp8>
    ```
    Elementwise operations are passed likewise, when every matrix operand is a transpose.
  }];
}

def ExpandProducts : Pass<"mx-expand-products", "::mlir::func::FuncOp"> {
  let summary = "give products operands that a target can multiply";
  let description = [{
    A product counts an operand in a 4-bit format as its re-encoding to E4M3 in blocks of 128. A target that has no way
    to read 4-bit codes inside a product makes the re-encoding an operation:

    ```mlir
    %d = mx.matmul %a, %b : !mx.scaled<?x256, #mxfp4>, !mx.scaled<512x256, #fp8_block> -> tensor<?x512xbf16>
    ```
    becomes
    ```mlir
    %e = mx.requantize %a : !mx.scaled<?x256, #mxfp4> -> !mx.scaled<?x256, #fp8>
    %d = mx.matmul %e, %b : !mx.scaled<?x256, #fp8>, !mx.scaled<512x256, #fp8_block> -> tensor<?x512xbf16>
    ```
    `mx.grouped_wgrad` re-blocks along rows and reads 4-bit codes itself, so it is left alone; unless the target multiplies
    along columns only (`turn-rows`):

    ```mlir
    %g = mx.grouped_wgrad %dy, %x offsets %o
      : !mx.scaled<?x512, #fp8>, !mx.scaled<?x256, #mxfp4>, tensor<9xi32> -> tensor<8x512x256xf32>
    ```
    becomes
    ```mlir
    %0 = mx.transpose %dy offsets %o : tensor<9xi32> blocks : !mx.scaled<?x512, #fp8> -> !mx.scaled<?x512x128, #fp8_block>
    %1 = mx.transpose %x offsets %o : tensor<9xi32> blocks : !mx.scaled<?x256, #mxfp4> -> !mx.scaled<?x256x128, #fp8_32x128>
    %g = mx.block_wgrad %0, %1 offsets %o
      : !mx.scaled<?x512x128, #fp8_block>, !mx.scaled<?x256x128, #fp8_32x128>, tensor<9xi32> -> tensor<8x512x256xf32>
    ```
    Both transposes walk the same rows, so that they become one kernel, together with what makes their operands.
  }];
  let options = [
    Option<"turnRows", "turn-rows", "bool", "false", "turn operands whose rows are contracted, block by block">
  ];
}

def FuseKernels : Pass<"mx-fuse-kernels", "::mlir::func::FuncOp"> {
  let summary = "form kernels";
  let description = [{
    Puts every operation into an `mx.kernel`. Each starts alone; then the two kernels whose union saves most time by the
    cost model are joined, until no union is both possible and cheaper. What is possible is decided by the kernel plan
    alone (one row space, one direction, one place where blocks start), never by the names of operations. A value that
    is cheaper to compute twice than to write and read is computed twice.

    With `around-products`, operations on the result of a matrix product join it where a tile of the result is enough for them
    (elementwise, with vectors along rows or columns and other matrices beside it; blocks along a row), and where the cost
    model finds that holding the product up for them costs less than writing its result and reading it again. So do
    operations that make its left operand, where rows and a block of columns are enough for them (conversions, gathers,
    elementwise): they are computed anew for every tile of the result's columns, which pays where these are few.

    For every pair of kernels that stay apart though one feeds the other or both read the same value, the reason is kept
    on the later one.

    ```mlir
    %y = arith.extf %x : tensor<?x64xbf16> to tensor<?x64xf32>
    %q = mx.quantize %y : tensor<?x64xf32> -> !mx.scaled<?x64, #mxfp8>
    ```
    becomes
    ```mlir
    %q = mx.kernel @f(%a = %x : tensor<?x64xbf16>) -> !mx.scaled<?x64, #mxfp8> {
      %y = arith.extf %a : tensor<?x64xbf16> to tensor<?x64xf32>
      %t = mx.quantize %y : tensor<?x64xf32> -> !mx.scaled<?x64, #mxfp8>
      mx.yield %t : !mx.scaled<?x64, #mxfp8>
    }
    ```
  }];
  let options = [
    Option<"maxKernels", "max-kernels", "int64_t", "0", "form no more kernels than this, if need be slower ones, or refuse (0: any number)">,
    Option<"aroundProducts", "around-products", "bool", "false",
           "the target's products can hold operations that make their left operands, and operations on their results">,
    Option<"fuse", "fuse", "bool", "true", "kernels may have several operations; else each has one, for comparison">
  ];
}

#endif
