// Pass hopper-specialize-warps.
#include "dialects/hopper/Transforms/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/Support/MathExtras.h"

namespace vernier::hopper {
#define GEN_PASS_DEF_SPECIALIZEWARPS
#include "dialects/hopper/Transforms/Passes.h.inc"
} // namespace vernier::hopper

using namespace mlir;
using namespace vernier::hopper;

/// Bytes of a slot that a fetch fills.
static int64_t bytesOf(Operation *fetch) {
  Type type = fetch->getResult(0).getType();
  if (auto staged = llvm::dyn_cast<StagedType>(type))
    return staged.bytes();
  return llvm::cast<ScalesType>(type).bytes();
}

namespace {
/// The fetches of one block: they share a slot, tiles before scales. Tiles lie at multiples of 1024 bytes.
struct Stage {
  SmallVector<Operation *> fetches;

  void add(Operation *fetch) {
    fetches.push_back(fetch);
    llvm::stable_sort(fetches, [](Operation *a, Operation *c) { return llvm::isa<FetchOp>(a) && !llvm::isa<FetchOp>(c); });
  }
  int64_t offsetOf(Operation *fetch) const {
    int64_t offset = 0;
    for (Operation *before : fetches) {
      if (before == fetch)
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
  int64_t bytes() const { return llvm::alignTo(offsetOf(nullptr), 1024); }
};

/// What one side that fetches runs: the loops and branches around its fetches, and what these and the fetches need.
template <typename Fetch> class Slice {
public:
  Slice(func::FuncOp function, llvm::MapVector<Block *, Stage> &stages) : function(function), stages(stages) {}

  LogicalResult collect() {
    for (auto &[block, stage] : stages) {
      for (Operation *fetch : stage.fetches)
        if (llvm::isa<Fetch>(fetch) && failed(need(fetch->getOperands(), fetch)))
          return failure();
      if (failed(reach(block)))
        return failure();
    }
    WalkResult walk = function.walk([&](Operation *op) {
      if (!alsoRuns(*op))
        return WalkResult::advance();
      return WalkResult(success(succeeded(need(op->getOperands(), op)) && succeeded(reach(op->getBlock()))));
    });
    return success(!walk.wasInterrupted());
  }

  void clone(Block &from, OpBuilder &b, IRMapping &mapping) {
    auto stage = stages.find(&from);
    size_t left = llvm::count_if(from, [](Operation &op) { return llvm::isa<Fetch>(op); });
    for (Operation &op : from) {
      if (llvm::isa<Fetch>(op)) {
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
  /// What the side runs beside its fetches.
  static bool alsoRuns(Operation &op) { return std::is_same_v<Fetch, FetchOp> && llvm::isa<PrefetchOp>(op); }

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
    if constexpr (std::is_same_v<Fetch, FetchOp>) {
      Value slot = AcquireOp::create(b, loc, b.getIndexType());
      for (FetchOp fetch : stage.of<FetchOp>())
        CopyOp::create(b, loc, mapped(fetch.getMemref()), mapped(fetch.getRow()), mapped(fetch.getCol()), slot,
                       stage.offsetOf(fetch), fetch.getResult().getType(), fetch.getMulticast());
    } else {
      SmallVector<Value> held;
      for (FetchScalesOp fetch : stage.of<FetchScalesOp>())
        held.push_back(LoadScalesOp::create(b, loc, HeldScalesType::get(b.getContext(), fetch.getResult().getType().getCount()),
                                            mapped(fetch.getMemref()), mapped(fetch.getRow()), mapped(fetch.getCol()),
                                            mapped(fetch.getLimit()), fetch.getHeight(), mapped(fetch.getStride())));
      Value slot = AcquireOp::create(b, loc, b.getIndexType());
      for (auto [fetch, scales] : llvm::zip(stage.of<FetchScalesOp>(), held))
        PutScalesOp::create(b, loc, scales, slot, stage.offsetOf(fetch));
      CommitOp::create(b, loc, slot);
    }
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
  llvm::SetVector<Operation *> needed, path;
};

struct SpecializeWarps : vernier::hopper::impl::SpecializeWarpsBase<SpecializeWarps> {
  void runOnOperation() override {
    func::FuncOp function = getOperation();
    llvm::MapVector<Block *, Stage> stages;
    function.walk([&](Operation *op) {
      if (llvm::isa<FetchOp, FetchScalesOp>(op))
        stages[op->getBlock()].add(op);
    });
    if (stages.empty())
      return;
    auto tilesOf = [](const Stage &stage) {
      int64_t bytes = 0;
      for (Operation *fetch : stage.fetches)
        bytes += llvm::isa<FetchOp>(fetch) ? bytesOf(fetch) : 0;
      return bytes;
    };
    const Stage &first = stages.front().second;
    int64_t bytes = first.bytes(), tiles = tilesOf(first);
    for (auto &[block, stage] : stages)
      if (stage.bytes() != bytes || tilesOf(stage) != tiles) {
        stage.fetches.front()->emitError() << "expected " << bytes << " bytes in every slot, but got " << stage.bytes();
        return signalPassFailure();
      }
    auto count = function->getAttrOfType<IntegerAttr>(kStages);
    if (!count) {
      function.emitError() << "expected attribute " << kStages;
      return signalPassFailure();
    }
    Slice<FetchOp> tileSide(function, stages);
    Slice<FetchScalesOp> scaleSide(function, stages);
    if (failed(tileSide.collect()) || failed(scaleSide.collect()))
      return signalPassFailure();
    Block &entry = function.getBody().front();
    OpBuilder b(entry.getTerminator());
    auto roles = RolesOp::create(b, function.getLoc(), count.getInt(), bytes, tiles, IntegerAttr());
    IRMapping mapping;
    b.createBlock(&roles.getTiles());
    tileSide.clone(entry, b, mapping);
    mapping.clear();
    b.createBlock(&roles.getScales());
    if (!first.of<FetchScalesOp>().empty())
      scaleSide.clone(entry, b, mapping);
    Block *compute = b.createBlock(&roles.getCompute());
    auto &ops = entry.getOperations();
    compute->getOperations().splice(compute->end(), ops, ops.begin(), Block::iterator(roles));
    for (auto &[block, stage] : stages)
      consume(block, stage);
    roles.getCompute().walk([](PrefetchOp op) { op.erase(); });
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
    for (Operation *fetch : stage.fetches) {
      b.setInsertionPoint(fetch);
      Value result = fetch->getResult(0);
      Value staged = StagedOp::create(b, fetch->getLoc(), result.getType(), slot, stage.offsetOf(fetch));
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
