"""The scaled tensor, and arguments that are described rather than given."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

import numpy as np

from . import dtypes
from .errors import LaunchError
from .formats import Format
from .kinds import kind_of

_CODES = {"e4m3": ("float8_e4m3fn",), "e2m1": ("float4_e2m1fn_x2", "float4_e2m1fn"), "e8m0": ("float8_e8m0fnu",)}
"""Element types of other libraries whose bytes are the codes."""


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)


@dataclasses.dataclass(frozen=True, eq=False)
class ScaledTensor:
    """A tensor in a block format: codes and scales.

    Attributes:
        payload: uint8; E4M3 bytes [..., M, K], or packed E2M1 [..., M, ceil(K / 2)], the even column in the low nibble.
        scales: uint8, E8M0 (E4M3 for NVFP4); [..., ceil(M / block rows), ceil(K / block columns)].
        format: the block format.
        shape: logical shape, (M, K) or (E, M, K).
        axis: along which a one-dimensional block runs: -1 along a row, 0 down a column.
        tensor_scale: FP32 number of a format with E4M3 scales, else None.
        grouped: the scales have a spare block for each group of columns (see `transpose` with offsets).

    Raises:
        LaunchError: payload or scales are not bytes of the shapes above, or belong to different libraries.
    """

    payload: Any
    scales: Any
    format: Format
    shape: tuple[int, ...]
    axis: int = -1
    tensor_scale: Any = None
    grouped: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(int(s) for s in self.shape))
        if self.axis not in (-1, 0):
            raise LaunchError(f"expected axis -1 or 0, but got {self.axis}")
        if len(self.shape) not in (2, 3):
            raise LaunchError(f"expected a scaled tensor of rank 2 or 3, but got shape {self.shape}")
        kinds = (kind_of(self.payload), kind_of(self.scales))
        if kinds[0] is None or kinds[1] is None:  # traced, or specified: the compiler checks
            return
        if kinds[0].name != kinds[1].name:
            raise LaunchError(f"expected payload and scales of one library, but got {kinds[0].name} and {kinds[1].name}")
        *lead, rows, cols = self.shape
        block = self.format.turned(self.axis)
        expected = {
            "payload": (*lead, rows, _ceil_div(cols, 2) if self.format.packed else cols),
            "scales": (*lead, _ceil_div(rows, block[0]), _ceil_div(cols, block[1])),
        }
        for name, array in (("payload", self.payload), ("scales", self.scales)):
            shape = tuple(array.shape)
            if self.grouped and name == "scales":
                if len(shape) != 2 or shape[0] != expected[name][0] or shape[1] < expected[name][1] - 1:
                    raise LaunchError(f"grouped {self.format.name} of shape {self.shape}: unexpected scales of shape {shape}")
            elif shape != expected[name]:
                raise LaunchError(
                    f"{self.format.name} of shape {self.shape}, axis {self.axis}: expected {name} of shape "
                    f"{expected[name]}, but got {shape}"
                )
            code = self.format.element if name == "payload" else self.format.scale
            dtype = str(array.dtype).removeprefix("torch.")
            if getattr(array.dtype, "itemsize", 1) != 1:
                raise LaunchError(f"expected {name} in bytes (uint8), but got {array.dtype}")
            if dtype.startswith("float") and dtype not in _CODES[code]:
                raise LaunchError(f"{self.format.name}: expected {name} in {_CODES[code][0]} or uint8, but got {dtype}")
        if (self.format.scale == "e4m3") != (self.tensor_scale is not None):
            raise LaunchError(f"{self.format.name}: expected {'a' if self.tensor_scale is None else 'no'} tensor_scale")

    @property
    def nbytes(self) -> int:
        """Bytes of payload and scales."""
        return int(np.prod(self.payload.shape)) + int(np.prod(self.scales.shape)) + (4 if self.tensor_scale is not None else 0)

    def dequantize(self, dtype: Any = dtypes.float32) -> Any:
        """The decoded values, as `vernier.dequantize`."""
        from .language import ops

        return ops.dequantize(self, dtype)

    def __repr__(self) -> str:
        axis = "" if self.axis == -1 else f", axis={self.axis}"
        return f"ScaledTensor({self.format.name}, shape={self.shape}{axis})"


@dataclasses.dataclass(frozen=True)
class ArraySpec:
    """Shape and dtype of a plain argument, for ahead-of-time compilation. None is a run-time size."""

    shape: tuple[int | None, ...]
    dtype: Any


@dataclasses.dataclass(frozen=True)
class ScaledSpec:
    """Shape and format of a scaled argument, for ahead-of-time compilation. None is a run-time size."""

    shape: tuple[int | None, ...]
    format: Format
    axis: int = -1


def _tensors(out: Any) -> list[Any]:
    if isinstance(out, ScaledTensor):
        return [out.payload, out.scales, out.tensor_scale]
    if isinstance(out, dict):
        return _tensors(list(out.values()))
    return [array for value in out for array in _tensors(value)] if isinstance(out, (list, tuple)) else [out]


def note_writes(out: Any) -> None:
    """Tells PyTorch that tensors have changed, so that a backward pass which needs what was there fails. `out`: what a caller
    gave for results, put together in any way."""
    torch = sys.modules.get("torch")
    for array in _tensors(out):
        if torch is not None and isinstance(array, torch.Tensor) and not array.is_inference():
            torch.autograd.graph.increment_version(array)
