// Matrix products: operands are decoded a block of the contraction at a time into cached FP32 panels, and a register
// tile runs over the panels. The sum of a block stays apart until it is scaled (promotion).
#include "compiler/Conversion/MxToHost/Kernels.h"

#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace vernier;
using namespace vernier::host;
using arith::CmpIPredicate;

namespace {
constexpr int64_t kRows = 256;                      ///< rows of a task's tile of the result.
constexpr int64_t kCols = 128;                      ///< columns of it.
constexpr int64_t kDepth = mx::TransposeOp::kBlock; ///< of K at once, at most.
constexpr int64_t kRegisterRows = 8;
constexpr int64_t kLanes = 16; ///< FP32 numbers in a register; two registers of columns.

/// One operand: where it lies and how it decodes.
struct Operand {
  ArrayRef<Value> buffers;
  mx::FormatAttr format; ///< null: plain.
  Type element;
  bool packed() const { return format && format.isPacked(); }
};

class Product {
public:
  Product(TileEmitter &e, const KernelFrame &frame)
      : e(e), frame(frame), b(e.lanes.builder()), loc(e.lanes.location()),
        op(llvm::cast<mx::ProductInterface>(e.ops.ops.front())), left(operand(op.getLeft())), right(operand(op.getRight())) {
    if (Value value = op.getGroupOffsets())
      offsets = e.inputBuffers(value)[0];
    result = e.outputBuffers(e.ops.outputs[0])[0];
    block = kDepth;
    if (!contractsRows())
      for (const Operand *side : {&left, &right})
        if (side->format)
          block = std::min(block, side->format.getBlockCols());
  }

  Value countTasks();
  void emit();

private:
  bool contractsRows() { return op.getContraction() == mx::Contraction::Rows; }
  Operand operand(Value value) {
    auto scaled = llvm::dyn_cast<mx::ScaledType>(value.getType());
    return {e.inputBuffers(value), scaled ? scaled.getFormat() : mx::FormatAttr(),
            scaled ? scaled.getFormat().getElement() : llvm::cast<RankedTensorType>(value.getType()).getElementType()};
  }
  Value dim(Value memref, unsigned i) { return memref::DimOp::create(b, loc, memref, i); }
  Value columnsOf(const Operand &side) {
    Value bytes = dim(side.buffers[0], llvm::cast<MemRefType>(side.buffers[0].getType()).getRank() - 1);
    return side.packed() ? arith::MulIOp::create(b, loc, bytes, e.index(2)).getResult() : bytes;
  }
  Value ceilDivide(Value a, int64_t by) { return e.divide(e.offsetBy(a, by - 1), by); }
  Value times(Value a, int64_t by) { return arith::MulIOp::create(b, loc, a, e.index(by)); }
  Value atMost(Value a, int64_t limit) { return arith::MinUIOp::create(b, loc, a, e.index(limit)); }
  Value minus(Value a, Value c) { return arith::SubIOp::create(b, loc, a, c); }
  Value mul(Value a, Value c) { return arith::MulFOp::create(b, loc, a, c); }

  Value decodeRow(const Operand &side, SmallVector<Value> at, int64_t count, Value valid);
  Value scaleAt(const Operand &side, SmallVector<Value> at);
  void loadLeft(Value firstRow, Value rows, Value firstK, Value validK);
  void loadRight(Value matrix, Value firstCol, Value cols, Value firstK, Value validK);
  void loadTurned(const Operand &side, Value panel, Value scales, int64_t width, Value firstRow, Value rows, Value firstCol,
                  Value cols);
  void multiply(Value rows, Value depth, bool leftTurned);
  SmallVector<Value> exactSums(Value depth, Value m0, Value n0, bool leftTurned);
  SmallVector<Value> tensorCoreSums(Value depth, Value m0, Value n0, bool leftTurned);
  void eachProduct(Value k, Value m0, Value n0, bool leftTurned, llvm::function_ref<void(Value, Value)> body);
  void store(SmallVector<Value> prefix, Value firstRow, Value rows, Value firstCol, Value cols);
  void emitByColumns();
  void emitByRows();
  void clear(Value rows);

  TileEmitter &e;
  const KernelFrame &frame;
  OpBuilder &b;
  Location loc;
  mx::ProductInterface op;
  Operand left, right;
  Value offsets, result;
  int64_t block;
  Value leftPanel, rightPanel, sum, leftScale, rightScale, strip;
};
} // namespace

