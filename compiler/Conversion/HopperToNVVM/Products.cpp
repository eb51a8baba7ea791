// Matrix products: the ring between the warps that fetch and those that compute, and wgmma.
#include "compiler/Conversion/HopperToNVVM/Distribution.h"
#include "compiler/Target/NVPTX/Ptx.h"

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
/// Threads that fetch scales, the last of their warpgroup: each fetches that of its number, and every 96th after it.
static constexpr int64_t kScaleThreads = 96;
static constexpr unsigned kClusterSpace = 7; ///< shared memory of a cluster's blocks, for LLVM.

// Descriptors of operands say where they begin in units of 16 bytes, in their low words.
static constexpr int64_t kDescriptorUnit = 16, kDescriptorLow = 1 << 16;

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
      NVVM::MBarrierInitOp::create(b, loc, barrierOf(one.barriers, true), i32(op.hasScales() ? 1 + kScaleThreads : 1), Value());
      NVVM::MBarrierInitOp::create(b, loc, barrierOf(one.barriers, false), i32(warps * (32 + cluster - 1)), Value());
    }
    for (uint64_t place = 0; place < op.getBuffers(); ++place) {
      Place one = firstPlace();
      one.barriers = CodeWords(b, loc).add(one.barriers, i32(2 * kBarrierBytes * int64_t(place)));
      NVVM::MBarrierInitOp::create(b, loc, barrierOf(one.barriers, true), i32(consumers), Value());
      NVVM::MBarrierInitOp::create(b, loc, barrierOf(one.barriers, false), i32(op.getFills() ? 1 : hopper::kWarpgroup),
                                   Value());
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
  Value number = arith::ShRUIOp::create(b, loc, thread, i32(llvm::Log2_64(hopper::kWarpgroup)));
  warpgroup = NVVM::ShflOp::create(b, loc, b.getI32Type(), i32(-1), number, i32(0), i32(31), NVVM::ShflKind::idx, UnitAttr());
  if (failed(block(op.getCompute().front())))
    return failure();
  b.setInsertionPointToStart(sides.elseBlock());
  int64_t fetching = consumers + hopper::kWarpgroup; // the first thread beyond those that fetch
  if (op.finishes()) {
    scf::IfOp others = when(arith::CmpIOp::create(b, loc, CmpIPredicate::ult, thread, i32(fetching)), true);
    b.setInsertionPointToStart(others.elseBlock());
    registers(shares.finishing);
    if (failed(finish(op, fetching)))
      return failure();
    b.setInsertionPointToStart(others.thenBlock());
  }
  registers(shares.fetching);
  auto side = [&](Value condition, Region &region, bool tiles) {
    OpBuilder::InsertionGuard inner(b);
    b.setInsertionPointToStart(when(condition).thenBlock());
    fetchesTiles = tiles;
    return block(region.front());
  };
  if (failed(side(arith::CmpIOp::create(b, loc, CmpIPredicate::eq, thread, i32(consumers)), op.getTiles(), true)))
    return failure();
  if (!op.hasScales())
    return success();
  firstScaleThread = fetching - kScaleThreads;
  return side(arith::CmpIOp::create(b, loc, CmpIPredicate::uge, thread, i32(firstScaleThread)), op.getScales(), false);
}

/// The warpgroup that fetches needs few registers: for addresses and counters, for the words of scales that it holds and the
/// next ones, for those that it writes. The one that finishes works on few elements at a time. The others share what is left.
Distribution::RegisterShares Distribution::shareRegisters(hopper::RolesOp op, int64_t consumers) {
  constexpr int64_t unit = nvptx::kRegisterUnit, ownRegisters = 40, searchRegisters = 8, innerLoopRegisters = 4;
  int64_t held = 0, searches = 0;
  op.getScales().walk([&](Operation *inner) {
    if (llvm::isa<hopper::GroupTileOp>(inner))
      searches = searchRegisters;
    auto loop = llvm::dyn_cast<scf::ForOp>(inner);
    if (!loop)
      return;
    int64_t mine = 0;
    for (auto load : loop.getBody()->getOps<hopper::LoadScalesOp>())
      mine += 3 * heldScales(load.getType().getRows()) * llvm::divideCeil(load.getType().getCols(), 4);
    if (mine)
      loop.walk([&](hopper::PutScalesOp put) {
        mine += int64_t(put.getBlocks()) + (put->getParentOp() == loop ? 0 : innerLoopRegisters);
      });
    held = std::max(held, mine);
  });
  int64_t computingGroups = consumers / hopper::kWarpgroup, groups = computingGroups + (op.finishes() ? 2 : 1);
  RegisterShares shares;
  shares.entry = nvptx::launchRegisters(groups * hopper::kWarpgroup);
  // Of those that the block was launched with: asking for more would wait for ever.
  int64_t all = shares.entry * groups;
  constexpr int64_t mostComputing = 240;
  if (!op.finishes()) {
    shares.fetching = std::clamp<int64_t>(llvm::alignTo(ownRegisters + searches + held, unit), 40, 96);
    shares.computing = std::min<int64_t>(mostComputing, (all - shares.fetching) / computingGroups / unit * unit);
    shares.fetching = (all - shares.computing * computingGroups) / unit * unit; // what rounding leaves is of no use to others
    return shares;
  }
  // Those that compute hold the sums, the partial sums of one slab, its scales and a few addresses.
  int64_t sums = 0, partial = 0, scales = 1, handOvers = 0;
  llvm::DenseMap<Block *, int64_t> passed;
  op.getCompute().walk([&](Operation *inner) {
    if (auto hand = llvm::dyn_cast<hopper::HandOverOp>(inner); hand && ++handOvers)
      for (Value tile : hand.getTiles())
        sums = std::max(sums, passed[hand->getBlock()] += tileType(tile).getNumElements() / consumers);
    else if (auto product = llvm::dyn_cast<hopper::MultiplyOp>(inner))
      partial = tileType(product.getResult()).getNumElements() / consumers;
    else if (auto read = llvm::dyn_cast<hopper::ReadScalesOp>(inner))
      scales = std::max(scales, layout.localCols(tileType(read.getResult()).getDimSize(1)));
  });
  constexpr int64_t leastFetching = 40, usualFetching = 48, leastFinishing = 40, columnScales = 16;
  int64_t addresses = handOvers > 1 ? 15 : 7; // several slabs are counted, and left out where there are few rows
  int64_t needed = llvm::alignTo(sums + partial + scales + (scales > 1 ? columnScales : 0) + addresses, unit);
  // Where more than copies is made of tiles, every register there lets more numbers be on their way.
  bool makes = op.getFinish()
                   .walk([](Operation *inner) {
                     return llvm::isa<hopper::EncodeOp>(inner) || inner->getName().getDialectNamespace() == "math" ||
                                    llvm::isa<arith::MulFOp, arith::AddFOp>(inner)
                                ? WalkResult::interrupt()
                                : WalkResult::advance();
                   })
                   .wasInterrupted();
  int64_t slack = all - needed * computingGroups - leastFinishing,
          least = slack < usualFetching ? leastFetching : usualFetching;
  int64_t mostFetching = std::clamp<int64_t>(slack, least, makes ? usualFetching : 96);
  shares.fetching = std::clamp<int64_t>(llvm::alignTo(ownRegisters + searches + held, unit), leastFetching, mostFetching);
  int64_t mostLeft = (all - shares.fetching - leastFinishing) / computingGroups / unit * unit;
  shares.computing = std::clamp<int64_t>(needed, shares.entry + unit, std::min(mostComputing, mostLeft));
  shares.finishing =
      std::min<int64_t>(mostComputing, (all - shares.fetching - shares.computing * computingGroups) / unit * unit);
  return shares;
}

