"""The all-to-all of expert parallelism: rows to the ranks that hold their experts, and back. Counts what it sends."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
import torch.distributed as dist
import vernier as vn

from .routing import Route, offsets_of


@dataclasses.dataclass
class Wire:
    """Bytes of rows handed to the all-to-all by this process, by direction (rows that stay on the rank included)."""

    dispatch: int = 0
    combine: int = 0
    gradient_dispatch: int = 0
    gradient_combine: int = 0


class Exchange:
    """Moves rows between ranks. Rows are sorted by global expert; rank r holds experts r * E / ranks and on.

    With one rank, nothing moves and nothing is copied, but bytes are counted all the same.
    """

    def __init__(self, experts: int, wire: Wire | None = None) -> None:
        self.ranks = dist.get_world_size() if dist.is_initialized() else 1
        self.experts = experts
        self.wire = wire or Wire()
        if experts % self.ranks:
            raise ValueError(f"expected the {experts} experts to divide among {self.ranks} ranks")

    @property
    def local_experts(self) -> int:
        return self.experts // self.ranks

    def plan(self, route: Route) -> Plan:
        """Exchanges row counts."""
        mine = route.counts.reshape(self.ranks, self.local_experts)
        if self.ranks == 1:
            return Plan(self, mine.sum(1).tolist(), mine.sum(1).tolist(), None, None, offsets_of(route.counts))
        theirs = torch.empty_like(mine)
        dist.all_to_all_single(theirs, mine.contiguous())
        # Rows arrive by rank, then expert; products want them by expert, then rank.
        starts = torch.cat([theirs.new_zeros(1), theirs.reshape(-1).cumsum(0)])[:-1].reshape(theirs.shape)
        pieces = [
            torch.arange(int(starts[r, e]), int(starts[r, e] + theirs[r, e]))
            for e in range(self.local_experts)
            for r in range(self.ranks)
        ]
        by_expert = torch.cat(pieces).to(torch.int32)
        back = torch.empty_like(by_expert)
        back[by_expert.long()] = torch.arange(by_expert.numel(), dtype=torch.int32)
        return Plan(self, mine.sum(1).tolist(), theirs.sum(1).tolist(), by_expert, back, offsets_of(theirs.sum(0)))


@dataclasses.dataclass(frozen=True)
class Plan:
    """One layer's exchange: rows out and in, the order by expert, and the experts' offsets here."""

    exchange: Exchange
    sent: list[int]
    received: list[int]
    by_expert: torch.Tensor | None
    back: torch.Tensor | None
    offsets: torch.Tensor

    def _move(self, rows: torch.Tensor, out: list[int], into: list[int]) -> torch.Tensor:
        raw = rows.contiguous().view(torch.uint8).reshape(rows.shape[0], -1)
        result = torch.empty((sum(into), raw.shape[1]), dtype=torch.uint8)
        dist.all_to_all_single(result, raw, into, out)
        return result.view(rows.dtype).reshape(sum(into), *rows.shape[1:])

    def _each(self, value: Any, direction: str, function: Any) -> Any:
        parts = (value.payload, value.scales) if isinstance(value, vn.ScaledTensor) else (value,)
        for part in parts:
            setattr(self.exchange.wire, direction, getattr(self.exchange.wire, direction) + part.numel() * part.element_size())
        if self.exchange.ranks == 1:
            return value
        moved = [function(part) for part in parts]
        if isinstance(value, vn.ScaledTensor):
            return vn.ScaledTensor(moved[0], moved[1], value.format, (moved[0].shape[0], value.shape[1]))
        return moved[0]

    def to_experts(self, value: Any, direction: str) -> Any:
        """Rows, plain or scaled, to their experts' ranks, in the order of experts there."""

        def move(part: torch.Tensor) -> torch.Tensor:
            assert self.by_expert is not None
            return self._move(part, self.sent, self.received)[self.by_expert.long()]

        return self._each(value, direction, move)

    def to_tokens(self, value: Any, direction: str) -> Any:
        """The way back."""

        def move(part: torch.Tensor) -> torch.Tensor:
            assert self.back is not None
            return self._move(part[self.back.long()], self.received, self.sent)

        return self._each(value, direction, move)
