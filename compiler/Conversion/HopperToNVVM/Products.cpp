// Matrix products: the ring between the warps that fetch and those that compute, and wgmma.
#include "compiler/Conversion/HopperToNVVM/Distribution.h"

#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace vernier;
using namespace vernier::simt;
using arith::CmpIPredicate;

// Of a slot, in the order of `hopper.roles`: all data, then a pair of barriers each.
static constexpr int64_t kBarrierBytes = 8;

Value Distribution::barrierOf(Value slot, bool full) {
  CodeWords words(b, loc);
  int64_t first = *roles.getShared() + int64_t(roles.getStages() * roles.getBytes());
  return sharedPointer(first + (full ? 0 : kBarrierBytes), words.mul(slot, i32(2 * kBarrierBytes)));
}

/// The slot that a side comes to next, and the parity of its passes through the ring; in registers once LLVM has seen them.
Distribution::RingState Distribution::makeRingState() {
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(&target.getBody().front());
  Type pointer = LLVM::LLVMPointerType::get(b.getContext());
  RingState state;
  for (Value *variable : {&state.slot, &state.parity}) {
    *variable = LLVM::AllocaOp::create(b, loc, pointer, b.getI32Type(), i32(1));
    LLVM::StoreOp::create(b, loc, i32(0), *variable);
  }
  return state;
}

Value Distribution::nextSlot(const RingState &state, bool full, bool flipped) {
  CodeWords words(b, loc);
  Value slot = LLVM::LoadOp::create(b, loc, b.getI32Type(), state.slot);
  Value parity = LLVM::LoadOp::create(b, loc, b.getI32Type(), state.parity);
  Value awaited = flipped ? words.bitXor(parity, i32(1)) : parity;
  NVVM::MBarrierTryWaitParityOp::create(b, loc, barrierOf(slot, full), awaited, i32(10000000));
  Value after = words.add(slot, i32(1));
  Value wraps = arith::CmpIOp::create(b, loc, CmpIPredicate::eq, after, i32(int64_t(roles.getStages())));
  LLVM::StoreOp::create(b, loc, arith::SelectOp::create(b, loc, wraps, i32(0), after), state.slot);
  LLVM::StoreOp::create(b, loc, words.bitXor(parity, arith::ExtUIOp::create(b, loc, b.getI32Type(), wraps)), state.parity);
  return slot;
}

LogicalResult Distribution::runRoles(hopper::RolesOp op) {
  if (!op.getShared())
    return op.emitError() << "expected shared memory; run hopper-allocate-shared first";
  roles = op;
  int64_t consumers = layout.threads(), warps = consumers / 32;
  ring = makeRingState();
  auto when = [&](Value condition, bool otherwise = false) { return scf::IfOp::create(b, loc, condition, otherwise); };
  Value first = arith::CmpIOp::create(b, loc, CmpIPredicate::eq, thread, i32(0));
  {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(when(first).thenBlock());
    for (uint64_t slot = 0; slot < op.getStages(); ++slot) {
      NVVM::MBarrierInitOp::create(b, loc, barrierOf(i32(int64_t(slot)), true), i32(1), Value());
      NVVM::MBarrierInitOp::create(b, loc, barrierOf(i32(int64_t(slot)), false), i32(warps), Value());
    }
    NVVM::FenceMbarrierInitOp::create(b, loc);
  }
  barrier();
  Value computes = arith::CmpIOp::create(b, loc, CmpIPredicate::ult, thread, i32(consumers));
  scf::IfOp sides = when(computes, true);
  OpBuilder::InsertionGuard guard(b);
  // One warpgroup needs few registers; the others share what it gives back.
  constexpr int64_t producerRegisters = 40, registerFile = 65536;
  int64_t threads = consumers + hopper::kWarpgroup;
  int64_t entry = std::min<int64_t>(255, registerFile / threads) / 8 * 8;
  int64_t spare = registerFile - producerRegisters * hopper::kWarpgroup;
  int64_t consumerRegisters = std::min<int64_t>(240, spare / consumers / 8 * 8);
  auto registers = [&](int64_t count) {
    auto action = count > entry ? NVVM::SetMaxRegisterAction::increase : NVVM::SetMaxRegisterAction::decrease;
    if (count != entry)
      NVVM::SetMaxRegisterOp::create(b, loc, uint32_t(count), action);
  };
  b.setInsertionPointToStart(sides.thenBlock());
  registers(consumerRegisters);
  if (failed(block(op.getConsumer().front())))
    return failure();
  b.setInsertionPointToStart(sides.elseBlock());
  registers(producerRegisters);
  b.setInsertionPointToStart(when(arith::CmpIOp::create(b, loc, CmpIPredicate::eq, thread, i32(consumers))).thenBlock());
  return block(op.getProducer().front());
}

