// Pass hopper-pipeline-loads.
#include "dialects/hopper/Transforms/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/SetVector.h"

namespace vernier::hopper {
#define GEN_PASS_DEF_PIPELINELOADS
#include "dialects/hopper/Transforms/Passes.h.inc"
} // namespace vernier::hopper

using namespace mlir;
using namespace vernier::hopper;

/// Whether an operation loads what nothing writes while the kernel runs.
static bool loadsConstant(Operation *op) {
  auto load = llvm::dyn_cast<LoadOp>(op);
  auto argument = load ? llvm::dyn_cast<BlockArgument>(load.getMemref()) : BlockArgument();
  auto function = argument ? llvm::dyn_cast<func::FuncOp>(argument.getOwner()->getParentOp()) : func::FuncOp();
  return function && function.getArgAttr(argument.getArgNumber(), kReadOnly);
}

/// The operations of the loop's body that `op` needs, in order; false if one of them has effects, reads memory that may change
/// or hangs on what the loop carries.
static bool collect(scf::ForOp loop, Operation *op, llvm::SetVector<Operation *> &needed) {
  for (Value operand : op->getOperands()) {
    if (auto argument = llvm::dyn_cast<BlockArgument>(operand); argument && argument.getOwner() == loop.getBody()) {
      if (argument != loop.getInductionVar())
        return false;
      continue;
    }
    Operation *source = operand.getDefiningOp();
    if (!source || source->getBlock() != loop.getBody() || needed.contains(source))
      continue;
    bool fixed = isMemoryEffectFree(source) || loadsConstant(source);
    if (source->getNumRegions() || !fixed || !collect(loop, source, needed))
      return false;
    needed.insert(source);
  }
  return true;
}

static bool waits(func::FuncOp function) {
  return function
      .walk([](Operation *op) {
        bool meets = llvm::isa<StoreTransposedOp, StoreGatheredOp, LoadScalesOp, PutMadeOp>(op) ||
                     (llvm::isa<ReduceOp>(op) && op->hasAttr("shared"));
        return meets ? WalkResult::interrupt() : WalkResult::advance();
      })
      .wasInterrupted();
}

namespace {
struct PipelineLoads : vernier::hopper::impl::PipelineLoadsBase<PipelineLoads> {
  void runOnOperation() override {
    if (!getOperation()->hasAttr(kLayout) || getOperation()->hasAttr(kLoadsInTime) || !waits(getOperation()))
      return;
    SmallVector<scf::ForOp> loops;
    getOperation().walk([&](scf::ForOp loop) {
      bool innermost = true;
      loop.getBody()->walk([&](scf::ForOp) { innermost = false; });
      if (innermost || !loop.getBody()->getOps<LoadScalesOp>().empty())
        loops.push_back(loop);
    });
    for (scf::ForOp loop : loops)
      pipeline(loop);
  }

