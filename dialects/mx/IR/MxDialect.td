#ifndef VERNIER_MX_DIALECT
#define VERNIER_MX_DIALECT

include "mlir/IR/OpBase.td"

def Mx_Dialect : Dialect {
  let name = "mx";
  let cppNamespace = "::vernier::mx";
  let summary = "What is computed: tensors with block scales, and the operations over them";
  let description = [{
    The dialect states *what* a microscaling program computes, with value semantics on tensors. It says nothing of
    tiles, threads or memory: that is what the lowerings of a target decide.

    Plain values are builtin tensors and are computed on with upstream `arith` and `math`; the dialect adds what these
    lack: the scaled type, conversions into, out of and between scaled formats, products of scaled operands, row
    movement, block-aware transposes, row reductions, and the kernel region that fusion forms.

    The bits of every conversion are those of the numerics contract: E8M0 scales computed on exponent bits,
    nearest-even elements, a block with NaN or Inf poisoned as a whole, an all-zero block with scale byte 0.

    A function's attribute `mx.product_shape` asks for tiles of its products on a GPU that are not the model's choice: a
    dictionary with any of `warpgroups` (1 or 2), `slabs` (1 or 2), `cols` (32, 64 or 128), `cluster` (1 or 2), `stages` (2 to 12)
    and `band` (1 to 64). It changes no bit of a result.

    A function's unit attribute `mx.tensor_core_sums` asks the host for sums of products of 8-bit codes as Hopper's tensor cores make
    them: 32 products and the sum before them are aligned to the largest exponent (of a product, the sum of its codes', which is -6
    for subnormal ones), with 13 bits below it; the rest is cut off, and so is what the sum has below 13 bits.
  }];
  let useDefaultAttributePrinterParser = 1;
  let useDefaultTypePrinterParser = 1;
  let extraClassDeclaration = [{
    void registerFormat();
    static constexpr ::llvm::StringLiteral kProductShape = "mx.product_shape";
    static constexpr ::llvm::StringLiteral kTensorCoreSums = "mx.tensor_core_sums";
  }];
  let hasOperationAttrVerify = 1;
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::math::MathDialect"];
}

class Mx_Op<string mnemonic, list<Trait> traits = []> : Op<Mx_Dialect, mnemonic, traits>;

#endif