LogicalResult Distribution::acquire(hopper::AcquireOp op) {
  Value slot = nextSlot(ring, /*full=*/false, /*flipped=*/true);
  NVVM::MBarrierArriveExpectTxOp::create(b, loc, Type(), barrierOf(slot, true), i32(int64_t(roles.getBytes())),
                                          NVVM::MemScopeKind::CTA, /*relaxed=*/false, Value());
  scalars[op.getSlot()] = slot;
  return success();
}

LogicalResult Distribution::await(hopper::AwaitOp op) {
  scalars[op.getSlot()] = nextSlot(ring, /*full=*/true, /*flipped=*/false);
  return success();
}

LogicalResult Distribution::release(hopper::ReleaseOp op) {
  Value lane = arith::AndIOp::create(b, loc, thread, i32(31));
  auto one = scf::IfOp::create(b, loc, arith::CmpIOp::create(b, loc, CmpIPredicate::eq, lane, i32(0)), false);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(one.thenBlock());
  NVVM::MBarrierArriveOp::create(b, loc, b.getI64Type(), barrierOf(number(op.getSlot()), false), Value());
  return success();
}

Value Distribution::stagedPointer(Value slot, int64_t offset) {
  Value bytes = arith::MulIOp::create(b, loc, slot, i32(int64_t(roles.getBytes())));
  return sharedPointer(*roles.getShared() + offset, bytes);
}

LogicalResult Distribution::copy(hopper::CopyOp op) {
  auto tile = llvm::cast<hopper::StagedType>(op.getTile());
  hopper::TensorMap wanted{llvm::cast<BlockArgument>(op.getMemref()).getArgNumber(), tile};
  auto maps = hopper::tensorMapsOf(source);
  unsigned at = unsigned(llvm::find(maps, wanted) - maps.begin());
  Value map = target.getArgument(target.getNumArguments() - maps.size() + at);
  Value slot = number(op.getSlot());
  auto coordinate = [&](Value v) -> Value { return arith::IndexCastOp::create(b, loc, b.getI32Type(), number(v)); };
  NVVM::CpAsyncBulkTensorGlobalToSharedClusterOp::create(
      b, loc, stagedPointer(slot, op.getOffset()), map, ValueRange{coordinate(op.getCol()), coordinate(op.getRow())},
      barrierOf(slot, true), ValueRange{}, Value(), Value(), NVVM::TMALoadMode::TILE, /*isCTAOnly=*/true,
      NVVM::CTAGroupKindAttr(), Value());
  return success();
}

LogicalResult Distribution::staged(hopper::StagedOp op) {
  Value pointer = stagedPointer(number(op.getSlot()), op.getOffset());
  scalars[op.getResult()] = LLVM::PtrToIntOp::create(b, loc, b.getI32Type(), pointer);
  return success();
}

static NVVM::WGMMATypes wgmmaType(Type element) {
  if (element.isBF16())
    return NVVM::WGMMATypes::bf16;
  return element.isF16() ? NVVM::WGMMATypes::f16 : NVVM::WGMMATypes::e4m3;
}

