"""What is trained, and how."""

from __future__ import annotations

import dataclasses
from typing import Literal

Mode = Literal["bf16", "fp8", "mxfp4"]
MODES: tuple[Mode, ...] = ("bf16", "fp8", "mxfp4")
GateUpPolicy = Literal["stored", "fp8", "recompute"]


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Sizes of the transformer. Hidden and intermediate sizes are multiples of 128, the side of an FP8 weight block."""

    vocabulary: int = 256
    layers: int = 3
    hidden: int = 256
    heads: int = 4
    experts: int = 8
    top_k: int = 2
    intermediate: int = 256
    sequence: int = 256

    def __post_init__(self) -> None:
        for name in ("hidden", "intermediate"):
            size = getattr(self, name)
            if size % 128:
                raise ValueError(f"expected {name} to be a multiple of 128, but got {size}")


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How to train.

    Attributes:
        gate_up: what is kept of fc1's output for the backward pass of SwiGLU: "stored" in the mode's own format, "fp8", or
            "recompute" from fc1's stored input.
        warmup: steps of linear warm-up; the rate then falls along a cosine to a tenth.
    """

    mode: Mode = "mxfp4"
    gate_up: GateUpPolicy = "stored"
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
