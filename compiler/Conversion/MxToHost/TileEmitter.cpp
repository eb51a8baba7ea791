#include "compiler/Conversion/MxToHost/TileEmitter.h"

#include "dialects/mx/Analysis/Storage.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace vernier;
using namespace vernier::host;
using arith::CmpIPredicate;

TileEmitter::TileEmitter(OpBuilder &builder, mx::KernelOp kernel, const mx::KernelPlan &plan, func::FuncOp function)
    : lanes(builder, kernel.getLoc()), plan(plan), ops(mx::KernelOps::of(kernel)), b(builder), loc(kernel.getLoc()),
      function(function) {
  unsigned next = 0;
  auto take = [&](Type type) {
    SmallVector<Value> buffers;
    for (size_t i = 0, n = mx::buffersOf(type).size(); i < n; ++i)
      buffers.push_back(function.getArgument(next++));
    return buffers;
  };
  for (Value argument : kernel.getBody().getArguments())
    inputs[argument] = take(argument.getType());
  for (Value output : ops.outputs)
    outputs[output] = take(output.getType());
  memo.emplace_back();
}

ArrayRef<Value> TileEmitter::inputBuffers(Value argument) const { return inputs.find(argument)->second; }
ArrayRef<Value> TileEmitter::outputBuffers(Value output) const { return outputs.find(output)->second; }

// --- small pieces ---

Value TileEmitter::index(int64_t value) { return arith::ConstantIndexOp::create(b, loc, value); }
Value TileEmitter::addIndex(Value a, Value c) { return arith::AddIOp::create(b, loc, a, c); }
Value TileEmitter::offsetBy(Value a, int64_t offset) { return offset ? addIndex(a, index(offset)) : a; }
Value TileEmitter::divide(Value a, int64_t divisor) {
  return divisor == 1 ? a : arith::DivUIOp::create(b, loc, a, index(divisor)).getResult();
}

Value TileEmitter::scratch(ArrayRef<int64_t> shape, Type element) {
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(&function.getBody().front());
  return memref::AllocaOp::create(b, loc, MemRefType::get(shape, element), b.getI64IntegerAttr(64));
}

/// Kernels that only move and re-encode codes work on bytes: four registers hold 256 of them, and the work on scales is
/// shared by more elements. Numbers take four times the room.
int64_t TileEmitter::lanesFor() const {
  bool codesOnly = llvm::all_of(ops.ops, [](Operation *op) {
    if (auto permute = llvm::dyn_cast<mx::PermuteOp>(op))
      return llvm::isa<mx::ScaledType>(permute.getInput().getType());
    if (auto transpose = llvm::dyn_cast<mx::TransposeOp>(op))
      return llvm::isa<mx::ScaledType>(transpose.getInput().getType());
    return llvm::isa<mx::RequantizeOp>(op);
  });
  bool wide = codesOnly && llvm::all_of(plan.segments, [](const mx::Segment &segment) {
                return !ShapedType::isDynamic(segment.width) && segment.width % 256 == 0;
              });
  return std::max<int64_t>(wide ? 256 : 64, plan.blockCols);
}

void TileEmitter::loop(Value begin, Value end, int64_t step, llvm::function_ref<void(Value)> body) {
  OpBuilder::InsertionGuard guard(b);
  auto loop = scf::ForOp::create(b, loc, begin, end, index(step));
  b.setInsertionPointToStart(loop.getBody());
  Scope scope(*this);
  body(loop.getInductionVar());
}

void TileEmitter::when(Value condition, llvm::function_ref<void()> body) {
  OpBuilder::InsertionGuard guard(b);
  auto branch = scf::IfOp::create(b, loc, condition, /*withElseRegion=*/false);
  b.setInsertionPointToStart(branch.thenBlock());
  Scope scope(*this);
  body();
}

