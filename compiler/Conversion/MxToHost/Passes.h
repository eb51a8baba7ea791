// Lowering of mx kernels to host loops.
#ifndef VERNIER_COMPILER_CONVERSION_MXTOHOST_PASSES_H
#define VERNIER_COMPILER_CONVERSION_MXTOHOST_PASSES_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

namespace vernier {
#define GEN_PASS_DECL
#define GEN_PASS_REGISTRATION
#include "compiler/Conversion/MxToHost/Passes.h.inc"
} // namespace vernier

#endif
