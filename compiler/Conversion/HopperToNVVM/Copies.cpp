// Tiles of operands on their way from memory: which, and their copies into the ring.
#include "compiler/Conversion/HopperToNVVM/Distribution.h"

#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace vernier;
using namespace vernier::simt;
using arith::CmpIPredicate;

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
  OpBuilder::InsertionGuard guard(b);
  if (makes())
    b.setInsertionPointToStart(scf::IfOp::create(b, loc, isFirst(), /*withElse=*/false).thenBlock());
  CodeWords words(b, loc);
  Slot slot = slots.lookup(op.getSlot());
  Value col = coordinate(op.getCol()), row = coordinate(op.getRow()), to = stagedPointer(slot, op.getOffset()), blocks;
  Value rows = op.getRows() ? coordinate(op.getRows()) : Value();
  bool shares = op.getMulticast() && cluster > 1;
  if (shares) {
    Value rank = NVVM::ClusterId::create(b, loc, b.getI32Type()), first = words.mul(rank, i32(tile.getRows()));
    row = words.add(row, first);
    if (rows)
      rows = arith::SubIOp::create(b, loc, rows, arith::MinUIOp::create(b, loc, rows, first));
    to = LLVM::GEPOp::create(b, loc, to.getType(), b.getI8Type(), to, ValueRange{words.mul(rank, i32(tile.bytes()))});
    to = LLVM::AddrSpaceCastOp::create(b, loc, LLVM::LLVMPointerType::get(b.getContext(), kClusterSpace), to);
    blocks = arith::ConstantOp::create(b, loc, b.getI16IntegerAttr(int16_t((1 << cluster) - 1)));
  }
  // As `createpolicy.fractional.L2::evict_last` with fraction 1 makes it.
  constexpr int64_t evictLast = 0x14F0000000000000;
  Value policy = op.getKeep() ? arith::ConstantOp::create(b, loc, b.getI64IntegerAttr(evictLast)).getResult() : Value();
  auto start = [&](hopper::StagedType box, Value from, Value target) {
    NVVM::CpAsyncBulkTensorGlobalToSharedClusterOp::create(
        b, loc, target, tensorMap(op.getMemref(), box), ValueRange{col, from}, barrierOf(slot.barriers, true), ValueRange{},
        blocks, policy, NVVM::TMALoadMode::TILE, /*isCTAOnly=*/!shares, NVVM::CTAGroupKindAttr(), Value());
  };
  if (!rows) {
    start(tile, row, to);
    return success();
  }
  // Of units, see hopper.copy: all, or a half and what comes behind it, or one or two alone.
  Value units = hopper::CopyOp::unitsOf(b, loc, rows, tile.getRows());
  auto when = [&](CmpIPredicate predicate, int64_t count, llvm::function_ref<void()> then,
                  llvm::function_ref<void()> otherwise) {
    auto branch = scf::IfOp::create(b, loc, arith::CmpIOp::create(b, loc, predicate, units, i32(count)),
                                    /*withElseRegion=*/bool(otherwise));
    OpBuilder::InsertionGuard inner(b);
    b.setInsertionPointToStart(branch.thenBlock());
    then();
    if (otherwise) {
      b.setInsertionPointToStart(branch.elseBlock());
      otherwise();
    }
  };
  auto startPart = [&](int64_t count, int64_t skipped) {
    hopper::StagedType part = op.part(source, count);
    int64_t first = tile.getRows() * skipped / hopper::CopyOp::kUnits;
    Value bytes = i32(first * hopper::StagedType::kRowBytes);
    start(part, words.add(row, i32(first)), LLVM::GEPOp::create(b, loc, to.getType(), b.getI8Type(), to, ValueRange{bytes}));
  };
  constexpr int64_t all = hopper::CopyOp::kUnits, half = all / 2;
  auto oneOrTwo = [&](int64_t skipped) {
    when(
        CmpIPredicate::eq, skipped + 2, [&] { startPart(2, skipped); },
        [&] { when(CmpIPredicate::eq, skipped + 1, [&] { startPart(1, skipped); }, nullptr); });
  };
  when(
      CmpIPredicate::eq, all, [&] { start(tile, row, to); },
      [&] {
        when(
            CmpIPredicate::uge, half,
            [&] {
              startPart(half, 0);
              oneOrTwo(half);
            },
            [&] { oneOrTwo(0); });
      });
  return success();
}