void TileEmitter::chunks(Value output, int64_t width, int64_t count, llvm::function_ref<void(const Chunk &)> body) {
  Value zero = index(0);
  if (ShapedType::isDynamic(width)) {
    // A run-time number of columns: the memref of the value knows it, that of packed codes by their pairs.
    bool written = outputs.contains(output), turned = written && output.getDefiningOp<mx::TransposeOp>();
    Value memref = written ? outputBuffers(output)[0] : inputBuffers(output)[0];
    Value columns = memref::DimOp::create(b, loc, memref, turned ? 0 : llvm::cast<MemRefType>(memref.getType()).getRank() - 1);
    auto scaled = llvm::dyn_cast<mx::ScaledType>(output.getType());
    if (scaled && scaled.getFormat().isPacked() && !turned)
      columns = arith::MulIOp::create(b, loc, columns, index(2));
    Value whole = arith::MulIOp::create(b, loc, divide(columns, count), index(count));
    loop(zero, whole, count, [&](Value start) { body({start, count, {}}); });
    Value rest = arith::SubIOp::create(b, loc, columns, whole);
    when(arith::CmpIOp::create(b, loc, CmpIPredicate::ne, rest, zero), [&] { body({whole, count, rest}); });
    return;
  }
  int64_t whole = width / count * count;
  if (whole == count)
    body({zero, count, {}});
  else if (whole)
    loop(zero, index(whole), count, [&](Value start) { body({start, count, {}}); });
  if (whole < width)
    body({index(whole), count, index(width - whole)});
}

void TileEmitter::tileRows(llvm::function_ref<void(Row)> body) {
  if (plan.rowTile == 1) {
    Scope scope(*this);
    return body({tile.firstRow, {}});
  }
  loop(tile.firstRow, addIndex(tile.firstRow, tile.rows), 1, [&](Value row) { body({row, {}}); });
}

Value TileEmitter::validOf(const Chunk &chunk, int64_t lanesPerItem) {
  if (!chunk.valid)
    return {};
  if (lanesPerItem == 1)
    return chunk.valid;
  return divide(offsetBy(chunk.valid, lanesPerItem - 1), lanesPerItem);
}

Value TileEmitter::mask(int64_t count, Value valid) {
  return vector::CreateMaskOp::create(b, loc, VectorType::get({count}, b.getI1Type()), valid);
}

Value TileEmitter::isPadding(const Chunk &chunk, Value like) {
  Value inside = mask(lanes.count(like), chunk.valid);
  return arith::XOrIOp::create(b, loc, inside, lanes.integer(inside, 1, 1));
}

Value TileEmitter::load(Value memref, ValueRange indices, int64_t count, Value valid) {
  auto type = VectorType::get({count}, llvm::cast<MemRefType>(memref.getType()).getElementType());
  if (!valid)
    return vector::LoadOp::create(b, loc, type, memref, indices);
  Value zero = arith::ConstantOp::create(b, loc, b.getZeroAttr(type));
  return vector::MaskedLoadOp::create(b, loc, type, memref, indices, mask(count, valid), zero);
}

void TileEmitter::store(Value value, Value memref, ValueRange indices, Value valid) {
  if (!valid)
    vector::StoreOp::create(b, loc, value, memref, indices);
  else
    vector::MaskedStoreOp::create(b, loc, memref, indices, mask(lanes.count(value), valid), value);
}

std::optional<LaneValue> TileEmitter::recall(const Key &key) const {
  for (const auto &scope : llvm::reverse(memo))
    if (auto it = scope.find(key); it != scope.end())
      return it->second;
  return std::nullopt;
}

LaneValue TileEmitter::remember(const Key &key, LaneValue value) {
  memo.back()[key] = value;
  return value;
}

// --- values ---

LaneValue TileEmitter::matrix(Value value, Row row, const Chunk &chunk, int64_t offset) {
  Key key{value.getAsOpaquePointer(), row.index.getAsOpaquePointer(), chunk.start.getAsOpaquePointer(), offset, 0};
  if (auto known = recall(key))
    return *known;
  return remember(key, ops.contains(value) ? emitMatrix(value, row, chunk, offset) : loadMatrix(value, row, chunk, offset));
}

void TileEmitter::prefetch(Value memref, Value row, Value column, int64_t count, bool packed) {
  int64_t elementBits = packed ? 4 : llvm::cast<MemRefType>(memref.getType()).getElementTypeBitWidth();
  int64_t perLine = 64 * 8 / elementBits;
  for (int64_t at = 0; at < count; at += perLine) {
    Value where = offsetBy(column, at);
    memref::PrefetchOp::create(b, loc, memref, ValueRange{row, packed ? divide(where, 2) : where}, /*isWrite=*/false,
                               /*localityHint=*/3, /*isDataCache=*/true);
  }
}

