"""From a Python function and the kinds of its arguments to a module of IR, and from its results back."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np

from . import dtypes, kinds
from .arrays import ArraySpec, ScaledSpec, ScaledTensor
from .dtypes import DType
from .errors import CompileError
from .formats import Format
from .language.builder import Builder, ScaledType, TensorType, Type
from .language.sizes import Dim, Shape, fixed
from .language.values import Traced, TracedScaled


@dataclasses.dataclass(frozen=True)
class Leaf:
    """What of an array argument a program depends on. Sizes of None are run-time sizes."""

    shape: tuple[int | None, ...]
    dtype: DType | None = None
    format: Format | None = None
    axis: int = -1

    @property
    def is_column(self) -> bool:
        """[M, 1]: held as a vector."""
        return self.format is None and len(self.shape) == 2 and self.shape[1] == 1


@dataclasses.dataclass(frozen=True)
class Slot:
    """Place of an array among the leaves."""

    index: int


def _sequence(value: list[Any] | tuple[Any, ...]) -> Any:
    """What a list or tuple is put together as again: of named tuples the type, of all others "list" or "tuple"."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)
    return "list" if isinstance(value, list) else "tuple"


def join_sequence(sequence: Any, items: list[Any]) -> Any:
    if sequence == "list":
        return items
    return tuple(items) if sequence == "tuple" else sequence(*items)


def flatten(value: Any, leaves: list[Any]) -> Hashable:
    """Takes the arrays out of nested lists, tuples and dicts. What is left is hashable and part of the program."""
    if isinstance(value, (ScaledTensor, ArraySpec, ScaledSpec)) or kinds.is_array(value):
        leaves.append(value)
        return Slot(len(leaves) - 1)
    if isinstance(value, float):
        leaves.append(np.float32(value))
        return Slot(len(leaves) - 1)
    if isinstance(value, (list, tuple)):
        return (_sequence(value), tuple(flatten(v, leaves) for v in value))
    if isinstance(value, dict):
        return ("dict", tuple((k, flatten(v, leaves)) for k, v in value.items()))
    try:
        hash(value)
    except TypeError:
        raise CompileError(f"expected an array or a hashable constant, but got {type(value).__name__}") from None
    return ("constant", type(value).__name__, value)


def unflatten(tree: Any, leaves: list[Any]) -> Any:
    if isinstance(tree, Slot):
        return leaves[tree.index]
    if tree[0] == "constant":
        return tree[2]
    if tree[0] == "dict":
        return {k: unflatten(v, leaves) for k, v in tree[1]}
    return join_sequence(tree[0], [unflatten(v, leaves) for v in tree[1]])


def leaf_of_spec(spec: ArraySpec | ScaledSpec) -> Leaf:
    if isinstance(spec, ScaledSpec):
        return Leaf(tuple(spec.shape), format=spec.format, axis=spec.axis)
    return Leaf(tuple(spec.shape), dtype=dtypes.as_dtype(spec.dtype))


def _argument(builder: Builder, leaf: Leaf, rows: int | None) -> Traced | TracedScaled:
    shape: Shape = tuple((Dim(None if i else rows) if size is None else size) for i, size in enumerate(leaf.shape))
    if leaf.format is not None:
        scaled = ScaledType(shape, leaf.format.mlir(leaf.axis))
        return TracedScaled(builder, builder.argument(scaled), scaled, leaf.format, leaf.axis)
    assert leaf.dtype is not None
    if len(shape) > 3:
        raise CompileError(f"expected arrays of rank 3 at most, but got rank {len(shape)}; flatten the leading dimensions")
    if leaf.is_column:
        vector = TensorType(shape[:1], leaf.dtype)
        return Traced(builder, builder.argument(vector, "rows"), vector, "rows")
    plain = TensorType(shape, leaf.dtype)
    return Traced(builder, builder.argument(plain), plain)


@dataclasses.dataclass(frozen=True)
class Output:
    """A result: from the program, or an argument handed back."""

    result: int | None
    argument: int | None
    dtype: DType | None
    layout: str = "full"
    format: Format | None = None
    axis: int = -1
    grouped: bool = False


@dataclasses.dataclass(frozen=True)
class Trace:
    """A traced function: its module, how its results are put together, and the rows of arguments that it is made for."""

    module: str
    outputs: Any
    empty: bool
    specialized: tuple[tuple[int, int], ...] = ()

    def serves(self, rows: list[int | None]) -> bool:
        return all(rows[i] == number for i, number in self.specialized)


def _collect(value: Any, builder: Builder, results: list[tuple[str, Type]]) -> Any:
    """The tree of outputs; fills the list of what the program returns, each value once."""
    if isinstance(value, (list, tuple)):
        return (_sequence(value), tuple(_collect(v, builder, results) for v in value))
    if isinstance(value, dict):
        return ("dict", tuple((k, _collect(v, builder, results)) for k, v in value.items()))
    if not isinstance(value, (Traced, TracedScaled)):
        if value is None or isinstance(value, (bool, int, float, str)):
            return ("constant", type(value).__name__, value)
        raise CompileError(f"expected the function to return arrays, but got {type(value).__name__}")
    if value.builder is not builder:
        raise CompileError("a result belongs to another trace; do not keep traced values")
    common: dict[str, Any]
    if isinstance(value, Traced):
        common = {"dtype": value.dtype, "layout": value.layout}
    else:
        common = {"dtype": None, "format": value.format, "axis": value.axis, "grouped": value.grouped}
    for i, (ssa, _) in enumerate(builder.arguments):
        if ssa == value.ssa and getattr(value, "layout", "full") == builder.layouts[i]:
            return Output(None, i, **common)
    for i, (ssa, _) in enumerate(results):
        if ssa == value.ssa:
            return Output(i, None, **common)
    results.append((value.ssa, value.type))
    return Output(len(results) - 1, None, **common)


def trace(
    function: Callable[..., Any], tree: Any, leaves: list[Leaf], rows: list[int | None] | None = None,
    product_shape: Mapping[str, int] | None = None, tensor_core_sums: bool = False,
) -> Trace:  # fmt: skip
    """Runs the function on traced values. `rows`: the first size of every leaf in the call that is traced.

    Raises CompileError for what the language refuses.
    """
    name = re.sub(r"\W", "_", getattr(function, "__name__", "function"), flags=re.ASCII).strip("_") or "function"
    name = f"_{name}" if name[0].isdigit() else name
    builder = Builder(name)
    traced = [_argument(builder, leaf, r) for leaf, r in zip(leaves, rows or [None] * len(leaves), strict=True)]
    args, kwargs = unflatten(tree, traced)
    returned = function(*args, **kwargs)
    results: list[tuple[str, Type]] = []
    outputs = _collect(returned, builder, results)
    specialized = []
    for i, value in enumerate(traced):
        first = value.type.shape[0] if value.type.shape else 0
        if isinstance(first, Dim) and first.root().specialized and (number := fixed(first)) is not None:
            specialized.append((i, number))
    return Trace(builder.module(results, product_shape or {}, tensor_core_sums), outputs, not results, tuple(specialized))
