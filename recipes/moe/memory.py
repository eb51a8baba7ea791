"""Bytes of expert activations kept for the backward pass: every scope of every mode, from the widest to the narrowest."""

from __future__ import annotations

import dataclasses

from .config import Mode, ModelConfig

# Bytes an element, scales included.
BYTES = {"bf16": 2.0, "fp8": 1 + 1 / 128, "mxfp4": 0.5 + 1 / 32}


@dataclasses.dataclass(frozen=True)
class Scope:
    """What is kept, what that takes a layer, and what is computed again instead."""

    name: str
    bytes: float
    recomputed: str


def scopes(model: ModelConfig, tokens: int, mode: Mode) -> list[Scope]:
    """Scopes of one layer (routed and shared experts) for `tokens` tokens, widest first."""
    rows = tokens * (model.top_k + 1)
    element = BYTES[mode]
    x, inner, weight = model.hidden * element, model.intermediate * element, 4.0
    x_only = Scope("the input of fc1", rows * (x + weight), "fc1, SwiGLU")
    if mode == "bf16":
        return [
            Scope("the inputs of fc1 and fc2, gate and up", rows * (x + 3 * inner + weight), "nothing"),
            Scope("the input of fc1, gate and up", rows * (x + 2 * inner + weight), "SwiGLU"),
            x_only,
        ]
    if mode == "fp8":
        return [Scope("the input of fc1, gate and up", rows * (x + 2 * inner + weight), "SwiGLU"), x_only]
    return [
        Scope("the inputs of fc1 and fc2, gate and up", rows * (x + 3 * inner + weight), "nothing"),
        Scope("the inputs of fc1 and fc2", rows * (x + inner + weight), "fc1"),
        x_only,
    ]
