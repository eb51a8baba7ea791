"""Where the rows of one layer's exchange go and come from, and how they get there by collectives."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from . import functions
from .packing import nbytes, parts, rebuilt
from .routing import Route

if TYPE_CHECKING:
    from .exchange import Exchange


def in_order(rows: Any, order: torch.Tensor, element: str, compute: str | None) -> tuple[Any, Any]:
    """Rows in an order, and as what they are computed with: one kernel writes both."""
    if element == "mxfp4" and compute is not None:
        kept, operand = functions.permute_twice(rows, order, compute)
        return kept, operand
    return 2 * (functions.permute(rows, order),)


@dataclasses.dataclass(frozen=True)
class Plan:
    """One layer's exchange: where rows go and come from. This one is of a single rank, where they stay.

    Attributes:
        offsets: of the experts here, int32 [E / R + 1].
    """

    exchange: Exchange
    route: Route
    offsets: torch.Tensor

    def to_experts(
        self, direction: str, x: torch.Tensor, element: str, compute: str | None = None, weight: torch.Tensor | None = None
    ) -> tuple[Any, Any, torch.Tensor | None]:
        """Rows of x [T, N] on the ranks of their experts, in the order of experts there.

        Args:
            element: of the rows: "bf16", "fp8" or "mxfp4".
            compute: what products read them as; None: as `element`.
            weight: FP32 [P], one of every row before it moves.

        Returns the rows, the same as `compute` (or the rows again, where a product re-encodes them itself), and their weights.
        Raises ExchangeError.
        """
        rows, operand = in_order(functions.encode(x, element), self.route.source, element, compute)
        self.count(direction, nbytes(rows, weight))
        return rows, operand, weight

    def to_tokens(self, direction: str, *values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Rows and numbers of rows, in the order of experts, back to the ranks they came from. Raises ExchangeError.

        They may lie in memory that the next exchange writes to, and must be used before it.
        """
        self.count(direction, nbytes(*values))
        return values

    @property
    def place(self) -> torch.Tensor:
        """int32 [T, k]: where `to_tokens` puts the row of every copy of a token."""
        return self.route.place

    def count(self, direction: str, sent: int) -> None:
        """Notes bytes sent."""
        meter = self.exchange.meter
        setattr(meter, direction, getattr(meter, direction) + sent)


@dataclasses.dataclass(frozen=True)
class MovingPlan(Plan):
    """Over several ranks: the numbers of rows from each rank to each, here and on the device, and the order by expert of those that
    come here."""

    messages: list[list[int]]
    moved: torch.Tensor
    by_expert: torch.Tensor
    back: torch.Tensor

    @property
    def sent(self) -> list[int]:
        return self.messages[self.exchange.rank]

    @property
    def received(self) -> list[int]:
        return [row[self.exchange.rank] for row in self.messages]


@dataclasses.dataclass(frozen=True)
class CollectivePlan(MovingPlan):
    """One all-to-all each way."""

    def to_experts(
        self, direction: str, x: torch.Tensor, element: str, compute: str | None = None, weight: torch.Tensor | None = None
    ) -> tuple[Any, Any, torch.Tensor | None]:
        values = functions.permute(functions.encode(x, element), self.route.source), weight
        self.count(direction, nbytes(*values))
        rows, weight = self._packed(
            values, lambda packed: self._move(direction, packed, self.sent, self.received)[self.by_expert]
        )
        return rows, rows, weight

    def to_tokens(self, direction: str, *values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        self.count(direction, nbytes(*values))
        return self._packed(values, lambda packed: self._move(direction, packed[self.back], self.received, self.sent))

    def _move(self, direction: str, packed: torch.Tensor, out: list[int], into: list[int]) -> torch.Tensor:
        result = packed.new_empty((sum(into), packed.shape[1]))
        group = self.exchange.group
        self.exchange.run(direction, lambda: dist.all_to_all_single(result, packed, into, out, group=group))
        return result

    @staticmethod
    def _packed(values: tuple[Any, ...], move: Callable[[torch.Tensor], torch.Tensor]) -> tuple[Any, ...]:
        """All of a row side by side, moved, and taken apart again."""
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