/// Reads an operand of the kernel. A row that is not there reads as zeros.
LaneValue TileEmitter::loadMatrix(Value value, Row row, const Chunk &chunk, int64_t offset) {
  ArrayRef<Value> buffers = inputBuffers(value);
  Value column = offsetBy(chunk.start, offset);
  auto orZero = [&](Value v) -> Value {
    if (!row.valid)
      return v;
    Value zero = arith::ConstantOp::create(b, loc, b.getZeroAttr(v.getType()));
    return arith::SelectOp::create(b, loc, row.valid, v, zero);
  };
  auto scaled = llvm::dyn_cast<mx::ScaledType>(value.getType());
  // Short pieces of many rows are no stream that hardware would see: ask for each row's next piece now.
  if (plan.rowTile > 1 && !row.valid)
    prefetch(buffers[0], row.index, offsetBy(column, chunk.lanes), chunk.lanes, scaled && scaled.getFormat().isPacked());
  if (!scaled) {
    Value v = orZero(load(buffers[0], {row.index, column}, chunk.lanes, chunk.valid));
    if (llvm::cast<RankedTensorType>(value.getType()).getElementType().isInteger(1))
      v = lanes.cmp(CmpIPredicate::ne, v, 0);
    return {v, {}};
  }
  mx::FormatAttr format = scaled.getFormat();
  Value codes = format.isPacked()
                    ? lanes.unpack(load(buffers[0], {row.index, divide(column, 2)}, chunk.lanes / 2, validOf(chunk, 2)))
                    : load(buffers[0], {row.index, column}, chunk.lanes, chunk.valid);
  int64_t width = format.getBlockCols();
  Value scales = load(buffers[1], {divide(row.index, format.getBlockRows()), divide(column, width)}, chunk.lanes / width,
                      validOf(chunk, width));
  return {orZero(codes), orZero(scales)};
}

LaneValue TileEmitter::emitMatrix(Value value, Row row, const Chunk &chunk, int64_t offset) {
  Operation *op = value.getDefiningOp();
  if (auto quantize = llvm::dyn_cast<mx::QuantizeOp>(op))
    return quantized(quantize, row, chunk, offset);
  if (auto requantize = llvm::dyn_cast<mx::RequantizeOp>(op))
    return requantized(requantize, row, chunk, offset);
  if (auto dequantize = llvm::dyn_cast<mx::DequantizeOp>(op)) {
    Value v = dequantized(dequantize.getInput(), row, chunk, offset);
    Type element = dequantize.getResult().getType().getElementType();
    if (element.isBF16())
      v = lanes.toBF16(v);
    else if (element.isF16())
      v = arith::TruncFOp::create(b, loc, VectorType::get({chunk.lanes}, element), v);
    return {v, {}};
  }
  if (auto slice = llvm::dyn_cast<mx::SliceOp>(op))
    return matrix(slice.getInput(), row, chunk, offset + slice.getOffset());
  if (auto concat = llvm::dyn_cast<mx::ConcatOp>(op)) {
    auto [piece, inner] = concat.pieceAt(offset);
    return matrix(piece, row, chunk, inner);
  }
  if (auto permute = llvm::dyn_cast<mx::PermuteOp>(op)) {
    Row source = gatheredRow(permute, row.index);
    LaneValue v = matrix(permute.getInput(), source, chunk, offset);
    if (!ops.contains(permute.getInput()))
      return v;
    // Computed rows that are not there must be zeros too, whatever the computation makes of zeros.
    auto orZero = [&](Value lane) -> Value {
      if (!lane)
        return lane;
      Value zero = arith::ConstantOp::create(b, loc, b.getZeroAttr(lane.getType()));
      return arith::SelectOp::create(b, loc, source.valid, lane, zero);
    };
    return {orZero(v.data), orZero(v.scales)};
  }
  if (auto unpermute = llvm::dyn_cast<mx::UnpermuteOp>(op))
    return {unpermuted(unpermute, row, chunk, offset), {}};
  if (auto broadcast = llvm::dyn_cast<mx::BroadcastOp>(op)) {
    if (broadcast.getDims().empty())
      return {lanes.splat(scalar(broadcast.getInput()), chunk.lanes), {}};
    if (broadcast.getDims()[0] == 0)
      return {lanes.splat(perRow(broadcast.getInput(), row), chunk.lanes), {}};
    return {perColumn(broadcast.getInput(), chunk, offset), {}};
  }
  if (llvm::isa<arith::ConstantOp>(op))
    return {constantLanes(op, chunk.lanes), {}};
  SmallVector<Value> operands =
      llvm::map_to_vector(op->getOperands(), [&](Value operand) { return matrix(operand, row, chunk, offset).data; });
  return {elementwise(op, operands), {}};
}

