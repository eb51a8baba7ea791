// Kernels of one matrix product: tiles of the result, each summed over K from staged tiles of the operands.
#include "compiler/Conversion/MxToHopper/GroupedTiles.h"
#include "compiler/Conversion/MxToHopper/Operands.h"
#include "compiler/Conversion/MxToHopper/TileNumbers.h"

#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace vernier;
using namespace vernier::tiled;
using arith::CmpIPredicate;

namespace {
class ProductKernel {
public:
  ProductKernel(TileEmitter &e, const heuristics::ProductShape &shape)
      : e(e), b(e.builder()), loc(e.location()), numbers(b, loc), shape(shape), op(e.plan.product), result(op->getResult(0)),
        left(op.getLeft()), right(op.getRight()),
        depth(hopper::StagedType::kRowBytes * 8 / left.element.getIntOrFloatBitWidth()) {
    resultShape = llvm::cast<RankedTensorType>(result.getType()).getShape();
    cols = e.plan.panelCols ? mx::Size::fixed(e.plan.panelCols) : e.sizeOf(result, resultShape.size() - 1);
    finishLayout = shape.finishLayout(b.getContext());
  }

  TaskCount emit(Value task, Value step) {
    mx::Size rows = e.sizeOf(left.value, turned() ? 1 : 0);
    if (op.getGroupOffsets() && !turned())
      grouped.emplace(e, op.getGroupOffsets(), rows, shape.rows());
    // A task is a cluster's: as many tiles side by side as it has blocks. There may be as many tasks as slabs, see below.
    int64_t together = shape.cols * shape.cluster, matrices = turned() ? resultShape[0] : 1;
    TaskCount count{grouped ? grouped->countTerms() : SmallVector<TaskTerm>{{rows, shape.rows()}},
                    {{cols, together}},
                    {{mx::Size::fixed(shape.slabs * matrices)}}};
    Value tilesDown = narrow(grouped ? grouped->count() : e.divide(e.addTo(e.size(rows), shape.rows() - 1), shape.rows()));
    Value tilesAcross = narrow(e.divide(e.addTo(e.size(cols), together - 1), together));
    Value rank = narrow(task);
    Value first = div(rank, i32(shape.cluster)), clusters = div(narrow(step), i32(shape.cluster));
    rank = rem(rank, i32(shape.cluster));
    // What one wave of blocks reads of both operands stays in the L2 cache.
    TileNumbers::Bands bands = numbers.bands(tilesDown, tilesAcross, shape.band);
    Divisor matrixTiles = numbers.divisor(mul(tilesDown, tilesAcross));
    // Where the last wave would leave more than half of the clusters idle, its tiles are shared out slab by slab.
    Value tiles = mul(matrixTiles.value, i32(matrices)), whole = mul(div(tiles, clusters), clusters), rest = sub(tiles, whole);
    Value pieces = mul(rest, i32(shape.slabs)), fits = cmp(CmpIPredicate::ule, pieces, clusters);
    Value tasks = arith::SelectOp::create(b, loc, fits, arith::AddIOp::create(b, loc, whole, pieces), tiles);
    e.loop(first, tasks, clusters, [&](Value number) {
      Value piece = i32(0), isPiece;
      if (shape.slabs > 1) {
        isPiece = arith::AndIOp::create(b, loc, fits, cmp(CmpIPredicate::uge, number, whole));
        Value beyond = sub(number, whole);
        piece = arith::SelectOp::create(b, loc, isPiece, rem(beyond, i32(shape.slabs)), piece);
        Value tile = arith::AddIOp::create(b, loc, whole, div(beyond, i32(shape.slabs)));
        number = arith::SelectOp::create(b, loc, isPiece, tile, number);
      }
      Value matrix;
      if (turned()) {
        auto [quotient, rest] = numbers.split(number, matrixTiles);
        matrix = widen(quotient), number = rest;
      }
      auto [down, across] = numbers.placeOf(number, bands);
      across = arith::AddIOp::create(b, loc, mul(across, i32(shape.cluster)), rank);
      firstCol = arith::MulIOp::create(b, loc, widen(across), e.index(shape.cols));
      Tile tile;
      Value between;
      if (grouped) {
        e.when(cmp(CmpIPredicate::eq, arith::OrIOp::create(b, loc, down, piece), i32(0)), [&] { clearOutsideGroups(); });
        GroupedTiles::Found found = grouped->findDense(widen(down));
        tile = found.tile, matrix = found.group;
        if (op.groupsAreSpans()) {
          // What lies between two groups is a group of its own.
          between = cmp(CmpIPredicate::ne, arith::AndIOp::create(b, loc, matrix, e.index(1)), e.index(0));
          matrix = e.divide(matrix, 2);
        }
      } else {
        Value first = arith::MulIOp::create(b, loc, widen(down), e.index(shape.rows()));
        Value left = arith::SubIOp::create(b, loc, e.size(rows), first);
        tile = {first, arith::MinUIOp::create(b, loc, left, e.index(shape.rows())), widen(down)};
      }
      if (isPiece)
        tile = pieceOf(tile, isPiece, piece);
      e.when(cmp(CmpIPredicate::ne, tile.rows, e.index(0)), [&] {
        if (!between)
          return emitTile(tile, matrix);
        e.when(
            between, [&] { finish({}, {}, [&](Value, ValueRange) { clearRows(tile.firstRow, tile.rows); }); },
            [&] { emitTile(tile, matrix); });
      });
    });
    return count;
  }

private:
  using Divisor = TileNumbers::Divisor;
  Value i32(int64_t value) { return numbers.i32(value); }
  Value narrow(Value v) { return numbers.narrow(v); }
  Value widen(Value v) { return numbers.widen(v); }
  Value div(Value a, Value c) { return arith::DivUIOp::create(b, loc, a, c); }
  Value rem(Value a, Value c) { return arith::RemUIOp::create(b, loc, a, c); }
  Value mul(Value a, Value c) { return arith::MulIOp::create(b, loc, a, c); }
  Value sub(Value a, Value c) { return arith::SubIOp::create(b, loc, a, c); }
  Value cmp(CmpIPredicate predicate, Value a, Value c) { return arith::CmpIOp::create(b, loc, predicate, a, c); }

