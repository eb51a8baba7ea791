"""Functions that were compiled ahead of time."""

from __future__ import annotations

import json
import os
from typing import Any

from . import _vernier, kinds
from .arrays import ScaledTensor
from .calls import call_value, device_of
from .errors import LaunchError
from .formats import format_of_type
from .kinds import HOST
from .program import arrays_of
from .trace import Output


class BundleFunction:
    """A compiled function of a bundle. Call it with arrays of the types and columns that it was compiled for.

    Results come as one value or as a flat tuple. Booleans come as bytes.
    """

    def __init__(self, program: _vernier.Program) -> None:
        self.program = program
        self.name = program.name
        self.target = program.target
        self._results = [r["type"] for r in json.loads(program.metadata)["results"]]

    def __call__(self, *args: Any, out: Any = None) -> Any:
        """`out`: arrays to write the results to, one or a tuple (see `Jit`).

        Raises LaunchError for arguments that the function was not compiled for.
        """
        values = [call_value(a) for a in args]
        device = device_of(values, list(args))
        if (device == HOST) != (self.target == "host"):
            raise LaunchError(
                f"{self.name}: compiled for {self.target}, but the arrays are on {'the CPU' if device == HOST else 'a GPU'}"
            )
        kind = values[0].kind
        raws = [v.raw for v in values]
        given = None
        if out is not None:
            tree = [Output(i, None, None, "full", *(format_of_type(text) or ())) for i, text in enumerate(self._results)]
            values_out = out if isinstance(out, (list, tuple)) else [out]
            if len(values_out) != len(tree):
                raise LaunchError(f"{self.name}: expected out to be {len(tree)} results, but got {len(values_out)}")
            given = [arrays_of(output, value) for output, value in zip(tree, values_out)]
        made = kinds.run(self.program, raws, self.program.prepare(raws), kind, device, {}, given)
        if out is not None:
            return out
        results = []
        for text, (shape, arrays) in zip(self._results, made):
            scaled = format_of_type(text)
            if scaled is None:
                results.append(arrays[0])
            else:
                format, axis = scaled
                results.append(ScaledTensor(arrays[0], arrays[1], format, shape, axis, arrays[2] if len(arrays) > 2 else None))
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
