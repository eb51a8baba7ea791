// Kernels of one matrix product: tiles of the result, each summed over K from staged tiles of the operands.
#include "compiler/Conversion/MxToHopper/GroupedTiles.h"

#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace vernier;
using namespace vernier::tiled;
using arith::CmpIPredicate;

namespace {
/// One side of the product, by rows; K across.
struct Operand {
  Value value;
  mx::FormatAttr format; ///< null: plain numbers.
  Type element;

  explicit Operand(Value value) : value(value) {
    if (auto scaled = llvm::dyn_cast<mx::ScaledType>(value.getType())) {
      format = scaled.getFormat();
      element = format.getElement();
    } else {
      element = llvm::cast<RankedTensorType>(value.getType()).getElementType();
    }
  }
};

class ProductKernel {
public:
  ProductKernel(TileEmitter &e, const heuristics::ProductShape &shape)
      : e(e), b(e.builder()), loc(e.location()), shape(shape), op(llvm::cast<mx::ProductInterface>(e.ops.ops.front())),
        result(op->getResult(0)), left(op.getLeft()), right(op.getRight()),
        depth(hopper::StagedType::kRowBytes * 8 / left.element.getIntOrFloatBitWidth()) {
    if (auto matmul = llvm::dyn_cast<mx::MatmulOp>(op.getOperation()))
      accumulate = matmul.getAccumulate();
  }

  TaskCount emit(Value task, Value step) {
    mx::Size rows = e.sizeOf(left.value, 0), cols = e.sizeOf(result, 1);
    if (op.getGroupOffsets())
      grouped.emplace(e, op.getGroupOffsets(), rows, shape.rows());
    // A task is a cluster's: as many tiles side by side as it has blocks. There may be as many tasks as slabs, see below.
    int64_t together = shape.cols * shape.cluster;
    TaskCount count{grouped ? grouped->countTerms() : SmallVector<TaskTerm>{{rows, shape.rows()}},
                    {{cols, together}},
                    {{mx::Size::fixed(shape.slabs)}}};
    tilesDown = narrow(grouped ? grouped->count() : e.divide(e.addTo(e.size(rows), shape.rows() - 1), shape.rows()));
    tilesAcross = narrow(e.divide(e.addTo(e.size(cols), together - 1), together));
    Value rank = narrow(task);
    Value first = div(rank, i32(shape.cluster)), clusters = div(narrow(step), i32(shape.cluster));
    rank = rem(rank, i32(shape.cluster));
    // Where the last wave would leave more than half of the clusters idle, its tiles are shared out slab by slab.
    Value tiles = mul(tilesDown, tilesAcross), whole = mul(div(tiles, clusters), clusters), rest = sub(tiles, whole);
    Value pieces = mul(rest, i32(shape.slabs)), fits = cmp(CmpIPredicate::ule, pieces, clusters);
    Value tasks = arith::SelectOp::create(b, loc, fits, arith::AddIOp::create(b, loc, whole, pieces), tiles);
    e.loop(widen(first), widen(tasks), widen(clusters), [&](Value index) {
      Value number = narrow(index), piece = i32(0), isPiece;
      if (shape.slabs > 1) {
        isPiece = arith::AndIOp::create(b, loc, fits, cmp(CmpIPredicate::uge, number, whole));
        Value beyond = sub(number, whole);
        piece = arith::SelectOp::create(b, loc, isPiece, rem(beyond, i32(shape.slabs)), piece);
        Value tile = arith::AddIOp::create(b, loc, whole, div(beyond, i32(shape.slabs)));
        number = arith::SelectOp::create(b, loc, isPiece, tile, number);
      }
      auto [down, across] = placeOf(number);
      across = arith::AddIOp::create(b, loc, mul(across, i32(shape.cluster)), rank);
      firstCol = arith::MulIOp::create(b, loc, widen(across), e.index(shape.cols));
      Tile tile;
      Value group;
      if (grouped) {
        e.when(cmp(CmpIPredicate::eq, arith::OrIOp::create(b, loc, down, piece), i32(0)), [&] { clearOutsideGroups(); });
        GroupedTiles::Found found = grouped->find(widen(down));
        tile = found.tile, group = found.group;
      } else {
        Value first = arith::MulIOp::create(b, loc, widen(down), e.index(shape.rows()));
        Value left = arith::SubIOp::create(b, loc, e.size(rows), first);
        tile = {first, arith::MinUIOp::create(b, loc, left, e.index(shape.rows())), widen(down)};
      }
      if (isPiece)
        tile = pieceOf(tile, isPiece, piece);
      e.when(arith::CmpIOp::create(b, loc, CmpIPredicate::ne, tile.rows, e.index(0)), [&] { emitTile(tile, group); });
    });
    return count;
  }

private:
  // Tiles are counted in 32 bits: a division of 64 takes a hundred instructions.
  Value i32(int64_t value) { return arith::ConstantOp::create(b, loc, b.getI32IntegerAttr(int32_t(value))); }
  Value narrow(Value v) { return arith::IndexCastOp::create(b, loc, b.getI32Type(), v); }
  Value widen(Value v) { return arith::IndexCastUIOp::create(b, loc, b.getIndexType(), v); }
  Value div(Value a, Value c) { return arith::DivUIOp::create(b, loc, a, c); }
  Value rem(Value a, Value c) { return arith::RemUIOp::create(b, loc, a, c); }
  Value mul(Value a, Value c) { return arith::MulIOp::create(b, loc, a, c); }
  Value sub(Value a, Value c) { return arith::SubIOp::create(b, loc, a, c); }
  Value cmp(CmpIPredicate predicate, Value a, Value c) { return arith::CmpIOp::create(b, loc, predicate, a, c); }

