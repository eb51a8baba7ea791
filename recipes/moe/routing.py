"""Which rows go to which expert."""

from __future__ import annotations

import dataclasses

import torch


@dataclasses.dataclass(frozen=True)
class Route:
    """Rows sorted by expert.

    Attributes:
        source: int32 [P], the token of every row.
        place: int32 [T, k], the row of every copy of a token.
        counts: int64 [E], rows of every expert.
    """

    source: torch.Tensor
    place: torch.Tensor
    counts: torch.Tensor


def offsets_of(counts: torch.Tensor) -> torch.Tensor:
    """int32 [E + 1] from rows an expert."""
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)]).to(torch.int32)


def route(choices: torch.Tensor, experts: int) -> Route:
    """From the experts chosen for every token, int64 [T, k]."""
    tokens, k = choices.shape
    order = torch.argsort(choices.reshape(-1), stable=True)
    place = torch.empty_like(order)
    place[order] = torch.arange(order.numel())
    counts = torch.bincount(choices.reshape(-1), minlength=experts)
    return Route((order // k).to(torch.int32), place.reshape(tokens, k).to(torch.int32), counts)
