// The search behind mx-fuse-kernels: which operations go together.
#ifndef VERNIER_DIALECTS_MX_TRANSFORMS_KERNELCLUSTERS_H
#define VERNIER_DIALECTS_MX_TRANSFORMS_KERNELCLUSTERS_H

#include "dialects/mx/Analysis/KernelCost.h"

#include <vector>

namespace vernier::mx {

/// A kernel to be: its operations, and why its neighbours are not part of it.
struct Cluster {
  KernelOps kernel;
  llvm::SmallVector<std::string> reasons;
};

/// Divides the operations of a block (its terminator apart) into kernels, in an order in which they can run.
std::vector<Cluster> formClusters(mlir::Block &block, const Sizes &sizes, const CostModel &model, const KernelRules &rules);

} // namespace vernier::mx

#endif