  /// Tasks walk down a band of row tiles before they go on to the next column tile: what one wave of blocks reads of both
  /// operands then stays in the L2 cache.
  std::pair<Value, Value> placeOf(Value number) {
    Value perBand = mul(tilesAcross, i32(shape.band)), first = mul(div(number, perBand), i32(shape.band));
    Value height = arith::MinUIOp::create(b, loc, sub(tilesDown, first), i32(shape.band)), inBand = rem(number, perBand);
    return {arith::AddIOp::create(b, loc, first, rem(inBand, height)), div(inBand, height)};
  }

  /// One slab of a tile, where it is shared out.
  Tile pieceOf(const Tile &tile, Value isPiece, Value piece) {
    Value skipped = arith::MulIOp::create(b, loc, widen(piece), e.index(shape.slabRows()));
    Value left = arith::SubIOp::create(b, loc, tile.rows, arith::MinUIOp::create(b, loc, skipped, tile.rows));
    Value most = arith::SelectOp::create(b, loc, isPiece, e.index(shape.slabRows()), e.index(shape.rows()));
    return {e.add(tile.firstRow, skipped), arith::MinUIOp::create(b, loc, left, most), tile.blockIndex};
  }

  /// Rows beyond the tile's are no rows of the result; nothing is read for them.
  Rows rowsOf(const Tile &tile, int64_t slab) {
    auto type = VectorType::get({e.R, 1}, b.getI32Type());
    Value numbers = hopper::RowsOp::create(b, loc, type, e.addTo(tile.firstRow, slab * shape.slabRows()));
    Value end = e.rowNumber(e.add(tile.firstRow, tile.rows), e.R);
    Value valid = arith::CmpIOp::create(b, loc, CmpIPredicate::ult, numbers, end);
    return {numbers, valid, valid};
  }

  Value fetch(const Operand &operand, Value row, Value k, int64_t height, bool multicast) {
    auto type = hopper::StagedType::get(b.getContext(), height, depth, operand.element);
    return hopper::FetchOp::create(b, loc, type, e.inputBuffer(operand.value), row, k, multicast);
  }

  /// Scales of `count` rows of an operand from `row` on, for the block of K at `k`. With `matrix`, of one of several matrices.
  Value fetchScales(const Operand &operand, Value matrix, Value row, Value k, int64_t count) {
    int64_t height = operand.format.getBlockRows();
    unsigned rank = mx::shapeOf(operand.value.getType()).size();
    Value limit = e.size(operand.value, rank - 2);
    if (matrix) { // every matrix begins with a block of its own
      Value rows = arith::MulIOp::create(b, loc, e.divide(e.addTo(limit, height - 1), height), e.index(height));
      Value first = arith::MulIOp::create(b, loc, matrix, rows);
      row = e.add(first, row);
      limit = e.add(first, limit);
    }
    return hopper::FetchScalesOp::create(b, loc, hopper::ScalesType::get(b.getContext(), count), e.flattened(operand.value, 1),
                                         row, e.divide(k, operand.format.getBlockCols()), limit, height,
                                         e.stride(operand.value, 1));
  }