  /// One slab of a tile, where it is shared out.
  Tile pieceOf(const Tile &tile, Value isPiece, Value piece) {
    Value skipped = arith::MulIOp::create(b, loc, widen(piece), e.index(shape.slabRows()));
    Value left = arith::SubIOp::create(b, loc, tile.rows, arith::MinUIOp::create(b, loc, skipped, tile.rows));
    Value most = arith::SelectOp::create(b, loc, isPiece, e.index(shape.slabRows()), e.index(shape.rows()));
    return {e.add(tile.firstRow, skipped), arith::MinUIOp::create(b, loc, left, most), tile.blockIndex};
  }

  /// Operands are matrices of blocks that were turned (mx.block_wgrad).
  bool turned() { return op.getContraction() == mx::Contraction::Blocks; }

  /// A row of one of several matrices that lie behind one another; null: there is one.
  Value rowIn(const Operand &operand, Value matrix, Value row) { return rowIn(operand.value, matrix, row); }
  Value rowIn(Value matrices, Value matrix, Value row) {
    return matrix ? e.add(arith::MulIOp::create(b, loc, matrix, e.size(matrices, 1)), row) : row;
  }

  /// `rows`: those of the tile that somebody looks at; null: all. Tiles of few rows are fetched whole.
  Value fetch(const Operand &operand, Value row, Value k, int64_t height, Value rows, bool multicast) {
    auto type = hopper::StagedType::get(b.getContext(), height, depth, operand.element);
    // Neighbours read it, too, while what sums are added to, and sums, pass through the cache once: 32 weight gradients of
    // 4096 x 7168 took 2.86 ms on one H200 in place of 3.03, eight 1.84 in place of 1.88. (Sums and what they are added to as
    // the first to leave: 3.08 to 3.52.)
    bool keep = bool(op.getAddend());
    if (height / (multicast ? shape.cluster : 1) < hopper::CopyOp::kLeastRows)
      rows = {};
    return hopper::FetchOp::create(b, loc, type, e.inputBuffer(operand.value), row, k, rows, multicast, keep);
  }

