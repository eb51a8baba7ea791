"""Writes the IR of one function as text. The one place that builds IR; types are spelled when all sizes are known."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Mapping
from typing import Any

from ..dtypes import DType
from .sizes import Shape, fixed

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def _dims(shape: Shape) -> list[str]:
    return ["?" if (n := fixed(s)) is None else str(n) for s in shape]


@dataclasses.dataclass(frozen=True, eq=False)
class TensorType:
    """tensor<...>"""

    shape: Shape
    dtype: DType

    def __str__(self) -> str:
        return "tensor<" + "x".join([*_dims(self.shape), self.dtype.mlir]) + ">"


@dataclasses.dataclass(frozen=True, eq=False)
class ScaledType:
    """!mx.scaled<...>"""

    shape: Shape
    format: str
    grouped: bool = False

    def __str__(self) -> str:
        return f"!mx.scaled<{'x'.join(_dims(self.shape))}, {self.format}{', grouped' if self.grouped else ''}>"


Type = TensorType | ScaledType


def _caller() -> str:
    """Source position of the user's line that led here."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    file = frame.f_code.co_filename.replace("\\", "\\\\").replace('"', '\\"')
    return f' loc("{file}":{frame.f_lineno}:1)'


class Builder:
    """One function under construction."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.arguments: list[tuple[str, Type]] = []
        self.layouts: list[str] = []
        self._lines: list[tuple[Any, ...]] = []
        self._constants: dict[tuple[str, Any], str] = {}
        self._next = 0

    def argument(self, type: Type, layout: str = "full") -> str:
        """Adds an argument; `layout` is how Python sees it (see Traced)."""
        ssa = f"%arg{len(self.arguments)}"
        self.arguments.append((ssa, type))
        self.layouts.append(layout)
        return ssa

    def op(self, *parts: Any) -> str:
        """Adds `%n = parts...`; parts are text and types. Returns the name of the result."""
        ssa = f"%{self._next}"
        self._next += 1
        self._lines.append((ssa, " = ", *parts, _caller()))
        return ssa

    def constant(self, value: float | int | bool, dtype: DType) -> str:
        """A scalar constant, made once."""
        key = (dtype.mlir, repr(value))
        if key not in self._constants:
            if dtype.is_float:
                import numpy as np

                number = np.float32(value)
                text = f"{number:.9e}" if np.isfinite(number) else f"0x{int(number.view(np.uint32)):08X}"
            else:
                text = str(value).lower()
            self._constants[key] = self.op(f"arith.constant dense<{text}> : ", TensorType((), dtype))
        return self._constants[key]

    def module(self, results: list[tuple[str, Type]], product_shape: Mapping[str, int], tensor_core_sums: bool = False) -> str:
        """The finished module, with what is wanted of its products: see `vernier.jit`."""
        arguments = ", ".join(f"{ssa}: {type}" for ssa, type in self.arguments)
        types = ", ".join(str(type) for _, type in results)
        wish = ", ".join(f"{name} = {int(value)} : i64" for name, value in sorted(product_shape.items()))
        wishes = [f"mx.product_shape = {{{wish}}}"] * bool(wish) + ["mx.tensor_core_sums"] * tensor_core_sums
        attributes = f"attributes {{{', '.join(wishes)}}} " if wishes else ""
        lines = [f"func.func @{self.name}({arguments}) -> ({types}) {attributes}{{"]
        lines += ["  " + "".join(str(part) for part in line) for line in self._lines]
        names = ", ".join(ssa for ssa, _ in results)
        lines += [f"  return {names} : {types}" if results else "  return", "}"]
        return "\n".join(lines) + "\n"
