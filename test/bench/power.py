"""What power costs matrix products: the same launches again and again, with random operands and with codes of zero.

    ./vernier bench power [--record FILE]

Tensor cores that multiply zeros draw less: where a GPU is at its power limit, and has lowered its clock, the difference of the two
times is the price of power, and no code for these products is faster than the second. Each row runs for about a second, until
clock and power are steady; they are the medians of what nvidia-smi says in the second half, the time is the median of launches there.
Needs one Hopper GPU, torch and nvidia-smi.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import torch
import vernier as vn
from device import DEVICE, arguments, finish, new_record, operand, prepared
from gemm import dense, offsets_of, wgrad

SECONDS = 1.2
BETWEEN_EVENTS = 8
PRODUCTS = [(4096, 4096, 7168), (8192, 8192, 8192)]
GRADIENTS = [(1, 8192, 4096, 7168), (8, 4096, 4096, 7168), (32, 1024, 4096, 7168)]


def of_zeros(scaled: vn.ScaledTensor) -> vn.ScaledTensor:
    return vn.ScaledTensor(torch.zeros_like(scaled.payload), scaled.scales, scaled.format, scaled.shape, scaled.axis)


def steady(work: Callable[[], Any]) -> dict[str, float]:
    """Microseconds, MHz and watts of a work that goes on and on."""
    query = ["nvidia-smi", "--query-gpu=clocks.sm,power.draw.instant", "--format=csv,noheader,nounits", "-lms", "40"]
    lines: list[str] = []
    with subprocess.Popen(query, stdout=subprocess.PIPE, text=True) as process:
        reader = threading.Thread(target=lambda: lines.extend(process.stdout or ()))
        reader.start()
        times, begun = [], time.monotonic()
        while time.monotonic() - begun < SECONDS:
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            for _ in range(BETWEEN_EVENTS):
                work()
            end.record()
            end.synchronize()
            times.append(start.elapsed_time(end) * 1e3 / BETWEEN_EVENTS)
        process.terminate()
        reader.join()
    late = [[float(v) for v in line.split(",")] for line in lines[len(lines) // 2 :]]
    clock, power = (statistics.median(column) for column in zip(*late))
    return {"microseconds": statistics.median(times[len(times) // 2 :]), "mhz": clock, "watts": power}


def jobs() -> Any:
    source = torch.randn(32768, 7168, device=DEVICE).bfloat16()
    target = torch.empty_like(source)
    yield "copy", source.shape, 0, lambda: target.copy_(source), None
    for m, n, k in PRODUCTS:
        args = operand(m, k, vn.FP8), operand(n, k, vn.FP8_BLOCK)
        work, idle = (prepared(dense, a)[0] for a in (args, tuple(map(of_zeros, args))))
        yield "dense", (m, n, k), 2 * m * n * k, work, idle
    for groups, mean, n, k in GRADIENTS:
        offsets = offsets_of(groups, mean)
        m, gradient = int(offsets[-1]), torch.randn(groups, n, k, device=DEVICE)
        rows = operand(m, n, vn.FP8), operand(m, k, vn.FP8)
        work, idle = (prepared(wgrad, (*a, offsets, gradient), into=gradient)[0] for a in (rows, tuple(map(of_zeros, rows))))
        yield f"wgrad {groups}", (m, n, k), 2 * m * n * k, work, idle


def main() -> int:
    parser = arguments(__doc__)
    options = parser.parse_args()
    if options.plot:
        parser.error("this one draws no picture")
    record: dict[str, Any] = new_record()
    print(f"{'work':10}{'':26}{'us':>9}{'TFLOPS':>8}{'MHz':>6}{'W':>5}   of zeros:{'us':>9}{'TFLOPS':>8}{'MHz':>6}{'W':>5}")
    for name, shape, operations, work, idle in jobs():
        row: dict[str, Any] = {"operation": name, "shape": tuple(shape), **steady(work)}
        if idle is not None:
            row["zeros"] = steady(idle)
        texts = []
        for found in (row, row.get("zeros")):
            if found is not None:
                found["tflops"] = operations / found["microseconds"] / 1e6
                texts.append(f"{found['microseconds']:9.1f}{found['tflops']:8.0f}{found['mhz']:6.0f}{found['watts']:5.0f}")
        print(f"{name:10}{'x'.join(map(str, shape)):26}" + (" " * 12).join(texts), flush=True)
        record["results"].append(row)
    return finish(record, options, lambda *_: None)


if __name__ == "__main__":
    sys.exit(main())
