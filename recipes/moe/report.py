"""The table of a demo, as text, JSON and pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from .config import MODES, ModelConfig
from .memory import widest
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


def kernel_table(records: dict[str, Record], most: int = 16) -> str:
    """Milliseconds of one step's forward and backward in the kernels (on a CPU the compiled functions) that take longest."""
    longest: dict[str, float] = {}
    for record in records.values():
        for name, time in record.microseconds_per_kernel.items():
            longest[name] = max(time, longest.get(name, 0.0))
    lines = [f"{'ms per step':42}" + "".join(f"{m:>10}" for m in records)]
    for name in sorted(longest, key=lambda n: -longest[n])[:most]:
        times = [record.microseconds_per_kernel.get(name) for record in records.values()]
        lines.append(f"{name[:40]:42}" + "".join(f"{'-':>10}" if t is None else f"{t / 1e3:>10.2f}" for t in times))
    return "\n".join(lines)


def seeds_table(records: dict[str, list[Record]]) -> str:
    """One row a mode, means over seeds; of the loss also the largest distance to bf16 of the same seed."""
    head = f"{'mode':8}{'seeds':>6}{'loss':>9}{'to bf16':>10}{'at most':>9}{'held out':>10}{'saved / layer':>16}{'tokens/s':>10}{'peak memory':>13}"
    lines = [head, "-" * len(head)]
    base = {record.seed: record for record in records.get("bf16", [])}
    for mode, runs in records.items():
        gaps = [100 * (run.final_loss / base[run.seed].final_loss - 1) for run in runs if run.seed in base]
        held_out = [run.held_out[max(run.held_out)] for run in runs if run.held_out]
        lines.append(
            f"{mode:8}{len(runs):>6}{np.mean([run.final_loss for run in runs]):>9.4f}"
            + (f"{np.mean(gaps):>+9.2f}%{max(gaps, key=abs):>+8.2f}%" if gaps and mode != "bf16" else f"{'':>19}")
            + f"{np.mean(held_out) if held_out else float('nan'):>10.4f}{megabytes(runs[0].saved_bytes_per_layer):>16}"
            + f"{np.mean([run.tokens_per_second for run in runs]):>10.0f}{max(run.peak_memory_bytes for run in runs) / 1e9:>10.2f} GB"
        )
    return "\n".join(lines)


def read(folder: Path) -> dict[str, list[Record]]:
    """The records of a folder that `vernier train` wrote to, by mode, each mode's by seed."""
    records = sorted((Record.read(path) for path in folder.glob("*-seed*.json")), key=lambda r: (MODES.index(r.mode), r.seed))  # type: ignore[arg-type]
    return {mode: [r for r in records if r.mode == mode] for mode in MODES if any(r.mode == mode for r in records)}


def cap_table(model: ModelConfig, tokens: int, cap: float) -> str:
    """The widest scope of kept activations that each mode affords under a cap of bytes a layer."""
    lines = [f"memory cap {megabytes(cap)} of expert activations a layer:"]
    for mode in MODES:
        scope = widest(model, tokens, mode, cap)
        if scope:
            lines.append(f"  {mode:6} keeps {scope.name} ({megabytes(scope.bytes)}), recomputes {scope.recomputed}")
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


def draw_seeds(records: dict[str, list[Record]], folder: Path) -> list[Path]:
    """Loss, distance to bf16 with the same seed, kept bytes and throughput of every mode, all seeds, as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (curves, gap, memory, pace) = pyplot.subplots(1, 4, figsize=(16, 3.8), width_ratios=(2, 2, 1, 1))
    base = {run.seed: smooth(run.losses, 50) for run in records.get("bf16", [])}
    for mode, runs in records.items():
        for number, run in enumerate(runs):
            label = mode if number == 0 else None
            curves.plot(smooth(run.losses, 20), label=label, color=COLORS[mode], linewidth=0.9, alpha=0.8)
            if mode != "bf16" and run.seed in base:
                steps = min(len(run.losses), len(base[run.seed]))
                distance = 100 * (smooth(run.losses, 50)[:steps] / base[run.seed][:steps] - 1)
                gap.plot(distance, label=label, color=COLORS[mode], linewidth=0.9, alpha=0.8)
    curves.set(xlabel="step", ylabel="training loss (mean of 20 steps)")
    curves.legend(frameon=False)
    gap.axhline(0, color=COLORS["bf16"], linewidth=0.8)
    gap.set(xlabel="step", ylabel="% above bf16 (mean of 50 steps)")
    bars = ((memory, "experts keep, MB a layer", [r[0].saved_bytes_per_layer / 1e6 for r in records.values()]),
            (pace, "thousand tokens/s", [float(np.mean([r.tokens_per_second for r in rs])) / 1e3 for rs in records.values()]))  # fmt: skip
    for axis, title, values in bars:
        axis.bar(list(records), values, color=[COLORS[mode] for mode in records])
        for place, value in enumerate(values):
            axis.text(place, value, f"{value:.1f}\n{value / values[0]:.2f}x", ha="center", va="bottom", fontsize=8)
        axis.set_title(title, fontsize=10)
        axis.set_ylim(0, max(values) * 1.25)
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(folder / "training.png", dpi=110)
    pyplot.close(figure)
    return [folder / "training.png"]
