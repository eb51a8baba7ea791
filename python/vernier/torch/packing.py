"""Scaled tensors as the plain tensors that autograd saves, and what a layer keeps and sends, in bytes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch

import vernier as vn


@dataclasses.dataclass
class Meter:
    """Bytes that layers kept for the backward pass and handed to the wire since the meter was made or reset, on this rank.

    Rows that stay on the rank count as sent. Weights do not count as kept.
    """

    kept: int = 0
    dispatch: int = 0
    combine: int = 0
    gradient_dispatch: int = 0
    gradient_combine: int = 0

    def reset(self) -> None:
        for field in dataclasses.fields(self):
            setattr(self, field.name, 0)


def parts(value: Any) -> list[torch.Tensor]:
    """The tensors of a value: none, itself, or payload and scales."""
    if value is None:
        return []
    return [value.payload, value.scales] if isinstance(value, vn.ScaledTensor) else [value]


def nbytes(*values: Any) -> int:
    return sum(part.numel() * part.element_size() for value in values for part in parts(value))


def rebuilt(like: Any, tensors: Sequence[torch.Tensor]) -> Any:
    """A value like another one, of other tensors with perhaps another number of rows."""
    if isinstance(like, vn.ScaledTensor):
        return vn.ScaledTensor(tensors[0], tensors[1], like.format, (tensors[0].shape[0], *like.shape[1:]))
    return tensors[0]


def save(ctx: Any, **values: Any) -> None:
    """Saves tensors, scaled ones and None through autograd, so that checkpoints, offloading and hooks see them."""
    tensors: list[torch.Tensor] = []
    ctx.saved = []
    for name, value in values.items():
        scaled = (value.format, value.shape) if isinstance(value, vn.ScaledTensor) else None
        ctx.saved.append((name, len(parts(value)), scaled))
        tensors += parts(value)
    ctx.save_for_backward(*tensors)


def restore(ctx: Any) -> dict[str, Any]:
    """What `save` was given, by name."""
    tensors = list(ctx.saved_tensors)
    values: dict[str, Any] = {}
    for name, count, scaled in ctx.saved:
        mine, tensors = tensors[:count], tensors[count:]
        values[name] = None if not mine else vn.ScaledTensor(mine[0], mine[1], *scaled) if scaled else mine[0]
    return values
