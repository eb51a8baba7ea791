"""Transport through memory of every rank of a group that all of them write to: over NVLink between GPUs of one host, in shared
pages between processes on a CPU."""

from __future__ import annotations

import ctypes
import os
import tempfile

import torch
import torch.distributed as dist

from vernier import _vernier

from .transport import Streams, Transport

TIMEOUT_MS = 600_000
"""Of a barrier between GPUs, after which the device reports a failed launch: a peer has died since row counts were exchanged."""


class GpuPeerMemory(Transport):
    """PyTorch's symmetric memory: buffers that every GPU of the group maps. Its barrier runs on the device.

    Rows for other ranks are made here and copied by the copy engines. Where a kernel stored 62 MB of MXFP4 over NVLink itself, two
    H200 took 193 us, and a kernel on another stream came after it all the same; copies take 160, beside kernels. Ranks agree that
    memory is free in the stream of the copies, while the first rows are made.
    """

    def __init__(self, group: dist.ProcessGroup, device: torch.device) -> None:
        super().__init__(group, device)
        self._courier = _vernier.Courier(torch.cuda.current_device() if device.index is None else device.index)
        self._aside = torch.cuda.ExternalStream(self._courier.stream, device)
        self._streams, self._stream = Streams(device), 0
        # What was given up stays mapped: somebody may still read or write there. Each is half of the next at most.
        self._retired: list[object] = []

    def _allocate(self) -> torch.Tensor:
        from torch.distributed import _symmetric_memory as symmetric

        local = symmetric.empty(self.bytes, dtype=torch.uint8, device=self.device)
        self._handle = symmetric.rendezvous(local, self.group)
        self._retired.append((local, self._handle))
        self._addresses = list(self._handle.buffer_ptrs)
        return self._handle.get_buffer(self.rank, (self.bytes,), torch.uint8)

    def stream(self) -> int:
        return self._stream

    def open(self) -> None:
        self._stream = self._streams.current()
        self._courier.follow(self._stream)
        with torch.cuda.stream(self._aside):
            self._handle.barrier(timeout_ms=TIMEOUT_MS)

    def put(self, to: int, offset: int, source: int, size: int) -> None:
        self._courier.copy(self._addresses[to] + offset, source, size, self._stream)

    def close(self) -> None:
        self._courier.join(self._streams.current())
        self._handle.barrier(timeout_ms=TIMEOUT_MS)


class HostPeerMemory(Transport):
    """Files in shared memory, of processes on one host. They have no names once all have opened them."""

    def _allocate(self) -> torch.Tensor:
        folder = [tempfile.mkdtemp(dir="/dev/shm") if self.rank == 0 else None]
        dist.broadcast_object_list(folder, group=self.group, group_src=0)
        paths = [os.path.join(str(folder[0]), str(rank)) for rank in range(self.ranks)]
        with open(paths[self.rank], "wb") as file:
            os.posix_fallocate(file.fileno(), 0, self.bytes)  # an error now, rather than a signal when it is written to
        dist.barrier(group=self.group)
        self._buffers = [torch.from_file(path, shared=True, size=self.bytes, dtype=torch.uint8) for path in paths]
        dist.barrier(group=self.group)
        os.unlink(paths[self.rank])
        dist.barrier(group=self.group)
        if self.rank == 0:
            os.rmdir(str(folder[0]))
        return self._buffers[self.rank]

    def open(self) -> None:
        dist.barrier(group=self.group)

    def put(self, to: int, offset: int, source: int, size: int) -> None:
        ctypes.memmove(self._buffers[to].data_ptr() + offset, source, size)

    def close(self) -> None:
        dist.barrier(group=self.group)
