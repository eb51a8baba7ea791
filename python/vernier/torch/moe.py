"""A mixture-of-experts layer: router, routed experts, shared experts."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import nn

from .experts import GroupedExperts, SharedExpert
from .packing import Meter
from .policy import Policy, policy_of


class Router(nn.Module):
    """Scores in FP32, the k best experts of every token, and the load-balancing loss.

    Attributes:
        weight: parameter [E, H], FP32.
        balance: after a call, E * sum over experts of (share of the rows) * (mean probability); 1 where the load is even.
    """

    def __init__(self, hidden: int, experts: int, top_k: int, *, score: Literal["softmax", "sigmoid"] = "softmax",
                 normalize: bool = True, device: Any = None) -> None:  # fmt: skip
        super().__init__()
        if score not in ("softmax", "sigmoid"):
            raise ValueError(f"expected score to be softmax or sigmoid, but got {score!r}")
        if not 1 <= top_k <= experts:
            raise ValueError(f"expected 1 <= top_k <= {experts}, but got {top_k}")
        self.top_k, self.score, self.normalize = top_k, score, normalize
        self.weight = nn.Parameter(torch.empty(experts, hidden, device=device))
        nn.init.normal_(self.weight, std=hidden**-0.5)
        self.balance = torch.zeros(())

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"balance": self.balance.detach()}  # a copy or a pickle has no part in the graph

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """[T, H] -> experts int64 [T, k] and their weights FP32 [T, k]."""
        with torch.autocast(x.device.type, enabled=False):
            logits = nn.functional.linear(x.float(), self.weight.float())
        scores = logits.softmax(-1) if self.score == "softmax" else logits.sigmoid()
        weights, choices = scores.topk(self.top_k, dim=-1)
        if self.normalize:
            weights = weights / weights.sum(-1, keepdim=True)
        experts = len(self.weight)
        counts = torch.zeros(experts, device=x.device).scatter_add_(
            0, choices.reshape(-1), torch.ones_like(weights).reshape(-1)
        )
        probabilities = scores if self.score == "softmax" else scores / scores.sum(-1, keepdim=True)
        self.balance = experts * (counts / max(1, choices.numel()) * probabilities.mean(0)).sum()
        return choices, weights


class MoE(nn.Module):
    """Router, routed experts and, where there are some, shared experts. [..., H] -> [..., H].

    Attributes:
        router, experts, shared: the parts; `shared` is None without shared experts.
        meter: bytes that the experts kept and sent.

    Args:
        hidden, intermediate: H and I, multiples of 128.
        experts, top_k: routed experts, and how many of them see a token.
        shared: number of shared experts; they are computed as one of `shared` times the intermediate size.
        policy: of the experts: a `Policy`, "bf16", "fp8" or "mxfp4".
        group: the process group of expert parallelism; None: every expert is here.
        transport: how rows get from rank to rank (see `GroupedExperts`).
        score, normalize: of the router (see `Router`).
        dtype: of the experts' parameters, float32 or bfloat16.

    Raises:
        ValueError: sizes that are not multiples of 128, or experts that do not divide among the ranks.
    """

    def __init__(self, hidden: int, intermediate: int, experts: int, top_k: int, *, shared: int = 0, policy: Policy | str = "mxfp4",
                 group: dist.ProcessGroup | None = None, transport: str = "collective",
                 score: Literal["softmax", "sigmoid"] = "softmax", normalize: bool = True,
                 dtype: torch.dtype = torch.float32, device: Any = None) -> None:  # fmt: skip
        super().__init__()
        self.meter = Meter()
        common: dict[str, Any] = {"policy": policy_of(policy), "dtype": dtype, "device": device, "meter": self.meter}
        self.router = Router(hidden, experts, top_k, score=score, normalize=normalize, device=device)
        self.experts = GroupedExperts(hidden, intermediate, experts, group=group, transport=transport, **common)
        self.shared = SharedExpert(hidden, shared * intermediate, **common) if shared else None

    @property
    def balance(self) -> torch.Tensor:
        """The router's load-balancing loss of the latest call."""
        return self.router.balance

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = x.reshape(-1, x.shape[-1])
        choices, weights = self.router(tokens)
        y = self.experts(tokens, choices, weights)
        if self.shared is not None:
            y = y + self.shared(tokens)
        return y.reshape(x.shape)
