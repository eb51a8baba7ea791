"""Trains the recipe in bf16, fp8 and mxfp4 from the same seed and data, and reports.

    ./vernier demo [--steps N] [--modes bf16 fp8 mxfp4] [--out FOLDER] [--gate-up stored|fp8|recompute] [--memory-cap MB]

Writes table.txt, table.json, one record a mode, loss.png and memory.png to the output folder. A run that was broken off
goes on from its last checkpoint with --resume.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

import torch

from . import parallel, report
from .config import MODES, GateUp, ModelConfig, TrainConfig
from .memory import scopes
from .train import Trainer, train


def expert_parallel_run(model: ModelConfig, config: TrainConfig) -> tuple[list[float], dict[str, int]]:
    """Losses and this rank's wire bytes a step, in one of the processes of an expert-parallel run."""
    record = Trainer(model, config).run()
    return record.losses, record.wire_bytes_per_step


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="vernier demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument(
        "--gate-up", choices=("stored", "fp8", "recompute"), default="stored", help="what mxfp4 keeps of fc1's output"
    )
    parser.add_argument("--parallel-steps", type=int, default=3, help="steps of the two-process expert-parallel run")
    parser.add_argument(
        "--memory-cap", type=float, help="MB of expert activations a layer; default: what fp8 needs, less a tenth"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out/demo"))
    parser.add_argument("--resume", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.use_deterministic_algorithms(True, warn_only=True)

    model = ModelConfig()
    records, wire = {}, {}
    for mode in options.modes:
        gate_up: GateUp = options.gate_up if mode == "mxfp4" else "stored"
        config = TrainConfig(mode=mode, gate_up=gate_up, steps=options.steps, seed=options.seed)
        records[mode] = train(model, config, options.out, options.resume)
    for mode in options.modes:
        print(f"{mode:6} expert-parallel over 2 processes, {options.parallel_steps} steps", file=sys.stderr)
        config = TrainConfig(
            mode=mode, steps=options.parallel_steps, batch=4, evaluate_every=10**9, evaluate_batches=1, seed=options.seed
        )
        results = parallel.run(2, expert_parallel_run, model, config)
        wire[mode] = results[0][1]

    report.write(records, wire, options.out)
    pictures = report.draw(records, wire, options.out)
    print("\n" + report.table(records, wire))
    print("\n" + report.kernel_table(records))
    tokens = TrainConfig().batch * model.sequence
    cap = options.memory_cap * 1e6 if options.memory_cap else 0.9 * scopes(model, tokens, "fp8")[0].bytes
    print("\n" + report.cap_table(model, tokens, cap))
    print("\nwritten: " + ", ".join(str(p) for p in [options.out / "table.json", *pictures]))
    print(f"model: {dataclasses.asdict(model)}")


if __name__ == "__main__":
    main()
