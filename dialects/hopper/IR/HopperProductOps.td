// Matrix products: operands that pass through shared memory, and the roles of warps around them.
#ifndef VERNIER_HOPPER_PRODUCT_OPS
#define VERNIER_HOPPER_PRODUCT_OPS

include "dialects/hopper/IR/HopperDialect.td"
include "mlir/IR/BuiltinAttributes.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Hopper_StagedType : TypeDef<Hopper_Dialect, "Staged"> {
  let mnemonic = "staged";
  let summary = "a tile of an operand in shared memory";
  let description = [{
    Rows of 128 bytes each, in the order that the tensor core reads: sixteen-byte pieces of row r lie at the exclusive-or of
    their number and r mod 8.

    Example: `!hopper.staged<128 x 128 x f8E4M3FN>`.
  }];
  let parameters = (ins "int64_t":$rows, "int64_t":$cols, "::mlir::Type":$element);
  let assemblyFormat = "`<` $rows `x` $cols `x` $element `>`";
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    static constexpr int64_t kRowBytes = 128;
    int64_t bytes() const { return getRows() * kRowBytes; }
  }];
}

def Hopper_FetchOp : Hopper_Op<"fetch", [MemoryEffects<[MemRead]>]> {
  let summary = "a tile of a matrix to shared memory";
  let description = [{
    `result[r, c] = memref[row + r, col + c]`, zero outside the matrix. Of a memref of rank 3, `row` counts over both leading
    dimensions. A memref of bytes (i8) is read as the result's codes. `rows`: nobody looks at what comes of the others, which
    may be anything: they need not be fetched. `multicast`: all blocks of the cluster fetch the same tile at the same time, so
    that each may read its share of the rows and hand it to the others. `keep`: the L2 cache is to drop it after everything else.

    Example:
    ```mlir
    %a = hopper.fetch %m[%row, %k] : memref<?x4096xi8> -> !hopper.staged<128 x 128 x f8E4M3FN>
    ```
  }];
  let arguments = (ins AnyMemRef:$memref, Index:$row, Index:$col, Optional<Index>:$rows, UnitAttr:$multicast, UnitAttr:$keep);
  let results = (outs Hopper_StagedType:$result);
  let assemblyFormat = [{
    $memref `[` $row `,` $col `]` (`rows` $rows^)? (`multicast` $multicast^)? (`keep` $keep^)? attr-dict `:` type($memref) `->` type($result)
  }];
}

def Hopper_PrefetchOp : Hopper_Op<"prefetch", [MemoryEffects<[MemWrite]>]> {
  let summary = "tells the L2 cache what will be read";
  let description = [{
    The tile that `hopper.fetch` would bring, for loads that follow a long computation. The side that fetches tiles says so
    ahead of them; nothing waits for it.

    Example:
    ```mlir
    hopper.prefetch %m[%row, %col] : memref<?x4096xf32>, !hopper.staged<256 x 32 x f32>
    ```
  }];
  let arguments = (ins AnyMemRef:$memref, Index:$row, Index:$col, TypeAttr:$tile);
  let assemblyFormat = "$memref `[` $row `,` $col `]` attr-dict `:` type($memref) `,` $tile";
  let hasVerifier = 1;
}

def Hopper_GroupTileOp : Hopper_Op<"group_tile", [MemoryEffects<[MemRead]>]> {
  let summary = "the tile with a number, of rows in groups";
  let description = [{
    Group g has the rows from offsets[g] to offsets[g+1], each kept within 0 and `limit`, in tiles of `height` that start anew
    with every group. Tiles are counted through all groups; a group without rows has none. The result is the group of tile
    `number`, the tile's first row and how many rows it has; none for numbers beyond the last tile.

    A thread remembers where its last search ended: numbers that are near one another are found in a few steps.

    Example:
    ```mlir
    %group, %row, %rows = hopper.group_tile %n of %offsets groups %count limit %m height 256 : memref<?xi32>
    ```
  }];
  let arguments = (ins Index:$number, AnyMemRef:$offsets, Index:$groups, Index:$limit, I64Attr:$height);
  let results = (outs Index:$group, Index:$row, Index:$rows);
  let assemblyFormat = "$number `of` $offsets `groups` $groups `limit` $limit `height` $height attr-dict `:` type($offsets)";
  let hasVerifier = 1;
}

