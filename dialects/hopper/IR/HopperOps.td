#ifndef VERNIER_HOPPER_OPS
#define VERNIER_HOPPER_OPS

include "dialects/hopper/IR/HopperDialect.td"
include "dialects/hopper/IR/HopperProductOps.td"
include "mlir/IR/BuiltinAttributes.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Hopper_Tile : VectorOfRankAndType<[2], [AnyType]>;
def Hopper_RowIndex : VectorOfRankAndType<[2], [I32]>;
def Hopper_ColumnIndex : VectorOfRankAndType<[2], [Index]>;
def Hopper_Mask : VectorOfRankAndType<[2], [I1]>;
def Hopper_Codes : VectorOfRankAndType<[2], [F8E4M3FN, F4E2M1FN]>;
def Hopper_Words : VectorOfRankAndType<[2], [I32]>;

def Hopper_TableType : TypeDef<Hopper_Dialect, "Table"> {
  let mnemonic = "table";
  let summary = "results of a function of bf16 numbers, in shared memory";
  let description = [{
    For magnitudes of `kBinades` powers of two from 2^kLeastExponent on, of either sign: an FP32 number each.
  }];
  let extraClassDeclaration = [{
    static constexpr int64_t kLeastExponent = -24, kBinades = 32;
    static constexpr int64_t kMagnitudes = kBinades << 7, kEntries = 2 * kMagnitudes, kBytes = 4 * kEntries;
    /// The bits of the least magnitude.
    static constexpr int64_t kFirst = (kLeastExponent + 127) << 7;
  }];
}

def Hopper_TabulateOp : Hopper_Op<"tabulate", [IsolatedFromAbove, MemoryEffects<[MemWrite]>]> {
  let summary = "a table of a function, made by the threads of a block";
  let description = [{
    The body is the function: of one bf16 number, elementwise. Where `worth` is false, the table is not made, and lookups in it
    compute. The schedule sets `shared`, the offset of the table's bytes. It stands where all threads of a block meet.

    Constraints:
    1. the body takes vector<1x1xbf16> and yields vector<1x1xf32>, by elementwise operations and constants.

    Example:
    ```mlir
    %t = hopper.tabulate if %worth shared 0 {
    ^bb0(%x: vector<1x1xbf16>):
      %f = arith.extf %x : vector<1x1xbf16> to vector<1x1xf32>
      %s = mx.sigmoid %f : vector<1x1xf32>
      hopper.tabulated %s : vector<1x1xf32>
    }
    ```
  }];
  let arguments = (ins I1:$worth, OptionalAttr<I64Attr>:$shared);
  let regions = (region SizedRegion<1>:$body);
  let results = (outs Hopper_TableType:$table);
  let assemblyFormat = "`if` $worth (`shared` $shared^)? $body attr-dict";
  let hasVerifier = 1;
}

def Hopper_TabulatedOp : Hopper_Op<"tabulated", [Terminator, Pure, HasParent<"TabulateOp">]> {
  let summary = "the function's result";
  let description = "Ends the body of `hopper.tabulate`, which has the example.";
  let arguments = (ins Hopper_Tile:$value);
  let assemblyFormat = "$value attr-dict `:` type($value)";
}

def Hopper_LookupOp : Hopper_Op<"lookup", [Pure]> {
  let summary = "the function of a table, elementwise";
  let description = [{
    `result[r, c] = f(input[r, c])`, whether the table has the number or a thread computes it: the bits are the same.

    Example:
    ```mlir
    %s = hopper.lookup %x in %t : vector<64x128xbf16> -> vector<64x128xf32>
    ```
  }];
  let arguments = (ins VectorOfRankAndType<[2], [BF16]>:$input, Hopper_TableType:$table);
  let results = (outs VectorOfRankAndType<[2], [F32]>:$result);
  let assemblyFormat = "$input `in` $table attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
}

def Hopper_RowsOp : Hopper_Op<"rows", [Pure]> {
  let summary = "row numbers of a tile that begins at a row";
  let description = [{
    `result[r, 0] = first + r * step`, with step = tile rows / rows of the result: numbers of a grid's first rows.
    Rows are numbers of 32 bits; byte offsets, which grow with the columns too, are not.

    Example:
    ```mlir
    %r = hopper.rows %first : vector<64x1xi32>
    ```
  }];
  let arguments = (ins Index:$first);
  let results = (outs Hopper_RowIndex:$result);
  let assemblyFormat = "$first attr-dict `:` type($result)";
}

