"""The transformer: attention, norms, router, embeddings and head in torch; experts, shared and routed, on vernier."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from .config import GateUpPolicy, Mode, ModelConfig
from .exchange import Exchange
from .experts import ExpertOptions, Experts, Saved
from .routing import Route, route


class Attention(nn.Module):
    """Causal self-attention with rotary positions. [B, S, H] -> [B, S, H]."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.hidden, 3 * config.hidden, bias=False)
        self.out = nn.Linear(config.hidden, config.hidden, bias=False)
        width = config.hidden // config.heads
        angles = torch.outer(torch.arange(config.sequence), 10000.0 ** (-torch.arange(0, width, 2) / width))
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def _rotate(self, x: torch.Tensor) -> torch.Tensor:
        a, b = x.chunk(2, dim=-1)
        cos, sin = self.cos[: x.shape[-2]], self.sin[: x.shape[-2]]  # type: ignore[index]
        return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size, length, hidden = x.shape
        q, k, v = self.qkv(x).reshape(size, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(self._rotate(q), self._rotate(k), v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(size, length, hidden))  # type: ignore[no-any-return]


class ExpertWeights(nn.Module):
    """W1 [E, 2I, H] and W2 [E, H, I], FP32 masters."""

    def __init__(self, experts: int, config: ModelConfig, generator: torch.Generator) -> None:
        super().__init__()
        hidden, inner = config.hidden, config.intermediate
        scale = 1 / math.sqrt(2 * config.layers)
        self.w1 = nn.Parameter(torch.randn(experts, 2 * inner, hidden, generator=generator) * hidden**-0.5)
        self.w2 = nn.Parameter(torch.randn(experts, hidden, inner, generator=generator) * inner**-0.5 * scale)


class MixtureOfExperts(nn.Module):
    """Router, routed experts and one shared expert. [B, S, H] -> [B, S, H]; `balance` is the load-balancing loss."""

    def __init__(
        self, config: ModelConfig, mode: Mode, gate_up: GateUpPolicy, exchange: Exchange, saved: Saved, seed: int
    ) -> None:
        super().__init__()
        self.config = config
        self.router = nn.Linear(config.hidden, config.experts, bias=False)
        rank = torch.distributed.get_rank() if exchange.ranks > 1 else 0
        generator = torch.Generator().manual_seed(seed)
        routed = ExpertWeights(config.experts, config, generator)
        local = slice(rank * exchange.local_experts, (rank + 1) * exchange.local_experts)
        routed.w1 = nn.Parameter(routed.w1.data[local].clone())
        routed.w2 = nn.Parameter(routed.w2.data[local].clone())
        self.routed = routed
        self.shared = ExpertWeights(1, config, generator)
        self.options = ExpertOptions(mode, gate_up, exchange, saved)
        # The shared expert is on every rank: its rows never travel.
        self.shared_options = ExpertOptions(mode, gate_up, _Local(), saved)
        self.balance = torch.zeros(())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = x.reshape(-1, x.shape[-1])
        probabilities = self.router(tokens).softmax(dim=-1)
        weights, choices = probabilities.topk(self.config.top_k, dim=-1)
        weights = weights / weights.sum(dim=-1, keepdim=True)
        routed = route(choices, self.config.experts)
        share = routed.counts.to(torch.float32) / routed.counts.sum()
        self.balance = self.config.experts * (share * probabilities.mean(0)).sum()
        y = Experts.apply(tokens, weights, self.routed.w1, self.routed.w2, routed, self.options)
        every = torch.zeros(len(tokens), 1, dtype=torch.int64)
        ones = torch.ones(len(tokens), 1)
        y = y + Experts.apply(tokens, ones, self.shared.w1, self.shared.w2, _straight(every), self.shared_options)
        return y.reshape(x.shape)  # type: ignore[no-any-return]


class _Local(Exchange):
    """One expert, here; counts nothing."""

    def __init__(self) -> None:
        super().__init__(0)
        self.ranks, self.experts = 1, 1


def _straight(choices: torch.Tensor) -> Route:
    return route(choices, 1)


class Transformer(nn.Module):
    """Byte-level language model. int64 [B, S] -> logits [B, S, 256]."""

    def __init__(self, config: ModelConfig, mode: Mode, gate_up: GateUpPolicy = "stored", seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.config = config
        self.exchange = Exchange(config.experts)
        self.saved = Saved()
        self.embedding = nn.Embedding(config.vocabulary, config.hidden)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.layers = nn.ModuleList()
        for number in range(config.layers):
            moe = MixtureOfExperts(config, mode, gate_up, self.exchange, self.saved, seed * 1000 + number)
            parts = {
                "norm1": nn.RMSNorm(config.hidden),
                "attention": Attention(config),
                "norm2": nn.RMSNorm(config.hidden),
                "moe": moe,
            }
            self.layers.append(nn.ModuleDict(parts))
        self.norm = nn.RMSNorm(config.hidden)
        self.head = nn.Linear(config.hidden, config.vocabulary, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        self.saved.bytes = 0
        x = self.embedding(tokens)
        for layer in self.layers:
            x = x + layer["attention"](layer["norm1"](x))  # type: ignore[index]
            x = x + layer["moe"](layer["norm2"](x))  # type: ignore[index]
        return self.head(self.norm(x))  # type: ignore[no-any-return]

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(cross entropy, load-balancing loss)."""
        logits = self(inputs)
        entropy = functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))
        balance = torch.stack([layer["moe"].balance for layer in self.layers]).mean()  # type: ignore[index]
        return entropy, balance

    def expert_weights(self) -> list[nn.Parameter]:
        """Weights of all experts, shared ones too: those whose gradients vernier computes."""
        return [p for layer in self.layers for e in ("routed", "shared") for p in getattr(layer["moe"], e).parameters()]  # type: ignore[index]

    def expert_parameters(self) -> list[nn.Parameter]:
        """Parameters that differ between ranks."""
        return [p for layer in self.layers for p in layer["moe"].routed.parameters()]  # type: ignore[index]
