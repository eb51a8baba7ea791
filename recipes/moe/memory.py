"""Bytes of expert activations kept for the backward pass: every scope of every mode, from the widest to the narrowest."""

from __future__ import annotations

import dataclasses

from vernier.torch import POLICIES, Policy

from .config import Kept, Mode, ModelConfig

# Bytes an element, scales included.
BYTES = {"bf16": 2.0, "fp8": 1 + 1 / 128, "mxfp4": 0.5 + 1 / 32, "recompute": 0.0}

SCOPES: tuple[tuple[str, str, Kept, Kept], ...] = (
    ("the inputs of fc1 and fc2, gate and up", "nothing", "stored", "stored"),
    ("the input of fc1, gate and up", "SwiGLU", "stored", "recompute"),
    ("the inputs of fc1 and fc2", "fc1", "recompute", "stored"),
    ("the input of fc1", "fc1, SwiGLU", "recompute", "recompute"),
)
"""What is kept, what is computed again, and that as `gate_up` and `hidden` of a TrainConfig. FP8 never keeps the input of fc2."""


@dataclasses.dataclass(frozen=True)
class Scope:
    """What is kept, what that takes a layer, and what is computed again instead."""

    name: str
    bytes: float
    recomputed: str
    gate_up: Kept
    hidden: Kept


def kept_bytes(model: ModelConfig, tokens: int, policy: Policy) -> float:
    """Of one layer's routed and shared experts: what vernier.torch keeps for `tokens` tokens."""
    rows, inner = BYTES[policy.rows], 2 * BYTES[policy.gate_up] + BYTES[policy.hidden]
    routed = tokens * model.top_k * (model.hidden * rows + model.intermediate * inner + 4)
    shared = tokens * (model.hidden * rows + model.shared * model.intermediate * inner) if model.shared else 0
    return routed + shared


def scopes(model: ModelConfig, tokens: int, mode: Mode) -> list[Scope]:
    """Scopes of one layer (routed and shared experts) for `tokens` tokens, widest first."""
    found: dict[float, Scope] = {}
    for name, recomputed, gate_up, hidden in SCOPES:
        policy = POLICIES[mode]
        if hidden == "stored" and policy.hidden == "recompute":
            continue
        changes = {k: v for k, v in (("gate_up", gate_up), ("hidden", hidden)) if v == "recompute"}
        size = kept_bytes(model, tokens, dataclasses.replace(policy, **changes))  # type: ignore[arg-type]
        found.setdefault(size, Scope(name, size, recomputed, gate_up, hidden))
    return [found[size] for size in sorted(found, reverse=True)]


def widest(model: ModelConfig, tokens: int, mode: Mode, cap: float) -> Scope | None:
    """The widest scope that keeps at most `cap` bytes a layer, if there is one."""
    return next((scope for scope in scopes(model, tokens, mode) if scope.bytes <= cap), None)
