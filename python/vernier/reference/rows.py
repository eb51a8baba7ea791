"""Gathers of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .formats import Scaled


def _gather(x: NDArray[Any], index: NDArray[np.int32], rows: int) -> NDArray[Any]:
    result = np.zeros((rows, *x.shape[1:]), x.dtype)
    for target, source in enumerate(index.tolist()):
        if source >= 0:
            result[target] = x[source]
    return result


def permute(x: NDArray[Any] | Scaled, index: NDArray[np.int32], pad_to: int = 1) -> NDArray[Any] | Scaled:
    """result[i] = x[index[i]], zeros for -1 and for the rows that pad_to adds."""
    rows = -(-len(index) // pad_to) * pad_to
    if isinstance(x, Scaled):
        return Scaled(_gather(x.codes, index, rows), _gather(x.scales, index, rows), x.format, x.block)
    return _gather(x, index, rows)


def unpermute(y: NDArray[Any], index: NDArray[np.int32], weights: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """result[t] = sum over j of weights[t, j] * y[index[t, j]], in FP32, in the order of j."""
    values = np.asarray(y, np.float32)
    result = np.zeros((index.shape[0], values.shape[1]), np.float32)
    for t in range(index.shape[0]):
        for j in range(index.shape[1]):
            if index[t, j] >= 0:
                row = values[index[t, j]]
                result[t] = result[t] + (row if weights is None else weights[t, j] * row)
    return result
