"""Quantise, decode, re-encode and transpose, on plain arrays of codes (one a byte) and scale bytes."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..formats import FP8, Format
from .codes import F64, U8, decode_codes, encode_values, magnitudes, nan_code, sign_bit
from .philox import philox_first_word


@dataclasses.dataclass(frozen=True)
class Scaled:
    """Codes [M, K], one a byte, scale bytes, and the block that shares one."""

    codes: U8
    scales: U8
    format: Format
    block: tuple[int, int]
    tensor_scale: float | None = None


def expand(scales: NDArray[Any], block: tuple[int, int], shape: tuple[int, int]) -> NDArray[Any]:
    """One entry a block to one an element."""
    return np.repeat(np.repeat(scales, block[0], axis=0), block[1], axis=1)[: shape[0], : shape[1]]


def blocks_max(values: NDArray[Any], block: tuple[int, int]) -> NDArray[Any]:
    """Maximum over each block; the last ones may be ragged."""
    rows, cols = values.shape
    starts_r, starts_c = np.arange(0, rows, block[0]), np.arange(0, cols, block[1])
    if rows == 0 or cols == 0:
        return np.zeros((len(starts_r), len(starts_c)), values.dtype)
    return np.maximum.reduceat(np.maximum.reduceat(values, starts_r, axis=0), starts_c, axis=1)


def scale_values(scales: U8) -> F64:
    """E8M0 bytes to numbers; 255 to NaN."""
    return np.where(scales == 255, np.nan, np.ldexp(1.0, np.minimum(scales, 254).astype(np.int64) - 127))


def decoded(t: Scaled) -> F64:
    """Exact decoded values."""
    values = decode_codes(t.codes, t.format.element)
    if t.format.scale == "e4m3":
        assert t.tensor_scale is not None
        scale = decode_codes(t.scales, "e4m3").astype(np.float32) / np.float32(t.tensor_scale)
        return values * expand(scale.astype(np.float64), t.block, t.codes.shape)
    return values * expand(scale_values(t.scales), t.block, t.codes.shape)


def dequantize(t: Scaled) -> NDArray[np.float32]:
    """Decoded values in FP32, nearest-even."""
    with np.errstate(over="ignore", invalid="ignore"):
        return decoded(t).astype(np.float32)


def block_exponent(amax: float, element: str, rule: str) -> int:
    """Scale exponent of a block with largest magnitude amax > 0, by the words of the contract."""
    largest = float(magnitudes(element)[-1])
    mantissa, exponent = math.frexp(amax)  # amax = mantissa * 2**exponent, 0.5 <= mantissa < 1
    emax = math.frexp(largest)[1] - 1
    if rule == "floor":
        result = exponent - 1 - emax
    elif rule == "even":
        bits = {"e2m1": 1, "e4m3": 3}[element]
        rounded = round(mantissa * 2 ** (bits + 1))  # Python rounds ties to even
        result = (exponent if rounded == 2 ** (bits + 1) else exponent - 1) - emax
    elif rule == "ceil":
        result = exponent - 1 - emax - 1
        while amax / 2.0**result > largest:
            result += 1
    else:
        raise ValueError(rule)
    return min(max(result, -127), 127)


def scale_byte(amax: float, element: str, rule: str) -> int:
    if not math.isfinite(amax):
        return 255
    return 0 if amax == 0 else block_exponent(amax, element, rule) + 127


def poisoned_codes(codes: U8, scale: NDArray[Any], element: str) -> U8:
    """Codes under a NaN scale: NaN where the element has one, else 0."""
    return np.where(scale == 255, nan_code(element) or 0, codes).astype(np.uint8)


def _quantize_exact(values: F64, format: Format, block: tuple[int, int], seed: int | None) -> Scaled:
    magnitude = np.where(np.isfinite(values), np.abs(values), np.inf)
    amax = blocks_max(magnitude, block)
    table = {a: scale_byte(float(a), format.element, format.scale_rule) for a in np.unique(amax)}
    scales = np.array([table[a] for a in amax.ravel()], np.uint8).reshape(amax.shape)
    exponent = expand(scales, block, values.shape).astype(np.int64) - 127
    with np.errstate(invalid="ignore", over="ignore"):
        ratio = np.ldexp(values, -exponent)
    codes = encode_values(ratio, format.element) if seed is None else encode_stochastic(ratio, format.element, seed)
    return Scaled(poisoned_codes(codes, exponent + 127, format.element), scales, format, block)


def quantize(x: NDArray[Any], format: Format, axis: int = -1, seed: int | None = None) -> Scaled:
    """[M, K] in FP32 (or narrower) to codes and scales."""
    values = np.asarray(x, np.float32).astype(np.float64)
    block = format.turned(axis)
    if format.scale == "e4m3":
        return _quantize_relative(np.asarray(x, np.float32), format, block)
    return _quantize_exact(values, format, block, seed)


def _quantize_relative(x: NDArray[np.float32], format: Format, block: tuple[int, int]) -> Scaled:
    """E4M3 scales relative to 6 * 448 / amax of the tensor (2^126 at most); all in FP32, as it is stored."""
    magnitude = np.abs(x)
    finite = magnitude[np.isfinite(magnitude)]
    largest = finite.max() if finite.size else np.float32(0)
    with np.errstate(over="ignore"):
        tensor = np.minimum(np.float32(2688) / largest, np.float32(2.0**126)) if largest > 0 else np.float32(1)
    amax = blocks_max(np.where(np.isnan(magnitude), np.inf, magnitude).astype(np.float32), block)
    with np.errstate(all="ignore"):
        scales = encode_values((amax / np.float32(6) * tensor).astype(np.float64), "e4m3")
    scales = np.where(np.isfinite(amax), scales, 0x7F).astype(np.uint8)
    per_element = expand(decode_codes(scales, "e4m3").astype(np.float32), block, x.shape)
    with np.errstate(all="ignore"):
        ratio = (x * tensor) / np.where(per_element == 0, np.float32(1), per_element)
    codes = encode_values(ratio.astype(np.float64), format.element)
    dead = np.isnan(per_element) | (per_element == 0)
    return Scaled(np.where(dead, 0, codes).astype(np.uint8), scales, format, block, float(tensor))


def encode_stochastic(ratio: F64, element: str, seed: int) -> U8:
    """Uniform noise below the last kept bit, then truncation; 22 bits of noise among the subnormals."""
    table = magnitudes(element)
    size = np.minimum(np.abs(np.nan_to_num(ratio, nan=0.0)), table[-1]).astype(np.float32)
    noise = philox_first_word(seed, np.arange(size.size, dtype=np.uint64)).reshape(size.shape).astype(np.uint64)
    bits, smallest = {"e2m1": (1, 0), "e4m3": (3, -6)}[element]
    drop = 23 - bits
    raw = size.view(np.uint32).astype(np.uint64)
    bias = 127 - (1 - smallest)
    normal = ((raw + (noise >> np.uint64(32 - drop))) >> np.uint64(drop)).astype(np.int64) - (bias << bits)
    steps = np.floor(size.astype(np.float64) * 2.0 ** (bits - smallest + 22)).astype(np.uint64)
    subnormal = ((steps + (noise >> np.uint64(10))) >> np.uint64(22)).astype(np.int64)
    code = np.minimum(np.where(size < 2.0**smallest, subnormal, normal), len(table) - 1)
    return (code | np.where(np.signbit(ratio), sign_bit(element), 0)).astype(np.uint8)


def headroom(source: str, target: str) -> int:
    """Largest shift that keeps the largest number of `source` within `target`."""
    shift = 0
    while magnitudes(source)[-1] * 2.0 ** (shift + 1) <= magnitudes(target)[-1]:
        shift += 1
    return shift


def _drop_to(t: Scaled, block: tuple[int, int], element: str) -> tuple[U8, U8]:
    """Codes re-encoded to one scale for each (larger) block: the largest scale under it, less the headroom."""
    per_element = expand(t.scales, t.block, t.codes.shape).astype(np.int64)
    largest = blocks_max(per_element, block)
    common = np.where(largest == 255, 255, np.maximum(largest - headroom(t.format.element, element), 0))
    scale = expand(common, block, t.codes.shape).astype(np.int64)
    moved = np.ldexp(decode_codes(t.codes, t.format.element), per_element - scale)
    return poisoned_codes(encode_values(moved, element), scale, element), common.astype(np.uint8)


def requantize(t: Scaled, format: Format) -> Scaled:
    """Another format with blocks along rows: exact values where the block does not grow, a common scale where it does."""
    if format.block[1] > t.block[1]:
        codes, scales = _drop_to(t, format.block, format.element)
        return Scaled(codes, scales, format, format.block)
    return _quantize_exact(decoded(t), format, format.block, None)


def transpose(t: Scaled, offsets: NDArray[np.int32] | None = None) -> Scaled:
    """Blocks along rows: E4M3 in blocks of 128 old rows, starting anew with each group. Other blocks turn as they are."""
    if t.block[0] != 1:
        turned = (t.block[1], t.block[0])
        return Scaled(t.codes.T.copy(), t.scales.T.copy(), t.format, turned)
    rows, cols = t.codes.shape
    groups = [(0, rows)] if offsets is None else list(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True))
    width = -(-rows // 128) if offsets is None else rows // 128 + len(groups)
    codes, scales = np.zeros((cols, rows), np.uint8), np.zeros((cols, width), np.uint8)
    for number, (begin, end) in enumerate(groups):
        part = Scaled(t.codes[begin:end], t.scales[begin:end], t.format, t.block)
        dropped, common = _drop_to(part, (128, t.block[1]), "e4m3")
        codes[:, begin:end] = dropped.T
        start = 0 if offsets is None else begin // 128 + number
        blocks = common.shape[0]
        scales[:, start : start + blocks] = np.repeat(common, t.block[1], axis=1)[:, :cols].T
    return Scaled(codes, scales, FP8, FP8.block)
