#include "compiler/Conversion/MxToHopper/TileEmitter.h"

#include "dialects/mx/Analysis/Storage.h"
#include "dialects/mx/Analysis/Tables.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace vernier;
using namespace vernier::tiled;
using arith::CmpIPredicate;

hopper::ReduceKind vernier::tiled::reduceKindOf(mx::ReduceKind kind) {
  switch (kind) {
  case mx::ReduceKind::Sum:
    return hopper::ReduceKind::Sum;
  case mx::ReduceKind::Max:
    return hopper::ReduceKind::Max;
  case mx::ReduceKind::Min:
    return hopper::ReduceKind::Min;
  }
  llvm_unreachable("all kinds are listed");
}

TileEmitter::TileEmitter(OpBuilder &builder, mx::KernelOp kernel, const mx::KernelPlan &plan, const mx::Sizes &sizes,
                         func::FuncOp function, hopper::LayoutAttr layout)
    : lanes(builder, kernel.getLoc()), plan(plan), ops(mx::KernelOps::of(kernel)), layout(layout), R(layout.getRows()),
      C(layout.getCols()), b(builder), loc(kernel.getLoc()), kernel(kernel), sizes(sizes), function(function) {
  unsigned next = 0;
  auto take = [&](Type type) {
    SmallVector<Value> buffers;
    for (size_t i = 0, n = mx::buffersOf(type).size(); i < n; ++i)
      buffers.push_back(function.getArgument(next++));
    return buffers;
  };
  for (Value argument : kernel.getBody().getArguments())
    inputs[argument] = take(argument.getType());
  // A value that is yielded twice is stored once here; the launch plan never does that.
  for (Value output : ops.outputs)
    outputs[output] = take(output.getType());
  memo.emplace_back();
}

// --- small pieces ---

Value TileEmitter::index(int64_t value) {
  auto [it, fresh] = indices.try_emplace(value);
  if (fresh) {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(&function.getBody().front());
    it->second = arith::ConstantIndexOp::create(b, loc, value);
  }
  return it->second;
}
Value TileEmitter::add(Value a, Value c) { return arith::AddIOp::create(b, loc, a, c); }
Value TileEmitter::addTo(Value a, int64_t offset) { return offset ? add(a, index(offset)) : a; }
Value TileEmitter::divide(Value a, int64_t divisor) {
  if (divisor == 1)
    return a;
  if (llvm::isa<VectorType>(a.getType()))
    return arith::DivUIOp::create(b, loc, a, lanes.i32(a, divisor));
  return arith::DivUIOp::create(b, loc, a, index(divisor));
}

Value TileEmitter::size(const mx::Size &size) {
  if (size.isConstant())
    return index(size.constant);
  unsigned buffers = function.getNumArguments() - wanted.size();
  for (auto [i, known] : llvm::enumerate(wanted))
    if (known == size)
      return function.getArgument(buffers + i);
  wanted.push_back(size);
  (void)function.insertArgument(function.getNumArguments(), b.getIndexType(), {}, loc);
  return function.getArguments().back();
}
Value TileEmitter::size(Value value, unsigned dim) { return size(sizes.get(value, dim)); }

Value TileEmitter::zeros(VectorType type) { return arith::ConstantOp::create(b, loc, b.getZeroAttr(type)); }

Value TileEmitter::reduce(hopper::ReduceKind kind, Value input, int64_t gridRows, int64_t gridCols) {
  auto type = llvm::cast<VectorType>(input.getType());
  bool integer = kind == hopper::ReduceKind::AMax || kind == hopper::ReduceKind::UMax;
  if (kind != hopper::ReduceKind::AMax && type.getShape() == ArrayRef<int64_t>{gridRows, gridCols})
    return input;
  return hopper::ReduceOp::create(b, loc, tile(gridRows, gridCols, integer ? b.getI32Type() : type.getElementType()), kind,
                                  input, IntegerAttr(), false);
}

