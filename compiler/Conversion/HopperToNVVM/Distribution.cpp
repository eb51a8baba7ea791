#include "compiler/Conversion/HopperToNVVM/Distribution.h"

#include "compiler/Conversion/HopperToNVVM/DeviceMath.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace vernier;
using namespace vernier::simt;

Value vernier::simt::intrinsic(OpBuilder &b, Location loc, StringRef name, Type result, ValueRange operands) {
  return LLVM::CallIntrinsicOp::create(b, loc, result, b.getStringAttr(name), operands).getResult(0);
}

LLVM::InlineAsmOp vernier::simt::inlineAsm(OpBuilder &b, Location loc, TypeRange results, ValueRange operands,
                                           const Twine &text, const Twine &constraints) {
  return LLVM::InlineAsmOp::create(b, loc, results, operands, text.str(), constraints.str(), /*has_side_effects=*/true,
                                   /*is_align_stack=*/false, LLVM::TailCallKind::None, LLVM::AsmDialectAttr(), ArrayAttr());
}

Distribution::Distribution(func::FuncOp source, LLVM::LLVMFuncOp target, LLVM::GlobalOp shared)
    : b(OpBuilder::atBlockEnd(&target.getBody().front())), loc(source.getLoc()), lanes(b, loc), source(source), target(target),
      shared(shared), layout(source->getAttrOfType<hopper::LayoutAttr>(hopper::kLayout)), V(layout.lanes()),
      items(layout.items()) {}

/// The runtime lets a launch begin while the one before it in the stream ends; here it waits for what that one wrote. No access
/// may move ahead of the wait: LLVM knows nothing of other launches, and takes what a kernel only reads for constant. So
/// addresses hang on a zero that the wait gives.
Value Distribution::awaitLaunchBefore() {
  auto wait = inlineAsm(b, loc, b.getI64Type(), {}, "griddepcontrol.wait;\nmov.b64 $0, 0;", "=l,~{memory}");
  NVVM::GriddepcontrolOp::create(b, loc, NVVM::GridDepActionKind::launch_dependents);
  return wait.getResult(0);
}

LogicalResult Distribution::run() {
  Value zero = awaitLaunchBefore();
  for (auto [from, to] : llvm::zip(source.getArguments(), target.getArguments()))
    scalars[from] = to.getType().isInteger(64)
                        ? arith::IndexCastOp::create(b, loc, b.getIndexType(), to).getResult()
                        : LLVM::GEPOp::create(b, loc, to.getType(), b.getI8Type(), to, ValueRange{zero}).getResult();
  Value id = NVVM::ThreadIdXOp::create(b, loc, b.getI32Type());
  thread = id;
  threadRow = arith::ShRUIOp::create(b, loc, thread, i32(llvm::Log2_64(layout.getThreadCols())));
  threadCol = arith::AndIOp::create(b, loc, thread, i32(layout.getThreadCols() - 1));
  return block(source.getBody().front());
}

LogicalResult Distribution::block(Block &from) {
  for (Operation &op : from)
    if (failed(visit(op)))
      return failure();
  return success();
}

/// Whether a value is a list of vectors of a thread.
bool Distribution::isTile(Type type) {
  if (llvm::isa<hopper::HeldScalesType>(type))
    return true;
  auto vector = llvm::dyn_cast<VectorType>(type);
  return vector && vector.getRank() == 2;
}

SmallVector<Type> Distribution::partTypes(Type type) {
  if (auto held = llvm::dyn_cast<hopper::HeldScalesType>(type))
    return {VectorType::get({heldScales(held.getRows())}, b.getIntegerType(unsigned(8 * held.getCols())))};
  if (!isTile(type))
    return {type};
  auto vector = llvm::cast<VectorType>(type);
  int64_t rows = layout.localRows(vector.getDimSize(0)), cols = layout.localCols(vector.getDimSize(1));
  Type element = vector.getElementType();
  if (isCodes(element)) {
    cols = cols * element.getIntOrFloatBitWidth() / 32;
    element = b.getI32Type();
  }
  return SmallVector<Type>(rows, VectorType::get({cols}, element));
}

