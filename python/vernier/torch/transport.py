"""How rows that leave get into the memory of the ranks that they go to: what transports have in common."""

from __future__ import annotations

import abc
import math

import torch
import torch.distributed as dist

ALIGNMENT = 128
"""Bytes: where what arrives together begins."""

GROWTH = 1.65
"""Of parts that are sent: how much faster one is made than sent, so that the next is there when the one before has left."""

PARTS = 2
"""At most, of rows for another rank."""

LEAST_ROWS = 1024
"""Rows for another rank that are worth several parts."""


def parts_of(rows: int) -> list[tuple[int, int]]:
    """Parts of rows for another rank, each of which is sent while the next is made: the first row and the number of rows of each.
    The first ones are multiples of 16."""
    first = int(rows / (1 + GROWTH)) // 16 * 16 if rows >= LEAST_ROWS else 0
    return [(begin, end - begin) for begin, end in ((0, first), (first, rows)) if begin < end]


class Transport(abc.ABC):
    """Memory of this rank where rows arrive: as many bytes on every rank as the largest message so far took; a larger one makes all
    ranks take more.

    Exchanges take turns in it, in the order in which ranks put them into streams, whichever these are: `open`, any number of
    times `put` and `expect` and then `flush`, `close`. All ranks flush as often.
    """

    def __init__(self, group: dist.ProcessGroup, device: torch.device) -> None:
        self.group, self.device = group, device
        self.rank, self.ranks = dist.get_rank(group), dist.get_world_size(group)
        self.bytes = 0
        self.memory = torch.empty(0, dtype=torch.uint8, device=device)

    def reserve(self, size: int) -> None:
        """Collective, with the same size on all ranks. What was there is not there any more."""
        if not self.bytes or size > self.bytes:
            self.bytes = max(2 * self.bytes, math.ceil(1.25 * size / (1 << 20)) << 20, 1 << 20)
            self.memory = self._allocate()

    def part(self, offset: int, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """A tensor in this rank's memory, `offset` bytes from its beginning (a multiple of the type's size)."""
        size = math.prod(shape) * dtype.itemsize
        return self.memory[offset : offset + size].view(dtype).reshape(shape)

    @abc.abstractmethod
    def open(self) -> None:
        """Collective. What this rank's stream holds now comes before what anybody puts into its memory."""

    @abc.abstractmethod
    def put(self, to: int, offset: int, source: int, size: int) -> None:
        """Bytes at an address here, which this rank's stream has made, to another rank's memory."""

    def expect(self, source: int, offset: int, size: int) -> None:  # noqa: B027
        """Bytes that another rank puts here, between two ranks in the order in which they are put."""

    def flush(self) -> None:  # noqa: B027
        """What was put, and what is expected, is on its way."""

    @abc.abstractmethod
    def close(self) -> None:
        """Collective. What any rank has put comes before what is put into this rank's stream from now on."""

    def stream(self) -> int:
        """The stream into which kernels are put between `open` and `close`."""
        return 0

    @abc.abstractmethod
    def _allocate(self) -> torch.Tensor:
        """All bytes of this rank."""


class Streams:
    """The caller's stream on a GPU: work in another one, from one exchange to the next, comes after what the last one put there."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._last: torch.cuda.Stream | None = None

    def current(self) -> int:
        stream = torch.cuda.current_stream(self.device)
        if self._last is not None and stream != self._last:
            stream.wait_stream(self._last)
        self._last = stream
        return int(stream.cuda_stream)
