"""The experts of a layer as one autograd function: every product, conversion, permute and SwiGLU runs on vernier."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
import vernier as vn

from . import kernels
from .config import GateUpPolicy, Mode
from .exchange import Exchange, Plan
from .routing import Route


@dataclasses.dataclass
class Saved:
    """Bytes of activations kept for the backward pass of expert layers, in the latest forward pass."""

    bytes: int = 0

    def note(self, *values: Any) -> None:
        for value in values:
            if isinstance(value, vn.ScaledTensor):
                self.bytes += value.nbytes
            elif value is not None:
                self.bytes += value.numel() * value.element_size()


@dataclasses.dataclass(frozen=True)
class ExpertOptions:
    """What the experts of a layer do and what they report to."""

    mode: Mode
    gate_up: GateUpPolicy
    exchange: Exchange
    saved: Saved


def _compute_copies(options: ExpertOptions, w: torch.Tensor) -> tuple[Any, Any]:
    if options.mode == "bf16":
        half = w.to(torch.bfloat16)
        return half, half.transpose(1, 2).contiguous()
    return kernels.weight_copies(w)


class Experts(torch.autograd.Function):
    """y[t] = sum over the token's experts e of weight * W2[e] (silu(gate) * up), gate and up = W1[e] x[t].

    forward(x [T, H], weights [T, k], w1 [E, 2I, H], w2 [E, H, I], route, options) -> float32 [T, H]. The gradients of w1 and
    w2 are accumulated into their `main_grad` in FP32 where there is one, and returned otherwise.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weights: torch.Tensor, w1: torch.Tensor, w2: torch.Tensor, route: Route,
                options: ExpertOptions) -> torch.Tensor:  # fmt: skip
        mode = options.mode
        plan = options.exchange.plan(route)
        half = kernels.to_bf16(x)
        # Converted once, before the dispatch: what crosses the wire is what is computed with and what is kept.
        sent = {"bf16": lambda: half, "fp8": lambda: kernels.to_fp8(half), "mxfp4": lambda: kernels.to_mxfp4(half)}[mode]()
        rows = plan.to_experts(kernels.permute(sent, route.source), "dispatch")
        row_weights = torch.empty(weights.numel())
        row_weights[route.place.reshape(-1).long()] = weights.reshape(-1)
        row_weights = plan.to_experts(row_weights, "dispatch")

        w1_forward, w1_backward = _compute_copies(options, w1)
        w2_forward, w2_backward = _compute_copies(options, w2)
        gate_up = kernels.grouped_matmul(rows, w1_forward, plan.offsets)
        h_kept: Any = None
        if mode == "bf16":
            h = h_kept = kernels.swiglu_bf16(gate_up, row_weights)
            gate_up_kept = gate_up
        elif mode == "fp8":
            h, gate_up_kept = kernels.swiglu_fp8(gate_up, row_weights)
        else:
            h, h_kept, gate_up_kept = kernels.swiglu_mxfp4(gate_up, row_weights, options.gate_up)
        y = plan.to_tokens(kernels.grouped_matmul(h, w2_forward, plan.offsets), "combine")

        options.saved.note(rows, row_weights, gate_up_kept, h_kept)
        ctx.kept = (rows, row_weights, gate_up_kept, h_kept)
        ctx.copies = (w1_forward, w1_backward, w2_backward)
        ctx.parameters = (w1, w2)
        ctx.plan, ctx.route, ctx.options = plan, route, options
        return kernels.combine(y, route.place)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        rows, row_weights, gate_up, h = ctx.kept
        w1_forward, w1_backward, w2_backward = ctx.copies
        plan: Plan = ctx.plan
        route, mode = ctx.route, ctx.options.mode
        half = kernels.to_bf16(gradients[0])
        sent = half if mode == "bf16" else kernels.to_fp8(half)
        dy = plan.to_experts(kernels.permute(sent, route.source), "gradient_dispatch")
        dh = kernels.grouped_matmul(dy, w2_backward, plan.offsets)
        if mode == "bf16":
            d, dw = kernels.swiglu_backward_bf16(gate_up, row_weights, dh)
        elif mode == "fp8":
            d, dw, h = kernels.swiglu_backward_fp8(gate_up, row_weights, dh)
        elif gate_up is None:
            again = kernels.grouped_matmul(rows, w1_forward, plan.offsets)
            d, dw = kernels.swiglu_backward_recomputed(again, row_weights, dh)
        else:
            d, dw = kernels.swiglu_backward_mxfp4(gate_up, row_weights, dh)
        dx = plan.to_tokens(kernels.grouped_matmul(d, w1_backward, plan.offsets), "gradient_combine")
        dw = plan.to_tokens(dw, "gradient_combine")
        weight_gradients = [
            _accumulate(parameter, left, right, plan.offsets)
            for parameter, left, right in zip(ctx.parameters, (d, dy), (rows, h), strict=True)
        ]
        return kernels.combine(dx, route.place), dw[route.place.long()], *weight_gradients, None, None


def _accumulate(parameter: torch.Tensor, dy: Any, x: Any, offsets: torch.Tensor) -> torch.Tensor | None:
    """dY^T X for each expert, into `main_grad` in FP32 where the parameter has one."""
    main_grad = getattr(parameter, "main_grad", None)
    if main_grad is None:
        return kernels.grouped_wgrad(dy, x, offsets)  # type: ignore[no-any-return]
    parameter.main_grad = kernels.grouped_wgrad(dy, x, offsets, accumulate=main_grad)  # type: ignore[attr-defined]
    return None