def Hopper_PassedType : TypeDef<Hopper_Dialect, "Passed"> {
  let mnemonic = "passed";
  let summary = "a tile in shared memory, on its way from the threads that compute it to those that finish it";
  let description = [{
    The rows of a warpgroup lie together, in as many `hopper.staged` tiles of 64 rows as the columns fill.

    Example: `!hopper.passed<128 x 128 x bf16>`.
  }];
  let parameters = (ins "int64_t":$rows, "int64_t":$cols, "::mlir::Type":$element);
  let assemblyFormat = "`<` $rows `x` $cols `x` $element `>`";
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    /// What one of the copy engine's transfers takes.
    StagedType part() const;
    /// Tiles that fill no row of 128 bytes have rows of so many nevertheless.
    int64_t bytes() const;
  }];
}

def Hopper_FinishOp : Hopper_Op<"finish", [NoTerminator, AttrSizedOperandSegments,
    MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "what is made of tiles by threads that have another layout";
  let description = [{
    The region runs once for every `together` of the tiles, in order, with its number and the tiles; once, where there are none.
    In it, tiles have the given layout. `hopper-specialize-warps` gives it to warps of its own, which work while the others
    compute the next tiles; `buffers` times `together` tiles may be on their way.

    `pieces`: tiles are passed so many columns at a time: the region runs for every piece, from left to right, before it does
    for the next tile. Its number counts pieces.

    `onto`: tile n, of R rows, is added to that of the memref at [row + n * R, col] where that has all its rows among the first
    `rows` (from `row` on), before the region gets it. The copy engine brings it while the tile is still computed.

    Example:
    ```mlir
    hopper.finish (%a, %b : vector<128x128xbf16>, vector<128x128xbf16>) together 1 buffers 2
        layout <8 x 128, threads = 8 x 16, vector = 8, rowGroup = 1> {
    ^bb0(%number: index, %tile: !hopper.passed<128 x 128 x bf16>):
      %v = hopper.read_passed %tile[%row] : !hopper.passed<128 x 128 x bf16> -> vector<8x128xbf16>
      ...
    }
    ```
  }];
  let arguments = (ins Variadic<AnyVectorOfNonZeroRank>:$tiles, Optional<AnyMemRef>:$addend, Optional<Index>:$row,
                   Optional<Index>:$col, Optional<Index>:$rows, I64Attr:$together,
                   DefaultValuedAttr<ConfinedAttr<I64Attr, [IntPositive]>, "1">:$pieces, I64Attr:$buffers,
                   Hopper_LayoutAttr:$layout);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    (`(` $tiles^ `:` type($tiles) `)`)? (`onto` $addend^ `[` $row `,` $col `]` `rows` $rows `:` type($addend))? `together`
    $together (`pieces` $pieces^)? `buffers` $buffers `layout` $layout attr-dict-with-keyword $body
  }];
  let extraClassDeclaration = [{
    /// Of the tiles, or pieces of them, that one run of the region takes.
    int64_t passedBytes();
    /// How often the region runs for tiles.
    int64_t runs() { return int64_t(getTiles().size()) / int64_t(getTogether()) * int64_t(getPieces()); }
  }];
  let hasVerifier = 1;
}

def Hopper_ReadPassedOp : Hopper_Op<"read_passed", [MemoryEffects<[MemRead]>]> {
  let summary = "some rows of a tile that was passed";
  let description = [{
    `result[r, c] = tile[row + r, c]`; `row` is a multiple of the result's rows.

    Example:
    ```mlir
    %v = hopper.read_passed %tile[%row] : !hopper.passed<128 x 128 x bf16> -> vector<8x128xbf16>
    ```
  }];
  let arguments = (ins Hopper_PassedType:$tile, Index:$row);
  let results = (outs AnyVectorOfNonZeroRank:$result);
  let assemblyFormat = "$tile `[` $row `]` attr-dict `:` type($tile) `->` type($result)";
  let hasVerifier = 1;
}