Value TileEmitter::expand(Value grid, int64_t gridRows, int64_t gridCols) {
  auto type = llvm::cast<VectorType>(grid.getType());
  if (type.getShape() == ArrayRef<int64_t>{gridRows, gridCols})
    return grid;
  return hopper::ExpandOp::create(b, loc, tile(gridRows, gridCols, type.getElementType()), grid);
}
Value TileEmitter::expandLike(Value grid, Value like) {
  auto type = llvm::cast<VectorType>(like.getType());
  return expand(grid, type.getDimSize(0), type.getDimSize(1));
}

Value TileEmitter::existingColumns(const Chunk &chunk) {
  if (!chunk.valid)
    return {};
  Key key{nullptr, nullptr, keyOf(chunk), 0, 4};
  if (TileValue *known = recall(key))
    return known->data;
  auto type = tile(1, C, b.getIndexType());
  Value columns = hopper::ColumnsOp::create(b, loc, type, index(0));
  Value limit = vector::BroadcastOp::create(b, loc, type, chunk.valid);
  return remember(key, {arith::CmpIOp::create(b, loc, CmpIPredicate::ult, columns, limit), {}}).data;
}

Value TileEmitter::toF32(Value v) {
  if (getElementTypeOrSelf(v.getType()).isF32())
    return v;
  auto type = llvm::cast<VectorType>(v.getType());
  return arith::ExtFOp::create(b, loc, VectorType::get(type.getShape(), b.getF32Type()), v);
}

Value TileEmitter::loadOffset(Value offsets, Value at, Value rowCount) {
  Value entry = memref::LoadOp::create(b, loc, offsets, at);
  Value offset = arith::IndexCastOp::create(b, loc, b.getIndexType(), entry);
  return arith::MinSIOp::create(b, loc, arith::MaxSIOp::create(b, loc, offset, index(0)), rowCount);
}

TileValue *TileEmitter::recall(const Key &key) {
  for (auto &scope : llvm::reverse(memo))
    if (auto it = scope.find(key); it != scope.end())
      return &it->second;
  return nullptr;
}
TileValue TileEmitter::remember(const Key &key, TileValue value) { return memo.back()[key] = value; }

// --- control ---

Value TileEmitter::rowNumber(Value index, int64_t gridRows) {
  Value narrow = arith::IndexCastOp::create(b, loc, b.getI32Type(), index);
  return vector::BroadcastOp::create(b, loc, tile(gridRows, 1, b.getI32Type()), narrow);
}

void TileEmitter::beginTile(const Tile &tile) {
  current = tile;
  Value numbers = hopper::RowsOp::create(b, loc, VectorType::get({R, 1}, b.getI32Type()), tile.firstRow);
  Value end = rowNumber(add(tile.firstRow, tile.rows), R), last = rowNumber(addTo(add(tile.firstRow, tile.rows), -1), R);
  rows = {arith::MinUIOp::create(b, loc, numbers, last), arith::CmpIOp::create(b, loc, CmpIPredicate::ult, numbers, end), {}};
}

void TileEmitter::loop(Value begin, Value end, Value step, llvm::function_ref<void(Value)> body) {
  OpBuilder::InsertionGuard guard(b);
  auto loop = scf::ForOp::create(b, loc, begin, end, step);
  b.setInsertionPointToStart(loop.getBody());
  memo.emplace_back();
  body(loop.getInductionVar());
  memo.pop_back();
}

void TileEmitter::within(hopper::LayoutAttr other, llvm::function_ref<void()> body) {
  hopper::LayoutAttr outer = layout;
  auto set = [&](hopper::LayoutAttr next) { layout = next, R = next.getRows(), C = next.getCols(); };
  set(other);
  memo.emplace_back();
  body();
  memo.pop_back();
  set(outer);
}

void TileEmitter::when(Value condition, llvm::function_ref<void()> body, llvm::function_ref<void()> otherwise) {
  OpBuilder::InsertionGuard guard(b);
  auto branch = scf::IfOp::create(b, loc, condition, /*withElseRegion=*/bool(otherwise));
  auto in = [&](Block *block, llvm::function_ref<void()> emit) {
    b.setInsertionPointToStart(block);
    memo.emplace_back();
    emit();
    memo.pop_back();
  };
  in(branch.thenBlock(), body);
  if (otherwise)
    in(branch.elseBlock(), otherwise);
}

