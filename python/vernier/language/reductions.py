"""Sum, mean, maximum and minimum along an axis."""

from __future__ import annotations

from typing import Any

from .. import dtypes
from ..errors import CompileError
from .builder import TensorType
from .eager import operation
from .elementwise import broadcast_to, builder_of, lift, to_float
from .sizes import fixed, show
from .values import Traced


def _reduce(kind: str, x: Traced, axis: int) -> Traced:
    shape = x.type.shape[:axis] + x.type.shape[axis + 1 :]
    result = TensorType(shape, dtypes.float32)
    return Traced(x.builder, x.builder.op(f"mx.reduce {kind} {x.ssa} axis {axis} : ", x.type, " -> ", result), result)


def _along(kind: str, x: Any, axis: int | None, keepdims: bool) -> Traced:
    x = to_float(lift(builder_of([x]), x))
    if axis is None and keepdims:
        raise CompileError(f"{kind}: keepdims needs an axis")
    if axis is not None and (not isinstance(axis, int) or not -x.ndim <= axis < x.ndim):
        raise CompileError(f"{kind}: axis {axis} is outside the shape {show(x.shape)}")
    if keepdims and x.ndim == 1:
        raise CompileError(f"{kind}: keepdims needs a matrix, but got {show(x.shape)}")
    if x.layout != "full":  # [M, 1] or [1, N]: the vector itself, or its sum
        along = 0 if x.layout == "rows" else 1
        if axis is not None and axis % 2 != along:
            return x if keepdims else Traced(x.builder, x.ssa, x.type)
        inner = _reduce(kind, Traced(x.builder, x.ssa, x.type), 0)
        if axis is None and not keepdims:
            return inner
        raise CompileError(f"{kind} of shape {show(x.shape)} along axis {axis}: drop the dimension of 1 first")
    if x.ndim not in (1, 2):
        raise CompileError(f"{kind}: expected rank 1 or 2, but got {show(x.shape)}")
    if axis is None:
        while x.ndim:
            x = _reduce(kind, x, x.ndim - 1)
        return x
    axis %= x.ndim
    result = _reduce(kind, x, axis)
    if keepdims and x.ndim == 2:
        result.layout = "rows" if axis == 1 else "cols"
    return result


@operation
def sum(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """Sum along an axis (0: over rows, 1 or -1: along rows, None: all), in float32, in an order fixed for a compiled function:
    on another target, or beside other operations, it may be another.

    Shapes: [M, N] -> [N], [M] or []; with keepdims [1, N] or [M, 1]. Raises CompileError for an axis outside the shape.
    """
    return _along("sum", x, axis, keepdims)


@operation
def max(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """Maximum along an axis, in float32; NaN where there is one, -inf of no numbers; 0 is larger than -0. Shapes and errors as `sum`."""
    return _along("max", x, axis, keepdims)


@operation
def min(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """Minimum along an axis, in float32; NaN where there is one, +inf of no numbers; -0 is smaller than 0. Shapes and errors as `sum`."""
    return _along("min", x, axis, keepdims)


@operation
def mean(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """Mean along an axis, in float32. Shapes and errors as `sum`."""
    x = to_float(lift(builder_of([x]), x))
    total = _along("sum", x, axis, keepdims)
    sizes = x.shape if axis is None else (x.shape[axis],)
    count: Any = 1
    for size in sizes:
        known = fixed(size)
        if known is None:
            # A run-time size is counted: a sum of ones.
            ones = broadcast_to(lift(x.builder, 1.0), x, [])
            ones.layout = x.layout
            return total / _along("sum", ones, axis, keepdims)
        count *= known
    return total * (1.0 / count) if count else total / 0.0


for _name, _function in {"sum": sum, "max": max, "min": min, "mean": mean}.items():
    setattr(Traced, _name, lambda self, axis=None, keepdims=False, f=_function: f(self, axis, keepdims))
