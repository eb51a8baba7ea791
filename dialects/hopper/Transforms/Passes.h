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

/// The shifts of `hopper.store_transposed` for a tile with `bits` an element.
llvm::SmallVector<int64_t> chooseSwizzle(LayoutAttr layout, int64_t bits);
/// The most lanes of a warp that meet in one bank, for writes plus for reads, with these shifts: 2 is none.
int64_t bankConflicts(LayoutAttr layout, int64_t bits, llvm::ArrayRef<int64_t> swizzle);
} // namespace vernier::hopper

#endif
