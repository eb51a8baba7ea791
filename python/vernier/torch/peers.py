"""Memory of every rank of a group, which all of them write to: over NVLink between GPUs of one host, in shared pages between
processes on a CPU."""

from __future__ import annotations

import abc
import math
import os
import tempfile

import torch
import torch.distributed as dist

ALIGNMENT = 128
"""Bytes: where a part begins."""

TIMEOUT_MS = 300_000
"""Of a barrier between GPUs. After that the device reports an error: a peer has died since row counts were exchanged."""


class PeerMemory(abc.ABC):
    """As many bytes on every rank as the largest message so far took; a larger one makes all ranks take more."""

    def __init__(self, group: dist.ProcessGroup, device: torch.device) -> None:
        self.group, self.device = group, device
        self.rank, self.ranks = dist.get_rank(group), dist.get_world_size(group)
        self.bytes = 0

    def reserve(self, size: int) -> None:
        """Collective, with the same size on all ranks. What was there may be lost."""
        if size > self.bytes:
            if self.bytes:  # others may still write to what is given up, and work in streams read it
                if self.device.type == "cuda":
                    torch.cuda.synchronize(self.device)
                dist.barrier(group=self.group)
            self.bytes = math.ceil(1.25 * size / (1 << 20)) << 20
            self._allocate()

    def part(self, rank: int, offset: int, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """A tensor in a rank's memory, `offset` bytes from its beginning (a multiple of the type's size)."""
        size = math.prod(shape) * dtype.itemsize
        return self._memory(rank)[offset : offset + size].view(dtype).reshape(shape)

    @abc.abstractmethod
    def barrier(self) -> None:
        """What any rank has put into its stream comes before what any puts there after it."""

    @abc.abstractmethod
    def _allocate(self) -> None: ...

    @abc.abstractmethod
    def _memory(self, rank: int) -> torch.Tensor:
        """All bytes of a rank."""


class GpuPeerMemory(PeerMemory):
    """PyTorch's symmetric memory: buffers that every GPU of the group maps. Its barrier runs on the device."""

    def _allocate(self) -> None:
        from torch.distributed import _symmetric_memory as symmetric

        self._local = symmetric.empty(self.bytes, dtype=torch.uint8, device=self.device)
        self._handle = symmetric.rendezvous(self._local, self.group)
        self._buffers = [self._handle.get_buffer(rank, (self.bytes,), torch.uint8) for rank in range(self.ranks)]

    def barrier(self) -> None:
        self._handle.barrier(timeout_ms=TIMEOUT_MS)

    def _memory(self, rank: int) -> torch.Tensor:
        return self._buffers[rank]


class HostPeerMemory(PeerMemory):
    """Files in shared memory, of processes on one host. They have no names once all have opened them."""

    def _allocate(self) -> None:
        folder = [tempfile.mkdtemp(dir="/dev/shm") if self.rank == 0 else None]
        dist.broadcast_object_list(folder, group=self.group, group_src=0)
        paths = [os.path.join(str(folder[0]), str(rank)) for rank in range(self.ranks)]
        self._buffers = [torch.from_file(path, shared=True, size=self.bytes, dtype=torch.uint8) for path in paths]
        dist.barrier(group=self.group)
        os.unlink(paths[self.rank])
        dist.barrier(group=self.group)
        if self.rank == 0:
            os.rmdir(str(folder[0]))

    def barrier(self) -> None:
        dist.barrier(group=self.group)

    def _memory(self, rank: int) -> torch.Tensor:
        return self._buffers[rank]


_known: dict[tuple[dist.ProcessGroup, torch.device], PeerMemory] = {}


def peer_memory(group: dist.ProcessGroup, device: torch.device) -> PeerMemory:
    """One for each group and device: exchanges of all layers take turns in it, in the order of the stream they run on."""
    kind = GpuPeerMemory if device.type == "cuda" else HostPeerMemory
    if (group, device) not in _known:
        _known[group, device] = kind(group, device)
    return _known[group, device]
