#include "dialects/mx/Transforms/KernelClusters.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/FormatVariadic.h"

#include <set>

using namespace mlir;
using namespace vernier::mx;

namespace {
class Search {
public:
  Search(Block &block, const Sizes &sizes, const CostModel &model, const KernelRules &rules)
      : sizes(sizes), model(model), rules(rules) {
    for (auto [i, op] : llvm::enumerate(block.without_terminator()))
      order[&op] = i;
    for (auto &[op, i] : order)
      if (!isFree(op))
        clusters.push_back({make({op}), {}});
    llvm::sort(clusters, [&](const Cluster &a, const Cluster &b) { return first(a) < first(b); });
  }

  std::vector<Cluster> run() {
    if (rules.fuse) {
      chain();
      join();
      recompute();
    }
    schedule();
    if (rules.fuse)
      explain();
    return std::move(clusters);
  }

private:
  /// Costs nothing and reads nothing of size: copied into every kernel that uses it.
  static bool isFree(Operation *op) { return llvm::isa<arith::ConstantOp>(op); }

  unsigned first(const Cluster &cluster) { return order[cluster.kernel.ops.front()]; }

  /// Adds constants, orders, finds outputs. `owner` says which copy of a value others read: the cluster that was first
  /// given the operation.
  KernelOps make(ArrayRef<Operation *> ops, const llvm::DenseSet<Operation *> *copies = nullptr) {
    llvm::SetVector<Operation *> all(ops.begin(), ops.end());
    for (unsigned i = 0; i < all.size(); ++i)
      for (Value operand : all[i]->getOperands())
        if (Operation *source = operand.getDefiningOp(); source && isFree(source))
          all.insert(source);
    SmallVector<Operation *> sorted(all.begin(), all.end());
    llvm::sort(sorted, [&](Operation *a, Operation *b) { return order[a] < order[b]; });
    KernelOps kernel;
    kernel.ops.insert(sorted.begin(), sorted.end());
    for (Operation *op : sorted) {
      if (isFree(op) || (copies && copies->contains(op)))
        continue;
      for (Value result : op->getResults())
        if (llvm::any_of(result.getUsers(), [&](Operation *user) { return !kernel.ops.contains(user); }))
          kernel.outputs.push_back(result);
    }
    return kernel;
  }

  KernelOps unite(const Cluster &a, const Cluster &b) {
    SmallVector<Operation *> ops(a.kernel.ops.begin(), a.kernel.ops.end());
    llvm::append_range(ops, b.kernel.ops);
    return make(ops);
  }

  /// A path from `from` to `to` through an operation of neither: joining them would close a cycle.
  bool pathOutside(const KernelOps &from, const KernelOps &to) {
    llvm::DenseSet<Operation *> seen;
    SmallVector<Operation *> queue;
    auto push = [&](Operation *op) {
      for (Operation *user : op->getUsers())
        if (!from.ops.contains(user) && !to.ops.contains(user) && seen.insert(user).second)
          queue.push_back(user);
    };
    for (Operation *op : from.ops)
      if (!isFree(op))
        push(op);
    // An operation reached stands for its whole cluster.
    while (!queue.empty()) {
      Operation *op = queue.pop_back_val();
      for (Operation *user : op->getUsers())
        if (to.ops.contains(user) && !isFree(user))
          return true;
      push(op);
      for (const Cluster &cluster : clusters)
        if (cluster.kernel.ops.contains(op))
          for (Operation *sibling : cluster.kernel.ops)
            if (!isFree(sibling) && seen.insert(sibling).second)
              queue.push_back(sibling);
    }
    return false;
  }

  struct Union {
    KernelOps kernel;
    double saved = 0;
    std::string reason;
  };

