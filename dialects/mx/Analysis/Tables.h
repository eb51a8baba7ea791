// Functions of 16-bit numbers that are dear to compute: a kernel may find their results once, and look them up.
#ifndef VERNIER_DIALECTS_MX_ANALYSIS_TABLES_H
#define VERNIER_DIALECTS_MX_ANALYSIS_TABLES_H

#include "dialects/mx/Analysis/KernelPlan.h"

namespace vernier::mx {

/// FP32 matrices of a kernel that are elementwise functions of one bf16 matrix, and take long to compute.
struct Tables {
  struct Lookup {
    mlir::Value argument; ///< the bf16 matrix.
    unsigned function;
  };
  /// Each by the first value that has it. Values are numbered alike where their operations are the same.
  llvm::SmallVector<mlir::Value> functions;
  llvm::MapVector<mlir::Value, Lookup> lookups;

  static Tables of(const KernelOps &kernel);
};

} // namespace vernier::mx

#endif