Value TileEmitter::constantLanes(Operation *op, int64_t count) {
  auto dense = llvm::cast<DenseElementsAttr>(llvm::cast<arith::ConstantOp>(op).getValue());
  TypedAttr splat = llvm::cast<TypedAttr>(dense.getSplatValue<Attribute>());
  Value scalar = arith::ConstantOp::create(b, loc, splat);
  return count ? lanes.splat(scalar, count) : scalar;
}

Value TileEmitter::elementwise(Operation *op, ArrayRef<Value> operands) {
  Type element = getElementTypeOrSelf(op->getResult(0).getType());
  if (llvm::isa<arith::TruncFOp>(op) && element.isBF16() && getElementTypeOrSelf(operands[0].getType()).isF32())
    return lanes.toBF16(operands[0]);
  if (llvm::isa<math::ExpOp>(op) && element.isF32())
    return lanes.exp(operands[0]);
  if (llvm::isa<mx::SigmoidOp>(op))
    return lanes.sigmoid(operands[0]);
  OperationState state(op->getLoc(), op->getName());
  state.addOperands(operands);
  state.addAttributes(op->getAttrs());
  auto vector = llvm::dyn_cast<VectorType>(operands[0].getType());
  state.addTypes(vector ? VectorType::get(vector.getShape(), element) : element);
  return b.create(state)->getResult(0);
}

Value TileEmitter::dequantized(Value scaled, Row row, const Chunk &chunk, int64_t offset) {
  LaneValue v = matrix(scaled, row, chunk, offset);
  mx::FormatAttr format = llvm::cast<mx::ScaledType>(scaled.getType()).getFormat();
  Value scale;
  if (format.hasTensorScale()) {
    // Scales are E4M3 numbers; the tensor scale divides.
    Value block = lanes.decode(v.scales, format.getScale());
    scale = arith::DivFOp::create(b, loc, block, lanes.splat(tensorScale(scaled), lanes.count(block)));
  } else {
    scale = lanes.scaleValue(lanes.widen(v.scales));
  }
  scale = lanes.repeat(scale, chunk.lanes / lanes.count(scale));
  return arith::MulFOp::create(b, loc, lanes.decode(v.data, format.getElement()), scale);
}

LaneValue TileEmitter::quantized(mx::QuantizeOp op, Row row, const Chunk &chunk, int64_t offset) {
  mx::FormatAttr format = op.getResult().getType().getFormat();
  Type element = format.getElement();
  Value x = matrix(op.getInput(), row, chunk, offset).data;
  if (!getElementTypeOrSelf(x.getType()).isF32())
    x = arith::ExtFOp::create(b, loc, VectorType::get({chunk.lanes}, b.getF32Type()), x);
  Value byte;
  if (format.hasTensorScale()) {
    Value amax = lanes.foldBlocks(lanes.absBits(x), format.getBlockCols(), [&](Value a, Value c) { return lanes.umax(a, c); });
    Value s = lanes.splat(scalar(op.getTensorScale()), lanes.count(amax));
    Value relative = arith::DivFOp::create(b, loc, lanes.real(amax), lanes.f32(amax, mx::limitsOf(element).max));
    Value scale = lanes.encode(arith::MulFOp::create(b, loc, relative, s), format.getScale());
    Value poisoned = lanes.cmp(CmpIPredicate::uge, amax, 0x7f800000);
    byte = lanes.select(poisoned, lanes.integer(scale, 8, 0x7f), scale);
    Value decoded = lanes.decode(byte, format.getScale());
    Value zero = lanes.cmp(CmpIPredicate::eq, lanes.bits(decoded), 0);
    Value safe = lanes.select(zero, lanes.f32(decoded, 1.0), decoded);
    Value wide = lanes.repeat(safe, format.getBlockCols());
    Value scaledX = arith::MulFOp::create(b, loc, x, lanes.splat(scalar(op.getTensorScale()), chunk.lanes));
    Value codes = lanes.encode(arith::DivFOp::create(b, loc, scaledX, wide), element);
    // A block whose scale rounds to zero decodes to zero, and so do its codes.
    Value dead = lanes.repeat(arith::OrIOp::create(b, loc, zero, poisoned), format.getBlockCols());
    return {lanes.poison(codes, dead, element), byte};
  }
  if (format.getBlockRows() == 1) {
    Value amax = lanes.foldBlocks(lanes.absBits(x), format.getBlockCols(), [&](Value a, Value c) { return lanes.umax(a, c); });
    byte = lanes.scaleByte(amax, format, {});
  } else {
    byte = lanes.widen(columnScale(op, chunk, offset, row.index));
  }
  int64_t width = chunk.lanes / lanes.count(byte);
  Value inverse = lanes.repeat(lanes.inverseScale(byte), width);
  Value poisoned = lanes.repeat(lanes.cmp(CmpIPredicate::eq, byte, 255), width);
  Value scaled = arith::MulFOp::create(b, loc, x, inverse);
  Value codes;
  if (op.getRounding() == mx::Rounding::Stochastic) {
    // The counter is the element's index in the tensor.
    Value columns = index(mx::shapeOf(op.getInput().getType())[1]);
    Value first = addIndex(arith::MulIOp::create(b, loc, row.index, columns), offsetBy(chunk.start, offset));
    Value first64 = arith::IndexCastOp::create(b, loc, b.getI64Type(), first);
    auto type = VectorType::get({chunk.lanes}, b.getI64Type());
    Value step = arith::IndexCastOp::create(b, loc, type,
                                            vector::StepOp::create(b, loc, VectorType::get({chunk.lanes}, b.getIndexType())));
    Value counter = arith::AddIOp::create(b, loc, lanes.splat(first64, chunk.lanes), step);
    codes = lanes.encodeStochastic(scaled, element, lanes.philox(lanes.splat(scalar(op.getSeed()), chunk.lanes), counter));
  } else {
    codes = lanes.encode(scaled, element);
  }
  return {lanes.poison(codes, poisoned, element), lanes.narrow(byte)};
}

