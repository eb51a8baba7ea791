// Functions of real numbers with what sm_90a has.
#ifndef VERNIER_COMPILER_CONVERSION_HOPPERTONVVM_DEVICEMATH_H
#define VERNIER_COMPILER_CONVERSION_HOPPERTONVVM_DEVICEMATH_H

#include "compiler/Conversion/Lanes/Lanes.h"

namespace vernier::simt {

/// The lanes of an operation that needs more than its own name on this target, or null. Results of functions that
/// are not correctly rounded stay within 2 ulp of FP32.
mlir::Value deviceMath(Lanes &lanes, mlir::Operation &op, llvm::ArrayRef<mlir::Value> operands);

} // namespace vernier::simt

#endif
