#ifndef VERNIER_HOPPER_PASSES
#define VERNIER_HOPPER_PASSES

include "mlir/Pass/PassBase.td"

def AllocateShared : Pass<"hopper-allocate-shared", "::mlir::func::FuncOp"> {
  let summary = "gives operations that meet in shared memory their bytes";
  let description = [{
    Operations of one function use shared memory one after the other, with barriers around each, so all begin at offset 0; the
    function's attribute `hopper.shared` says how many bytes the largest needs. A tile that is stored transposed
    also gets its swizzle: the exclusive-or of one or two shifted column numbers that makes the fewest bank conflicts for the
    writes and reads that the layout implies, found by counting them.

    Before: `hopper.store_transposed %v to %m at %c, %r : vector<128x128xf8E4M3FN>, memref<128x?xi8>`;
    after: `... shared 0 swizzle [4, 1, 0, 0] ...`
  }];
  let dependentDialects = ["::vernier::hopper::HopperDialect"];
}

#endif