LogicalResult Distribution::multiply(hopper::MultiplyOp op) {
  VectorType type = tileType(op.getResult());
  int64_t cols = type.getDimSize(1), warpgroups = layout.threads() / hopper::kWarpgroup;
  if (layout != hopper::accumulatorLayout(b.getContext(), warpgroups, cols) || type.getDimSize(0) != 64 * warpgroups)
    return op.emitError() << "expected the layout of accumulators, but got " << layout;
  CodeWords words(b, loc);
  hopper::StagedType left = op.getA().getType();
  Type i64 = b.getI64Type(), f32 = b.getF32Type();
  // Rows of 128 bytes, swizzled; eight of them are 1024 bytes.
  constexpr uint64_t rowBytes = hopper::StagedType::kRowBytes;
  constexpr uint64_t fixedBits = uint64_t(1) << 62 | (8 * rowBytes >> 4) << 32 | uint64_t(1) << 16;
  auto descriptor = [&](Value address, Value row, int64_t bytes) -> Value {
    Value at = words.add(address, i32(bytes));
    if (row)
      at = words.add(at, words.mul(row, i32(rowBytes)));
    Value low = arith::ExtUIOp::create(b, loc, i64, words.shr(words.bitAnd(at, i32(0x3ffff)), i32(4)));
    return arith::OrIOp::create(b, loc, low, arith::ConstantOp::create(b, loc, b.getI64IntegerAttr(int64_t(fixedBits))));
  };
  int64_t bits = left.getElement().getIntOrFloatBitWidth(), step = 32 * 8 / bits; // 32 bytes of K an instruction
  Value warpgroup = words.shr(thread, i32(llvm::Log2_64(hopper::kWarpgroup)));
  Value firstRow = words.add(words.mul(warpgroup, i32(64)), i32(int64_t(op.getRow())));

  int64_t perItem = cols / 4;
  auto place = [](int64_t item, int64_t lane) { return lane / 2 * 4 + item * 2 + lane % 2; };
  auto sums = LLVM::LLVMStructType::getLiteral(b.getContext(), SmallVector<Type>(size_t(2 * perItem), f32));
  Value sum = LLVM::UndefOp::create(b, loc, sums);
  if (op.getAccumulate())
    for (auto [item, part] : llvm::enumerate(parts(op.getAccumulate())))
      for (int64_t lane = 0; lane < perItem; ++lane)
        sum = LLVM::InsertValueOp::create(b, loc, sum, extract(part, lane), place(int64_t(item), lane));
  auto shape = NVVM::MMAShapeAttr::get(b.getContext(), 64, int(cols), int(step));
  auto element = NVVM::WGMMATypesAttr::get(b.getContext(), wgmmaType(left.getElement()));
  auto keep = NVVM::WGMMAScaleInAttr::get(b.getContext(), NVVM::WGMMAScaleIn::one);
  auto rowMajor = NVVM::MMALayoutAttr::get(b.getContext(), NVVM::MMALayout::row);
  auto colMajor = NVVM::MMALayoutAttr::get(b.getContext(), NVVM::MMALayout::col);
  NVVM::WgmmaFenceAlignedOp::create(b, loc);
  for (int64_t k = 0; k < int64_t(op.getDepth()); k += step) {
    int64_t bytes = (int64_t(op.getFirst()) + k) * bits / 8;
    bool adds = k > 0 || op.getAccumulate();
    auto scaleOut = NVVM::WGMMAScaleOutAttr::get(b.getContext(), adds ? NVVM::WGMMAScaleOut::one : NVVM::WGMMAScaleOut::zero);
    sum = NVVM::WgmmaMmaAsyncOp::create(b, loc, sums, sum, descriptor(number(op.getA()), firstRow, bytes),
                                        descriptor(number(op.getB()), Value(), bytes), shape, element, element,
                                        NVVM::WGMMATypesAttr::get(b.getContext(), NVVM::WGMMATypes::f32), scaleOut, keep, keep,
                                        rowMajor, colMajor, NVVM::MMAIntOverflowAttr());
  }
  NVVM::WgmmaGroupSyncAlignedOp::create(b, loc);
  NVVM::WgmmaWaitGroupSyncOp::create(b, loc, uint64_t(0));
  Parts result;
  for (int64_t item = 0; item < 2; ++item) {
    SmallVector<Value> numbers;
    for (int64_t lane = 0; lane < perItem; ++lane)
      numbers.push_back(LLVM::ExtractValueOp::create(b, loc, sum, place(item, lane)));
    result.push_back(fromNumbers(numbers, f32));
  }
  tiles[op.getResult()] = result;
  return success();
}