mx::Size TileEmitter::columnsOf(Value value, int64_t width) const {
  if (!ShapedType::isDynamic(width))
    return mx::Size::fixed(width);
  // A transposed output has them as its rows.
  if (auto transpose = value.getDefiningOp<mx::TransposeOp>(); transpose && ops.contains(value))
    value = transpose.getInput();
  return sizes.get(value, 1);
}

Value TileEmitter::countChunks(Value value, int64_t width) {
  if (!ShapedType::isDynamic(width))
    return index(llvm::divideCeil(width, C));
  return divide(addTo(size(columnsOf(value, width)), C - 1), C);
}

Chunk TileEmitter::chunkAt(Value value, int64_t width, Value number) {
  Value start = arith::MulIOp::create(b, loc, number, index(C));
  if (!ShapedType::isDynamic(width) && width % C == 0)
    return {start, {}};
  Value left = arith::SubIOp::create(b, loc, size(columnsOf(value, width)), start);
  return {start, arith::MinUIOp::create(b, loc, left, index(C))};
}

/// Elements of a tile's rows that one thread may keep in registers from pass to pass.
static constexpr int64_t kUnrolledElements = 64;

SmallVector<Value> TileEmitter::foldChunks(Value value, int64_t width, SmallVector<Value> carried,
                                           llvm::function_ref<SmallVector<Value>(const Chunk &, ValueRange)> body) {
  bool fixed = !ShapedType::isDynamic(width);
  int64_t whole = fixed ? width / C : 0;
  if (fixed && (whole + 1) * layout.items() * layout.getVector() <= kUnrolledElements + layout.items() * layout.getVector()) {
    for (int64_t i = 0; i < whole; ++i)
      carried = body({index(i * C), {}}, carried);
    if (whole * C < width)
      carried = body({index(whole * C), index(width - whole * C)}, carried);
    return carried;
  }
  Value columns = size(columnsOf(value, width));
  Value end = fixed ? index(whole * C) : arith::MulIOp::create(b, loc, divide(columns, C), index(C)).getResult();
  auto loop = scf::ForOp::create(b, loc, index(0), end, index(C), carried);
  {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(loop.getBody());
    memo.emplace_back();
    SmallVector<Value> next = body({loop.getInductionVar(), {}}, loop.getRegionIterArgs());
    memo.pop_back();
    if (!carried.empty())
      scf::YieldOp::create(b, loc, next);
  }
  carried.assign(loop.getResults().begin(), loop.getResults().end());
  if (fixed) {
    if (whole * C < width)
      carried = body({end, index(width - whole * C)}, carried);
    return carried;
  }
  Value rest = arith::SubIOp::create(b, loc, columns, end);
  auto branch =
      scf::IfOp::create(b, loc, ValueRange(carried).getTypes(),
                        arith::CmpIOp::create(b, loc, CmpIPredicate::ne, rest, index(0)), /*withElseRegion=*/!carried.empty());
  {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(branch.thenBlock());
    memo.emplace_back();
    SmallVector<Value> next = body({end, rest}, carried);
    memo.pop_back();
    if (!carried.empty()) {
      scf::YieldOp::create(b, loc, next);
      b.setInsertionPointToStart(branch.elseBlock());
      scf::YieldOp::create(b, loc, carried);
    }
  }
  return {branch.getResults().begin(), branch.getResults().end()};
}

void TileEmitter::chunks(Value value, int64_t width, llvm::function_ref<void(const Chunk &)> body) {
  foldChunks(value, width, {}, [&](const Chunk &chunk, ValueRange) {
    body(chunk);
    return SmallVector<Value>{};
  });
}

// --- values ---

TileValue TileEmitter::matrix(Value value, const Rows &at, const Chunk &chunk, int64_t offset) {
  Key key{value.getAsOpaquePointer(), at.index.getAsOpaquePointer(), keyOf(chunk), offset, 0};
  if (TileValue *known = recall(key))
    return *known;
  return remember(key, ops.contains(value) ? emitMatrix(value, at, chunk, offset) : loadMatrix(value, at, chunk, offset));
}

