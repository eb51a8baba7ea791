"""The compiled functions of the layers. Formats are constants of a trace: every policy gets kernels of its own."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

import vernier as vn

from .policy import FORMATS


class Compiled:
    """`vn.jit`, under its own name (vernier::...) in a profile."""

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self._jitted = vn.jit(function)
        self._label = f"vernier::{function.__name__}"
        self._launchers: dict[Any, Callable[..., None]] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._named(self._jitted, *args, **kwargs)

    def launcher(self, *args: Any) -> Callable[..., None]:
        """Launches by addresses (`vernier.jit.Launcher`) for tensors of these types and columns, with these constants."""
        kind = tuple((a.dtype, a.shape[1:], a.device) if isinstance(a, torch.Tensor) else a for a in args)
        if kind not in self._launchers:
            self._launchers[kind] = functools.partial(self._named, self._jitted.launcher(*args))
        return self._launchers[kind]

    def _named(self, run: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if not torch.autograd._profiler_enabled():  # type: ignore[attr-defined]
            return run(*args, **kwargs)
        with torch.profiler.record_function(self._label):
            return run(*args, **kwargs)


def _scaled(value: Any) -> bool:
    return getattr(value, "format", None) is not None


def _encoded(value: Any, element: str) -> Any:
    """A plain value in BF16 or a scaled format."""
    return vn.cast(value, vn.bfloat16) if element == "bf16" else vn.quantize(value, FORMATS[element])


def _operand(value: Any, compute: str) -> Any:
    """What a product reads: scaled values as they are, plain ones in the format that is computed in."""
    return value if _scaled(value) else _encoded(value, compute)


def _plain(value: Any) -> Any:
    return vn.dequantize(value, vn.float32) if _scaled(value) else vn.cast(value, vn.float32)


def _swiglu(gate_up: Any, weight: Any) -> Any:
    gate, up = vn.split(gate_up, 2, axis=1)
    h = vn.silu(gate) * up
    return h if weight is None else h * weight[:, None]


@Compiled
def encode(x: Any, element: str) -> Any:
    """[M, N] in BF16, or quantised in blocks along rows."""
    return _encoded(x, element)


@Compiled
def encode_rows(x: Any, source: Any, element: str) -> Any:
    """Rows of a plain matrix in the order of `source` int32 [P], in BF16 or quantised."""
    return _encoded(vn.permute(x, source), element)


@Compiled
def permute(x: Any, source: Any) -> Any:
    """Rows, plain or scaled, in the order of `source` int32 [P]."""
    return vn.permute(x, source)


@Compiled
def encode_twice(x: Any, element: str, compute: str) -> Any:
    """[M, N] quantised, and as the operand that this is read as."""
    kept = _encoded(x, element)
    return kept, vn.requantize(kept, FORMATS[compute])


@Compiled
def permute_twice(x: Any, source: Any, compute: str) -> Any:
    """Scaled rows in the order of `source`, and as the operand that these are read as."""
    kept = vn.permute(x, source)
    return kept, vn.requantize(kept, FORMATS[compute])


@Compiled
def combine(y: Any, place: Any, dtype: Any) -> Any:
    """[P, N], int32 [T, k] -> [T, N]: the sum of each token's rows, in FP32 and in the order of k, then in `dtype`."""
    return vn.cast(vn.unpermute(y, place), dtype)


@Compiled
def multiply(x: Any, w: Any, offsets: Any, compute: str) -> Any:
    """[M, K], [E, N, K] -> BF16 [M, N]."""
    return vn.grouped_matmul(_operand(x, compute), w, offsets, vn.bfloat16)


@Compiled
def weight_gradient(dy: Any, x: Any, offsets: Any, compute: str) -> Any:
    """[M, N], [M, K] -> FP32 [E, N, K]."""
    return vn.grouped_wgrad(_operand(dy, compute), _operand(x, compute), offsets)


@Compiled
def add_weight_gradient(dy: Any, x: Any, offsets: Any, compute: str, gradient: Any) -> Any:
    """The same, added to a gradient FP32 [E, N, K]."""
    return vn.grouped_wgrad(_operand(dy, compute), _operand(x, compute), offsets, accumulate=gradient)


@Compiled
def first_product(rows: Any, w1: Any, offsets: Any, weight: Any, compute: str, kept: tuple[str, ...]) -> Any:
    """Gate and up, and SwiGLU: [M, H], [E, 2I, H] -> h in the format that is computed in, h in each of `kept` that begins with
    "h:", gate and up in each that begins with "g:"."""
    gate_up = vn.grouped_matmul(_operand(rows, compute), w1, offsets, vn.bfloat16)
    h = _swiglu(gate_up, weight)
    results = [_encoded(h, compute)]
    for text in kept:
        what, element = text.split(":")
        results.append(_encoded(h if what == "h" else gate_up, element))
    return tuple(results)


@Compiled
def swiglu_gradient(dy: Any, w2: Any, offsets: Any, gate_up: Any, weight: Any, compute: str, hidden: bool) -> Any:
    """[M, H], turned weights [E, I, H], gate and up [M, 2I] -> gradient of gate and up in the format that is computed in;
    with a routing weight its gradient, FP32 [M]; with `hidden`, SwiGLU's result once more."""
    dh = vn.cast(vn.grouped_matmul(_operand(dy, compute), w2, offsets, vn.bfloat16), vn.float32)
    values = _plain(gate_up)
    gate, up = vn.split(values, 2, axis=1)
    s = vn.sigmoid(gate)
    weighted = dh if weight is None else dh * weight[:, None]
    d = vn.concat([weighted * s * (1.0 + gate * (1.0 - s)) * up, weighted * gate * s], axis=1)
    results = [_encoded(d, compute)]
    if weight is not None:
        results.append((gate * s * up * dh).sum(axis=1))
    if hidden:
        results.append(_encoded(_swiglu(values, weight), compute))
    return tuple(results)


@Compiled
def transpose(x: Any) -> Any:
    """[M, N] -> [N, M], plain or in square blocks."""
    return vn.transpose(x)


def weight_copy(w: torch.Tensor, compute: str) -> Any:
    """[E, N, K] as an operand: BF16, or FP8 in blocks of 128x128."""
    return w.to(torch.bfloat16) if compute == "bf16" else vn.quantize(w, vn.FP8_BLOCK)


def turned(copy: Any) -> Any:
    """[E, N, K] -> [E, K, N]. Square blocks keep their scales: their bytes are turned, not rounded anew.

    All at once by a compiled transpose, [E * N, K] -> [K, E * N], and then whole rows of each matrix to their places.
    """
    experts, n, k = copy.shape
    if isinstance(copy, torch.Tensor):
        return _unstacked(transpose(copy.reshape(experts * n, k)), experts)
    flat = vn.ScaledTensor(copy.payload.reshape(experts * n, k), copy.scales.flatten(0, 1), copy.format, (experts * n, k))
    together = transpose(flat)
    parts = _unstacked(together.payload, experts), _unstacked(together.scales, experts)
    return vn.ScaledTensor(*parts, copy.format, (experts, k, n))


def _unstacked(matrix: torch.Tensor, experts: int) -> torch.Tensor:
    """[K, E * N] -> [E, K, N], in words as wide as rows allow: torch moves one element a thread."""
    rows, cols = matrix.shape
    bytes_a_row = cols // experts * matrix.element_size()
    word = torch.int64 if bytes_a_row % 8 == 0 and matrix.is_contiguous() else matrix.dtype
    words = matrix.view(word)
    moved = words.view(rows, experts, words.shape[1] // experts).transpose(0, 1).contiguous()
    return moved.view(matrix.dtype)
