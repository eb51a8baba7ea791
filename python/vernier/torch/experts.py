"""The routed experts of a layer as one autograd function."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from . import functions
from .exchange import Exchange
from .packing import Meter, nbytes, restore, save
from .policy import Policy, policy_of
from .routing import route


@dataclasses.dataclass(frozen=True)
class _Call:
    """What a call of the experts is told beside its tensors."""

    policy: Policy
    exchange: Exchange
    keep: bool


class _Experts(torch.autograd.Function):
    """y[t] = sum over the token's experts e of weight * W2[e] (silu(gate) * up), gate and up = W1[e] x[t].

    Without choices there is one expert, which every row goes to, and no weights.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weights: torch.Tensor | None, w1: torch.Tensor, w2: torch.Tensor,
                choices: torch.Tensor | None, call: _Call) -> torch.Tensor:  # fmt: skip
        policy, exchange = call.policy, call.exchange
        weight = plan = None
        if choices is None:
            # A product reads MXFP4 as FP8: the kernel that makes rows writes both.
            twice = policy.rows == "mxfp4"
            rows, operand = (
                functions.encode_twice(x, policy.rows, policy.compute) if twice else 2 * (functions.encode(x, policy.rows),)
            )
            offsets = torch.arange(2, device=x.device, dtype=torch.int32) * len(x)
        else:
            assert weights is not None
            routed = route(choices, exchange.experts)
            plan = exchange.plan(routed)
            offsets = plan.offsets
            weight = weights.reshape(-1).to(torch.float32)[routed.order]
            rows, operand, weight = plan.to_experts("dispatch", x, policy.rows, policy.compute, weight)

        wanted: list[str] = []  # what is kept beside the result, where it is not the result itself
        if call.keep:
            wanted += [f"h:{policy.hidden}"] if policy.hidden not in ("recompute", policy.compute) else []
            wanted += [f"g:{policy.gate_up}"] if policy.gate_up != "recompute" else []
        copy = functions.weight_copy(w1, policy.compute)
        h, *kept = functions.first_product(operand, copy, offsets, weight, policy.compute, tuple(wanted))
        by_name = {text[0]: value for text, value in zip(wanted, kept)}
        y = functions.multiply(h, functions.weight_copy(w2, policy.compute), offsets, policy.compute)
        if plan is None:
            result = y if x.dtype == y.dtype else y.to(x.dtype)
        else:
            (y,) = plan.to_tokens("combine", y)
            result = functions.combine(y, plan.place, _dtype(x))

        if call.keep:
            hidden = h if policy.hidden == policy.compute else by_name.get("h")
            activations = {"rows": rows, "weight": weight, "gate_up": by_name.get("g"), "hidden": hidden}
            exchange.meter.kept += nbytes(*activations.values())
            save(ctx, **activations, w1=w1, w2=w2, offsets=offsets)
            # Where rows come from and go; the parameters themselves, whose gradients may be accumulated elsewhere.
            ctx.plan, ctx.owners, ctx.call = plan, (w1, w2), call
            ctx.like = (x.dtype, None if weights is None else (weights.shape, weights.dtype))
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        kept = restore(ctx)
        plan, policy = ctx.plan, ctx.call.policy
        rows, weight, offsets = kept["rows"], kept["weight"], kept["offsets"]
        dtype, weights_like = ctx.like
        dy = gradients[0].contiguous()
        if plan is None:
            dy = functions.encode(dy, policy.gradients)
        else:
            dy, _, _ = plan.to_experts("gradient_dispatch", dy, policy.gradients)
        w1, w2 = (functions.weight_copy(kept[name], policy.compute) for name in ("w1", "w2"))
        gate_up = kept["gate_up"]
        if gate_up is None:
            gate_up = functions.multiply(rows, w1, offsets, policy.compute)
        again = kept["hidden"] is None
        d, *more = functions.swiglu_gradient(dy, functions.turned(w2), offsets, gate_up, weight, policy.compute, again)
        hidden = more[-1] if again else kept["hidden"]
        # x, routing weights, W1, W2
        needed, results = ctx.needs_input_grad, [None, None, None, None]
        if needed[0]:
            dx = functions.multiply(d, functions.turned(w1), offsets, policy.compute)
            if plan is None:
                results[0] = dx.to(dtype)
            else:
                dx, dweight = plan.to_tokens("gradient_combine", dx, more[0])
                results[0] = functions.combine(dx, plan.place, _dtype(gradients[0]))
        elif plan is not None and needed[1]:
            (dweight,) = plan.to_tokens("gradient_combine", more[0])
        if plan is not None and needed[1]:
            shape, weights_dtype = weights_like
            results[1] = dweight[plan.place.reshape(-1).long()].reshape(shape).to(weights_dtype)
        for number, (left, right) in enumerate(((d, rows), (dy, hidden))):
            if needed[2 + number]:
                results[2 + number] = _weight_gradient(ctx.owners[number], left, right, offsets, policy.compute)
        return *results, None, None


