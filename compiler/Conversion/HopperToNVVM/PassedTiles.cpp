// Tiles passed through shared memory, from warps that compute to those that finish.
#include "compiler/Conversion/HopperToNVVM/Distribution.h"

#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace vernier;
using namespace vernier::simt;
using arith::CmpIPredicate;

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

/// Of a place, or of places that one side after the other waits for.
Value Distribution::barrierOf(const Place &place, PlaceState state) {
  Value address = CodeWords(b, loc).add(place.barriers, i32(int64_t(state) * kBarrierBytes));
  return LLVM::IntToPtrOp::create(b, loc, LLVM::LLVMPointerType::get(b.getContext(), 3), address);
}

/// Waits until the side's next place is in a state, and moves the side on.
Distribution::Place Distribution::nextPlace(PlaceState state, bool oneWarp) {
  CodeWords words(b, loc);
  Place place = currentPlace();
  Value awaited = state == PlaceState::Empty ? words.bitXor(place.parity, i32(1)) : place.parity; // at first, all are empty
  {
    OpBuilder::InsertionGuard guard(b);
    if (oneWarp) {
      Value first = arith::CmpIOp::create(b, loc, CmpIPredicate::ult, thread, i32(32));
      b.setInsertionPointToStart(scf::IfOp::create(b, loc, first, /*withElse=*/false).thenBlock());
    }
    NVVM::MBarrierTryWaitParityOp::create(b, loc, barrierOf(place, state), awaited, i32(10000000));
  }
  if (oneWarp)
    barrier();
  int64_t count = int64_t(roles.getBuffers());
  if (count == 1) {
    LLVM::StoreOp::create(b, loc, words.bitXor(place.parity, i32(1)), places[2]);
    return place;
  }
  int64_t barriers = roles.barriersAPlace() * kBarrierBytes;
  Value after = words.add(place.barriers, i32(barriers)), end = words.add(placesStart.barriers, i32(barriers * count));
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
  Place place = nextPlace(roles.fills() ? PlaceState::Ready : PlaceState::Empty);
  // A zero that changes for all that LLVM knows: addresses found ahead of all tiles would fill the registers.
  Value zero = words.shr(LLVM::LoadOp::create(b, loc, b.getI32Type(), ring[1]), i32(28)), here = words.add(thread, zero);
  int64_t offset = 0;
  for (Value tile : op.getTiles()) {
    VectorType type = tileType(tile);
    if (layout != hopper::accumulatorLayout(b.getContext(), warpgroups, type.getDimSize(1)) ||
        type.getDimSize(0) != 64 * warpgroups)
      return op.emitError() << "expected the layout of accumulators, but got " << layout;
    int64_t cols = type.getDimSize(1) / int64_t(op.getPieces()), firstCol = int64_t(op.getPiece()) * cols;
    auto passed = hopper::PassedType::get(b.getContext(), type.getDimSize(0), cols, type.getElementType());
    Value mine = words.add(words.add(place.address, i32(offset)), words.mul(warpgroup, i32(groupBytes(passed))));
    offset += passed.bytes();
    if (!op.getAdds()) {
      pass(tile, firstCol, passed, here, mine, /*adds=*/false);
      continue;
    }
    auto branch = scf::IfOp::create(b, loc, number(op.getAdds()), /*withElseRegion=*/true);
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(branch.thenBlock());
    pass(tile, firstCol, passed, here, mine, /*adds=*/true);
    b.setInsertionPointToStart(branch.elseBlock());
    pass(tile, firstCol, passed, here, mine, /*adds=*/false);
  }
  fenceProxy();
  NVVM::MBarrierArriveOp::create(b, loc, b.getI64Type(), barrierOf(place, PlaceState::Full), Value());
  return success();
}

