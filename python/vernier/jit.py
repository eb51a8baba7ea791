"""Compiling functions and calling them."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import os
import re
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any, overload

import numpy as np

from . import _vernier, kinds
from .arrays import ArraySpec, ScaledSpec, ScaledTensor
from .dtypes import DType
from .errors import CompileError, LaunchError
from .formats import Format
from .kinds import HOST
from .language.values import any_traced
from .toolchain import ptxas
from .trace import Leaf, Output, Trace, flatten, leaf_of_spec, trace

DEFAULT_CACHE_BYTES = 1 << 30


def _cache_limit() -> int:
    text = os.environ.get("VERNIER_CACHE_BYTES", "")
    return int(text) if text.isdigit() else DEFAULT_CACHE_BYTES


@dataclasses.dataclass
class CallValue:
    """An array argument as a call needs it."""

    leaf: Leaf
    raw: kinds.Raw
    kind: kinds.Kind
    owner: Any
    device: int = HOST


def _component(array: Any, name: str) -> kinds.View:
    view = kinds.view(array, codes=True)
    if view.dtype.numpy.itemsize != 1:
        raise LaunchError(f"expected {name} in bytes (uint8), but got {view.dtype.name}")
    return view


def _call_value(value: Any) -> CallValue:
    if isinstance(value, ScaledTensor):
        if value.grouped:
            raise CompileError("nothing here reads a grouped transpose; grouped_wgrad takes its operands by rows")
        kind = kinds.kind_of(value.payload)
        if kind is None:
            raise CompileError(f"expected a scaled tensor of arrays, but got {value!r}")
        payload, scales = _component(value.payload, "payload"), _component(value.scales, "scales")
        addresses, owners = [payload.address, scales.address], [payload.owner, scales.owner]
        devices = {payload.device, scales.device}
        if value.tensor_scale is not None:
            view = kinds.view(value.tensor_scale)
            if view.dtype.mlir != "f32":
                raise LaunchError(f"expected tensor_scale in float32, but got {view.dtype.name}")
            addresses.append(view.address)
            owners.append(view.owner)
            devices.add(view.device)
        if len(devices) > 1:
            raise LaunchError(
                f"expected payload and scales on one device, but got {' and '.join(map(_device_name, sorted(devices)))}"
            )
        leaf = Leaf((None, *value.shape[1:]), format=value.format.replace(rounding="nearest_even"), axis=value.axis)
        return CallValue(leaf, (value.shape, addresses), kind, owners, payload.device)
    kind = kinds.kind_of(value)
    view = kinds.view(value)
    assert kind is not None
    leaf = Leaf((None, *view.shape[1:]) if view.shape else (), dtype=view.dtype)
    shape = view.shape[:1] if leaf.is_column else view.shape
    return CallValue(leaf, (shape, [view.address]), kind, view.owner, view.device)


def _device_name(device: int) -> str:
    return "the CPU" if device == HOST else f"cuda:{device}"


def _device_of(values: list[CallValue], originals: list[Any]) -> int:
    """The device that all arrays are on. Scalars of the host are moved there."""
    device = next((v.device for v in values if v.device != HOST), HOST)
    if device == HOST:
        return HOST
    kind = next(v.kind for v in values if v.device == device)
    for i, value in enumerate(values):
        if value.device == device:
            continue
        if value.device != HOST or value.raw[0]:
            first = next(j for j, v in enumerate(values) if v.device == device)
            raise LaunchError(
                f"expected all arrays on one device, but argument {first} is on {_device_name(device)} and argument {i} on {_device_name(value.device)}"
            )
        assert value.leaf.dtype is not None
        moved = kind.scalar(np.asarray(originals[i]).item(), value.leaf.dtype, device)
        values[i] = dataclasses.replace(value, raw=((), [kinds.view(moved).address]), owner=moved, kind=kind, device=device)
    return device


def _dtypes_of_results(outputs: Any) -> dict[int, DType]:
    """Element types of the plain results, by their number."""
    found: dict[int, DType] = {}

    def visit(tree: Any) -> None:
        if isinstance(tree, Output):
            if tree.result is not None and tree.dtype is not None:
                found[tree.result] = tree.dtype
        elif tree[0] == "dict":
            for _, v in tree[1]:
                visit(v)
        elif tree[0] != "constant":
            for v in tree[1]:
                visit(v)

    visit(outputs)
    return found


def arrays_of(output: Output, value: Any) -> list[Any]:
    """What a caller gave for a result, as the program's buffers."""
    if output.format is not None:
        if not isinstance(value, ScaledTensor) or (value.format.name, value.axis, value.grouped) != (
            output.format.name, output.axis, output.grouped):  # fmt: skip
            raise LaunchError(
                f"out: expected a ScaledTensor of {output.format.name} along axis {output.axis}, but got {value!r}"
            )
        return [value.payload, value.scales] + ([] if value.tensor_scale is None else [value.tensor_scale])
    if kinds.kind_of(value) is None:
        raise LaunchError(f"out: expected an array, but got {type(value).__name__}")
    return [value if output.layout == "full" else value.reshape(-1)]


