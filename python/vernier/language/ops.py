"""All public operations in one place."""

from .conversions import dequantize, quantize, reencoding_losses, requantize
from .elementwise import (
    abs,
    add,
    cast,
    divide,
    exp,
    gelu,
    log,
    maximum,
    minimum,
    multiply,
    negative,
    power,
    relu,
    rsqrt,
    sigmoid,
    silu,
    sqrt,
    subtract,
    tanh,
    where,
)  # fmt: skip
from .movement import concat, permute, slice_columns, split, transpose, unpermute
from .products import grouped_matmul, grouped_wgrad, matmul
from .reductions import max, mean, min, sum

__all__ = [
    "abs", "add", "cast", "concat", "dequantize", "divide", "exp", "gelu", "grouped_matmul", "grouped_wgrad", "log",
    "matmul", "max", "maximum", "mean", "min", "minimum", "multiply", "negative", "permute", "power", "quantize",
    "reencoding_losses", "relu", "requantize", "rsqrt", "sigmoid", "silu", "slice_columns", "split", "sqrt", "subtract",
    "sum", "tanh", "transpose", "unpermute", "where",
]  # fmt: skip
