"""Memory-bound kernels on a GPU against the copy speed of the same run, and against torch.compile where it has the operation.

    ./vernier bench gpu [NAME ...] [--shapes 32768x7168,...] [--record FILE] [--check FILE] [--plot FILE] [--no-peer]

A row is a launch's share of a CUDA graph that goes through sets of arguments and results several times the L2 cache together,
the median of device-event timings of its replays; peers are measured alike. "of copy" is bytes read and written per
second over those of a device-to-device copy; the floor is the time that the copy would take for those bytes. Every
row is checked against the host target on its first rows before it is timed. `--check` compares with a stored record of the
same GPU, driver and shapes, and fails where a row has become more than 5% slower. Needs one Hopper GPU and torch.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
import vernier as vn
from device import DEVICE, arguments, copies, copy_bytes_per_microsecond, finish, new_record, prepared, replayed


def to_host(value: Any) -> Any:
    if isinstance(value, vn.ScaledTensor):
        return vn.ScaledTensor(value.payload.cpu(), value.scales.cpu(), value.format, value.shape, value.axis)
    return value.cpu()


def check(function: Any, args: tuple[Any, ...]) -> None:
    """The host's bits, on the same few rows."""

    def flat(value: Any) -> list[Any]:
        if isinstance(value, tuple):
            return [f for v in value for f in flat(v)]
        return [value.payload, value.scales] if isinstance(value, vn.ScaledTensor) else [value]

    for got, expected in zip(flat(function(*args)), flat(function(*(to_host(a) for a in args)))):
        a, b = got.cpu(), expected
        if a.dtype in (torch.uint8, torch.int32):
            wrong = (a != b).float().mean().item()
            # A code computed from a transcendental function may flip to its neighbour.
            assert wrong < 1e-3, f"{wrong:.1%} of the codes differ from the host's"
        else:
            np.testing.assert_allclose(a.float().numpy(), b.float().numpy(), rtol=1e-2, atol=1e-4)


def swiglu(x: Any, w: Any) -> Any:
    gate, up = vn.split(x, 2, axis=1)
    h = vn.silu(gate) * up * w[:, None]
    return vn.quantize(h, vn.FP8), vn.quantize(h, vn.MXFP4)


def swiglu_backward(x: Any, w: Any, g: Any) -> Any:
    a, b = (vn.cast(half, vn.float32) for half in vn.split(x, 2, axis=1))
    g = vn.cast(g, vn.float32)
    s = vn.sigmoid(a)
    gw = g * w[:, None]
    d = vn.concat([gw * s * (1 + a * (1 - s)) * b, gw * a * s], axis=1)
    return vn.quantize(d, vn.FP8), vn.quantize(d, vn.MXFP4), (a * s * b * g).sum(axis=1)