class Program:
    """One compiled specialisation of a function."""

    def __init__(
        self, traced: Trace, max_kernels: int, target: str, names: list[str], cache_folder: str, fuse: bool = True
    ) -> None:
        self.trace = traced
        self._result_dtypes = _dtypes_of_results(traced.outputs)
        self.names = names
        self.program: _vernier.Program | None = None
        if not traced.empty:
            try:
                self.program = _vernier.load(
                    traced.module, target, max_kernels, ptxas(target), cache_folder, _cache_limit(), fuse
                )
            except CompileError as error:
                raise CompileError(self._readable(str(error))) from None

    def _readable(self, message: str) -> str:
        """Argument numbers with the names that the caller knows."""

        def name(match: re.Match[str]) -> str:
            index = int(match.group(1))
            return f"argument {index} ({self.names[index]})" if index < len(self.names) else match.group(0)

        return re.sub(r"argument (\d+)", name, message)

    def call(self, values: list[CallValue], originals: list[Any], out: Any = None) -> Any:
        try:
            device = _device_of(values, originals)
        except LaunchError as error:
            raise LaunchError(self._readable(str(error))) from None
        raws = [v.raw for v in values]
        kind = next((v.kind for v in values if v.raw[0]), values[0].kind if values else kinds.NUMPY)
        results: list[kinds.Result] = []
        if self.program is not None:
            try:
                plan = self.program.prepare(raws)
            except LaunchError as error:
                raise LaunchError(self._readable(str(error))) from None
            given = None if out is None else self._given(out, len(plan))
            results = kinds.run(self.program, raws, plan, kind, device, self._result_dtypes, given)
        return self._assemble(self.trace.outputs, results, originals) if out is None else out

    def _given(self, out: Any, count: int) -> list[list[Any]]:
        """The arrays of `out`, which is put together as the results are, for each of the program's results."""
        given: list[list[Any]] = [[] for _ in range(count)]

        def visit(tree: Any, value: Any) -> None:
            if isinstance(tree, Output):
                if tree.result is None or given[tree.result]:
                    raise LaunchError("out: a result that is an argument or another result has no memory of its own")
                given[tree.result] = arrays_of(tree, value)
            elif tree[0] == "constant":
                return
            elif tree[0] == "dict":
                if not isinstance(value, dict) or value.keys() != {k for k, _ in tree[1]}:
                    raise LaunchError(f"out: expected a dict with {', '.join(repr(k) for k, _ in tree[1])}")
                for k, v in tree[1]:
                    visit(v, value[k])
            else:
                if not isinstance(value, (list, tuple)) or len(value) != len(tree[1]):
                    raise LaunchError(f"out: expected {len(tree[1])} results in a {tree[0]}")
                for inner, v in zip(tree[1], value):
                    visit(inner, v)

        visit(self.trace.outputs, out)
        return given

    def _assemble(self, tree: Any, results: list[Any], originals: list[Any]) -> Any:
        if isinstance(tree, Output):
            if tree.result is None:
                return originals[tree.argument or 0]
            shape, made = results[tree.result]
            if tree.format is not None:
                return ScaledTensor(made[0], made[1], tree.format, shape, tree.axis, made[2] if len(made) > 2 else None,
                                    tree.grouped)  # fmt: skip
            if tree.layout == "full":
                return made[0]
            return made[0].reshape((*shape, 1) if tree.layout == "rows" else (1, *shape))
        if tree[0] == "constant":
            return tree[2]
        if tree[0] == "dict":
            return {k: self._assemble(v, results, originals) for k, v in tree[1]}
        items = [self._assemble(v, results, originals) for v in tree[1]]
        return items if tree[0] == "list" else tuple(items)

    def kernels(self, values: list[CallValue]) -> list[dict[str, Any]]:
        if self.program is None:
            return []
        return self.program.kernels([list(v.raw[0]) for v in values])


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
    ) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.max_kernels, self.fuse, self.product_shape = kernels, fuse, dict(product_shape or {})
        self._programs: dict[Any, list[Program]] = {}
        self._compiling: dict[Any, threading.RLock] = {}
        self._guard = threading.Lock()
        self._fast: _vernier.FastCalls | None = None
        try:
            self._parameters = list(inspect.signature(function).parameters)
        except (TypeError, ValueError):
            self._parameters = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        out = kwargs.pop("out", None) if "out" not in self._parameters else None
        if self._fast is not None and not kwargs:
            result = self._fast.call(args, out)
            if result is not NotImplemented:
                return result
        if any_traced(args) or any_traced(kwargs.values()):
            return self.function(*args, **kwargs)
        program, values, originals = self._prepare(args, kwargs)
        result = program.call(values, originals, out)
        if not kwargs:
            self._remember(program, args)
        return result

    def with_product_shape(self, shape: Mapping[str, int]) -> Jit:
        """The same function with other shapes of products' tiles on a GPU (see `jit`)."""
        return Jit(self.function, self.max_kernels, self.fuse, shape)

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
        values = [_call_value(v) for v in originals]
        target = "host" if all(v.device == HOST for v in values) else "sm_90a"
        rows = [v.raw[0][0] if v.raw[0] else None for v in values]
        return self._program(tree, [v.leaf for v in values], rows, args, target), values, originals

    def _program(self, tree: Any, leaves: list[Leaf], rows: list[int | None], args: Any, target: str) -> Program:
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
                traced = trace(self.function, tree, leaves, rows, self.product_shape)
                program = Program(
                    traced, self.max_kernels, target, self._leaf_names(args), _vernier.default_cache_folder(), self.fuse
                )
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
            value = None if isinstance(v, (ArraySpec, ScaledSpec)) else _call_value(v)
            leaves.append(leaf_of_spec(v) if value is None else value.leaf)
            rows.append(value.raw[0][0] if value is not None and value.raw[0] else None)
        return trace(self.function, tree, leaves, rows, self.product_shape)

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
        program = self._program(
            tree, [leaf_of_spec(dataclasses.replace(spec, shape=(None, *spec.shape[1:])) if spec.shape else spec) for spec in specs],
            [shape[0] if shape else None for shape in shapes], args, target or "host",
        )  # fmt: skip
        return target or "host", program.program.kernels(shapes) if program.program is not None else []


