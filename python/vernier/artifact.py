"""Functions compiled ahead of time."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from typing import Any

from . import _vernier
from .arrays import ArraySpec, ScaledSpec
from .errors import CompileError
from .jit import Jit
from .toolchain import ptxas


@dataclasses.dataclass(frozen=True)
class Kernel:
    """One kernel of an artifact.

    Attributes:
        ptx, cubin: of the artifact that the kernel belongs to; empty for the host.
        registers: of a thread.
        spill_bytes: stored and loaded, of a thread, for want of registers.
        shared_bytes: of a block.
        warnings: what the assembler had to say.
        others: schedules of kernels that do the same, and run in its place where a call has so few rows that most
            multiprocessors would have no tile of its own. Spills and warnings are those of all.
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
    others: tuple[str, ...] = ()


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
        usual, *others = launches = k["launches"]
        common = (k["name"], usual["schedule"], tuple(k["operations"]), tuple(k["reasons"]))
        if target == "host":
            return Kernel(*common)
        return Kernel(
            *common, program.ptx, program.code, usual["threads"], usual["registers"],
            spill_bytes=max(launch["spillBytes"] for launch in launches), shared_bytes=usual["sharedBytes"],
            warnings=tuple(warning for launch in launches for warning in launch["warnings"]),
            others=tuple(launch["schedule"] for launch in others),
        )  # fmt: skip

    kernels = tuple(kernel(k) for k in json.loads(program.metadata)["kernels"])
    key = _vernier.cache_key(traced.module, target, jitted.max_kernels, ptxas(target), jitted.fuse)
    return Artifact(program.name, target, kernels, traced.module, program.code, program.metadata, program, key)
