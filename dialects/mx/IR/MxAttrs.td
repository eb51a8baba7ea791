#ifndef VERNIER_MX_ATTRS
#define VERNIER_MX_ATTRS

include "dialects/mx/IR/MxDialect.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"

def Mx_ScaleRule : I32EnumAttr<"ScaleRule", "how the scale of a block follows from its largest magnitude", [
    I32EnumAttrCase<"Floor", 0, "floor">, I32EnumAttrCase<"Even", 1, "even">, I32EnumAttrCase<"Ceil", 2, "ceil">,
    I32EnumAttrCase<"Nearest", 3, "nearest">]> {
  let cppNamespace = "::vernier::mx";
}

def Mx_Rounding : I32EnumAttr<"Rounding", "how an element is rounded", [
    I32EnumAttrCase<"NearestEven", 0, "nearest_even">, I32EnumAttrCase<"Stochastic", 1, "stochastic">]> {
  let cppNamespace = "::vernier::mx";
}

def Mx_ReduceKind : I32EnumAttr<"ReduceKind", "what a reduction computes", [
    I32EnumAttrCase<"Sum", 0, "sum">, I32EnumAttrCase<"Max", 1, "max">, I32EnumAttrCase<"Min", 2, "min">]> {
  let cppNamespace = "::vernier::mx";
}

class Mx_Attr<string name, string mnemonic_> : AttrDef<Mx_Dialect, name> {
  let mnemonic = mnemonic_;
}

def Mx_FormatAttr : Mx_Attr<"Format", "format"> {
  let summary = "a block format: element, block, scale and the rule that sets the scale";
  let description = [{
    `block` is rows x columns: `1x32` runs along a row, `128x1` down a column, `128x128` is a tile. The decoded value of
    an element is `element * scale`, with an E8M0 scale byte b meaning 2^(b-127) and byte 255 meaning NaN.

    | name | attribute |
    | --- | --- |
    | FP8 | `#mx.format<f8E4M3FN, 1x128, f8E8M0FNU, ceil>` |
    | FP8_BLOCK | `#mx.format<f8E4M3FN, 128x128, f8E8M0FNU, ceil>` |
    | MXFP8 | `#mx.format<f8E4M3FN, 1x32, f8E8M0FNU, floor>` |
    | MXFP4 | `#mx.format<f4E2M1FN, 1x32, f8E8M0FNU, floor>` |
    | NVFP4 | `#mx.format<f4E2M1FN, 1x16, f8E4M3FN, nearest>` |

    A scale of type `f8E4M3FN` (rule `nearest`) is relative to one FP32 scale of the whole tensor.

    Constraints:
    1. the element is `f8E4M3FN` or `f4E2M1FN`, the scale `f8E8M0FNU` or `f8E4M3FN`;
    2. both sides of the block are powers of two in [1, 128], and one of them is more than 1;
    3. an `f8E8M0FNU` scale takes `floor`, `even` or `ceil`; an `f8E4M3FN` scale takes `nearest` and blocks along rows.
  }];
  let parameters = (ins "::mlir::Type":$element, "int64_t":$blockRows, "int64_t":$blockCols, "::mlir::Type":$scale,
                    "::vernier::mx::ScaleRule":$rule);
  let assemblyFormat = "`<` $element `,` custom<Block>($blockRows, $blockCols) `,` $scale `,` custom<Rule>($rule) `>`";
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    /// Width of one element in bits: 8 or 4.
    unsigned getElementBits() const { return getElement().getIntOrFloatBitWidth(); }
    bool isPacked() const { return getElementBits() == 4; }
    /// The block runs along a row only / down a column only.
    bool isRowBlocked() const { return getBlockRows() == 1; }
    bool isColumnBlocked() const { return getBlockCols() == 1; }
    /// The scale multiplies one FP32 scale of the whole tensor.
    bool hasTensorScale() const { return getRule() == ScaleRule::Nearest; }
    /// The same format with the block turned by 90 degrees.
    FormatAttr transposed() const;
  }];
}

#endif