  Union tryUnion(const Cluster &a, const Cluster &b) {
    if (pathOutside(a.kernel, b.kernel) || pathOutside(b.kernel, a.kernel))
      return {{}, 0, "another kernel lies between them"};
    KernelOps kernel = unite(a, b);
    PlanResult plan = planKernel(kernel, sizes, rules);
    if (!plan.plan)
      return {{}, 0, plan.reason};
    double apart = costOf(a.kernel, model).microseconds + costOf(b.kernel, model).microseconds;
    double together = costOf(kernel, model).microseconds;
    if (together >= apart) {
      const char *what = kernel.product() ? "holding up a product would cost more than a kernel apart"
                                          : "computing rows again would cost more than it saves";
      return {{}, 0, llvm::formatv("{0} ({1:F1} against {2:F1} us)", what, together, apart)};
    }
    return {std::move(kernel), apart - together, ""};
  }

  /// A first round in program order: each operation joins the kernels that feed it, where that is possible and saves
  /// time. It leaves the search below with few candidates however long the function is. Products are left to that search:
  /// whether what becomes of one is worth holding it up for is seen only when all of it is there.
  void chain() {
    std::vector<Cluster> singles = std::move(clusters);
    clusters.clear();
    for (Cluster &single : singles) {
      clusters.push_back(std::move(single));
      bool joined = true;
      while (joined) {
        joined = false;
        Cluster &mine = clusters.back();
        llvm::SmallSetVector<size_t, 4> feeding;
        for (Operation *op : mine.kernel.ops)
          for (Value operand : op->getOperands())
            for (size_t i = 0; i + 1 < clusters.size(); ++i)
              if (operand.getDefiningOp() && !isFree(operand.getDefiningOp()) &&
                  clusters[i].kernel.ops.contains(operand.getDefiningOp()) && !clusters[i].kernel.product())
                feeding.insert(i);
        for (size_t i : feeding) {
          Union result = tryUnion(clusters[i], clusters.back());
          if (result.saved <= 0)
            continue;
          clusters.back().kernel = std::move(result.kernel);
          clusters.erase(clusters.begin() + i);
          joined = true;
          break;
        }
      }
    }
  }

  void join() {
    while (true) {
      Union best;
      std::pair<unsigned, unsigned> where;
      for (unsigned i = 0; i < clusters.size(); ++i)
        for (unsigned j = i + 1; j < clusters.size(); ++j) {
          auto key = std::pair(keyOf(clusters[i]), keyOf(clusters[j]));
          auto known = tried.find(key);
          double saved = known == tried.end() ? -1 : known->second;
          if (saved == 0 || (saved > 0 && saved <= best.saved))
            continue;
          Union result = tryUnion(clusters[i], clusters[j]);
          // A path outside may vanish when its kernel joins; every other refusal lasts.
          if (result.reason != "another kernel lies between them")
            tried[key] = result.saved;
          if (result.saved > best.saved) {
            best = std::move(result);
            where = {i, j};
          }
        }
      if (best.saved <= 0)
        return;
      clusters[where.first].kernel = std::move(best.kernel);
      clusters.erase(clusters.begin() + where.second);
    }
  }

  static std::vector<void *> keyOf(const Cluster &cluster) { return {cluster.kernel.ops.begin(), cluster.kernel.ops.end()}; }

  /// Computes a value again in the kernel that reads it where that is cheaper than writing and reading it.
  void recompute() {
    for (Cluster &producer : clusters)
      for (Value value : SmallVector<Value>(producer.kernel.outputs))
        tryRecompute(producer, value);
  }

