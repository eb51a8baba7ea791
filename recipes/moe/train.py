"""Training: one mode, one run, with checkpoints that resume to the same losses."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from . import kernels
from .config import ModelConfig, TrainConfig
from .data import batch, standard_library_text
from .model import Transformer


@dataclasses.dataclass
class Record:
    """What a run reports."""

    mode: str
    gate_up: str
    losses: list[float] = dataclasses.field(default_factory=list)
    held_out: dict[int, float] = dataclasses.field(default_factory=dict)
    saved_bytes_per_layer: int = 0
    wire_bytes_per_step: dict[str, int] = dataclasses.field(default_factory=dict)
    tokens_per_second: float = 0.0
    seconds: float = 0.0
    seconds_per_kernel_and_step: dict[str, float] = dataclasses.field(default_factory=dict)
    peak_memory_bytes: int = 0

    @property
    def final_loss(self) -> float:
        """Mean of the last twentieth of the steps (at least 10): single batches are noisy."""
        return float(np.mean(self.losses[-max(10, len(self.losses) // 20) :]))

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(dataclasses.asdict(self) | {"final_loss": self.final_loss}, indent=1) + "\n")


def _reset_peak_memory() -> None:
    """Starts the process's high-water mark anew, where the system lets one."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_memory() -> int:
    """The largest resident set since then, in bytes."""
    try:
        status = Path("/proc/self/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Trainer:
    """A model, its optimiser and its place in the data."""

    def __init__(self, model: ModelConfig, config: TrainConfig) -> None:
        self.config = config
        self.model = Transformer(model, config.mode, config.gate_up, config.seed)
        self.ranks = self.model.exchange.ranks
        self.rank = dist.get_rank() if self.ranks > 1 else 0
        parameters = list(self.model.parameters())
        decayed = [p for p in parameters if p.ndim >= 2]
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": config.weight_decay}, {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0}],
            lr=config.learning_rate, betas=(0.9, 0.95),
        )  # fmt: skip
        self.step = 0
        self.seconds_per_kernel: dict[str, float] = {}
        self.steps_run = 0  # by this process, for the rates it reports
        self.record = Record(config.mode, config.gate_up)
        self.train_text, self.held_out_text = standard_library_text()

    def learning_rate(self, step: int) -> float:
        config = self.config
        if step < config.warmup:
            return config.learning_rate * (step + 1) / config.warmup
        progress = (step - config.warmup) / max(1, config.steps - config.warmup)
        return config.learning_rate * (0.55 + 0.45 * math.cos(math.pi * min(1.0, progress)))

    def _synchronise_gradients(self) -> None:
        """Means over ranks; expert weights live on one rank and have seen every rank's rows already."""
        local = {id(p) for p in self.model.expert_parameters()}
        for parameter in self.model.parameters():
            if parameter.grad is None:
                continue
            if id(parameter) in local:
                parameter.grad /= self.ranks
            else:
                dist.all_reduce(parameter.grad)
                parameter.grad /= self.ranks

    def _clip(self) -> None:
        """Clips by the norm of the whole gradient, on whichever ranks its parts are."""
        local = {id(p) for p in self.model.expert_parameters()}
        squares = torch.zeros(2)
        for parameter in self.model.parameters():
            if parameter.grad is not None:
                squares[int(id(parameter) in local)] += parameter.grad.square().sum()
        if self.ranks > 1:
            mine = squares[1:].clone()
            dist.all_reduce(mine)
            squares[1] = mine[0]
        factor = min(1.0, self.config.clip / (math.sqrt(float(squares.sum())) + 1e-6))
        for parameter in self.model.parameters():
            if parameter.grad is not None:
                parameter.grad *= factor

    def train_step(self) -> float:
        config = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(self.step)
        inputs, targets = batch(self.train_text, self.model.config.sequence, config.batch, (config.seed, self.step, self.rank))
        # Weight gradients of experts accumulate in FP32 buffers of their own, whatever the format of the operands.
        for parameter in self.model.expert_weights():
            parameter.main_grad = torch.zeros_like(parameter)  # type: ignore[attr-defined]
        wire = self.model.exchange.wire
        before = dataclasses.asdict(wire)
        entropy, balance = self.model.loss(inputs, targets)
        self.record.saved_bytes_per_layer = self.model.saved.bytes // self.model.config.layers
        self.optimizer.zero_grad(set_to_none=True)
        (entropy + config.balance_loss * balance).backward()  # type: ignore[no-untyped-call]
        for parameter in self.model.expert_weights():
            parameter.grad, parameter.main_grad = parameter.main_grad, None  # type: ignore[attr-defined]
        self.record.wire_bytes_per_step = {k: v - before[k] for k, v in dataclasses.asdict(wire).items()}
        loss = entropy.detach()
        if self.ranks > 1:
            self._synchronise_gradients()
            dist.all_reduce(loss)
            loss /= self.ranks
        self._clip()
        self.optimizer.step()
        self.step += 1
        self.record.losses.append(float(loss))
        return float(loss)

    @torch.no_grad()
    def evaluate(self) -> float:
        config = self.config
        losses = []
        for number in range(config.evaluate_batches):
            inputs, targets = batch(self.held_out_text, self.model.config.sequence, config.batch, (7, number))
            losses.append(float(self.model.loss(inputs, targets)[0]))
        self.record.held_out[self.step] = float(np.mean(losses))
        return self.record.held_out[self.step]

    def run(self, progress: Callable[[int, float], None] | None = None, until: int | None = None) -> Record:
        """Trains to the configured number of steps, or to step `until`."""
        end = self.config.steps if until is None else until
        start, first = time.perf_counter(), self.step
        kernels.seconds_per_kernel.clear()
        _reset_peak_memory()
        evaluating = 0.0
        while self.step < end:
            loss = self.train_step()
            if progress:
                progress(self.step, loss)
            if self.step % self.config.evaluate_every == 0 or self.step == self.config.steps:
                began = time.perf_counter()
                self.evaluate()
                evaluating += time.perf_counter() - began
        seconds = time.perf_counter() - start - evaluating
        self.record.seconds += seconds
        self.steps_run += self.step - first
        tokens = self.steps_run * self.config.batch * self.model.config.sequence * self.ranks
        self.record.tokens_per_second = tokens / self.record.seconds if self.record.seconds else 0.0
        for name, spent in kernels.seconds_per_kernel.items():
            self.seconds_per_kernel[name] = self.seconds_per_kernel.get(name, 0.0) + spent
        self.record.seconds_per_kernel_and_step = {k: v / max(1, self.steps_run) for k, v in self.seconds_per_kernel.items()}
        self.record.peak_memory_bytes = max(self.record.peak_memory_bytes, _peak_memory())
        return self.record

    def save(self, path: Path) -> None:
        """Writes a checkpoint whole or not at all."""
        state: dict[str, Any] = {
            "model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "step": self.step,
            "losses": self.record.losses, "held_out": self.record.held_out,
            "saved_bytes_per_layer": self.record.saved_bytes_per_layer, "config": dataclasses.asdict(self.config),
        }  # fmt: skip
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Continues from a checkpoint. Raises ValueError when it belongs to another configuration."""
        state = torch.load(path, weights_only=True)
        if state["config"] != dataclasses.asdict(self.config):
            raise ValueError(f"{path} was written by another configuration: {state['config']}")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
        self.record.losses, self.record.held_out = state["losses"], state["held_out"]
        self.record.saved_bytes_per_layer = state["saved_bytes_per_layer"]
