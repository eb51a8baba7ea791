#ifndef VERNIER_MX_TYPES
#define VERNIER_MX_TYPES

include "dialects/mx/IR/MxAttrs.td"

def Mx_ScaledType : TypeDef<Mx_Dialect, "Scaled"> {
  let mnemonic = "scaled";
  let summary = "a tensor whose elements share a scale per block";
  let description = [{
    `!mx.scaled<?x4096, #mx.format<...>>` is a payload of element codes and one scale a block, as one value. The last
    two dimensions are rows and columns; a leading third one counts matrices (the experts' weights).

    In memory it is two buffers: the payload (one byte an E4M3 element; two E2M1 codes a byte, the even column in the
    low nibble) and the scales, `[ceil(rows / blockRows), ceil(columns / blockCols)]`, one byte each. A format with a
    tensor scale has a third, one FP32 number. A tensor whose rows are split into groups (see `mx.transpose`) keeps a
    spare block for every group.

    Constraints:
    1. rank 2 or 3;
    2. a packed row holds whole bytes: a static number of columns of a 4-bit element is even.
  }];
  let parameters = (ins ArrayRefParameter<"int64_t">:$shape, "::vernier::mx::FormatAttr":$format,
                    DefaultValuedParameter<"bool", "false">:$grouped);
  let assemblyFormat = "`<` custom<Dims>($shape) `,` $format `` custom<Grouped>($grouped) `>`";
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    int64_t getRank() const { return getShape().size(); }
    int64_t getRows() const { return getShape()[getRank() - 2]; }
    int64_t getCols() const { return getShape()[getRank() - 1]; }
  }];
}

def Mx_Plain : AnyTypeOf<[RankedTensorOf<[F32, BF16, F16, I32, I64, I8, I1]>]>;
def Mx_Real : RankedTensorOf<[F32, BF16, F16]>;
def Mx_Index : 1DTensorOf<[I32]>;
def Mx_Value : AnyTypeOf<[Mx_Plain, Mx_ScaledType]>;

#endif
