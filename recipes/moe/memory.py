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
    element = BYTES[mode]

    def kept(inners: int) -> float:
        """Inputs of fc1, `inners` tensors as wide as an expert, and the routing weights of routed rows."""
        routed = tokens * model.top_k * ((model.hidden + inners * model.intermediate) * element + 4)
        shared = tokens * (model.hidden + inners * model.shared * model.intermediate) * element if model.shared else 0
        return routed + shared

    whole = Scope("the inputs of fc1 and fc2, gate and up", kept(3), "nothing")
    x_only = Scope("the input of fc1", kept(0), "fc1, SwiGLU")
    without_h = Scope("the input of fc1, gate and up", kept(2), "SwiGLU")
    if mode == "bf16":
        return [whole, without_h, x_only]
    if mode == "fp8":
        return [without_h, x_only]
    return [whole, Scope("the inputs of fc1 and fc2", kept(1), "fc1"), x_only]
