"""Arrays of other libraries, seen as addresses and shapes."""

from __future__ import annotations

import abc
import ctypes
import dataclasses
import sys
from typing import Any

import numpy as np

from . import _vernier, dtypes
from .dtypes import DType
from .errors import CompileError, LaunchError

HOST = -1
"""The device number of the host's memory; GPUs are numbered from 0."""


def device_name(device: int) -> str:
    return "the CPU" if device == HOST else f"cuda:{device}"


@dataclasses.dataclass(frozen=True)
class View:
    """A contiguous array in memory. `owner` keeps the memory alive."""

    address: int
    shape: tuple[int, ...]
    dtype: DType
    owner: Any
    device: int = HOST


class Kind(abc.ABC):
    """How arrays of one library are read and made."""

    name = ""

    @abc.abstractmethod
    def view(self, array: Any, codes: bool) -> View:
        """`codes`: an array of 8- or 4-bit floats is taken as the bytes it holds."""

    @abc.abstractmethod
    def empty(self, shape: tuple[int, ...], dtype: DType, device: int) -> Any:
        """A new array, not filled."""

    def writable(self, array: Any) -> bool:
        """Whether results may be written to an array of the caller."""
        return True

    def scalar(self, value: Any, dtype: DType, device: int) -> Any:
        """A new array of rank 0 with a number."""
        raise LaunchError(f"expected arrays of one library, but got a number for {self.name} on a device")

    def wrap(self, array: Any) -> Any:
        """What the caller gets for an array that `empty` made."""
        return array

    def stream(self, device: int) -> int:
        """The stream on which the caller's work on a device is ordered."""
        return 0

    def finish(self, device: int) -> None:  # noqa: B027
        """Called after a launch, for libraries that know nothing of its stream."""


class NumpyKind(Kind):
    name = "numpy"

    def view(self, array: Any, codes: bool) -> View:
        if codes and array.dtype.name.startswith(("float8", "float4")) and array.dtype.itemsize == 1:
            array = array.view(np.uint8)
        dtype = dtypes.BY_NUMPY.get(array.dtype)
        if dtype is None:
            raise CompileError(
                f"expected an array of {', '.join(d.name for d in dtypes.ALL)}, but got {array.dtype}; convert it first, or wrap codes in a ScaledTensor"
            )
        if not array.flags.c_contiguous:
            # 0-d arrays are always contiguous; ascontiguousarray would make them 1-d.
            array = np.ascontiguousarray(array)
        return View(array.ctypes.data, array.shape, dtype, array)

    def empty(self, shape: tuple[int, ...], dtype: DType, device: int) -> Any:
        return np.empty(shape, dtype.numpy)

    def writable(self, array: Any) -> bool:
        return isinstance(array, np.ndarray) and bool(array.flags.writeable)


class TorchKind(Kind):
    name = "torch"

    def view(self, array: Any, codes: bool) -> View:
        import torch

        if array.device.type not in ("cpu", "cuda"):
            raise CompileError(f"expected a CPU or CUDA tensor, but got one on {array.device}")
        array = array.detach()
        if array.layout is not torch.strided:
            raise CompileError(f"expected a dense tensor, but got {array.layout}")
        if codes and str(array.dtype).startswith(("torch.float8", "torch.float4")):
            array = array.view(torch.uint8)
        try:
            dtype = dtypes.as_dtype(array.dtype)
        except TypeError as error:
            raise CompileError(f"{error}; convert the tensor first, or wrap codes in a ScaledTensor") from None
        array = array.resolve_conj().resolve_neg().contiguous()
        if array.is_cuda and array.data_ptr() % 16:
            array = array.clone()  # kernels read 16 bytes at a time
        return View(array.data_ptr(), tuple(array.shape), dtype, array, array.get_device())

    def empty(self, shape: tuple[int, ...], dtype: DType, device: int) -> Any:
        import torch

        return torch.empty(shape, dtype=dtype.torch, device="cpu" if device == HOST else torch.device("cuda", device))

    def scalar(self, value: Any, dtype: DType, device: int) -> Any:
        import torch

        return torch.full((), value, dtype=dtype.torch, device=torch.device("cuda", device))

    def stream(self, device: int) -> int:
        import torch

        return int(torch._C._cuda_getCurrentRawStream(device))


