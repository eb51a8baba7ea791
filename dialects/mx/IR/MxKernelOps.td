// The unit of launch.
#ifndef VERNIER_MX_KERNEL_OPS
#define VERNIER_MX_KERNEL_OPS

include "dialects/mx/IR/MxTypes.td"
include "mlir/Interfaces/ControlFlowInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"
include "mlir/IR/OpAsmInterface.td"

def Mx_KernelOp : Mx_Op<"kernel", [IsolatedFromAbove, SingleBlock,
    RecursiveMemoryEffects, OpAsmOpInterface]> {
  let summary = "operations that run as one launch";
  let description = [{
    The region computes the results from the operands; what happens inside touches memory only through them. `reasons`
    says why the kernel does not also hold its neighbours, for `explain`.

    Constraints:
    1. block arguments match the operands and yielded values match the results, by type.

    Example:

    ```mlir
    %q = mx.kernel @cast(%arg = %x : tensor<?x64xbf16>) -> tensor<?x64xf32> {
      %y = arith.extf %arg : tensor<?x64xbf16> to tensor<?x64xf32>
      mx.yield %y : tensor<?x64xf32>
    }
    ```
  }];
  let arguments = (ins StrAttr:$name, Variadic<Mx_Value>:$operands, OptionalAttr<StrArrayAttr>:$reasons);
  let results = (outs Variadic<Mx_Value>:$results);
  let regions = (region SizedRegion<1>:$body);
  let hasCustomAssemblyFormat = 1;
  let hasVerifier = 1;
}

def Mx_YieldOp : Mx_Op<"yield", [Pure, Terminator, HasParent<"KernelOp">, ReturnLike]> {
  let summary = "the results of a kernel";
  let description = [{
    Ends the region of `mx.kernel`.

    Example:

    ```mlir
    mx.yield %y : tensor<?x64xf32>
    ```
  }];
  let arguments = (ins Variadic<Mx_Value>:$values);
  let assemblyFormat = "($values^ `:` type($values))? attr-dict";
}

#endif
