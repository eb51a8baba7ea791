// What a kernel moves and computes.
#ifndef VERNIER_DIALECTS_MX_ANALYSIS_KERNELCOST_H
#define VERNIER_DIALECTS_MX_ANALYSIS_KERNELCOST_H

#include "dialects/mx/Analysis/KernelPlan.h"

namespace vernier::mx {

/// The machine that costs are estimated for. The defaults are those of one H200 and serve every target: fusion is
/// decided once, and what saves memory traffic there saves it elsewhere.
struct CostModel {
  double bytesPerMicrosecond = 4.25e6;
  double operationsPerMicrosecond = 30e6; ///< FP32 operations outside the tensor cores.
  double launchMicroseconds = 4;
  int64_t elementsAWave = 132 * 256 * 128; ///< of a product's result that all multiprocessors compute together.
  int64_t nominalSize = 8192;              ///< stands for a run-time size.
};

struct KernelCost {
  int64_t bytesRead = 0;
  int64_t bytesWritten = 0;
  int64_t operations = 0;
  int64_t operationsBeside = 0; ///< of what becomes of a product.
  double microseconds = 0;
};

/// Bytes of a value in memory, scales included, with run-time sizes taken as nominal.
int64_t bytesOf(mlir::Type type, const CostModel &model);

KernelCost costOf(const KernelOps &kernel, const CostModel &model);

} // namespace vernier::mx

#endif
