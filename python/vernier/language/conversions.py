"""Into, out of and between block formats."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import arrays, dtypes
from ..errors import CompileError
from ..formats import Format
from .builder import Builder, ScaledType, TensorType
from .eager import operation
from .elementwise import abs as absolute
from .elementwise import materialize, minimum, to_float, where
from .reductions import max as maximum_along
from .sizes import Shape, fixed, show
from .values import Traced, TracedScaled


def scaled_value(
    builder: Builder, ssa: str, shape: Shape, format: Format, axis: int = -1, grouped: bool = False
) -> TracedScaled:
    return TracedScaled(builder, ssa, ScaledType(shape, format.mlir(axis), grouped), format, axis)


def float_dtype(dtype: Any, what: str) -> dtypes.DType:
    """float32, bfloat16 or float16. Raises CompileError."""
    try:
        result = dtypes.as_dtype(dtype)
    except TypeError as error:
        raise CompileError(f"{what}: {error}") from None
    if not result.is_float:
        raise CompileError(f"{what}: expected float32, bfloat16 or float16, but got {result.name}")
    return result


def check_format(format: Any) -> Format:
    if not isinstance(format, Format):
        raise CompileError(f"expected a format such as vernier.MXFP4, but got {format!r}")
    return format


def as_scaled(value: Any, what: str) -> TracedScaled:
    if not isinstance(value, TracedScaled):
        raise CompileError(f"{what}: expected a scaled tensor, but got {value!r}")
    return value


def matrix(x: Any, what: str) -> Traced:
    """A plain matrix held as one."""
    if not isinstance(x, Traced):
        raise CompileError(f"{what}: expected a plain array, but got {x!r}")
    x = materialize(x)
    if x.ndim != 2:
        raise CompileError(f"{what}: expected a matrix of rank 2, but got shape {show(x.shape)}")
    return x


def _check_columns(shape: Shape, block: int, format: Format) -> None:
    cols = fixed(shape[1])
    if cols is not None and cols % block:
        way_out = f"pad to {-(-cols // block) * block}"
        if block > 32 and cols % 32 == 0:
            way_out += " or use vn.MXFP8"
        raise CompileError(f"quantize to {format.name}: expected K to be a multiple of {block}, but got {cols}; {way_out}")


def _check_seed(seed: Any) -> None:
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not -(2**63) <= seed < 2**63:
        raise CompileError(f"expected a seed that is a whole number of 64 bits or a 0-d int64 array, but got {seed!r}")


@operation
def _quantize(x: Any, format: Format, axis: int, seed: Any) -> Any:
    x = matrix(x, "quantize")
    if not x.dtype.is_float:
        x = to_float(x)
    _check_columns(x.shape, format.turned(axis)[1], format)
    result = ScaledType(x.shape, format.mlir(axis))
    extra: tuple[Any, ...] = ()
    if format.rounding == "stochastic":
        if seed is None:
            raise CompileError("stochastic rounding needs a seed: quantize(x, format, seed=...)")
        key = seed
        if not isinstance(key, Traced):
            _check_seed(key)
            key = Traced(x.builder, x.builder.constant(int(key), dtypes.int64), TensorType((), dtypes.int64))
        if key.dtype is not dtypes.int64 or key.ndim:
            raise CompileError(f"expected a seed that is a whole number or a 0-d int64 array, but got {seed!r}")
        extra = (f" seed {key.ssa} : ", key.type, " rounding stochastic")
    elif seed is not None:
        raise CompileError("a seed needs a format with rounding='stochastic'")
    if format.scale == "e4m3":
        # The scale of the tensor: the largest finite magnitude becomes 6 * 448. Capped, so that FP32 subnormals do not
        # make it infinite.
        magnitude = absolute(x)
        largest = maximum_along(where(magnitude < float("inf"), magnitude, 0.0))
        scale = where(largest > 0.0, minimum(6.0 * 448.0 / largest, 2.0**126), 1.0)
        extra = (f" tensor_scale {scale.ssa} : ", scale.type)
    ssa = x.builder.op(f"mx.quantize {x.ssa}", *extra, " : ", x.type, " -> ", result)
    return scaled_value(x.builder, ssa, x.shape, format, axis)


def quantize(x: Any, format: Format, axis: int = -1, seed: Any = None) -> Any:
    """Quantises real numbers to a block format.

    Args:
        x: float32, bfloat16 or float16, [M, K] ([E, N, K] eagerly).
        format: with rounding="stochastic", `seed` is needed.
        axis: along which a one-dimensional block runs; -1: along rows, 0: down columns.
        seed: whole number of 64 bits or 0-d int64 array.

    Returns:
        ScaledTensor of the same shape. Bits: OCP MX v1.0 and the numerics contract; a block with NaN or Inf decodes to
        NaN, an all-zero block has scale byte 0.

    Raises:
        CompileError: K is no multiple of the block; wrong rank, dtype or seed.
    """
    check_format(format)
    if axis not in (-1, 0, 1):
        raise CompileError(f"quantize: expected axis -1 or 0, but got {axis}")
    axis = -1 if axis == 1 or format.block[0] > 1 else axis
    if axis == 0 and format.scale == "e4m3":
        raise CompileError(f"quantize to {format.name}: E4M3 scales go with blocks along rows; quantize the transpose instead")
    if not isinstance(x, Traced) and seed is not None and not hasattr(seed, "shape"):
        _check_seed(seed)
        seed = np.asarray(seed, np.int64)  # a run-time argument: another seed is not another program
    if not isinstance(x, Traced) and len(getattr(x, "shape", ())) == 3:
        return _quantize_stack(x, format, axis, seed)
    return _quantize(x, format, axis, seed)


def _quantize_stack(x: Any, format: Format, axis: int, seed: Any) -> arrays.ScaledTensor:
    """[E, N, K] as [E * N, K]: blocks must not reach from one matrix into the next."""
    count, rows, cols = x.shape
    height = format.turned(axis)[0]
    if rows % height and count > 1:
        raise CompileError(f"quantize to {format.name}: expected N to be a multiple of {height} in a stack, but got {rows}")
    flat = _quantize(x.reshape(count * rows, cols), format, axis, seed)
    return arrays.ScaledTensor(
        flat.payload.reshape(count, rows, flat.payload.shape[1]), flat.scales.reshape(count, -(-rows // height), flat.scales.shape[1]), format, (count, rows, cols),
        axis, flat.tensor_scale,
    )  # fmt: skip


@operation
def dequantize(t: Any, dtype: Any = dtypes.float32) -> Any:
    """Decodes a scaled tensor to float32, bfloat16 or float16. A scale byte of 255 gives NaN.

    Raises:
        CompileError: not a scaled tensor, or a grouped one.
    """
    t = as_scaled(t, "dequantize")
    if t.grouped:
        raise CompileError("dequantize: nothing here reads a grouped transpose")
    if len(t.shape) != 2:
        raise CompileError(f"dequantize: expected rank 2, but got {show(t.shape)}; take one matrix of the stack at a time")
    result = TensorType(t.shape, float_dtype(dtype, "dequantize"))
    return Traced(t.builder, t.builder.op(f"mx.dequantize {t.ssa} : ", t.type, " -> ", result), result)


@operation
def requantize(t: Any, format: Format) -> Any:
    """Re-encodes a scaled tensor in another format, on the codes: FP8 to MXFP4, MXFP4 to FP8 and so on.

    Lossless from MXFP4 to FP8 as long as the four scales under one tile differ by at most 2**14; see
    `reencoding_losses` to count where they do not.

    Raises:
        CompileError: blocks that do not run along rows, E4M3 scales, or K that is no multiple of the block.
    """
    t = as_scaled(t, "requantize")
    check_format(format)
    if len(t.shape) != 2:
        raise CompileError(f"requantize: expected rank 2, but got {show(t.shape)}; take one matrix of the stack at a time")
    if t.axis != -1 or t.format.block[0] != 1 or format.block[0] != 1 or "e4m3" in (t.format.scale, format.scale):
        raise CompileError(
            f"requantize: expected blocks along rows and E8M0 scales, but got {t.format.name} (axis {t.axis}) to {format.name}; "
            "dequantize and quantize instead"
        )
    _check_columns(t.shape, format.block[1], format)
    result = ScaledType(t.shape, format.mlir())
    ssa = t.builder.op(f"mx.requantize {t.ssa} : ", t.type, " -> ", result)
    return scaled_value(t.builder, ssa, t.shape, format)


def reencoding_losses(t: arrays.ScaledTensor, format: Format) -> int:
    """Blocks of the result in which `requantize(t, format)` changes a value: a run-time report on exactness.

    Compares the decoded values of both; NaN equals NaN.
    """
    before = np.asarray(dequantize(t))
    after = np.asarray(dequantize(requantize(t, format)))
    same = (before == after) | (np.isnan(before) & np.isnan(after))
    width = format.block[1]
    return int((~same.reshape(same.shape[0], -1, width).all(axis=2)).sum())
