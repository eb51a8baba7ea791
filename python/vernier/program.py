"""A compiled specialisation of a function, and how a call's results are put together."""

from __future__ import annotations

import os
import re
from typing import Any

from . import _vernier, kinds
from .arrays import ScaledTensor
from .calls import CallValue, device_of
from .dtypes import DType
from .errors import CompileError, LaunchError
from .toolchain import ptxas
from .trace import Output, Trace, join_sequence

DEFAULT_CACHE_BYTES = 1 << 30


def _cache_limit() -> int:
    text = os.environ.get("VERNIER_CACHE_BYTES", "")
    return int(text) if text.isdigit() else DEFAULT_CACHE_BYTES


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
    if output.layout == "full":
        return [value]
    shape = tuple(value.shape)
    if len(shape) != 2 or shape[1 if output.layout == "rows" else 0] != 1:
        raise LaunchError(
            f"out: expected an array of shape {'(M, 1)' if output.layout == 'rows' else '(1, N)'}, but got {shape}"
        )
    flat = value.reshape(-1)
    if kinds.own_address(flat) != kinds.own_address(value):
        raise LaunchError("out: expected contiguous arrays, on a GPU aligned to 16 bytes")
    return [flat]


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
            device = device_of(values, originals)
        except LaunchError as error:
            raise LaunchError(self._readable(str(error))) from None
        raws = [v.raw for v in values]
        kind = next((v.kind for v in values if v.raw[0]), values[0].kind if values else kinds.NUMPY)
        results: list[kinds.Result] = []
        if self.program is None and out is not None:
            self._given(out, 0)
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
                if tree.result is None or tree.result >= count or given[tree.result]:
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
                    raise LaunchError(f"out: expected {len(tree[1])} results in a {getattr(tree[0], '__name__', tree[0])}")
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
        return join_sequence(tree[0], [self._assemble(v, results, originals) for v in tree[1]])

    def kernels(self, values: list[CallValue]) -> list[dict[str, Any]]:
        if self.program is None:
            return []
        return self.program.kernels([list(v.raw[0]) for v in values])
