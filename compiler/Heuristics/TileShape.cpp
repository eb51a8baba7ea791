#include "compiler/Heuristics/TileShape.h"

#include "dialects/mx/Analysis/Storage.h"
#include "dialects/mx/Analysis/Tables.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/Support/MathExtras.h"

#include <numeric>

using namespace mlir;
using namespace vernier;
using namespace vernier::heuristics;

static int64_t powerOfTwoIn(int64_t value) { return int64_t(1) << llvm::countr_zero(uint64_t(value)); }

TileNeeds vernier::heuristics::needsOf(mx::KernelOp kernel, const mx::KernelPlan &plan) {
  TileNeeds needs;
  if (auto lighter = kernel->getAttrOfType<IntegerAttr>(hopper::kLighter))
    needs.lighter = lighter.getInt();
  needs.rowTile = plan.rowTile;
  needs.blockCols = plan.blockCols;
  needs.wholeRows = !plan.rowReductions.empty();
  needs.grouped = bool(plan.groupOffsets);
  needs.downColumns = plan.kind == mx::KernelKind::Columns;
  auto noteType = [&](Type type) {
    if (mx::shapeOf(type).size() != 2)
      return;
    if (auto scaled = llvm::dyn_cast<mx::ScaledType>(type)) {
      needs.packed |= scaled.getFormat().isPacked();
      needs.codes |= !scaled.getFormat().isPacked();
      return;
    }
    Type element = mx::buffersOf(type)[0].element;
    needs.widestBytes = std::max<int64_t>(needs.widestBytes, element.getIntOrFloatBitWidth() / 8);
  };
  mx::KernelOps ops = mx::KernelOps::of(kernel);
  needs.tabulates = !mx::Tables::of(ops).functions.empty();
  auto operands = llvm::make_filter_range(kernel.getBody().getArguments(), [](BlockArgument argument) {
    // An index or weights beside a row are no matrix of the kernel.
    return llvm::any_of(argument.getUses(), [](OpOperand &use) {
      return !llvm::isa<mx::UnpermuteOp>(use.getOwner()) || use.getOperandNumber() == 0;
    });
  });
  auto bitsOf = [](Type type) {
    if (auto scaled = llvm::dyn_cast<mx::ScaledType>(type))
      return int64_t(scaled.getFormat().getElementBits());
    return int64_t(mx::buffersOf(type)[0].element.getIntOrFloatBitWidth());
  };
  int64_t rowBits = 0;
  for (Value operand : operands) {
    noteType(operand.getType());
    ArrayRef<int64_t> shape = mx::shapeOf(operand.getType());
    if (shape.size() != 2 || ShapedType::isDynamic(shape[1]))
      continue;
    int64_t copies = 1; // of every row
    for (Operation *user : operand.getUsers())
      if (auto unpermute = llvm::dyn_cast<mx::UnpermuteOp>(user); unpermute && unpermute.getInput() == operand)
        copies = std::max(copies, unpermute.getIndex().getType().getDimSize(1));
    rowBits += bitsOf(operand.getType()) * shape[1] * copies;
  }
  for (Value output : ops.outputs) {
    noteType(output.getType());
    if (mx::shapeOf(output.getType()).size() == 2)
      needs.widestStoredBits = std::max(needs.widestStoredBits, bitsOf(output.getType()));
    if (auto transpose = output.getDefiningOp<mx::TransposeOp>()) {
      int64_t bits = bitsOf(output.getType());
      needs.narrowestTurned = needs.narrowestTurned ? std::min(needs.narrowestTurned, bits) : bits;
    }
  }
  for (Operation *op : ops.ops) {
    for (Type type : op->getResultTypes())
      if (auto scaled = llvm::dyn_cast<mx::ScaledType>(type)) {
        needs.packed |= scaled.getFormat().isPacked();
        needs.codes |= !scaled.getFormat().isPacked();
      }
    needs.gathers |= llvm::isa<mx::PermuteOp, mx::UnpermuteOp>(op);
    needs.recodes |= llvm::isa<mx::RequantizeOp>(op);
    if (op->getName().getDialectNamespace() != "mx" && !llvm::isa<arith::ConstantOp>(op))
      ++needs.work;
    needs.numbers |= !llvm::isa<mx::PermuteOp, mx::TransposeOp, mx::RequantizeOp, mx::SliceOp, mx::ConcatOp>(op);
  }
  bool runTime = false;
  auto noteWidth = [&](int64_t begin, int64_t width) {
    if (ShapedType::isDynamic(width)) {
      runTime = true;
      return;
    }
    needs.width = std::max(needs.width, width);
    needs.commonWidth = std::gcd(std::gcd(needs.commonWidth, width), begin);
  };
  for (const mx::Segment &segment : plan.segments)
    noteWidth(segment.begin, segment.width);
  for (mx::ReduceOp reduce : plan.rowReductions)
    for (const mx::Segment &segment : plan.segmentsOf(reduce.getInput()))
      noteWidth(segment.begin, segment.width);
  if (needs.downColumns)
    for (Value output : ops.outputs)
      if (ArrayRef<int64_t> shape = mx::shapeOf(output.getDefiningOp<mx::ReduceOp>().getInput().getType()); shape.size() == 2)
        noteWidth(0, shape[1]);
  if (runTime)
    needs.width = needs.commonWidth = 0;
  needs.loadedBits = needs.width ? llvm::divideCeil(rowBits, needs.width) : 8 * needs.widestBytes;
  return needs;
}

