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
  let extraClassDeclaration = "void registerAttributes();";
}

class Hopper_Op<string mnemonic, list<Trait> traits = []> : Op<Hopper_Dialect, mnemonic, traits>;

def Hopper_LayoutAttr : AttrDef<Hopper_Dialect, "Layout"> {
  let mnemonic = "layout";
  let summary = "which thread of a block holds which elements of a tile";
  let description = [{
    Thread t holds columns `(t mod threadCols) * vector` and the `vector - 1` after it. Of the rows it holds
    `rows / threadRows`, in groups of `rowGroup` neighbours: group g begins at row
    `(g * threadRows + t div threadCols) * rowGroup`.

    Constraints:
    1. all parameters are powers of two;
    2. `threadCols * vector` is the number of columns;
    3. `threadRows * rowGroup` divides the rows.

    Example: `#hopper.layout<8 x 1024, threads = 2 x 128, vector = 8, rowGroup = 1>`.
  }];
  let parameters = (ins "int64_t":$rows, "int64_t":$cols, "int64_t":$threadRows, "int64_t":$threadCols, "int64_t":$vector,
                    "int64_t":$rowGroup);
  let assemblyFormat = [{
    `<` $rows `x` $cols `,` `threads` `=` $threadRows `x` $threadCols `,` `vector` `=` $vector `,` `rowGroup` `=` $rowGroup `>`
  }];
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    int64_t threads() const { return getThreadRows() * getThreadCols(); }
    /// Rows that one thread holds.
    int64_t items() const { return getRows() / getThreadRows(); }

    // Of a grid with `gridRows` x `gridCols` numbers over the tile:
    int64_t blockRows(int64_t gridRows) const { return getRows() / gridRows; }
    int64_t blockCols(int64_t gridCols) const { return getCols() / gridCols; }
    /// Numbers that one thread holds, down and across.
    int64_t localRows(int64_t gridRows) const;
    int64_t localCols(int64_t gridCols) const;
    /// Which of them an item, or one of its lanes, belongs to.
    int64_t localRowOf(int64_t item, int64_t gridRows) const;
    int64_t localColOf(int64_t lane, int64_t gridCols) const;
    /// The first item of a local row.
    int64_t itemOf(int64_t localRow, int64_t gridRows) const;
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