Value TileEmitter::stride(Value value, unsigned part) {
  mx::Buffer buffer = mx::buffersOf(value.getType())[part];
  int64_t last = buffer.shape.back();
  if (!ShapedType::isDynamic(last) || buffer.shape.size() < 2)
    return {};
  const mx::BufferDim &dim = buffer.dims.back();
  Value columns = size(value, dim.dim);
  if (dim.grouped) { // floor(rows / 128) + groups
    auto transpose = value.getDefiningOp<mx::TransposeOp>();
    return add(divide(columns, dim.divisor), addTo(size(transpose.getOffsets(), 0), -1));
  }
  // Of codes, the logical columns: a packed row is their half.
  return part == 0 ? columns : divide(addTo(columns, dim.divisor - 1), dim.divisor);
}

Value TileEmitter::flattened(Value buffer) {
  auto type = llvm::cast<MemRefType>(buffer.getType());
  if (type.getRank() != 3)
    return buffer;
  SmallVector<ReassociationIndices> dims{{0, 1}, {2}};
  return memref::CollapseShapeOp::create(b, loc, buffer, dims);
}

int64_t TileEmitter::alignment(Value value, int64_t offset, int64_t perNumber) {
  int64_t columns = mx::shapeOf(value.getType()).back();
  if (ShapedType::isDynamic(columns))
    return 1;
  if (columns % perNumber || offset % perNumber)
    return 1;
  // Rows begin at multiples of the columns, chunks at multiples of C, threads at multiples of the vector.
  int64_t together = (columns | offset | C * perNumber | 1024) / perNumber;
  return std::min<int64_t>(int64_t(1) << llvm::countr_zero(uint64_t(together)), layout.getVector());
}

Value TileEmitter::asBoolean(Value value, Value loaded) {
  auto tensor = llvm::dyn_cast<RankedTensorType>(value.getType());
  return tensor && tensor.getElementType().isInteger(1) ? lanes.cmp(CmpIPredicate::ne, loaded, 0) : loaded;
}

/// Type in which an element is loaded: booleans are bytes.
static Type storedType(Value value) { return mx::buffersOf(value.getType())[0].element; }

TileValue TileEmitter::loadMatrix(Value value, const Rows &at, const Chunk &chunk, int64_t offset) {
  Value column = addTo(chunk.start, offset);
  auto scaled = llvm::dyn_cast<mx::ScaledType>(value.getType());
  Type element = scaled ? scaled.getFormat().getElement() : storedType(value);
  Value limit = chunk.valid ? add(column, chunk.valid) : Value();
  Value data = hopper::LoadOp::create(b, loc, tile(R, C, element), inputBuffer(value), at.index, at.present, column, limit,
                                      stride(value, 0), alignment(value, offset));
  if (!scaled)
    return {asBoolean(value, data), {}};
  mx::FormatAttr format = scaled.getFormat();
  int64_t height = format.getBlockRows(), width = format.getBlockCols();
  // Rows of a tile that lies inside blocks share their scales; gathered rows and tiles of groups have their own.
  bool shared = height > 1 && at.index == rows.index && !plan.groupOffsets;
  int64_t gridRows = shared ? std::max<int64_t>(1, R / height) : R, gridCols = C / width;
  Value scaleRows = at.index;
  if (shared) {
    // The first row of a block beyond the last row is no row: stay at the last.
    Value last = rowNumber(addTo(add(current.firstRow, current.rows), -1), gridRows);
    scaleRows = arith::MinUIOp::create(b, loc, hopper::RowsOp::create(b, loc, last.getType(), current.firstRow), last);
  }
  Value scaleLimit = limit ? divide(addTo(limit, width - 1), width) : Value();
  Value scales =
      hopper::LoadOp::create(b, loc, tile(gridRows, gridCols, b.getI8Type()), inputBuffer(value, 1), divide(scaleRows, height),
                             at.present, divide(column, width), scaleLimit, stride(value, 1), alignment(value, offset, width));
  return {data, lanes.widen(scales)};
}