LaneValue TileEmitter::requantized(mx::RequantizeOp op, Row row, const Chunk &chunk, int64_t offset) {
  LaneValue v = matrix(op.getInput(), row, chunk, offset);
  mx::FormatAttr source = op.getInput().getType().getFormat(), target = op.getResult().getType().getFormat();
  Type from = source.getElement(), to = target.getElement();
  Value base = lanes.widen(v.scales), byte;
  if (target.getBlockCols() <= source.getBlockCols()) {
    // The order of magnitudes is the order of their codes.
    base = lanes.repeat(base, source.getBlockCols() / target.getBlockCols());
    Value magnitude =
        arith::AndIOp::create(b, loc, v.data, lanes.integer(v.data, 8, (1 << (from.getIntOrFloatBitWidth() - 1)) - 1));
    Value largest = lanes.foldBlocks(magnitude, target.getBlockCols(), [&](Value a, Value c) { return lanes.umax(a, c); });
    byte = lanes.scaleByte(lanes.absBits(lanes.decode(largest, from)), target, base);
  } else {
    Value largest = lanes.foldBlocks(base, target.getBlockCols() / source.getBlockCols(),
                                     [&](Value a, Value c) { return lanes.umax(a, c); });
    Value lowered = lanes.clamp(lanes.sub(largest, lanes.i32(largest, mx::headroom(from, to))), 0, 254);
    byte = lanes.select(lanes.cmp(CmpIPredicate::eq, largest, 255), lanes.i32(largest, 255), lowered);
  }
  int64_t width = chunk.lanes / lanes.count(byte);
  int64_t blocks = std::max(lanes.count(base), lanes.count(byte));
  Value shift = lanes.sub(lanes.repeat(base, blocks / lanes.count(base)), lanes.repeat(byte, blocks / lanes.count(byte)));
  Value codes = lanes.recode(v.data, from, to, shift, /*rises=*/from != to || target.getBlockCols() <= source.getBlockCols());
  Value poisoned = lanes.repeat(lanes.cmp(CmpIPredicate::eq, byte, 255), width);
  return {lanes.poison(codes, poisoned, to), lanes.narrow(byte)};
}

/// The FP32 scale of a whole tensor. Slices keep it; a kernel's operand has it in memory.
Value TileEmitter::tensorScale(Value scaled) {
  while (auto slice = scaled.getDefiningOp<mx::SliceOp>())
    scaled = slice.getInput();
  if (auto quantize = scaled.getDefiningOp<mx::QuantizeOp>(); quantize && ops.contains(scaled))
    return scalar(quantize.getTensorScale());
  return memref::LoadOp::create(b, loc, inputBuffers(scaled)[2], ValueRange{});
}