Value Product::countTasks() {
  if (contractsRows()) {
    Value experts = dim(result, 0), rows = ceilDivide(dim(result, 1), kCols), cols = ceilDivide(dim(result, 2), kCols);
    return arith::MulIOp::create(b, loc, experts, arith::MulIOp::create(b, loc, rows, cols));
  }
  Value rows = dim(result, 0), tiles = offsets ? countGroupedTiles(e, rows, offsets, kRows) : ceilDivide(rows, kRows);
  return arith::MulIOp::create(b, loc, tiles, ceilDivide(dim(result, 1), kCols));
}

/// FP32 numbers of one row of an operand, without its scales; lanes past `valid` are 0.
Value Product::decodeRow(const Operand &side, SmallVector<Value> at, int64_t count, Value valid) {
  auto read = [&](int64_t n, Value limit) -> Value {
    auto type = VectorType::get({n}, llvm::cast<MemRefType>(side.buffers[0].getType()).getElementType());
    Value zero = arith::ConstantOp::create(b, loc, b.getZeroAttr(type));
    Value mask = vector::CreateMaskOp::create(b, loc, VectorType::get({n}, b.getI1Type()), limit);
    return vector::MaskedLoadOp::create(b, loc, type, side.buffers[0], at, mask, zero);
  };
  if (side.packed()) {
    at.back() = e.divide(at.back(), 2);
    return e.lanes.decode(e.lanes.unpack(read(count / 2, ceilDivide(valid, 2))), side.element);
  }
  Value v = read(count, valid);
  if (side.format)
    return e.lanes.decode(v, side.element);
  auto real = VectorType::get({count}, b.getF32Type());
  return side.element.isF32() ? v : arith::ExtFOp::create(b, loc, real, v).getResult();
}

Value Product::scaleAt(const Operand &side, SmallVector<Value> at) {
  size_t last = at.size() - 1;
  at[last - 1] = e.divide(at[last - 1], side.format.getBlockRows());
  at[last] = e.divide(at[last], side.format.getBlockCols());
  Value byte = memref::LoadOp::create(b, loc, side.buffers[1], at);
  return e.lanes.scaleValue(e.lanes.widen(byte));
}

/// leftPanel[m, k] and leftScale[m]; rows up to a multiple of the register tile are filled with zeros.
void Product::loadLeft(Value firstRow, Value rows, Value firstK, Value validK) {
  Value zero = e.index(0);
  e.loop(zero, rows, 1, [&](Value m) {
    Value row = e.addIndex(firstRow, m);
    Value v = decodeRow(left, {row, firstK}, block, validK);
    vector::StoreOp::create(b, loc, v, leftPanel, ValueRange{m, zero});
    if (left.format)
      memref::StoreOp::create(b, loc, scaleAt(left, {row, firstK}), leftScale, m);
  });
  e.loop(rows, times(ceilDivide(rows, kRegisterRows), kRegisterRows), 1, [&](Value m) {
    Value none = arith::ConstantOp::create(b, loc, b.getZeroAttr(VectorType::get({block}, b.getF32Type())));
    vector::StoreOp::create(b, loc, none, leftPanel, ValueRange{m, zero});
  });
}

/// rightPanel[k, n], turned sixteen rows of B at a time, and rightScale[n].
void Product::loadRight(Value matrix, Value firstCol, Value cols, Value firstK, Value validK) {
  Value zero = e.index(0);
  e.loop(zero, cols, kLanes, [&](Value n0) {
    e.loop(zero, e.index(kLanes), 1, [&](Value i) {
      Value n = e.addIndex(n0, i);
      Value inside = arith::CmpIOp::create(b, loc, CmpIPredicate::ult, n, cols);
      Value safe = arith::SelectOp::create(b, loc, inside, e.addIndex(firstCol, n), firstCol);
      SmallVector<Value> at{safe, firstK};
      if (matrix)
        at.insert(at.begin(), matrix);
      Value v = decodeRow(right, at, block, arith::SelectOp::create(b, loc, inside, validK, zero));
      vector::StoreOp::create(b, loc, v, strip, ValueRange{i, zero});
      if (right.format)
        memref::StoreOp::create(b, loc, scaleAt(right, at), rightScale, n);
    });
    e.loop(zero, e.index(block), kLanes, [&](Value k0) {
      auto line = VectorType::get({kLanes}, b.getF32Type());
      SmallVector<Value> square;
      for (int64_t r = 0; r < kLanes; ++r)
        square.push_back(vector::LoadOp::create(b, loc, line, strip, ValueRange{e.index(r), k0}));
      square = e.lanes.turnSquare(std::move(square));
      for (int64_t c = 0; c < kLanes; ++c)
        vector::StoreOp::create(b, loc, square[c], rightPanel, ValueRange{e.offsetBy(k0, c), n0});
    });
  });
}