def Hopper_CopyPassedOp : Hopper_Op<"copy_passed", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "a tile that was passed to memory, by the copy engine";
  let description = [{
    `memref[row + r, col + c] = tile[r, c]`, nothing where that lies outside the matrix. Of a memref of rank 3, `row` counts over
    both leading dimensions.

    Example:
    ```mlir
    hopper.copy_passed %tile to %m[%row, %col] : !hopper.passed<128 x 128 x bf16>, memref<?x4096xbf16>
    ```
  }];
  let arguments = (ins Hopper_PassedType:$tile, AnyMemRef:$memref, Index:$row, Index:$col);
  let assemblyFormat = "$tile `to` $memref `[` $row `,` $col `]` attr-dict `:` type($tile) `,` type($memref)";
  let hasVerifier = 1;
}

def Hopper_ScalesType : TypeDef<Hopper_Dialect, "Scales"> {
  let mnemonic = "scales";
  let summary = "scales in shared memory, as FP32";
  let description = "Example: `!hopper.scales<128>`.";
  let parameters = (ins "int64_t":$count);
  let assemblyFormat = "`<` $count `>`";
  let extraClassDeclaration = "int64_t bytes() const { return getCount() * 4; }";
}

def Hopper_MakeOp : Hopper_Op<"make", [SingleBlock, MemoryEffects<[MemRead]>]> {
  let summary = "a tile of an operand that threads make, a few rows at a time";
  let description = [{
    What `hopper.fetch` would bring if it lay in memory: the region, in which tiles have the given layout, gives the rows from its
    argument on, as many as the layout has, and runs for every such part of the result's rows. It may give FP32 scales too, of every
    row one for each block of its columns: `scales[j * rows + r]` is that of row r and block j.
    `hopper-specialize-warps` gives it to the warps that fetch.

    Constraints:
    1. the layout has 128 threads and the result's columns, and its rows divide those of the result;
    2. what `hopper.made` gives has the layout's rows.

    Example:
    ```mlir
    %a, %s = hopper.make layout <32 x 128, threads = 32 x 4, vector = 32, rowGroup = 1> {
    ^bb0(%skipped: index):
      ...
      hopper.made %codes, %scales : vector<32x128xf8E4M3FN>, vector<32x1xf32>
    } : !hopper.staged<256 x 128 x f8E4M3FN>, !hopper.scales<256>
    ```
  }];
  let arguments = (ins Hopper_LayoutAttr:$layout);
  let results = (outs Hopper_StagedType:$tile, Variadic<Hopper_ScalesType>:$scales);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "`layout` $layout $body attr-dict `:` type($tile) (`,` type($scales)^)?";
  let hasVerifier = 1;
}

def Hopper_MadeOp : Hopper_Op<"made", [Terminator, Pure, HasParent<"MakeOp">]> {
  let summary = "rows of a tile that was made, and their scales";
  let arguments = (ins AnyVectorOfNonZeroRank:$tile, Variadic<VectorOfRankAndType<[2], [F32]>>:$scales);
  let assemblyFormat = "$tile (`,` $scales^)? attr-dict `:` type($tile) (`,` type($scales)^)?";
}

