"""Element types of plain arrays."""

from __future__ import annotations

import dataclasses
from typing import Any

import ml_dtypes
import numpy as np


@dataclasses.dataclass(frozen=True)
class DType:
    """A plain element type: its name here, in MLIR and in NumPy."""

    name: str
    mlir: str
    numpy: np.dtype[Any]

    @property
    def is_float(self) -> bool:
        return self.mlir in ("f32", "bf16", "f16")

    @property
    def torch_name(self) -> str:
        return "bool" if self.mlir == "i1" else self.name

    @property
    def torch(self) -> Any:
        """The same type of torch, which this module does not import for others."""
        import torch

        return getattr(torch, self.torch_name)

    def __repr__(self) -> str:
        return f"vernier.{self.name}"


float32 = DType("float32", "f32", np.dtype(np.float32))
bfloat16 = DType("bfloat16", "bf16", np.dtype(ml_dtypes.bfloat16))
float16 = DType("float16", "f16", np.dtype(np.float16))
int32 = DType("int32", "i32", np.dtype(np.int32))
int64 = DType("int64", "i64", np.dtype(np.int64))
uint8 = DType("uint8", "i8", np.dtype(np.uint8))
bool_ = DType("bool_", "i1", np.dtype(np.bool_))

ALL = (float32, bfloat16, float16, int32, int64, uint8, bool_)
BY_MLIR = {d.mlir: d for d in ALL}
BY_NUMPY = {d.numpy: d for d in ALL}
BY_NAME = {d.name: d for d in ALL} | {"bool": bool_}


def as_dtype(value: Any) -> DType:
    """A DType from one of this module, a NumPy dtype, a torch dtype or a name. Raises TypeError."""
    if isinstance(value, DType):
        return value
    name = str(value).removeprefix("torch.")
    if name in BY_NAME:
        return BY_NAME[name]
    try:
        return BY_NUMPY[np.dtype(value)]
    except (TypeError, KeyError):
        raise TypeError(f"expected one of {', '.join(d.name for d in ALL)}, but got {value!r}") from None