  /// Whether the left operand is made in this kernel.
  bool isMade() { return e.ops.contains(left.value); }

  /// A tile of the left operand for columns from `k` on: a few rows at a time, as the rows of any other kernel. Of a scaled
  /// one, also scales: for each panel those of rows times that of its columns, where there is one, or else once.
  hopper::MakeOp make(const Tile &tile, Value rightMatrix, Value k) {
    auto type = hopper::StagedType::get(b.getContext(), shape.rows(), depth, left.element);
    hopper::LayoutAttr layout = shape.makeLayout(b.getContext(), left.element.getIntOrFloatBitWidth());
    SmallVector<Type> scales(!left.format     ? 0
                             : scalesOfRows() ? shape.panels
                                              : 1,
                             left.format ? hopper::ScalesType::get(b.getContext(), shape.rows() * blocksOf(left)) : Type());
    auto op = hopper::MakeOp::create(b, loc, type, scales, layout);
    OpBuilder::InsertionGuard guard(b);
    Block *block = b.createBlock(&op.getBody(), {}, {b.getIndexType()}, {loc});
    e.within(layout, [&] {
      // Parts beyond the tile's rows repeat its first ones: nobody looks at them.
      Value skipped = block->getArgument(0), inside = cmp(CmpIPredicate::ult, skipped, tile.rows);
      Value from = arith::SelectOp::create(b, loc, inside, skipped, e.index(0));
      Value count = arith::MinUIOp::create(b, loc, arith::SubIOp::create(b, loc, tile.rows, from), e.index(e.R));
      e.beginTile({e.add(tile.firstRow, from), count, tile.blockIndex});
      TileValue value = e.matrix(left.value, e.tileRows(), {k, {}}, 0);
      SmallVector<Value> made;
      for (size_t panel = 0; panel < scales.size(); ++panel) {
        Value rows = e.lanes.scaleValue(value.scales);
        if (scalesOfRows()) {
          ScalePlace place = scalePlace(right, rightMatrix, firstColOf(int64_t(panel)), k, /*perRow=*/false);
          Value row = e.rowNumber(arith::MinUIOp::create(b, loc, place.row, e.addTo(place.limit, -1)), 1);
          Value byte = hopper::LoadOp::create(b, loc, e.tile(1, 1, b.getI8Type()), place.buffer, row, Value(), place.col,
                                              Value(), Value(), 1);
          Value factor = e.lanes.scaleValue(e.lanes.widen(byte));
          rows = timesFactor(rows, e.expandLike(factor, rows));
        }
        made.push_back(rows);
      }
      hopper::MadeOp::create(b, loc, value.data, made);
    });
    return op;
  }

  /// Two scales near the ends of their range must not make a NaN of a sum that is 0.
  Value timesFactor(Value scales, Value factors) {
    return arith::MinimumFOp::create(b, loc, arith::MulFOp::create(b, loc, scales, factors), e.lanes.f32(scales, 0x1p127));
  }

  /// Where scales of an operand lie: of rows from `row` on, below `limit`, one for `height` rows; in matrix `matrix` of
  /// several.
  struct ScalePlace {
    Value buffer, row, col, limit;
    int64_t height;
  };
  ScalePlace scalePlace(const Operand &operand, Value matrix, Value row, Value k, bool perRow) {
    int64_t height = operand.format.getBlockRows();
    unsigned rank = mx::shapeOf(operand.value.getType()).size();
    auto blocks = [&](Value rows) { return e.divide(e.addTo(rows, height - 1), height); };
    Value limit = e.size(operand.value, rank - 2), first; // every matrix begins with a block of its own
    if (matrix)
      first = arith::MulIOp::create(b, loc, matrix, blocks(limit));
    if (!perRow) {
      row = e.divide(row, height), limit = blocks(limit);
      height = 1;
    } else if (first) {
      first = arith::MulIOp::create(b, loc, first, e.index(height));
    }
    if (first)
      row = e.add(first, row), limit = e.add(first, limit);
    return {e.flattened(e.inputBuffer(operand.value, 1)), row, e.divide(k, operand.format.getBlockCols()), limit, height};
  }

