// Matrix products: wgmma on staged tiles.
#include "compiler/Conversion/HopperToNVVM/Distribution.h"

#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace vernier;
using namespace vernier::simt;

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