  /// A tile with few rows leaves its other slabs out.
  void emitTile(const Tile &tile, Value group) {
    if (shape.slabs == 1)
      return emitSlabs(tile, group, 1);
    auto branch = scf::IfOp::create(
        b, loc, arith::CmpIOp::create(b, loc, CmpIPredicate::ugt, tile.rows, e.index(shape.slabRows())), /*withElse=*/true);
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(branch.thenBlock());
    emitSlabs(tile, group, shape.slabs);
    b.setInsertionPointToStart(branch.elseBlock());
    emitSlabs(tile, group, 1);
  }

  /// FP32 scales of the blocks of K in a staged tile: one a row, and one a column or one for all.
  struct Scales {
    Value rows, cols;
  };

  void emitSlabs(const Tile &tile, Value group, int64_t slabs) {
    SmallVector<Value> sums(slabs, e.zeros(e.tile(e.R, e.C, b.getF32Type())));
    Value rightRow = firstCol;
    if (group)
      rightRow = e.add(arith::MulIOp::create(b, loc, group, e.size(right.value, 1)), rightRow);
    auto loop = scf::ForOp::create(b, loc, e.index(0), e.size(left.value, 1), e.index(depth), sums);
    {
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPointToStart(loop.getBody());
      Value k = loop.getInductionVar();
      Value a = fetch(left, tile.firstRow, k, shape.rows(), shape.cluster > 1);
      Value c = fetch(right, rightRow, k, shape.cols, /*multicast=*/false);
      SmallVector<Value> next(loop.getRegionIterArgs());
      if (!left.format)
        for (auto [slab, sum] : llvm::enumerate(next))
          sum = multiply(a, c, sum, int64_t(slab), 0, depth);
      else
        addScaled(next, tile, group, k, a, c);
      scf::YieldOp::create(b, loc, next);
    }
    for (int64_t slab = 0; slab < slabs; ++slab)
      store(loop.getResult(slab), rowsOf(tile, slab));
  }

  Value multiply(Value a, Value c, Value into, int64_t slab, int64_t first, int64_t count) {
    auto type = e.tile(e.R, e.C, b.getF32Type());
    return hopper::MultiplyOp::create(b, loc, type, a, c, into, slab * shape.slabRows(), first, count);
  }

  /// Every block of K is summed on the tensor cores, then scaled and added in FP32.
  void addScaled(SmallVector<Value> &sums, const Tile &tile, Value group, Value k, Value a, Value c) {
    int64_t width = std::min(left.format.getBlockCols(), right.format.getBlockCols());
    SmallVector<Scales> staged;
    for (int64_t first = 0; first < depth; first += width)
      staged.push_back({fetchScales(left, {}, tile.firstRow, e.addTo(k, first), shape.rows()),
                        fetchScales(right, group, firstCol, e.addTo(k, first), columnScales() ? shape.cols : 1)});
    // Read before the products, which they then need not wait for.
    auto read = [&](Value scales, int64_t rows, int64_t cols, int64_t first) -> Value {
      return hopper::ReadScalesOp::create(b, loc, e.tile(rows, cols, b.getF32Type()), scales, first);
    };
    for (auto [block, scales] : llvm::enumerate(staged)) {
      Value cols = read(scales.cols, 1, columnScales() ? e.C : 1, 0);
      SmallVector<Value> rows;
      for (size_t slab = 0; slab < sums.size(); ++slab) {
        Value row = read(scales.rows, e.R, 1, int64_t(slab) * shape.slabRows());
        if (!columnScales()) {
          row = arith::MulFOp::create(b, loc, row, e.expandLike(cols, row));
          // Two scales near the ends of their range must not make a NaN of a sum that is 0.
          row = arith::MinimumFOp::create(b, loc, row, e.lanes.f32(row, 0x1p127));
        }
        rows.push_back(row);
      }
      for (auto [slab, sum] : llvm::enumerate(sums)) {
        Value product = multiply(a, c, {}, int64_t(slab), int64_t(block) * width, width);
        if (columnScales())
          product = arith::MulFOp::create(b, loc, product, e.expand(cols, e.R, e.C));
        sum = math::FmaOp::create(b, loc, product, e.expand(rows[slab], e.R, e.C), sum);
      }
    }
  }

  bool columnScales() const { return right.format.getBlockRows() == 1; }