  /// Blocks of K that lie in a staged tile.
  int64_t blocksOf(const Operand &operand) const { return depth / operand.format.getBlockCols(); }

  /// `count` scales of each of these blocks, times one of `factor`, where there is one.
  Value fetchScales(const Operand &operand, const ScalePlace &place, int64_t count, const ScalePlace *factor = nullptr) {
    int64_t blocks = blocksOf(operand), width = llvm::cast<MemRefType>(place.buffer.getType()).getShape().back();
    // Aligned words: rows of bytes end with one.
    int64_t word = turned() ? 1 : std::min<int64_t>(4, width & -width);
    // The last block of a cluster may have a tile beyond the last column, whose scales nobody needs.
    Value factorRow = factor ? arith::MinUIOp::create(b, loc, factor->row, e.addTo(factor->limit, -1)).getResult() : Value();
    return hopper::FetchScalesOp::create(b, loc, hopper::ScalesType::get(b.getContext(), count * blocks), place.buffer,
                                         place.row, place.col, place.limit, place.height, blocks, word < blocks ? 1 : word,
                                         factor ? factor->buffer : Value(), factorRow, factor ? factor->col : Value());
  }

  /// What is summed up for a tile of the result.
  struct Sum {
    Value matrix;     ///< of the right operand, or of the result where operands are turned; null: there is one.
    Value firstBlock; ///< where operands are turned: of those that are summed up.
    Value depth;      ///< columns of both operands, those of all blocks together: i32.
  };

  /// Blocks of group `matrix` (see mx.block_wgrad).
  Sum sumOf(Value matrix) {
    if (!turned())
      return {matrix, {}, i32(e.sizeOf(left.value, 1).constant)}; // known, see whyNoProduct
    constexpr int64_t height = mx::TransposeOp::kBlock;
    Value rows = e.size(e.turnedRows(left.value, op));
    Value offsets = e.inputBuffer(op.getGroupOffsets());
    Value begin = e.loadOffset(offsets, matrix, rows), end = e.loadOffset(offsets, e.addTo(matrix, 1), rows);
    Value count = arith::MaxSIOp::create(b, loc, arith::SubIOp::create(b, loc, end, begin), e.index(0));
    Value blocks = e.divide(e.addTo(count, height - 1), height);
    return {matrix, e.add(e.divide(begin, height), matrix), narrow(arith::MulIOp::create(b, loc, blocks, e.index(height)))};
  }

  /// A tile with few rows leaves its other slabs out.
  void emitTile(const Tile &tile, Value matrix) {
    Sum group = sumOf(matrix);
    if (shape.slabs == 1)
      return emitSlabs(tile, group, 1);
    either(arith::CmpIOp::create(b, loc, CmpIPredicate::ugt, tile.rows, e.index(shape.slabRows())),
           [&](bool several) { emitSlabs(tile, group, several ? shape.slabs : 1); });
  }

  /// What is emitted for true, or for false.
  void either(Value condition, llvm::function_ref<void(bool)> body) {
    e.when(condition, [&] { body(true); }, [&] { body(false); });
  }

  /// FP32 scales of the blocks of K in a staged tile, one block behind the other: of each, one a row, and one a block of
  /// columns. Without those of columns, those of rows are the products of both.
  struct Scales {
    Value rows, cols;
  };

