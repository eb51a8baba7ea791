"""The report behind `f.explain`."""

from __future__ import annotations

import functools
import time
from collections import Counter
from typing import Any

import numpy as np


@functools.cache
def copy_bandwidth() -> float:
    """Measured bytes per second of a memory-to-memory copy by NumPy, reading and writing both counted."""
    source = np.ones(1 << 26, np.uint8)
    target = np.empty_like(source)
    best = float("inf")
    for _ in range(4):
        start = time.perf_counter()
        np.copyto(target, source)
        best = min(best, time.perf_counter() - start)
    return 2 * source.nbytes / best


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError("unreachable")


H200_COPY_BANDWIDTH = 4.25e12
"""Bytes per second of a device-to-device copy on one H200, as measured: the floor of GPU kernels is stated for it."""


def explain(name: str, kernels: list[dict[str, Any]], target: str) -> str:
    """Kernels in order: operations, bytes, the time that moving them takes at least, schedule, and what stayed apart."""
    bandwidth = copy_bandwidth() if target == "host" else H200_COPY_BANDWIDTH
    where = "one thread" if target == "host" else "one H200"
    total = sum(k["bytes_read"] + k["bytes_written"] for k in kernels)
    lines = [
        f"{name}: {len(kernels)} kernel{'' if len(kernels) == 1 else 's'}, {_bytes(total)} moved, "
        f"floor {total / bandwidth * 1e6:.1f} us at {bandwidth / 1e9:.1f} GB/s of copy ({where})"
    ]
    for number, kernel in enumerate(kernels):
        moved = kernel["bytes_read"] + kernel["bytes_written"]
        counts = Counter(kernel["operations"])
        lines += [
            f"kernel {number}: {kernel['name']}",
            "  operations: " + ", ".join(op if n == 1 else f"{op} x{n}" for op, n in counts.items()),
            f"  schedule:   {kernel['schedule']}",
            f"  bytes:      {_bytes(kernel['bytes_read'])} read, {_bytes(kernel['bytes_written'])} written, "
            f"floor {moved / bandwidth * 1e6:.1f} us",
        ]
        lines += [f"  {reason}" for reason in kernel["reasons"]]
    return "\n".join(lines)
