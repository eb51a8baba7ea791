"""The compiled functions of a mixture-of-experts layer, one set for each mode. Every one is short, and fused by the compiler."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import vernier as vn

Scaled = vn.ScaledTensor
seconds_per_kernel: dict[str, float] = defaultdict(float)


def timed(function: Any) -> Callable[..., Any]:
    """Adds the wall time of every call to `seconds_per_kernel`."""
    name = function.__name__

    def call(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        result = function(*args, **kwargs)
        seconds_per_kernel[name] += time.perf_counter() - start
        return result

    return call


def _swiglu(gate_up: Any, weight: Any) -> Any:
    """silu(gate) * up * routing weight of the row, in float32: [P, 2I], [P] -> [P, I]."""
    gate, up = vn.split(gate_up, 2)
    return vn.silu(gate) * up * weight[:, None]


def _swiglu_gradients(gate_up: Any, weight: Any, dh: Any) -> tuple[Any, Any]:
    """Gradient of gate and up side by side [P, 2I], and of the routing weights [P]."""
    gate, up = vn.split(vn.cast(gate_up, vn.float32), 2)
    s = vn.sigmoid(gate)
    weighted = dh * weight[:, None]
    d_gate = weighted * s * (1.0 + gate * (1.0 - s)) * up
    d_up = weighted * gate * s
    return vn.concat([d_gate, d_up]), (gate * s * up * dh).sum(axis=1)


# --- conversions and moves ---


@timed
@vn.jit
def to_bf16(x: Any) -> Any:
    return vn.cast(x, vn.bfloat16)


@timed
@vn.jit
def to_fp8(x: Any) -> Any:
    return vn.quantize(x, vn.FP8)


@timed
@vn.jit
def to_mxfp4(x: Any) -> Any:
    return vn.quantize(x, vn.MXFP4.replace(scale_rule="even"))


@timed
@vn.jit
def permute(t: Any, index: Any) -> Any:
    return vn.permute(t, index)


@timed
@vn.jit
def combine(y: Any, index: Any) -> Any:
    return vn.unpermute(y, index)


def weight_copies(w: Any) -> tuple[Scaled, Scaled]:
    """FP8 128x128 compute copies of [E, N, K]: for the forward product, and turned for the gradient of the input."""
    start = time.perf_counter()
    copies = vn.quantize(w, vn.FP8_BLOCK), vn.quantize(w.transpose(1, 2).contiguous(), vn.FP8_BLOCK)
    seconds_per_kernel["weight_copies"] += time.perf_counter() - start
    return copies


# --- SwiGLU forward: what fc2 reads, and what is kept ---


@timed
@vn.jit
def swiglu_bf16(gate_up: Any, weight: Any) -> Any:
    return vn.cast(_swiglu(gate_up, weight), vn.bfloat16)


@timed
@vn.jit
def swiglu_fp8(gate_up: Any, weight: Any) -> Any:
    """h in FP8 for fc2; gate and up in FP8 to keep. h itself is recomputed."""
    return vn.quantize(_swiglu(gate_up, weight), vn.FP8), vn.quantize(gate_up, vn.FP8)


@timed
@vn.jit
def swiglu_mxfp4(gate_up: Any, weight: Any, kept: str) -> Any:
    """h in FP8 for fc2 and in MXFP4 to keep; gate and up in MXFP4 or FP8 to keep, or not at all."""
    h = _swiglu(gate_up, weight)
    mxfp4 = vn.MXFP4.replace(scale_rule="even")
    gate_up_kept = None
    if kept != "recompute":
        gate_up_kept = vn.quantize(gate_up, vn.FP8 if kept == "fp8" else mxfp4)
    return vn.quantize(h, vn.FP8), vn.quantize(h, mxfp4), gate_up_kept


# --- SwiGLU backward, fused with the conversions around it ---


@timed
@vn.jit
def swiglu_backward_bf16(gate_up: Any, weight: Any, dh: Any) -> Any:
    d, dw = _swiglu_gradients(gate_up, weight, dh)
    return vn.cast(d, vn.bfloat16), dw


@timed
@vn.jit
def swiglu_backward_fp8(gate_up: Any, weight: Any, dh: Any) -> Any:
    """Also h again, in FP8, for the weight gradient of fc2."""
    values = vn.dequantize(gate_up)
    d, dw = _swiglu_gradients(values, weight, dh)
    return vn.quantize(d, vn.FP8), dw, vn.quantize(_swiglu(values, weight), vn.FP8)


@timed
@vn.jit
def swiglu_backward_mxfp4(gate_up: Any, weight: Any, dh: Any) -> Any:
    d, dw = _swiglu_gradients(vn.dequantize(gate_up), weight, dh)
    return vn.quantize(d, vn.FP8), dw


@timed
@vn.jit
def swiglu_backward_recomputed(gate_up: Any, weight: Any, dh: Any) -> Any:
    d, dw = _swiglu_gradients(gate_up, weight, dh)
    return vn.quantize(d, vn.FP8), dw


grouped_matmul = timed(vn.grouped_matmul)
grouped_wgrad = timed(vn.grouped_wgrad)