/// A thread's part of a tile's columns from `firstCol` on, to where its warpgroup's rows lie. Sixteen-byte pieces of row r lie
/// at the exclusive-or of their number and r mod 8 (hopper.staged), so that the address of the first piece tells those of the
/// others.
void Distribution::pass(Value tile, int64_t firstCol, hopper::PassedType passed, Value thread, Value base, bool adds) {
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
    int64_t first = 2 * (firstCol / 8 + block);
    return fromNumbers({extract(numbers, first), extract(numbers, first + 1)}, passed.getElement());
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
  // Of the eight rows that a warp stores to at once, odd ones take another block: neighbours would meet in the same banks.
  constexpr int64_t otherBlock = 2;
  bool swaps = blocksAPart == 2 * otherBlock;
  Value odd = words.bitAnd(words.shr(lane, i32(2)), i32(1));
  Value isOdd = arith::CmpIOp::create(b, loc, CmpIPredicate::ne, odd, i32(0));
  struct Half {
    Value place, numbers;
  };
  SmallVector<Half> halves;
  for (int64_t item = 0; item < 2; ++item) {
    Value row = words.add(words.shr(lane, i32(2)), i32(8 * item));
    Value start = words.add(startAt(row, words.shr(column, i32(1))), half);
    if (swaps)
      start = words.bitXor(start, words.mul(odd, i32(otherBlock * piecesABlock * 16)));
    for (int64_t block = 0; block < cols / 8; ++block) {
      Value mine = pair(item, block);
      if (swaps)
        mine = arith::SelectOp::create(b, loc, isOdd, pair(item, block ^ otherBlock), mine);
      halves.push_back({placeOf(start, block), mine});
    }
  }
  // What is added to is loaded ahead of all stores: for all that the assembler knows, each might change what the next load
  // brings.
  if (adds) {
    SmallVector<Value> there;
    for (const Half &one : halves)
      there.push_back(LLVM::LoadOp::create(b, loc, one.numbers.getType(), one.place, 8));
    for (auto [one, value] : llvm::zip(halves, there))
      one.numbers = arith::AddFOp::create(b, loc, one.numbers, value);
  }
  for (const Half &one : halves)
    LLVM::StoreOp::create(b, loc, one.numbers, one.place, 8);
}

/// Sixteen-byte pieces of row r lie at the exclusive-or of their number and r mod 8 (hopper.staged); scales block by block.
LogicalResult Distribution::putMade(hopper::PutMadeOp op) {
  CodeWords words(b, loc);
  VectorType tile = tileType(op.getValue());
  Value to = stagedPointer(slots.lookup(op.getSlot()), op.getOffset()), first = coordinate(op.getRow());
  auto at = [&](Value bytes) -> Value {
    return LLVM::GEPOp::create(b, loc, to.getType(), b.getI8Type(), to, ValueRange{bytes});
  };
  if (auto scales = llvm::dyn_cast<hopper::ScalesType>(op.getTarget())) {
    int64_t rows = scales.getCount() / tile.getDimSize(1);
    OpBuilder::InsertionGuard guard(b);
    if (Value owns = ownsGrid(tile))
      b.setInsertionPointToStart(scf::IfOp::create(b, loc, owns, /*withElse=*/false).thenBlock());
    for (auto [i, part] : llvm::enumerate(parts(op.getValue())))
      for (int64_t j = 0, n = layout.localCols(tile.getDimSize(1)); j < n; ++j) {
        Value row = words.add(first, itemRow(layout.itemOf(int64_t(i), tile.getDimSize(0))));
        Value block = words.add(gridColumn(tile.getDimSize(1)), i32(layout.colOffset(j, tile.getDimSize(1))));
        Value place = words.mul(words.add(words.mul(block, i32(rows)), row), i32(4));
        LLVM::StoreOp::create(b, loc, extract(part, j), at(place));
      }
    return success();
  }
  for (auto [i, part] : llvm::enumerate(parts(op.getValue()))) {
    auto type = llvm::cast<VectorType>(part.getType());
    int64_t count = type.getNumElements() * type.getElementTypeBitWidth() / 32, perPiece = 4;
    Value row = words.add(first, itemRow(int64_t(i)));
    Value start = words.mul(row, i32(hopper::StagedType::kRowBytes)), turn = words.bitAnd(row, i32(7));
    Value all = vector::BitCastOp::create(b, loc, VectorType::get({count}, b.getI32Type()), part);
    Value piece = words.mul(threadCol, i32(count / perPiece));
    for (int64_t word = 0; word < count; word += perPiece) {
      Value here = words.bitXor(words.add(piece, i32(word / perPiece)), turn);
      Value four = vector::ExtractStridedSliceOp::create(b, loc, all, word, perPiece, 1);
      LLVM::StoreOp::create(b, loc, four, at(words.add(start, words.mul(here, i32(16)))), 16);
    }
  }
  return success();
}

