// Pass hopper-specialize-warps.
#include "dialects/hopper/Transforms/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/Transforms/RegionUtils.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/Support/MathExtras.h"

namespace vernier::hopper {
#define GEN_PASS_DEF_SPECIALIZEWARPS
#include "dialects/hopper/Transforms/Passes.h.inc"
} // namespace vernier::hopper

using namespace mlir;
using namespace vernier::hopper;

/// Bytes of a slot that a tile or scales fill.
static int64_t bytesOf(Value staged) {
  if (auto tile = llvm::dyn_cast<StagedType>(staged.getType()))
    return tile.bytes();
  return llvm::cast<ScalesType>(staged.getType()).bytes();
}

namespace {
/// The fetches of one block, and what is made beside them: they share a slot, tiles before scales. Tiles lie at multiples of
/// 1024 bytes.
struct Stage {
  SmallVector<Operation *> fetches;
  SmallVector<Value> results;

  void add(Operation *fetch) {
    fetches.push_back(fetch);
    llvm::append_range(results, fetch->getResults());
    llvm::stable_sort(
        results, [](Value a, Value c) { return llvm::isa<StagedType>(a.getType()) && !llvm::isa<StagedType>(c.getType()); });
  }
  int64_t offsetOf(Value result) const {
    int64_t offset = 0;
    for (Value before : results) {
      if (before == result)
        break;
      offset += bytesOf(before);
    }
    return offset;
  }
  template <typename Fetch> SmallVector<Fetch> of() const {
    SmallVector<Fetch> found;
    for (Operation *fetch : fetches)
      if (auto one = llvm::dyn_cast<Fetch>(fetch))
        found.push_back(one);
    return found;
  }
  int64_t bytes() const { return llvm::alignTo(offsetOf(Value()), 1024); }
  /// What the copy engine brings.
  int64_t copiedBytes() const {
    int64_t bytes = 0;
    for (FetchOp fetch : of<FetchOp>())
      bytes += bytesOf(fetch.getResult());
    return bytes;
  }
};

/// Blocks that fetch a tile together.
static int64_t sharesOf(FetchOp fetch) { return fetch.getMulticast() ? clusterOf(fetch->getParentOfType<func::FuncOp>()) : 1; }

/// Of every tile that is passed.
static Value rowsOf(FinishOp finish, OpBuilder &b) {
  auto tile = llvm::cast<VectorType>(finish.getTiles().front().getType());
  return arith::ConstantIndexOp::create(b, finish.getLoc(), tile.getDimSize(0));
}

/// Of the tiles that one run of the region takes.
static Value numberOfTile(FinishOp finish, Value run, OpBuilder &b) {
  if (finish.getPieces() == 1)
    return run;
  return arith::DivUIOp::create(b, finish.getLoc(), run,
                                arith::ConstantIndexOp::create(b, finish.getLoc(), int64_t(finish.getPieces())));
}

/// Whether the tile with a number has all its rows.
static Value isWhole(FinishOp finish, Value number, Value rows, OpBuilder &b) {
  Location loc = finish.getLoc();
  Value next = arith::AddIOp::create(b, loc, number, arith::ConstantIndexOp::create(b, loc, 1));
  return arith::CmpIOp::create(b, loc, arith::CmpIPredicate::uge, rows, arith::MulIOp::create(b, loc, next, rowsOf(finish, b)));
}

/// What one side runs: the loops and branches around its operations, and what these and they need. Fetches name the sides
/// that fetch, FinishOp the one that finishes, FillOp the one that fills places with what is added to. Where tiles are made,
/// one side makes and fetches all: that of the scales.
template <typename Fetch> class Slice {
public:
  Slice(func::FuncOp function, llvm::MapVector<Block *, Stage> &stages, bool makes)
      : function(function), stages(stages), makes(makes) {}

  LogicalResult collect() {
    if (!kFetches)
      return collectMarked();
    if (makes && std::is_same_v<Fetch, FetchOp>)
      return success();
    for (auto &[block, stage] : stages) {
      for (Operation *fetch : stage.fetches)
        if (isFetch(*fetch) && failed(need(usedBy(fetch), fetch)))
          return failure();
      if (failed(reach(block)))
        return failure();
    }
    return collectMarked();
  }

  void clone(Block &from, OpBuilder &b, IRMapping &mapping) {
    auto stage = stages.find(&from);
    if (stage != stages.end() && std::is_same_v<Fetch, FetchScalesOp> && loadWords(from, stage->second, b, mapping))
      return;
    size_t left = llvm::count_if(from, [&](Operation &op) { return isFetch(op); });
    for (Operation &op : from) {
      if (auto finish = llvm::dyn_cast<FinishOp>(op); finish && alsoRuns(op)) {
        if constexpr (std::is_same_v<Fetch, FillOp>)
          fill(finish, b, mapping);
        else
          run(finish, b, mapping);
      } else if (isFetch(op)) {
        if (--left == 0) // all operands are there
          copy(stage->second, b, mapping);
      } else if (path.contains(&op)) {
        clonePath(op, b, mapping);
      } else if (alsoRuns(op) || needed.contains(&op)) {
        b.clone(op, mapping);
      }
    }
  }

private:
  static constexpr bool kFetches = !std::is_same_v<Fetch, FinishOp> && !std::is_same_v<Fetch, FillOp>;

  bool isFetch(Operation &op) const {
    return llvm::isa<Fetch>(op) || (makes && std::is_same_v<Fetch, FetchScalesOp> && llvm::isa<FetchOp, MakeOp>(op));
  }

  /// What an operation and the region that it has use.
  static SmallVector<Value> usedBy(Operation *op) {
    llvm::SetVector<Value> used(op->operand_begin(), op->operand_end());
    getUsedValuesDefinedAbove(op->getRegions(), used);
    return used.takeVector();
  }

  /// What the side runs beside its fetches; of the sides that fetch nothing, all they run.
  bool alsoRuns(Operation &op) const {
    auto finish = llvm::dyn_cast<FinishOp>(op);
    return (std::is_same_v<Fetch, FetchOp> && !makes && llvm::isa<PrefetchOp>(op)) ||
           (std::is_same_v<Fetch, FinishOp> && finish) || (std::is_same_v<Fetch, FillOp> && finish && finish.getAddend());
  }

  LogicalResult collectMarked() {
    WalkResult walk = function.walk([&](Operation *op) {
      if (!alsoRuns(*op))
        return WalkResult::advance();
      SmallVector<Value> operands;
      if (auto finish = llvm::dyn_cast<FinishOp>(op)) { // not the tiles, which are passed
        if (std::is_same_v<Fetch, FillOp>) {
          operands.append({finish.getAddend(), finish.getRow(), finish.getCol(), finish.getRows()});
        } else {
          llvm::SetVector<Value> outside;
          getUsedValuesDefinedAbove(finish.getBody(), outside);
          operands = outside.takeVector();
        }
      } else {
        operands = op->getOperands();
      }
      return WalkResult(success(succeeded(need(operands, op)) && succeeded(reach(op->getBlock()))));
    });
    return success(!walk.wasInterrupted());
  }

  /// Goes on in a loop over what is passed, where that is several pieces or tiles. The number of the run.
  Value eachRun(FinishOp finish, OpBuilder &b) {
    Location loc = finish.getLoc();
    Value number = arith::ConstantIndexOp::create(b, loc, 0);
    if (finish.runs() <= 1)
      return number;
    Value end = arith::ConstantIndexOp::create(b, loc, finish.runs()), step = arith::ConstantIndexOp::create(b, loc, 1);
    auto loop = scf::ForOp::create(b, loc, number, end, step);
    b.setInsertionPointToStart(loop.getBody());
    return loop.getInductionVar();
  }

  /// What tiles are added to, ahead of them.
  void fill(FinishOp finish, OpBuilder &b, IRMapping &mapping) {
    Location loc = finish.getLoc();
    OpBuilder::InsertionGuard guard(b);
    Value run = eachRun(finish, b), number = numberOfTile(finish, run, b);
    auto type = llvm::cast<PassedType>(finish.getBody().getArgument(1).getType());
    Value row = arith::AddIOp::create(b, loc, mapping.lookupOrDefault(finish.getRow()),
                                      arith::MulIOp::create(b, loc, number, rowsOf(finish, b)));
    Value col = mapping.lookupOrDefault(finish.getCol());
    if (finish.getPieces() > 1) {
      Value piece = arith::RemUIOp::create(b, loc, run, arith::ConstantIndexOp::create(b, loc, int64_t(finish.getPieces())));
      col = arith::AddIOp::create(b, loc, col,
                                  arith::MulIOp::create(b, loc, piece, arith::ConstantIndexOp::create(b, loc, type.getCols())));
    }
    FillOp::create(b, loc, mapping.lookupOrDefault(finish.getAddend()), row, col,
                   isWhole(finish, number, mapping.lookupOrDefault(finish.getRows()), b), type);
  }

  /// The region of `finish`, once for everything that is passed.
  void run(FinishOp finish, OpBuilder &b, IRMapping &mapping) {
    Location loc = finish.getLoc();
    OpBuilder::InsertionGuard guard(b);
    Block &body = finish.getBody().front();
    mapping.map(body.getArgument(0), eachRun(finish, b));
    bool passes = finish.runs();
    if (passes) {
      auto take = TakeOp::create(b, loc, ValueRange(body.getArguments()).drop_front().getTypes());
      mapping.map(ValueRange(body.getArguments()).drop_front(), take.getTiles());
    }
    for (Operation &op : body)
      b.clone(op, mapping);
    if (passes)
      GiveBackOp::create(b, loc);
  }

  /// The loops and branches around a block.
  LogicalResult reach(Block *block) {
    for (Operation *around = block->getParentOp(); around != function; around = around->getParentOp()) {
      if (!llvm::isa<scf::ForOp, scf::IfOp>(around))
        return around->emitError() << "expected loops and branches around hopper.fetch";
      if (!path.insert(around))
        break;
      ValueRange operands = around->getOperands();
      if (auto loop = llvm::dyn_cast<scf::ForOp>(around)) // not what it carries
        operands = operands.take_front(3);
      if (failed(need(operands, around)))
        return failure();
    }
    return success();
  }

  void copy(const Stage &stage, OpBuilder &b, IRMapping &mapping) {
    auto mapped = [&](Value v) { return v ? mapping.lookupOrDefault(v) : v; };
    Location loc = stage.fetches.front()->getLoc();
    auto copyTiles = [&](Value slot) {
      for (FetchOp fetch : stage.of<FetchOp>())
        CopyOp::create(b, loc, mapped(fetch.getMemref()), mapped(fetch.getRow()), mapped(fetch.getCol()), slot,
                       stage.offsetOf(fetch.getResult()), fetch.getResult().getType(), mapped(fetch.getRows()),
                       fetch.getMulticast(), fetch.getKeep());
    };
    if constexpr (std::is_same_v<Fetch, FetchOp>) {
      copyTiles(AcquireOp::create(b, loc, b.getIndexType(), notCopied(stage, b, mapping)));
    } else {
      SmallVector<Held> held = load(stage, b, mapping);
      put(stage, held, b, mapping, [&](Value slot) {
        if (!makes)
          return;
        copyTiles(slot);
        for (MakeOp make : stage.of<MakeOp>())
          putMade(stage, make, slot, b, mapping);
      });
    }
  }

  /// Bytes of a slot's tiles that are not copied, since nobody looks at them; null: none.
  static Value notCopied(const Stage &stage, OpBuilder &b, IRMapping &mapping) {
    Value all;
    for (FetchOp fetch : stage.of<FetchOp>()) {
      if (!fetch.getRows())
        continue;
      // Of blocks that share a tile, each copies its part of the rows for all.
      Location loc = fetch.getLoc();
      auto number = [&](int64_t value) -> Value { return arith::ConstantIndexOp::create(b, loc, value); };
      int64_t shares = sharesOf(fetch), share = fetch.getResult().getType().getRows() / shares;
      Value rows = mapping.lookupOrDefault(fetch.getRows()), copied;
      for (int64_t i = 0; i < shares; ++i) {
        Value units = CopyOp::unitsOf(b, loc, rows, share);
        copied = copied ? arith::AddIOp::create(b, loc, copied, units) : units;
        rows = arith::SubIOp::create(b, loc, rows, arith::MinUIOp::create(b, loc, rows, number(share)));
      }
      Value left = arith::SubIOp::create(b, loc, number(CopyOp::kUnits * shares), copied);
      Value less = arith::MulIOp::create(b, loc, left, number(share / CopyOp::kUnits * StagedType::kRowBytes));
      all = all ? arith::AddIOp::create(b, loc, all, less) : less;
    }
    return all;
  }

  /// Part by part of the rows.
  static void putMade(const Stage &stage, MakeOp make, Value slot, OpBuilder &b, IRMapping &mapping) {
    Location loc = make.getLoc();
    OpBuilder::InsertionGuard guard(b);
    auto number = [&](int64_t value) -> Value { return arith::ConstantIndexOp::create(b, loc, value); };
    int64_t rows = make.getTile().getType().getRows(), atOnce = make.getLayout().getRows();
    Value row = number(0);
    if (rows > atOnce) {
      auto parts = scf::ForOp::create(b, loc, row, number(rows), number(atOnce));
      b.setInsertionPointToStart(parts.getBody());
      row = parts.getInductionVar();
    }
    Block &body = make.getBody().front();
    mapping.map(body.getArgument(0), row);
    for (Operation &op : body.without_terminator())
      b.clone(op, mapping);
    auto made = llvm::cast<MadeOp>(body.getTerminator());
    auto store = [&](Value value, Value target) {
      PutMadeOp::create(b, loc, mapping.lookupOrDefault(value), row, slot, stage.offsetOf(target), target.getType());
    };
    store(made.getTile(), make.getTile());
    for (auto [scales, target] : llvm::zip(made.getScales(), make.getScales()))
      store(scales, target);
  }

  /// Scales of a fetch, and those that they are multiplied by.
  struct Held {
    Value scales, factor;
  };

  SmallVector<Held> load(const Stage &stage, OpBuilder &b, IRMapping &mapping) {
    auto mapped = [&](Value v) { return mapping.lookupOrDefault(v); };
    SmallVector<Held> held;
    for (FetchScalesOp fetch : stage.of<FetchScalesOp>()) {
      Location loc = fetch.getLoc();
      int64_t blocks = fetch.getBlocks();
      auto one = [&](Value memref, Value row, Value col, Value limit, int64_t rows, int64_t height, int64_t columns,
                     int64_t word) -> Value {
        auto type = HeldScalesType::get(b.getContext(), rows, std::max(word, columns));
        Value first = mapped(col);
        if (word > 1)
          first = arith::AndIOp::create(b, loc, first, arith::ConstantIndexOp::create(b, loc, -word));
        return LoadScalesOp::create(b, loc, type, mapped(memref), mapped(row), first, limit, height, word > 1);
      };
      Held now{one(fetch.getMemref(), fetch.getRow(), fetch.getCol(), mapped(fetch.getLimit()),
                   fetch.getResult().getType().getCount() / blocks, fetch.getHeight(), blocks, fetch.getWord()),
               {}};
      if (fetch.getFactor()) {
        Value end = arith::AddIOp::create(b, loc, mapped(fetch.getFactorRow()), arith::ConstantIndexOp::create(b, loc, 1));
        now.factor = one(fetch.getFactor(), fetch.getFactorRow(), fetch.getFactorCol(), end, 1, 1, 1, fetch.iterationsAWord());
      }
      held.push_back(now);
    }
    return held;
  }

  void put(
      const Stage &stage, ArrayRef<Held> held, OpBuilder &b, IRMapping &mapping,
      llvm::function_ref<void(Value)> alsoFill = [](Value) {}) {
    Location loc = stage.fetches.front()->getLoc();
    auto inWord = [&](Value col, int64_t word) -> Value {
      Value mask = arith::ConstantIndexOp::create(b, loc, word - 1);
      return word == 1 ? mask : arith::AndIOp::create(b, loc, mapping.lookupOrDefault(col), mask).getResult();
    };
    SmallVector<std::pair<Value, Value>> firsts;
    for (FetchScalesOp fetch : stage.of<FetchScalesOp>())
      firsts.push_back({inWord(fetch.getCol(), fetch.getWord()),
                        fetch.getFactor() ? inWord(fetch.getFactorCol(), fetch.iterationsAWord()) : Value()});
    Value slot = AcquireOp::create(b, loc, b.getIndexType(), makes ? notCopied(stage, b, mapping) : Value());
    for (auto [fetch, now, first] : llvm::zip(stage.of<FetchScalesOp>(), held, firsts))
      PutScalesOp::create(b, loc, now.scales, first.first, fetch.getBlocks(), slot, stage.offsetOf(fetch.getResult()),
                          now.factor, first.second);
    alsoFill(slot);
    CommitOp::create(b, loc, slot);
  }

  /// Scales that come in words: of the loop whose body this is, as many iterations as a word serves become a loop of their own,
  /// and the word is loaded ahead of it. False where this is no such loop.
  bool loadWords(Block &body, const Stage &stage, OpBuilder &b, IRMapping &mapping) {
    auto loop = llvm::dyn_cast<scf::ForOp>(body.getParentOp());
    int64_t together = 8;
    for (FetchScalesOp fetch : stage.of<FetchScalesOp>())
      together = std::min(together, fetch.iterationsAWord());
    if (makes || !loop || stage.of<FetchScalesOp>().empty() || together == 1)
      return false;
    std::optional<int64_t> first = getConstantIntValue(loop.getLowerBound()), end = getConstantIntValue(loop.getUpperBound()),
                           step = getConstantIntValue(loop.getStep());
    if (!first || !end || !step || *first != 0 || *end % (*step * together))
      return false;
    auto outer = llvm::cast<scf::ForOp>(b.getInsertionBlock()->getParentOp()); // the loop's clone
    Location loc = loop.getLoc();
    auto slice = [&](Value iteration) {
      mapping.map(loop.getInductionVar(), iteration);
      for (Operation &op : body)
        if (needed.contains(&op))
          b.clone(op, mapping);
    };
    outer.setStep(arith::ConstantOp::create(b, loc, b.getIntegerAttr(outer.getStep().getType(), *step * together)));
    outer.getStep().getDefiningOp()->moveBefore(outer);
    slice(outer.getInductionVar());
    SmallVector<Held> held = load(stage, b, mapping);
    Value begin = outer.getInductionVar(), stop = arith::AddIOp::create(b, loc, begin, outer.getStep());
    auto inner = scf::ForOp::create(b, loc, begin, stop, mapping.lookupOrDefault(loop.getStep()));
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(inner.getBody());
    slice(inner.getInductionVar());
    put(stage, held, b, mapping);
    return true;
  }

  LogicalResult need(ValueRange values, Operation *user) {
    for (Value value : values) {
      if (auto argument = llvm::dyn_cast<BlockArgument>(value)) {
        auto loop = llvm::dyn_cast<scf::ForOp>(argument.getOwner()->getParentOp());
        if (loop && argument != loop.getInductionVar())
          return user->emitError() << "expected no need of values that a loop carries, to fetch ahead";
        continue;
      }
      Operation *op = value.getDefiningOp();
      if (!needed.insert(op))
        continue;
      SmallVector<Value> operands(op->getOperands());
      op->walk([&](Operation *inner) { llvm::append_range(operands, inner->getOperands()); });
      llvm::erase_if(operands, [&](Value operand) { return op->isAncestor(operand.getParentBlock()->getParentOp()); });
      if (failed(need(operands, op)))
        return failure();
    }
    return success();
  }

  void clonePath(Operation &op, OpBuilder &b, IRMapping &mapping) {
    OpBuilder::InsertionGuard guard(b);
    if (auto loop = llvm::dyn_cast<scf::ForOp>(op)) {
      auto made = scf::ForOp::create(b, op.getLoc(), mapping.lookupOrDefault(loop.getLowerBound()),
                                     mapping.lookupOrDefault(loop.getUpperBound()), mapping.lookupOrDefault(loop.getStep()));
      mapping.map(loop.getInductionVar(), made.getInductionVar());
      b.setInsertionPointToStart(made.getBody());
      return clone(*loop.getBody(), b, mapping);
    }
    auto branch = llvm::cast<scf::IfOp>(op);
    auto made = scf::IfOp::create(b, op.getLoc(), mapping.lookupOrDefault(branch.getCondition()), bool(branch.elseBlock()));
    b.setInsertionPointToStart(made.thenBlock());
    clone(*branch.thenBlock(), b, mapping);
    if (branch.elseBlock()) {
      b.setInsertionPointToStart(made.elseBlock());
      clone(*branch.elseBlock(), b, mapping);
    }
  }

  func::FuncOp function;
  llvm::MapVector<Block *, Stage> &stages;
  const bool makes; ///< whether tiles are made.
  llvm::SetVector<Operation *> needed, path;
};

struct SpecializeWarps : vernier::hopper::impl::SpecializeWarpsBase<SpecializeWarps> {
  void runOnOperation() override {
    func::FuncOp function = getOperation();
    llvm::MapVector<Block *, Stage> stages;
    function.walk([&](Operation *op) {
      if (llvm::isa<FetchOp, FetchScalesOp, MakeOp>(op))
        stages[op->getBlock()].add(op);
    });
    if (stages.empty())
      return;
    const Stage &first = stages.front().second;
    int64_t bytes = first.bytes(), tiles = first.copiedBytes();
    SmallVector<MakeOp> made = first.of<MakeOp>();
    bool makes = !made.empty();
    for (auto &[block, stage] : stages)
      if (stage.bytes() != bytes || stage.copiedBytes() != tiles || stage.of<MakeOp>().empty() == makes) {
        stage.fetches.front()->emitError() << "expected " << bytes << " bytes in every slot, but got " << stage.bytes();
        return signalPassFailure();
      }
    for (auto &[block, stage] : stages)
      for (FetchOp fetch : stage.of<FetchOp>())
        if (int64_t rows = fetch.getResult().getType().getRows() / sharesOf(fetch);
            fetch.getRows() && rows < CopyOp::kLeastRows) {
          fetch.emitError() << "expected a block to fetch " << CopyOp::kLeastRows
                            << " rows at least of a tile with rows that nobody "
                            << "looks at, but got " << rows;
          return signalPassFailure();
        }
    auto count = function->getAttrOfType<IntegerAttr>(kStages);
    if (!count) {
      function.emitError() << "expected attribute " << kStages;
      return signalPassFailure();
    }
    Slice<FetchOp> tileSide(function, stages, makes);
    Slice<FetchScalesOp> scaleSide(function, stages, makes);
    Slice<FinishOp> finishSide(function, stages, makes);
    Slice<FillOp> fillSide(function, stages, makes);
    if (failed(tileSide.collect()) || failed(scaleSide.collect()) || failed(finishSide.collect()) || failed(fillSide.collect()))
      return signalPassFailure();
    SmallVector<FinishOp> finishes;
    function.walk([&](FinishOp op) { finishes.push_back(op); });
    int64_t passed = 0, buffers = 0;
    bool fills = false;
    for (FinishOp op : finishes)
      if (!op.getTiles().empty())
        passed = std::max(passed, op.passedBytes()), buffers = int64_t(op.getBuffers()), fills = bool(op.getAddend());
    for (FinishOp op : finishes)
      if (op.getLayout() != finishes.front().getLayout() ||
          (!op.getTiles().empty() && (int64_t(op.getBuffers()) != buffers || bool(op.getAddend()) != fills))) {
        op.emitError() << "expected one layout, " << buffers << " buffers and addends, or none, in all of a function";
        return signalPassFailure();
      }
    Block &entry = function.getBody().front();
    OpBuilder b(entry.getTerminator());
    auto roles = RolesOp::create(b, function.getLoc(), count.getInt(), bytes, tiles, passed, buffers,
                                 finishes.empty() ? LayoutAttr() : finishes.front().getLayout(),
                                 makes ? made.front().getLayout() : LayoutAttr(), IntegerAttr(), /*fillCount=*/fills);
    IRMapping mapping;
    b.createBlock(&roles.getTiles());
    if (!makes)
      tileSide.clone(entry, b, mapping);
    mapping.clear();
    b.createBlock(&roles.getScales());
    if (makes || !first.of<FetchScalesOp>().empty())
      scaleSide.clone(entry, b, mapping);
    mapping.clear();
    b.createBlock(&roles.getFinish());
    if (!finishes.empty())
      finishSide.clone(entry, b, mapping);
    mapping.clear();
    if (fills) {
      b.createBlock(&roles.getFill().front());
      fillSide.clone(entry, b, mapping);
    }
    Block *compute = b.createBlock(&roles.getCompute());
    auto &ops = entry.getOperations();
    compute->getOperations().splice(compute->end(), ops, ops.begin(), Block::iterator(roles));
    for (auto &[block, stage] : stages)
      consume(block, stage);
    roles.getCompute().walk([](PrefetchOp op) { op.erase(); });
    for (FinishOp op : finishes)
      handOver(op);
  }

