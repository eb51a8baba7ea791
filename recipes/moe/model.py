"""The transformer: attention, norms, embeddings and head in torch; the mixture of experts from vernier.torch."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from vernier.torch import Meter, MoE, Policy

from .config import ModelConfig, Recompute, Transport


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
        cos, sin = (table[: x.shape[-2]].to(x.dtype) for table in (self.cos, self.sin))  # type: ignore[index]
        return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size, length, hidden = x.shape
        q, k, v = self.qkv(x).reshape(size, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(self._rotate(q), self._rotate(k), v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(size, length, hidden))  # type: ignore[no-any-return]


def _draw(moe: MoE, layers: int, seed: int) -> None:
    """Weights that do not depend on how the experts are spread over ranks."""
    first = moe.experts.exchange.rank * moe.experts.exchange.local_experts
    with torch.no_grad():
        for shared, experts in enumerate((moe.experts, moe.shared)):
            if experts is None:
                continue
            for number in range(len(experts.down_proj)):
                generator = torch.Generator().manual_seed(seed * 4096 + shared * 2048 + number + (0 if shared else first))
                for parameter in (experts.gate_up_proj, experts.down_proj):
                    scale = parameter.shape[2] ** -0.5
                    parameter[number] = torch.randn(parameter.shape[1:], generator=generator) * scale
            experts.down_proj *= (2 * layers) ** -0.5


class Layer(nn.Module):
    """Attention and a mixture of experts, each behind a norm and beside the residual. [B, S, H] -> [B, S, H]."""

    def __init__(self, config: ModelConfig, policy: Policy, group: dist.ProcessGroup | None, recompute: Recompute,
                 transport: Transport) -> None:  # fmt: skip
        super().__init__()
        self.recompute = recompute
        self.norm1, self.norm2 = nn.RMSNorm(config.hidden), nn.RMSNorm(config.hidden)
        self.attention = Attention(config)
        self.moe = MoE(config.hidden, config.intermediate, config.experts, config.top_k, shared=config.shared, policy=policy,
                       group=group, transport=transport)  # fmt: skip

    def _experts(self, x: torch.Tensor) -> torch.Tensor:
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        return self.moe(x)  # type: ignore[no-any-return]

    def _all(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = x + self.attention(self.norm1(x))
        y = self.norm2(x)
        y = checkpoint(self._experts, y, use_reentrant=False) if self.recompute == "experts" else self._experts(y)
        return x + y, self.moe.balance

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Also the load-balancing loss."""
        if self.recompute == "layers":
            return checkpoint(self._all, x, use_reentrant=False)  # type: ignore[no-any-return]
        return self._all(x)


class Transformer(nn.Module):
    """Language model over bytes. int64 [B, S] -> logits [B, S, vocabulary].

    With a process group, routed experts are spread over its ranks; everything else is on every rank.
    """

    def __init__(self, config: ModelConfig, policy: Policy, *, group: dist.ProcessGroup | None = None,
                 recompute: Recompute = "nothing", transport: Transport = "collective", seed: int = 0) -> None:  # fmt: skip
        super().__init__()
        torch.manual_seed(seed)
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.hidden)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.layers = nn.ModuleList(Layer(config, policy, group, recompute, transport) for _ in range(config.layers))
        for number, layer in enumerate(self.layers):
            _draw(layer.moe, config.layers, seed * 1000 + number)  # type: ignore[arg-type]
        self.norm = nn.RMSNorm(config.hidden)
        self.head = nn.Linear(config.hidden, config.vocabulary, bias=False)

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(logits, load-balancing loss)."""
        x = self.embedding(tokens)
        balance = []
        for layer in self.layers:
            x, one = layer(x)
            balance.append(one)
        return self.head(self.norm(x)), torch.stack(balance).mean()

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(cross entropy, load-balancing loss)."""
        logits, balance = self(inputs)
        return functional.cross_entropy(logits.reshape(-1, logits.shape[-1]).float(), targets.reshape(-1)), balance

    def meters(self) -> list[Meter]:
        """What the experts of every layer kept and sent."""
        return [layer.moe.meter for layer in self.layers]  # type: ignore[union-attr,misc]

    def expert_parameters(self) -> list[nn.Parameter]:
        """Parameters that differ between ranks."""
        return [p for layer in self.layers for p in layer.moe.experts.parameters()]  # type: ignore[union-attr]