Value TileEmitter::rowsOf(Value value) {
  while (ops.contains(value)) {
    Operation *op = value.getDefiningOp();
    auto broadcast = llvm::dyn_cast<mx::BroadcastOp>(op);
    bool fromInput = broadcast && broadcast.getDims() == ArrayRef<int64_t>{0};
    value = broadcast && !fromInput ? broadcast.getLike() : op->getOperand(0);
  }
  return memref::DimOp::create(b, loc, inputBuffers(value)[0], 0);
}

Row TileEmitter::gatheredRow(mx::PermuteOp permute, Value row) {
  // Past the end of the index are the rows that pad_to adds. Both guards keep the loads inside the buffers.
  Key key{permute.getOperation(), row.getAsOpaquePointer(), nullptr, 0, 3};
  if (auto known = recall(key))
    return {known->data, known->scales};
  Value zero = index(0), memref = inputBuffers(permute.getIndex())[0];
  Value length = memref::DimOp::create(b, loc, memref, 0);
  Value present = arith::CmpIOp::create(b, loc, CmpIPredicate::ult, row, length);
  // With an empty index there may be no row 0 of it to read instead.
  auto entry = scf::IfOp::create(b, loc, b.getI32Type(), present, /*withElseRegion=*/true);
  {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(entry.thenBlock());
    scf::YieldOp::create(b, loc, memref::LoadOp::create(b, loc, memref, row).getResult());
    b.setInsertionPointToStart(entry.elseBlock());
    scf::YieldOp::create(b, loc, arith::ConstantOp::create(b, loc, b.getI32IntegerAttr(-1)).getResult());
  }
  Value source = arith::IndexCastOp::create(b, loc, b.getIndexType(), entry.getResult(0));
  Value rows = rowsOf(permute.getInput());
  Value valid = arith::CmpIOp::create(b, loc, CmpIPredicate::ult, source, rows);
  Row result{arith::SelectOp::create(b, loc, valid, source, zero), valid};
  remember(key, {result.index, result.valid});
  return result;
}

Value TileEmitter::unpermuted(mx::UnpermuteOp op, Row row, const Chunk &chunk, int64_t offset) {
  int64_t copies = op.getIndex().getType().getDimSize(1);
  Value zero = index(0);
  Value rows = rowsOf(op.getInput());
  auto real = VectorType::get({chunk.lanes}, b.getF32Type());
  Value sum = arith::ConstantOp::create(b, loc, b.getZeroAttr(real));
  for (int64_t j = 0; j < copies; ++j) {
    Value entry = memref::LoadOp::create(b, loc, inputBuffers(op.getIndex())[0], ValueRange{row.index, index(j)});
    Value source = arith::IndexCastOp::create(b, loc, b.getIndexType(), entry);
    Value valid = arith::CmpIOp::create(b, loc, CmpIPredicate::ult, source, rows);
    Row gathered{arith::SelectOp::create(b, loc, valid, source, zero), valid};
    Value v = matrix(op.getInput(), gathered, chunk, offset).data;
    if (v.getType() != real)
      v = arith::ExtFOp::create(b, loc, real, v);
    if (op.getWeights()) {
      Value weight = memref::LoadOp::create(b, loc, inputBuffers(op.getWeights())[0], ValueRange{row.index, index(j)});
      v = arith::MulFOp::create(b, loc, v, lanes.splat(weight, chunk.lanes));
    }
    Value added = arith::AddFOp::create(b, loc, sum, v);
    sum = arith::SelectOp::create(b, loc, valid, added, sum);
  }
  return sum;
}