def Hopper_FetchScalesOp : Hopper_Op<"fetch_scales", [AttrSizedOperandSegments, MemoryEffects<[MemRead]>]> {
  let summary = "scales of neighbouring rows to shared memory";
  let description = [{
    `result[j * rows + r] = 2^(memref[(row + r) div height, col + j] - 127)` for j below `blocks`, where byte 255 gives NaN.
    Rows from `limit` on repeat the last one, columns from the memref's end on the last column.

    `times`: each is multiplied by the one scale at [factorRow, factorCol] of another memref, and is at most 2^127: two scales
    near the ends of their range must not make a NaN of a sum that is 0.

    `word`: rows of the memref are made of aligned words of so many columns, and `col` goes through one of them, `blocks` at a
    time, in as many iterations of the loop around as it takes. A word is loaded at once: bytes that lie a row apart cost a
    request each.

    Example:
    ```mlir
    %s = hopper.fetch_scales %m[%row, %block] limit %rows height 1 blocks 1 word 8 times %f[%tile, %block] : memref<?x56xi8>,
        memref<32x56xi8> -> !hopper.scales<256>
    ```
  }];
  let arguments = (ins AnyMemRef:$memref, Index:$row, Index:$col, Index:$limit, I64Attr:$height, I64Attr:$blocks, I64Attr:$word,
                   Optional<AnyMemRef>:$factor, Optional<Index>:$factorRow, Optional<Index>:$factorCol);
  let results = (outs Hopper_ScalesType:$result);
  let assemblyFormat = [{
    $memref `[` $row `,` $col `]` `limit` $limit `height` $height `blocks` $blocks `word` $word
    (`times` $factor^ `[` $factorRow `,` $factorCol `]`)? attr-dict `:` type($memref) (`,` type($factor)^)? `->` type($result)
  }];
  let extraClassDeclaration = [{
    /// Of the loop around, that one word serves. The factor has one column for each of them.
    int64_t iterationsAWord() { return std::max<int64_t>(1, int64_t(getWord() / getBlocks())); }
  }];
  let hasVerifier = 1;
}

def Hopper_ReadScalesOp : Hopper_Op<"read_scales", [MemoryEffects<[MemRead]>]> {
  let summary = "scales from shared memory, one a row of the tile or one a column";
  let description = [{
    `result[i, 0]` or `result[0, i] = scales[first + i]`.

    Example:
    ```mlir
    %v = hopper.read_scales %s from 128 : !hopper.scales<256> -> vector<128x1xf32>
    ```
  }];
  let arguments = (ins Hopper_ScalesType:$scales, DefaultValuedAttr<I64Attr, "0">:$first);
  let results = (outs VectorOfRankAndType<[2], [F32]>:$result);
  let assemblyFormat = "$scales (`from` $first^)? attr-dict `:` type($scales) `->` type($result)";
  let hasVerifier = 1;
}

def Hopper_MultiplyOp : Hopper_Op<"multiply", [MemoryEffects<[MemRead]>,
    OptionalTypesMatchWith<"accumulate has the type of the result", "result", "accumulate", "$_self">]> {
  let summary = "product of a part of one staged tile and of another";
  let description = [{
    `result[r, c] = accumulate[r, c] + sum over k of a[row + r, k] * b[c, k]` for k in [first, first + depth): on the tensor
    cores, whose sums keep about 14 bits of E4M3 products until they are added to `accumulate` (0 where it is left out).

    Constraints:
    1. elements of a and b agree, and so do their columns;
    2. the result has as many columns as b has rows; rows from `row` on lie in a.

    Example:
    ```mlir
    %p = hopper.multiply %a row 64 depth 128, %b
      : !hopper.staged<128 x 128 x f8E4M3FN>, !hopper.staged<128 x 128 x f8E4M3FN> -> vector<64x128xf32>
    ```
  }];
  let arguments = (ins Hopper_StagedType:$a, Hopper_StagedType:$b, Optional<VectorOfRankAndType<[2], [F32]>>:$accumulate,
                   DefaultValuedAttr<I64Attr, "0">:$row, DefaultValuedAttr<I64Attr, "0">:$first, I64Attr:$depth);
  let results = (outs VectorOfRankAndType<[2], [F32]>:$result);
  let assemblyFormat = [{
    $a (`row` $row^)? (`first` $first^)? `depth` $depth `,` $b (`accumulate` $accumulate^)? attr-dict
    `:` type($a) `,` type($b) `->` type($result)
  }];
  let hasVerifier = 1;
}

def Hopper_SumsType : TypeDef<Hopper_Dialect, "Sums"> {
  let mnemonic = "sums";
  let summary = "the sums of a product that the tensor cores are still at";
  let parameters = (ins "int64_t":$rows, "int64_t":$cols);
  let assemblyFormat = "`<` $rows `x` $cols `>`";
}

