"""What is trained, and how; from a file in configs/ or as objects."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any, Literal

from vernier.torch import POLICIES, Policy

Mode = Literal["bf16", "fp8", "mxfp4"]
MODES: tuple[Mode, ...] = ("bf16", "fp8", "mxfp4")
GateUp = Literal["stored", "fp8", "recompute"]
Kept = Literal["stored", "recompute"]
Recompute = Literal["nothing", "experts", "layers"]
Transport = Literal["collective", "messages", "peers"]


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Sizes of the transformer. Hidden and intermediate sizes are multiples of 128, the side of an FP8 weight block.

    Attributes:
        intermediate: of one expert.
        shared: shared experts, as wide as a routed one each.
    """

    vocabulary: int = 256
    layers: int = 3
    hidden: int = 256
    heads: int = 4
    experts: int = 8
    top_k: int = 2
    shared: int = 1
    intermediate: int = 256
    sequence: int = 256

    def __post_init__(self) -> None:
        for name in ("hidden", "intermediate"):
            size = getattr(self, name)
            if size % 128:
                raise ValueError(f"expected {name} to be a multiple of 128, but got {size}")
        if self.hidden % (2 * self.heads):
            raise ValueError(f"expected heads to divide hidden into even widths, but got {self.heads} and {self.hidden}")


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How to train.

    Attributes:
        mode: the policy of the experts.
        gate_up: what is kept of fc1's output for the backward pass of SwiGLU: "stored" in the mode's own format, "fp8", or
            "recompute" from fc1's stored input.
        hidden: what is kept of SwiGLU's result for fc2's weight gradient: "stored" as the mode has it (which in fp8 is not at all),
            or "recompute" from gate and up.
        recompute: what activation checkpointing runs again in the backward pass: nothing, the experts, or whole layers.
        transport: how rows get from rank to rank: "collective", "messages" or "peers" (`vernier.torch.GroupedExperts`).
        steps, batch: optimiser steps, and sequences a step and rank.
        warmup: steps of linear warm-up; the rate then falls along a cosine to a tenth.
    """

    mode: Mode = "mxfp4"
    gate_up: GateUp = "stored"
    hidden: Kept = "stored"
    recompute: Recompute = "nothing"
    transport: Transport = "collective"
    steps: int = 300
    batch: int = 8
    learning_rate: float = 2e-3
    warmup: int = 30
    weight_decay: float = 0.1
    clip: float = 1.0
    seed: int = 0
    evaluate_every: int = 100
    evaluate_batches: int = 8
    balance_loss: float = 0.01

    @property
    def policy(self) -> Policy:
        changes = {name: value for name in ("gate_up", "hidden") if (value := getattr(self, name)) != "stored"}
        return dataclasses.replace(POLICIES[self.mode], **changes)


def _made(kind: type, values: dict[str, Any], where: str) -> Any:
    unknown = values.keys() - {field.name for field in dataclasses.fields(kind)}
    if unknown:
        raise ValueError(f"{where}: unknown {', '.join(sorted(unknown))}")
    return kind(**values)


def load(path: Path) -> tuple[ModelConfig, TrainConfig]:
    """Reads tables [model] and [train]. Raises ValueError for names that are not theirs, OSError for a missing file."""
    tables = tomllib.loads(path.read_text())
    if unknown := tables.keys() - {"model", "train"}:
        raise ValueError(f"{path}: unknown tables {', '.join(sorted(unknown))}")
    model = _made(ModelConfig, tables.get("model", {}), f"{path}: [model]")
    return model, _made(TrainConfig, tables.get("train", {}), f"{path}: [train]")
