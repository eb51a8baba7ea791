// Passes over functions on tiles.
#ifndef VERNIER_DIALECTS_HOPPER_TRANSFORMS_PASSES_H
#define VERNIER_DIALECTS_HOPPER_TRANSFORMS_PASSES_H

#include "dialects/hopper/IR/Hopper.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/Pass.h"

namespace vernier::hopper {
#define GEN_PASS_DECL
#define GEN_PASS_REGISTRATION
#include "dialects/hopper/Transforms/Passes.h.inc"
} // namespace vernier::hopper

#endif
