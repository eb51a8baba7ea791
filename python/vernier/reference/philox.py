"""Philox 4x32-10 (Salmon et al., SC 2011), the counter-based generator behind stochastic rounding."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MASK = np.uint64(0xFFFFFFFF)


def philox_first_word(seed: int, counters: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """First output word for each 64-bit counter, with the 64-bit seed as key."""
    words = [counters & _MASK, counters >> np.uint64(32), np.zeros_like(counters), np.zeros_like(counters)]
    key = [np.uint64(seed & 0xFFFFFFFF), np.uint64(seed >> 32 & 0xFFFFFFFF)]
    for _ in range(10):
        product0 = words[0] * np.uint64(0xD2511F53)
        product1 = words[2] * np.uint64(0xCD9E8D57)
        words = [
            (product1 >> np.uint64(32)) ^ words[1] ^ key[0],
            product1 & _MASK,
            (product0 >> np.uint64(32)) ^ words[3] ^ key[1],
            product0 & _MASK,
        ]
        key = [np.uint64(int(key[0]) + 0x9E3779B9 & 0xFFFFFFFF), np.uint64(int(key[1]) + 0xBB67AE85 & 0xFFFFFFFF)]
    return words[0].astype(np.uint32)
