"""Random programs: a list of small whole numbers is a program, which runs on vernier and on NumPy alike.

Only operations whose bits the contract fixes are drawn: correctly rounded arithmetic, maxima, conversions, moves.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import vernier as vn
from helpers import from_reference, to_reference
from vernier import reference as ref

F32 = np.float32
FORMATS = (vn.FP8, vn.MXFP4, vn.MXFP8, vn.MXFP4.replace(scale_rule="even"), vn.FP8.replace(scale_rule="floor"))


class NumpyBackend:
    """The operations in NumPy and the reference."""

    def binary(self, name: str, a: Any, b: Any) -> Any:
        op = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "max": np.maximum, "min": np.minimum}[name]
        with np.errstate(all="ignore"):
            return op(a, b, dtype=F32)

    def scalar(self, a: Any, value: float) -> Any:
        with np.errstate(all="ignore"):
            return (a * F32(value) + F32(0.5)).astype(F32)

    def gate(self, a: Any, b: Any) -> Any:
        return np.where(a > b, a, F32(0.25) * b).astype(F32)

    def root(self, a: Any) -> Any:
        with np.errstate(all="ignore"):
            return np.sqrt(np.abs(a), dtype=F32)

    def bf16(self, a: Any) -> Any:
        with np.errstate(all="ignore"):
            return a.astype(vn.bfloat16.numpy).astype(F32)

    def row_max(self, a: Any) -> Any:
        return a.max(axis=1)

    def split(self, a: Any) -> Any:
        return a[:, : a.shape[1] // 2], a[:, a.shape[1] // 2 :]

    def concat(self, a: Any, b: Any) -> Any:
        return np.concatenate([a, b], axis=1)

    def quantize(self, a: Any, format: vn.Format, axis: int) -> Any:
        return from_reference(ref.quantize(a, format, axis), axis)

    def requantize(self, t: Any, format: vn.Format) -> Any:
        return from_reference(ref.requantize(to_reference(t), format))

    def dequantize(self, t: Any) -> Any:
        return ref.dequantize(to_reference(t))

    def turn(self, t: Any) -> Any:
        if isinstance(t, vn.ScaledTensor):
            return from_reference(ref.transpose(to_reference(t)))
        return t.T.copy()

    def permute(self, x: Any, index: Any) -> Any:
        if isinstance(x, vn.ScaledTensor):
            return from_reference(ref.permute(to_reference(x), index))
        return ref.permute(x, index)


class VernierBackend:
    """The same operations, traced."""

    def binary(self, name: str, a: Any, b: Any) -> Any:
        return {"add": vn.add, "sub": vn.subtract, "mul": vn.multiply, "max": vn.maximum, "min": vn.minimum}[name](a, b)

    def scalar(self, a: Any, value: float) -> Any:
        return a * value + 0.5

    def gate(self, a: Any, b: Any) -> Any:
        return vn.where(a > b, a, 0.25 * b)

    def root(self, a: Any) -> Any:
        return vn.sqrt(vn.abs(a))

    def bf16(self, a: Any) -> Any:
        return vn.cast(vn.cast(a, vn.bfloat16), vn.float32)

    def row_max(self, a: Any) -> Any:
        return a.max(axis=1)

    def split(self, a: Any) -> Any:
        return vn.split(a, 2)

    def concat(self, a: Any, b: Any) -> Any:
        return vn.concat([a, b])

    def quantize(self, a: Any, format: vn.Format, axis: int) -> Any:
        return vn.quantize(a, format, axis)

    def requantize(self, t: Any, format: vn.Format) -> Any:
        return vn.requantize(t, format)

    def dequantize(self, t: Any) -> Any:
        return vn.dequantize(t)

    def turn(self, t: Any) -> Any:
        return vn.transpose(t)

    def permute(self, x: Any, index: Any) -> Any:
        return vn.permute(x, index)


@dataclasses.dataclass
class Item:
    """A value of a program: "matrix" [M, width], "column" [M, 1], "row" [1, width], or "scaled" with blocks along rows."""

    kind: str
    value: Any
    width: int = 0


Step = tuple[int, int, int, int]


def run(program: list[Step], backend: Any, x: Any, gain: Any, weight: Any, index: Any, width: int) -> list[Any]:
    """Runs a program: every step picks an operation and operands among those that fit, and appends its result."""
    items = [Item("matrix", x, width), Item("row", gain[None, :], width), Item("column", weight[:, None])]
    used: set[int] = set()
    results: list[Any] = []

    def pick(kind: str, choice: int, width: int | None = None) -> Item:
        fitting = [i for i, it in enumerate(items) if it.kind == kind and (width is None or it.width == width)]
        index = fitting[-1 - choice % len(fitting)]
        used.add(index)
        return items[index]

    for op, i, j, k in program:
        a = pick("matrix", i)
        match op % 12:
            case 0:
                b = pick("matrix", j, a.width)
                items.append(
                    Item("matrix", backend.binary(("add", "sub", "mul", "max", "min")[k % 5], a.value, b.value), a.width)
                )
            case 1:
                b = pick("column", j)
                items.append(Item("matrix", backend.binary(("mul", "add", "min")[k % 3], a.value, b.value), a.width))
            case 2:
                if a.width == width:
                    items.append(Item("matrix", backend.binary(("mul", "sub")[k % 2], a.value, pick("row", j).value), a.width))
            case 3:
                items.append(Item("matrix", backend.scalar(a.value, (0.5, -2.0, 3.0)[k % 3]), a.width))
            case 4:
                b = pick("matrix", j, a.width)
                items.append(Item("matrix", backend.gate(a.value, b.value), a.width))
            case 5:
                items.append(Item("matrix", (backend.root if k % 2 else backend.bf16)(a.value), a.width))
            case 6:
                items.append(Item("column", backend.row_max(a.value)[:, None]))
            case 7:
                if k % 2 and a.width % 64 == 0:
                    for half in backend.split(a.value):
                        items.append(Item("matrix", half, a.width // 2))
                elif a.width >= 40:
                    start = (0, 8, 16, 33)[j % 4]
                    stop = min(a.width, start + (32, 96, 128)[k % 3])
                    if stop - start > 1:
                        items.append(Item("matrix", a.value[:, start:stop], stop - start))
            case 8:
                b = pick("matrix", j)
                if a.width + b.width <= 1024:
                    items.append(Item("matrix", backend.concat(a.value, b.value), a.width + b.width))
            case 9:
                format = FORMATS[k % len(FORMATS)]
                if a.width % format.block[1] == 0:
                    t = backend.quantize(a.value, format, -1)
                    items.append(Item("scaled", t, a.width))
                    if j % 2:
                        items.append(Item("matrix", backend.dequantize(t), a.width))
            case 10:
                if any(it.kind == "scaled" for it in items):
                    t = pick("scaled", i)
                    if j % 3 == 0:
                        results.append(backend.turn(t.value))
                    elif j % 3 == 1 and t.width % FORMATS[k % len(FORMATS)].block[1] == 0:
                        items.append(Item("scaled", backend.requantize(t.value, FORMATS[k % len(FORMATS)]), t.width))
                    else:
                        results.append(backend.permute(t.value, index))
            case 11:
                if j % 3 == 0:
                    results.append(backend.turn(a.value))
                elif j % 3 == 1:
                    format = FORMATS[k % len(FORMATS)]
                    if not (format.packed and a.width % 2):
                        results.append(backend.turn(backend.quantize(a.value, format, 0)))
                else:
                    results.append(backend.permute(a.value, index))
    # Whatever nothing used is a result.
    results += [it.value for i, it in enumerate(items) if i > 2 and i not in used]
    return results[-6:]