  void tryRecompute(Cluster &producer, Value value) {
    SmallVector<Cluster *> readers;
    for (Operation *user : value.getUsers()) {
      if (user->hasTrait<OpTrait::IsTerminator>())
        return;
      for (Cluster &cluster : clusters)
        if (&cluster != &producer && cluster.kernel.ops.contains(user) && !llvm::is_contained(readers, &cluster))
          readers.push_back(&cluster);
    }
    if (readers.empty())
      return;
    llvm::DenseSet<Operation *> closure{value.getDefiningOp()};
    SmallVector<Operation *> queue{value.getDefiningOp()};
    while (!queue.empty())
      for (Value operand : queue.pop_back_val()->getOperands())
        if (Operation *op = operand.getDefiningOp(); op && producer.kernel.ops.contains(op) && closure.insert(op).second)
          queue.push_back(op);
    KernelOps without = producer.kernel;
    llvm::erase(without.outputs, value);
    if (without.outputs.empty())
      return;
    double before = costOf(producer.kernel, model).microseconds, after = costOf(without, model).microseconds;
    SmallVector<KernelOps> extended;
    for (Cluster *reader : readers) {
      SmallVector<Operation *> ops(reader->kernel.ops.begin(), reader->kernel.ops.end());
      llvm::append_range(ops, closure);
      llvm::DenseSet<Operation *> copies;
      for (Operation *op : closure)
        if (!reader->kernel.ops.contains(op))
          copies.insert(op);
      KernelOps kernel = make(ops, &copies);
      kernel.outputs = reader->kernel.outputs;
      if (!planKernel(kernel, sizes, rules).plan)
        return;
      before += costOf(reader->kernel, model).microseconds;
      after += costOf(kernel, model).microseconds;
      extended.push_back(std::move(kernel));
    }
    if (after >= before)
      return;
    producer.kernel = pruned(without);
    for (auto [reader, kernel] : llvm::zip(readers, extended))
      reader->kernel = std::move(kernel);
  }

  /// Without the operations that no output needs any more.
  KernelOps pruned(const KernelOps &kernel) {
    llvm::DenseSet<Operation *> live;
    SmallVector<Operation *> queue;
    auto need = [&](Value value) {
      if (Operation *op = value.getDefiningOp(); op && kernel.ops.contains(op) && live.insert(op).second)
        queue.push_back(op);
    };
    llvm::for_each(kernel.outputs, need);
    while (!queue.empty())
      llvm::for_each(queue.pop_back_val()->getOperands(), need);
    KernelOps result;
    for (Operation *op : kernel.ops)
      if (live.contains(op))
        result.ops.insert(op);
    result.outputs = kernel.outputs;
    return result;
  }

  bool feeds(const Cluster &producer, const Cluster &consumer) {
    return llvm::any_of(producer.kernel.outputs, [&](Value output) {
      return llvm::any_of(consumer.kernel.ops, [&](Operation *op) { return llvm::is_contained(op->getOperands(), output); }) &&
             !consumer.kernel.contains(output);
    });
  }

  /// Stable topological order.
  void schedule() {
    std::vector<Cluster> rest = std::move(clusters);
    clusters.clear();
    while (!rest.empty()) {
      auto ready = llvm::find_if(rest, [&](Cluster &candidate) {
        return llvm::none_of(rest, [&](Cluster &other) { return &other != &candidate && feeds(other, candidate); });
      });
      assert(ready != rest.end() && "kernels form a cycle");
      clusters.push_back(std::move(*ready));
      rest.erase(ready);
    }
  }

  bool shareInput(const Cluster &a, const Cluster &b) {
    auto inputs = [](const Cluster &cluster) {
      llvm::DenseSet<Value> result;
      for (Operation *op : cluster.kernel.ops)
        for (Value operand : op->getOperands())
          if (!cluster.kernel.contains(operand))
            result.insert(operand);
      return result;
    };
    llvm::DenseSet<Value> left = inputs(a);
    return llvm::any_of(inputs(b), [&](Value value) { return left.contains(value); });
  }

  void explain() {
    for (unsigned j = 0; j < clusters.size(); ++j) {
      std::set<std::string> seen;
      for (unsigned i = 0; i < j; ++i)
        if (feeds(clusters[i], clusters[j]) || shareInput(clusters[i], clusters[j]))
          if (std::string reason = tryUnion(clusters[i], clusters[j]).reason; !reason.empty()) {
            std::string line = "apart from kernel " + std::to_string(i) + ": " + reason;
            if (seen.insert(line).second)
              clusters[j].reasons.push_back(line);
          }
    }
  }

  const Sizes &sizes;
  const CostModel &model;
  const KernelRules &rules;
  llvm::DenseMap<Operation *, unsigned> order;
  std::vector<Cluster> clusters;
  std::map<std::pair<std::vector<void *>, std::vector<void *>>, double> tried;
};
} // namespace

std::vector<Cluster> vernier::mx::formClusters(Block &block, const Sizes &sizes, const CostModel &model,
                                               const KernelRules &rules) {
  return Search(block, sizes, model, rules).run();
}
