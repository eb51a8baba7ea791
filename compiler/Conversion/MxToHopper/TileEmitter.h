// The value of any operation of a kernel for one tile, emitted on demand as operations on tiles.
#ifndef VERNIER_COMPILER_CONVERSION_MXTOHOPPER_TILEEMITTER_H
#define VERNIER_COMPILER_CONVERSION_MXTOHOPPER_TILEEMITTER_H

#include "compiler/Conversion/Lanes/Lanes.h"
#include "dialects/hopper/IR/Hopper.h"
#include "dialects/mx/Analysis/KernelPlan.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

#include <map>

namespace vernier::tiled {

/// The rows of a tile. A tile at the end of the rows repeats the last one: loads stay inside, and the largest of a block does
/// not change. `valid` is false for repeated rows, `present` for gathered rows that are not there (null: all are).
struct Rows {
  mlir::Value index;   ///< vector<Rx1xi32>
  mlir::Value valid;   ///< vector<Rx1xi1>
  mlir::Value present; ///< vector<Rx1xi1>
};

/// The columns of a tile, counted from the start of a segment. `valid` counts those that exist, null where all do.
struct Chunk {
  mlir::Value start;
  mlir::Value valid;
};

/// The tile that a task works on.
struct Tile {
  mlir::Value firstRow;
  mlir::Value rows;       ///< how many rows there are; at most the tile's.
  mlir::Value blockIndex; ///< position of the tile's blocks in the scales of a grouped transpose.
  /// Of a task in a run of tiles, one below the other: the run's first row, and whether it ends here. Null: there are no runs.
  mlir::Value runFirstRow{}, endsRun{};
};

/// Numbers, or codes with their scale bytes as a grid of i32.
struct TileValue {
  mlir::Value data;
  mlir::Value scales;
};

/// The same reduction, on tiles.
hopper::ReduceKind reduceKindOf(mx::ReduceKind kind);

class TileEmitter {
public:
  TileEmitter(mlir::OpBuilder &builder, mx::KernelOp kernel, const mx::KernelPlan &plan, const mx::Sizes &sizes,
              mlir::func::FuncOp function, hopper::LayoutAttr layout);

  // --- values (TileEmitter.cpp, ScaledTiles.cpp) ---
  TileValue matrix(mlir::Value value, const Rows &rows, const Chunk &chunk, int64_t offset);
  mlir::Value perRow(mlir::Value value, const Rows &rows);
  mlir::Value perColumn(mlir::Value value, const Chunk &chunk, int64_t offset);
  mlir::Value scalar(mlir::Value value); ///< vector<1x1xT>

  // --- stores (TileStores.cpp) ---
  void storeSegment(const mx::Segment &segment, const Chunk &chunk);
  void storeRowOutput(mlir::Value output);
  /// FP32 scales of whole tensors: written once, also where there are no rows.
  bool hasTensorScales() const;
  /// Scales that a turned tile has in each row of the result; kWindow of `hopper.store_gathered` or more: they are not
  /// gathered.
  int64_t turnedScaleRows(mx::TransposeOp transpose) const;
  void storeTensorScales();
  /// A tile of a grouped transpose without rows leaves its scales zero.
  void clearEmptyBlocks(const mx::Segment &segment, const Chunk &chunk, mlir::Value block);
  /// Rows that belong to no group are zeros in the result of a grouped transpose.
  void clearOutsideGroups(const mx::Segment &segment, const Chunk &chunk, mlir::Value first, mlir::Value last);

  /// Tables of the functions that are worth it, made by a block that has many tasks of those from one number to another.
  void makeTables(mlir::Value task, mlir::Value tasks, mlir::Value step);

