// Lowering of functions over tiles to functions of one thread.
#ifndef VERNIER_COMPILER_CONVERSION_HOPPERTONVVM_PASSES_H
#define VERNIER_COMPILER_CONVERSION_HOPPERTONVVM_PASSES_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

namespace vernier {
#define GEN_PASS_DECL
#define GEN_PASS_REGISTRATION
#include "compiler/Conversion/HopperToNVVM/Passes.h.inc"
} // namespace vernier

#endif