Value TileEmitter::perRow(Value value, Row row) {
  Key key{value.getAsOpaquePointer(), row.index.getAsOpaquePointer(), nullptr, 0, 1};
  if (auto known = recall(key))
    return known->data;
  Value result;
  if (!ops.contains(value)) {
    result = memref::LoadOp::create(b, loc, inputBuffers(value)[0], row.index);
    if (llvm::cast<RankedTensorType>(value.getType()).getElementType().isInteger(1))
      result = lanes.cmp(CmpIPredicate::ne, result, 0);
    if (row.valid) {
      Value zero = arith::ConstantOp::create(b, loc, b.getZeroAttr(result.getType()));
      result = arith::SelectOp::create(b, loc, row.valid, result, zero);
    }
  } else {
    Operation *op = value.getDefiningOp();
    if (llvm::isa<mx::ReduceOp>(op)) {
      Value local = arith::SubIOp::create(b, loc, row.index, tile.firstRow);
      result = memref::LoadOp::create(b, loc, rowReductions.find(op)->second, local);
    } else if (auto permute = llvm::dyn_cast<mx::PermuteOp>(op)) {
      Row source = gatheredRow(permute, row.index);
      Value v = perRow(permute.getInput(), source);
      Value zero = arith::ConstantOp::create(b, loc, b.getZeroAttr(v.getType()));
      result = arith::SelectOp::create(b, loc, source.valid, v, zero);
    } else if (auto broadcast = llvm::dyn_cast<mx::BroadcastOp>(op)) {
      result = broadcast.getDims().empty() ? scalar(broadcast.getInput()) : perRow(broadcast.getInput(), row);
    } else if (llvm::isa<arith::ConstantOp>(op)) {
      result = constantLanes(op, 0);
    } else {
      result = elementwise(op, llvm::map_to_vector(op->getOperands(), [&](Value v) { return perRow(v, row); }));
    }
  }
  return remember(key, {result, {}}).data;
}

Value TileEmitter::perColumn(Value value, const Chunk &chunk, int64_t offset) {
  Key key{value.getAsOpaquePointer(), nullptr, chunk.start.getAsOpaquePointer(), offset, 2};
  if (auto known = recall(key))
    return known->data;
  Value result;
  if (!ops.contains(value)) {
    result = load(inputBuffers(value)[0], {offsetBy(chunk.start, offset)}, chunk.lanes, chunk.valid);
    if (llvm::cast<RankedTensorType>(value.getType()).getElementType().isInteger(1))
      result = lanes.cmp(CmpIPredicate::ne, result, 0);
  } else {
    Operation *op = value.getDefiningOp();
    if (auto broadcast = llvm::dyn_cast<mx::BroadcastOp>(op))
      result = broadcast.getDims().empty() ? lanes.splat(scalar(broadcast.getInput()), chunk.lanes)
                                           : perColumn(broadcast.getInput(), chunk, offset);
    else if (llvm::isa<arith::ConstantOp>(op))
      result = constantLanes(op, chunk.lanes);
    else
      result = elementwise(op, llvm::map_to_vector(op->getOperands(), [&](Value v) { return perColumn(v, chunk, offset); }));
  }
  return remember(key, {result, {}}).data;
}

Value TileEmitter::scalar(Value value) {
  if (!ops.contains(value)) {
    Value memref = inputBuffers(value)[0];
    SmallVector<Value> zeros(llvm::cast<MemRefType>(memref.getType()).getRank(), index(0));
    Value result = memref::LoadOp::create(b, loc, memref, zeros);
    if (llvm::cast<RankedTensorType>(value.getType()).getElementType().isInteger(1))
      result = lanes.cmp(CmpIPredicate::ne, result, 0);
    return result;
  }
  Operation *op = value.getDefiningOp();
  if (llvm::isa<arith::ConstantOp>(op))
    return constantLanes(op, 0);
  if (auto broadcast = llvm::dyn_cast<mx::BroadcastOp>(op))
    return scalar(broadcast.getInput());
  return elementwise(op, llvm::map_to_vector(op->getOperands(), [&](Value v) { return scalar(v); }));
}

void TileEmitter::matrixOperands(Operation *op, int64_t offset, llvm::function_ref<void(Value, int64_t)> visit) {
  if (auto concat = llvm::dyn_cast<mx::ConcatOp>(op)) {
    auto [piece, inner] = concat.pieceAt(offset);
    return visit(piece, inner);
  }
  if (auto slice = llvm::dyn_cast<mx::SliceOp>(op))
    return visit(slice.getInput(), offset + slice.getOffset());
  if (llvm::isa<mx::BroadcastOp, mx::ReduceOp, mx::PermuteOp, mx::UnpermuteOp, arith::ConstantOp>(op))
    return; // vectors, and gathered rows, hold no blocks of this tile
  if (llvm::isa<mx::QuantizeOp>(op))
    return visit(op->getOperand(0), offset);
  for (Value operand : op->getOperands())
    visit(operand, offset);
}
