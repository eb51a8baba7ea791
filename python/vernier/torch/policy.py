"""What a layer computes with, keeps for the backward pass, and sends, tensor by tensor."""

from __future__ import annotations

import dataclasses
from typing import Literal

import vernier as vn

Element = Literal["bf16", "fp8", "mxfp4"]
Kept = Literal["bf16", "fp8", "mxfp4", "recompute"]

FORMATS = {"fp8": vn.FP8, "mxfp4": vn.MXFP4.replace(scale_rule="even")}
"""FP8: E4M3 with a scale every 128 of a row. MXFP4: E2M1 with a scale every 32; the rule "even" costs the least loss."""


@dataclasses.dataclass(frozen=True)
class Policy:
    """The format of every tensor of a layer.

    Attributes:
        compute: of the operands of products: "bf16", or "fp8" (activations 1x128, weights 128x128; an MXFP4 operand is read as FP8).
        rows: of a layer's input. Converted once: what crosses the wire is what is computed with and kept for the weight gradient.
        gate_up: of the first product's result, kept for SwiGLU's gradient; "recompute": from the rows kept.
        hidden: of SwiGLU's result, kept for the second weight gradient; "recompute": from gate and up.
        gradients: of the result's gradient, on the wire and as an operand.

    Raises ValueError for values that are not among these, and for 8- or 4-bit tensors in a layer that computes in BF16.
    """

    compute: Literal["bf16", "fp8"] = "fp8"
    rows: Element = "mxfp4"
    gate_up: Kept = "mxfp4"
    hidden: Kept = "mxfp4"
    gradients: Literal["bf16", "fp8"] = "fp8"

    def __post_init__(self) -> None:
        elements = ("bf16", "fp8", "mxfp4")
        allowed = {"compute": elements[:2], "rows": elements, "gate_up": (*elements, "recompute"),
                   "hidden": (*elements, "recompute"), "gradients": elements[:2]}  # fmt: skip
        for name, values in allowed.items():
            value = getattr(self, name)
            if value not in values:
                raise ValueError(f"expected {name} to be one of {', '.join(values)}, but got {value!r}")
            if self.compute == "bf16" and value not in ("bf16", "recompute"):
                raise ValueError(f"a layer that computes in bf16 reads its operands in bf16, but {name} is {value}")


BF16 = Policy("bf16", "bf16", "bf16", "bf16", "bf16")
FP8 = Policy("fp8", "fp8", "fp8", "recompute", "fp8")
MXFP4 = Policy("fp8", "mxfp4", "mxfp4", "mxfp4", "fp8")
POLICIES = {"bf16": BF16, "fp8": FP8, "mxfp4": MXFP4}


def policy_of(value: Policy | str) -> Policy:
    """A policy, or one of "bf16", "fp8" and "mxfp4" by name. Raises ValueError for any other name."""
    if isinstance(value, Policy):
        return value
    if value not in POLICIES:
        raise ValueError(f"expected a Policy or one of {', '.join(POLICIES)}, but got {value!r}")
    return POLICIES[value]
