// The value of any operation of a kernel at a row and a chunk of columns, emitted on demand.
#ifndef VERNIER_COMPILER_CONVERSION_MXTOHOST_TILEEMITTER_H
#define VERNIER_COMPILER_CONVERSION_MXTOHOST_TILEEMITTER_H

#include "compiler/Conversion/Lanes/Lanes.h"
#include "dialects/mx/Analysis/KernelPlan.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

#include <map>

namespace vernier::host {

/// One row. `valid` (i1) is null where the row is known to exist; a gathered row may not (index -1).
struct Row {
  mlir::Value index;
  mlir::Value valid;
};

/// A chunk of columns, counted from the start of a segment. `valid` is null where all lanes are columns.
struct Chunk {
  mlir::Value start;
  int64_t lanes = 0;
  mlir::Value valid; ///< number of lanes that are columns.
};

/// The rows that one task holds together.
struct Tile {
  mlir::Value firstRow;
  mlir::Value rows;       ///< how many; at most the plan's rowTile.
  mlir::Value blockIndex; ///< position of the tile's blocks in the scales of transposed, grouped results.
};

/// Lanes of a value: numbers, or codes with one scale byte a block.
struct LaneValue {
  mlir::Value data;
  mlir::Value scales; ///< i8; one a block of the chunk, or one a lane for blocks down a column.
};

class TileEmitter {
public:
  TileEmitter(mlir::OpBuilder &builder, mx::KernelOp kernel, const mx::KernelPlan &plan, mlir::func::FuncOp function);

  // --- values ---
  LaneValue matrix(mlir::Value value, Row row, const Chunk &chunk, int64_t offset);
  mlir::Value perRow(mlir::Value value, Row row);
  mlir::Value perColumn(mlir::Value value, const Chunk &chunk, int64_t offset);
  mlir::Value scalar(mlir::Value value);

  // --- what needs the whole tile (TileColumns.cpp) ---
  void beginTile(const Tile &tile) { this->tile = tile; }
  /// Emits the passes over a tile's rows that find the scales of blocks spanning rows, for all that `roots` need.
  void columnScales(llvm::ArrayRef<std::pair<mlir::Value, int64_t>> roots, const Chunk &chunk);
  /// Scale bytes of a column-blocked operation at a row: i8, one a block of the chunk.
  mlir::Value columnScale(mlir::Operation *op, const Chunk &chunk, int64_t offset, mlir::Value row);

  // --- stores (TileStores.cpp) ---
  /// Buffers and state for one segment of an output while its rows are visited.
  struct Store {
    mx::Segment segment;
    mlir::Value turned; ///< memref<rows x lanes>: elements of a transposed output until the tile is complete.
  };
  Store beginStore(const mx::Segment &segment, int64_t lanes);
  void storeRow(Store &store, Row row, const Chunk &chunk);
  void finishStore(Store &store, const Chunk &chunk);
  void storeRowOutput(mlir::Value output, Row row);
  /// FP32 scales of whole tensors: written once, also where there are no rows.
  bool hasTensorScales() const;
  void storeTensorScales();

  // --- loops ---
  /// for i in [begin, end) by step; values emitted inside are forgotten outside.
  void loop(mlir::Value begin, mlir::Value end, int64_t step, llvm::function_ref<void(mlir::Value)> body);
  /// One iteration for each chunk of a segment of `width` columns, the last one masked where it must be.
  void chunks(mlir::Value output, int64_t width, int64_t lanes, llvm::function_ref<void(const Chunk &)> body);
  /// One iteration for each row of the tile.
  void tileRows(llvm::function_ref<void(Row)> body);
  void when(mlir::Value condition, llvm::function_ref<void()> body);

  mlir::Value index(int64_t value);
  mlir::Value addIndex(mlir::Value a, mlir::Value c);
  mlir::Value offsetBy(mlir::Value a, int64_t offset);
  mlir::Value divide(mlir::Value a, int64_t divisor);
  mlir::Value scratch(llvm::ArrayRef<int64_t> shape, mlir::Type element); ///< on the stack, once for the function.
  int64_t lanesFor() const;
  /// Memrefs of an operand of the kernel or of a yielded value.
  llvm::ArrayRef<mlir::Value> inputBuffers(mlir::Value argument) const;
  llvm::ArrayRef<mlir::Value> outputBuffers(mlir::Value output) const;
  void setRowReduction(mlir::Operation *op, mlir::Value buffer) { rowReductions[op] = buffer; }
  mlir::Value isPadding(const Chunk &chunk, mlir::Value like); ///< lanes that are no columns, i1.

  Lanes lanes;
  const mx::KernelPlan &plan;
  const mx::KernelOps ops;

private:
  LaneValue emitMatrix(mlir::Value value, Row row, const Chunk &chunk, int64_t offset);
  LaneValue loadMatrix(mlir::Value value, Row row, const Chunk &chunk, int64_t offset);
  LaneValue quantized(mx::QuantizeOp op, Row row, const Chunk &chunk, int64_t offset);
  LaneValue requantized(mx::RequantizeOp op, Row row, const Chunk &chunk, int64_t offset);
  mlir::Value dequantized(mlir::Value scaled, Row row, const Chunk &chunk, int64_t offset);
  mlir::Value unpermuted(mx::UnpermuteOp op, Row row, const Chunk &chunk, int64_t offset);
  mlir::Value tensorScale(mlir::Value scaled);
  /// Number of rows of a matrix or vector, from an operand that has as many.
  mlir::Value rowsOf(mlir::Value value);
  Row gatheredRow(mx::PermuteOp permute, mlir::Value row);
  /// `op` with lanes in place of tensors.
  mlir::Value elementwise(mlir::Operation *op, llvm::ArrayRef<mlir::Value> operands);
  mlir::Value constantLanes(mlir::Operation *op, int64_t lanes);
  void prefetch(mlir::Value memref, mlir::Value row, mlir::Value column, int64_t count, bool packed);
  mlir::Value load(mlir::Value memref, mlir::ValueRange indices, int64_t count, mlir::Value valid);
  void store(mlir::Value value, mlir::Value memref, mlir::ValueRange indices, mlir::Value valid);
  mlir::Value validOf(const Chunk &chunk, int64_t lanesPerItem);
  mlir::Value mask(int64_t count, mlir::Value valid);
  /// Operands of a matrix operation that are matrices at the same row, with their column offsets.
  void matrixOperands(mlir::Operation *op, int64_t offset, llvm::function_ref<void(mlir::Value, int64_t)> visit);
  void storeTurned(Store &store, const Chunk &chunk);
  void storeTurnedScales(Store &store, const Chunk &chunk);

  using Key = std::tuple<void *, void *, void *, int64_t, int>;
  std::optional<LaneValue> recall(const Key &key) const;
  LaneValue remember(const Key &key, LaneValue value);
  struct Scope {
    TileEmitter &emitter;
    explicit Scope(TileEmitter &emitter) : emitter(emitter) { emitter.memo.emplace_back(); }
    ~Scope() { emitter.memo.pop_back(); }
  };

  mlir::OpBuilder &b;
  mlir::Location loc;
  mlir::func::FuncOp function;
  Tile tile;
  llvm::DenseMap<mlir::Value, llvm::SmallVector<mlir::Value>> inputs, outputs;
  llvm::DenseMap<mlir::Operation *, mlir::Value> rowReductions;
  std::map<std::tuple<mlir::Operation *, int64_t>, mlir::Value> columnScaleBuffers;
  std::vector<std::map<Key, LaneValue>> memo;
};

} // namespace vernier::host

#endif