LogicalResult Distribution::visit(Operation &op) {
  loc = op.getLoc();
  using Lowered = std::optional<LogicalResult>;
  Lowered lowered = llvm::TypeSwitch<Operation *, Lowered>(&op)
                        .Case([&](hopper::LoadOp one) { return load(one); })
                        .Case([&](hopper::StoreOp one) { return store(one); })
                        .Case([&](hopper::StoreTransposedOp one) { return storeTransposed(one); })
                        .Case([&](hopper::StoreGatheredOp one) { return storeGathered(one); })
                        .Case([&](hopper::ReduceOp one) { return reduce(one); })
                        .Case([&](hopper::EncodeOp one) { return encode(one); })
                        .Case([&](hopper::DecodeOp one) { return decode(one); })
                        .Case([&](hopper::RecodeOp one) { return recode(one); })
                        .Case([&](hopper::KeepOp one) { return keep(one); })
                        .Case([&](hopper::TabulateOp one) { return tabulate(one); })
                        .Case([&](hopper::LookupOp one) { return lookup(one); })
                        .Case([&](hopper::RolesOp one) { return runRoles(one); })
                        .Case([&](hopper::AcquireOp one) { return acquire(one); })
                        .Case([&](hopper::CopyOp one) { return copy(one); })
                        .Case([&](hopper::HandOverOp one) { return handOver(one); })
                        .Case([&](hopper::FillOp one) { return fill(one); })
                        .Case([&](hopper::TakeOp one) { return take(one); })
                        .Case([&](hopper::GiveBackOp one) { return giveBack(one); })
                        .Case([&](hopper::ReadPassedOp one) { return readPassed(one); })
                        .Case([&](hopper::CopyPassedOp one) { return copyPassed(one); })
                        .Case([&](hopper::PrefetchOp one) { return prefetch(one); })
                        .Case([&](hopper::GroupTileOp one) { return groupTile(one); })
                        .Case([&](hopper::LoadScalesOp one) { return loadScales(one); })
                        .Case([&](hopper::PutScalesOp one) { return putScales(one); })
                        .Case([&](hopper::CommitOp one) { return commit(one); })
                        .Case([&](hopper::PutMadeOp one) { return putMade(one); })
                        .Case([&](hopper::ReadScalesOp one) { return readScales(one); })
                        .Case([&](hopper::AwaitOp one) { return await(one); })
                        .Case([&](hopper::StagedOp one) { return staged(one); })
                        .Case([&](hopper::ReleaseOp one) { return release(one); })
                        .Case([&](hopper::MultiplyOp one) { return multiply(one); })
                        .Case([&](hopper::BeginProductOp one) { return beginProduct(one); })
                        .Case([&](hopper::AwaitProductOp one) { return awaitProduct(one); })
                        .Default(Lowered());
  if (lowered)
    return *lowered;
  if (auto collapse = llvm::dyn_cast<memref::CollapseShapeOp>(op)) {
    scalars[collapse.getResult()] = number(collapse.getSrc());
    return success();
  }
  if (auto expand = llvm::dyn_cast<hopper::ExpandOp>(op)) {
    tiles[expand.getResult()] = expanded(expand.getInput(), tileType(expand.getResult()));
    return success();
  }
  if (auto rows = llvm::dyn_cast<hopper::RowsOp>(op)) {
    int64_t gridRows = tileType(rows.getResult()).getDimSize(0), height = layout.blockRows(gridRows);
    Parts result;
    for (int64_t i = 0, n = layout.localRows(gridRows); i < n; ++i) {
      Value row = itemRow(layout.itemOf(i, gridRows));
      if (height > 1) // the first row of the block
        row = arith::AndIOp::create(b, loc, row, i32(-height));
      Value first = arith::IndexCastOp::create(b, loc, b.getI32Type(), number(rows.getFirst()));
      result.push_back(fromNumbers(arith::AddIOp::create(b, loc, first, row).getResult(), b.getI32Type()));
    }
    tiles[rows.getResult()] = result;
    return success();
  }
  if (auto columns = llvm::dyn_cast<hopper::ColumnsOp>(op)) {
    Value first = arith::AddIOp::create(b, loc, number(columns.getFirst()), toIndex(gridColumn(layout.getCols())));
    SmallVector<Value> numbers;
    for (int64_t lane = 0; lane < V; ++lane)
      numbers.push_back(arith::AddIOp::create(b, loc, first, index(layout.colOffset(lane, layout.getCols()))));
    tiles[columns.getResult()] = {fromNumbers(numbers, b.getIndexType())};
    return success();
  }
  if (llvm::isa<gpu::BlockIdOp, gpu::GridDimOp>(op)) {
    Value v = llvm::isa<gpu::BlockIdOp>(op) ? NVVM::BlockIdXOp::create(b, loc, b.getI32Type()).getResult()
                                            : NVVM::GridDimXOp::create(b, loc, b.getI32Type()).getResult();
    scalars[op.getResult(0)] = arith::IndexCastUIOp::create(b, loc, b.getIndexType(), v);
    return success();
  }
  if (llvm::isa<memref::LoadOp>(op))
    return memrefLoad(op);
  if (llvm::isa<func::ReturnOp>(op)) {
    LLVM::ReturnOp::create(b, loc, ValueRange{});
    return success();
  }
  bool anyTile = llvm::any_of(op.getResultTypes(), [&](Type type) { return isTile(type); });
  if (op.getNumRegions() || op.hasTrait<OpTrait::IsTerminator>() || !anyTile)
    return rebuild(op);
  if (auto constant = llvm::dyn_cast<arith::ConstantOp>(op)) {
    auto dense = llvm::cast<DenseElementsAttr>(constant.getValue());
    SmallVector<Type> types = partTypes(constant.getType());
    auto type = llvm::cast<VectorType>(types.front());
    if (isCodes(dense.getElementType()) && dense.isSplat() && dense.getSplatValue<APFloat>().isPosZero()) {
      tiles[constant.getResult()] = Parts(types.size(), arith::ConstantOp::create(b, loc, b.getZeroAttr(type)).getResult());
      return success();
    }
    if (isCodes(dense.getElementType()) || !dense.isSplat())
      return op.emitError() << "expected a splat of numbers, or codes of zeros";
    Value v = arith::ConstantOp::create(b, loc, DenseElementsAttr::get(type, dense.getSplatValue<Attribute>()));
    tiles[constant.getResult()] = Parts(types.size(), v);
    return success();
  }
  if (auto broadcast = llvm::dyn_cast<vector::BroadcastOp>(op)) {
    SmallVector<Type> types = partTypes(broadcast.getResult().getType());
    Value v = vector::BroadcastOp::create(b, loc, types.front(), number(broadcast.getSource()));
    tiles[broadcast.getResult()] = Parts(types.size(), v);
    return success();
  }
  return elementwise(op);
}

