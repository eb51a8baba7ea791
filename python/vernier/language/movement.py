"""Transposes, gathers of rows, splits and concatenations of columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import dtypes
from ..errors import CompileError
from ..formats import FP8
from .builder import ScaledType, TensorType
from .conversions import matrix, scaled_value
from .eager import operation
from .elementwise import add, convert, multiply, to_float, where
from .reductions import max
from .sizes import Dim, fixed, join, join_shapes, show
from .values import Traced, TracedScaled


def index_vector(value: Any, what: str, rank: int = 1) -> Traced:
    if not isinstance(value, Traced) or value.dtype is not dtypes.int32:
        raise CompileError(f"{what}: expected an int32 array, but got {value!r}")
    if value.ndim != rank:
        raise CompileError(f"{what}: expected rank {rank}, but got shape {show(value.shape)}")
    return value


@operation
def transpose(x: Any, offsets: Any = None) -> Any:
    """Turns a matrix, or a scaled tensor with its blocks re-blocked along the old rows.

    Args:
        x: plain [M, K], or a ScaledTensor. With blocks along rows (FP8, MXFP8, MXFP4), the result is FP8 [K, M] in blocks
            of 128 old rows: each tile takes its largest row scale, and values drop to it, nearest-even. Blocks down
            columns, and FP8_BLOCK, are turned without touching a bit.
        offsets: int32 [G + 1]; blocks start anew with each group of rows, and the scales have floor(M / 128) + G
            columns, group g's starting at floor(offsets[g] / 128) + g.

    Raises:
        CompileError: wrong rank, E4M3 scales, or offsets for what has no blocks along rows.
    """
    if isinstance(x, Traced):
        if offsets is not None:
            raise CompileError("transpose: offsets need a scaled tensor")
        if x.layout in ("rows", "cols"):
            return Traced(x.builder, x.ssa, x.type, "cols" if x.layout == "rows" else "rows")
        x = matrix(x, "transpose")
        result = TensorType((x.shape[1], x.shape[0]), x.dtype)
        return Traced(x.builder, x.builder.op(f"mx.transpose {x.ssa} : ", x.type, " -> ", result), result)
    if not isinstance(x, TracedScaled) or len(x.shape) != 2:
        raise CompileError(f"transpose: expected a matrix or a scaled tensor of rank 2, but got {x!r}")
    shape = (x.shape[1], x.shape[0])
    reblocks = x.axis == -1 and x.format.block[0] == 1
    if x.format.scale == "e4m3":
        raise CompileError("transpose: a format with E4M3 scales cannot be re-blocked; dequantize it first")
    if x.grouped:
        raise CompileError("transpose: nothing here reads a grouped transpose")
    if offsets is not None and not reblocks:
        raise CompileError("transpose: offsets need blocks along rows")
    grouped = offsets is not None
    format = FP8 if reblocks else x.format
    result_type = ScaledType(shape, format.mlir(), grouped)
    extra: tuple[Any, ...] = ()
    if grouped:
        offsets = index_vector(offsets, "transpose: offsets")
        extra = (f" offsets {offsets.ssa} : ", offsets.type)
    ssa = x.builder.op(f"mx.transpose {x.ssa}", *extra, " : ", x.type, " -> ", result_type)
    return scaled_value(x.builder, ssa, shape, format, -1, grouped)


@operation
def permute(x: Any, index: Any, pad_to: int = 1) -> Any:
    """Gathers rows: result[i] = x[index[i]]; payload and scales of a scaled tensor move together.

    Args:
        x: plain [M, K] or [M], or a ScaledTensor with blocks along rows.
        index: int32 [P]; -1 gives a row of zeros.
        pad_to: the result has P rounded up to a multiple of this many rows; those past the index are zeros.

    Raises:
        CompileError: wrong shapes or types. LaunchError: an index argument outside [-1, M); a computed one
            that is outside gives zeros.
    """
    index = index_vector(index, "permute: index")
    if not isinstance(pad_to, int) or not 1 <= pad_to < 1 << 31:
        raise CompileError(f"permute: expected a whole pad_to of at least 1, but got {pad_to!r}")
    rows: Any = index.shape[0]
    if pad_to > 1:
        known = fixed(rows)
        rows = Dim() if known is None else -(-known // pad_to) * pad_to
    extra = f" pad_to {pad_to}" if pad_to > 1 else ""
    if isinstance(x, TracedScaled):
        if x.axis != -1 or x.format.block[0] != 1 or x.format.scale == "e4m3" or x.grouped or len(x.shape) != 2:
            raise CompileError(f"permute: expected blocks along rows and E8M0 scales, but got {x!r}")
        scaled = ScaledType((rows, x.shape[1]), x.type.format)
        ssa = x.builder.op(f"mx.permute {x.ssa} by {index.ssa}{extra} : ", x.type, ", ", index.type, " -> ", scaled)
        return scaled_value(x.builder, ssa, scaled.shape, x.format)
    if not isinstance(x, Traced) or x.layout == "cols" or len(x.type.shape) not in (1, 2):
        raise CompileError(f"permute: expected [M, K] or [M], but got {x!r}")
    plain = TensorType((rows, *x.type.shape[1:]), x.dtype)
    ssa = x.builder.op(f"mx.permute {x.ssa} by {index.ssa}{extra} : ", x.type, ", ", index.type, " -> ", plain)
    return Traced(x.builder, ssa, plain, x.layout)


@operation
def unpermute(y: Any, index: Any, weights: Any = None) -> Any:
    """Brings the copies of a row together: result[t] = sum over j of weights[t, j] * y[index[t, j]], in the order of j.

    Args:
        y: [P, K], float32, bfloat16 or float16.
        index: int32 [T, k]; -1 adds nothing.
        weights: float32 [T, k], or None for ones.

    Returns:
        float32 [T, K].

    Raises:
        CompileError: wrong shapes or types. LaunchError: an index outside [-1, P).
    """
    y = matrix(y, "unpermute")
    index = index_vector(index, "unpermute: index", 2)
    if index.layout == "rows":  # one copy of each row: a gather
        term = to_float(permute(y, Traced(index.builder, index.ssa, index.type)))
        if weights is not None:
            _check_weights(index, weights, "rows")
            term = where(index >= 0, multiply(weights, term), 0.0)
        return add(term, 0.0)  # the sum begins with 0, also before -0
    if index.ndim != 2 or fixed(index.shape[1]) is None:
        raise CompileError(f"unpermute: expected index [T, k], but got {show(index.shape)}")
    if not y.dtype.is_float:
        y = to_float(y)
    result = TensorType((index.shape[0], y.shape[1]), dtypes.float32)
    parts: list[Any] = [f"mx.unpermute {y.ssa} by {index.ssa}"]
    tail: list[Any] = [" : ", y.type, ", ", index.type]
    if weights is not None:
        _check_weights(index, weights, "full")
        parts.append(f" weights {weights.ssa}")
        tail += [", ", weights.type]
    return Traced(y.builder, y.builder.op(*parts, *tail, " -> ", result), result)


def _check_weights(index: Traced, weights: Any, layout: str) -> None:
    if not isinstance(weights, Traced) or weights.dtype is not dtypes.float32 or (weights.ndim, weights.layout) != (2, layout):
        raise CompileError(f"unpermute: expected float32 weights [T, k], but got {weights!r}")
    join_shapes(index.shape, weights.shape, "unpermute: index and weights")


def slice_columns(x: Traced, start: int, stop: int) -> Traced:
    x = matrix(x, "slice")
    if stop <= start:
        raise CompileError(f"slice: expected at least one column, but got {start}:{stop}")
    result = TensorType((x.shape[0], stop - start), x.dtype)
    part = Traced(x.builder, x.builder.op(f"mx.slice {x.ssa} at {start} : ", x.type, " -> ", result), result)
    if stop - start == 1 and x.dtype.is_float:
        # One column is a column vector, which broadcasts; the maximum of one number is that number.
        return convert(max(part, axis=1, keepdims=True), x.dtype)
    return part


@operation
def split(x: Any, sections: int, axis: int = 1) -> Any:
    """Splits the columns of [M, N] into equal parts: a tuple of `sections` arrays [M, N / sections].

    Raises:
        CompileError: N is no multiple of `sections`, or the axis is not 1 (or -1).
    """
    x = matrix(x, "split")
    width = fixed(x.shape[1])
    if axis not in (1, -1):
        raise CompileError(f"split: expected axis 1, but got {axis}; rows are a run-time size")
    if width is None or not isinstance(sections, int) or sections < 1 or width % sections:
        raise CompileError(f"split: expected a number of columns that {sections} divides, but got {show(x.shape)}")
    part = width // sections
    return tuple(slice_columns(x, i * part, (i + 1) * part) for i in range(sections))


@operation
def concat(arrays: Sequence[Any], axis: int = 1) -> Any:
    """Puts matrices [M, N_i] side by side: [M, sum of N_i].

    Raises:
        CompileError: different rows or element types, or the axis is not 1 (or -1).
    """
    if axis not in (1, -1):
        raise CompileError(f"concat: expected axis 1, but got {axis}")
    values = [matrix(x, "concat") for x in arrays]
    if not values:
        raise CompileError("concat: expected at least one array")
    if len({v.dtype for v in values}) > 1:
        values = [to_float(v) for v in values]
    rows = values[0].shape[0]
    width = 0
    for v in values:
        rows = join(rows, v.shape[0], "concat: rows")
        known = fixed(v.shape[1])
        if known is None:
            raise CompileError("concat: expected static numbers of columns")
        width += known
    if len(values) == 1:
        return values[0]
    result = TensorType((rows, width), values[0].dtype)
    parts: list[Any] = [f"mx.concat {', '.join(v.ssa for v in values)} : "]
    for i, v in enumerate(values):
        parts += [", " if i else "", v.type]
    return Traced(values[0].builder, values[0].builder.op(*parts, " -> ", result), result)
