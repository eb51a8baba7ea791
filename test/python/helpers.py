"""Comparison of compiled results with the reference, and inputs that look for trouble."""

from __future__ import annotations

import numpy as np
import vernier as vn
from vernier import reference as ref


def to_reference(t: vn.ScaledTensor) -> ref.Scaled:
    payload = np.asarray(t.payload)
    codes = ref.unpack_codes(payload, t.shape[1]) if t.format.packed else payload
    tensor_scale = None if t.tensor_scale is None else float(np.asarray(t.tensor_scale))
    return ref.Scaled(codes, np.asarray(t.scales), t.format, t.format.turned(t.axis), tensor_scale)


def from_reference(t: ref.Scaled, axis: int = -1) -> vn.ScaledTensor:
    payload = ref.pack_codes(t.codes) if t.format.packed else t.codes
    scale = None if t.tensor_scale is None else np.float32(t.tensor_scale)
    return vn.ScaledTensor(payload, t.scales, t.format, t.codes.shape, axis, scale)


def assert_same(actual: vn.ScaledTensor, expected: ref.Scaled, what: str = "") -> None:
    """Scales and codes, bit for bit."""
    got = to_reference(actual)
    for name, a, e in (("scales", got.scales, expected.scales), ("codes", got.codes, expected.codes)):
        assert a.shape == e.shape, f"{what}: {name} have shape {a.shape}, expected {e.shape}"
        if not np.array_equal(a, e):
            where = np.argwhere(a != e)
            first = tuple(where[0])
            raise AssertionError(
                f"{what}: {len(where)} of {a.size} {name} differ, first at {first}: {a[first]:#x}, expected {e[first]:#x}"
            )


DISTRIBUTIONS = ("normal", "wide", "uniform", "outliers", "ties", "tiny", "huge", "zeros", "specials")


def draw(kind: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Random float32 of one distribution."""
    rng = np.random.default_rng(seed)
    normal = rng.standard_normal(shape).astype(np.float32)
    if kind == "normal":
        return normal
    if kind == "wide":  # magnitudes over the whole range of exponents
        with np.errstate(over="ignore"):
            return np.ldexp(normal, rng.integers(-140, 127, shape)).astype(np.float32)
    if kind == "uniform":
        return rng.uniform(-1, 1, shape).astype(np.float32)
    if kind == "outliers":
        return np.where(rng.random(shape) < 0.01, normal * 1000, normal).astype(np.float32)
    if kind == "ties":  # short mantissas: many values halfway between two codes
        return (rng.integers(-64, 65, shape) / 8 * 2.0 ** rng.integers(-3, 4, shape)).astype(np.float32)
    if kind == "tiny":  # FP32 subnormals and their neighbours
        return np.ldexp(normal, rng.integers(-150, -120, shape)).astype(np.float32)
    if kind == "huge":
        return np.clip(normal, -3, 3) * np.float32(1e38)
    if kind == "zeros":
        return np.where(rng.random(shape) < 0.97, np.copysign(np.float32(0), normal), normal).astype(np.float32)
    if kind == "specials":
        special = rng.choice(np.array([np.nan, np.inf, -np.inf], np.float32), shape)
        return np.where(rng.random(shape) < 0.01, special, normal).astype(np.float32)
    raise ValueError(kind)


def random_scaled(format: vn.Format, shape: tuple[int, int], seed: int, spread: int = 20, axis: int = -1) -> vn.ScaledTensor:
    """Codes of every kind, NaN included, under scales that differ by up to 2**spread."""
    rng = np.random.default_rng(seed)
    block = format.turned(axis)
    codes = rng.integers(0, 16 if format.packed else 256, shape).astype(np.uint8)
    if not format.packed:  # NaN codes, but not in nearly every block
        nan = (codes & 0x7F) == 0x7F
        codes[nan & (rng.random(shape) < 0.995)] = 0x38
    scales = rng.integers(127 - spread // 2, 128 + spread // 2, (-(-shape[0] // block[0]), -(-shape[1] // block[1]))).astype(
        np.uint8
    )
    special = rng.choice(np.array([0, 1, 254, 255], np.uint8), scales.shape)
    scales = np.where(rng.random(scales.shape) < 0.05, special, scales).astype(np.uint8)
    return from_reference(ref.Scaled(codes, scales, format, block), axis)