  void store(Value sum, const Rows &rows) {
    Value limit = columnLimit();
    if (accumulate)
      sum = arith::AddFOp::create(b, loc, sum,
                                  hopper::LoadOp::create(b, loc, sum.getType(), e.inputBuffer(accumulate), rows.index,
                                                         rows.present, firstCol, limit, e.stride(accumulate, 0), alignment()));
    Type element = llvm::cast<RankedTensorType>(result.getType()).getElementType();
    Value stored = element.isF32() ? sum : arith::TruncFOp::create(b, loc, e.tile(e.R, e.C, element), sum).getResult();
    hopper::StoreOp::create(b, loc, stored, e.outputBuffer(result), rows.index, rows.valid, firstCol, limit,
                            e.stride(result, 0), alignment());
  }

  /// Rows that belong to no group are zeros.
  void clearOutsideGroups() {
    Type element = llvm::cast<RankedTensorType>(result.getType()).getElementType();
    auto clear = [&](Value begin, Value end) {
      e.loop(begin, end, e.index(e.R), [&](Value row) {
        Rows rows = rowsOf({row, arith::SubIOp::create(b, loc, end, row), {}}, 0);
        hopper::StoreOp::create(b, loc, e.zeros(e.tile(e.R, e.C, element)), e.outputBuffer(result), rows.index, rows.valid,
                                firstCol, columnLimit(), e.stride(result, 0), alignment());
      });
    };
    auto [first, last] = grouped->bounds();
    clear(e.index(0), first);
    clear(last, e.size(left.value, 0));
  }

  /// Null where every tile of every block of a cluster is whole.
  Value columnLimit() {
    int64_t cols = llvm::cast<RankedTensorType>(result.getType()).getDimSize(1);
    return !ShapedType::isDynamic(cols) && cols % (shape.cols * shape.cluster) == 0 ? Value() : e.size(result, 1);
  }
  int64_t alignment() {
    int64_t cols = llvm::cast<RankedTensorType>(result.getType()).getDimSize(1);
    return ShapedType::isDynamic(cols) ? 1 : int64_t(1) << llvm::countr_zero(uint64_t(cols | shape.cols));
  }

  TileEmitter &e;
  OpBuilder &b;
  Location loc;
  heuristics::ProductShape shape;
  mx::ProductInterface op;
  Value result;
  Operand left, right;
  int64_t depth; ///< of K in a staged tile.
  Value accumulate;
  std::optional<GroupedTiles> grouped;
  Value tilesDown, tilesAcross, firstCol;
};
} // namespace

std::string vernier::tiled::whyNoProduct(mx::KernelOp kernel) {
  auto op = llvm::cast<mx::ProductInterface>(mx::KernelOps::of(kernel).ops.front());
  if (op.contractsRows())
    return "weight gradients have no sm_90a lowering yet";
  Operand left(op.getLeft()), right(op.getRight());
  if (left.element != right.element)
    return "operands of different elements have no sm_90a lowering yet";
  if (!llvm::isa<Float8E4M3FNType, BFloat16Type, Float16Type>(left.element))
    return "operands must be E4M3 codes, bf16 or f16 on sm_90a";
  auto known = [](mx::FormatAttr format) {
    int64_t height = format.getBlockRows(), width = format.getBlockCols();
    return (height == 1 && (width == 32 || width == 128)) || (height == 128 && width == 128);
  };
  if (left.format && (!known(left.format) || !known(right.format)))
    return "scaled operands must have blocks of 1x128, 128x128 or 1x32 on sm_90a";
  ArrayRef<int64_t> shape = mx::shapeOf(op.getLeft().getType());
  int64_t bytes = shape[1] * left.element.getIntOrFloatBitWidth() / 8;
  if (ShapedType::isDynamic(shape[1]) || shape[1] == 0 || bytes % 16)
    return "K must be known and a multiple of " + std::to_string(128 / left.element.getIntOrFloatBitWidth()) + " on sm_90a";
  return {};
}

heuristics::ProductShape vernier::tiled::productShape(mx::KernelOp kernel) {
  auto op = llvm::cast<mx::ProductInterface>(mx::KernelOps::of(kernel).ops.front());
  Operand left(op.getLeft());
  heuristics::ProductNeeds needs;
  int64_t cols = mx::shapeOf(op->getResult(0).getType())[1];
  needs.cols = ShapedType::isDynamic(cols) ? 0 : cols;
  Operand right(op.getRight());
  needs.scaledBlocks = left.format ? 128 / std::min(left.format.getBlockCols(), right.format.getBlockCols()) : 0;
  needs.columnScales = right.format && right.format.getBlockRows() == 1;
  return heuristics::chooseProduct(needs);
}

TaskCount vernier::tiled::emitProductKernel(TileEmitter &e, const heuristics::ProductShape &shape, Value task, Value step) {
  return ProductKernel(e, shape).emit(task, step);
}