/// Panel [row, column] of an operand whose rows are contracted, re-blocked along rows: the values of its scaling-aware
/// transpose, and one scale a column.
void Product::loadTurned(const Operand &side, Value panel, Value scales, int64_t width, Value firstRow, Value rows,
                         Value firstCol, Value cols) {
  Value zero = e.index(0);
  if (!side.format) {
    e.loop(zero, rows, 1, [&](Value m) {
      Value v = decodeRow(side, {e.addIndex(firstRow, m), firstCol}, width, cols);
      vector::StoreOp::create(b, loc, v, panel, ValueRange{m, zero});
    });
    return;
  }
  int64_t blockCols = side.format.getBlockCols(), blocks = width / blockCols;
  auto bytes = VectorType::get({blocks}, b.getI8Type());
  auto rowScales = [&](Value m) -> Value {
    Value mask = vector::CreateMaskOp::create(b, loc, VectorType::get({blocks}, b.getI1Type()), ceilDivide(cols, blockCols));
    Value none = arith::ConstantOp::create(b, loc, b.getZeroAttr(bytes));
    return e.lanes.widen(vector::MaskedLoadOp::create(
        b, loc, bytes, side.buffers[1], ValueRange{e.addIndex(firstRow, m), e.divide(firstCol, blockCols)}, mask, none));
  };
  Value start = arith::ConstantOp::create(b, loc, b.getZeroAttr(VectorType::get({blocks}, b.getI32Type())));
  auto search = scf::ForOp::create(b, loc, zero, rows, e.index(1), ValueRange{start});
  {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(search.getBody());
    scf::YieldOp::create(b, loc, ValueRange{e.lanes.umax(search.getRegionIterArg(0), rowScales(search.getInductionVar()))});
  }
  Type e4m3 = Float8E4M3FNType::get(b.getContext());
  mx::ElementLimits limits = mx::limitsOf(e4m3);
  Value largest = search.getResult(0);
  Value lowered = e.lanes.clamp(e.lanes.sub(largest, e.lanes.i32(largest, mx::headroom(side.element, e4m3))), 0, 254);
  Value byte = e.lanes.select(e.lanes.cmp(CmpIPredicate::eq, largest, 255), e.lanes.i32(largest, 255), lowered);
  vector::StoreOp::create(b, loc, e.lanes.repeat(e.lanes.scaleValue(byte), blockCols), scales, zero);
  e.loop(zero, rows, 1, [&](Value m) {
    Value v = decodeRow(side, {e.addIndex(firstRow, m), firstCol}, width, cols);
    Value shift = e.lanes.repeat(e.lanes.sub(rowScales(m), byte), blockCols);
    Value moved = mul(v, e.lanes.power(shift));
    // Only what falls among E4M3's subnormals loses bits: adding and taking away a number whose last bit is their
    // step rounds to nearest even.
    Value magic = e.lanes.f32(moved, std::ldexp(1.5, 23 + limits.minExponent - limits.mantissaBits));
    Value rounded = arith::SubFOp::create(b, loc, arith::AddFOp::create(b, loc, moved, magic), magic);
    Value small = e.lanes.cmp(CmpIPredicate::ult, e.lanes.absBits(moved), int64_t(127 + limits.minExponent) << 23);
    vector::StoreOp::create(b, loc, e.lanes.select(small, rounded, moved), panel, ValueRange{m, zero});
  });
}

/// Calls with the two factors of every product of a register tile at `k`, row by row.
void Product::eachProduct(Value k, Value m0, Value n0, bool leftTurned, llvm::function_ref<void(Value, Value)> body) {
  auto line = VectorType::get({kLanes}, b.getF32Type());
  Value columns[2];
  for (int64_t j = 0; j < 2; ++j)
    columns[j] = vector::LoadOp::create(b, loc, line, rightPanel, ValueRange{k, e.offsetBy(n0, j * kLanes)});
  for (int64_t i = 0; i < kRegisterRows; ++i) {
    Value m = e.offsetBy(m0, i);
    Value a = memref::LoadOp::create(b, loc, leftPanel, leftTurned ? ValueRange{k, m} : ValueRange{m, k});
    Value wide = e.lanes.splat(a, kLanes);
    for (Value column : columns)
      body(wide, column);
  }
}