  /// In place of what others finish.
  static void handOver(FinishOp finish) {
    OpBuilder b(finish);
    size_t together = size_t(finish.getTogether());
    for (size_t i = 0; i < finish.getTiles().size(); i += together) {
      Value adds;
      if (finish.getAddend()) {
        // Known ahead of the sums, beside which a flag needs less room than a number.
        OpBuilder::InsertionGuard guard(b);
        if (Operation *source = finish.getRows().getDefiningOp())
          b.setInsertionPointAfter(source);
        adds = isWhole(finish, arith::ConstantIndexOp::create(b, finish.getLoc(), int64_t(i / together)), finish.getRows(), b);
      }
      for (uint64_t piece = 0; piece < finish.getPieces(); ++piece)
        HandOverOp::create(b, finish.getLoc(), finish.getTiles().slice(i, together), adds, piece, finish.getPieces());
    }
    finish.erase();
  }

  /// Waits for the slot where the first fetch was, and gives it back after the last use of what it holds.
  static void consume(Block *block, Stage &stage) {
    Operation *first = stage.fetches.front();
    for (Operation *fetch : stage.fetches)
      if (fetch->isBeforeInBlock(first))
        first = fetch;
    OpBuilder b(first);
    auto slot = AwaitOp::create(b, first->getLoc(), b.getIndexType());
    Operation *last = slot;
    for (Value result : stage.results) {
      Operation *fetch = result.getDefiningOp();
      b.setInsertionPoint(fetch);
      Value staged = StagedOp::create(b, fetch->getLoc(), result.getType(), slot, stage.offsetOf(result));
      for (Operation *user : result.getUsers())
        if (Operation *here = block->findAncestorOpInBlock(*user); last->isBeforeInBlock(here))
          last = here;
      result.replaceAllUsesWith(staged);
    }
    b.setInsertionPointAfter(last);
    ReleaseOp::create(b, last->getLoc(), slot);
    for (Operation *fetch : stage.fetches)
      fetch->erase();
  }
};
} // namespace