  void emitSlabs(const Tile &tile, const Sum &summed, int64_t slabs) {
    Tile stored = tile;
    if (turned())
      stored.firstRow = rowIn(result, summed.matrix, tile.firstRow);
    Value colsLeft; // of the matrix, from the tile's first on
    if (Value limit = columnLimit())
      colsLeft = arith::SubIOp::create(b, loc, arith::MaxUIOp::create(b, loc, limit, firstCol), firstCol);
    SmallVector<Value> sums(slabs * shape.panels, e.zeros(e.tile(e.R, e.C, b.getF32Type())));
    auto loop = scf::ForOp::create(b, loc, i32(0), summed.depth, i32(depth), sums);
    {
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPointToStart(loop.getBody());
      Value k = widen(loop.getInductionVar());
      Value leftMatrix, rightMatrix = summed.matrix;
      if (turned()) {
        leftMatrix = rightMatrix = e.add(summed.firstBlock, e.divide(k, mx::TransposeOp::kBlock));
        k = arith::AndIOp::create(b, loc, k, e.index(mx::TransposeOp::kBlock - depth));
      }
      hopper::MakeOp made = isMade() ? make(tile, rightMatrix, k) : hopper::MakeOp();
      Value a = made ? made.getTile()
                     : fetch(left, rowIn(left, leftMatrix, tile.firstRow), k, shape.rows(), turned() ? Value() : tile.rows,
                             shape.cluster > 1);
      SmallVector<Value> panels;
      for (int64_t panel = 0; panel < shape.panels; ++panel)
        panels.push_back(
            fetch(right, rowIn(right, rightMatrix, firstColOf(panel)), k, shape.cols, colsLeft, /*multicast=*/false));
      SmallVector<Value> next(loop.getRegionIterArgs());
      if (!left.format)
        for (auto [i, sum] : llvm::enumerate(next))
          sum = multiply(a, panels[panelOf(i)], sum, slabOf(i), 0, depth);
      else
        addScaled(next, fetchScales(tile, leftMatrix, rightMatrix, k, made), a, panels);
      scf::YieldOp::create(b, loc, next);
    }
    // Those that fetch are here a ring's length ahead: early enough, and not so early that operands drive it out of the cache.
    // (Ahead of the whole sum, 32 weight gradients of 4096 x 7168 took 3.14 ms on one H200; here 2.78, and 2.84 without.)
    for (Value matrix : besides())
      prefetch(matrix, stored.firstRow, slabs * shape.slabRows());
    SmallVector<Value> passed;
    for (Value sum : loop.getResults())
      passed.push_back(
          passedElement().isF32() ? sum : arith::TruncFOp::create(b, loc, e.tile(e.R, e.C, passedElement()), sum).getResult());
    finish(passed, stored, [&](Value number, ValueRange tiles) {
      Value col = firstCol;
      if (shape.pieces > 1) {
        Value piece = arith::RemUIOp::create(b, loc, number, e.index(shape.pieces));
        col = e.add(col, arith::MulIOp::create(b, loc, piece, e.index(shape.passedCols())));
        number = e.divide(number, shape.pieces);
      }
      Value skipped = slabs == 1 ? e.index(0) : arith::MulIOp::create(b, loc, number, e.index(shape.slabRows())).getResult();
      Value first = e.add(stored.firstRow, skipped);
      Value left =
          arith::MinUIOp::create(b, loc, arith::SubIOp::create(b, loc, stored.rows, skipped), e.index(shape.slabRows()));
      auto byRows = [&](bool adds) { storeRows(first, left, col, tiles, tile.blockIndex, adds); };
      bool copied = !hasEpilogue() && copies(result), added = op.getAddend() && copies(op.getAddend());
      if (!copied && !added)
        return byRows(bool(op.getAddend()));
      e.when(
          arith::CmpIOp::create(b, loc, CmpIPredicate::eq, left, e.index(shape.slabRows())),
          [&] {
            if (copied && (added || !op.getAddend()))
              hopper::CopyPassedOp::create(b, loc, tiles.front(), e.outputBuffer(result), first, col);
            else
              byRows(op.getAddend() && !added);
          },
          [&] { byRows(bool(op.getAddend())); });
    });
  }

  // Sums lie slab by slab, of each all panels.
  int64_t slabOf(size_t sum) { return int64_t(sum) / shape.panels; }
  int64_t panelOf(size_t sum) { return int64_t(sum) % shape.panels; }
  Value firstColOf(int64_t panel) { return e.addTo(firstCol, e.plan.panels[panel]); }

  /// In which sums are passed: what is added to them in FP32 is added later.
  Type passedElement() { return tiled::passedElement(op); }