def Hopper_BeginProductOp : Hopper_Op<"begin_product", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "what hopper.multiply does, begun and not waited for";
  let description = [{
    Products are begun and awaited in one order. What they read must stay until they have been awaited.

    Example:
    ```mlir
    %s = hopper.begin_product %a depth 128, %b
      : !hopper.staged<128 x 128 x f8E4M3FN>, !hopper.staged<64 x 128 x f8E4M3FN> -> !hopper.sums<128 x 64>
    ```
  }];
  let arguments = (ins Hopper_StagedType:$a, Hopper_StagedType:$b, DefaultValuedAttr<I64Attr, "0">:$row,
                   DefaultValuedAttr<I64Attr, "0">:$first, I64Attr:$depth);
  let results = (outs Hopper_SumsType:$result);
  let assemblyFormat = [{
    $a (`row` $row^)? (`first` $first^)? `depth` $depth `,` $b attr-dict `:` type($a) `,` type($b) `->` type($result)
  }];
  let hasVerifier = 1;
}

def Hopper_AwaitProductOp : Hopper_Op<"await_product", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "the result of a product, once it is there";
  let description = "`leaving`: so many that were begun later may still go on.";
  let arguments = (ins Hopper_SumsType:$sums, I64Attr:$leaving);
  let results = (outs VectorOfRankAndType<[2], [F32]>:$result);
  let assemblyFormat = "$sums `leaving` $leaving attr-dict `:` type($sums) `->` type($result)";
  let hasVerifier = 1;
}

def Hopper_RolesOp : Hopper_Op<"roles", [NoTerminator]> {
  let summary = "warps that fetch beside warps that compute";
  let description = [{
    One thread runs `tiles`, the threads of a few warps beside it run `scales`, where that is not empty, the threads of the
    function's layout run `compute`, and a warpgroup with the layout `finishLayout` runs `finish`, where that is not empty.
    Between them lies a ring of `stages` slots of `bytes` of shared memory each, from offset `shared` on, with a pair of
    barriers for every slot: full and empty. All sides go through the slots in turn, and pass as many. A slot is full when
    `tiles` bytes were copied to it and its scales are committed. In a cluster (function attribute `hopper.cluster`), it is
    empty once the computing threads of all blocks have released it.

    From `compute` to `finish`, tiles are passed in units of `passed` bytes, through `buffers` places at the beginning of shared
    memory that take turns, each with barriers of its own. Places are empty at first, and when they are given back. With `fill`,
    one thread more runs ahead of both sides: it fills empty places with what tiles are added to, and then says that they may be
    written to.

    With `make`, threads with the layout `makeLayout`, a whole warpgroup, run `scales`: they make tiles of the slots too, and one of
    them starts the copies. `tiles` is empty then.

    Example:
    ```mlir
    hopper.roles stages 4 bytes 32768 tiles 32768 shared 0 tiles {
      %s = hopper.acquire : index
      hopper.copy %m[%r, %k] to %s at 0 : memref<?x4096xi8>, !hopper.staged<128 x 128 x f8E4M3FN>
    } scales {
    } compute {
      %s = hopper.await : index
      ...
      hopper.release %s
      hopper.hand_over %sum : vector<128x128xbf16>
    } finish {
      %t = hopper.take : !hopper.passed<128 x 128 x bf16>
      ...
      hopper.give_back
    }
    ```
  }];
  let arguments = (ins I64Attr:$stages, I64Attr:$bytes, I64Attr:$tileBytes, DefaultValuedAttr<I64Attr, "0">:$passedBytes,
                   DefaultValuedAttr<I64Attr, "0">:$buffers, OptionalAttr<Hopper_LayoutAttr>:$finishLayout,
                   OptionalAttr<Hopper_LayoutAttr>:$makeLayout, OptionalAttr<I64Attr>:$shared);
  let regions = (region SizedRegion<1>:$tiles, AnyRegion:$scales, SizedRegion<1>:$compute, AnyRegion:$finish,
                 VariadicRegion<SizedRegion<1>>:$fill);
  let assemblyFormat = [{
    `stages` $stages `bytes` $bytes `tiles` $tileBytes (`passed` $passedBytes^ `buffers` $buffers)? (`layout` $finishLayout^)?
    (`make` $makeLayout^)? (`shared` $shared^)? attr-dict `tiles` $tiles `scales` $scales `compute` $compute `finish` $finish (`fill` $fill^)?
  }];
  let extraClassDeclaration = [{
    static constexpr int64_t kBarrierBytes = 8;
    /// Of a place of the tiles that are passed: full, empty and, where places are filled, ready.
    int64_t barriersAPlace() { return fills() ? 3 : 2; }
    /// Of the ring, of its barriers and of those of the tiles that are passed.
    int64_t sharedBytes() {
      return getStages() * (getBytes() + 2 * kBarrierBytes) + getBuffers() * barriersAPlace() * kBarrierBytes;
    }
    bool fills() { return !getFill().empty(); }
    bool hasScales() { return !getScales().empty() && !getScales().front().empty(); }
    bool finishes() { return !getFinish().empty() && !getFinish().front().empty(); }
  }];
}

