#ifndef VERNIER_HOPPER_PASSES
#define VERNIER_HOPPER_PASSES

include "mlir/Pass/PassBase.td"

def AllocateShared : Pass<"hopper-allocate-shared", "::mlir::func::FuncOp"> {
  let summary = "gives operations that meet in shared memory their bytes";
  let description = [{
    Every such operation has bytes of its own, and the function's attribute `hopper.shared` says how many there are. An
    operation writes, waits for all threads and reads; another operation's wait in between keeps the next writes off the last
    reads. Where there is none, in the innermost loop around it, the operation is marked `alone`. A tile that is stored transposed
    also gets its swizzle: the exclusive-or of one or two shifted column numbers that makes the fewest bank conflicts for the
    writes and reads that the layout implies, found by counting them.

    Before: `hopper.store_transposed %v to %m at %c, %r : vector<128x128xf8E4M3FN>, memref<128x?xi8>`;
    after: `... shared 0 swizzle [4, 1, 0, 0] ...`
  }];
  let dependentDialects = ["::vernier::hopper::HopperDialect"];
}

def PipelineLoads : Pass<"hopper-pipeline-loads", "::mlir::func::FuncOp"> {
  let summary = "loads of the next iteration before the work of this one";
  let description = [{
    In functions whose threads wait for one another, every innermost loop's loads whose addresses follow from the induction
    variable alone move one iteration ahead: memory then works while threads wait. The tiles travel as values of the loop, in
    registers.

    Before:
    ```mlir
    scf.for %i = %a to %b step %s {
      %x = hopper.load ...[%i]
      ... %x ...
    }
    ```
    after:
    ```mlir
    %x0 = scf.if %a < %b { hopper.load ...[%a] } else { zeros }
    scf.for %i = %a to %b step %s iter_args(%x = %x0) {
      %next = scf.if %i + %s < %b { hopper.load ...[%i + %s] } else { zeros }
      ... %x ...
      scf.yield %next
    }
    ```
  }];
  let dependentDialects = ["::vernier::hopper::HopperDialect", "::mlir::arith::ArithDialect", "::mlir::scf::SCFDialect"];
}

#endif
