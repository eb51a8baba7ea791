"""The table of a demo, as text, JSON and pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from .config import MODES, ModelConfig
from .memory import scopes
from .train import Record

COLORS = {"bf16": "#444444", "fp8": "#1f77b4", "mxfp4": "#d62728"}


def megabytes(count: float) -> str:
    return f"{count / 1e6:.2f} MB"


def table(records: dict[str, Record], wire: dict[str, dict[str, int]]) -> str:
    """One row a mode, ratios to bf16 in brackets."""
    base = records.get("bf16")
    head = f"{'mode':8}{'loss':>18}{'held out':>10}{'saved / layer':>20}{'dispatch / step':>22}{'tokens/s':>10}{'peak RSS':>11}"
    lines = [head, "-" * len(head)]
    for mode, record in records.items():
        held_out = record.held_out[max(record.held_out)] if record.held_out else float("nan")
        loss, saved, sent = f"{record.final_loss:.4f}", megabytes(record.saved_bytes_per_layer), ""
        if base and base is not record:
            loss += f" ({100 * (record.final_loss / base.final_loss - 1):+.2f}%)"
            saved += f" ({record.saved_bytes_per_layer / base.saved_bytes_per_layer:.3f}x)"
        if mode in wire:
            sent = megabytes(wire[mode]["dispatch"])
            if "bf16" in wire and mode != "bf16":
                sent += f" ({wire[mode]['dispatch'] / wire['bf16']['dispatch']:.3f}x)"
        lines.append(
            f"{mode:8}{loss:>18}{held_out:>10.4f}{saved:>20}{sent:>22}{record.tokens_per_second:>10.0f}{record.peak_memory_bytes / 1e9:>8.2f} GB"
        )
    return "\n".join(lines)


def kernel_table(records: dict[str, Record]) -> str:
    """Milliseconds a step in each compiled function."""
    names = sorted({n for r in records.values() for n in r.seconds_per_kernel_and_step})
    lines = [f"{'ms per step':30}" + "".join(f"{m:>10}" for m in records)]
    for name in names:
        cells = []
        for record in records.values():
            seconds = record.seconds_per_kernel_and_step.get(name)
            cells.append(f"{'-':>10}" if seconds is None else f"{seconds * 1e3:>10.1f}")
        lines.append(f"{name:30}" + "".join(cells))
    return "\n".join(lines)


def cap_table(model: ModelConfig, tokens: int, cap: float) -> str:
    """The widest scope of kept activations that each mode affords under a cap of bytes a layer."""
    lines = [f"memory cap {megabytes(cap)} of expert activations a layer:"]
    for mode in MODES:
        fitting = [s for s in scopes(model, tokens, mode) if s.bytes <= cap]
        if fitting:
            widest = fitting[0]
            lines.append(f"  {mode:6} keeps {widest.name} ({megabytes(widest.bytes)}), recomputes {widest.recomputed}")
        else:
            lines.append(f"  {mode:6} fits in no scope")
    return "\n".join(lines)


def smooth(values: list[float], width: int) -> Any:
    kernel = np.ones(width) / width
    padded = np.concatenate([np.full(width - 1, values[0]), values])
    return np.convolve(padded, kernel, mode="valid")


def draw(records: dict[str, Record], wire: dict[str, dict[str, int]], folder: Path) -> list[Path]:
    """Loss curves and memory bars as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (curves, gap) = pyplot.subplots(1, 2, figsize=(11, 4))
    for mode, record in records.items():
        curves.plot(smooth(record.losses, 10), label=mode, color=COLORS[mode], linewidth=1.2)
    curves.set(
        xlabel="step", ylabel="training loss (mean of 10 steps)", title="byte-level loss on the standard library's sources"
    )
    curves.legend(frameon=False)
    for mode, record in records.items():
        if mode != "bf16" and "bf16" in records:
            base = smooth(records["bf16"].losses, 30)
            gap.plot(100 * (smooth(record.losses, 30) / base - 1), label=mode, color=COLORS[mode], linewidth=1.2)
    gap.axhline(0, color=COLORS["bf16"], linewidth=0.8)
    gap.set(xlabel="step", ylabel="% above bf16 (mean of 30 steps)", title="distance to bf16", ylim=(-3, 3))
    gap.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(folder / "loss.png", dpi=120)

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.6))
    modes = list(records)
    bars = [("saved activations of expert layers, MB a layer", [records[m].saved_bytes_per_layer / 1e6 for m in modes])]
    if wire:
        bars.append(("dispatch, MB a step and rank", [wire[m]["dispatch"] / 1e6 for m in modes if m in wire]))
    for axis, (title, values) in zip(axes, bars, strict=False):
        axis.bar(modes, values, color=[COLORS[m] for m in modes])
        for place, value in enumerate(values):
            axis.text(place, value, f"{value:.2f}\n{value / values[0]:.3f}x", ha="center", va="bottom", fontsize=8)
        axis.set_title(title, fontsize=10)
        axis.set_ylim(0, max(values) * 1.25)
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(folder / "memory.png", dpi=120)
    return [folder / "loss.png", folder / "memory.png"]


def write(records: dict[str, Record], wire: dict[str, dict[str, int]], folder: Path) -> None:
    """Every run's record, and one file for the table."""
    for mode, record in records.items():
        record.write(folder / f"{mode}.json")
    rows = {
        mode: {
            "final_loss": r.final_loss, "held_out": r.held_out, "saved_bytes_per_layer": r.saved_bytes_per_layer,
            "wire_bytes_per_step": wire.get(mode, {}), "tokens_per_second": r.tokens_per_second,
        }
        for mode, r in records.items()
    }  # fmt: skip
    (folder / "table.json").write_text(json.dumps(rows, indent=1) + "\n")
    (folder / "table.txt").write_text(table(records, wire) + "\n\n" + kernel_table(records) + "\n")
