"""Compiled functions as PyTorch operators, for torch.compile and torch.export."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from .arrays import ArraySpec
from .dtypes import BY_MLIR
from .errors import CompileError
from .jit import Jit, jit


def _evaluate(expression: dict[str, Any], shapes: list[Any]) -> Any:
    """A size of an artifact over the shapes of a call, symbolic ones included (see runtime/Artifact.h)."""
    total: Any = 0
    for term in expression["terms"]:
        value = term["constant"] if term["argument"] < 0 else shapes[term["argument"]][term["dim"]]
        for multiple in term["roundUps"]:
            value = (value + multiple - 1) // multiple * multiple
        total = total + (value if term["roundDown"] else value + term["divisor"] - 1) // term["divisor"]
    return total


def torch_op(function: Callable[..., Any], name: str | None = None) -> Any:
    """Registers a function over plain tensors as the operator `vernier::<name>(Tensor[] tensors) -> Tensor[]`.

    The result is a callable that takes tensors and returns their flat list: of a scaled result its payload, its scales and, if the
    format has one, its FP32 scale. It has a fake implementation, which compiles for the shapes' types without a GPU and
    computes result shapes symbolically, so that torch.compile and torch.export see through it. There is no gradient:
    wrap it in a torch.autograd.Function.

    Args:
        function: a function or a `vn.jit` object over torch tensors.
        name: of the operator; by default the function's.

    Raises:
        CompileError: the name is no identifier, or the function returns anything but arrays.
    """
    import torch

    jitted = function if isinstance(function, Jit) else jit(function)
    name = name or re.sub(r"\W", "_", getattr(function, "__name__", "function")).strip("_")
    if not name.isidentifier():
        raise CompileError(f"expected a name for the operator, but got {name!r}")

    def flat(result: Any) -> list[torch.Tensor]:
        if isinstance(result, torch.Tensor):
            return [result]
        if isinstance(result, (list, tuple)):
            return [t for r in result for t in flat(r)]
        parts = [result.payload, result.scales, result.tensor_scale]
        return [p for p in parts if p is not None]

    @torch.library.custom_op(f"vernier::{name}", mutates_args=(), schema="(Tensor[] tensors) -> Tensor[]")
    def op(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        # An operator's results are new tensors; a function may hand an argument back.
        known = {t.data_ptr() for t in tensors}
        return [r.clone() if r.data_ptr() in known else r for r in flat(jitted(*tensors))]

    artifacts: dict[Any, dict[str, Any]] = {}

    @op.register_fake
    def fake(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        from .artifact import compile

        specs = tuple(ArraySpec((None, *(int(s) for s in t.shape[1:])) if t.dim() else (), t.dtype) for t in tensors)
        if specs not in artifacts:
            artifacts[specs] = json.loads(compile(jitted, *specs, target="host").metadata)
        artifact = artifacts[specs]
        made = []
        for result in artifact["results"]:
            for number in result["buffers"]:
                buffer = artifact["buffers"][number]
                plain = len(result["buffers"]) == 1
                dtype = BY_MLIR.get(result["type"] if plain else buffer["element"])
                assert dtype is not None
                shape = [_evaluate(size, [t.shape for t in tensors]) for size in buffer["shape"]]
                made.append(tensors[0].new_empty(shape, dtype=dtype.torch))
        return made

    def call(*tensors: torch.Tensor) -> list[torch.Tensor]:
        result: list[torch.Tensor] = op(list(tensors))
        return result

    call.__name__, call.__doc__ = name, jitted.__doc__
    return call