  /// What others make of the tile's sums, slab by slab, or do without any.
  void finish(ArrayRef<Value> sums, const Tile &tile, llvm::function_ref<void(Value, ValueRange)> body) {
    Value addend = sums.empty() ? Value() : op.getAddend(), row, col, rows;
    if (addend && copies(addend))
      row = tile.firstRow, col = firstCol, rows = tile.rows, addend = e.inputBuffer(addend);
    else
      addend = {};
    auto op =
        hopper::FinishOp::create(b, loc, sums, addend, row, col, rows, shape.panels, shape.pieces, shape.buffers, finishLayout);
    OpBuilder::InsertionGuard guard(b);
    SmallVector<Type> types{b.getIndexType()};
    if (!sums.empty())
      types.append(shape.panels, hopper::PassedType::get(b.getContext(), e.R, shape.passedCols(), passedElement()));
    Block *block = b.createBlock(&op.getBody(), {}, types, SmallVector<Location>(types.size(), loc));
    e.within(finishLayout, [&] { body(block->getArgument(0), block->getArguments().drop_front()); });
  }

  /// Whether the kernel's results are made from the product's rather than that alone.
  bool hasEpilogue() const { return e.ops.outputs.size() > 1 || e.ops.outputs.front() != result; }

  /// Whether the copy engine may bring whole slabs to or from a matrix in the result's shape.
  bool copies(Value matrix) {
    return reachable(op, matrix) &&
           shape.cols * passedElement().getIntOrFloatBitWidth() % (8 * hopper::StagedType::kRowBytes) == 0;
  }

  /// The kernel's results for `count` rows and the columns that are passed at once, a few rows at a time, from tiles that were
  /// passed, or from zeros; `adds`: the addend is still to be added.
  void storeRows(Value first, Value count, Value col, ValueRange tiles, Value blockIndex, bool adds) {
    Chunk chunk{col, {}};
    if (Value limit = columnLimit()) // a tile of a cluster's last block may lie beyond it
      chunk.valid = arith::MinUIOp::create(
          b, loc, arith::SubIOp::create(b, loc, arith::MaxUIOp::create(b, loc, limit, col), col), e.index(e.C));
    e.loop(e.index(0), count, e.index(e.R), [&](Value skipped) {
      Value row = e.add(first, skipped);
      e.beginTile(
          {row, arith::MinUIOp::create(b, loc, arith::SubIOp::create(b, loc, count, skipped), e.index(e.R)), blockIndex});
      auto product = [&](int64_t offset) {
        Type element = llvm::cast<RankedTensorType>(result.getType()).getElementType();
        if (tiles.empty())
          return e.zeros(e.tile(e.R, e.C, element));
        auto panel = llvm::find(e.plan.panels, offset) - e.plan.panels.begin();
        Value v = hopper::ReadPassedOp::create(b, loc, e.tile(e.R, e.C, passedElement()), tiles[size_t(panel)], skipped);
        if (adds)
          v = arith::AddFOp::create(b, loc, v, load(op.getAddend(), chunk));
        return v.getType() == e.tile(e.R, e.C, element)
                   ? v
                   : arith::TruncFOp::create(b, loc, e.tile(e.R, e.C, element), v).getResult();
      };
      if (!hasEpilogue())
        return store(product(0), chunk);
      e.give(result, product);
      for (const mx::Segment &segment : e.plan.segments)
        e.storeSegment(segment, chunk);
    });
  }

  /// Matrices that those that finish read: what is added to sums, and operands beside the product's, row by row.
  SmallVector<Value> besides() {
    llvm::SetVector<Value> found;
    if (Value addend = op.getAddend())
      found.insert(addend);
    llvm::SetVector<Operation *> ahead = e.ops.aheadOfProduct();
    for (Operation *beside : e.ops.ops)
      if (beside != op && !ahead.contains(beside) && !llvm::isa<mx::PermuteOp, mx::BroadcastOp>(beside))
        for (Value operand : beside->getOperands())
          if (!e.ops.contains(operand) && mx::shapeOf(operand.getType()).size() == 2)
            found.insert(operand);
    return found.takeVector();
  }

