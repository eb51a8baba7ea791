"""Block formats: an element type, a block that shares a scale, and the rule that sets it."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

ScaleRule = Literal["floor", "even", "ceil", "nearest"]
Rounding = Literal["nearest_even", "stochastic"]

_MLIR_ELEMENT = {"e4m3": "f8E4M3FN", "e2m1": "f4E2M1FN"}
_MLIR_SCALE = {"e8m0": "f8E8M0FNU", "e4m3": "f8E4M3FN"}


@dataclasses.dataclass(frozen=True)
class Format:
    """A block format. Immutable; `replace` gives a variant.

    Attributes:
        name: for people.
        element: "e4m3" (8 bits, max 448) or "e2m1" (4 bits, max 6).
        block: rows x columns that share a scale; (1, 32) runs along the contracted axis.
        scale: "e8m0", a power of two in one byte, or "e4m3", relative to one FP32 scale of the tensor.
        scale_rule: "floor" (OCP MX v1.0), "even", "ceil"; "nearest" goes with E4M3 scales.
        rounding: "nearest_even" or "stochastic" (Philox, keyed by seed and element index).
    """

    name: str
    element: Literal["e4m3", "e2m1"]
    block: tuple[int, int]
    scale: Literal["e8m0", "e4m3"] = "e8m0"
    scale_rule: ScaleRule = "floor"
    rounding: Rounding = "nearest_even"

    def __post_init__(self) -> None:
        for name, known in (("element", _MLIR_ELEMENT), ("scale", _MLIR_SCALE)):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{self.name}: expected {name} to be one of {', '.join(known)}, but got {getattr(self, name)!r}"
                )
        sides = self.block
        if any(s not in (1, 2, 4, 8, 16, 32, 64, 128) for s in sides) or sides == (1, 1):
            raise ValueError(
                f"{self.name}: expected a block of powers of two up to 128, and not 1x1, but got {sides[0]}x{sides[1]}"
            )
        if self.scale == "e4m3" and sides[0] != 1:
            raise ValueError(f"{self.name}: E4M3 scales go with blocks along rows, but got {sides[0]}x{sides[1]}")
        rules = ("nearest",) if self.scale == "e4m3" else ("floor", "even", "ceil")
        if self.scale_rule not in rules:
            raise ValueError(f"{self.name}: expected a scale rule of {', '.join(rules)}, but got {self.scale_rule!r}")
        if self.rounding not in ("nearest_even", "stochastic"):
            raise ValueError(f"{self.name}: expected rounding nearest_even or stochastic, but got {self.rounding!r}")

    def replace(self, **changes: Any) -> Format:
        """A copy with some attributes changed, for example `vn.MXFP4.replace(scale_rule="even")`."""
        return dataclasses.replace(self, **changes)

    @property
    def packed(self) -> bool:
        """Two elements share a byte."""
        return self.element == "e2m1"

    def turned(self, axis: int) -> tuple[int, int]:
        """The block with its long side along `axis` (-1: along rows, 0: down columns)."""
        return (self.block[1], self.block[0]) if axis == 0 else self.block

    def mlir(self, axis: int = -1) -> str:
        """The format attribute of the mx dialect."""
        rows, cols = self.turned(axis)
        return f"#mx.format<{_MLIR_ELEMENT[self.element]}, {rows}x{cols}, {_MLIR_SCALE[self.scale]}, {self.scale_rule}>"

    def __repr__(self) -> str:
        return f"vernier.{self.name}"


FP8 = Format("FP8", "e4m3", (1, 128), scale_rule="ceil")
FP8_BLOCK = Format("FP8_BLOCK", "e4m3", (128, 128), scale_rule="ceil")
MXFP8 = Format("MXFP8", "e4m3", (1, 32))
MXFP4 = Format("MXFP4", "e2m1", (1, 32))
NVFP4 = Format("NVFP4", "e2m1", (1, 16), scale="e4m3", scale_rule="nearest")


@dataclasses.dataclass(frozen=True)
class ValueType:
    """Type of a value of an artifact: of the elements of a plain one, or the format of a scaled one."""

    element: str | None
    format: Format | None = None
    axis: int = -1
    grouped: bool = False

    def __str__(self) -> str:
        if self.format is None:
            return str(self.element)
        return f"{self.format.name}, axis {self.axis}" + (", grouped" if self.grouped else "")


def parse_type(text: str) -> ValueType:
    """From what an artifact says: "f32", or "f4E2M1FN:1x32:f8E8M0FNU:floor" and then perhaps ":grouped"."""
    words = text.split(":")
    if len(words) == 1:
        return ValueType(text)
    element = {v: k for k, v in _MLIR_ELEMENT.items()}[words[0]]
    scale = {v: k for k, v in _MLIR_SCALE.items()}[words[2]]
    rows, cols = (int(side) for side in words[1].split("x"))
    axis = 0 if cols == 1 else -1
    block = (cols, rows) if axis == 0 else (rows, cols)
    same = (f for f in (FP8, FP8_BLOCK, MXFP8, MXFP4, NVFP4) if (f.element, f.block, f.scale) == (element, block, scale))
    known = next(same, None)
    if known is not None:
        format = known.replace(scale_rule=words[3])
    else:
        format = Format(f"{element}_{block[0]}x{block[1]}", element, block, scale, words[3])  # type: ignore[arg-type]
    return ValueType(None, format, axis, "grouped" in words[4:])