def Hopper_ColumnsOp : Hopper_Op<"columns", [Pure]> {
  let summary = "column numbers of a tile that begins at a column";
  let description = [{
    `result[0, c] = first + c`.

    Example:
    ```mlir
    %c = hopper.columns %first : vector<1x128xindex>
    ```
  }];
  let arguments = (ins Index:$first);
  let results = (outs Hopper_ColumnIndex:$result);
  let assemblyFormat = "$first attr-dict `:` type($result)";
}

def Hopper_LoadOp : Hopper_Op<"load", [AttrSizedOperandSegments, MemoryEffects<[MemRead]>]> {
  let summary = "memory to a tile or a grid";
  let description = [{
    Matrix: `result[r, c] = memref[rows[r], first + c]`. Without `cols`, the memref has one number a row; without `rows`,
    one a column; with neither, one at all. A memref of bytes (i8) is read as the result's codes, two 4-bit codes a byte.

    Columns from `limit` on, counted in the memref's elements (codes for codes), read as zero, and so do rows where
    `present` is false. Other rows are not checked: the caller keeps them inside. `stride` is the number of columns where it
    is not static, `alignment` a power of two that divides every address, in elements of the result.

    Constraints:
    1. the rows of `rows` and the result agree.

    Example:
    ```mlir
    %x = hopper.load %m rows %r cols %c alignment 8 : memref<?x4096xbf16>, vector<64x1xi32> -> vector<64x128xbf16>
    ```
  }];
  let arguments = (ins AnyMemRef:$memref, Optional<Hopper_RowIndex>:$rows, Optional<Hopper_Mask>:$present, Optional<Index>:$cols,
                   Optional<Index>:$limit, Optional<Index>:$stride, DefaultValuedAttr<I64Attr, "1">:$alignment);
  let results = (outs Hopper_Tile:$result);
  let assemblyFormat = [{
    $memref (`rows` $rows^)? (`present` $present^)? (`cols` $cols^)? (`limit` $limit^)? (`stride` $stride^)?
    (`alignment` $alignment^)? attr-dict `:` type($memref) (`,` type($rows)^)? (`,` type($present)^)? `->` type($result)
  }];
  let hasVerifier = 1;
}

def Hopper_StoreOp : Hopper_Op<"store", [AttrSizedOperandSegments, MemoryEffects<[MemWrite]>]> {
  let summary = "a tile or a grid to memory";
  let description = [{
    The reverse of `hopper.load`. Rows where `valid` is false are left out, and so are columns from `limit` on. A number of
    a grid is stored once, by the first of the threads that hold it.

    Example:
    ```mlir
    hopper.store %v to %m rows %r valid %ok cols %c alignment 8
      : vector<64x128xbf16>, memref<?x4096xbf16>, vector<64x1xi32>, vector<64x1xi1>
    ```
  }];
  let arguments = (ins Hopper_Tile:$value, AnyMemRef:$memref, Optional<Hopper_RowIndex>:$rows, Optional<Hopper_Mask>:$valid,
                   Optional<Index>:$cols, Optional<Index>:$limit, Optional<Index>:$stride,
                   DefaultValuedAttr<I64Attr, "1">:$alignment);
  let assemblyFormat = [{
    $value `to` $memref (`rows` $rows^)? (`valid` $valid^)? (`cols` $cols^)? (`limit` $limit^)? (`stride` $stride^)?
    (`alignment` $alignment^)? attr-dict `:` type($value) `,` type($memref) (`,` type($rows)^)? (`,` type($valid)^)?
  }];
  let hasVerifier = 1;
}

