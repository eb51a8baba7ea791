"""Matrix products in float64 of the decoded operands."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..formats import FP8
from .codes import F64
from .formats import Scaled, decoded, requantize, transpose

Operand = Scaled | NDArray[Any]


def operand_values(t: Operand) -> F64:
    """Values of an operand; a 4-bit one counts as its re-encoding to FP8."""
    if not isinstance(t, Scaled):
        return np.asarray(t).astype(np.float64)
    if t.format.element == "e2m1":
        t = requantize(t, FP8)
    return decoded(t)


def matmul(a: Operand, b: Operand) -> F64:
    """A @ B.T"""
    return operand_values(a) @ operand_values(b).T


def tensor_core_sums(a: F64, b: F64) -> F64:
    """A @ B.T of E4M3 codes' values, for at most 128 of K, as the tensor cores of one H200 made it, bit for bit.

    32 products and the sum before them are aligned to the largest exponent: that of a product is the sum of its codes' (-6 for
    subnormal ones; products of zero have none). What lies below 13 bits under it is cut off, and then what lies below 13 bits
    under the first of the sum.
    """

    def exponent(v: F64) -> F64:
        return np.where(v == 0, -np.inf, np.frexp(v)[1] - 1.0)

    def cut(v: F64, largest: F64) -> F64:
        unit = np.exp2(np.where(np.isinf(largest), 0, largest) - 13)
        return np.trunc(v / unit) * unit

    total = np.zeros((a.shape[0], b.shape[0]))
    for first in range(0, a.shape[1], 32):
        k = slice(first, first + 32)
        products = a[:, None, k] * b[None, :, k]
        of_codes = np.maximum(exponent(a), -6.0)[:, None, k] + np.maximum(exponent(b), -6.0)[None, :, k]
        largest = np.maximum(np.where(products == 0, -np.inf, of_codes).max(axis=2), exponent(total))
        total = cut(total, largest) + cut(products, largest[..., None]).sum(axis=2)
        total = cut(total, exponent(total))
    return total


def grouped_matmul(a: Operand, b: list[Operand], offsets: NDArray[np.int32]) -> F64:
    """Each group of rows times its own matrix; rows outside every group are 0."""
    values = operand_values(a)
    result = np.zeros((values.shape[0], operand_values(b[0]).shape[0]))
    for e, matrix in enumerate(b):
        rows = slice(offsets[e], offsets[e + 1])
        result[rows] = values[rows] @ operand_values(matrix).T
    return result


def grouped_wgrad(dy: Operand, x: Operand, offsets: NDArray[np.int32]) -> F64:
    """dY.T @ X for each group; scaled operands as their scaling-aware transposes with the same groups."""

    def group(t: Operand, begin: int, end: int) -> F64:
        if not isinstance(t, Scaled):
            return np.asarray(t)[begin:end].astype(np.float64).T
        return decoded(transpose(Scaled(t.codes[begin:end], t.scales[begin:end], t.format, t.block)))

    pairs = list(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True))
    return np.stack([group(dy, b, e) @ group(x, b, e).T for b, e in pairs])
