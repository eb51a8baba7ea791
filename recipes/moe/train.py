"""Training: one mode, one run, with checkpoints that resume to the same losses.

    ./vernier train CONFIG.toml [--modes bf16 fp8 mxfp4] [--seeds 0 1 2] [--steps N] [--out FOLDER] [--resume]

On a GPU where there is one, on the CPU otherwise; over several processes under torchrun, experts spread over all of them.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import math
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from .config import MODES, ModelConfig, TrainConfig, load
from .data import batch, standard_library_text
from .memory import widest
from .model import Transformer

LOSSES_EVERY = 10
"""Steps between looks at the device: a look at every loss would wait for every step."""


@dataclasses.dataclass
class Record:
    """What a run reports.

    Attributes:
        losses: cross entropy of every step, mean over ranks.
        held_out: step -> mean cross entropy of held-out text.
        saved_bytes_per_layer: of the experts, kept for the backward pass, on this rank.
        wire_bytes_per_step: handed to the wire by this rank in a step, rows that stay here included, by direction.
        tokens_per_second: of all ranks, without the first steps of this process (compilation) and without evaluation.
        seconds: that this process trained.
        microseconds_per_kernel: device time of one step by kernel, or host time by compiled function on a CPU.
        peak_memory_bytes: of the device, or resident on a CPU.
    """

    mode: str
    gate_up: str
    recompute: str = "nothing"
    seed: int = 0
    losses: list[float] = dataclasses.field(default_factory=list)
    held_out: dict[int, float] = dataclasses.field(default_factory=dict)
    saved_bytes_per_layer: int = 0
    wire_bytes_per_step: dict[str, int] = dataclasses.field(default_factory=dict)
    tokens_per_second: float = 0.0
    seconds: float = 0.0
    microseconds_per_kernel: dict[str, float] = dataclasses.field(default_factory=dict)
    peak_memory_bytes: int = 0

    @property
    def final_loss(self) -> float:
        """Mean of the last twentieth of the steps (at least 10): single batches are noisy."""
        return float(np.mean(self.losses[-max(10, len(self.losses) // 20) :]))

    @classmethod
    def read(cls, path: Path) -> Record:
        """What `write` wrote."""
        values = json.loads(path.read_text())
        values.pop("final_loss")
        values["held_out"] = {int(step): loss for step, loss in values["held_out"].items()}
        return cls(**values)

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(dataclasses.asdict(self) | {"final_loss": self.final_loss}, indent=1) + "\n")


class Trainer:
    """A model, its optimiser and its place in the data.

    Experts are spread over the ranks of the default process group where it has several; other gradients are averaged over them.
    """

    def __init__(self, model: ModelConfig, config: TrainConfig, device: torch.device | str = "cpu") -> None:
        self.config, self.device = config, torch.device(device)
        self.ranks = dist.get_world_size() if dist.is_initialized() else 1
        self.rank = dist.get_rank() if self.ranks > 1 else 0
        group = dist.group.WORLD if self.ranks > 1 else None
        self.model = Transformer(
            model, config.policy, group=group, recompute=config.recompute, transport=config.transport, seed=config.seed
        ).to(self.device)
        parameters = list(self.model.parameters())
        decayed, others = [p for p in parameters if p.ndim >= 2], [p for p in parameters if p.ndim < 2]
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}],
            lr=config.learning_rate, betas=(0.9, 0.95), fused=self.device.type == "cuda",
        )  # fmt: skip
        self.step = 0
        self.steps_timed, self.seconds_timed = 0, 0.0
        self.record = Record(config.mode, config.gate_up, config.recompute, config.seed)
        self.train_text, self.held_out_text = standard_library_text()
        self._pending: list[torch.Tensor] = []

    def learning_rate(self, step: int) -> float:
        config = self.config
        if step < config.warmup:
            return config.learning_rate * (step + 1) / config.warmup
        progress = (step - config.warmup) / max(1, config.steps - config.warmup)
        return config.learning_rate * (0.55 + 0.45 * math.cos(math.pi * min(1.0, progress)))

    def _loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """BF16 outside the experts on a GPU, FP32 on a CPU."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            return self.model.loss(inputs.to(self.device, non_blocking=True), targets.to(self.device, non_blocking=True))

    def _average_gradients(self) -> None:
        """Means over ranks; expert weights live on one rank and have seen every rank's rows already."""
        local = {id(p) for p in self.model.expert_parameters()}
        for parameter in self.model.parameters():
            if parameter.grad is not None:
                if id(parameter) not in local:
                    dist.all_reduce(parameter.grad)
                parameter.grad /= self.ranks

    def _clip(self) -> None:
        """Clips by the norm of the whole gradient, on whichever ranks its parts are. The host does not look at it."""
        local = {id(p) for p in self.model.expert_parameters()}
        gradients = [(p.grad, id(p) in local) for p in self.model.parameters() if p.grad is not None]
        squares = torch.zeros(2, device=self.device)
        for on_one_rank in (False, True):
            norms = torch._foreach_norm([g for g, mine in gradients if mine == on_one_rank])
            squares[int(on_one_rank)] = torch.stack(list(norms)).square().sum()
        if self.ranks > 1:
            mine = squares[1:].clone()
            dist.all_reduce(mine)
            squares[1:] = mine
        factor = (self.config.clip / (squares.sum().sqrt() + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_([g for g, _ in gradients], factor)

    def train_step(self) -> None:
        config = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(self.step)
        inputs, targets = batch(self.train_text, self.model.config.sequence, config.batch, (config.seed, self.step, self.rank))
        meters = self.model.meters()
        for meter in meters:
            meter.reset()
        entropy, balance = self._loss(inputs, targets)
        self.record.saved_bytes_per_layer = meters[0].kept
        if config.recompute != "nothing":  # the input alone, in the type that the experts or the layers get it in
            half = config.recompute == "experts" and self.device.type == "cuda"
            self.record.saved_bytes_per_layer = inputs.numel() * self.model.config.hidden * (2 if half else 4)
        self.optimizer.zero_grad(set_to_none=True)
        (entropy + config.balance_loss * balance).backward()  # type: ignore[no-untyped-call]
        directions = ("dispatch", "combine", "gradient_dispatch", "gradient_combine")
        self.record.wire_bytes_per_step = {d: sum(getattr(meter, d) for meter in meters) for d in directions}
        loss = entropy.detach()
        if self.ranks > 1:
            self._average_gradients()
            dist.all_reduce(loss)
            loss /= self.ranks
        self._clip()
        self.optimizer.step()
        self.step += 1
        self._pending.append(loss)

    def _collect(self) -> None:
        if self._pending:
            self.record.losses += torch.stack(self._pending).tolist()
            self._pending.clear()

    @torch.no_grad()
    def evaluate(self) -> float:
        config = self.config
        losses = []
        for number in range(config.evaluate_batches):
            inputs, targets = batch(self.held_out_text, self.model.config.sequence, config.batch, (7, number))
            losses.append(self._loss(inputs, targets)[0])
        self.record.held_out[self.step] = float(torch.stack(losses).mean())
        return self.record.held_out[self.step]

    def run(self, progress: Callable[[int, float], None] | None = None, until: int | None = None) -> Record:
        """Trains to the configured number of steps, or to step `until`."""
        end = self.config.steps if until is None else until
        began, first = time.perf_counter(), self.step
        warm = min(10, (end - first) // 2) if not self.steps_timed else 0  # these compile
        _reset_peak_memory(self.device)
        start, evaluating = began, 0.0
        while self.step < end:
            if self.step == first + warm:
                self._collect()
                start, evaluating = time.perf_counter(), 0.0
            self.train_step()
            if self.step % LOSSES_EVERY == 0 or self.step == end:
                self._collect()
                if progress:
                    progress(self.step, self.record.losses[-1])
            if self.step % self.config.evaluate_every == 0 or self.step == self.config.steps:
                self._collect()
                before = time.perf_counter()
                self.evaluate()
                evaluating += time.perf_counter() - before
        self._collect()
        now = time.perf_counter()
        self.record.seconds += now - began
        self.seconds_timed += now - start - evaluating
        self.steps_timed += max(0, end - first - warm)
        tokens = self.steps_timed * self.config.batch * self.model.config.sequence * self.ranks
        self.record.tokens_per_second = tokens / self.seconds_timed if self.seconds_timed and self.steps_timed else 0.0
        self.record.peak_memory_bytes = max(self.record.peak_memory_bytes, _peak_memory(self.device))
        return self.record

    def profile(self) -> dict[str, float]:
        """Microseconds of one step's forward and backward by kernel, or by compiled function on a CPU; changes nothing."""
        from torch.profiler import ProfilerActivity, profile

        inputs, targets = batch(
            self.train_text, self.model.config.sequence, self.config.batch, (self.config.seed, 0, self.rank)
        )
        on_gpu = self.device.type == "cuda"
        activities = [ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]
        with profile(activities=activities, acc_events=True) as profiler:
            entropy, balance = self._loss(inputs, targets)
            (entropy + balance).backward()  # type: ignore[no-untyped-call]
            if on_gpu:
                torch.cuda.synchronize()
        self.optimizer.zero_grad(set_to_none=True)
        times: dict[str, float] = {}
        for event in profiler.key_averages():
            if on_gpu and event.device_type == torch.autograd.DeviceType.CUDA and event.self_device_time_total:
                times[event.key] = times.get(event.key, 0.0) + event.self_device_time_total
            elif not on_gpu and event.key.startswith("vernier::"):
                times[event.key.removeprefix("vernier::")] = event.cpu_time_total
        self.record.microseconds_per_kernel = dict(sorted(times.items(), key=lambda item: -item[1]))
        return self.record.microseconds_per_kernel

    def save(self, path: Path) -> None:
        """Writes a checkpoint whole or not at all. Each rank of several has its own."""
        state: dict[str, Any] = {
            "model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "step": self.step,
            "losses": self.record.losses, "held_out": self.record.held_out, "config": dataclasses.asdict(self.config),
        }  # fmt: skip
        path = self._own(path)
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Continues from a checkpoint. Raises ValueError when it belongs to another configuration."""
        state = torch.load(self._own(path), weights_only=True, map_location=self.device)
        if state["config"] != dataclasses.asdict(self.config):
            raise ValueError(f"{path} was written by another configuration: {state['config']}")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
        self.record.losses, self.record.held_out = state["losses"], state["held_out"]

    def has(self, path: Path) -> bool:
        return self._own(path).exists()

    def _own(self, path: Path) -> Path:
        return path.with_stem(f"{path.stem}.{self.rank}") if self.ranks > 1 else path


def _reset_peak_memory(device: torch.device) -> None:
    """Starts the high-water mark anew, where the system lets one."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")


def _peak_memory(device: torch.device) -> int:
    """The most memory in use since then, in bytes: of the device, or the largest resident set."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        status = Path("/proc/self/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def train(model: ModelConfig, config: TrainConfig, folder: Path, resume: bool, device: torch.device | str = "cpu",
          checkpoint_every: int = 100) -> Record:  # fmt: skip
    """One run, with a progress line, checkpoints (none with 0), a record, and TensorBoard's events where that is installed."""
    trainer = Trainer(model, config, device)
    name = f"{config.mode}-seed{config.seed}"
    checkpoint = folder / f"{name}.pt"
    if resume and trainer.has(checkpoint):
        trainer.load(checkpoint)
        print(f"{name}: resumed at step {trainer.step}", file=sys.stderr)
    board = _board(folder / "tensorboard" / name) if trainer.rank == 0 else None
    start, first = time.perf_counter(), trainer.step
    shown = first

    def progress(step: int, loss: float) -> None:
        nonlocal shown
        pace = (time.perf_counter() - start) / (step - first)
        if board:
            for number in range(shown, step):
                board.add_scalar("loss", trainer.record.losses[number], number + 1)
            board.add_scalar("learning rate", trainer.learning_rate(step - 1), step)
            shown = step
        if trainer.rank == 0:
            done = "#" * round(20 * step / config.steps)
            line = f"\r{config.mode:6} [{done:20}] {step:5}/{config.steps}  loss {loss:.4f}  {1e3 * pace:.0f} ms/step  "
            print(line, end="", file=sys.stderr, flush=True)

    while trainer.step < config.steps:
        trainer.run(progress, until=min(config.steps, trainer.step + (checkpoint_every or config.steps)))
        if checkpoint_every:
            trainer.save(checkpoint)
    trainer.profile()
    if trainer.rank == 0:
        print(file=sys.stderr)
        trainer.record.write(folder / f"{name}.json")
    if board:
        for step, loss in trainer.record.held_out.items():
            board.add_scalar("held-out loss", loss, step)
        board.close()
    return trainer.record


def _board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder))  # type: ignore[no-untyped-call]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="vernier train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path)
    parser.add_argument("--modes", nargs="+", choices=MODES, help="by default the file's")
    parser.add_argument("--gate-up", choices=("stored", "fp8", "recompute"))
    parser.add_argument("--recompute", choices=("nothing", "experts", "layers"))
    parser.add_argument(
        "--memory-cap", type=float, help="MB that a layer's experts may keep; each mode then keeps the most that fits"
    )
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seeds", type=int, nargs="+")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=Path("out/train"))
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoints in --out")
    parser.add_argument("--checkpoint-every", type=int, default=100, help="steps; 0: never")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    device = options.device
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        if device == "cuda":
            device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    model, base = load(options.config)
    given = {k: v for k in ("gate_up", "recompute", "steps") if (v := getattr(options, k)) is not None}
    records: dict[str, list[Record]] = {}
    for mode in options.modes or [base.mode]:
        if options.memory_cap:
            scope = widest(model, base.batch * model.sequence, mode, options.memory_cap * 1e6)
            if scope is None:
                parser.error(f"{mode} fits in no scope under {options.memory_cap} MB a layer")
            given |= {"gate_up": scope.gate_up, "hidden": scope.hidden}
            print(
                f"{mode} keeps {scope.name} ({scope.bytes / 1e6:.1f} MB a layer), recomputes {scope.recomputed}",
                file=sys.stderr,
            )
        for seed in options.seeds or [base.seed]:
            config = dataclasses.replace(base, mode=mode, seed=seed, **given)
            records.setdefault(mode, []).append(
                train(model, config, options.out, options.resume, device, options.checkpoint_every)
            )
    if not dist.is_initialized() or dist.get_rank() == 0:
        from . import report

        print("\n" + report.seeds_table(records))
        print("\nwritten: " + ", ".join(str(p) for p in report.draw_seeds(records, options.out)))
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