/// bf16 numbers are the high halves of FP32 ones. LLVM would take each out of its word and shift it, which is an instruction
/// more, but holds fewer registers at a time.
static Value extended(OpBuilder &b, Location loc, Value numbers, VectorType real) {
  int64_t count = real.getNumElements();
  auto halves = VectorType::get({count / 2}, b.getI32Type());
  auto splat = [&](int64_t value) {
    return arith::ConstantOp::create(b, loc, DenseElementsAttr::get(halves, b.getI32IntegerAttr(int32_t(value))));
  };
  Value words = vector::BitCastOp::create(b, loc, halves, numbers);
  Value even = arith::ShLIOp::create(b, loc, words, splat(16)), odd = arith::AndIOp::create(b, loc, words, splat(0xffff0000));
  SmallVector<int64_t> order;
  for (int64_t i = 0; i < count; ++i)
    order.push_back(i / 2 + (i % 2 ? count / 2 : 0));
  return arith::BitcastOp::create(b, loc, real, vector::ShuffleOp::create(b, loc, even, odd, order));
}

Value Distribution::elementwise(Operation &op, Type type, ArrayRef<Value> operands) {
  if (Value v = deviceMath(lanes, op, operands))
    return v;
  auto vector = llvm::cast<VectorType>(type);
  if (!roles && llvm::isa<arith::ExtFOp>(op) && vector.getElementType().isF32() && vector.getNumElements() % 2 == 0 &&
      getElementTypeOrSelf(operands[0].getType()).isBF16())
    return extended(b, loc, operands[0], vector);
  OperationState state(loc, op.getName());
  state.addOperands(operands);
  state.addAttributes(op.getAttrs());
  state.addTypes(type);
  return b.create(state)->getResult(0);
}

LogicalResult Distribution::elementwise(Operation &op) {
  if (!OpTrait::hasElementwiseMappableTraits(&op))
    return op.emitError() << "has no lowering to threads";
  auto type = tileType(op.getResult(0));
  if (isCodes(type.getElementType()))
    return op.emitError() << "computes on codes";
  Parts result;
  for (auto [i, partType] : llvm::enumerate(partTypes(type))) {
    SmallVector<Value> operands;
    for (Value operand : op.getOperands())
      operands.push_back(isTile(operand.getType()) ? parts(operand)[i] : number(operand));
    result.push_back(elementwise(op, partType, operands));
  }
  tiles[op.getResult(0)] = result;
  return success();
}

void Distribution::mapFlat(Value from, ValueRange &flat) {
  size_t count = partTypes(from.getType()).size();
  if (isTile(from.getType()))
    tiles[from] = Parts(flat.take_front(count));
  else
    scalars[from] = flat.front();
  flat = flat.drop_front(count);
}

