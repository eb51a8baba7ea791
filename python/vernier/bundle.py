"""Functions that were compiled ahead of time."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np

from . import _vernier, kinds
from .arrays import ScaledTensor, note_writes
from .calls import CallValue, call_value, device_of
from .dtypes import BY_MLIR
from .errors import LaunchError
from .formats import ValueType, parse_type
from .kinds import HOST
from .program import arrays_of
from .trace import Output


def _stored_alike(a: ValueType, b: ValueType) -> bool:
    """Whether buffers of one are read rightly as the other. The rule by which scales were chosen does not matter for that."""
    if a.format is None or b.format is None:
        return a.format is b.format and a.element == b.element
    first, second = ((t.format.element, t.format.scale, t.format.turned(t.axis), t.grouped) for t in (a, b) if t.format)
    return first == second


class BundleFunction:
    """A compiled function of a bundle. Call it with arrays of the types and columns that it was compiled for; numbers go with
    arguments of rank 0.

    Results come as one value or as a flat tuple, each once however often the function returned it, arguments handed back not at
    all; one of shape (M, 1) or (1, N) as a vector.
    """

    def __init__(self, program: _vernier.Program) -> None:
        self.program = program
        self.name = program.name
        self.target = program.target
        metadata = json.loads(program.metadata)
        self._arguments = [parse_type(a["type"]) for a in metadata["arguments"]]
        self._numbers = [not a["shape"] and a["type"] == "f32" for a in metadata["arguments"]]
        self._results = [parse_type(r["type"]) for r in metadata["results"]]
        self._dtypes = {i: BY_MLIR[t.element] for i, t in enumerate(self._results) if t.element is not None}

    def _values(self, args: tuple[Any, ...]) -> list[CallValue]:
        if len(args) != len(self._arguments):
            raise LaunchError(f"{self.name}: expected {len(self._arguments)} arguments, but got {len(args)}")
        values = []
        for i, (arg, wanted, number) in enumerate(zip(args, self._arguments, self._numbers)):
            given = np.float32(arg) if number and isinstance(arg, (int, float)) else arg
            if not isinstance(given, ScaledTensor) and kinds.kind_of(given) is None:
                raise LaunchError(f"{self.name}: argument {i}: expected {wanted}, but got {type(arg).__name__}")
            value = call_value(given)
            leaf = value.leaf
            found = ValueType(leaf.dtype.mlir if leaf.dtype is not None else None, leaf.format, leaf.axis)
            if not _stored_alike(wanted, found):
                raise LaunchError(f"{self.name}: argument {i}: expected {wanted}, but got {found}")
            values.append(value)
        return values

    def __call__(self, *args: Any, out: Any = None) -> Any:
        """`out`: arrays to write the results to, one or a tuple (see `Jit`).

        Raises LaunchError for arguments that the function was not compiled for.
        """
        values = self._values(args)
        device = device_of(values, list(args))
        if (device == HOST) != (self.target == "host"):
            raise LaunchError(
                f"{self.name}: compiled for {self.target}, but the arrays are on {'the CPU' if device == HOST else 'a GPU'}"
            )
        kind = next((v.kind for v in values if v.raw[0]), values[0].kind if values else kinds.NUMPY)
        raws = [v.raw for v in values]
        given = None
        if out is not None:
            tree = [Output(i, None, None, "full", t.format, t.axis, t.grouped) for i, t in enumerate(self._results)]
            values_out = out if isinstance(out, (list, tuple)) else [out]
            if len(values_out) != len(tree):
                raise LaunchError(f"{self.name}: expected out to be {len(tree)} results, but got {len(values_out)}")
            given = [arrays_of(output, value) for output, value in zip(tree, values_out)]
        made = kinds.run(self.program, raws, self.program.prepare(raws), kind, device, self._dtypes, given)
        if out is not None:
            note_writes(out)
            return out
        results = []
        for t, (shape, arrays) in zip(self._results, made):
            if t.format is None:
                results.append(arrays[0])
            else:
                tensor_scale = arrays[2] if len(arrays) > 2 else None
                results.append(ScaledTensor(arrays[0], arrays[1], t.format, shape, t.axis, tensor_scale, t.grouped))
        return results[0] if len(results) == 1 else tuple(results)


class Bundle:
    """A folder of compiled functions. `bundle["name"]` is a function; a name that several have needs its key instead."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = os.fspath(folder)
        self.entries = _vernier.list_bundle(self.folder)

    def __getitem__(self, name_or_key: str) -> BundleFunction:
        return BundleFunction(_vernier.open_bundle(self.folder, name_or_key))

    def __repr__(self) -> str:
        return f"Bundle({self.folder!r}: {', '.join(name for _, name, _, _ in self.entries)})"


def load_bundle(folder: str | os.PathLike[str]) -> Bundle:
    """Opens what `Artifact.save` or `vernier-compile --bundle` wrote. Nothing is traced or compiled.

    Raises CompileError where there is no bundle, or one of another version.
    """
    return Bundle(folder)
