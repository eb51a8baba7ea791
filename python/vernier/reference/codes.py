"""Element codes: tables of what every code means, and rounding by looking the value up between its neighbours."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]


@cache
def magnitudes(element: str) -> F64:
    """Value of every magnitude code of an element type, ascending: finite codes only."""
    if element == "e2m1":
        return np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    if element == "e4m3":
        codes = np.arange(0x7F)  # 0x7f is NaN
        exponent, mantissa = codes >> 3, codes & 7
        normal = (1 + mantissa / 8) * 2.0 ** (exponent - 7)
        return np.where(exponent == 0, mantissa * 2.0**-9, normal)
    raise ValueError(element)


def nan_code(element: str) -> int | None:
    return 0x7F if element == "e4m3" else None


def sign_bit(element: str) -> int:
    return 0x80 if element == "e4m3" else 0x8


def decode_codes(codes: U8, element: str) -> F64:
    """Codes to values; a NaN code to NaN."""
    table = np.append(magnitudes(element), [np.nan] if element == "e4m3" else [])
    values = table[codes & (sign_bit(element) - 1)]
    return np.where(codes & sign_bit(element), -values, values)


def encode_values(values: F64, element: str) -> U8:
    """Values to the nearest code, ties to the even code, saturating; NaN to the NaN code where there is one."""
    table = magnitudes(element)
    size = np.minimum(np.abs(np.nan_to_num(values, nan=0.0)), table[-1])
    above = np.searchsorted(table, size)  # first code that is not smaller
    below = np.maximum(above - 1, 0)
    down, up = size - table[below], table[above] - size
    take_up = (up < down) | ((up == down) & (above % 2 == 0))
    code = np.where(table[above] == size, above, np.where(take_up, above, below))
    code = code | np.where(np.signbit(values), sign_bit(element), 0)
    if (nan := nan_code(element)) is not None:
        code = np.where(np.isnan(values), nan | np.where(np.signbit(values), sign_bit(element), 0), code)
    return code.astype(np.uint8)


def pack_codes(codes: U8) -> U8:
    """4-bit codes [..., K] to bytes [..., ceil(K / 2)], the even index in the low nibble."""
    if codes.shape[-1] % 2:
        codes = np.concatenate([codes, np.zeros_like(codes[..., :1])], axis=-1)
    return (codes[..., 0::2] | codes[..., 1::2] << 4).astype(np.uint8)


def unpack_codes(packed: U8, columns: int) -> U8:
    codes = np.stack([packed & 15, packed >> 4], axis=-1).reshape(*packed.shape[:-1], 2 * packed.shape[-1])
    return codes[..., :columns]