  // --- control ---
  void beginTile(const Tile &tile);
  /// The value of an operation that is computed elsewhere, for the tile at hand: its columns from an offset on.
  void give(mlir::Value value, std::function<mlir::Value(int64_t offset)> tile) { given[value] = std::move(tile); }
  /// What `body` emits are tiles of another layout.
  void within(hopper::LayoutAttr other, llvm::function_ref<void()> body);
  const Rows &tileRows() const { return rows; }
  void loop(mlir::Value begin, mlir::Value end, mlir::Value step, llvm::function_ref<void(mlir::Value)> body);
  void when(mlir::Value condition, llvm::function_ref<void()> body, llvm::function_ref<void()> otherwise = {});
  /// Number of chunks of a segment of `width` columns (run-time: the columns of `value`).
  mlir::Value countChunks(mlir::Value value, int64_t width);
  /// The chunk with a number.
  Chunk chunkAt(mlir::Value value, int64_t width, mlir::Value number);
  /// Every chunk of a segment: one after the other where they are few, so that what they loaded stays in registers.
  void chunks(mlir::Value value, int64_t width, llvm::function_ref<void(const Chunk &)> body);
  /// The same with tiles carried from chunk to chunk.
  llvm::SmallVector<mlir::Value>
  foldChunks(mlir::Value value, int64_t width, llvm::SmallVector<mlir::Value> initial,
             llvm::function_ref<llvm::SmallVector<mlir::Value>(const Chunk &, mlir::ValueRange)> body);

  // --- small pieces ---
  mlir::Value index(int64_t value);
  mlir::Value add(mlir::Value a, mlir::Value c);
  mlir::Value addTo(mlir::Value a, int64_t offset);
  mlir::Value divide(mlir::Value a, int64_t divisor);
  /// A run-time size as an operand of the kernel, a static one as a constant.
  mlir::Value size(const mx::Size &size);
  mlir::Value size(mlir::Value value, unsigned dim);
  mx::Size sizeOf(mlir::Value value, unsigned dim) const { return sizes.get(value, dim); }
  mx::Size turnedRows(mlir::Value operand, mlir::Operation *wgrad) const { return sizes.turnedRows(operand, wgrad); }
  /// Columns of a segment of `width` columns (run-time: the columns of `value`).
  mx::Size columnsOf(mlir::Value value, int64_t width) const;
  mlir::VectorType tile(int64_t rows, int64_t cols, mlir::Type element) { return mlir::VectorType::get({rows, cols}, element); }
  mlir::Value reduce(hopper::ReduceKind kind, mlir::Value input, int64_t rows, int64_t cols);
  mlir::Value expand(mlir::Value grid, int64_t rows, int64_t cols);
  mlir::Value expandLike(mlir::Value grid, mlir::Value like);
  /// i1 a column: whether it exists. Null where all do.
  mlir::Value existingColumns(const Chunk &chunk);
  mlir::Value toF32(mlir::Value v);
  mlir::Value zeros(mlir::VectorType type);
  /// offsets[at], kept within 0 and `rows`.
  mlir::Value loadOffset(mlir::Value offsets, mlir::Value at, mlir::Value rows);
  mlir::Value inputBuffer(mlir::Value argument, unsigned part = 0) const { return inputs.find(argument)->second[part]; }
  mlir::Value outputBuffer(mlir::Value output, unsigned part = 0) const { return outputs.find(output)->second[part]; }
  /// A buffer of rank 3 with both leading dimensions as one; any other as it is.
  mlir::Value flattened(mlir::Value buffer);
  /// Columns of a buffer where they are no constant.
  mlir::Value stride(mlir::Value value, unsigned part);
  /// A row number, repeated for a grid's rows.
  mlir::Value rowNumber(mlir::Value index, int64_t gridRows);
  void setRowReduction(mlir::Operation *op, mlir::Value value) { rowReductions[op] = value; }
  llvm::ArrayRef<mx::Size> wantedSizes() const { return wanted; }
  mlir::OpBuilder &builder() { return b; }
  mlir::Location location() const { return loc; }