/// What the copy engine moves at once, of a tile that lies at an address: where it lies, and its column and row of the matrix.
void Distribution::eachPart(hopper::PassedType tile, Value address, Value firstRow, Value firstCol,
                            llvm::function_ref<void(Value, ValueRange)> move) {
  CodeWords words(b, loc);
  hopper::StagedType part = tile.part();
  Value row = coordinate(firstRow), col = coordinate(firstCol);
  for (int64_t down = 0; down < tile.getRows(); down += part.getRows())
    for (int64_t across = 0; across < tile.getCols(); across += part.getCols()) {
      int64_t offset = down / part.getRows() * groupBytes(tile) + across / part.getCols() * part.bytes();
      Value at =
          LLVM::IntToPtrOp::create(b, loc, LLVM::LLVMPointerType::get(b.getContext(), 3), words.add(address, i32(offset)));
      move(at, {words.add(col, i32(across)), words.add(row, i32(down))});
    }
}

LogicalResult Distribution::fill(hopper::FillOp op) {
  auto tile = llvm::cast<hopper::PassedType>(op.getTile());
  hopper::StagedType part = tile.part();
  Place place = nextPlace(PlaceState::Empty);
  OpBuilder::InsertionGuard guard(b);
  Value ready = barrierOf(place, PlaceState::Ready);
  auto branch = scf::IfOp::create(b, loc, number(op.getCondition()), /*withElseRegion=*/true);
  b.setInsertionPointToStart(branch.elseBlock());
  NVVM::MBarrierArriveOp::create(b, loc, b.getI64Type(), ready, Value());
  b.setInsertionPointToStart(branch.thenBlock());
  fenceProxy();
  NVVM::MBarrierArriveExpectTxOp::create(b, loc, Type(), ready, i32(tile.bytes()), NVVM::MemScopeKind::CTA, /*relaxed=*/false,
                                         Value());
  Value map = tensorMap(op.getMemref(), part);
  eachPart(tile, place.address, op.getRow(), op.getCol(), [&](Value to, ValueRange at) {
    NVVM::CpAsyncBulkTensorGlobalToSharedClusterOp::create(b, loc, to, map, at, ready, ValueRange{}, Value(), Value(),
                                                           NVVM::TMALoadMode::TILE, /*isCTAOnly=*/true,
                                                           NVVM::CTAGroupKindAttr(), Value());
  });
  return success();
}

/// What threads have read or written, before the copy engine does.
void Distribution::fenceProxy() {
  NVVM::FenceProxyOp::create(b, loc, NVVM::ProxyKindAttr::get(b.getContext(), NVVM::ProxyKind::async_shared),
                             NVVM::SharedSpaceAttr::get(b.getContext(), NVVM::SharedSpace::shared_cta));
}

LogicalResult Distribution::take(hopper::TakeOp op) {
  // One warp asks again and again, the others sleep.
  taken = nextPlace(PlaceState::Full, /*oneWarp=*/true);
  int64_t offset = 0;
  for (Value tile : op.getTiles()) {
    scalars[tile] = CodeWords(b, loc).add(taken.address, i32(offset));
    offset += llvm::cast<hopper::PassedType>(tile.getType()).bytes();
  }
  return success();
}

LogicalResult Distribution::giveBack(hopper::GiveBackOp op) {
  NVVM::MBarrierArriveOp::create(b, loc, b.getI64Type(), barrierOf(taken, PlaceState::Empty), Value());
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
  hopper::PassedType tile = op.getTile().getType();
  hopper::StagedType part = tile.part();
  OpBuilder::InsertionGuard guard(b);
  Value first = arith::CmpIOp::create(b, loc, CmpIPredicate::eq, thread, i32(0));
  b.setInsertionPointToStart(scf::IfOp::create(b, loc, first, /*withElse=*/false).thenBlock());
  Value map = tensorMap(op.getMemref(), part);
  eachPart(tile, number(op.getTile()), op.getRow(), op.getCol(), [&](Value from, ValueRange at) {
    NVVM::CpAsyncBulkTensorSharedCTAToGlobalOp::create(b, loc, map, from, at, Value(), NVVM::TMAStoreMode::TILE, Value());
  });
  NVVM::CpAsyncBulkCommitGroupOp::create(b, loc);
  NVVM::CpAsyncBulkWaitGroupOp::create(b, loc, 0, b.getUnitAttr()); // until it has been read
  return success();
}
