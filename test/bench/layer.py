"""The routed experts of one mixture-of-experts layer on a GPU, forward and backward, step by step.

    ./vernier bench layer [NAME ...] [--record FILE] [--check FILE] [--plot FILE]
    ./vernier bench layer [NAME ...] --explain

Rows arrive in MXFP4 and their gradients in FP8, sorted by expert, group sizes in about 0.7..1.3 of the mean, on the device. Kept for
backward, all in MXFP4: the rows, gate and up, SwiGLU's result. Products in FP8, weight gradients added to FP32. A step is one
compiled function; its time is the median of device-event timings with the L2 cache flushed before each, launches alone. A layer's
time is the sum of its steps'. `--check` compares with a stored record of the same GPU and driver, and fails where a step has
become more than 5% slower. Needs one Hopper GPU and torch.

`--explain` needs neither: launches and bytes of every step as it is compiled, and with a kernel for every operation.
"""

from __future__ import annotations

import random
import sys
from typing import Any

import torch
import vernier as vn
from device import DEVICE, Timer, arguments, finish, new_record, operand, prepared, weights

LAYERS = [("671B", 8, 32768, 7168, 2048), ("671B", 32, 32768, 7168, 2048), ("236B", 20, 24576, 5120, 1536)]
"""Name, experts, rows in all, hidden size H, intermediate size I of an expert."""


def fc1(x: Any, w1: Any, offsets: Any, weight: Any) -> Any:
    """[M, H] -> SwiGLU times the routing weight [M, I], in FP8 for fc2 and in MXFP4 to keep; gate and up [M, 2I] to keep."""
    gate_up = vn.grouped_matmul(x, w1, offsets, vn.bfloat16)
    gate, up = vn.split(gate_up, 2, axis=1)
    h = vn.silu(gate) * up * weight[:, None]
    return vn.quantize(h, vn.FP8), vn.quantize(h, vn.MXFP4), vn.quantize(gate_up, vn.MXFP4)


def fc2(h: Any, w2: Any, offsets: Any) -> Any:
    return vn.grouped_matmul(h, w2, offsets, vn.bfloat16)


def fc2_dgrad(dy: Any, w2t: Any, offsets: Any, kept: Any, weight: Any) -> Any:
    """[M, H] -> gradient of gate and up [M, 2I] in FP8, and of the routing weights [M]."""
    dh = vn.cast(vn.grouped_matmul(dy, w2t, offsets, vn.bfloat16), vn.float32)
    gate, up = vn.split(vn.dequantize(kept, vn.float32), 2, axis=1)
    s = vn.sigmoid(gate)
    weighted = dh * weight[:, None]
    d = vn.concat([weighted * s * (1.0 + gate * (1.0 - s)) * up, weighted * gate * s], axis=1)
    return vn.quantize(d, vn.FP8), (gate * s * up * dh).sum(axis=1)


def fc1_dgrad(d: Any, w1t: Any, offsets: Any) -> Any:
    return vn.grouped_matmul(d, w1t, offsets, vn.bfloat16)


def wgrad(dy: Any, x: Any, offsets: Any, gradient: Any) -> Any:
    return vn.grouped_wgrad(dy, x, offsets, accumulate=gradient)


def offsets_of(groups: int, rows: int) -> torch.Tensor:
    """Group sizes in about 0.7..1.3 of their mean, of so many rows in all."""
    draw = random.Random(0)
    sizes = torch.tensor([draw.uniform(0.7, 1.3) for _ in range(groups)]).cumsum(0)
    ends = (sizes / sizes[-1] * rows).round().int().tolist()
    return torch.tensor([0, *ends], dtype=torch.int32, device=DEVICE)


def steps(experts: int, rows: int, hidden: int, inner: int) -> Any:
    offsets, m = offsets_of(experts, rows), rows
    x, dy, weight = operand(m, hidden, vn.MXFP4), operand(m, hidden, vn.FP8), torch.rand(m, device=DEVICE)
    w1 = weights(experts, 2 * inner, hidden)
    yield "fc1 + SwiGLU", m, fc1, (x, w1, offsets, weight), 2 * m * hidden * 2 * inner
    h8, h4, kept = vn.jit(fc1)(x, w1, offsets, weight)
    yield "fc2", m, fc2, (h8, weights(experts, hidden, inner), offsets), 2 * m * hidden * inner
    w2t = weights(experts, inner, hidden)
    yield "fc2 dgrad + SwiGLU'", m, fc2_dgrad, (dy, w2t, offsets, kept, weight), 2 * m * hidden * inner
    d, _ = vn.jit(fc2_dgrad)(dy, w2t, offsets, kept, weight)
    yield "fc1 dgrad", m, fc1_dgrad, (d, weights(experts, hidden, 2 * inner), offsets), 2 * m * hidden * 2 * inner
    gradient = torch.zeros(experts, hidden, inner, device=DEVICE)
    yield "fc2 wgrad", m, wgrad, (dy, h4, offsets, gradient), 2 * m * hidden * inner
    gradient = torch.zeros(experts, 2 * inner, hidden, device=DEVICE)
    yield "fc1 wgrad", m, wgrad, (d, x, offsets, gradient), 2 * m * hidden * 2 * inner


