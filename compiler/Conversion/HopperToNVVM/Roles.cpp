// Roles of warps: who computes, fetches and finishes, and the ring of slots between them.
#include "compiler/Conversion/HopperToNVVM/Distribution.h"

#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace vernier;
using namespace vernier::simt;
using arith::CmpIPredicate;

Value Distribution::barrierOf(Value pair, bool full) {
  Value address = full ? pair : CodeWords(b, loc).add(pair, i32(kBarrierBytes));
  return LLVM::IntToPtrOp::create(b, loc, LLVM::LLVMPointerType::get(b.getContext(), 3), address);
}

Distribution::Slot Distribution::firstSlot() {
  CodeWords words(b, loc);
  int64_t data = *roles.getShared(), barriers = data + int64_t(roles.getStages() * roles.getBytes());
  auto address = [&](int64_t offset) -> Value {
    return LLVM::PtrToIntOp::create(b, loc, b.getI32Type(), sharedPointer(offset, i32(0)));
  };
  Value start = address(data);
  Value low = words.bitOr(words.shr(start, i32(llvm::Log2_64(kDescriptorUnit))), i32(kDescriptorLow));
  return {address(barriers), low, i32(0)};
}

/// The slot that a side comes to next, and the parity of its passes through the ring; in registers once LLVM has seen them.
/// All that is wanted of a slot is ready when its turn comes: what follows a barrier follows at once.
void Distribution::makeRing() {
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(&target.getBody().front());
  ringStart = firstSlot();
  Value values[] = {ringStart.barriers, ringStart.descriptor, ringStart.parity};
  for (auto [variable, value] : llvm::zip(ring, values))
    variable = makeVariable(value);
  nextIsFull = makeVariable(i32(0));
}

/// An i32 that lives as long as the kernel.
Value Distribution::makeVariable(Value initial) {
  Type pointer = LLVM::LLVMPointerType::get(b.getContext());
  Value variable = LLVM::AllocaOp::create(b, loc, pointer, b.getI32Type(), i32(1));
  LLVM::StoreOp::create(b, loc, initial, variable);
  return variable;
}

Distribution::Slot Distribution::nextSlot(bool full) {
  CodeWords words(b, loc);
  auto load = [&](Value variable) -> Value { return LLVM::LoadOp::create(b, loc, b.getI32Type(), variable); };
  Slot slot{load(ring[0]), load(ring[1]), load(ring[2])};
  Value awaited = full ? slot.parity : words.bitXor(slot.parity, i32(1)); // at first, all slots are empty
  {
    OpBuilder::InsertionGuard guard(b);
    if (full) {
      Value missing = arith::CmpIOp::create(b, loc, CmpIPredicate::eq, load(nextIsFull), i32(0));
      b.setInsertionPointToStart(scf::IfOp::create(b, loc, missing, /*withElse=*/false).thenBlock());
    }
    NVVM::MBarrierTryWaitParityOp::create(b, loc, barrierOf(slot.barriers, full), awaited, i32(10000000));
  }
  int64_t units = int64_t(roles.getBytes()) / kDescriptorUnit;
  Value after = words.add(slot.descriptor, i32(units));
  Value end = words.add(ringStart.descriptor, i32(units * int64_t(roles.getStages())));
  Value wraps = arith::CmpIOp::create(b, loc, CmpIPredicate::eq, after, end);
  auto advance = [&](Value variable, Value next, Value again) {
    LLVM::StoreOp::create(b, loc, arith::SelectOp::create(b, loc, wraps, again, next), variable);
  };
  advance(ring[0], words.add(slot.barriers, i32(2 * kBarrierBytes)), ringStart.barriers);
  advance(ring[1], after, ringStart.descriptor);
  advance(ring[2], slot.parity, words.bitXor(slot.parity, i32(1)));
  return slot;
}