def Hopper_AcquireOp : Hopper_Op<"acquire", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "the next slot of a side that fetches, once it is empty";
  let description = "`less`: so many bytes of its tiles will not be copied.";
  let arguments = (ins Optional<Index>:$less);
  let results = (outs Index:$slot);
  let assemblyFormat = "(`less` $less^)? attr-dict `:` type($slot)";
}

def Hopper_CopyOp : Hopper_Op<"copy", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "starts the copy of a tile to a slot";
  let description = [{
    As `hopper.fetch`, to byte `offset` of the slot. Of a tile with `rows`, about these alone: `kUnits` equal parts of the tile's
    rows are the unit, and 1, 2, 4, 5, 6 or 8 of them are copied, in one copy or two. On one H200 a row beyond the end of a
    matrix took the copy engine 1.8 ns, and a copy more 35 ns.

    Constraint: a block's share of a tile with `rows` has 64 rows at least.
  }];
  let arguments = (ins AnyMemRef:$memref, Index:$row, Index:$col, Index:$slot, I64Attr:$offset, TypeAttr:$tile,
                   Optional<Index>:$rows, UnitAttr:$multicast, UnitAttr:$keep);
  let assemblyFormat = [{
    $memref `[` $row `,` $col `]` `to` $slot `at` $offset (`rows` $rows^)? (`multicast` $multicast^)? (`keep` $keep^)? attr-dict
    `:` type($memref) `,` $tile
  }];
  let extraClassDeclaration = [{
    static constexpr int64_t kUnits = 8, kLeastRows = 64;
    /// How many units are copied of a tile, or a share of it, with so many rows that are wanted: an index or an integer.
    static ::mlir::Value unitsOf(::mlir::OpBuilder &b, ::mlir::Location loc, ::mlir::Value rows, int64_t tileRows);
    /// What one block copies: its share of a tile that is multicast.
    StagedType copied(::mlir::Operation *function);
    /// So many units of that.
    StagedType part(::mlir::Operation *function, int64_t units);
  }];
}

def Hopper_HeldScalesType : TypeDef<Hopper_Dialect, "HeldScales"> {
  let mnemonic = "held_scales";
  let summary = "scales on their way, in registers of the threads that fetch them: a few columns of some rows";
  let parameters = (ins "int64_t":$rows, "int64_t":$cols);
  let assemblyFormat = "`<` $rows `x` $cols `>`";
}

def Hopper_LoadScalesOp : Hopper_Op<"load_scales", [MemoryEffects<[MemRead]>]> {
  let summary = "scales from memory";
  let description = [{
    As `hopper.fetch_scales`, to registers, and as many columns from `col` on as the result has. With `whole`, they are a word.
  }];
  let arguments = (ins AnyMemRef:$memref, Index:$row, Index:$col, Index:$limit, I64Attr:$height, UnitAttr:$whole);
  let results = (outs Hopper_HeldScalesType:$result);
  let assemblyFormat = [{
    $memref `[` $row `,` $col `]` `limit` $limit `height` $height (`whole` $whole^)? attr-dict `:` type($memref) `->` type($result)
  }];
}

