"""A call's arguments, as addresses, shapes and types."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from . import kinds
from .arrays import ScaledTensor
from .errors import CompileError, LaunchError
from .kinds import HOST
from .trace import Leaf


@dataclasses.dataclass
class CallValue:
    """An array argument as a call needs it."""

    leaf: Leaf
    raw: kinds.Raw
    kind: kinds.Kind
    owner: Any
    device: int = HOST


def _component(array: Any, name: str) -> kinds.View:
    view = kinds.view(array, codes=True)
    if view.dtype.numpy.itemsize != 1:
        raise LaunchError(f"expected {name} in bytes (uint8), but got {view.dtype.name}")
    return view


def call_value(value: Any) -> CallValue:
    if isinstance(value, ScaledTensor):
        if value.grouped:
            raise CompileError("nothing here reads a grouped transpose; grouped_wgrad takes its operands by rows")
        kind = kinds.kind_of(value.payload)
        if kind is None:
            raise CompileError(f"expected a scaled tensor of arrays, but got {value!r}")
        payload, scales = _component(value.payload, "payload"), _component(value.scales, "scales")
        addresses, owners = [payload.address, scales.address], [payload.owner, scales.owner]
        devices = {payload.device, scales.device}
        if value.tensor_scale is not None:
            view = kinds.view(value.tensor_scale)
            if view.dtype.mlir != "f32":
                raise LaunchError(f"expected tensor_scale in float32, but got {view.dtype.name}")
            addresses.append(view.address)
            owners.append(view.owner)
            devices.add(view.device)
        if len(devices) > 1:
            raise LaunchError(
                f"expected payload and scales on one device, but got {' and '.join(map(kinds.device_name, sorted(devices)))}"
            )
        leaf = Leaf((None, *value.shape[1:]), format=value.format.replace(rounding="nearest_even"), axis=value.axis)
        return CallValue(leaf, (value.shape, addresses), kind, owners, payload.device)
    kind = kinds.kind_of(value)
    view = kinds.view(value)
    assert kind is not None
    leaf = Leaf((None, *view.shape[1:]) if view.shape else (), dtype=view.dtype)
    shape = view.shape[:1] if leaf.is_column else view.shape
    return CallValue(leaf, (shape, [view.address]), kind, view.owner, view.device)


def device_of(values: list[CallValue], originals: list[Any]) -> int:
    """The device that all arrays are on. Scalars of the host are moved there."""
    device = next((v.device for v in values if v.device != HOST), HOST)
    if device == HOST:
        return HOST
    kind = next(v.kind for v in values if v.device == device)
    for i, value in enumerate(values):
        if value.device == device:
            continue
        if value.device != HOST or value.raw[0]:
            first = next(j for j, v in enumerate(values) if v.device == device)
            raise LaunchError(
                f"expected all arrays on one device, but argument {first} is on {kinds.device_name(device)} and argument {i} on {kinds.device_name(value.device)}"
            )
        assert value.leaf.dtype is not None
        moved = kind.scalar(np.asarray(originals[i]).item(), value.leaf.dtype, device)
        values[i] = dataclasses.replace(value, raw=((), [kinds.view(moved).address]), owner=moved, kind=kind, device=device)
    return device