/// Of a register tile over the block's depth, in FP32.
SmallVector<Value> Product::exactSums(Value depth, Value m0, Value n0, bool leftTurned) {
  Value none = arith::ConstantOp::create(b, loc, b.getZeroAttr(VectorType::get({kLanes}, b.getF32Type())));
  auto inner = scf::ForOp::create(b, loc, e.index(0), depth, e.index(1), SmallVector<Value>(2 * kRegisterRows, none));
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(inner.getBody());
  SmallVector<Value> next;
  eachProduct(inner.getInductionVar(), m0, n0, leftTurned, [&](Value a, Value c) {
    next.push_back(math::FmaOp::create(b, loc, a, c, inner.getRegionIterArg(unsigned(next.size()))));
  });
  scf::YieldOp::create(b, loc, next);
  return inner.getResults();
}

/// The same as the tensor cores make them (see mx.tensor_core_sums): two passes over each step of K, the first for the largest
/// exponent. What is left has 20 bits at most, so that the order of FP32 additions is free.
SmallVector<Value> Product::tensorCoreSums(Value depth, Value m0, Value n0, bool leftTurned) {
  constexpr int64_t step = 32, kept = 13, mantissa = 23, bias = 127;
  const int64_t least = bias + mx::limitsOf(Float8E4M3FNType::get(b.getContext())).minExponent;
  Value none = arith::ConstantOp::create(b, loc, b.getZeroAttr(VectorType::get({kLanes}, b.getF32Type())));
  auto exponentOf = [&](Value v) -> Value { return e.lanes.shr(e.lanes.absBits(v), mantissa); }; // as FP32 has it
  auto codeExponent = [&](Value v) -> Value { return e.lanes.clamp(exponentOf(v), least, 2 * bias + 1); };
  auto cut = [&](Value v, Value bits) -> Value { // towards zero, by so many bits
    Value mask = arith::ShLIOp::create(b, loc, e.lanes.i32(bits, -1), bits);
    return e.lanes.real(arith::AndIOp::create(b, loc, e.lanes.bits(v), mask));
  };
  auto aligned = [&](Value v, Value largest) -> Value {
    Value drop = e.lanes.sub(largest, exponentOf(v)), beyond = e.lanes.cmp(CmpIPredicate::sgt, drop, kept);
    Value left = cut(v, e.lanes.clamp(arith::AddIOp::create(b, loc, drop, e.lanes.i32(drop, mantissa - kept)), 0, mantissa));
    return e.lanes.select(beyond, e.lanes.f32(left, 0), left);
  };
  auto steps = scf::ForOp::create(b, loc, e.index(0), depth, e.index(step), SmallVector<Value>(2 * kRegisterRows, none));
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(steps.getBody());
  Value begin = steps.getInductionVar(), end = arith::MinUIOp::create(b, loc, e.offsetBy(begin, step), depth);
  auto pass = [&](SmallVector<Value> initial,
                  llvm::function_ref<Value(size_t, Value, Value, Value)> next) -> SmallVector<Value> {
    auto loop = scf::ForOp::create(b, loc, begin, end, e.index(1), initial);
    OpBuilder::InsertionGuard inner(b);
    b.setInsertionPointToStart(loop.getBody());
    SmallVector<Value> yielded;
    eachProduct(loop.getInductionVar(), m0, n0, leftTurned, [&](Value a, Value c) {
      size_t i = yielded.size();
      yielded.push_back(next(i, a, c, loop.getRegionIterArg(unsigned(i))));
    });
    scf::YieldOp::create(b, loc, yielded);
    return loop.getResults();
  };
  SmallVector<Value> before(steps.getRegionIterArgs());
  SmallVector<Value> largest =
      pass(llvm::map_to_vector(before, exponentOf), [&](size_t, Value a, Value c, Value found) -> Value {
        Value both = arith::AddIOp::create(b, loc, codeExponent(a), codeExponent(c)), zero = e.lanes.i32(both, 0);
        Value nothing = e.lanes.cmp(CmpIPredicate::eq, e.lanes.absBits(mul(a, c)), 0);
        return e.lanes.umax(found, e.lanes.select(nothing, zero, e.lanes.sub(both, e.lanes.i32(both, bias))));
      });
  SmallVector<Value> carried;
  for (auto [sum, exponent] : llvm::zip(before, largest))
    carried.push_back(aligned(sum, exponent));
  SmallVector<Value> sums = pass(carried, [&](size_t i, Value a, Value c, Value sum) -> Value {
    return arith::AddFOp::create(b, loc, sum, aligned(mul(a, c), largest[i]));
  });
  for (Value &sum : sums)
    sum = cut(sum, e.lanes.i32(e.lanes.bits(sum), mantissa - kept));
  scf::YieldOp::create(b, loc, sums);
  return steps.getResults();
}