  void pipeline(scf::ForOp loop) {
    SmallVector<Operation *> loads;
    llvm::SetVector<Operation *> needed;
    bool scales = !loop.getBody()->getOps<LoadScalesOp>().empty();
    for (Operation &op : *loop.getBody()) {
      if (scales ? !llvm::isa<LoadScalesOp>(op) : !llvm::isa<LoadOp>(op))
        continue;
      Operation *load = &op;
      llvm::SetVector<Operation *> mine = needed;
      if (collect(loop, load, mine)) {
        needed = mine;
        loads.push_back(load);
      }
    }
    if (loads.empty())
      return;
    // In the order of the body: what is needed precedes what needs it.
    SmallVector<Operation *> slice;
    for (Operation &op : *loop.getBody())
      if (needed.contains(&op) || llvm::is_contained(loads, &op))
        slice.push_back(&op);
    OpBuilder b(loop);
    Location loc = loop.getLoc();
    SmallVector<Type> types = llvm::map_to_vector(loads, [](Operation *load) { return load->getResult(0).getType(); });

    auto cloneAt = [&](Value iteration) {
      IRMapping mapping;
      mapping.map(loop.getInductionVar(), iteration);
      for (Operation *op : slice)
        b.clone(*op, mapping);
      return llvm::map_to_vector(loads, [&](Operation *load) { return mapping.lookup(load->getResult(0)); });
    };
    // Beyond the last iteration: nothing, or, of scales, the last ones again.
    auto loadAt = [&](Value iteration) -> SmallVector<Value> {
      if (scales) {
        Value first = loop.getLowerBound(), step = loop.getStep();
        auto number = [&](int64_t v) { return arith::ConstantOp::create(b, loc, b.getIntegerAttr(step.getType(), v)); };
        // A loop without iterations has a bound below its first: what is loaded for it is its first all the same.
        Value span = arith::SubIOp::create(b, loc, arith::SubIOp::create(b, loc, loop.getUpperBound(), number(1)), first);
        span = arith::MaxSIOp::create(b, loc, span, number(0));
        Value steps = arith::MulIOp::create(b, loc, arith::DivUIOp::create(b, loc, span, step), step);
        return cloneAt(arith::MinUIOp::create(b, loc, iteration, arith::AddIOp::create(b, loc, first, steps)));
      }
      Value exists = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ult, iteration, loop.getUpperBound());
      auto branch = scf::IfOp::create(b, loc, types, exists, /*withElseRegion=*/true);
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPointToStart(branch.thenBlock());
      scf::YieldOp::create(b, loc, cloneAt(iteration));
      b.setInsertionPointToStart(branch.elseBlock());
      scf::YieldOp::create(b, loc, llvm::map_to_vector(types, [&](Type type) -> Value {
                             return arith::ConstantOp::create(b, loc, b.getZeroAttr(type));
                           }));
      return SmallVector<Value>(branch.getResults());
    };

    // The values of iteration i + a travel as the loop's carried values a * loads + l; those of a = 0 are this iteration's.
    // As many as a few registers hold. Words that serve several iterations, those of a loop inside, are early enough as the
    // next.
    constexpr int64_t mostAhead = 3, mostHeld = 12;
    int64_t count = loads.size();
    bool several = !loop.getBody()->getOps<scf::ForOp>().empty();
    int64_t distance = scales && !several ? std::clamp<int64_t>(mostHeld / count, 1, mostAhead) : 1;
    SmallVector<Value> initial(loop.getInitArgs());
    Value iteration = loop.getLowerBound();
    for (int64_t a = 0; a < distance; ++a) {
      llvm::append_range(initial, loadAt(iteration));
      iteration = arith::AddIOp::create(b, loc, iteration, loop.getStep());
    }
    unsigned carried = loop.getInitArgs().size();
    auto ahead = scf::ForOp::create(b, loc, loop.getLowerBound(), loop.getUpperBound(), loop.getStep(), initial);
    b.setInsertionPointToStart(ahead.getBody());
    Value next = ahead.getInductionVar();
    for (int64_t a = 0; a < distance; ++a)
      next = arith::AddIOp::create(b, loc, next, loop.getStep());
    // The slice is cloned while it still belongs to the old loop.
    SmallVector<Value> nextLoads = loadAt(next);
    SmallVector<Value> yielded(loop.getBody()->getTerminator()->getOperands());
    llvm::append_range(yielded, ahead.getRegionIterArgs().drop_front(carried + count));
    llvm::append_range(yielded, nextLoads);
    for (auto [i, load] : llvm::enumerate(loads)) {
      load->getResult(0).replaceAllUsesWith(ahead.getRegionIterArg(carried + i));
      load->erase();
    }
    loop.getInductionVar().replaceAllUsesWith(ahead.getInductionVar());
    for (unsigned i = 0; i < carried; ++i)
      loop.getRegionIterArg(i).replaceAllUsesWith(ahead.getRegionIterArg(i));
    loop.getBody()->getTerminator()->erase();
    ahead.getBody()->getOperations().splice(ahead.getBody()->end(), loop.getBody()->getOperations());
    b.setInsertionPointToEnd(ahead.getBody());
    scf::YieldOp::create(b, loc, yielded);
    for (unsigned i = 0; i < carried; ++i)
      loop.getResult(i).replaceAllUsesWith(ahead.getResult(i));
    loop.erase();
  }
};
} // namespace