def described(experts: int, rows: int, hidden: int, inner: int) -> Any:
    """Functions and specs of the same steps."""

    def operand(k: int, format: Any) -> Any:
        return vn.ScaledSpec((rows, k), format)

    def weights(n: int, k: int) -> Any:
        return vn.ScaledSpec((experts, n, k), vn.FP8_BLOCK)

    offsets, weight = vn.ArraySpec((experts + 1,), vn.int32), vn.ArraySpec((rows,), vn.float32)
    x, dy, d = operand(hidden, vn.MXFP4), operand(hidden, vn.FP8), operand(2 * inner, vn.FP8)
    yield "fc1 + SwiGLU", fc1, (x, weights(2 * inner, hidden), offsets, weight)
    yield "fc2", fc2, (operand(inner, vn.FP8), weights(hidden, inner), offsets)
    yield "fc2 dgrad + SwiGLU'", fc2_dgrad, (dy, weights(inner, hidden), offsets, operand(2 * inner, vn.MXFP4), weight)
    yield "fc1 dgrad", fc1_dgrad, (d, weights(hidden, 2 * inner), offsets)
    yield "fc2 wgrad", wgrad, (dy, operand(inner, vn.MXFP4), offsets, vn.ArraySpec((experts, hidden, inner), vn.float32))
    yield "fc1 wgrad", wgrad, (d, x, offsets, vn.ArraySpec((experts, 2 * inner, hidden), vn.float32))


def explain(name: str, experts: int, rows: int, hidden: int, inner: int) -> None:
    """Launches and bytes before and after fusion."""
    print(f"{name}, {experts} experts, {rows} rows: H = {hidden}, I = {inner}")
    print(f"  {'':22}{'a kernel an operation':>26}{'as compiled':>22}")
    totals = [[0, 0], [0, 0]]
    for step, function, specs in described(experts, rows, hidden, inner):
        text = ""
        for total, fuse in zip(totals, (False, True)):
            _, kernels = vn.jit(fuse=fuse)(function).kernels(*specs, target="sm_90a")
            moved = sum(kernel["bytes_read"] + kernel["bytes_written"] for kernel in kernels)
            total[0], total[1] = total[0] + len(kernels), total[1] + moved
            text += f"{len(kernels):4} launches{moved / 1e6:9.0f} MB"
        print(f"  {step:22}    {text}", flush=True)
    print(f"  {'in all':22}    " + "".join(f"{launches:4} launches{moved / 1e6:9.0f} MB" for launches, moved in totals))


def plot(record: dict[str, Any], path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    layers = list(dict.fromkeys(row["layer"] for row in record["results"]))
    figure, axes = pyplot.subplots(figsize=(9, 0.6 * len(layers) + 1.4))
    left = dict.fromkeys(layers, 0.0)
    for step in dict.fromkeys(row["step"] for row in record["results"]):
        of = {row["layer"]: row["microseconds"] / 1e3 for row in record["results"] if row["step"] == step}
        axes.barh(layers, [of[layer] for layer in layers], left=[left[layer] for layer in layers], label=step)
        for layer in layers:
            left[layer] += of[layer]
    axes.invert_yaxis()
    axes.set_xlabel(f"ms, forward and backward ({record['conditions'].get('name', '')})")
    axes.legend(fontsize=7, ncol=3)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("names", nargs="*", help="only layers whose name and experts have one of these in them")
    parser.add_argument("--explain", action="store_true", help="launches and bytes before and after fusion, without a GPU")
    options = parser.parse_args()
    chosen = [
        shape
        for shape in LAYERS
        if not options.names or any(text in f"{shape[0]}, {shape[1]} experts" for text in options.names)
    ]
    if options.explain:
        for shape in chosen:
            explain(*shape)
        return 0
    timer = Timer()
    record = new_record(totals={})
    for name, experts, rows, hidden, inner in chosen:
        layer = f"{name}, {experts} experts"
        print(f"{layer}: H = {hidden}, I = {inner}")
        total, launches = 0.0, 0
        for step, m, function, args, operations in steps(experts, rows, hidden, inner):
            work, moved, kernels = prepared(function, args, into=args[-1] if function is wgrad else None)
            time = timer.microseconds(work, repeats=10)
            record["results"].append({"operation": f"{layer}: {step}", "layer": layer, "step": step,
                                      "shape": (m, hidden, inner), "microseconds": time, "launches": len(kernels),
                                      "bytes": moved, "tflops": operations / time / 1e6})  # fmt: skip
            total, launches = total + time, launches + len(kernels)
            print(f"  {step:22}{m:7} rows{len(kernels):3} launches{time:9.1f} us{moved / 1e6:9.0f} MB"
                  f"{operations / time / 1e6:7.0f} TFLOPS", flush=True)  # fmt: skip
        record["totals"][layer] = {"microseconds": total, "launches": launches}
        print(f"  {'in all':22}{m:7} rows{launches:3} launches{total:9.1f} us")
    return finish(record, options, plot)


if __name__ == "__main__":
    sys.exit(main())
