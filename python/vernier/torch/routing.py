"""Which rows go to which expert. Nothing here waits for the device."""

from __future__ import annotations

import dataclasses

import torch


@dataclasses.dataclass(frozen=True)
class Route:
    """Rows sorted by expert.

    Attributes:
        order: int64 [P], the copy of a token (token * k + choice) that every row is.
        source: int32 [P], the token of every row.
        place: int32 [T, k], the row of every copy of a token.
        offsets: int32 [E + 1], the rows of expert e are offsets[e]:offsets[e + 1].
    """

    order: torch.Tensor
    source: torch.Tensor
    place: torch.Tensor
    offsets: torch.Tensor

    @property
    def counts(self) -> torch.Tensor:
        """int32 [E], rows of every expert."""
        return self.offsets.diff()


def route(choices: torch.Tensor, experts: int) -> Route:
    """Sorts copies of tokens by the experts chosen for them, integers [T, k] below `experts`; equal ones stay in their order."""
    tokens, k = choices.shape
    chosen, order = torch.sort(choices.reshape(-1), stable=True)
    place = torch.empty_like(order)
    place.scatter_(0, order, torch.arange(order.numel(), device=order.device))
    bounds = torch.arange(experts + 1, device=chosen.device, dtype=chosen.dtype)
    offsets = torch.searchsorted(chosen, bounds, out_int32=True)
    return Route(order, (order // max(1, k)).to(torch.int32), place.reshape(tokens, k).to(torch.int32), offsets)