def Hopper_PutScalesOp : Hopper_Op<"put_scales", [AttrSizedOperandSegments, MemoryEffects<[MemWrite]>]> {
  let summary = "scales to a slot, as FP32";
  let description = "Of `blocks` columns from `first` on, those that were loaded as words. `times`: as `hopper.fetch_scales`.";
  let arguments = (ins Hopper_HeldScalesType:$scales, Index:$first, I64Attr:$blocks, Index:$slot, I64Attr:$offset,
                   Optional<Hopper_HeldScalesType>:$factor, Optional<Index>:$factorFirst);
  let assemblyFormat = [{
    $scales `[` $first `]` `blocks` $blocks (`times` $factor^ `[` $factorFirst `]`)? `to` $slot `at` $offset attr-dict `:`
    type($scales) (`,` type($factor)^)?
  }];
}

def Hopper_PutMadeOp : Hopper_Op<"put_made", [MemoryEffects<[MemWrite]>]> {
  let summary = "rows of a tile that was made to a slot, or their scales";
  let description = "Rows from `row` on of what lies at byte `offset` of the slot: a `hopper.staged` tile or `hopper.scales`.";
  let arguments = (ins AnyVectorOfNonZeroRank:$value, Index:$row, Index:$slot, I64Attr:$offset, TypeAttr:$target);
  let assemblyFormat = "$value `[` $row `]` `to` $slot `at` $offset attr-dict `:` type($value) `,` $target";
}

def Hopper_CommitOp : Hopper_Op<"commit", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "the scales of a slot, and what was made of it, are there";
  let arguments = (ins Index:$slot);
  let assemblyFormat = "$slot attr-dict";
}

def Hopper_AwaitOp : Hopper_Op<"await", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "the consumer's next slot, once it is full";
  let results = (outs Index:$slot);
  let assemblyFormat = "attr-dict `:` type($slot)";
}

def Hopper_StagedOp : Hopper_Op<"staged", [Pure]> {
  let summary = "a tile or scales of a slot";
  let arguments = (ins Index:$slot, I64Attr:$offset);
  let results = (outs AnyTypeOf<[Hopper_StagedType, Hopper_ScalesType]>:$result);
  let assemblyFormat = "$slot `at` $offset attr-dict `:` type($result)";
}

def Hopper_ReleaseOp : Hopper_Op<"release", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "the consumer is done with a slot";
  let arguments = (ins Index:$slot);
  let assemblyFormat = "$slot attr-dict";
}

def Hopper_HandOverOp : Hopper_Op<"hand_over", [AttrSizedOperandSegments, MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "passes tiles to the threads that finish them, once there is room; `adds`: added to what is there";
  let description = "Of each of `pieces` equal parts of the columns, part `piece`.";
  let arguments = (ins Variadic<AnyVectorOfNonZeroRank>:$tiles, Optional<I1>:$adds, DefaultValuedAttr<I64Attr, "0">:$piece,
                   DefaultValuedAttr<I64Attr, "1">:$pieces);
  let assemblyFormat = "$tiles (`adds` $adds^)? (`piece` $piece^)? (`of` $pieces^)? attr-dict `:` type($tiles)";
}

def Hopper_FillOp : Hopper_Op<"fill", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "brings what the next tile that is passed is added to where it will be passed, where that is so";
  let arguments = (ins AnyMemRef:$memref, Index:$row, Index:$col, I1:$condition, TypeAttr:$tile);
  let assemblyFormat = "$memref `[` $row `,` $col `]` `if` $condition attr-dict `:` type($memref) `,` $tile";
}

def Hopper_TakeOp : Hopper_Op<"take", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "the next tiles that are passed, once they are there";
  let results = (outs Variadic<Hopper_PassedType>:$tiles);
  let assemblyFormat = "attr-dict `:` type($tiles)";
}

def Hopper_GiveBackOp : Hopper_Op<"give_back", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "nothing reads the tiles that were taken any more";
  let assemblyFormat = "attr-dict";
}

#endif