def Hopper_StoreTransposedOp : Hopper_Op<"store_transposed", [AttrSizedOperandSegments, MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "a tile to memory, rows as columns, through shared memory";
  let description = [{
    `memref[first_col + c, first_row + r] = value[r, c]` for r < `rows` and c < `cols`; a missing partner of a packed 4-bit
    code is 0. The tile passes through shared memory, so that both sides move whole words of neighbours.

    `stride` is the number of columns of the memref where it is not static; `alignment` a power of two that divides
    `first_row` and the stride, in elements. The schedule sets `shared` (the offset of the tile's bytes) and `padding`: with n
    words a column and v columns a thread, word w of column c lies at word `c * n + c / v * padding + w`, so that a thread's words
    are at constant distances.
    `alone`: nothing else of the loop uses other shared memory, so that its own readers must be waited for.

    Example:
    ```mlir
    hopper.store_transposed %v to %m at %col, %row rows %rows cols %cols
      : vector<128x128xf8E4M3FN>, memref<4096x?xi8>
    ```
  }];
  let arguments = (ins Hopper_Tile:$value, AnyMemRef:$memref, Index:$first_col, Index:$first_row, Optional<Index>:$rows,
                   Optional<Index>:$cols, Optional<Index>:$stride, DefaultValuedAttr<I64Attr, "1">:$alignment,
                   OptionalAttr<I64Attr>:$shared, OptionalAttr<I64Attr>:$padding, UnitAttr:$alone);
  let assemblyFormat = [{
    $value `to` $memref `at` $first_col `,` $first_row (`rows` $rows^)? (`cols` $cols^)? (`stride` $stride^)?
    (`alignment` $alignment^)? (`shared` $shared^)? (`padding` $padding^)?
    (`alone` $alone^)? attr-dict `:` type($value) `,` type($memref)
  }];
  let hasVerifier = 1;
}

def Hopper_StoreGatheredOp : Hopper_Op<"store_gathered", [AttrSizedOperandSegments, MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "bytes of a grid to memory, rows as columns, when neighbours are there";
  let description = [{
    `memref[first_col + c, first_row + r] = value[r, c]` for r < `rows` and c < `cols`, as `hopper.store_transposed`, but with the
    tiles above: they wait in shared memory until `last`, when rows `from` to `first_row + rows` of the result's rows are stored
    side by side. Single bytes of many rows, which each take as long as a whole sector, become runs.

    The tiles of a run follow one another in a loop, with the same columns; the first row of each is a multiple of its rows, which
    are a power of two, and `last` is true for the one that ends at a multiple of `kWindow` rows and for the one after which no
    other follows. `from` is the first row of the run, or the last multiple of `kWindow`. The schedule sets `shared`, the offset of
    the bytes that wait.

    Constraints:
    1. the grid has bytes, a power of two of rows, at most `kWindow`.

    Example:
    ```mlir
    hopper.store_gathered %s to %m at %col, %row from %from rows %rows if %last
      : vector<2x128xi8>, memref<4096x256xi8>
    ```
  }];
  let arguments = (ins VectorOfRankAndType<[2], [I8]>:$value, AnyMemRef:$memref, Index:$first_col, Index:$first_row, Index:$from,
                   Optional<Index>:$rows, Optional<Index>:$cols, Optional<Index>:$stride, I1:$last,
                   OptionalAttr<I64Attr>:$shared);
  let assemblyFormat = [{
    $value `to` $memref `at` $first_col `,` $first_row `from` $from (`rows` $rows^)? (`cols` $cols^)? (`stride` $stride^)?
    `if` $last (`shared` $shared^)? attr-dict `:` type($value) `,` type($memref)
  }];
  let extraClassDeclaration = [{
    static constexpr int64_t kWindow = 32; ///< bytes of a sector.
    /// Bytes that wait for a tile of so many columns, and those of a row of them: a word more, so that a column's bytes are in
    /// banks of their own.
    static int64_t rowBytes(int64_t cols) { return (cols + 3) / 4 * 4 + 4; }
    static int64_t sharedBytes(int64_t cols) { return kWindow * rowBytes(cols); }
  }];
  let hasVerifier = 1;
}

def Hopper_ReduceOp : Hopper_Op<"reduce", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "combines the numbers of every block into one";
  let description = [{
    Input of GR x GC numbers, result of (GR / h) x (GC / w). `sum`, `max` and `min` are FP32, in an order that the layout fixes;
    `max` and `min` give NaN where there is one. `umax` is of unsigned i32. `amax` is of magnitudes, and gives their FP32 bits as i32:
    the integers' order is the numbers', infinities and NaNs come last.

    Where the block belongs to several warps, the schedule sets `shared`, the offset of the bytes that they meet in, and `alone` as
    for `hopper.store_transposed`.

    Constraints:
    1. the shape of the input is a multiple of the shape of the result;
    2. `amax` takes floats or codes and gives i32; the others keep the type.

    Example:
    ```mlir
    %a = hopper.reduce amax %x : vector<64x128xbf16> -> vector<64x1xi32>
    ```
  }];
  let arguments = (ins Hopper_ReduceKind:$kind, Hopper_Tile:$input, OptionalAttr<I64Attr>:$shared, UnitAttr:$alone);
  let results = (outs Hopper_Tile:$result);
  let assemblyFormat = "$kind $input (`shared` $shared^)? (`alone` $alone^)? attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
}