TileValue TileEmitter::emitMatrix(Value value, const Rows &at, const Chunk &chunk, int64_t offset) {
  if (auto known = given.find(value); known != given.end())
    return {known->second(offset), {}};
  if (auto known = lookups.find(value); known != lookups.end()) {
    auto [argument, table] = known->second;
    return {hopper::LookupOp::create(b, loc, tile(R, C, b.getF32Type()), matrix(argument, at, chunk, offset).data, table), {}};
  }
  Operation *op = value.getDefiningOp();
  if (auto quantize = llvm::dyn_cast<mx::QuantizeOp>(op))
    return quantized(quantize, at, chunk, offset);
  if (auto requantize = llvm::dyn_cast<mx::RequantizeOp>(op))
    return requantized(requantize, at, chunk, offset);
  if (auto dequantize = llvm::dyn_cast<mx::DequantizeOp>(op)) {
    Value v = dequantized(dequantize.getInput(), at, chunk, offset);
    Type element = dequantize.getResult().getType().getElementType();
    return {element.isF32() ? v : arith::TruncFOp::create(b, loc, tile(R, C, element), v).getResult(), {}};
  }
  if (auto slice = llvm::dyn_cast<mx::SliceOp>(op))
    return matrix(slice.getInput(), at, chunk, offset + slice.getOffset());
  if (auto concat = llvm::dyn_cast<mx::ConcatOp>(op)) {
    auto [piece, inner] = concat.pieceAt(offset);
    return matrix(piece, at, chunk, inner);
  }
  if (auto permute = llvm::dyn_cast<mx::PermuteOp>(op)) {
    Rows source = gatheredRows(permute, at);
    TileValue v = matrix(permute.getInput(), source, chunk, offset);
    if (!ops.contains(permute.getInput()))
      return v;
    // Computed rows that are not there must be zeros too, whatever the computation makes of zeros.
    v.data = hopper::KeepOp::create(b, loc, v.data.getType(), v.data, source.present);
    if (v.scales)
      v.scales = hopper::KeepOp::create(b, loc, v.scales.getType(), v.scales, source.present);
    return v;
  }
  if (auto unpermute = llvm::dyn_cast<mx::UnpermuteOp>(op))
    return {unpermuted(unpermute, at, chunk, offset), {}};
  if (auto broadcast = llvm::dyn_cast<mx::BroadcastOp>(op)) {
    if (broadcast.getDims().empty())
      return {expand(scalar(broadcast.getInput()), R, C), {}};
    if (broadcast.getDims()[0] == 0)
      return {expand(perRow(broadcast.getInput(), at), R, C), {}};
    return {expand(perColumn(broadcast.getInput(), chunk, offset), R, C), {}};
  }
  if (llvm::isa<arith::ConstantOp>(op))
    return {constant(op, R, C), {}};
  SmallVector<Value> operands =
      llvm::map_to_vector(op->getOperands(), [&](Value operand) { return matrix(operand, at, chunk, offset).data; });
  return {elementwise(op, operands), {}};
}

void TileEmitter::makeTables(Value task, Value tasks, Value step) {
  mx::Tables wanted = mx::Tables::of(ops);
  if (wanted.functions.empty())
    return;
  // A table takes a thread as long as some four tasks whose numbers it finds there.
  constexpr int64_t worthwhile = 8;
  Value later = add(task, arith::MulIOp::create(b, loc, step, index(worthwhile)));
  Value worth = arith::CmpIOp::create(b, loc, CmpIPredicate::ult, later, tasks);
  SmallVector<Value> tables;
  for (Value value : wanted.functions) {
    auto tabulate = hopper::TabulateOp::create(b, loc, hopper::TableType::get(b.getContext()), worth, IntegerAttr());
    OpBuilder::InsertionGuard guard(b);
    Block *body = b.createBlock(&tabulate.getBody(), {}, tile(1, 1, b.getBF16Type()), loc);
    Value result = functionOf(value, wanted.lookups.find(value)->second.argument, body->getArgument(0));
    hopper::TabulatedOp::create(b, loc, result);
    tables.push_back(tabulate.getTable());
  }
  for (auto &[value, lookup] : wanted.lookups)
    lookups[value] = {lookup.argument, tables[lookup.function]};
}