def torch_fp8(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """BF16 to FP8 1x128 with power-of-two scales, as a user of torch.compile would write it."""
    blocks = x.float().view(x.shape[0], -1, 128)
    exponent = torch.ceil(torch.log2(blocks.abs().amax(2, keepdim=True).clamp(min=1e-30) / 448))
    return (blocks * torch.exp2(-exponent)).to(torch.float8_e4m3fn).view(x.shape), (exponent + 127).to(torch.uint8)


def cases(rows: int, columns: int) -> list[tuple[str, Any, tuple[Any, ...], Any]]:
    x = torch.randn(rows, columns, device=DEVICE).bfloat16()
    fp8, mxfp4 = vn.quantize(x, vn.FP8), vn.quantize(x, vn.MXFP4)
    index = torch.randperm(rows, device=DEVICE).int()
    return [
        ("bf16 -> FP8", lambda a: vn.quantize(a, vn.FP8), (x,), torch_fp8),
        ("bf16 -> MXFP4", lambda a: vn.quantize(a, vn.MXFP4), (x,), None),
        ("bf16 -> MXFP8", lambda a: vn.quantize(a, vn.MXFP8), (x,), None),
        ("bf16 -> FP8 down columns", lambda a: vn.quantize(a, vn.FP8, axis=0), (x,), None),
        ("bf16 -> FP8 transposed", lambda a: vn.transpose(vn.quantize(a, vn.FP8, axis=0)), (x,), None),
        ("FP8 -> MXFP4", lambda t: vn.requantize(t, vn.MXFP4), (fp8,), None),
        ("MXFP4 -> FP8", lambda t: vn.requantize(t, vn.FP8), (mxfp4,), None),
        ("FP8 -> bf16", lambda t: vn.dequantize(t, vn.bfloat16), (fp8,), None),
        ("MXFP4 -> bf16", lambda t: vn.dequantize(t, vn.bfloat16), (mxfp4,), None),
        ("FP8 transpose", lambda t: vn.transpose(t), (fp8,), None),
        ("MXFP4 transpose to FP8", lambda t: vn.transpose(t), (mxfp4,), None),
        ("bf16 transpose", lambda a: vn.transpose(a), (x,), lambda a: a.T.contiguous()),
        ("permute bf16", lambda a, i: vn.permute(a, i), (x, index), lambda a, i: a[i]),
        ("permute FP8", lambda t, i: vn.permute(t, i), (fp8, index), None),
        ("permute MXFP4", lambda t, i: vn.permute(t, i), (mxfp4, index), None),
        ("FP8 rows, FP8 columns, MXFP4", lambda a: (vn.quantize(a, vn.FP8), vn.transpose(vn.quantize(a, vn.FP8, axis=0)),
                                                    vn.quantize(a, vn.MXFP4)), (x,), None),
    ]  # fmt: skip


def swiglu_cases(rows: int, inner: int) -> list[tuple[str, Any, tuple[Any, ...], Any]]:
    x, g = torch.randn(rows, 2 * inner, device=DEVICE).bfloat16(), torch.randn(rows, inner, device=DEVICE).bfloat16()
    w = torch.rand(rows, device=DEVICE)
    return [
        ("SwiGLU -> FP8, MXFP4", swiglu, (x, w), None),
        ("SwiGLU backward -> FP8, MXFP4, dw", swiglu_backward, (x, w, g), None),
    ]


def few(value: Any, rows: int = 256) -> Any:
    if isinstance(value, vn.ScaledTensor):
        return vn.ScaledTensor(value.payload[:rows], value.scales[:rows], value.format, (rows, *value.shape[1:]), value.axis)
    if value.dtype == torch.int32:
        return (value[:rows] % rows).contiguous()
    return value[:rows]


def duplicate(value: Any) -> Any:
    if isinstance(value, vn.ScaledTensor):
        return vn.ScaledTensor(value.payload.clone(), value.scales.clone(), value.format, value.shape, value.axis)
    return value.clone()


def plot(record: dict[str, Any], path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = record["results"]
    figure, axes = pyplot.subplots(figsize=(9, 0.28 * len(rows) + 1.2))
    axes.barh(
        [f"{r['operation']} {r['shape'][0]}x{r['shape'][1]}" for r in rows], [r["of_copy"] for r in rows], color="#2a6f97"
    )
    axes.axvline(1, color="black", linewidth=1)
    axes.axvline(0.9, color="gray", linewidth=1, linestyle="--")
    axes.invert_yaxis()
    axes.set_xlabel(
        f"share of copy bandwidth ({record['copy_bytes_per_microsecond'] / 1e6:.2f} TB/s, {record['conditions'].get('name', '')})"
    )
    axes.tick_params(axis="y", labelsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("names", nargs="*", help="only operations whose name has one of these in it")
    parser.add_argument("--shapes", default="32768x7168,24576x5120,24576x2048")
    parser.add_argument("--no-peer", action="store_true")
    options = parser.parse_args()
    copy = copy_bytes_per_microsecond()
    record = new_record(copy_bytes_per_microsecond=copy)
    print(f"{record['conditions'].get('name')}, copy {copy / 1e6:.3f} TB/s")
    print(f"{'operation':36}{'shape':>14}{'us':>9}{'floor':>8}{'of copy':>9}{'peer us':>9}")
    shapes = [tuple(int(n) for n in s.split("x")) for s in options.shapes.split(",")]
    jobs = [(s, lambda s=s: cases(*s)) for s in shapes] + [((shapes[0][0], 2048), lambda: swiglu_cases(shapes[0][0], 2048))]
    for shape, make in jobs:
        for name, function, args, peer in make():
            if options.names and not any(n in name for n in options.names):
                continue
            check(function, tuple(few(a) for a in args))
            work, moved, kernels = prepared(function, args)
            sets = [args, *([duplicate(a) for a in args] for _ in range(copies(moved) - 1))]
            time = replayed([work, *(prepared(function, tuple(a))[0] for a in sets[1:])])
            floor = moved / copy
            row = {"operation": name, "shape": shape, "microseconds": time, "floor": floor, "of_copy": floor / time,
                   "kernels": len(kernels), "registers": [k["registers"] for k in kernels]}  # fmt: skip
            if peer is not None and not options.no_peer:
                compiled = torch.compile(peer)
                row["peer_microseconds"] = replayed([lambda c=compiled, a=a: c(*a) for a in sets])
            record["results"].append(row)
            print(
                f"{name:36}{shape[0]:>8}x{shape[1]:<5}{time:9.1f}{floor:8.1f}{floor / time:9.2f}{row.get('peer_microseconds', float('nan')):9.1f}",
                flush=True,
            )
        torch.cuda.empty_cache()
    return finish(record, options, plot)


if __name__ == "__main__":
    sys.exit(main())