LogicalResult Distribution::runRoles(hopper::RolesOp op) {
  if (!op.getShared())
    return op.emitError() << "expected shared memory; run hopper-allocate-shared first";
  roles = op;
  int64_t consumers = layout.threads(), warps = consumers / 32;
  cluster = hopper::clusterOf(source);
  makeRing();
  auto when = [&](Value condition, bool otherwise = false) { return scf::IfOp::create(b, loc, condition, otherwise); };
  Value first = arith::CmpIOp::create(b, loc, CmpIPredicate::eq, thread, i32(0));
  {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(when(first).thenBlock());
    for (uint64_t slot = 0; slot < op.getStages(); ++slot) {
      Slot one = ringStart;
      one.barriers = CodeWords(b, loc).add(one.barriers, i32(2 * kBarrierBytes * int64_t(slot)));
      NVVM::MBarrierInitOp::create(b, loc, barrierOf(one.barriers, true), i32(op.hasScales() ? 1 + scaleThreads() : 1),
                                   Value());
      NVVM::MBarrierInitOp::create(b, loc, barrierOf(one.barriers, false), i32(warps * (32 + cluster - 1)), Value());
    }
    for (uint64_t place = 0; place < op.getBuffers(); ++place) {
      Place one = firstPlace();
      one.barriers = CodeWords(b, loc).add(one.barriers, i32(op.barriersAPlace() * kBarrierBytes * int64_t(place)));
      auto awaits = [&](PlaceState state, int64_t arrivals) {
        NVVM::MBarrierInitOp::create(b, loc, barrierOf(one, state), i32(arrivals), Value());
      };
      awaits(PlaceState::Full, consumers);
      awaits(PlaceState::Empty, hopper::kWarpgroup);
      if (op.fills())
        awaits(PlaceState::Ready, 1);
    }
    NVVM::FenceMbarrierInitOp::create(b, loc);
  }
  meetCluster();
  Value computes = arith::CmpIOp::create(b, loc, CmpIPredicate::ult, thread, i32(consumers));
  scf::IfOp sides = when(computes, true);
  meetCluster(); // a block that has ended can neither be written to nor be told
  OpBuilder::InsertionGuard guard(b);
  RegisterShares shares = shareRegisters(op, consumers);
  auto registers = [&](int64_t count) {
    auto action = count > shares.entry ? NVVM::SetMaxRegisterAction::increase : NVVM::SetMaxRegisterAction::decrease;
    // Also where it changes nothing: every side's share can be found, and changed, where the assembler had to spill.
    NVVM::SetMaxRegisterOp::create(b, loc, uint32_t(count), action);
  };
  b.setInsertionPointToStart(sides.thenBlock());
  registers(shares.computing);
  // From one lane to all: the assembler then knows that the number is the same in all of a warp.
  auto numberOf = [&](int64_t threads) -> Value {
    Value number = arith::ShRUIOp::create(b, loc, thread, i32(llvm::Log2_64(threads)));
    return NVVM::ShflOp::create(b, loc, b.getI32Type(), i32(-1), number, i32(0), i32(31), NVVM::ShflKind::idx, UnitAttr());
  };
  warpgroup = numberOf(hopper::kWarpgroup);
  if (failed(block(op.getCompute().front())))
    return failure();
  b.setInsertionPointToStart(sides.elseBlock());
  int64_t fetching = consumers + hopper::kWarpgroup; // the first thread beyond those that fetch
  if (op.finishes()) {
    scf::IfOp others = when(arith::CmpIOp::create(b, loc, CmpIPredicate::ult, thread, i32(fetching)), true);
    b.setInsertionPointToStart(others.elseBlock());
    registers(shares.finishing);
    if (failed(within(*op.getFinishLayout(), fetching, op.getFinish())))
      return failure();
    b.setInsertionPointToStart(others.thenBlock());
  }
  registers(shares.fetching);
  if (makes()) {
    firstScaleThread = 0; // of the side's numbers
    return within(*op.getMakeLayout(), consumers, op.getScales());
  }
  auto side = [&](Value condition, Region &region, bool tiles) {
    OpBuilder::InsertionGuard inner(b);
    b.setInsertionPointToStart(when(condition).thenBlock());
    fetchesTiles = tiles;
    return block(region.front());
  };
  // One thread, elected: of one that its number tells, the assembler does not know that it is alone, and puts each of its
  // copies into a loop over the threads that may want it.
  Value warp = numberOf(32);
  auto oneOf = [&](int64_t which, Region &region, bool tiles) {
    OpBuilder::InsertionGuard inner(b);
    Value isWarp = arith::CmpIOp::create(b, loc, CmpIPredicate::eq, warp, i32(which));
    b.setInsertionPointToStart(when(isWarp).thenBlock());
    return side(NVVM::ElectSyncOp::create(b, loc, b.getI1Type(), Value()), region, tiles);
  };
  int64_t firstWarp = consumers / 32;
  if (failed(oneOf(firstWarp, op.getTiles(), true)) ||
      (op.fills() && failed(oneOf(firstWarp + 1, op.getFill().front(), false))))
    return failure();
  if (!op.hasScales())
    return success();
  firstScaleThread = fetching - scaleThreads();
  return side(arith::CmpIOp::create(b, loc, CmpIPredicate::uge, thread, i32(firstScaleThread)), op.getScales(), false);
}