@overload
def jit(function: Callable[..., Any], /) -> Jit: ...
@overload
def jit(
    *, kernels: int = 0, fuse: bool = True, product_shape: Mapping[str, int] | None = None
) -> Callable[[Callable[..., Any]], Jit]: ...
def jit(
    function: Callable[..., Any] | None = None, /, *, kernels: int = 0, fuse: bool = True,
    product_shape: Mapping[str, int] | None = None,
) -> Any:  # fmt: skip
    """Compiles a function over arrays into fused kernels.

    The function is traced once for every combination of element types, formats and column sizes; rows are run-time
    sizes, but for those of a product's right operand, which are the result's columns. Python numbers that are floats are run-time scalars; whole numbers, strings, formats and dtypes are constants.

    Args:
        kernels: at most so many launches, also where more would be faster; what cannot be is refused. 0: any number.
        fuse: False: a kernel for every operation, with the same bits: to see in `explain` and in time what fusion is worth.
        product_shape: of the tiles of matrix products on a GPU, where the model's choice is not wanted: any of slabs, cols,
            cluster, stages and band (see `autotune`, which measures them). All give the same bits.
    """
    if function is None:
        return lambda f: Jit(f, kernels, fuse, product_shape)
    return Jit(function, kernels, fuse, product_shape)


@dataclasses.dataclass(frozen=True)
class Kernel:
    """One kernel of an artifact.

    Attributes:
        ptx, cubin: of the artifact that the kernel belongs to; empty for the host.
        registers: of a thread.
        spill_bytes: stored and loaded, of a thread, for want of registers.
        shared_bytes: of a block.
        warnings: what the assembler had to say.
    """

    name: str
    schedule: str
    operations: tuple[str, ...]
    reasons: tuple[str, ...]
    ptx: str = dataclasses.field(default="", repr=False)
    cubin: bytes = dataclasses.field(default=b"", repr=False)
    threads: int = 0
    registers: int = 0
    spill_bytes: int = 0
    shared_bytes: int = 0
    warnings: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Artifact:
    """A function compiled ahead of time."""

    name: str
    target: str
    kernels: tuple[Kernel, ...]
    module: str
    code: bytes
    metadata: str
    _program: _vernier.Program = dataclasses.field(repr=False)
    _key: str = dataclasses.field(repr=False)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Adds the function to a bundle: a folder from which `load_bundle`, a process with VERNIER_BUNDLES set, and C
        programs (see runtime/c/vernier.h) take it without compiling. It has the key that the JIT cache would use."""
        _vernier.add_to_bundle(self._program, os.fspath(folder), self._key)


def compile(function: Callable[..., Any], *specs: ArraySpec | ScaledSpec | Any, target: str = "host") -> Artifact:
    """Compiles a function for arguments that are described rather than given. Needs no GPU.

    Args:
        specs: an ArraySpec or ScaledSpec for every array, constants for the rest.
        target: "host" or "sm_90a".

    Raises:
        CompileError: the function does not compile, or the target is unknown to this build.
    """
    jitted = function if isinstance(function, Jit) else Jit(function)
    traced = jitted._trace_for(specs, {})
    if traced.empty:
        raise CompileError("the function computes nothing")
    program = _vernier.load(traced.module, target, jitted.max_kernels, ptxas(target), "", 0, jitted.fuse)

    def kernel(k: dict[str, Any]) -> Kernel:
        common = (k["name"], k["schedule"], tuple(k["operations"]), tuple(k["reasons"]))
        if target == "host":
            return Kernel(*common)
        launch = k["launch"]
        return Kernel(*common, program.ptx, program.code, launch["threads"], launch["registers"], launch["spillBytes"],
                      launch["sharedBytes"], tuple(launch["warnings"]))  # fmt: skip

    kernels = tuple(kernel(k) for k in json.loads(program.metadata)["kernels"])
    key = _vernier.cache_key(traced.module, target, jitted.max_kernels, ptxas(target), jitted.fuse)
    return Artifact(program.name, target, kernels, traced.module, program.code, program.metadata, program, key)