/// The side that finishes, whose first thread is `first`.
LogicalResult Distribution::finish(hopper::RolesOp op, int64_t first) {
  auto setLayout = [&](hopper::LayoutAttr next, Value number) {
    layout = next, V = next.lanes(), items = next.items(), thread = number;
    threadRow = arith::ShRUIOp::create(b, loc, thread, i32(llvm::Log2_64(layout.getThreadCols())));
    threadCol = arith::AndIOp::create(b, loc, thread, i32(layout.getThreadCols() - 1));
  };
  hopper::LayoutAttr computing = layout;
  Value all = thread, row = threadRow, col = threadCol;
  setLayout(*op.getFinishLayout(), arith::SubIOp::create(b, loc, thread, i32(first)));
  finishes = true;
  LogicalResult done = block(op.getFinish().front());
  layout = computing, V = computing.lanes(), items = computing.items();
  thread = all, threadRow = row, threadCol = col;
  finishes = false;
  return done;
}

LogicalResult Distribution::acquire(hopper::AcquireOp op) {
  Slot slot = nextSlot(/*full=*/false);
  if (fetchesTiles)
    NVVM::MBarrierArriveExpectTxOp::create(b, loc, Type(), barrierOf(slot.barriers, true), i32(int64_t(roles.getTileBytes())),
                                           NVVM::MemScopeKind::CTA, /*relaxed=*/false, Value());
  slots[op.getSlot()] = slot;
  return success();
}

LogicalResult Distribution::await(hopper::AwaitOp op) {
  slots[op.getSlot()] = currentSlot = nextSlot(/*full=*/true);
  return success();
}

