"""One product with a policy of its own: y = x W^T."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from . import functions
from .packing import Meter, nbytes, restore, save
from .policy import Policy, policy_of


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, w: torch.Tensor, policy: Policy, meter: Meter | None) -> torch.Tensor:
        rows = functions.encode(x, policy.rows)
        offsets = torch.arange(2, device=x.device, dtype=torch.int32) * len(x)
        y = functions.multiply(rows, functions.weight_copy(w[None], policy.compute), offsets, policy.compute)
        if meter is not None:
            meter.kept += nbytes(rows)
            save(ctx, rows=rows, w=w, offsets=offsets)
            ctx.policy, ctx.dtype = policy, x.dtype
        return y.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        kept, policy = restore(ctx), ctx.policy
        dy = functions.encode(gradients[0].contiguous(), policy.gradients)
        dx = dw = None
        if ctx.needs_input_grad[0]:
            copy = functions.turned(functions.weight_copy(kept["w"][None], policy.compute))
            dx = functions.multiply(dy, copy, kept["offsets"], policy.compute).to(ctx.dtype)
        if ctx.needs_input_grad[1]:
            dw = functions.weight_gradient(dy, kept["rows"], kept["offsets"], policy.compute)[0].to(kept["w"].dtype)
        return dx, dw, None, None


class Linear(nn.Module):
    """y = x W^T, computed and kept as a policy says.

    Attributes:
        weight: parameter [N, K] in `dtype`.
        meter: bytes kept.

    Args:
        in_features, out_features: K and N, multiples of 128.
        policy: a `Policy`, "bf16", "fp8" or "mxfp4"; of it `compute`, `rows` and `gradients` count.

    Raises:
        ValueError: sizes that are not multiples of 128.
    """

    def __init__(self, in_features: int, out_features: int, *, policy: Policy | str = "mxfp4", dtype: torch.dtype = torch.float32,
                 device: Any = None, meter: Meter | None = None) -> None:  # fmt: skip
        super().__init__()
        for name, size in (("in_features", in_features), ("out_features", out_features)):
            if size % 128:
                raise ValueError(f"expected {name} to be a multiple of 128, the side of a weight block, but got {size}")
        self.policy, self.meter = policy_of(policy), meter or Meter()
        self.weight = nn.Parameter(torch.empty(out_features, in_features, dtype=dtype, device=device))
        nn.init.normal_(self.weight, std=1 / math.sqrt(in_features))

    def extra_repr(self) -> str:
        return f"in_features={self.weight.shape[1]}, out_features={self.weight.shape[0]}, {self.policy}"

    @torch.compiler.disable
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[..., K] in FP32, BF16 or FP16 -> [..., N] in the same type."""
        meter = self.meter if torch.is_grad_enabled() else None
        y = _Linear.apply(x.reshape(-1, x.shape[-1]), self.weight, self.policy, meter)
        return y.reshape(*x.shape[:-1], -1)
