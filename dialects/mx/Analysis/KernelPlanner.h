// How a kernel's plan is found: rows and segments in KernelPlan.cpp, what a product asks for in ProductPlan.cpp.
#ifndef VERNIER_DIALECTS_MX_ANALYSIS_KERNELPLANNER_H
#define VERNIER_DIALECTS_MX_ANALYSIS_KERNELPLANNER_H

#include "dialects/mx/Analysis/KernelPlan.h"

#include <set>

namespace vernier::mx {

inline unsigned rankOf(mlir::Value value) { return unsigned(shapeOf(value.getType()).size()); }
inline std::string nameOf(mlir::Operation *op) { return op->getName().getStringRef().str(); }

/// Walks from the outputs to the operands, asking of each operation what it asks of its operands.
class KernelPlanner {
public:
  KernelPlanner(const KernelOps &kernel, const Sizes &sizes, const KernelRules &rules)
      : kernel(kernel), sizes(sizes), rules(rules) {}

  PlanResult run() {
    bool good = plan();
    return good ? PlanResult{std::move(result), ""} : PlanResult{std::nullopt, std::move(reason)};
  }

private:
  bool refuse(const llvm::Twine &why) {
    if (reason.empty())
      reason = why.str();
    return false;
  }

  bool plan();
  bool planProduct();
  bool planPrologue();
  bool fromProduct(mlir::Value value);
  bool findPanels();
  bool columnsOfProduct(mlir::Value value, int64_t offset, int64_t width, std::set<int64_t> &offsets);
  bool planOutput(mlir::Value output);
  bool demand(mlir::Value value, Role role, bool gathered);
  bool demandOperands(mlir::Operation *op, Role role, bool gathered);
  bool unifyRows(const Size &rows, mlir::Operation *op);
  void noteBlocks(FormatAttr format, bool computed);
  bool aligned(mlir::Value value, int64_t begin, int64_t width);
  const llvm::SmallVector<int64_t> &breaksOf(mlir::Value value);
  unsigned stageOf(mlir::Value value);

  const KernelOps &kernel;
  const Sizes &sizes;
  const KernelRules &rules;
  KernelPlan result;
  std::string reason;
  bool haveRows = false, ungroupedTiles = false;
  mlir::Operation *rowsFrom = nullptr;
  std::optional<Role> haveRank;
  std::optional<Size> haveCols, runTimeCols;
  llvm::DenseSet<mlir::Operation *> visitedRowReductions;
  std::set<std::tuple<void *, int, bool>> visited;
  llvm::DenseMap<mlir::Value, unsigned> stages;
  llvm::DenseMap<mlir::Value, bool> ofProduct;
};

} // namespace vernier::mx

#endif