Value TileEmitter::functionOf(Value value, Value matrix, Value argument) {
  if (value == matrix)
    return argument;
  Operation *op = value.getDefiningOp();
  if (auto broadcast = llvm::dyn_cast<mx::BroadcastOp>(op)) // of a constant
    op = broadcast.getInput().getDefiningOp();
  if (llvm::isa<arith::ConstantOp>(op))
    return constant(op, 1, 1);
  return elementwise(op, llvm::map_to_vector(op->getOperands(), [&](Value v) { return functionOf(v, matrix, argument); }));
}

Value TileEmitter::constant(Operation *op, int64_t gridRows, int64_t gridCols) {
  auto dense = llvm::cast<DenseElementsAttr>(llvm::cast<arith::ConstantOp>(op).getValue());
  auto type = tile(gridRows, gridCols, dense.getElementType());
  return arith::ConstantOp::create(b, loc, DenseElementsAttr::get(type, dense.getSplatValue<Attribute>()));
}

Value TileEmitter::elementwise(Operation *op, ArrayRef<Value> operands) {
  OperationState state(op->getLoc(), op->getName());
  state.addOperands(operands);
  state.addAttributes(op->getAttrs());
  auto vector = llvm::cast<VectorType>(operands[0].getType());
  state.addTypes(VectorType::get(vector.getShape(), getElementTypeOrSelf(op->getResult(0).getType())));
  return b.create(state)->getResult(0);
}

/// Rows of `input` by an i32 a row; `valid` rows of the tile only.
Rows TileEmitter::gather(Value entries, Value input, Value valid) {
  // -1 becomes a number beyond all rows.
  Value present = arith::CmpIOp::create(b, loc, CmpIPredicate::ult, entries, rowNumber(size(input, 0), R));
  if (valid)
    present = arith::AndIOp::create(b, loc, present, valid);
  Value index = arith::SelectOp::create(b, loc, present, entries, lanes.i32(entries, 0));
  return {index, rows.valid, present};
}

Rows TileEmitter::gatheredRows(mx::PermuteOp permute, const Rows &at) {
  Key key{permute.getOperation(), at.index.getAsOpaquePointer(), {}, 0, 3};
  if (TileValue *known = recall(key))
    return {known->data, rows.valid, known->scales};
  // Past the end of the index are the rows that pad_to adds.
  Value length = rowNumber(size(permute.getIndex(), 0), R);
  Value inside = arith::CmpIOp::create(b, loc, CmpIPredicate::ult, at.index, length);
  Value safe = arith::SelectOp::create(b, loc, inside, at.index, lanes.i32(at.index, 0));
  Value entries = hopper::LoadOp::create(b, loc, tile(R, 1, b.getI32Type()), inputBuffer(permute.getIndex()), safe, Value(),
                                         Value(), Value(), Value(), 1);
  Rows source = gather(entries, permute.getInput(), inside);
  remember(key, {source.index, source.present});
  return source;
}

Value TileEmitter::unpermuted(mx::UnpermuteOp op, const Rows &at, const Chunk &chunk, int64_t offset) {
  int64_t copies = op.getIndex().getType().getDimSize(1);
  auto real = tile(R, C, b.getF32Type());
  Value sum = zeros(real);
  for (int64_t j = 0; j < copies; ++j) {
    Key key{op.getOperation(), at.index.getAsOpaquePointer(), {}, j, 5};
    Rows source;
    if (TileValue *known = recall(key)) {
      source = {known->data, rows.valid, known->scales};
    } else {
      Value entries = hopper::LoadOp::create(b, loc, tile(R, 1, b.getI32Type()), inputBuffer(op.getIndex()), at.index, Value(),
                                             index(j), Value(), Value(), 1);
      source = gather(entries, op.getInput(), {});
      remember(key, {source.index, source.present});
    }
    Value v = toF32(matrix(op.getInput(), source, chunk, offset).data);
    if (op.getWeights()) {
      Value weight = hopper::LoadOp::create(b, loc, tile(R, 1, b.getF32Type()), inputBuffer(op.getWeights()), at.index, Value(),
                                            index(j), Value(), Value(), 1);
      v = arith::MulFOp::create(b, loc, v, expand(weight, R, C));
    }
    Value added = arith::AddFOp::create(b, loc, sum, v);
    sum = arith::SelectOp::create(b, loc, expand(source.present, R, C), added, sum);
  }
  return sum;
}