  /// What a tile needs of a matrix beside the product, on its way from memory while the last of the sum is computed.
  void prefetch(Value matrix, Value row, int64_t rows) {
    Value buffer = e.inputBuffer(matrix);
    int64_t matrixCols = mx::shapeOf(matrix.getType()).back(), tileCols = cols.constant;
    if (!cols.isConstant() || ShapedType::isDynamic(matrixCols) || matrixCols % tileCols)
      return;
    // Codes of four bits are bytes of two.
    Type element = llvm::cast<MemRefType>(buffer.getType()).getElementType();
    auto scaled = llvm::dyn_cast<mx::ScaledType>(matrix.getType());
    int64_t perByte = scaled && scaled.getFormat().isPacked() ? 2 : 1;
    if (element.isInteger(8))
      element = Float8E4M3FNType::get(b.getContext());
    if (!llvm::isa<Float8E4M3FNType, BFloat16Type, Float16Type, Float32Type>(element))
      return;
    int64_t bits = element.getIntOrFloatBitWidth(), width = hopper::StagedType::kRowBytes * 8 / bits;
    if (matrixCols / perByte * bits % 128) // such rows have no tensor map
      return;
    for (int64_t part = 0; part < matrixCols; part += tileCols)
      for (int64_t first = 0; first < int64_t(llvm::divideCeil(shape.cols, perByte)); first += width)
        hopper::PrefetchOp::create(b, loc, buffer, row, e.addTo(e.divide(e.addTo(firstCol, part), perByte), first),
                                   hopper::StagedType::get(b.getContext(), rows, width, element));
  }

  Value multiply(Value a, Value c, Value into, int64_t slab, int64_t first, int64_t count) {
    auto type = e.tile(e.R, e.C, b.getF32Type());
    return hopper::MultiplyOp::create(b, loc, type, a, c, into, slab * shape.slabRows(), first, count);
  }

  /// Columns of both operands that are summed before they are scaled.
  int64_t blockDepth() const { return std::min(left.format.getBlockCols(), right.format.getBlockCols()); }

  /// Of every panel; those of rows that were made are given.
  SmallVector<Scales> fetchScales(const Tile &tile, Value leftMatrix, Value rightMatrix, Value k, hopper::MakeOp made) {
    SmallVector<Scales> scales;
    for (int64_t panel = 0; panel < shape.panels; ++panel) {
      ScalePlace cols = scalePlace(right, rightMatrix, firstColOf(panel), k, /*perRow=*/false);
      if (made) {
        scales.push_back(scalesOfRows() ? Scales{made.getScales()[size_t(panel)], {}}
                                        : Scales{made.getScales().front(), fetchScales(right, cols, scaleCols())});
        continue;
      }
      ScalePlace rows = scalePlace(left, leftMatrix, tile.firstRow, k, /*perRow=*/true);
      if (scalesOfRows())
        scales.push_back({fetchScales(left, rows, shape.rows(), &cols), {}});
      else
        scales.push_back({fetchScales(left, rows, shape.rows()), fetchScales(right, cols, scaleCols())});
    }
    return scales;
  }

