"""Real text that every machine with Python has: the sources of its standard library, as bytes."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import numpy as np
import torch

HELD_OUT_EVERY = 20


def standard_library_text() -> tuple[np.ndarray, np.ndarray]:
    """(training bytes, held-out bytes): every twentieth file, in the order of their paths, is held out."""
    root = Path(sysconfig.get_paths()["stdlib"])
    files = sorted(p for p in root.rglob("*.py") if "site-packages" not in p.parts and "test" not in p.parts)
    parts: tuple[list[bytes], list[bytes]] = ([], [])
    for number, path in enumerate(files):
        parts[number % HELD_OUT_EVERY == 0].append(path.read_bytes())
    train, held_out = (np.frombuffer(b"\n".join(p), np.uint8) for p in parts)
    if len(train) < 1 << 20:
        raise RuntimeError(f"found only {len(train)} bytes of standard library under {root}")
    return train, held_out


def batch(text: np.ndarray, sequence: int, size: int, key: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Random windows (inputs, targets), int64 [size, sequence]; the key decides which, so that a resumed run sees the same."""
    starts = np.random.default_rng(key).integers(0, len(text) - sequence - 1, size)
    windows = np.stack([text[s : s + sequence + 1] for s in starts]).astype(np.int64)
    tensor = torch.from_numpy(windows)
    return tensor[:, :-1], tensor[:, 1:]
