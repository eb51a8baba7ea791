// How a value lies in memory: one buffer for a tensor, payload and scales for a scaled one.
#ifndef VERNIER_DIALECTS_MX_ANALYSIS_STORAGE_H
#define VERNIER_DIALECTS_MX_ANALYSIS_STORAGE_H

#include "dialects/mx/IR/Mx.h"

namespace vernier::mx {

/// One dimension of a buffer: a logical dimension divided by `divisor`, rounding up; or, for the blocks of grouped
/// rows, rounding down and adding one block for each group.
struct BufferDim {
  unsigned dim;
  int64_t divisor = 1;
  bool grouped = false;
};

struct Buffer {
  enum Part { Data, Payload, Scales, TensorScale } part;
  mlir::Type element; ///< as stored: i8 for codes, scales and booleans.
  llvm::SmallVector<BufferDim> dims;
  llvm::SmallVector<int64_t> shape; ///< static sizes, or kDynamic.
};

/// The buffers of a value, in the order in which kernels take them.
llvm::SmallVector<Buffer> buffersOf(mlir::Type type);

/// The same as memrefs: the types of a kernel's function arguments.
llvm::SmallVector<mlir::Type> memrefsOf(mlir::TypeRange types);

} // namespace vernier::mx

#endif
