"""NumPy reference of every scaled operation: written to be read, and sharing nothing with the compiler.

Everything goes through exact values: a code is decoded to float64, in which every code, every scale and every product of
the two is exact, and rounding is a search among the neighbours that the format has. Slow, and plainly right.
"""

from .codes import decode_codes, encode_values, pack_codes, unpack_codes
from .formats import Scaled, decoded, dequantize, quantize, requantize, transpose
from .products import grouped_matmul, grouped_wgrad, matmul, tensor_core_sums
from .rows import permute, unpermute

__all__ = [
    "Scaled", "decode_codes", "decoded", "dequantize", "encode_values", "grouped_matmul", "grouped_wgrad", "matmul", "pack_codes",
    "permute", "quantize", "requantize", "tensor_core_sums", "transpose", "unpack_codes", "unpermute",
]  # fmt: skip