/// sum[m, n] += leftScale[m] * rightScale[n] * sum over depth of left * right.
void Product::multiply(Value rows, Value depth, bool leftTurned) {
  Value zero = e.index(0);
  auto line = VectorType::get({kLanes}, b.getF32Type());
  e.loop(zero, rows, kRegisterRows, [&](Value m0) {
    e.loop(zero, e.index(kCols), 2 * kLanes, [&](Value n0) {
      bool codes = left.format && right.format;
      SmallVector<Value> sums =
          frame.tensorCoreSums && codes ? tensorCoreSums(depth, m0, n0, leftTurned) : exactSums(depth, m0, n0, leftTurned);
      for (int64_t i = 0; i < kRegisterRows; ++i) {
        Value m = e.offsetBy(m0, i);
        for (int64_t j = 0; j < 2; ++j) {
          Value n = e.offsetBy(n0, j * kLanes), part = sums[size_t(2 * i + j)];
          if (left.format)
            part = mul(part, e.lanes.splat(memref::LoadOp::create(b, loc, leftScale, m), kLanes));
          if (right.format)
            part = mul(part, vector::LoadOp::create(b, loc, line, rightScale, n));
          Value before = vector::LoadOp::create(b, loc, line, sum, ValueRange{m, n});
          vector::StoreOp::create(b, loc, arith::AddFOp::create(b, loc, before, part), sum, ValueRange{m, n});
        }
      }
    });
  });
}

/// The tile of sums to the result, in its type.
void Product::store(SmallVector<Value> prefix, Value firstRow, Value rows, Value firstCol, Value cols) {
  Value zero = e.index(0);
  auto line = VectorType::get({kCols}, b.getF32Type());
  Type element = llvm::cast<MemRefType>(result.getType()).getElementType();
  Value accumulate = op.getAddend() ? e.inputBuffers(op.getAddend())[0] : Value();
  e.loop(zero, rows, 1, [&](Value m) {
    Value v = vector::LoadOp::create(b, loc, line, sum, ValueRange{m, zero});
    SmallVector<Value> at = prefix;
    at.append({e.addIndex(firstRow, m), firstCol});
    Value mask = vector::CreateMaskOp::create(b, loc, VectorType::get({kCols}, b.getI1Type()), cols);
    if (accumulate) {
      Value none = arith::ConstantOp::create(b, loc, b.getZeroAttr(line));
      v = arith::AddFOp::create(b, loc, vector::MaskedLoadOp::create(b, loc, line, accumulate, at, mask, none), v);
    }
    if (element.isBF16())
      v = e.lanes.toBF16(v);
    else if (element.isF16())
      v = arith::TruncFOp::create(b, loc, VectorType::get({kCols}, element), v);
    vector::MaskedStoreOp::create(b, loc, result, at, mask, v);
  });
}

void Product::clear(Value rows) {
  Value zero = e.index(0);
  e.loop(zero, times(ceilDivide(rows, kRegisterRows), kRegisterRows), 1, [&](Value m) {
    Value none = arith::ConstantOp::create(b, loc, b.getZeroAttr(VectorType::get({kCols}, b.getF32Type())));
    vector::StoreOp::create(b, loc, none, sum, ValueRange{m, zero});
  });
}

void Product::emit() {
  Type real = b.getF32Type();
  bool byRows = contractsRows();
  leftPanel = byRows ? e.scratch({kDepth, kCols}, real) : e.scratch({kRows, block}, real);
  rightPanel = byRows ? e.scratch({kDepth, kCols}, real) : e.scratch({block, kCols}, real);
  sum = e.scratch({byRows ? kCols : kRows, kCols}, real);
  leftScale = e.scratch({kRows}, real);
  rightScale = e.scratch({kCols + kLanes}, real);
  strip = e.scratch({kLanes, block}, real);
  byRows ? emitByRows() : emitByColumns();
}

