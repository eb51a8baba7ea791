#ifndef VERNIER_HOPPER_PASSES
#define VERNIER_HOPPER_PASSES

include "mlir/Pass/PassBase.td"

def SpecializeWarps : Pass<"hopper-specialize-warps", "::mlir::func::FuncOp"> {
  let summary = "some warps fetch, the others compute";
  let description = [{
    A function with `hopper.fetch` becomes `hopper.roles`. The sides that fetch tiles and scales get the loops and branches
    around their fetches and the index arithmetic that they need, nothing else (`hopper.prefetch` goes to the side of the
    tiles); the side that computes gets all but the fetches. The fetches of one block share a slot
    of the ring, whose number of slots is the function's attribute `hopper.stages`; what they fetch must not hang on values
    that a loop carries, since those sides run ahead. Where scales come in words that serve several iterations of a loop, these
    become a loop of their own on the side of the scales, and the words are loaded ahead of it. What stands in `hopper.finish`
    goes to a side of its own, and tiles are passed to it. Where there is `hopper.make`, the side of the scales is a whole warpgroup
    that makes tiles part by part and starts the copies of the others too.

    Before:
    ```mlir
    %r = scf.for %k = ... iter_args(%acc = %zero) {
      %a = hopper.fetch %m[%row, %k] ...
      %p = hopper.multiply %a depth 128, %b ...
    }
    ```
    after:
    ```mlir
    hopper.roles stages 4 bytes 32768 tiles 32768 tiles {
      scf.for %k = ... { %s = hopper.acquire; hopper.copy %m[%row, %k] to %s at 0 ... }
    } scales {
    } compute {
      %r = scf.for %k = ... iter_args(%acc = %zero) {
        %s = hopper.await
        %a = hopper.staged %s at 0
        %p = hopper.multiply %a depth 128, %b ...
        hopper.release %s
      }
    }
    ```
  }];
  let dependentDialects = ["::vernier::hopper::HopperDialect", "::mlir::scf::SCFDialect"];
}

def UnrollRing : Pass<"hopper-unroll-ring", "::mlir::func::FuncOp"> {
  let summary = "several slots of the ring in one iteration of the loop that computes";
  let description = [{
    A loop that waits for a slot in every iteration, and makes a known number of them, makes fewer with several slots each: what
    belongs to the next slot, its addresses and whether it is full, is then found among the sums of the one before. Where a slot
    has one product alone, the time of the loop is that of waiting for it: the products of several slots are then begun before
    the first is awaited (`hopper.begin_product`).

    Before: `scf.for %k = %c0 to %c4096 step %c128 { %s = hopper.await ... hopper.release %s }`;
    after: `scf.for %k = %c256 to %c4096 step %c256 { ... }`, with twice the body, and one body ahead of it whose sums start from
    constants.
  }];
  let dependentDialects = ["::vernier::hopper::HopperDialect", "::mlir::arith::ArithDialect", "::mlir::scf::SCFDialect"];
}

def NestReductions : Pass<"hopper-nest-reductions", "::mlir::func::FuncOp"> {
  let summary = "coarse reductions from finer ones of the same tile";
  let description = [{
    A value that is scaled in blocks of several shapes is reduced once for each. Where the blocks of one shape are made of those of
    another, its maximum (or minimum) is that of the other's results, which threads have found already. Sums stay: their order is
    part of their value.

    Before:
    ```mlir
    %a = hopper.reduce amax %x : vector<4x2048xbf16> -> vector<4x16xi32>
    %b = hopper.reduce amax %x : vector<4x2048xbf16> -> vector<4x64xi32>
    ```
    after:
    ```mlir
    %b = hopper.reduce amax %x : vector<4x2048xbf16> -> vector<4x64xi32>
    %a = hopper.reduce umax %b : vector<4x64xi32> -> vector<4x16xi32>
    ```
  }];
  let dependentDialects = ["::vernier::hopper::HopperDialect"];
}

def AllocateShared : Pass<"hopper-allocate-shared", "::mlir::func::FuncOp"> {
  let summary = "gives operations that meet in shared memory their bytes";
  let description = [{
    Every such operation has bytes of its own, and the function's attribute `hopper.shared` says how many there are. An
    operation writes, waits for all threads and reads; another operation's wait in between keeps the next writes off the last
    reads. Where there is none, in the innermost loop around it, the operation is marked `alone`. A tile that is stored transposed
    also gets its padding: the words between the columns of one thread and those of the next with which the writes and reads that
    the layout implies take the fewest cycles, found by counting bank conflicts. Tiles that are passed on take turns in the first
    bytes, the ring of `hopper.roles` lies behind them and before all others.

    Before: `hopper.store_transposed %v to %m at %c, %r : vector<128x128xf8E4M3FN>, memref<128x?xi8>`;
    after: `... shared 0 padding 4 ...`
  }];
  let dependentDialects = ["::vernier::hopper::HopperDialect"];
}

def PipelineLoads : Pass<"hopper-pipeline-loads", "::mlir::func::FuncOp"> {
  let summary = "loads of the next iteration before the work of this one";
  let description = [{
    In functions whose threads wait for one another, and have registers for it (not `hopper.loads_in_time`), every innermost
    loop's loads whose addresses follow from the induction variable alone move one iteration ahead: memory then works while
    threads wait. Scales, which wait behind tiles that are fetched, move several ahead, and words of them, which serve an inner
    loop, one. The tiles travel as values of the loop, in registers.

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
