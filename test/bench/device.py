"""What the benchmarks on a GPU share: timing, conditions, comparison with a stored record."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
import vernier as vn
from vernier import kinds

DEVICE = "cuda"


def clocks() -> dict[str, str]:
    fields = "name,driver_version,power.limit,clocks.sm,clocks.mem,clocks.max.sm"
    line = subprocess.run(
        ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"], capture_output=True, text=True
    ).stdout
    return dict(zip(fields.split(","), (v.strip() for v in line.splitlines()[0].split(",")))) if line else {}


REST_SECONDS = 0.5
"""Before every measurement: products draw more than the power limit allows for long, and the row before would slow this one down."""


L2_BYTES = 50 << 20


def _elapsed(work: Callable[[], Any], before: Callable[[], Any] | None = None) -> float:
    """Microseconds between events around a work, after one that is not counted."""
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    if before is not None:
        before()
    start.record()
    work()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) * 1e3


def replayed(works: Sequence[Callable[[], Any]], repeats: int = 10, launches: int = 16) -> float:
    """Microseconds of one of several works on data of their own, as they follow one another in a CUDA graph.

    What a kernel costs among others: no host between launches, and a cache full of what the one before wrote. The works should
    touch several times the cache between them (`copies`)."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    rounds = max(1, launches // len(works))
    with torch.cuda.stream(side):
        for work in works:
            work()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=side):
        for _ in range(rounds):
            for work in works:
                work()
    graph.replay()
    torch.cuda.synchronize()
    time.sleep(REST_SECONDS)
    return statistics.median(_elapsed(graph.replay) for _ in range(repeats)) / (rounds * len(works))


def copies(moved: int) -> int:
    """How many sets of arguments and results a kernel that moves so many bytes takes turns with."""
    return max(2, -(-10 * L2_BYTES // moved))


def copy_bytes_per_microsecond() -> float:
    """Of device-to-device copies that follow one another in a stream: in a graph the driver leaves them to slower copy engines."""
    pairs = [torch.empty(2, 1 << 30, dtype=torch.uint8, device=DEVICE).random_() for _ in range(2)]
    rounds = 4

    def copy() -> None:
        for source, target in rounds * pairs:
            target.copy_(source)

    return 2 * pairs[0][0].numel() * rounds * len(pairs) / statistics.median(_elapsed(copy) for _ in range(6))


class Timer:
    """One work at a time, by device events, with the L2 cache flushed before: for kernels that take long beside a launch."""

    def __init__(self) -> None:
        self.flush = torch.empty(256 << 20, dtype=torch.uint8, device=DEVICE)

    def microseconds(self, work: Any, repeats: int = 20) -> float:
        work()
        work()
        torch.cuda.synchronize()
        time.sleep(REST_SECONDS)
        return statistics.median(_elapsed(work, before=self.flush.zero_) for _ in range(repeats))


def prepared(function: Any, args: tuple[Any, ...], into: torch.Tensor | None = None) -> tuple[Any, int, list[dict[str, Any]]]:
    """The launch alone, with results in buffers that exist (the only one in `into`, where that is given); bytes moved; kernels."""
    program, values, _ = vn.jit(function)._prepare(args, {})
    raws, outs, keep = [v.raw for v in values], [], []
    for shape, buffers in program.program.prepare(raws):
        made = [kinds.TORCH.empty(tuple(s), vn.dtypes.BY_MLIR[e], 0) for e, s in buffers] if into is None else [into]
        keep.append(made)
        outs.append((shape, [m.data_ptr() for m in made]))
    kernels = program.kernels(values)
    moved = sum(k["bytes_read"] + k["bytes_written"] for k in kernels)

    def work(keep: Any = keep, values: Any = values) -> None:
        program.program.run(raws, outs, 0, torch.cuda.current_stream().cuda_stream)

    return work, moved, kernels


def compare(record: dict[str, Any], path: str) -> int:
    with open(path) as file:
        before = json.load(file)
    same = ("name", "driver_version", "power.limit")
    if any(before["conditions"].get(k) != record["conditions"].get(k) for k in same):
        print(f"{path} was taken under other conditions ({before['conditions']}); not compared")
        return 0
    known = {(r["operation"], tuple(r["shape"])): r["microseconds"] for r in before["results"]}
    slower = 0
    for row in record["results"]:
        old = known.get((row["operation"], tuple(row["shape"])))
        if old and row["microseconds"] > 1.05 * old:
            print(f"slower: {row['operation']} {row['shape']}: {row['microseconds']:.1f} us, was {old:.1f}")
            slower += 1
    return slower


def arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser that knows where results go."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--record", "--check", "--plot"):
        parser.add_argument(name)
    return parser


def new_record(**more: Any) -> dict[str, Any]:
    """Seeds torch's generators, and begins a record with the conditions."""
    torch.manual_seed(0)
    conditions = clocks() | {"torch": torch.__version__, "seed": 0, "rest_seconds": REST_SECONDS}
    return {"conditions": conditions, **more, "results": []}


def operand(rows: int, k: int, format: Any) -> Any:
    """Normal numbers, rounded to BF16 and quantised."""
    return vn.quantize(torch.randn(rows, k, device=DEVICE).bfloat16(), format)


def weights(experts: int, n: int, k: int) -> Any:
    """[experts, n, k] in FP8 blocks of 128x128."""
    one = operand(experts * n, k, vn.FP8_BLOCK)
    payload, scales = one.payload.view(experts, n, k), one.scales.view(experts, n // 128, k // 128)
    return vn.ScaledTensor(payload, scales, vn.FP8_BLOCK, (experts, n, k))


def finish(record: dict[str, Any], options: argparse.Namespace, plot: Callable[[dict[str, Any], str], None]) -> int:
    """Writes and compares what was asked for. The number of rows that became slower."""
    record["clocks_after"] = clocks()
    if options.record:
        with open(options.record, "w") as file:
            json.dump(record, file, indent=1)
    if options.plot:
        plot(record, options.plot)
    return compare(record, options.check) if options.check else 0
