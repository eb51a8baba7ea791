// Passes over the mx dialect.
#ifndef VERNIER_DIALECTS_MX_TRANSFORMS_PASSES_H
#define VERNIER_DIALECTS_MX_TRANSFORMS_PASSES_H

#include "dialects/mx/IR/Mx.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/Pass.h"

namespace vernier::mx {
#define GEN_PASS_DECL
#define GEN_PASS_REGISTRATION
#include "dialects/mx/Transforms/Passes.h.inc"
} // namespace vernier::mx

#endif