LogicalResult Distribution::release(hopper::ReleaseOp op) {
  // Every thread has read scales, and tells those that write the next ones. The tiles were read by the tensor cores alone: of
  // every warp, one lane tells each other block, whose tiles come together with this one's. Predicated rather than in a branch
  // of its own: LLVM would sink the sums of a loop below the branch, where all partial sums are alive at once.
  Value empty = barrierOf(slots.lookup(op.getSlot()).barriers, false);
  auto arrive = [&](Value barrier, Value predicate, StringRef space) {
    std::string text = ("@$1 mbarrier.arrive.shared::" + space + ".b64 _, [$0];").str();
    LLVM::InlineAsmOp::create(b, loc, TypeRange{}, ValueRange{barrier, predicate}, text, "r,b,~{memory}",
                              /*has_side_effects=*/true, /*is_align_stack=*/false, LLVM::TailCallKind::None,
                              LLVM::AsmDialectAttr(), ArrayAttr());
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

int64_t Distribution::heldScales(int64_t count) { return llvm::divideCeil(count, kScaleThreads); }

LogicalResult Distribution::loadScales(hopper::LoadScalesOp op) {
  int64_t count = op.getResult().getType().getRows(), cols = op.getResult().getType().getCols(), height = op.getHeight();
  auto word = b.getIntegerType(unsigned(8 * cols));
  Type loads = op.getWhole() ? word : b.getI8Type();
  Address address = addressOf(op.getMemref(), VectorType::get({count, 1}, b.getI8Type()), Value());
  CodeWords words(b, loc);
  Value mine = words.add(coordinate(op.getRow()), arith::SubIOp::create(b, loc, thread, i32(firstScaleThread)));
  Value last = words.add(coordinate(op.getLimit()), i32(-1));
  int64_t width = llvm::cast<MemRefType>(op.getMemref().getType()).getShape().back();
  bool beyond = !op.getWhole() && cols > 1 && (ShapedType::isDynamic(width) || width % cols);
  SmallVector<Value> loaded;
  for (int64_t i = 0; i < heldScales(count); ++i) {
    Value row = arith::MinUIOp::create(b, loc, words.add(mine, i32(i * kScaleThreads)), last); // rows are numbers of 32 bits
    if (height > 1)
      row = arith::DivUIOp::create(b, loc, row, i32(height));
    row = toIndex(row);
    auto load = [&](Value col) -> Value {
      unsigned alignment = loads.getIntOrFloatBitWidth() / 8;
      return LLVM::LoadOp::create(b, loc, loads, pointer(address, row, col), alignment);
    };
    if (op.getWhole() || cols == 1) {
      loaded.push_back(load(number(op.getCol())));
      continue;
    }
    Value all;
    for (int64_t j = 0; j < cols; ++j) {
      Value col = arith::AddIOp::create(b, loc, number(op.getCol()), index(j));
      if (beyond)
        col = arith::MinUIOp::create(b, loc, col, index(width - 1));
      Value one = arith::ExtUIOp::create(b, loc, word, load(col));
      if (j)
        one = arith::ShLIOp::create(b, loc, one, arith::ConstantOp::create(b, loc, b.getIntegerAttr(word, 8 * j)));
      all = all ? arith::OrIOp::create(b, loc, all, one).getResult() : one;
    }
    loaded.push_back(all);
  }
  tiles[op.getResult()] = {fromNumbers(loaded, word)};
  return success();
}

/// Byte `at` of a word of scales, as FP32.
Value Distribution::scaleOf(Value word, Value at) {
  auto type = llvm::cast<IntegerType>(word.getType());
  if (type.getWidth() > 8) {
    Value bits = arith::IndexCastOp::create(b, loc, type, arith::MulIOp::create(b, loc, at, index(8)));
    word = arith::TruncIOp::create(b, loc, b.getI8Type(), arith::ShRUIOp::create(b, loc, word, bits));
  }
  return lanes.scaleValue(arith::ExtUIOp::create(b, loc, b.getI32Type(), word));
}

LogicalResult Distribution::putScales(hopper::PutScalesOp op) {
  int64_t count = op.getScales().getType().getRows();
  Value held = parts(op.getScales())[0], mine = arith::SubIOp::create(b, loc, thread, i32(firstScaleThread));
  Value to = stagedPointer(slots.lookup(op.getSlot()), op.getOffset()), factor;
  if (op.getFactor())
    factor = scaleOf(extract(parts(op.getFactor())[0], 0), number(op.getFactorFirst()));
  for (int64_t i = 0; i < heldScales(count); ++i) {
    OpBuilder::InsertionGuard guard(b);
    Value at = arith::AddIOp::create(b, loc, mine, i32(i * kScaleThreads));
    if ((i + 1) * kScaleThreads > count)
      b.setInsertionPointToStart(
          scf::IfOp::create(b, loc, arith::CmpIOp::create(b, loc, CmpIPredicate::ult, at, i32(count)), false).thenBlock());
    for (int64_t j = 0; j < int64_t(op.getBlocks()); ++j) {
      Value scale = scaleOf(extract(held, i), arith::AddIOp::create(b, loc, number(op.getFirst()), index(j)));
      if (factor)
        scale = arith::MinimumFOp::create(b, loc, arith::MulFOp::create(b, loc, scale, factor), lanes.f32(scale, 0x1p127));
      Value place = j ? CodeWords(b, loc).add(at, i32(j * count)) : at;
      LLVM::StoreOp::create(b, loc, scale, LLVM::GEPOp::create(b, loc, to.getType(), b.getF32Type(), to, ValueRange{place}));
    }
  }
  return success();
}

LogicalResult Distribution::commit(hopper::CommitOp op) {
  NVVM::MBarrierArriveOp::create(b, loc, b.getI64Type(), barrierOf(slots.lookup(op.getSlot()).barriers, true), Value());
  return success();
}

LogicalResult Distribution::readScales(hopper::ReadScalesOp op) {
  VectorType tile = tileType(op.getResult());
  Value from = LLVM::IntToPtrOp::create(b, loc, LLVM::LLVMPointerType::get(b.getContext(), 3), number(op.getScales()));
  auto load = [&](Value at, int64_t count) -> Value {
    Value pointer = LLVM::GEPOp::create(b, loc, from.getType(), b.getF32Type(), from, ValueRange{at});
    return LLVM::LoadOp::create(b, loc, VectorType::get({count}, b.getF32Type()), pointer, unsigned(4 * count));
  };
  CodeWords words(b, loc);
  int64_t first = op.getFirst(), rows = tile.getDimSize(0), cols = tile.getDimSize(1);
  Parts result;
  if (cols == 1) {
    for (int64_t i = 0, n = layout.localRows(rows); i < n; ++i) {
      Value row = words.shr(itemRow(layout.itemOf(i, rows)), i32(llvm::Log2_64(layout.blockRows(rows))));
      result.push_back(load(words.add(row, i32(first)), 1));
    }
  } else {
    int64_t local = layout.localCols(cols), together = layout.neighbours(cols);
    SmallVector<Value> numbers;
    for (int64_t j = 0; j < local; j += together) {
      Value piece = load(words.add(gridColumn(cols), i32(first + layout.colOffset(j, cols))), together);
      for (int64_t k = 0; k < together; ++k)
        numbers.push_back(extract(piece, k));
    }
    result.push_back(fromNumbers(numbers, b.getF32Type()));
  }
  tiles[op.getResult()] = result;
  return success();
}

Value Distribution::tensorMap(Value memref, hopper::StagedType tile) {
  auto maps = hopper::tensorMapsOf(source);
  hopper::TensorMap wanted{llvm::cast<BlockArgument>(memref).getArgNumber(), tile};
  return target.getArgument(target.getNumArguments() - maps.size() + unsigned(llvm::find(maps, wanted) - maps.begin()));
}

/// As tensor maps count: in 32 bits.
Value Distribution::coordinate(Value v) { return arith::IndexCastOp::create(b, loc, b.getI32Type(), number(v)); }

LogicalResult Distribution::prefetch(hopper::PrefetchOp op) {
  NVVM::CpAsyncBulkTensorPrefetchOp::create(b, loc, tensorMap(op.getMemref(), llvm::cast<hopper::StagedType>(op.getTile())),
                                            ValueRange{coordinate(op.getCol()), coordinate(op.getRow())}, ValueRange{},
                                            NVVM::TMALoadModeAttr::get(b.getContext(), NVVM::TMALoadMode::TILE), Value());
  return success();
}

/// Where the first tiles are passed, and their barriers, behind the ring's.
Distribution::Place Distribution::firstPlace() {
  int64_t barriers = *roles.getShared() + int64_t(roles.getStages() * (roles.getBytes() + 2 * kBarrierBytes));
  auto address = [&](int64_t offset) -> Value {
    return LLVM::PtrToIntOp::create(b, loc, b.getI32Type(), sharedPointer(offset, i32(0)));
  };
  return {address(0), address(barriers), i32(0)};
}

/// The place that the side comes to next.
Distribution::Place Distribution::currentPlace() {
  if (!places[0]) {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(&target.getBody().front());
    placesStart = firstPlace();
    Value values[] = {placesStart.address, placesStart.barriers, placesStart.parity};
    for (auto [variable, value] : llvm::zip(places, values))
      variable = makeVariable(value);
  }
  auto load = [&](Value variable) -> Value { return LLVM::LoadOp::create(b, loc, b.getI32Type(), variable); };
  if (roles.getBuffers() == 1) // one place, with nothing to remember but the parity
    return {placesStart.address, placesStart.barriers, load(places[2])};
  return {load(places[0]), load(places[1]), load(places[2])};
}

/// Waits until the side's next place is full, or empty, and moves the side on.
Distribution::Place Distribution::nextPlace(bool full, bool oneWarp) {
  CodeWords words(b, loc);
  Place place = currentPlace();
  bool same = full || roles.getFills(); // else all are empty at first
  Value awaited = same ? place.parity : words.bitXor(place.parity, i32(1));
  {
    OpBuilder::InsertionGuard guard(b);
    if (oneWarp) {
      Value first = arith::CmpIOp::create(b, loc, CmpIPredicate::ult, thread, i32(32));
      b.setInsertionPointToStart(scf::IfOp::create(b, loc, first, /*withElse=*/false).thenBlock());
    }
    NVVM::MBarrierTryWaitParityOp::create(b, loc, barrierOf(place.barriers, full), awaited, i32(10000000));
  }
  if (oneWarp)
    barrier();
  int64_t count = int64_t(roles.getBuffers());
  if (count == 1) {
    LLVM::StoreOp::create(b, loc, words.bitXor(place.parity, i32(1)), places[2]);
    return place;
  }
  Value after = words.add(place.barriers, i32(2 * kBarrierBytes)),
        end = words.add(placesStart.barriers, i32(2 * kBarrierBytes * count));
  Value wraps = arith::CmpIOp::create(b, loc, CmpIPredicate::eq, after, end);
  auto advance = [&](Value variable, Value next, Value again) {
    LLVM::StoreOp::create(b, loc, arith::SelectOp::create(b, loc, wraps, again, next), variable);
  };
  advance(places[0], words.add(place.address, i32(int64_t(llvm::alignTo(roles.getPassedBytes(), 1024)))), placesStart.address);
  advance(places[1], after, placesStart.barriers);
  advance(places[2], place.parity, words.bitXor(place.parity, i32(1)));
  return place;
}

/// Of a tile that is passed, what a warpgroup writes.
static int64_t groupBytes(hopper::PassedType tile) { return tile.bytes() / (tile.getRows() / 64); }

LogicalResult Distribution::handOver(hopper::HandOverOp op) {
  int64_t warpgroups = layout.threads() / hopper::kWarpgroup;
  CodeWords words(b, loc);
  Place place = nextPlace(/*full=*/false);
  // A zero that changes for all that LLVM knows: addresses found ahead of all tiles would fill the registers.
  Value zero = words.shr(LLVM::LoadOp::create(b, loc, b.getI32Type(), ring[1]), i32(28)), here = words.add(thread, zero);
  int64_t offset = 0;
  for (Value tile : op.getTiles()) {
    VectorType type = tileType(tile);
    if (layout != hopper::accumulatorLayout(b.getContext(), warpgroups, type.getDimSize(1)) ||
        type.getDimSize(0) != 64 * warpgroups)
      return op.emitError() << "expected the layout of accumulators, but got " << layout;
    auto passed = hopper::PassedType::get(b.getContext(), type.getDimSize(0), type.getDimSize(1), type.getElementType());
    Value mine = words.add(words.add(place.address, i32(offset)), words.mul(warpgroup, i32(groupBytes(passed))));
    offset += passed.bytes();
    if (!op.getAdds()) {
      pass(tile, passed, here, mine, /*adds=*/false);
      continue;
    }
    auto branch = scf::IfOp::create(b, loc, number(op.getAdds()), /*withElseRegion=*/true);
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(branch.thenBlock());
    pass(tile, passed, here, mine, /*adds=*/true);
    b.setInsertionPointToStart(branch.elseBlock());
    pass(tile, passed, here, mine, /*adds=*/false);
  }
  fenceProxy();
  NVVM::MBarrierArriveOp::create(b, loc, b.getI64Type(), barrierOf(place.barriers, true), Value());
  return success();
}

/// A thread's part of a tile, to where its warpgroup's rows lie. Sixteen-byte pieces of row r lie at the exclusive-or of their
/// number and r mod 8 (hopper.staged), so that the address of the first piece tells those of the others.
void Distribution::pass(Value tile, hopper::PassedType passed, Value thread, Value base, bool adds) {
  CodeWords words(b, loc);
  auto sharedSpace = LLVM::LLVMPointerType::get(b.getContext(), 3);
  hopper::StagedType part = passed.part();
  Value lane = words.bitAnd(thread, i32(31)), warp = words.bitAnd(words.shr(thread, i32(5)), i32(3));
  auto startAt = [&](Value rowOfWarp, Value piece) -> Value {
    Value row = words.add(words.mul(warp, i32(16)), rowOfWarp);
    Value inPart = words.mul(words.bitXor(piece, words.bitAnd(row, i32(7))), i32(16));
    return words.add(words.add(base, words.mul(row, i32(hopper::StagedType::kRowBytes))), inPart);
  };
  int64_t cols = passed.getCols(), bits = passed.getElement().getIntOrFloatBitWidth(), piecesABlock = 8 * bits / 128,
          blocksAPart = part.getCols() / 8;
  auto placeOf = [&](Value start, int64_t block) -> Value {
    Value piece = words.bitXor(start, i32(block % blocksAPart * piecesABlock * 16));
    return LLVM::IntToPtrOp::create(b, loc, sharedSpace, words.add(piece, i32(block / blocksAPart * part.bytes())));
  };
  auto pair = [&](int64_t item, int64_t block) -> Value {
    Value numbers = parts(tile)[size_t(item)];
    return fromNumbers({extract(numbers, 2 * block), extract(numbers, 2 * block + 1)}, passed.getElement());
  };
  if (bits == 16) {
    // Four blocks of 8 x 8 an instruction, two rows and two columns of them: each lane says where one row of one block begins.
    Value start = startAt(words.bitAnd(lane, i32(15)), words.shr(lane, i32(4)));
    auto word = [&](int64_t item, int64_t block) -> Value {
      return extract(vector::BitCastOp::create(b, loc, VectorType::get({1}, b.getI32Type()), pair(item, block)), 0);
    };
    for (int64_t block = 0; block < cols / 8; block += 2)
      NVVM::StMatrixOp::create(
          b, loc, placeOf(start, block), ValueRange{word(0, block), word(1, block), word(0, block + 1), word(1, block + 1)},
          NVVM::MMALayoutAttr::get(b.getContext(), NVVM::MMALayout::row), NVVM::LdStMatrixShapeAttr::get(b.getContext(), 8, 8),
          NVVM::LdStMatrixEltTypeAttr::get(b.getContext(), NVVM::LdStMatrixEltType::B16));
    return;
  }
  // A lane's two columns of a block are half of a piece.
  Value column = words.bitAnd(lane, i32(3)), half = words.mul(words.bitAnd(column, i32(1)), i32(8));
  for (int64_t item = 0; item < 2; ++item) {
    Value row = words.add(words.shr(lane, i32(2)), i32(8 * item));
    Value start = words.add(startAt(row, words.shr(column, i32(1))), half);
    for (int64_t block = 0; block < cols / 8; ++block) {
      Value place = placeOf(start, block), mine = pair(item, block);
      if (adds)
        mine = arith::AddFOp::create(b, loc, mine, LLVM::LoadOp::create(b, loc, mine.getType(), place, 8));
      LLVM::StoreOp::create(b, loc, mine, place, 8);
    }
  }
}

LogicalResult Distribution::fill(hopper::FillOp op) {
  CodeWords words(b, loc);
  auto tile = llvm::cast<hopper::PassedType>(op.getTile());
  hopper::StagedType part = tile.part();
  Place place = currentPlace();
  barrier(); // what was there has been read
  OpBuilder::InsertionGuard guard(b);
  Value first = arith::CmpIOp::create(b, loc, CmpIPredicate::eq, thread, i32(0));
  b.setInsertionPointToStart(scf::IfOp::create(b, loc, first, /*withElse=*/false).thenBlock());
  Value ready = barrierOf(place.barriers, false);
  auto branch = scf::IfOp::create(b, loc, number(op.getCondition()), /*withElseRegion=*/true);
  b.setInsertionPointToStart(branch.elseBlock());
  NVVM::MBarrierArriveOp::create(b, loc, b.getI64Type(), ready, Value());
  b.setInsertionPointToStart(branch.thenBlock());
  fenceProxy();
  NVVM::MBarrierArriveExpectTxOp::create(b, loc, Type(), ready, i32(tile.bytes()), NVVM::MemScopeKind::CTA, /*relaxed=*/false,
                                         Value());
  Value row = coordinate(op.getRow()), col = coordinate(op.getCol()), map = tensorMap(op.getMemref(), part);
  for (int64_t down = 0; down < tile.getRows(); down += part.getRows())
    for (int64_t across = 0; across < tile.getCols(); across += part.getCols()) {
      int64_t offset = down / part.getRows() * groupBytes(tile) + across / part.getCols() * part.bytes();
      Value to = LLVM::IntToPtrOp::create(b, loc, LLVM::LLVMPointerType::get(b.getContext(), 3),
                                          words.add(place.address, i32(offset)));
      NVVM::CpAsyncBulkTensorGlobalToSharedClusterOp::create(
          b, loc, to, map, ValueRange{words.add(col, i32(across)), words.add(row, i32(down))}, ready, ValueRange{}, Value(),
          Value(), NVVM::TMALoadMode::TILE, /*isCTAOnly=*/true, NVVM::CTAGroupKindAttr(), Value());
    }
  return success();
}

/// What threads have read or written, before the copy engine does.
void Distribution::fenceProxy() {
  NVVM::FenceProxyOp::create(b, loc, NVVM::ProxyKindAttr::get(b.getContext(), NVVM::ProxyKind::async_shared),
                             NVVM::SharedSpaceAttr::get(b.getContext(), NVVM::SharedSpace::shared_cta));
}

LogicalResult Distribution::take(hopper::TakeOp op) {
  // One warp asks again and again, the others sleep.
  taken = nextPlace(/*full=*/true, /*oneWarp=*/true);
  int64_t offset = 0;
  for (Value tile : op.getTiles()) {
    scalars[tile] = CodeWords(b, loc).add(taken.address, i32(offset));
    offset += llvm::cast<hopper::PassedType>(tile.getType()).bytes();
  }
  return success();
}

LogicalResult Distribution::giveBack(hopper::GiveBackOp op) {
  if (roles.getFills()) // who fills the place next says so
    return success();
  NVVM::MBarrierArriveOp::create(b, loc, b.getI64Type(), barrierOf(taken.barriers, false), Value());
  return success();
}

LogicalResult Distribution::readPassed(hopper::ReadPassedOp op) {
  CodeWords words(b, loc);
  hopper::PassedType tile = op.getTile().getType();
  hopper::StagedType part = tile.part();
  int64_t bits = tile.getElement().getIntOrFloatBitWidth(), perPiece = 128 / bits;
  if (layout.getVector() % perPiece || layout.getVector() > part.getCols())
    return op.emitError() << "expected threads that hold whole pieces of sixteen bytes, but got " << layout;
  Value row = coordinate(op.getRow()), group = words.shr(row, i32(6)), inGroup = words.bitAnd(row, i32(63));
  Value base = words.add(number(op.getTile()), words.mul(group, i32(groupBytes(tile))));
  Parts result;
  for (auto [i, partType] : llvm::enumerate(partTypes(op.getResult().getType()))) {
    Value mine = words.add(inGroup, itemRow(int64_t(i)));
    Value start = words.add(base, words.mul(mine, i32(hopper::StagedType::kRowBytes))), turn = words.bitAnd(mine, i32(7));
    SmallVector<Value> pieces;
    for (int64_t lane = 0; lane < layout.lanes(); lane += perPiece) {
      Value column = words.add(gridColumn(layout.getCols()), i32(layout.colOffset(lane, layout.getCols())));
      Value inRow = words.bitAnd(column, i32(part.getCols() - 1)),
            tileAcross = words.shr(column, i32(llvm::Log2_64(part.getCols())));
      Value piece = words.bitXor(words.shr(inRow, i32(llvm::Log2_64(perPiece))), turn);
      Value at = words.add(words.add(start, words.mul(tileAcross, i32(part.bytes()))), words.mul(piece, i32(16)));
      Value from = LLVM::IntToPtrOp::create(b, loc, LLVM::LLVMPointerType::get(b.getContext(), 3), at);
      Value loaded = LLVM::LoadOp::create(b, loc, VectorType::get({4}, b.getI32Type()), from, 16);
      for (int64_t w = 0; w < 4; ++w)
        pieces.push_back(extract(loaded, w));
    }
    result.push_back(
        vector::BitCastOp::create(b, loc, llvm::cast<VectorType>(partType), fromNumbers(pieces, b.getI32Type())).getResult());
  }
  tiles[op.getResult()] = result;
  return success();
}

LogicalResult Distribution::copyPassed(hopper::CopyPassedOp op) {
  CodeWords words(b, loc);
  hopper::PassedType tile = op.getTile().getType();
  hopper::StagedType part = tile.part();
  OpBuilder::InsertionGuard guard(b);
  Value first = arith::CmpIOp::create(b, loc, CmpIPredicate::eq, thread, i32(0));
  b.setInsertionPointToStart(scf::IfOp::create(b, loc, first, /*withElse=*/false).thenBlock());
  Value row = coordinate(op.getRow()), col = coordinate(op.getCol()), map = tensorMap(op.getMemref(), part);
  for (int64_t down = 0; down < tile.getRows(); down += part.getRows())
    for (int64_t across = 0; across < tile.getCols(); across += part.getCols()) {
      int64_t offset = down / part.getRows() * groupBytes(tile) + across / part.getCols() * part.bytes();
      Value from = LLVM::IntToPtrOp::create(b, loc, LLVM::LLVMPointerType::get(b.getContext(), 3),
                                            words.add(number(op.getTile()), i32(offset)));
      NVVM::CpAsyncBulkTensorSharedCTAToGlobalOp::create(b, loc, map, from,
                                                         ValueRange{words.add(col, i32(across)), words.add(row, i32(down))},
                                                         Value(), NVVM::TMAStoreMode::TILE, Value());
    }
  NVVM::CpAsyncBulkCommitGroupOp::create(b, loc);
  NVVM::CpAsyncBulkWaitGroupOp::create(b, loc, 0, b.getUnitAttr()); // until it has been read
  return success();
}

/// Walks from the group that was found last, up or down, with the number of tiles before it.
LogicalResult Distribution::groupTile(hopper::GroupTileOp op) {
  CodeWords words(b, loc);
  Value groupVariable, beforeVariable;
  {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(&target.getBody().front());
    groupVariable = makeVariable(i32(0)), beforeVariable = makeVariable(i32(0));
  }
  Type type = b.getI32Type();
  auto narrow = [&](Value v) -> Value { return arith::IndexCastOp::create(b, loc, type, number(v)); };
  auto compare = [&](CmpIPredicate predicate, Value a, Value c) -> Value {
    return arith::CmpIOp::create(b, loc, predicate, a, c);
  };
  auto both = [&](Value a, Value c) { return words.bitAnd(a, c); };
  auto minus = [&](Value a, Value c) -> Value { return arith::SubIOp::create(b, loc, a, c); };
  Value wanted = narrow(op.getNumber()), groups = narrow(op.getGroups()), limit = narrow(op.getLimit());
  int64_t height = op.getHeight();
  Address address = addressOf(op.getOffsets(), VectorType::get({1, 1}, type), Value());
  auto offset = [&](Value group) -> Value {
    Value at = toIndex(arith::MinUIOp::create(b, loc, group, groups)); // without groups there is one offset alone
    Value row = LLVM::LoadOp::create(b, loc, type, pointer(address, at, Value()));
    return arith::MinSIOp::create(b, loc, arith::MaxSIOp::create(b, loc, row, i32(0)), limit);
  };
  auto rowsOf = [&](Value group) -> Value {
    return arith::MaxSIOp::create(b, loc, minus(offset(words.add(group, i32(1))), offset(group)), i32(0));
  };
  auto tilesOf = [&](Value group) -> Value {
    return arith::DivUIOp::create(b, loc, words.add(rowsOf(group), i32(height - 1)), i32(height));
  };
  SmallVector<Value> place{LLVM::LoadOp::create(b, loc, type, groupVariable),
                           LLVM::LoadOp::create(b, loc, type, beforeVariable)};
  auto walk = [&](llvm::function_ref<Value(Value, Value)> goesOn,
                  llvm::function_ref<std::pair<Value, Value>(Value, Value)> step) {
    auto loop = scf::WhileOp::create(b, loc, TypeRange{type, type}, place);
    OpBuilder::InsertionGuard guard(b);
    Block *before = b.createBlock(&loop.getBefore(), {}, {type, type}, {loc, loc});
    scf::ConditionOp::create(b, loc, goesOn(before->getArgument(0), before->getArgument(1)), before->getArguments());
    Block *after = b.createBlock(&loop.getAfter(), {}, {type, type}, {loc, loc});
    auto [group, tiles] = step(after->getArgument(0), after->getArgument(1));
    scf::YieldOp::create(b, loc, ValueRange{group, tiles});
    place.assign(loop.getResults().begin(), loop.getResults().end());
  };
  walk([&](Value, Value before) { return compare(CmpIPredicate::ult, wanted, before); },
       [&](Value group, Value before) -> std::pair<Value, Value> {
         Value last = minus(group, i32(1));
         return {last, minus(before, tilesOf(last))};
       });
  // The last group but one that may be asked: a number beyond the last tile ends in no group.
  walk(
      [&](Value group, Value before) -> Value {
        Value inside = compare(CmpIPredicate::ult, group, groups);
        Value asked = arith::MinUIOp::create(b, loc, group, minus(groups, i32(1)));
        return both(inside, compare(CmpIPredicate::uge, wanted, words.add(before, tilesOf(asked))));
      },
      [&](Value group, Value before) -> std::pair<Value, Value> {
        return {words.add(group, i32(1)), words.add(before, tilesOf(group))};
      });
  LLVM::StoreOp::create(b, loc, place[0], groupVariable);
  LLVM::StoreOp::create(b, loc, place[1], beforeVariable);
  Value found = compare(CmpIPredicate::ult, place[0], groups);
  Value group = arith::MinUIOp::create(b, loc, place[0], minus(groups, i32(1)));
  Value skipped = words.mul(minus(wanted, place[1]), i32(height));
  Value rows = arith::MinUIOp::create(b, loc, minus(rowsOf(group), skipped), i32(height));
  scalars[op.getGroup()] = toIndex(group);
  scalars[op.getRow()] = toIndex(words.add(offset(group), skipped));
  scalars[op.getRows()] = toIndex(arith::SelectOp::create(b, loc, found, rows, i32(0)));
  return success();
}

LogicalResult Distribution::copy(hopper::CopyOp op) {
  hopper::StagedType tile = op.copied(source);
  Value map = tensorMap(op.getMemref(), tile);
  Slot slot = slots.lookup(op.getSlot());
  Value row = coordinate(op.getRow()), to = stagedPointer(slot, op.getOffset()), blocks;
  bool shares = op.getMulticast() && cluster > 1;
  if (shares) {
    CodeWords words(b, loc);
    Value rank = NVVM::ClusterId::create(b, loc, b.getI32Type());
    row = words.add(row, words.mul(rank, i32(tile.getRows())));
    to = LLVM::GEPOp::create(b, loc, to.getType(), b.getI8Type(), to, ValueRange{words.mul(rank, i32(tile.bytes()))});
    to = LLVM::AddrSpaceCastOp::create(b, loc, LLVM::LLVMPointerType::get(b.getContext(), kClusterSpace), to);
    blocks = arith::ConstantOp::create(b, loc, b.getI16IntegerAttr(int16_t((1 << cluster) - 1)));
  }
  NVVM::CpAsyncBulkTensorGlobalToSharedClusterOp::create(
      b, loc, to, map, ValueRange{coordinate(op.getCol()), row}, barrierOf(slot.barriers, true), ValueRange{}, blocks, Value(),
      NVVM::TMALoadMode::TILE, /*isCTAOnly=*/!shares, NVVM::CTAGroupKindAttr(), Value());
  return success();
}

LogicalResult Distribution::staged(hopper::StagedOp op) {
  Slot slot = slots.lookup(op.getSlot());
  if (llvm::isa<hopper::StagedType>(op.getType())) { // a tile is read by the tensor cores alone
    scalars[op.getResult()] = CodeWords(b, loc).add(slot.descriptor, i32(int64_t(op.getOffset()) / kDescriptorUnit));
    return success();
  }
  Value pointer = stagedPointer(slot, op.getOffset());
  scalars[op.getResult()] = LLVM::PtrToIntOp::create(b, loc, b.getI32Type(), pointer);
  return success();
}

/// One instruction: sums + a * b, or a * b where `adds` (i32) is 0. Written out, since the operation of the nvvm dialect takes
/// `adds` as a constant only (see Distribution::multiply).
static Value wgmma(OpBuilder &b, Location loc, Value sums, Value left, Value right, Value adds, int64_t cols, Type element) {
  auto type = llvm::cast<LLVM::LLVMStructType>(sums.getType());
  size_t count = type.getBody().size();
  std::string name = element.isBF16() ? "bf16" : element.isF16() ? "f16" : "e4m3", list, constraints;
  SmallVector<Value> operands;
  for (size_t i = 0; i < count; ++i) {
    list += (i ? ", $" : "$") + std::to_string(i);
    constraints += "=f,";
    operands.push_back(LLVM::ExtractValueOp::create(b, loc, sums, int64_t(i)));
  }
  for (size_t i = 0; i < count; ++i)
    constraints += std::to_string(i) + ",";
  auto at = [&](size_t i) { return "$" + std::to_string(2 * count + i); };
  std::string depth = element.getIntOrFloatBitWidth() == 8 ? "k32" : "k16", transposes = depth == "k16" ? ", 0, 0" : "";
  std::string text = "{\n.reg .pred adds;\nsetp.ne.b32 adds, " + at(2) + ", 0;\nwgmma.mma_async.sync.aligned.m64n" +
                     std::to_string(cols) + depth + ".f32." + name + "." + name + " {" + list + "}, " + at(0) + ", " + at(1) +
                     ", adds, 1, 1" + transposes + ";\n}";
  operands.append({left, right, adds});
  return LLVM::InlineAsmOp::create(b, loc, type, operands, text, constraints + "l,l,r", /*has_side_effects=*/true,
                                   /*is_align_stack=*/false, LLVM::TailCallKind::None, LLVM::AsmDialectAttr(), ArrayAttr())
      .getResult(0);
}

LogicalResult Distribution::multiply(hopper::MultiplyOp op) {
  VectorType type = tileType(op.getResult());
  int64_t cols = type.getDimSize(1), warpgroups = layout.threads() / hopper::kWarpgroup;
  if (layout != hopper::accumulatorLayout(b.getContext(), warpgroups, cols) || type.getDimSize(0) != 64 * warpgroups)
    return op.emitError() << "expected the layout of accumulators, but got " << layout;
  CodeWords words(b, loc);
  hopper::StagedType left = op.getA().getType();
  Type i64 = b.getI64Type(), f32 = b.getF32Type();
  // Descriptors: rows of 128 bytes, swizzled; eight of them are 1024 bytes. The low word, with the address, is the same for
  // all threads of a warp.
  constexpr int64_t rowBytes = hopper::StagedType::kRowBytes, unit = kDescriptorUnit, high = 1 << 30 | 8 * rowBytes / unit;
  auto descriptor = [&](Value base, int64_t bytes) -> Value {
    Value words64 = words.pair(words.add(base, i32(bytes / unit)), i32(high), b.getI32Type());
    return extract(vector::BitCastOp::create(b, loc, VectorType::get({1}, i64), words64), 0);
  };
  int64_t bits = left.getElement().getIntOrFloatBitWidth(), step = 32 * 8 / bits; // 32 bytes of K an instruction
  Value rowUnits = words.add(words.mul(warpgroup, i32(64 * rowBytes / unit)), i32(int64_t(op.getRow()) * rowBytes / unit));
  Value leftBase = words.add(number(op.getA()), rowUnits), rightBase = number(op.getB());

  int64_t perItem = cols / 4;
  auto place = [](int64_t item, int64_t lane) { return lane / 2 * 4 + item * 2 + lane % 2; };
  auto sums = LLVM::LLVMStructType::getLiteral(b.getContext(), SmallVector<Type>(size_t(2 * perItem), f32));
  // Partial sums of two products never live together: the second starts in the registers of the first, whose contents it
  // ignores. The assembler must not see that, or it takes others and moves the uses of the first behind: hence a zero that it
  // cannot know.
  bool again = lastSums && lastSums.getType() == sums && lastSums.getParentBlock() == b.getInsertionBlock();
  Value sum = again ? lastSums : LLVM::UndefOp::create(b, loc, sums).getResult();
  if (op.getAccumulate())
    for (auto [item, part] : llvm::enumerate(parts(op.getAccumulate())))
      for (int64_t lane = 0; lane < perItem; ++lane)
        sum = LLVM::InsertValueOp::create(b, loc, sum, extract(part, lane), place(int64_t(item), lane));
  NVVM::WgmmaFenceAlignedOp::create(b, loc);
  for (int64_t k = 0; k < int64_t(op.getDepth()); k += step) {
    int64_t bytes = (int64_t(op.getFirst()) + k) * bits / 8;
    Value adds = k > 0 || op.getAccumulate() ? i32(1) : again ? words.shr(currentSlot.descriptor, i32(28)) : i32(0);
    sum = wgmma(b, loc, sum, descriptor(leftBase, bytes), descriptor(rightBase, bytes), adds, cols, left.getElement());
  }
  lastSums = sum;
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
