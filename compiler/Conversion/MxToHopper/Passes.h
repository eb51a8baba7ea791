// Lowering of mx kernels to functions over tiles.
#ifndef VERNIER_COMPILER_CONVERSION_MXTOHOPPER_PASSES_H
#define VERNIER_COMPILER_CONVERSION_MXTOHOPPER_PASSES_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

namespace vernier {
#define GEN_PASS_DECL
#define GEN_PASS_REGISTRATION
#include "compiler/Conversion/MxToHopper/Passes.h.inc"
} // namespace vernier

#endif
