// Matrix products: which tile, its copies into the ring, and wgmma.
#include "compiler/Conversion/HopperToNVVM/Distribution.h"

#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/Support/MathExtras.h"

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
  return simt::inlineAsm(b, loc, type, operands, text, constraints + "l,l,r").getResult(0);
}

LogicalResult Distribution::multiply(hopper::MultiplyOp op) {
  VectorType type = tileType(op.getResult());
  auto sums = sumsType(type);
  // Partial sums of two products never live together: the second starts in the registers of the first, whose contents it
  // ignores. The assembler must not see that, or it takes others and moves the uses of the first behind: hence a zero that it
  // cannot know.
  bool again = lastSums && lastSums.getType() == sums && lastSums.getParentBlock() == b.getInsertionBlock();
  Value sum = again ? lastSums : LLVM::UndefOp::create(b, loc, sums).getResult();
  Value adds = again ? CodeWords(b, loc).shr(currentSlot.descriptor, i32(28)) : i32(0);
  if (op.getAccumulate()) {
    adds = i32(1);
    for (auto [item, part] : llvm::enumerate(parts(op.getAccumulate())))
      for (int64_t lane = 0; lane < type.getDimSize(1) / 4; ++lane)
        sum = LLVM::InsertValueOp::create(b, loc, sum, extract(part, lane), sumOf(int64_t(item), lane));
  }
  FailureOr<Value> begun = startProduct(op, op.getA(), op.getB(), op.getRow(), op.getFirst(), op.getDepth(), type, sum, adds);
  if (failed(begun))
    return failure();
  lastSums = *begun;
  NVVM::WgmmaWaitGroupSyncOp::create(b, loc, uint64_t(0));
  tiles[op.getResult()] = partsOf(*begun, type);
  return success();
}

LogicalResult Distribution::beginProduct(hopper::BeginProductOp op) {
  hopper::SumsType result = op.getResult().getType();
  VectorType type = VectorType::get({result.getRows(), result.getCols()}, b.getF32Type());
  Value none = LLVM::UndefOp::create(b, loc, sumsType(type));
  lastSums = {};
  FailureOr<Value> begun =
      startProduct(op, op.getA(), op.getB(), op.getRow(), op.getFirst(), op.getDepth(), type, none, i32(0));
  if (failed(begun))
    return failure();
  scalars[op.getResult()] = *begun;
  return success();
}

LogicalResult Distribution::awaitProduct(hopper::AwaitProductOp op) {
  NVVM::WgmmaWaitGroupSyncOp::create(b, loc, uint64_t(op.getLeaving()));
  // Nothing that LLVM does to the sums may come before.
  Value sum = number(op.getSums());
  auto type = llvm::cast<LLVM::LLVMStructType>(sum.getType());
  std::string outputs, inputs;
  SmallVector<Value> operands;
  for (size_t i = 0; i < type.getBody().size(); ++i) {
    outputs += i ? ",=f" : "=f";
    inputs += "," + std::to_string(i);
    operands.push_back(LLVM::ExtractValueOp::create(b, loc, sum, int64_t(i)));
  }
  sum = simt::inlineAsm(b, loc, type, operands, "", outputs + inputs).getResult(0);
  tiles[op.getResult()] = partsOf(sum, tileType(op.getResult()));
  return success();
}

/// Where a thread's sum in one of its two rows lies among the registers of an instruction.
int64_t Distribution::sumOf(int64_t item, int64_t lane) { return lane / 2 * 4 + item * 2 + lane % 2; }

LLVM::LLVMStructType Distribution::sumsType(VectorType tile) {
  return LLVM::LLVMStructType::getLiteral(b.getContext(), SmallVector<Type>(size_t(tile.getDimSize(1) / 2), b.getF32Type()));
}

Parts Distribution::partsOf(Value sums, VectorType tile) {
  Parts result;
  for (int64_t item = 0; item < 2; ++item) {
    SmallVector<Value> numbers;
    for (int64_t lane = 0; lane < tile.getDimSize(1) / 4; ++lane)
      numbers.push_back(LLVM::ExtractValueOp::create(b, loc, sums, sumOf(item, lane)));
    result.push_back(fromNumbers(numbers, b.getF32Type()));
  }
  return result;
}

/// Columns [first, first + depth) of rows from `row` on of one staged tile times those of another: onto `sums`, or, where
/// `adds` is 0, in their registers. The sums, which the tensor cores go on with.
FailureOr<Value> Distribution::startProduct(Operation *op, Value left, Value right, int64_t row, int64_t first, int64_t depth,
                                            VectorType type, Value sums, Value adds) {
  int64_t cols = type.getDimSize(1), warpgroups = layout.threads() / hopper::kWarpgroup;
  if (layout != hopper::accumulatorLayout(b.getContext(), warpgroups, cols) || type.getDimSize(0) != 64 * warpgroups)
    return op->emitError() << "expected the layout of accumulators, but got " << layout;
  CodeWords words(b, loc);
  Type element = llvm::cast<hopper::StagedType>(left.getType()).getElement();
  // Descriptors: rows of 128 bytes, swizzled; eight of them are 1024 bytes. The low word, with the address, is the same for
  // all threads of a warp.
  constexpr int64_t rowBytes = hopper::StagedType::kRowBytes, unit = kDescriptorUnit, high = 1 << 30 | 8 * rowBytes / unit;
  auto descriptor = [&](Value base, int64_t bytes) -> Value {
    Value words64 = words.pair(words.add(base, i32(bytes / unit)), i32(high), b.getI32Type());
    return extract(vector::BitCastOp::create(b, loc, VectorType::get({1}, b.getI64Type()), words64), 0);
  };
  int64_t bits = element.getIntOrFloatBitWidth(), step = 32 * 8 / bits; // 32 bytes of K an instruction
  Value rowUnits = words.add(words.mul(warpgroup, i32(64 * rowBytes / unit)), i32(row * rowBytes / unit));
  Value leftBase = words.add(number(left), rowUnits), rightBase = number(right);
  NVVM::WgmmaFenceAlignedOp::create(b, loc);
  for (int64_t k = 0; k < depth; k += step) {
    int64_t bytes = (first + k) * bits / 8;
    sums = wgmma(b, loc, sums, descriptor(leftBase, bytes), descriptor(rightBase, bytes), k > 0 ? i32(1) : adds, cols, element);
  }
  NVVM::WgmmaGroupSyncAlignedOp::create(b, loc);
  return sums;
}
