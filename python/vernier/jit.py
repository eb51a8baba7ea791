"""Functions that compile when they are called."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any, overload

from . import _vernier
from .arrays import ArraySpec, ScaledSpec, ScaledTensor, note_writes
from .calls import CallValue, call_value, device_of
from .dtypes import DType
from .errors import CompileError
from .formats import Format
from .kinds import HOST, Raw
from .language.values import any_traced
from .program import Program
from .toolchain import ptxas
from .trace import Leaf, Output, Trace, flatten, leaf_of_spec, trace


class Jit:
    """A compiled function. Call it with arrays; it compiles once for every combination of types and column sizes.

    With `out`, results are written to arrays of the caller: put together as the results are, of their shapes and types, contiguous,
    on their device (or a peer's memory that is mapped there), and apart from all arguments. `out` is returned.
    Raises LaunchError where it is anything else.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        kernels: int = 0,
        fuse: bool = True,
        product_shape: Mapping[str, int] | None = None,
        tensor_core_sums: bool = False,
    ) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.max_kernels, self.fuse, self.product_shape = kernels, fuse, dict(product_shape or {})
        self.tensor_core_sums = tensor_core_sums
        self._programs: dict[Any, list[Program]] = {}
        self._compiling: dict[Any, threading.RLock] = {}
        self._guard = threading.Lock()
        self._fast: _vernier.FastCalls | None = None
        try:
            self._parameters = list(inspect.signature(function).parameters)
        except (TypeError, ValueError):
            self._parameters = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        out = kwargs.pop("out") if "out" in kwargs and "out" not in self._parameters else None
        if self._fast is not None and not kwargs:
            result = self._fast.call(args, out)
            if result is not NotImplemented:
                if out is not None:
                    note_writes(out)
                return result
        if any_traced(args) or any_traced(kwargs.values()):
            if out is not None:
                raise CompileError("out: a function that is part of another has no results of its own in memory")
            return self.function(*args, **kwargs)
        program, values, originals = self._prepare(args, kwargs)
        result = program.call(values, originals, out)
        if out is not None:
            note_writes(out)
        if not kwargs:
            self._remember(program, args)
        return result

    def launcher(self, *args: Any) -> Launcher:
        """Launches by addresses, for arguments like these arrays and with these constants."""
        originals: list[Any] = []
        tree = ("tuple", (flatten(args, originals), flatten({}, originals)))
        values = [call_value(v) for v in originals]
        device = device_of(values, originals)
        leaves, names = [v.leaf for v in values], self._leaf_names(args)  # not the arrays, which would live as long as it
        target = "host" if device == HOST else "sm_90a"
        return Launcher(device, lambda rows: self._specialized(tree, leaves, rows, lambda: names, target))

    def with_product_shape(self, shape: Mapping[str, int]) -> Jit:
        """The same function with other shapes of products' tiles on a GPU (see `jit`)."""
        return Jit(self.function, self.max_kernels, self.fuse, shape, self.tensor_core_sums)

    def _remember(self, program: Program, args: tuple[Any, ...]) -> None:
        """Lets later calls like this one take the short way, where it has one: torch tensors on a GPU and constants, results in a flat tuple."""
        torch = sys.modules.get("torch")
        outputs = program.trace.outputs
        flat = [outputs] if isinstance(outputs, Output) else list(outputs[1]) if outputs[0] == "tuple" else []
        plain = all(isinstance(o, Output) and o.result == i and o.layout == "full" for i, o in enumerate(flat))
        if torch is None or not flat or not plain or program.program is None or program.program.target == "host":
            return
        if not hasattr(torch.Tensor, "__dlpack_c_exchange_api__"):  # PyTorch before 2.10
            return
        if self._fast is None:
            self._fast = _vernier.FastCalls(torch, ScaledTensor, (Format, DType, torch.dtype))
        signature = self._fast.signature(args)
        if signature is None:
            return
        results = []
        for o in flat:
            dtypes = ["uint8", "uint8", "float32"] if o.dtype is None else [o.dtype.torch_name]
            results.append((dtypes, o.format, o.axis, o.grouped))
        self._fast.add(signature, program.program, results, isinstance(outputs, Output))

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def _prepare(self, args: Any, kwargs: Any) -> tuple[Program, list[CallValue], list[Any]]:
        originals: list[Any] = []
        tree = ("tuple", (flatten(args, originals), flatten(kwargs, originals)))
        values = [call_value(v) for v in originals]
        target = "host" if all(v.device == HOST for v in values) else "sm_90a"
        rows = [v.raw[0][0] if v.raw[0] else None for v in values]
        leaves = [v.leaf for v in values]
        return self._specialized(tree, leaves, rows, lambda: self._leaf_names(args), target), values, originals

    def _specialized(
        self, tree: Any, leaves: list[Leaf], rows: list[int | None], names: Callable[[], list[str]], target: str
    ) -> Program:
        key = (tree, tuple(leaves), target)

        def known() -> Program | None:
            return next((p for p in self._programs.get(key, ()) if p.trace.serves(rows)), None)

        program = known()
        if program is not None:
            return program
        with self._guard:
            lock = self._compiling.setdefault(key, threading.RLock())
        with lock:  # one compilation for a key; other keys go on, and so does a function that calls itself
            program = known()
            if program is None:
                traced = trace(self.function, tree, leaves, rows, self.product_shape, self.tensor_core_sums)
                program = Program(traced, self.max_kernels, target, names(), _vernier.default_cache_folder(), self.fuse)
                self._programs.setdefault(key, []).append(program)
            return program

    def _leaf_names(self, args: Any) -> list[str]:
        """A name for every leaf of the positional arguments."""
        names: list[str] = []
        for i, arg in enumerate(args):
            leaves: list[Any] = []
            flatten(arg, leaves)
            name = self._parameters[i] if i < len(self._parameters) else f"#{i}"
            names += [name] * len(leaves)
        return names

    def ir(self, phase: str, *args: Any, target: str | None = None, **kwargs: Any) -> str:
        """The program at a phase, for these arguments (arrays or specs).

        Args:
            phase: "input" or "fused"; "loops" or "llvm" of the host; "tiled", "scheduled", "nvvm", "ptx" or "cubin" (the
                assembler's report) of sm_90a.
            target: "host" or "sm_90a"; by default, the one that has the phase, and the host for those that both have.

        Raises CompileError for an unknown phase.
        """
        module = self._trace_for(args, kwargs).module
        if target is None:
            on_host = {name: host for name, _, _, host, _ in _vernier.phases()}
            target = "host" if on_host.get(phase, True) else "sm_90a"
        return _vernier.lower(module, "input", phase, False, target, self.max_kernels, ptxas(target), self.fuse)[-1][2]

    def _trace_for(self, args: Any, kwargs: Any) -> Trace:
        originals: list[Any] = []
        tree = ("tuple", (flatten(args, originals), flatten(kwargs, originals)))
        leaves: list[Leaf] = []
        rows: list[int | None] = []
        for v in originals:
            value = None if isinstance(v, (ArraySpec, ScaledSpec)) else call_value(v)
            leaves.append(leaf_of_spec(v) if value is None else value.leaf)
            rows.append(value.raw[0][0] if value is not None and value.raw[0] else None)
        return trace(self.function, tree, leaves, rows, self.product_shape, self.tensor_core_sums)

    def explain(self, *args: Any, target: str | None = None, **kwargs: Any) -> str:
        """What a call with these arguments does: kernels, why they are apart, bytes, floor, schedule.

        Args:
            args: arrays, or specs with all their sizes in place of all arrays.
            target: with specs, "host" or "sm_90a"; by default, the host.

        Raises CompileError for specs without sizes.
        """
        from .explain import explain

        target, kernels = self.kernels(*args, target=target, **kwargs)
        return explain(self.function.__name__, kernels, target)

    def kernels(self, *args: Any, target: str | None = None, **kwargs: Any) -> tuple[str, list[dict[str, Any]]]:
        """What `explain` prints, as data: the target, and every kernel's name, operations, reasons, schedule and bytes."""
        leaves: list[Any] = []
        tree = ("tuple", (flatten(args, leaves), flatten(kwargs, leaves)))
        specs = [v for v in leaves if isinstance(v, (ArraySpec, ScaledSpec))]
        if not specs:
            program, values, _ = self._prepare(args, kwargs)
            found = program.program.target if program.program is not None else "host"
            if target not in (None, found):
                raise CompileError(f"expected specs in place of arrays to explain {target}; these arrays run on {found}")
            return found, program.kernels(values)
        if len(specs) < len(leaves) or any(None in spec.shape for spec in specs):
            raise CompileError("expected arrays alone, or specs alone, with all their sizes")
        shapes: list[list[int]] = [[int(size or 0) for size in spec.shape] for spec in specs]
        program = self._specialized(
            tree, [leaf_of_spec(dataclasses.replace(spec, shape=(None, *spec.shape[1:])) if spec.shape else spec) for spec in specs],
            [shape[0] if shape else None for shape in shapes], lambda: self._leaf_names(args), target or "host",
        )  # fmt: skip
        return target or "host", program.program.kernels(shapes) if program.program is not None else []