def Hopper_ExpandOp : Hopper_Op<"expand", [Pure]> {
  let summary = "repeats every number of a grid over its block";
  let description = [{
    `result[i, j] = input[i / h, j / w]`.

    Constraints:
    1. element types agree, and the shape of the result is a multiple of the shape of the input.

    Example:
    ```mlir
    %s = hopper.expand %scales : vector<64x4xf32> -> vector<64x128xf32>
    ```
  }];
  let arguments = (ins Hopper_Tile:$input);
  let results = (outs Hopper_Tile:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
}

def Hopper_KeepOp : Hopper_Op<"keep", [Pure, AllTypesMatch<["input", "result"]>]> {
  let summary = "zeros where a mask says so";
  let description = [{
    `result[i, j] = keep[i / h, j / w] ? input[i, j] : 0`, for codes too.

    Example:
    ```mlir
    %y = hopper.keep %x if %valid : vector<64x128xf8E4M3FN>, vector<64x1xi1>
    ```
  }];
  let arguments = (ins Hopper_Tile:$input, Hopper_Mask:$keep);
  let results = (outs Hopper_Tile:$result);
  let assemblyFormat = "$input `if` $keep attr-dict `:` type($input) `,` type($keep)";
}

def Hopper_DecodeOp : Hopper_Op<"decode", [Pure]> {
  let summary = "codes to FP32, exactly";
  let description = [{
    NaN codes give NaN.

    Example:
    ```mlir
    %v = hopper.decode %codes : vector<64x128xf4E2M1FN> -> vector<64x128xf32>
    ```
  }];
  let arguments = (ins Hopper_Codes:$codes);
  let results = (outs Hopper_Tile:$result);
  let assemblyFormat = "$codes attr-dict `:` type($codes) `->` type($result)";
}

def Hopper_EncodeOp : Hopper_Op<"encode", [AttrSizedOperandSegments, Pure]> {
  let summary = "numbers to codes";
  let description = [{
    `result = round(input * scale)`, nearest-even, saturating; without `scale`, of the input. With `noise`, 32 uniform
    random bits an element, the rounding is stochastic. Where `poison` is true the code is NaN, or 0 where the element has
    none; elsewhere the input is no NaN.

    Constraints:
    1. `scale` holds powers of two.

    Example:
    ```mlir
    %q = hopper.encode %x scale %s : vector<64x1xf32> poison %p : vector<64x1xi1>
      : vector<64x128xbf16> -> vector<64x128xf8E4M3FN>
    ```
  }];
  let arguments = (ins Hopper_Tile:$input, Optional<Hopper_Tile>:$scale, Optional<Hopper_Mask>:$poison, Optional<Hopper_Words>:$noise);
  let results = (outs Hopper_Codes:$result);
  let assemblyFormat = [{
    $input (`scale` $scale^ `:` type($scale))? (`poison` $poison^ `:` type($poison))? (`noise` $noise^ `:` type($noise))?
    attr-dict `:` type($input) `->` type($result)
  }];
  let hasVerifier = 1;
}

def Hopper_RecodeOp : Hopper_Op<"recode", [Pure]> {
  let summary = "codes to codes of another element or exponent";
  let description = [{
    `result = round(codes * 2^shift)`, nearest-even, saturating, into the subnormals; NaN codes stay NaN. Where `poison` is
    true the code is NaN, or 0 where the element has none. `falls` promises that no shift is positive.

    Example:
    ```mlir
    %q = hopper.recode %c shift %s poison %p
      : vector<64x128xf4E2M1FN>, vector<64x4xi32>, vector<64x1xi1> -> vector<64x128xf8E4M3FN>
    ```
  }];
  let arguments = (ins Hopper_Codes:$codes, Hopper_Words:$shift, Hopper_Mask:$poison, UnitAttr:$falls);
  let results = (outs Hopper_Codes:$result);
  let assemblyFormat = [{
    $codes `shift` $shift (`falls` $falls^)? `poison` $poison attr-dict `:` type($codes) `,` type($shift) `,` type($poison)
    `->` type($result)
  }];
  let hasVerifier = 1;
}

#endif
