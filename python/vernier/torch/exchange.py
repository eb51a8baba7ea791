"""The all-to-all of expert parallelism: rows to the ranks that hold their experts, and back."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
import torch.distributed as dist

from .packing import Meter, nbytes, parts, rebuilt
from .routing import Route


class ExchangeError(RuntimeError):
    """A collective failed: a peer died or did not come within the process group's time-out."""


class Exchange:
    """Moves rows between the ranks of a group. Rank r of R holds experts r * E / R to (r + 1) * E / R.

    With one rank nothing moves and nothing is copied, but bytes are counted all the same. A message holds all of a row side by
    side (codes, scales, routing weight), so that there is one collective each way.

    Args:
        experts: E, of the whole layer.
        group: a process group; None: one rank.
        meter: where to count bytes.

    Raises:
        ValueError: the ranks do not divide the experts.
    """

    def __init__(self, experts: int, group: dist.ProcessGroup | None = None, meter: Meter | None = None) -> None:
        self.group = group
        self.ranks = dist.get_world_size(group) if group is not None else 1
        self.rank = dist.get_rank(group) if group is not None else 0
        self.experts = experts
        self.meter = meter or Meter()
        self.plans = 0
        if experts % self.ranks:
            raise ValueError(f"expected the {experts} experts to divide among {self.ranks} ranks")

    @property
    def local_experts(self) -> int:
        return self.experts // self.ranks

    def plan(self, route: Route) -> Plan:
        """Exchanges row counts. Raises ExchangeError."""
        self.plans += 1
        if self.ranks == 1:
            return Plan(self, [], [], None, None, route.offsets)
        mine = route.counts.to(torch.int64).reshape(self.ranks, self.local_experts)
        theirs = torch.empty_like(mine)
        self.all_to_all("row counts", theirs, mine.contiguous())
        sent, received = torch.stack([mine.sum(1), theirs.sum(1)]).tolist()  # the sizes of messages: the host waits here
        # Rows arrive by rank, then expert; products want them by expert, then rank.
        starts = (theirs.reshape(-1).cumsum(0) - theirs.reshape(-1)).reshape(theirs.shape).T.reshape(-1)
        lengths = theirs.T.reshape(-1)
        shifts = starts - (lengths.cumsum(0) - lengths)
        total = sum(received)
        rows = torch.arange(total, device=theirs.device)
        by_expert = torch.repeat_interleave(shifts, lengths, output_size=total) + rows
        back = torch.empty_like(by_expert).scatter_(0, by_expert, rows)
        ends = theirs.sum(0).cumsum(0)
        offsets = torch.cat([ends.new_zeros(1), ends]).to(torch.int32)
        return Plan(self, sent, received, by_expert, back, offsets)

    def all_to_all(self, what: str, *arguments: Any) -> None:
        try:
            dist.all_to_all_single(*arguments, group=self.group)
        except (RuntimeError, ValueError) as error:
            raise ExchangeError(
                f"rank {self.rank} of {self.ranks}, exchange {self.plans} ({what}): {str(error).splitlines()[0]}"
            ) from error


@dataclasses.dataclass(frozen=True)
class Plan:
    """One layer's exchange: rows out and in by rank, the order by expert of those that came, and the experts' offsets here."""

    exchange: Exchange
    sent: list[int]
    received: list[int]
    by_expert: torch.Tensor | None
    back: torch.Tensor | None
    offsets: torch.Tensor

    def to_experts(self, direction: str, *values: Any) -> tuple[Any, ...]:
        """Rows, plain or scaled (None passes), to their experts' ranks, in the order of experts there. Raises ExchangeError."""
        return self._each(
            direction, values, lambda packed: self._move(direction, packed, self.sent, self.received)[self.by_expert]
        )

    def to_tokens(self, direction: str, *values: Any) -> tuple[Any, ...]:
        """The way back."""
        return self._each(direction, values, lambda packed: self._move(direction, packed[self.back], self.received, self.sent))

    def _move(self, direction: str, packed: torch.Tensor, out: list[int], into: list[int]) -> torch.Tensor:
        result = packed.new_empty((sum(into), packed.shape[1]))
        self.exchange.all_to_all(direction, result, packed, into, out)
        return result

    def _each(self, direction: str, values: tuple[Any, ...], move: Any) -> tuple[Any, ...]:
        meter = self.exchange.meter
        setattr(meter, direction, getattr(meter, direction) + nbytes(*values))
        if self.exchange.ranks == 1:
            return values
        flat = [part for value in values for part in parts(value)]
        raw = [part.contiguous().reshape(part.shape[0], math.prod(part.shape[1:])).view(torch.uint8) for part in flat]
        moved = move(torch.cat(raw, dim=1))
        pieces = moved.split([piece.shape[1] for piece in raw], dim=1)
        tensors = [
            piece.clone(memory_format=torch.contiguous_format).view(part.dtype).reshape(moved.shape[0], *part.shape[1:])
            for piece, part in zip(pieces, flat)
        ]
        results = []
        for value in values:
            count = len(parts(value))
            mine, tensors = tensors[:count], tensors[count:]
            results.append(None if value is None else rebuilt(value, mine))
        return tuple(results)
