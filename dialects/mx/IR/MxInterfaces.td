#ifndef VERNIER_MX_INTERFACES
#define VERNIER_MX_INTERFACES

include "mlir/IR/OpBase.td"

def Mx_DimsInterface : OpInterface<"DimsInterface"> {
  let cppNamespace = "::vernier::mx";
  let description = [{
    Where a run-time size of a result comes from. Every operation of the dialect answers, so that buffers can be sized,
    sizes compared and launches planned without looking at what the operation computes.
  }];
  let methods = [
    InterfaceMethod<"The operand and its dimension that give dimension `dim` of result 0, and what is made of it.",
      "::vernier::mx::DimSource", "getDimSource", (ins "unsigned":$dim)>
  ];
}

def Mx_ReencodingInterface : OpInterface<"ReencodingInterface"> {
  let cppNamespace = "::vernier::mx";
  let description = "An operation that goes from one scaled format to another.";
  let methods = [
    InterfaceMethod<"Whether the decoded values survive for every input.", "bool", "isExact">
  ];
}

def Mx_ProductInterface : OpInterface<"ProductInterface"> {
  let cppNamespace = "::vernier::mx";
  let description = "A matrix product. Fusion and targets ask for the contract, not for the operation.";
  let methods = [
    InterfaceMethod<"The left operand.", "::mlir::Value", "getLeft">,
    InterfaceMethod<"The right operand.", "::mlir::Value", "getRight">,
    InterfaceMethod<"Row offsets of the groups, or null.", "::mlir::Value", "getGroupOffsets">,
    InterfaceMethod<"Whether every other of their ranges of rows belongs to no group.", "bool", "groupsAreSpans">,
    InterfaceMethod<"An FP32 tensor that the product is added to, or null.", "::mlir::Value", "getAddend">,
    InterfaceMethod<"What the sum runs along.", "::vernier::mx::Contraction", "getContraction">
  ];
}

#endif
