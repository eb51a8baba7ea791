"""Memory of every rank of a group, which all of them write to: over NVLink between GPUs of one host, in shared pages between
processes on a CPU."""

from __future__ import annotations

import abc
import ctypes
import math
import os
import tempfile

import torch
import torch.distributed as dist

from vernier import _vernier

ALIGNMENT = 128
"""Bytes: where a part begins."""

TIMEOUT_MS = 600_000
"""Of a barrier between GPUs, after which the device reports a failed launch: a peer has died since row counts were exchanged."""


class PeerMemory(abc.ABC):
    """As many bytes on every rank as the largest message so far took; a larger one makes all ranks take more.

    Exchanges take turns in it, in the order in which ranks put them into streams, whichever these are.
    """

    def __init__(self, group: dist.ProcessGroup, device: torch.device) -> None:
        self.group, self.device = group, device
        self.rank, self.ranks = dist.get_rank(group), dist.get_world_size(group)
        self.bytes = 0
        self._buffers: list[torch.Tensor] = []  # of every rank

    def reserve(self, size: int) -> None:
        """Collective, with the same size on all ranks. What was there is not there any more."""
        if not self.bytes or size > self.bytes:
            self.bytes = max(2 * self.bytes, math.ceil(1.25 * size / (1 << 20)) << 20, 1 << 20)
            self._buffers = self._allocate()

    def address(self, rank: int) -> int:
        """Of the first byte of a rank's memory, as this process sees it."""
        return self._buffers[rank].data_ptr()

    def part(self, offset: int, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """A tensor in this rank's memory, `offset` bytes from its beginning (a multiple of the type's size)."""
        size = math.prod(shape) * dtype.itemsize
        return self._buffers[self.rank][offset : offset + size].view(dtype).reshape(shape)

    @abc.abstractmethod
    def open(self) -> None:
        """Collective. What was put into this rank's stream until now comes before what any rank puts into the memory of others."""

    @abc.abstractmethod
    def put(self, to: int, source: int, size: int) -> None:
        """Copies bytes that this rank's stream has made to an address in another rank's memory."""

    @abc.abstractmethod
    def close(self) -> None:
        """Collective. What any rank has put or made comes before what is put into this rank's stream from now on."""

    @abc.abstractmethod
    def stream(self) -> int:
        """The stream into which kernels are put between `open` and `close`."""

    @abc.abstractmethod
    def _allocate(self) -> list[torch.Tensor]:
        """All bytes of every rank."""


GROWTH = 1.65
"""Of parts that are sent: how much faster one is made than sent, so that the next is there when the one before has left."""

LEAST_ROWS = 1024
"""Rows for another rank that are worth two parts."""


def chunks(rows: int) -> list[tuple[int, int]]:
    """Parts of rows for another rank, each of which is put while the next is made: the first and the number of rows. The first
    ones are multiples of 16."""
    first = int(rows / (1 + GROWTH)) // 16 * 16 if rows >= LEAST_ROWS else 0
    return [(begin, end - begin) for begin, end in ((0, first), (first, rows)) if begin < end]


class GpuPeerMemory(PeerMemory):
    """PyTorch's symmetric memory: buffers that every GPU of the group maps. Its barrier runs on the device.

    Rows for other ranks are made here and copied by the copy engines. Where a kernel stored 62 MB of MXFP4 over NVLink itself, two
    H200 took 193 us, and a kernel on another stream came after it all the same; copies take 160, beside kernels. Ranks agree that
    memory is free in the stream of the copies, while the first rows are made.
    """

    def __init__(self, group: dist.ProcessGroup, device: torch.device) -> None:
        super().__init__(group, device)
        self._courier = _vernier.Courier(torch.cuda.current_device() if device.index is None else device.index)
        self._aside = torch.cuda.ExternalStream(self._courier.stream, device)
        self._stream: torch.cuda.Stream | None = None
        # What was given up stays mapped: somebody may still read or write there. Each is half of the next at most.
        self._retired: list[object] = []

    def _allocate(self) -> list[torch.Tensor]:
        from torch.distributed import _symmetric_memory as symmetric

        local = symmetric.empty(self.bytes, dtype=torch.uint8, device=self.device)
        self._handle = symmetric.rendezvous(local, self.group)
        self._retired.append((local, self._handle))
        self._addresses = list(self._handle.buffer_ptrs)
        return [self._handle.get_buffer(rank, (self.bytes,), torch.uint8) for rank in range(self.ranks)]

    def address(self, rank: int) -> int:
        return self._addresses[rank]

    def stream(self) -> int:
        assert self._stream is not None
        return self._stream.cuda_stream

    def open(self) -> None:
        stream = torch.cuda.current_stream(self.device)
        if self._stream is not None and stream != self._stream:
            stream.wait_stream(self._stream)
        self._stream = stream
        self._courier.follow(stream.cuda_stream)
        with torch.cuda.stream(self._aside):
            self._handle.barrier(timeout_ms=TIMEOUT_MS)

    def put(self, to: int, source: int, size: int) -> None:
        self._courier.copy(to, source, size, self.stream())

    def close(self) -> None:
        stream = torch.cuda.current_stream(self.device)
        if self._stream is not None and stream != self._stream:
            stream.wait_stream(self._stream)
        self._stream = stream
        self._courier.join(stream.cuda_stream)
        self._handle.barrier(timeout_ms=TIMEOUT_MS)


class HostPeerMemory(PeerMemory):
    """Files in shared memory, of processes on one host. They have no names once all have opened them."""

    def _allocate(self) -> list[torch.Tensor]:
        folder = [tempfile.mkdtemp(dir="/dev/shm") if self.rank == 0 else None]
        dist.broadcast_object_list(folder, group=self.group, group_src=0)
        paths = [os.path.join(str(folder[0]), str(rank)) for rank in range(self.ranks)]
        with open(paths[self.rank], "wb") as file:
            os.posix_fallocate(file.fileno(), 0, self.bytes)  # an error now, rather than a signal when it is written to
        dist.barrier(group=self.group)
        buffers = [torch.from_file(path, shared=True, size=self.bytes, dtype=torch.uint8) for path in paths]
        dist.barrier(group=self.group)
        os.unlink(paths[self.rank])
        dist.barrier(group=self.group)
        if self.rank == 0:
            os.rmdir(str(folder[0]))
        return buffers

    def open(self) -> None:
        dist.barrier(group=self.group)

    def put(self, to: int, source: int, size: int) -> None:
        ctypes.memmove(to, source, size)

    def close(self) -> None:
        dist.barrier(group=self.group)

    def stream(self) -> int:
        return 0


_known: dict[tuple[dist.ProcessGroup, torch.device], PeerMemory] = {}


def peer_memory(group: dist.ProcessGroup, device: torch.device) -> PeerMemory:
    """One for each group and device, kept as long as the process lives: exchanges of all layers take turns in it."""
    kind = GpuPeerMemory if device.type == "cuda" else HostPeerMemory
    if (group, device) not in _known:
        _known[group, device] = kind(group, device)
    return _known[group, device]