class _DLTensor(ctypes.Structure):
    # dlpack.h, the part that every version shares.
    _fields_ = [
        ("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32), ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16), ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)), ("byte_offset", ctypes.c_uint64),
    ]  # fmt: skip


_DLPACK_CUDA, _DLPACK_CPUS = 2, (1, 3)


class DLPackKind(Kind):
    """Anything else that speaks DLPack; results are made by the array's own namespace."""

    name = "dlpack"

    def __init__(self, namespace: Any) -> None:
        self.namespace = namespace

    def view(self, array: Any, codes: bool) -> View:
        device_type, device = array.__dlpack_device__()
        if int(device_type) in _DLPACK_CPUS:
            return NUMPY.view(np.from_dlpack(array), codes)
        if int(device_type) != _DLPACK_CUDA:
            raise CompileError(f"expected an array on the CPU or on CUDA, but got DLPack device {(device_type, device)}")
        name = str(array.dtype)
        if codes and name.startswith(("float8", "float4")):
            name = "uint8"
        try:
            dtype = dtypes.as_dtype(name)
        except TypeError as error:
            raise CompileError(f"{error}; convert the array first, or wrap codes in a ScaledTensor") from None
        # The producer makes its work visible to our stream; 1 is the default one, which 0 means elsewhere.
        capsule = array.__dlpack__(stream=self.stream(device) or 1)
        get = ctypes.pythonapi.PyCapsule_GetPointer
        get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
        tensor = _DLTensor.from_address(get(capsule, b"dltensor"))
        shape = tuple(tensor.shape[i] for i in range(tensor.ndim))
        step = 1
        for i in reversed(range(tensor.ndim)):
            if tensor.strides and shape[i] != 1 and tensor.strides[i] != step:
                raise LaunchError("expected a contiguous array; make a copy first")
            step *= shape[i]
        return View((tensor.data or 0) + tensor.byte_offset, shape, dtype, (array, capsule), int(device))

    def empty(self, shape: tuple[int, ...], dtype: DType, device: int) -> Any:
        if device == HOST:
            return np.empty(shape, dtype.numpy)
        if self._is_cupy:
            with self.namespace.cuda.Device(device):
                return self.namespace.empty(shape, dtype.numpy)
        import jax  # the one other library with CUDA arrays and a namespace

        with jax.default_device(jax.devices("cuda")[device]):
            return jax.numpy.empty(shape, dtype.numpy).block_until_ready()

    def scalar(self, value: Any, dtype: DType, device: int) -> Any:
        if self._is_cupy:
            with self.namespace.cuda.Device(device):
                return self.namespace.full((), value, dtype.numpy)
        import jax

        with jax.default_device(jax.devices("cuda")[device]):
            return jax.numpy.full((), value, dtype.numpy).block_until_ready()

    def writable(self, array: Any) -> bool:
        return self._is_cupy  # arrays of JAX never change

    def wrap(self, array: Any) -> Any:
        return self.namespace.from_dlpack(array) if isinstance(array, np.ndarray) else array

    @property
    def _is_cupy(self) -> bool:
        return str(self.namespace.__name__).startswith("cupy")

    def stream(self, device: int) -> int:
        if device == HOST or not self._is_cupy:
            return 0
        with self.namespace.cuda.Device(device):
            return int(self.namespace.cuda.get_current_stream().ptr)

    def finish(self, device: int) -> None:
        if device != HOST and not self._is_cupy:
            _vernier.synchronize(device, 0)


NUMPY = NumpyKind()
TORCH = TorchKind()


def is_array(value: Any) -> bool:
    return kind_of(value) is not None


def kind_of(value: Any) -> Kind | None:
    """The library of an array, or None for what is no array."""
    if isinstance(value, (np.ndarray, np.generic)):
        return NUMPY
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return TORCH
    if hasattr(value, "__dlpack__"):
        if hasattr(value, "__array_namespace__"):
            return DLPackKind(value.__array_namespace__())
        if type(value).__module__.split(".")[0] == "cupy":
            return DLPackKind(sys.modules["cupy"])
    return None


def view(value: Any, codes: bool = False) -> View:
    """Address, shape and type of an array; with `codes`, of the bytes of an array of 8- or 4-bit floats."""
    kind = kind_of(value)
    if kind is None:
        raise CompileError(f"expected an array (NumPy, torch, or with DLPack), but got {type(value).__name__}")
    if isinstance(value, np.generic):
        value = np.asarray(value)
    return kind.view(value, codes)


Raw = tuple[tuple[int, ...], list[int]]
"""A value as the runtime takes it: its shape and the addresses of its buffers."""

Result = tuple[tuple[int, ...], list[Any]]
"""A value as it comes back: its shape and its arrays."""


def run(
    program: _vernier.Program,
    raws: list[Raw],
    plan: list[Any],
    kind: Kind,
    device: int,
    result_dtypes: dict[int, DType],
    given: list[list[Any]] | None = None,
) -> list[Result]:
    """Runs a program on its arguments; results are arrays of a library, of the shapes in `plan` (`Program.prepare`).

    `result_dtypes` names the types of results that the runtime knows only as bytes; `given` are arrays to write them to, in
    place of new ones. Raises LaunchError for a given array of another shape, type or device, or one that is not contiguous.
    """
    wanted = [
        [
            (tuple(shape), (result_dtypes.get(i) if len(buffers) == 1 else None) or dtypes.BY_MLIR[element])
            for element, shape in buffers
        ]
        for i, (_, buffers) in enumerate(plan)
    ]
    if given is None:
        made = [[kind.empty(shape, dtype, device) for shape, dtype in buffers] for buffers in wanted]
        addresses = [[view(array).address for array in arrays] for arrays in made]
    else:
        made = given
        addresses = [[_written(a, *buffer, device) for a, buffer in zip(*result)] for result in zip(made, wanted)]
    outs = [(shape, found) for (shape, _), found in zip(plan, addresses)]
    program.run(raws, outs, device, 0 if device == HOST else kind.stream(device))
    kind.finish(device)
    return [(shape, [kind.wrap(a) for a in arrays]) for (shape, _), arrays in zip(plan, made)]


def own_address(array: Any) -> int | None:
    """Where an array begins, whatever its strides; None for a library that does not say."""
    pointer = getattr(array, "data_ptr", None)
    return int(pointer()) if pointer is not None else getattr(getattr(array, "ctypes", None), "data", None)


def _written(array: Any, shape: tuple[int, ...], dtype: DType, device: int) -> int:
    """The address of an array that a caller gave for a result."""
    seen = view(array, codes=dtype.name == "uint8")
    kind = kind_of(array)
    if kind is None or not kind.writable(array):
        raise LaunchError(f"out: expected an array that may be written to, but got a read-only one ({type(array).__name__})")
    address = own_address(array) or seen.address
    if seen.shape != shape or seen.dtype.mlir != dtype.mlir or seen.device != device:
        raise LaunchError(
            f"out: expected {dtype.name} of shape {shape} on {device_name(device)}, but got {seen.dtype.name} of shape "
            f"{seen.shape} on {device_name(seen.device)}"
        )
    if address != seen.address:  # what was seen is a copy
        raise LaunchError("out: expected contiguous arrays, on a GPU aligned to 16 bytes")
    return seen.address