  Lanes lanes;
  const mx::KernelPlan &plan;
  const mx::KernelOps ops;
  hopper::LayoutAttr layout;
  int64_t R, C;
  /// Numbers of a row, from a column offset, that a thread surely finds side by side at a multiple of them.
  int64_t alignment(mlir::Value value, int64_t offset, int64_t perNumber = 1);

private:
  TileValue emitMatrix(mlir::Value value, const Rows &rows, const Chunk &chunk, int64_t offset);
  TileValue loadMatrix(mlir::Value value, const Rows &rows, const Chunk &chunk, int64_t offset);
  mlir::Value unpermuted(mx::UnpermuteOp op, const Rows &rows, const Chunk &chunk, int64_t offset);
  Rows gather(mlir::Value entries, mlir::Value input, mlir::Value valid);
  Rows gatheredRows(mx::PermuteOp permute, const Rows &rows);
  mlir::Value elementwise(mlir::Operation *op, llvm::ArrayRef<mlir::Value> operands);
  mlir::Value constant(mlir::Operation *op, int64_t rows, int64_t cols);
  /// A function of one number, with `argument` in place of the matrix that it is a function of.
  mlir::Value functionOf(mlir::Value value, mlir::Value matrix, mlir::Value argument);
  mlir::Value asBoolean(mlir::Value value, mlir::Value loaded);
  // ScaledTiles.cpp
  TileValue quantized(mx::QuantizeOp op, const Rows &rows, const Chunk &chunk, int64_t offset);
  TileValue requantized(mx::RequantizeOp op, const Rows &rows, const Chunk &chunk, int64_t offset);
  mlir::Value dequantized(mlir::Value scaled, const Rows &rows, const Chunk &chunk, int64_t offset);
  mlir::Value tensorScale(mlir::Value scaled);
  TileValue quantizedRelative(mx::QuantizeOp op, mlir::Value x);
  mlir::Value noise(mx::QuantizeOp op, const Rows &rows, const Chunk &chunk, int64_t offset);
  /// Codes moved to an exponent byte that is the largest of several, lowered by the headroom.
  mlir::Value loweredByte(mlir::Value largest, mlir::Type from, mlir::Type to);
  mlir::Value recoded(mlir::Value codes, mlir::Value scales, mlir::Value byte, mlir::Type to, bool coarser);
  TileValue reblocked(mx::TransposeOp op, const Chunk &chunk, int64_t offset);
  // TileStores.cpp
  void storeTurned(const mx::Segment &segment, mx::TransposeOp transpose, const Chunk &chunk);
  void storeTurnedScales(const mx::Segment &segment, mx::TransposeOp transpose, const Chunk &chunk, mlir::Value scales);
  void storeBlock(const mx::Segment &segment, const Chunk &chunk, mlir::Value data, mlir::Value scales);
  void storeColumns(mlir::Value grid, mlir::Value memref, mlir::Value firstCol, mlir::Value firstRow, mlir::Value rows,
                    mlir::Value cols, mlir::Value stride, int64_t aligned = 1);

  using Key = std::tuple<void *, void *, std::pair<void *, void *>, int64_t, int>;
  static std::pair<void *, void *> keyOf(const Chunk &chunk) {
    return {chunk.start.getAsOpaquePointer(), chunk.valid.getAsOpaquePointer()};
  }
  TileValue *recall(const Key &key);
  TileValue remember(const Key &key, TileValue value);

  mlir::OpBuilder &b;
  mlir::Location loc;
  mx::KernelOp kernel;
  const mx::Sizes &sizes;
  mlir::func::FuncOp function;
  Tile current;
  Rows rows;
  llvm::DenseMap<mlir::Value, llvm::SmallVector<mlir::Value>> inputs, outputs;
  llvm::DenseMap<mlir::Operation *, mlir::Value> rowReductions;
  llvm::DenseMap<mlir::Value, std::function<mlir::Value(int64_t)>> given;
  llvm::DenseMap<mlir::Value, std::pair<mlir::Value, mlir::Value>> lookups; ///< arguments and tables.
  llvm::SmallVector<mx::Size> wanted;
  std::map<int64_t, mlir::Value> indices;
  std::vector<std::map<Key, TileValue>> memo;
};

} // namespace vernier::tiled

#endif
