"""One mixture-of-experts layer of vernier.torch on a GPU, in every mode and scope of kept activations.

    ./vernier bench moe [--record FILE] [--plot FILE] [--cap MB]

The routed and shared experts of DeepSeek-V3's layer as one of 32 ranks has them: H 7168, I 2048, 8 experts, 4096 tokens that go to all
8 of them (32768 rows), BF16 in and out, FP32 weights. A step is forward and backward with gradients of everything: device time of
ten steps behind one another, after three. Kept bytes are counted by the layer; the peak is what the allocator gave out above
what was there before. Under a cap of kept bytes (by default just below FP8's widest scope), the widest scope that fits in each mode.
Needs one Hopper GPU and torch.
"""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

import torch
from device import DEVICE, arguments, finish, new_record
from vernier.torch import BF16, FP8, MXFP4, MoE

HIDDEN, INTERMEDIATE, EXPERTS, TOP_K, TOKENS = 7168, 2048, 8, 8, 4096

SCOPES = [
    ("bf16", "all", BF16),
    ("bf16", "all but SwiGLU's result", dataclasses.replace(BF16, hidden="recompute")),
    ("bf16", "the input", dataclasses.replace(BF16, hidden="recompute", gate_up="recompute")),
    ("fp8", "all", dataclasses.replace(FP8, hidden="fp8")),
    ("fp8", "all but SwiGLU's result", FP8),
    ("fp8", "the input", dataclasses.replace(FP8, gate_up="recompute")),
    ("mxfp4", "all", MXFP4),
    ("mxfp4", "all but SwiGLU's result", dataclasses.replace(MXFP4, hidden="recompute")),
    ("mxfp4", "the input", dataclasses.replace(MXFP4, hidden="recompute", gate_up="recompute")),
]
"""Mode, what is kept, policy; widest first in each mode."""


def measure(policy: Any) -> dict[str, float]:
    torch.manual_seed(0)
    layer = MoE(HIDDEN, INTERMEDIATE, EXPERTS, TOP_K, shared=1, policy=policy, device=DEVICE)
    x = torch.randn(TOKENS, HIDDEN, device=DEVICE, dtype=torch.bfloat16, requires_grad=True)
    dy = torch.randn_like(x)

    def step() -> None:
        layer.zero_grad(set_to_none=True)
        x.grad = None
        layer.meter.reset()
        layer(x).backward(dy)

    for _ in range(3):
        step()
    layer.zero_grad(set_to_none=True)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(10):
        step()
    end.record()
    torch.cuda.synchronize()
    return {"microseconds": start.elapsed_time(end) * 100, "kept_bytes": layer.meter.kept,
            "peak_bytes": torch.cuda.max_memory_allocated() - before}  # fmt: skip


def under(results: list[dict[str, Any]], cap: float) -> dict[str, dict[str, Any]]:
    """The first, that is the widest, scope of each mode that keeps no more than the cap."""
    chosen: dict[str, dict[str, Any]] = {}
    for row in results:
        if row["kept_bytes"] <= cap:
            chosen.setdefault(row["mode"], row)
    return chosen


def plot(record: dict[str, Any], path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    colors = {"bf16": "#444444", "fp8": "#1f77b4", "mxfp4": "#d62728"}
    figure, axes = pyplot.subplots(figsize=(7, 4))
    for mode, color in colors.items():
        rows = [row for row in record["results"] if row["mode"] == mode]
        axes.plot([r["kept_bytes"] / 1e6 for r in rows], [r["microseconds"] / 1e3 for r in rows], "o-", color=color, label=mode)
        for number, row in enumerate(rows):
            axes.annotate(row["scope"], (row["kept_bytes"] / 1e6, row["microseconds"] / 1e3), fontsize=7, color=color, rotation=35,
                          xytext=(0, -10 if number == 0 else 5), textcoords="offset points",
                          va="top" if number == 0 else "bottom")  # fmt: skip
    axes.axvline(record["cap_bytes"] / 1e6, color="#999999", linewidth=0.8, linestyle="--")
    axes.set(xlabel="MB that a layer's experts keep for the backward pass", ylabel="ms, forward and backward", ylim=(0, None))
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--cap", type=float, help="MB kept by one layer")
    options = parser.parse_args()
    record = new_record()
    shape = (TOKENS, HIDDEN, INTERMEDIATE)
    for mode, scope, policy in SCOPES:
        row = {"operation": f"{mode}, keeps {scope}", "mode": mode, "scope": scope, "shape": shape} | measure(policy)
        record["results"].append(row)
        print(f"{mode:6} keeps {scope:24}{row['kept_bytes'] / 1e6:8.1f} MB  peak {row['peak_bytes'] / 1e6:7.0f} MB"
              f"{row['microseconds'] / 1e3:8.2f} ms", flush=True)  # fmt: skip
    results = record["results"]
    widest = max(row["kept_bytes"] for row in results if row["mode"] == "fp8" and row["scope"] != "all")
    record["cap_bytes"] = cap = options.cap * 1e6 if options.cap else 0.99 * widest
    record["under_cap"] = chosen = under(results, cap)
    print(f"under a cap of {cap / 1e6:.1f} MB:")
    for mode, row in chosen.items():
        print(f"  {mode:6} keeps {row['scope']}: {TOKENS / row['microseconds'] * 1e3:.0f} tokens/ms")
    if {"fp8", "mxfp4"} <= chosen.keys():
        print(f"  mxfp4 / fp8: {chosen['fp8']['microseconds'] / chosen['mxfp4']['microseconds']:.3f}")
    return finish(record, options, plot)


if __name__ == "__main__":
    sys.exit(main())
