"""vernier: short Python functions over scaled tensors, compiled into fused kernels.

import vernier as vn

@vn.jit
def swiglu_store(x, w):                     # bf16 [M, 2I], f32 [M]
    gate, up = vn.split(x, 2, axis=1)
    h = vn.silu(gate) * up * w[:, None]
    return vn.quantize(h, vn.FP8), vn.quantize(h, vn.MXFP4)
"""

from .arrays import ArraySpec, ScaledSpec, ScaledTensor
from .artifact import Artifact, Kernel, compile
from .bundle import Bundle, BundleFunction, load_bundle
from .dtypes import DType, bfloat16, bool_, float16, float32, int32, int64, uint8
from .errors import CompileError, LaunchError, VernierError
from .formats import FP8, FP8_BLOCK, MXFP4, MXFP8, NVFP4, Format
from .jit import Jit, jit
from .language.ops import (
    abs,
    add,
    cast,
    concat,
    dequantize,
    divide,
    exp,
    gelu,
    grouped_matmul,
    grouped_wgrad,
    log,
    matmul,
    max,
    maximum,
    mean,
    min,
    minimum,
    multiply,
    negative,
    permute,
    power,
    quantize,
    reencoding_losses,
    relu,
    requantize,
    rsqrt,
    sigmoid,
    silu,
    split,
    sqrt,
    subtract,
    sum,
    tanh,
    transpose,
    unpermute,
    where,
)  # fmt: skip
from .torch_ops import torch_op
from .tuning import autotune

__version__ = "0.1.0"

__all__ = [
    "FP8", "FP8_BLOCK", "MXFP4", "MXFP8", "NVFP4", "ArraySpec", "Artifact", "Bundle", "BundleFunction", "CompileError", "DType", "Format", "Jit", "Kernel",
    "LaunchError", "ScaledSpec", "ScaledTensor", "VernierError", "abs", "add", "autotune", "bfloat16", "bool_", "cast", "compile", "concat",
    "dequantize", "divide", "exp", "float16", "float32", "gelu", "grouped_matmul", "grouped_wgrad", "int32", "int64", "jit",
    "load_bundle", "log", "matmul", "max", "maximum", "mean", "min", "minimum", "multiply", "negative", "permute", "power", "quantize",
    "reencoding_losses", "relu", "requantize", "rsqrt", "sigmoid", "silu", "split", "sqrt", "subtract", "sum", "tanh", "torch_op", "transpose", "uint8",
    "unpermute", "where",
]  # fmt: skip