class Launcher:
    """A compiled function that is launched with addresses in place of arrays, for callers that count microseconds of Python.

    Nothing is looked at but sizes: memory must be where it is said to be, aligned to 16 bytes on a GPU, and live until the launch
    has ended.
    """

    def __init__(self, device: int, specialized: Callable[[list[int | None]], Program]) -> None:
        self.device, self._specialized = device, specialized
        self._known: list[Program] = []

    def __call__(self, values: list[Raw], results: list[Raw], stream: int) -> None:
        """Launches on a stream of the device.

        Args:
            values: of every array argument, its shape and the addresses of its buffers (of scaled ones codes, then scales).
            results: the same of every result.

        Raises LaunchError for sizes that do not fit.
        """
        rows = [shape[0] if shape else None for shape, _ in values]
        program = next((p for p in self._known if p.trace.serves(rows)), None)
        if program is None:
            program = self._specialized(rows)
            self._known.append(program)
        assert program.program is not None
        program.program.run(values, results, self.device, stream)


@overload
def jit(function: Callable[..., Any], /) -> Jit: ...
@overload
def jit(
    *, kernels: int = 0, fuse: bool = True, product_shape: Mapping[str, int] | None = None, tensor_core_sums: bool = False
) -> Callable[[Callable[..., Any]], Jit]: ...
def jit(
    function: Callable[..., Any] | None = None, /, *, kernels: int = 0, fuse: bool = True,
    product_shape: Mapping[str, int] | None = None, tensor_core_sums: bool = False,
) -> Any:  # fmt: skip
    """Compiles a function over arrays into fused kernels.

    The function is traced once for every combination of element types, formats and column sizes; rows are run-time
    sizes, but for those of a product's right operand, which are the result's columns. Python numbers that are floats are run-time scalars; whole numbers, strings, formats and dtypes are constants.

    Args:
        kernels: at most so many launches, also where more would be faster; what cannot be is refused. 0: any number.
        fuse: False: a kernel for every operation, with the same bits but for the order of sums: to see in `explain` and in time what fusion is worth.
        product_shape: of the tiles of matrix products on a GPU, where the model's choice is not wanted: any of warpgroups, slabs,
            cols, cluster, stages and band (see `autotune`, which measures them). All give the same bits.
        tensor_core_sums: on the host, sums of products of 8-bit codes as Hopper's tensor cores make them, bit for bit, in place of
            exact products added in FP32: 32 products and the sum before are aligned to the largest exponent, and what lies below
            13 bits under it is cut off (`vernier.reference.tensor_core_sums`; measured, and said by arXiv 2412.19437, 3.3.2).
    """
    if function is None:
        return lambda f: Jit(f, kernels, fuse, product_shape, tensor_core_sums)
    return Jit(function, kernels, fuse, product_shape, tensor_core_sums)
