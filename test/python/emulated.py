"""Arrays in the memory of an emulated GPU (test/emulator): the runtime and its kernels as they are, on a machine without a GPU."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any

import numpy as np
from vernier import arrays, kinds
from vernier.dtypes import BY_NUMPY, DType

LIBRARY = Path(__file__).resolve().parents[2] / "build" / "emulator" / "libcuda.so.1"


class Array:
    """A contiguous array; `numpy` is a copy of what is in it."""

    def __init__(self, shape: tuple[int, ...], dtype: DType) -> None:
        self.shape, self.dtype = tuple(shape), dtype
        self.size = int(np.prod(self.shape, dtype=np.int64)) * dtype.numpy.itemsize
        address = ctypes.c_uint64()
        # At least something: an empty array has an address too. No more: what kernels do beyond the end is an error.
        assert _driver.cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(self.size or 16)) == 0
        self.address = int(address.value)

    def __del__(self) -> None:
        _driver.cuMemFree_v2(ctypes.c_uint64(self.address))

    def reshape(self, shape: tuple[int, ...]) -> Array:
        return Array.of(self.numpy.reshape(shape))

    @staticmethod
    def of(array: Any) -> Array:
        array = np.ascontiguousarray(array) if np.ndim(array) else np.asarray(array)
        if array.dtype not in BY_NUMPY:
            array = array.view(np.uint8)
        made = Array(array.shape, BY_NUMPY[array.dtype])
        ctypes.memmove(made.address, array.ctypes.data, made.size)
        return made

    @property
    def numpy(self) -> np.ndarray:
        made = np.empty(self.shape, self.dtype.numpy)
        ctypes.memmove(made.ctypes.data, self.address, self.size)
        return made


class Kind(kinds.Kind):
    name = "emulated"

    def view(self, array: Any, codes: bool) -> kinds.View:
        return kinds.View(array.address, array.shape, array.dtype, array, 0)

    def empty(self, shape: tuple[int, ...], dtype: DType, device: int) -> Any:
        return Array(shape, dtype) if device != kinds.HOST else np.empty(shape, dtype.numpy)

    def scalar(self, value: Any, dtype: DType, device: int) -> Any:
        return Array.of(np.asarray(value, dtype.numpy))


def install() -> None:
    """Loads the emulator under the driver's name, and has vernier know its arrays."""
    global _driver
    os.environ["VERNIER_PTXAS"] = ""  # it runs PTX
    _driver = ctypes.CDLL(str(LIBRARY), mode=os.RTLD_LOCAL)
    kind, others = Kind(), kinds.kind_of

    def kind_of(value: Any) -> kinds.Kind | None:
        return kind if isinstance(value, Array) else others(value)

    kinds.kind_of = arrays.kind_of = kind_of


_driver: Any = None
