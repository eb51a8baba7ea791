"""Host kernels against the copy speed of this machine: one core, buffers reused, best of several runs.

    ./vernier bench [--rows N] [--columns N] [--record FILE]

Every row is checked against the reference before it is timed. "of copy" is bytes read and written per second over those
of a memory copy by the same core.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from typing import Any

os.environ.setdefault("VERNIER_NUM_THREADS", "1")

import ml_dtypes
import numpy as np
import vernier as vn
from vernier import kinds
from vernier import reference as ref
from vernier.explain import copy_bandwidth

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "python"))
from helpers import assert_same, to_reference


def copy_speed() -> float:
    """Copy bandwidth now: the machine may be shared, so it is measured beside every operation."""
    return copy_bandwidth.__wrapped__()  # type: ignore[no-any-return]


def time_call(function: Any, *args: Any) -> tuple[float, int]:
    """Best seconds of the kernels alone, with results in buffers that exist, and the bytes they move."""
    jitted = vn.jit(function)
    program, values, _ = jitted._prepare(args, {})
    raws = [v.raw for v in values]
    outs, keep = [], []
    for shape, buffers in program.program.prepare(raws):
        made = [np.empty(s, vn.dtypes.BY_MLIR[e].numpy) for e, s in buffers]
        keep += made
        outs.append((shape, [kinds.view(a).address for a in made]))
    best = float("inf")
    for _ in range(7):
        start = time.perf_counter()
        program.program.run(raws, outs, kinds.HOST, 0)
        best = min(best, time.perf_counter() - start)
    moved = sum(k["bytes_read"] + k["bytes_written"] for k in program.kernels(values))
    return best, moved


def compile_seconds(functions: list[tuple[Any, tuple[Any, ...]]]) -> list[float]:
    """Wall time from the Python call to code that can run, without any cache."""
    times = []
    for function, args in functions:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["VERNIER_CACHE_DIR"] = os.path.join(folder, "cache")
            start = time.perf_counter()
            vn.jit(function)._prepare(args, {})
            times.append(time.perf_counter() - start)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=8192)
    parser.add_argument("--columns", type=int, default=4096)
    parser.add_argument("--record", help="write the results as JSON")
    options = parser.parse_args()
    shape = (options.rows, options.columns)
    x = np.random.default_rng(0).standard_normal(shape, np.float32)
    half = x.astype(ml_dtypes.bfloat16)
    fp8, mxfp4 = vn.quantize(half, vn.FP8), vn.quantize(half, vn.MXFP4)
    small = slice(0, 256)
    assert_same(vn.quantize(half[small], vn.FP8), ref.quantize(half[small], vn.FP8))
    assert_same(
        vn.requantize(vn.quantize(half[small], vn.FP8), vn.MXFP4), ref.requantize(ref.quantize(half[small], vn.FP8), vn.MXFP4)
    )
    assert_same(
        vn.transpose(vn.quantize(half[small], vn.MXFP4)), ref.transpose(to_reference(vn.quantize(half[small], vn.MXFP4)))
    )
    weight = np.random.default_rng(1).random(options.rows, np.float32)

    def swiglu(x: Any, w: Any) -> Any:
        gate, up = vn.split(x, 2)
        h = vn.silu(gate) * up * w[:, None]
        return vn.quantize(h, vn.FP8), vn.quantize(h, vn.MXFP4)

    cases: list[tuple[str, Any, tuple[Any, ...]]] = [
        ("bf16 -> FP8", lambda a: vn.quantize(a, vn.FP8), (half,)),
        ("bf16 -> MXFP4", lambda a: vn.quantize(a, vn.MXFP4), (half,)),
        ("bf16 -> MXFP8", lambda a: vn.quantize(a, vn.MXFP8), (half,)),
        ("f32 -> FP8 128x128", lambda a: vn.quantize(a, vn.FP8_BLOCK), (x,)),
        ("FP8 -> MXFP4", lambda t: vn.requantize(t, vn.MXFP4), (fp8,)),
        ("MXFP4 -> FP8", lambda t: vn.requantize(t, vn.FP8), (mxfp4,)),
        ("FP8 transpose", lambda t: vn.transpose(t), (fp8,)),
        ("MXFP4 -> FP8 transpose", lambda t: vn.transpose(t), (mxfp4,)),
        ("bf16 transpose", lambda a: vn.transpose(a), (half,)),
        ("FP8 -> bf16", lambda t: vn.dequantize(t, vn.bfloat16), (fp8,)),
        ("MXFP4 -> bf16", lambda t: vn.dequantize(t, vn.bfloat16), (mxfp4,)),
        ("SwiGLU -> FP8 and MXFP4", swiglu, (half, weight)),
    ]
    print(f"{shape[0]} x {shape[1]}, one core; copy and operation in GB/s, read and written")
    print(f"{'operation':26}{'ms':>9}{'GB/s':>9}{'copy':>9}{'of copy':>9}")
    rows = []
    for name, function, args in cases:
        before = copy_speed()
        seconds, moved = time_call(function, *args)
        copy = max(before, copy_speed())
        rows.append({"operation": name, "seconds": seconds, "bytes": moved, "copy_bytes_per_second": copy})
        print(f"{name:26}{seconds * 1e3:9.2f}{moved / seconds / 1e9:9.2f}{copy / 1e9:9.2f}{moved / seconds / copy:9.2f}")
    times = compile_seconds([(f, a) for _, f, a in cases])
    print(
        f"cold compile: median {statistics.median(times) * 1e3:.0f} ms, longest {max(times) * 1e3:.0f} ms of {len(times)} kernels"
    )
    if options.record:
        record = {
            "shape": shape, "processor": platform.processor() or platform.machine(), "threads": 1,
            "results": rows, "compile_seconds": times,
        }  # fmt: skip
        with open(options.record, "w") as file:
            json.dump(record, file, indent=1)


if __name__ == "__main__":
    main()