TileChoice vernier::heuristics::chooseTiles(MLIRContext *context, const TileNeeds &needs) {
  // A thread moves 16 bytes of the widest element at a time, and whole words of the narrowest.
  int64_t vector = 16 / needs.widestBytes;
  if (needs.numbers && !(needs.packed || needs.codes) && needs.widestBytes == 1)
    vector = 8; // booleans: what is computed from them takes four times the room
  // Twice that where blocks are scaled: what is found once for a thread's part of a row then serves more elements. But never
  // more than 16 bytes in a store: parts of a sector that are written one after the other cost the memory twice.
  if (needs.rowTile == 1 && (needs.packed || needs.codes) && needs.widestBytes <= 2)
    vector = std::min<int64_t>({2 * vector, 32, 16 * 8 / needs.widestStoredBits});
  int64_t leastVector = needs.packed ? 8 : needs.codes ? 4 : 1;
  vector = std::max(vector, leastVector);
  // A tall tile holds a block's rows. Long computations keep many numbers alive: fewer elements a thread then.
  bool tall = needs.rowTile > 1, heavy = tall && needs.work > 12;
  // Bytes that are turned leave in runs of one tile's rows, and come in runs of its columns. With 256 rows rather than 128, one
  // H200 took 10% less time from MXFP4 to turned FP8 and 2% less from FP8 (32768 x 7168), and with 256 columns as well 6% and
  // 2%. From BF16 the rows were worth 3%, but threads that quantise have no registers for it.
  bool longRuns = tall && needs.narrowestTurned && needs.widestBytes == 1 && needs.rowTile < 256 && !needs.grouped;
  // Every block makes its tables: few and large ones.
  int64_t threads = heavy || longRuns || needs.tabulates ? 512 : 256;
  int64_t leastCols = std::max<int64_t>(needs.blockCols, vector);
  // As many threads across as divide the columns, so that no chunk is cut off.
  auto across = [&](int64_t most) {
    int64_t least = leastCols / vector;
    if (!needs.commonWidth)
      return std::max<int64_t>(least, std::min<int64_t>(most, 32));
    int64_t fitting = std::min(most, std::max<int64_t>(1, powerOfTwoIn(needs.commonWidth) / vector));
    if (fitting >= std::min<int64_t>(most, 16))
      return std::max(least, fitting);
    int64_t covering = int64_t(llvm::PowerOf2Ceil(llvm::divideCeil(needs.width, vector)));
    return std::max(least, std::min({most, covering, int64_t(32)}));
  };
  int64_t lighter = needs.lighter % kLighterShapes;
  bool codesAlone = !needs.numbers && !needs.gathers && (needs.packed || needs.codes);
  int64_t rows, threadCols, rowGroup = 1, threadRows;
  if (tall) {
    // Neighbouring rows of a column make words when turned.
    rows = longRuns ? 256 : needs.rowTile;
    if (needs.narrowestTurned)
      rowGroup = std::max<int64_t>(1, 32 / needs.narrowestTurned);
    bool turnsAlone = longRuns && !needs.numbers && !needs.recodes;
    int64_t elements = heavy || needs.widestBytes > 2 ? 32 : turnsAlone ? 128 : 64; // of a thread
    int64_t least = std::max<int64_t>(leastCols, 64), cols = std::max(least, elements * threads / rows);
    // Half the columns, then with as many threads as it was not before, and so on: a block's registers are the same for few
    // threads, but each thread keeps some that are not for elements.
    for (int64_t step = 1; step <= lighter; ++step) {
      if (step % 2 && cols > least)
        cols /= 2;
      else
        threads = threads == 256 ? 512 : 256;
    }
    threadCols = across(std::max<int64_t>(1, cols / vector));
    threadRows = std::max<int64_t>(1, threads / threadCols);
    threadRows = std::min(threadRows, rows / rowGroup);
  } else if (needs.downColumns) {
    threadCols = across(8);
    threadRows = threads / threadCols;
    rows = threadRows * 4;
  } else {
    threadCols = across(threads);
    threadRows = threads / threadCols;
    // 64 bytes in flight a thread, in several rows, of at most 64 elements. Where codes are not computed with, twice that: one
    // H200 took 3% less time from FP8 to MXFP4, and 7% with rows of 2048.
    int64_t inFlight = (codesAlone ? 128 : 64) * 8 / std::max<int64_t>(1, vector * needs.loadedBits);
    int64_t most = needs.wholeRows ? 1 : std::max<int64_t>(1, codesAlone ? 4 : 64 / vector);
    int64_t items = int64_t(llvm::bit_floor(uint64_t(std::clamp<int64_t>(inFlight, 1, most))));
    int64_t halved = std::min<int64_t>(lighter, llvm::Log2_64(uint64_t(items)));
    items >>= halved;
    if (lighter > halved) { // no more rows to leave out
      vector = std::max<int64_t>(vector >> (lighter - halved), leastVector);
      threadCols = across(threads);
      threadRows = threads / threadCols;
    }
    rows = threadRows * items;
  }
  // Loads wait for memory, and the threads of tall tiles for one another: what fits beside them fills the time.
  int64_t blocks = heavy || longRuns ? 1 : tall ? 3 : 4;
  if (needs.tabulates)
    blocks = std::min<int64_t>(blocks, 2);
  // A block that ends makes room for one that loads at once, while a block that goes on waits for its own loads: on one H200,
  // 16 waves took 5% off BF16 to FP8, 10% off MXFP4 to BF16 and 4% off gathers of FP8 and BF16, but put 4% on those of MXFP4.
  // Kernels that load ahead lose by it, those that are bound by instructions gain with a few. (MXFP4 to FP8: 4% less with 8
  // than with 4.)
  bool bound = needs.widestBytes == 1 || needs.work > 4;
  int64_t waves = 16;
  if (tall || needs.tabulates || needs.wholeRows || needs.downColumns || (needs.gathers && needs.packed))
    waves = 1;
  else if (bound && !needs.gathers)
    waves = codesAlone ? 8 : 4;
  return {hopper::LayoutAttr::get(context, rows, threadCols * vector, threadRows, threadCols, vector, rowGroup, /*adjacent=*/0),
          blocks, waves, needs.lighter < kLighterShapes};
}

TileChoice vernier::heuristics::chooseTiles(mx::KernelOp kernel, const mx::KernelPlan &plan) {
  return chooseTiles(kernel.getContext(), needsOf(kernel, plan));
}