void Product::emitByColumns() {
  Value zero = e.index(0), n = dim(result, 1), m = dim(result, 0), k = columnsOf(left);
  Value columnTiles = ceilDivide(n, kCols);
  e.loop(frame.begin, frame.end, 1, [&](Value task) {
    Value tile = arith::DivUIOp::create(b, loc, task, columnTiles);
    Value firstCol = times(arith::RemUIOp::create(b, loc, task, columnTiles), kCols);
    Value cols = atMost(minus(n, firstCol), kCols);
    Value firstRow, rows, expert, depth = k;
    if (offsets) {
      GroupedTile grouped = findGroupedTile(e, tile, m, offsets, kRows);
      firstRow = grouped.firstRow;
      rows = grouped.rows;
      expert = grouped.group;
      if (op.groupsAreSpans()) {
        // What lies between two groups is a group of its own, without a sum.
        Value between = arith::RemUIOp::create(b, loc, expert, e.index(2));
        depth = arith::SelectOp::create(b, loc, arith::CmpIOp::create(b, loc, CmpIPredicate::eq, between, zero), k, zero);
        expert = e.divide(expert, 2);
      }
      // Rows before the first group and after the last one belong to no expert: the first tile clears them.
      Value isFirst = arith::CmpIOp::create(b, loc, CmpIPredicate::eq, tile, zero);
      e.when(isFirst, [&] {
        auto at = [&](Value i) { return loadOffset(e, offsets, i, m); };
        Value none = arith::ConstantOp::create(
            b, loc, b.getZeroAttr(VectorType::get({kCols}, llvm::cast<MemRefType>(result.getType()).getElementType())));
        Value mask = vector::CreateMaskOp::create(b, loc, VectorType::get({kCols}, b.getI1Type()), cols);
        auto clearRow = [&](Value row) {
          vector::MaskedStoreOp::create(b, loc, result, ValueRange{row, firstCol}, mask, none);
        };
        e.loop(zero, at(zero), 1, clearRow);
        e.loop(at(e.offsetBy(dim(offsets, 0), -1)), m, 1, clearRow);
      });
    } else {
      firstRow = times(tile, kRows);
      rows = atMost(minus(m, firstRow), kRows);
    }
    Value filled = arith::CmpIOp::create(b, loc, CmpIPredicate::ne, rows, zero);
    e.when(filled, [&] {
      clear(rows);
      e.loop(zero, depth, block, [&](Value firstK) {
        Value validK = atMost(minus(k, firstK), block);
        loadLeft(firstRow, rows, firstK, validK);
        loadRight(expert, firstCol, cols, firstK, validK);
        multiply(rows, e.index(block), /*leftTurned=*/false);
      });
      store({}, firstRow, rows, firstCol, cols);
    });
  });
}

void Product::emitByRows() {
  Value n = dim(result, 1), k = dim(result, 2);
  Value rowTiles = ceilDivide(n, kCols), columnTiles = ceilDivide(k, kCols);
  Value total = dim(left.buffers[0], 0);
  auto at = [&](Value i) { return loadOffset(e, offsets, i, total); };
  e.loop(frame.begin, frame.end, 1, [&](Value task) {
    Value columnTile = arith::RemUIOp::create(b, loc, task, columnTiles);
    Value rest = arith::DivUIOp::create(b, loc, task, columnTiles);
    Value rowTile = arith::RemUIOp::create(b, loc, rest, rowTiles);
    Value expert = arith::DivUIOp::create(b, loc, rest, rowTiles);
    Value firstN = times(rowTile, kCols), firstK = times(columnTile, kCols);
    Value countN = atMost(minus(n, firstN), kCols), countK = atMost(minus(k, firstK), kCols);
    clear(e.index(kCols));
    Value begin = at(expert), end = at(e.offsetBy(expert, 1));
    e.loop(begin, end, kDepth, [&](Value row) {
      Value rows = atMost(minus(end, row), kDepth);
      loadTurned(left, leftPanel, leftScale, kCols, row, rows, firstN, countN);
      loadTurned(right, rightPanel, rightScale, kCols, row, rows, firstK, countK);
      multiply(countN, rows, /*leftTurned=*/true);
    });
    store({expert}, firstN, countN, firstK, countK);
  });
}

Value vernier::host::countProductTasks(TileEmitter &e, const KernelFrame &frame) { return Product(e, frame).countTasks(); }
void vernier::host::emitProductKernel(TileEmitter &e, const KernelFrame &frame) { Product(e, frame).emit(); }
