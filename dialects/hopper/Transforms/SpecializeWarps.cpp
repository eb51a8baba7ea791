// Pass hopper-specialize-warps.
#include "dialects/hopper/Transforms/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/SetVector.h"

namespace vernier::hopper {
#define GEN_PASS_DEF_SPECIALIZEWARPS
#include "dialects/hopper/Transforms/Passes.h.inc"
} // namespace vernier::hopper

using namespace mlir;
using namespace vernier::hopper;

namespace {
/// The fetches of one block: they share a slot, one behind the other.
struct Stage {
  SmallVector<FetchOp> fetches;
  int64_t bytes = 0;

  void add(FetchOp fetch) {
    fetches.push_back(fetch);
    bytes += fetch.getResult().getType().bytes();
  }
  int64_t offsetOf(FetchOp fetch) const {
    int64_t offset = 0;
    for (FetchOp before : fetches) {
      if (before == fetch)
        break;
      offset += before.getResult().getType().bytes();
    }
    return offset;
  }
};

/// What the producer runs: the loops and branches around the fetches, and what these and the fetches need.
class ProducerSlice {
public:
  ProducerSlice(func::FuncOp function, llvm::MapVector<Block *, Stage> &stages) : function(function), stages(stages) {}

  LogicalResult collect() {
    for (auto &[block, stage] : stages) {
      for (FetchOp fetch : stage.fetches)
        if (failed(need(fetch->getOperands(), fetch)))
          return failure();
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
    }
    return success();
  }

  void clone(Block &from, OpBuilder &b, IRMapping &mapping) {
    Value slot;
    for (Operation &op : from) {
      Location loc = op.getLoc();
      if (auto fetch = llvm::dyn_cast<FetchOp>(op)) {
        if (!slot)
          slot = AcquireOp::create(b, loc, b.getIndexType());
        CopyOp::create(b, loc, mapping.lookupOrDefault(fetch.getMemref()), mapping.lookupOrDefault(fetch.getRow()),
                       mapping.lookupOrDefault(fetch.getCol()), slot, stages[&from].offsetOf(fetch),
                       fetch.getResult().getType());
      } else if (path.contains(&op)) {
        clonePath(op, b, mapping);
      } else if (needed.contains(&op)) {
        b.clone(op, mapping);
      }
    }
  }

private:
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
    auto made =
        scf::IfOp::create(b, op.getLoc(), mapping.lookupOrDefault(branch.getCondition()), bool(branch.elseBlock()));
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
    function.walk([&](FetchOp fetch) { stages[fetch->getBlock()].add(fetch); });
    if (stages.empty())
      return;
    int64_t bytes = stages.front().second.bytes;
    for (auto &[block, stage] : stages)
      if (stage.bytes != bytes) {
        stage.fetches.front()->emitError() << "expected " << bytes << " bytes in every slot, but got " << stage.bytes;
        return signalPassFailure();
      }
    auto count = function->getAttrOfType<IntegerAttr>(kStages);
    if (!count) {
      function.emitError() << "expected attribute " << kStages;
      return signalPassFailure();
    }
    ProducerSlice slice(function, stages);
    if (failed(slice.collect()))
      return signalPassFailure();
    Block &entry = function.getBody().front();
    OpBuilder b(entry.getTerminator());
    auto roles = RolesOp::create(b, function.getLoc(), count.getInt(), bytes, IntegerAttr());
    Block *producer = b.createBlock(&roles.getProducer());
    IRMapping mapping;
    slice.clone(entry, b, mapping);
    Block *consumer = b.createBlock(&roles.getConsumer());
    auto &ops = entry.getOperations();
    consumer->getOperations().splice(consumer->end(), ops, ops.begin(), Block::iterator(roles));
    (void)producer;
    for (auto &[block, stage] : stages)
      consume(block, stage);
  }

  /// Waits for the slot where the first fetch was, and gives it back after the last use of what it holds.
  static void consume(Block *block, Stage &stage) {
    OpBuilder b(stage.fetches.front());
    auto slot = AwaitOp::create(b, stage.fetches.front()->getLoc(), b.getIndexType());
    Operation *last = slot;
    for (FetchOp fetch : stage.fetches) {
      b.setInsertionPoint(fetch);
      Value staged = StagedOp::create(b, fetch->getLoc(), fetch.getResult().getType(), slot, stage.offsetOf(fetch));
      for (Operation *user : fetch.getResult().getUsers())
        if (Operation *here = block->findAncestorOpInBlock(*user); last->isBeforeInBlock(here))
          last = here;
      fetch.getResult().replaceAllUsesWith(staged);
    }
    b.setInsertionPointAfter(last);
    ReleaseOp::create(b, last->getLoc(), slot);
    for (FetchOp fetch : stage.fetches)
      fetch->erase();
  }
};
} // namespace
