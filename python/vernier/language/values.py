"""Values of a function under trace, with the operators of Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .. import dtypes
from ..dtypes import DType
from ..errors import CompileError
from ..formats import Format
from .builder import Builder, ScaledType, TensorType
from .sizes import Shape, fixed, show


class Traced:
    """A plain array under trace.

    `shape` is what Python sees. A column `[M, 1]` or row `[1, N]` vector is held as a vector; `layout` ("rows", "cols")
    says along which dimension it runs, "full" that the value is held as it is seen.
    """

    __array_priority__ = 1000
    __array_ufunc__ = None  # NumPy arrays on the left give way

    def __init__(self, builder: Builder, ssa: str, type: TensorType, layout: str = "full") -> None:
        self.builder = builder
        self.ssa = ssa
        self.type = type
        self.layout = layout

    if TYPE_CHECKING:  # elementwise.py and reductions.py put these here
        __add__: Callable[..., Any]
        __radd__: Callable[..., Any]
        __sub__: Callable[..., Any]
        __rsub__: Callable[..., Any]
        __mul__: Callable[..., Any]
        __rmul__: Callable[..., Any]
        __truediv__: Callable[..., Any]
        __rtruediv__: Callable[..., Any]

    @property
    def dtype(self) -> DType:
        return self.type.dtype

    @property
    def shape(self) -> Shape:
        if self.layout == "rows":
            return (*self.type.shape, 1)
        if self.layout == "cols":
            return (1, *self.type.shape)
        return self.type.shape

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def T(self) -> Any:
        from . import ops

        return ops.transpose(self)

    def __getitem__(self, key: Any) -> Traced:
        if self.ndim == 1 and self.layout == "full" and isinstance(key, tuple) and len(key) == 2:
            if key == (slice(None), None):
                return Traced(self.builder, self.ssa, self.type, "rows")
            if key == (None, slice(None)):
                return Traced(self.builder, self.ssa, self.type, "cols")
        if self.ndim == 2 and isinstance(key, tuple) and len(key) == 2 and key[0] == slice(None):
            columns, width = key[1], fixed(self.shape[1])
            if isinstance(columns, slice) and columns.step in (None, 1) and width is not None:
                from . import ops

                start, stop, _ = columns.indices(width)
                return ops.slice_columns(self, start, stop)
        raise CompileError(
            f"a traced array of shape {show(self.shape)} takes [:, None] and [None, :] (of a vector) and [:, a:b] (of a "
            f"matrix), but got {key!r}"
        )

    def __bool__(self) -> bool:
        raise CompileError("the value of a traced array is not known while compiling; use vn.where")

    def __iter__(self) -> Any:
        raise CompileError("a traced array cannot be iterated over; use vn.split")

    def __float__(self) -> float:
        raise CompileError("the value of a traced array is not known while compiling")

    def astype(self, dtype: Any) -> Traced:
        from . import ops

        return ops.cast(self, dtype)

    def __repr__(self) -> str:
        return f"Traced({show(self.shape)}, {self.dtype.name})"


class TracedScaled:
    """A scaled tensor under trace."""

    def __init__(self, builder: Builder, ssa: str, type: ScaledType, format: Format, axis: int) -> None:
        self.builder = builder
        self.ssa = ssa
        self.type = type
        self.format = format
        self.axis = axis

    @property
    def shape(self) -> Shape:
        return self.type.shape

    @property
    def grouped(self) -> bool:
        return self.type.grouped

    def dequantize(self, dtype: Any = dtypes.float32) -> Traced:
        from . import ops

        return ops.dequantize(self, dtype)

    def __repr__(self) -> str:
        return f"TracedScaled({self.format.name}, {show(self.shape)}, axis={self.axis})"


def is_traced(value: Any) -> bool:
    return isinstance(value, (Traced, TracedScaled))


def any_traced(values: Any) -> bool:
    """Whether a traced value is among these, at any depth of lists and tuples."""
    return any(any_traced(v) if isinstance(v, (list, tuple)) else is_traced(v) for v in values)