LogicalResult Distribution::within(hopper::LayoutAttr other, int64_t first, Region &region) {
  auto setLayout = [&](hopper::LayoutAttr next, Value number) {
    layout = next, V = next.lanes(), items = next.items(), thread = number;
    threadRow = arith::ShRUIOp::create(b, loc, thread, i32(llvm::Log2_64(layout.getThreadCols())));
    threadCol = arith::AndIOp::create(b, loc, thread, i32(layout.getThreadCols() - 1));
  };
  hopper::LayoutAttr computing = layout;
  Value all = thread, row = threadRow, col = threadCol;
  setLayout(other, arith::SubIOp::create(b, loc, thread, i32(first)));
  ++sideBarrier; // barrier 0 is the block's, 1 of those that compute
  LogicalResult done = block(region.front());
  layout = computing, V = computing.lanes(), items = computing.items();
  thread = all, threadRow = row, threadCol = col;
  return done;
}

Value Distribution::isFirst() { return arith::CmpIOp::create(b, loc, CmpIPredicate::eq, thread, i32(0)); }

LogicalResult Distribution::acquire(hopper::AcquireOp op) {
  Slot slot = nextSlot(/*full=*/false);
  OpBuilder::InsertionGuard guard(b);
  if (makes())
    b.setInsertionPointToStart(scf::IfOp::create(b, loc, isFirst(), /*withElse=*/false).thenBlock());
  if (fetchesTiles || makes()) {
    Value bytes = i32(int64_t(roles.getTileBytes()));
    if (op.getLess())
      bytes = arith::SubIOp::create(b, loc, bytes, coordinate(op.getLess()));
    NVVM::MBarrierArriveExpectTxOp::create(b, loc, Type(), barrierOf(slot.barriers, true), bytes, NVVM::MemScopeKind::CTA,
                                           /*relaxed=*/false, Value());
  }
  slots[op.getSlot()] = slot;
  return success();
}

LogicalResult Distribution::await(hopper::AwaitOp op) {
  slots[op.getSlot()] = currentSlot = nextSlot(/*full=*/true);
  LLVM::StoreOp::create(b, loc, i32(0), nextIsFull); // of the slot behind it, nobody knows yet
  return success();
}

LogicalResult Distribution::release(hopper::ReleaseOp op) {
  // Every thread has read scales, and tells those that write the next ones. The tiles were read by the tensor cores alone: of
  // every warp, one lane tells each other block, whose tiles come together with this one's. Predicated rather than in a branch
  // of its own: LLVM would sink the sums of a loop below the branch, where all partial sums are alive at once.
  Value empty = barrierOf(slots.lookup(op.getSlot()).barriers, false);
  auto arrive = [&](Value barrier, Value predicate, StringRef space) {
    std::string text = ("@$1 mbarrier.arrive.shared::" + space + ".b64 _, [$0];").str();
    simt::inlineAsm(b, loc, {}, {barrier, predicate}, text, "r,b,~{memory}");
  };
  arrive(empty, arith::ConstantIntOp::create(b, loc, 1, 1), "cta");
  if (cluster > 1) {
    Value lane = arith::AndIOp::create(b, loc, thread, i32(31));
    Value tells = arith::CmpIOp::create(b, loc, CmpIPredicate::ult, lane, i32(cluster - 1));
    Value rank = NVVM::ClusterId::create(b, loc, b.getI32Type()),
          other = CodeWords(b, loc).add(rank, CodeWords(b, loc).add(lane, i32(1)));
    other = arith::RemUIOp::create(b, loc, other, i32(cluster));
    arrive(NVVM::MapaOp::create(b, loc, LLVM::LLVMPointerType::get(b.getContext(), kClusterSpace), empty, other), tells,
           "cluster");
  }
  // Whether the next slot is full is asked here, ahead of the sums that are still to be scaled: then the wait for it, when its
  // turn comes, is over.
  auto load = [&](Value variable) -> Value { return LLVM::LoadOp::create(b, loc, b.getI32Type(), variable); };
  Slot next{load(ring[0]), load(ring[1]), load(ring[2])};
  Value isFull = NVVM::MBarrierTestWaitOp::create(b, loc, b.getI1Type(), barrierOf(next.barriers, true), next.parity);
  LLVM::StoreOp::create(b, loc, arith::ExtUIOp::create(b, loc, b.getI32Type(), isFull), nextIsFull);
  return success();
}

/// All threads of all blocks of the cluster, those that fetch included.
void Distribution::meetCluster() {
  if (cluster == 1) {
    NVVM::Barrier0Op::create(b, loc);
    return;
  }
  // Not the aligned form: of a warp that fetches, the lanes may arrive one after the other.
  NVVM::ClusterArriveOp::create(b, loc, UnitAttr());
  NVVM::ClusterWaitOp::create(b, loc, UnitAttr());
}

Value Distribution::stagedPointer(const Slot &slot, int64_t offset) {
  CodeWords words(b, loc);
  Value address = words.mul(slot.descriptor, i32(kDescriptorUnit));
  address = words.add(address, i32(offset - kDescriptorLow * kDescriptorUnit));
  return LLVM::IntToPtrOp::create(b, loc, LLVM::LLVMPointerType::get(b.getContext(), 3), address);
}
