"""Shapes of products' tiles found by measuring them."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from . import _vernier, kinds
from .errors import CompileError, LaunchError
from .jit import Jit

CANDIDATES: tuple[Mapping[str, int], ...] = (
    {}, {"band": 4}, {"band": 16}, {"cluster": 1}, {"slabs": 1}, {"slabs": 1, "band": 16}, {"cols": 64}, {"slabs": 1, "cols": 64},
    {"stages": 3},
)  # fmt: skip
"""What is tried; the first is what the model chooses. `warpgroups`: that multiply, 1 or 2, each 64 rows of a slab.
`slabs`: of a tile, 1 or 2. `cols`: of a tile, 32 to 128. `cluster`: blocks that fetch the left operand together, 1 or 2. `stages`:
staged tiles of K, 2 to 12. `band`: row tiles walked together."""


def autotune(
    function: Jit | Callable[..., Any],
    *args: Any,
    candidates: Sequence[Mapping[str, int]] = CANDIDATES,
    measure: Callable[[Jit, tuple[Any, ...]], float] | None = None,
) -> Jit:
    """The function with the shape of products' tiles that is fastest for these arguments; all shapes give the same bits.

    What was found is kept beside the cache's kernels, by program, sizes of the arguments and device: a second call measures nothing.
    Candidates that compile to the same kernels are measured once.

    Args:
        function: a function, compiled or not.
        args: arrays on a GPU, as for a call.
        candidates: shapes to try (see `CANDIDATES`); the first is kept where another is no faster.
        measure: seconds that a call takes; by default the median of calls on the device.

    Raises:
        CompileError: the function does not compile. LaunchError: no array is on a GPU, and there is no `measure`.
    """
    base = function if isinstance(function, Jit) else Jit(function)
    program, values, _ = base._prepare(args, {})
    target = program.program.target if program.program is not None else "host"
    device = next((v for v in values if v.device != kinds.HOST), None)
    if measure is None:
        if target == "host" or device is None:
            raise LaunchError("expected arrays on a GPU: the host's products have no shapes to choose from")
        stream = device.kind.stream(device.device)
        measure = functools.partial(_seconds, wait=lambda: _vernier.synchronize(device.device, stream))
    sizes = [list(v.raw[0]) for v in values]
    path = _record_path([program.trace.module, sizes, _name(device.device) if device else target, base.max_kernels, base.fuse])
    chosen = _read(path)
    if chosen is None:
        times: dict[Any, float] = {}
        for shape in candidates:
            variant = base.with_product_shape(shape)
            made = variant._prepare(args, {})[0].program
            code = made.code if made is not None and target != "host" else json.dumps(dict(shape))
            if code not in times:
                times[code] = measure(variant, args)
                if all(times[code] < other for known, other in times.items() if known != code):
                    chosen = dict(shape)
        if chosen is None:
            raise CompileError("expected at least one candidate")
        _write(path, chosen)
    return base.with_product_shape(chosen)


def _name(device: int) -> str:
    import torch

    return str(torch.cuda.get_device_name(device))


def _record_path(what: Any) -> str | None:
    folder = _vernier.default_cache_folder()
    return os.path.join(folder, "shapes", hashlib.sha256(json.dumps(what).encode()).hexdigest() + ".json") if folder else None


def _read(path: str | None) -> dict[str, int] | None:
    """None for what is missing or was not written by this."""
    try:
        with open(path or "") as file:
            found = json.load(file)["product_shape"]
        return {str(name): int(value) for name, value in found.items()}
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None


def _write(path: str | None, shape: Mapping[str, int]) -> None:
    """Whole or not at all. A disk that is full or read-only costs a measurement next time, no more."""
    if path is None:
        return
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=os.path.dirname(path), delete=False) as file:
            json.dump({"product_shape": shape}, file)
        os.replace(file.name, path)
    except OSError:
        pass


def _seconds(function: Jit, args: tuple[Any, ...], wait: Callable[[], None]) -> float:
    """The median of a few calls, after some that are not counted."""
    times = []
    for number in range(13):
        wait()
        start = time.perf_counter()
        for _ in range(3):
            function(*args)
        wait()
        if number >= 3:
            times.append((time.perf_counter() - start) / 3)
    return statistics.median(times)