  /// Every block of K is summed on the tensor cores, then scaled and added in FP32.
  void addScaled(SmallVector<Value> &sums, ArrayRef<Scales> staged, Value a, ArrayRef<Value> panels) {
    // Read before the products, which they then need not wait for.
    auto read = [&](Value scales, int64_t rows, int64_t cols, int64_t first) -> Value {
      return hopper::ReadScalesOp::create(b, loc, e.tile(rows, cols, b.getF32Type()), scales, first);
    };
    auto place = [&](const Operand &operand, int64_t k, int64_t count) { return k / operand.format.getBlockCols() * count; };
    for (int64_t k = 0; k < depth; k += blockDepth()) {
      SmallVector<Value> cols, rows;
      for (const Scales &scales : staged)
        cols.push_back(scales.cols ? read(scales.cols, 1, scaleCols(), place(right, k, scaleCols())) : Value());
      for (size_t i = 0; i < sums.size(); ++i) {
        Value row = read(staged[panelOf(i)].rows, e.R, 1, place(left, k, shape.rows()) + slabOf(i) * shape.slabRows());
        rows.push_back(row);
      }
      for (auto [i, sum] : llvm::enumerate(sums)) {
        Value row = rows[i]; // times that of the columns only when its turn comes: these are many
        if (Value factors = cols[panelOf(i)]; factors && !columnScales()) {
          row = timesFactor(e.expand(row, e.R, scaleCols()), e.expand(factors, e.R, scaleCols()));
        }
        Value product = multiply(a, panels[panelOf(i)], {}, slabOf(i), k, blockDepth());
        if (columnScales())
          product = arith::MulFOp::create(b, loc, product, e.expand(cols[panelOf(i)], e.R, e.C));
        sum = math::FmaOp::create(b, loc, product, e.expand(row, e.R, e.C), sum);
      }
    }
  }

  /// Of a tile: scales of its columns.
  int64_t scaleCols() const { return std::max<int64_t>(1, shape.cols / right.format.getBlockRows()); }
  /// Whether one of columns serves a tile, so that scales of rows can be multiplied with it as they are staged.
  bool scalesOfRows() const { return !columnScales() && scaleCols() == 1; }
  /// As many as columns: too many to be multiplied with those of all rows first.
  bool columnScales() const { return right.format.getBlockRows() == 1; }

  Value load(Value matrix, const Chunk &chunk) {
    const Rows &rows = e.tileRows();
    Type element = llvm::cast<RankedTensorType>(matrix.getType()).getElementType();
    return hopper::LoadOp::create(b, loc, e.tile(e.R, e.C, element), e.flattened(e.inputBuffer(matrix)), rows.index, Value(),
                                  chunk.start, chunk.valid ? e.add(chunk.start, chunk.valid) : Value(), e.stride(matrix, 0),
                                  e.alignment(result, 0));
  }

  void store(Value tile, const Chunk &chunk) {
    const Rows &rows = e.tileRows();
    hopper::StoreOp::create(b, loc, tile, e.flattened(e.outputBuffer(result)), rows.index, rows.valid, chunk.start,
                            chunk.valid ? e.add(chunk.start, chunk.valid) : Value(), e.stride(result, 0),
                            e.alignment(result, 0));
  }

  /// What becomes of zeros, in the columns of this block's tiles.
  void clearRows(Value first, Value count) {
    for (int64_t piece = 0; piece < shape.pieces; ++piece)
      storeRows(first, count, e.addTo(firstCol, piece * shape.passedCols()), {}, {}, /*adds=*/false);
  }

  /// Rows that belong to no group are what becomes of zeros.
  void clearOutsideGroups() {
    finish({}, {}, [&](Value, ValueRange) {
      auto clear = [&](Value begin, Value end) {
        clearRows(begin, arith::MaxSIOp::create(b, loc, arith::SubIOp::create(b, loc, end, begin), e.index(0)));
      };
      auto [first, last] = grouped->bounds();
      clear(e.index(0), first);
      clear(last, e.size(left.value, 0));
    });
  }

  /// Null where every tile of every block of a cluster is whole.
  Value columnLimit() {
    bool whole = cols.isConstant() && cols.constant % (shape.cols * shape.cluster) == 0;
    return whole ? Value() : e.size(cols);
  }

  TileEmitter &e;
  OpBuilder &b;
  Location loc;
  TileNumbers numbers;
  heuristics::ProductShape shape;
  mx::ProductInterface op;
  Value result;
  Operand left, right;
  int64_t depth; ///< of K in a staged tile.
  ArrayRef<int64_t> resultShape;
  mx::Size cols; ///< of the result, or of a panel of it.
  hopper::LayoutAttr finishLayout;
  std::optional<GroupedTiles> grouped;
  Value firstCol;
};
} // namespace

TaskCount vernier::tiled::emitProductKernel(TileEmitter &e, const heuristics::ProductShape &shape, Value task, Value step) {
  return ProductKernel(e, shape).emit(task, step);
}