def _dtype(like: torch.Tensor) -> Any:
    import vernier as vn

    return {torch.float32: vn.float32, torch.bfloat16: vn.bfloat16, torch.float16: vn.float16}[like.dtype]


def _weight_gradient(owner: torch.Tensor, dy: Any, x: Any, offsets: torch.Tensor, compute: str) -> torch.Tensor | None:
    """dY^T X for each expert, added in place to `main_grad` (FP32) where the parameter has one."""
    main_grad = getattr(owner, "main_grad", None)
    if main_grad is None:
        return functions.weight_gradient(dy, x, offsets, compute).to(owner.dtype)
    if main_grad.is_contiguous() and main_grad.data_ptr() % 16 == 0:
        functions.add_weight_gradient(dy, x, offsets, compute, main_grad, out=main_grad)
    else:
        main_grad.copy_(functions.add_weight_gradient(dy, x, offsets, compute, main_grad))
    return None


class GroupedExperts(nn.Module):
    """The routed experts of a mixture-of-experts layer, SwiGLU each, over one or several ranks.

    Attributes:
        gate_up_proj: parameter [E, 2I, H] of the experts on this rank, gate above up.
        down_proj: parameter [E, H, I].
        meter: bytes kept and sent.

    Args:
        hidden, intermediate: H and I, multiples of 128.
        experts: of the whole layer; rank r of R holds experts r * E / R and on.
        policy: a `Policy`, "bf16", "fp8" or "mxfp4".
        group: the process group of expert parallelism; None: one rank.
        transport: how rows get from rank to rank: "collective", "messages" or "peers" (see `Exchange`).
        dtype: of the parameters, float32 or bfloat16.
        parameters: existing [E, 2I, H] and [E, H, I] to take instead of new ones.

    A parameter with an FP32 attribute `main_grad` gets its gradient added there, and none in `grad`.

    Raises:
        ValueError: sizes that are not multiples of 128, or experts that do not divide among the ranks.
    """

    def __init__(self, hidden: int, intermediate: int, experts: int, *, policy: Policy | str = "mxfp4",
                 group: dist.ProcessGroup | None = None, transport: str = "collective", dtype: torch.dtype = torch.float32,
                 device: Any = None, meter: Meter | None = None, parameters: tuple[nn.Parameter, nn.Parameter] | None = None) -> None:  # fmt: skip
        super().__init__()
        for name, size in (("hidden", hidden), ("intermediate", intermediate)):
            if size % 128:
                raise ValueError(f"expected {name} to be a multiple of 128, the side of a weight block, but got {size}")
        self.policy = policy_of(policy)
        self.meter = meter or Meter()
        self.exchange = Exchange(experts, group, self.meter, transport)
        local = self.exchange.local_experts
        if parameters is None:
            parameters = (
                nn.Parameter(torch.empty(local, 2 * intermediate, hidden, dtype=dtype, device=device)),
                nn.Parameter(torch.empty(local, hidden, intermediate, dtype=dtype, device=device)),
            )
            for parameter in parameters:
                nn.init.normal_(parameter, std=1 / math.sqrt(parameter.shape[2]))
        self.gate_up_proj, self.down_proj = parameters

    def extra_repr(self) -> str:
        experts, hidden, intermediate = self.down_proj.shape
        return f"{experts} of {self.exchange.experts} experts, hidden={hidden}, intermediate={intermediate}, {self.policy}"

    @torch.compiler.disable
    def forward(self, hidden_states: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor) -> torch.Tensor:
        """[T, H] in FP32, BF16 or FP16; experts chosen for every token, integers [T, k], and their weights [T, k] -> [T, H].

        Raises:
            ValueError: shapes that do not agree. ExchangeError: a peer died, or the collective timed out.
        """
        tokens, hidden = hidden_states.shape
        if hidden != self.gate_up_proj.shape[2] or top_k_index.shape != top_k_weights.shape or len(top_k_index) != tokens:
            raise ValueError(
                f"expected [T, {self.gate_up_proj.shape[2]}], [T, k] and [T, k], but got {tuple(hidden_states.shape)}, "
                f"{tuple(top_k_index.shape)} and {tuple(top_k_weights.shape)}"
            )
        call = _Call(self.policy, self.exchange, torch.is_grad_enabled())
        return _Experts.apply(hidden_states, top_k_weights, self.gate_up_proj, self.down_proj, top_k_index, call)


class SharedExpert(GroupedExperts):
    """One expert that every token goes to, and that every rank has. [T, H] -> [T, H]."""

    def __init__(self, hidden: int, intermediate: int, **options: Any) -> None:
        super().__init__(hidden, intermediate, 1, **options)

    @torch.compiler.disable
    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        call = _Call(self.policy, self.exchange, torch.is_grad_enabled())
        return _Experts.apply(hidden_states, None, self.gate_up_proj, self.down_proj, None, call)
