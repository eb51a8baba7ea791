#ifndef VERNIER_HOPPER_DIALECT
#define VERNIER_HOPPER_DIALECT

include "mlir/IR/OpBase.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"

def Hopper_Dialect : Dialect {
  let name = "hopper";
  let cppNamespace = "::vernier::hopper";
  let summary = "How a kernel runs on an sm_90a GPU: tiles, their layout over threads, and moves";
  let description = [{
    A tile is a builtin vector of rank 2. Grids over a tile of R x C elements are vectors of (R / h) x (C / w) numbers, one
    for every block of h x w elements; h and w are powers of two. `arith` and `math` apply to both.

    Tiles of `f8E4M3FN` and `f4E2M1FN` are codes: they are moved, encoded, decoded and re-encoded by operations of this
    dialect alone.
  }];
  let useDefaultAttributePrinterParser = 1;
  let useDefaultTypePrinterParser = 1;
  let extraClassDeclaration = "void registerAttributes(); void registerTypes();";
}

class Hopper_Op<string mnemonic, list<Trait> traits = []> : Op<Hopper_Dialect, mnemonic, traits>;

def Hopper_LayoutAttr : AttrDef<Hopper_Dialect, "Layout"> {
  let mnemonic = "layout";
  let summary = "which thread of a block holds which elements of a tile";
  let description = [{
    Thread t stands in row `t div threadCols` and column `t mod threadCols` of a grid of threads. Across, it holds `vector`
    neighbouring columns, again every `threadCols * vector` columns. Down, it holds `rows / threadRows` rows in groups of
    `rowGroup` neighbours; `adjacent` rows of threads (all of them, where it is 0) hold their first groups side by side, then
    their second groups, and so on, before the next `adjacent` rows of threads begin.

    Constraints:
    1. all parameters are powers of two;
    2. `threadCols * vector` divides the columns;
    3. `threadRows * rowGroup` divides the rows, and `adjacent` divides `threadRows`.

    Examples: `#hopper.layout<8 x 1024, threads = 2 x 128, vector = 8, rowGroup = 1>`, and the accumulators of one warpgroup's
    matrix product, `#hopper.layout<64 x 128, threads = 32 x 4, vector = 2, rowGroup = 1, adjacent = 8>`.
  }];
  let parameters = (ins "int64_t":$rows, "int64_t":$cols, "int64_t":$threadRows, "int64_t":$threadCols, "int64_t":$vector,
                    "int64_t":$rowGroup, OptionalParameter<"int64_t">:$adjacent);
  let assemblyFormat = [{
    `<` $rows `x` $cols `,` `threads` `=` $threadRows `x` $threadCols `,` `vector` `=` $vector `,` `rowGroup` `=` $rowGroup
    (`,` `adjacent` `=` $adjacent^)? `>`
  }];
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    int64_t threads() const { return getThreadRows() * getThreadCols(); }
    /// Rows that one thread holds, and columns.
    int64_t items() const { return getRows() / getThreadRows(); }
    int64_t lanes() const { return getCols() / getThreadCols(); }
    int64_t adjacentRows() const { return getAdjacent() ? getAdjacent() : getThreadRows(); }
    /// Row of an item of the threads in row 0 of the grid.
    int64_t rowOf(int64_t item) const;

    // Of a grid with `gridRows` x `gridCols` numbers over the tile:
    int64_t blockRows(int64_t gridRows) const { return getRows() / gridRows; }
    int64_t blockCols(int64_t gridCols) const { return getCols() / gridCols; }
    /// Numbers that one thread holds, down and across.
    int64_t localRows(int64_t gridRows) const;
    int64_t localCols(int64_t gridCols) const;
    /// Which of them an item, or one of its lanes, belongs to.
    int64_t localRowOf(int64_t item, int64_t gridRows) const;
    int64_t localColOf(int64_t lane, int64_t gridCols) const;
    /// The first item of a local row, and the first lane of a local column.
    int64_t itemOf(int64_t localRow, int64_t gridRows) const;
    int64_t laneOf(int64_t localCol, int64_t gridCols) const;
    /// Where a local column lies in the grid, from the first one of the thread; neighbours of the first come in one piece.
    int64_t colOffset(int64_t localCol, int64_t gridCols) const;
    int64_t neighbours(int64_t gridCols) const;
    /// Neighbouring threads that hold the same number, down and across.
    int64_t sharingRows(int64_t gridRows) const;
    int64_t sharingCols(int64_t gridCols) const;
  }];
}

def Hopper_ReduceKind : I32EnumAttr<"ReduceKind", "how the numbers of a block are combined", [
    I32EnumAttrCase<"Sum", 0, "sum">, I32EnumAttrCase<"Max", 1, "max">, I32EnumAttrCase<"Min", 2, "min">,
    I32EnumAttrCase<"UMax", 3, "umax">, I32EnumAttrCase<"AMax", 4, "amax">]> {
  let cppNamespace = "::vernier::hopper";
}

#endif