Value TileEmitter::perRow(Value value, const Rows &at) {
  Key key{value.getAsOpaquePointer(), at.index.getAsOpaquePointer(), {}, 0, 1};
  if (TileValue *known = recall(key))
    return known->data;
  Value result;
  if (!ops.contains(value)) {
    Value loaded = hopper::LoadOp::create(b, loc, tile(R, 1, storedType(value)), inputBuffer(value), at.index, at.present,
                                          Value(), Value(), Value(), 1);
    result = asBoolean(value, loaded);
  } else {
    Operation *op = value.getDefiningOp();
    if (llvm::isa<mx::ReduceOp>(op)) {
      result = rowReductions.find(op)->second;
    } else if (auto permute = llvm::dyn_cast<mx::PermuteOp>(op)) {
      Rows source = gatheredRows(permute, at);
      Value v = perRow(permute.getInput(), source);
      result = hopper::KeepOp::create(b, loc, v.getType(), v, source.present);
    } else if (auto broadcast = llvm::dyn_cast<mx::BroadcastOp>(op)) {
      result = broadcast.getDims().empty() ? expand(scalar(broadcast.getInput()), R, 1) : perRow(broadcast.getInput(), at);
    } else if (llvm::isa<arith::ConstantOp>(op)) {
      result = constant(op, R, 1);
    } else {
      result = elementwise(op, llvm::map_to_vector(op->getOperands(), [&](Value v) { return perRow(v, at); }));
    }
  }
  return remember(key, {result, {}}).data;
}

Value TileEmitter::perColumn(Value value, const Chunk &chunk, int64_t offset) {
  Key key{value.getAsOpaquePointer(), nullptr, keyOf(chunk), offset, 2};
  if (TileValue *known = recall(key))
    return known->data;
  Value result;
  if (!ops.contains(value)) {
    Value column = addTo(chunk.start, offset);
    Value loaded = hopper::LoadOp::create(b, loc, tile(1, C, storedType(value)), inputBuffer(value), Value(), Value(), column,
                                          chunk.valid ? add(column, chunk.valid) : Value(), Value(), alignment(value, offset));
    result = asBoolean(value, loaded);
  } else {
    Operation *op = value.getDefiningOp();
    if (auto broadcast = llvm::dyn_cast<mx::BroadcastOp>(op))
      result = broadcast.getDims().empty() ? expand(scalar(broadcast.getInput()), 1, C)
                                           : perColumn(broadcast.getInput(), chunk, offset);
    else if (llvm::isa<arith::ConstantOp>(op))
      result = constant(op, 1, C);
    else
      result = elementwise(op, llvm::map_to_vector(op->getOperands(), [&](Value v) { return perColumn(v, chunk, offset); }));
  }
  return remember(key, {result, {}}).data;
}

Value TileEmitter::scalar(Value value) {
  if (!ops.contains(value)) {
    Value memref = inputBuffer(value);
    int64_t rank = llvm::cast<MemRefType>(memref.getType()).getRank();
    Value row = rank > 0 ? zeros(tile(1, 1, b.getI32Type())) : Value(), col = rank > 1 ? index(0) : Value();
    Value loaded =
        hopper::LoadOp::create(b, loc, tile(1, 1, storedType(value)), memref, row, Value(), col, Value(), Value(), 1);
    return asBoolean(value, loaded);
  }
  Operation *op = value.getDefiningOp();
  if (llvm::isa<arith::ConstantOp>(op))
    return constant(op, 1, 1);
  if (auto broadcast = llvm::dyn_cast<mx::BroadcastOp>(op))
    return scalar(broadcast.getInput());
  return elementwise(op, llvm::map_to_vector(op->getOperands(), [&](Value v) { return scalar(v); }));
}