/// The same operation on scalars and flattened tiles, regions and all.
LogicalResult Distribution::rebuild(Operation &op) {
  OperationState state(loc, op.getName());
  for (Value operand : op.getOperands()) {
    if (isTile(operand.getType()))
      state.addOperands(parts(operand));
    else
      state.addOperands(number(operand));
  }
  for (Type type : op.getResultTypes())
    state.addTypes(partTypes(type));
  state.addAttributes(op.getAttrs());
  for (unsigned i = 0; i < op.getNumRegions(); ++i)
    state.addRegion();
  Operation *made = b.create(state);
  for (auto [from, to] : llvm::zip(op.getRegions(), made->getRegions())) {
    if (from.empty())
      continue;
    OpBuilder::InsertionGuard guard(b);
    SmallVector<Type> types;
    for (BlockArgument argument : from.getArguments())
      llvm::append_range(types, partTypes(argument.getType()));
    Block *body = b.createBlock(&to, {}, types, SmallVector<Location>(types.size(), loc));
    ValueRange flat = body->getArguments();
    for (BlockArgument argument : from.getArguments())
      mapFlat(argument, flat);
    if (failed(block(from.front())))
      return failure();
  }
  loc = op.getLoc();
  ValueRange flat = made->getResults();
  for (Value result : op.getResults())
    mapFlat(result, flat);
  return success();
}

Parts Distribution::expanded(Value grid, VectorType to) { return expandedParts(parts(grid), tileType(grid), to); }

Parts Distribution::expandedParts(Parts from, VectorType fromType, VectorType to) {
  int64_t fromRows = fromType.getDimSize(0), fromCols = fromType.getDimSize(1);
  int64_t toRows = to.getDimSize(0), toCols = to.getDimSize(1);
  int64_t cols = layout.localCols(toCols), given = layout.localCols(fromCols);
  Parts result;
  for (int64_t i = 0, n = layout.localRows(toRows); i < n; ++i) {
    Value row = from[layout.localRowOf(layout.itemOf(i, toRows), fromRows)];
    if (given != cols) {
      SmallVector<int64_t> mask;
      for (int64_t j = 0; j < cols; ++j)
        mask.push_back(layout.localColOf(layout.laneOf(j, toCols), fromCols));
      row = vector::ShuffleOp::create(b, loc, row, row, mask);
    }
    result.push_back(row);
  }
  return result;
}

// --- small pieces ---

Value Distribution::index(int64_t value) { return arith::ConstantIndexOp::create(b, loc, value); }
Value Distribution::i32(int64_t value) { return arith::ConstantOp::create(b, loc, b.getI32IntegerAttr(int32_t(value))); }
Value Distribution::extract(Value vector, int64_t at) { return vector::ExtractOp::create(b, loc, vector, at); }
Value Distribution::fromNumbers(ArrayRef<Value> numbers, Type element) {
  return vector::FromElementsOp::create(b, loc, VectorType::get({int64_t(numbers.size())}, element), numbers);
}
Value Distribution::toIndex(Value v) { return arith::IndexCastUIOp::create(b, loc, b.getIndexType(), v); }
Value Distribution::toI64(Value v) { return arith::IndexCastOp::create(b, loc, b.getI64Type(), v); }
/// All threads that hold parts of tiles: the whole block, or the side of it that computes, or finishes.
void Distribution::barrier() {
  if (!roles) {
    NVVM::Barrier0Op::create(b, loc);
    return;
  }
  NVVM::BarrierOp::create(b, loc, TypeRange{}, i32(sideBarrier), i32(layout.threads()), NVVM::BarrierReductionAttr(), Value());
}

Value Distribution::sharedPointer(int64_t offset, Value bytes) {
  Value base = LLVM::AddressOfOp::create(b, loc, shared);
  Value at = arith::AddIOp::create(b, loc, bytes, i32(offset));
  return LLVM::GEPOp::create(b, loc, base.getType(), b.getI8Type(), base, ValueRange{at});
}

LogicalResult Distribution::memrefLoad(Operation &op) {
  auto load = llvm::cast<memref::LoadOp>(op);
  if (load.getMemRefType().getRank() != 1)
    return op.emitError() << "expected a vector";
  Value base = number(load.getMemref());
  Value at = LLVM::GEPOp::create(b, loc, base.getType(), load.getType(), base, ValueRange{toI64(number(load.getIndices()[0]))});
  scalars[load.getResult()] = LLVM::LoadOp::create(b, loc, load.getType(), at);
  return success();
}
