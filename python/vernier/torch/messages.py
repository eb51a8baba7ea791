"""Transport by messages from rank to rank, over any network: NCCL between GPUs, the process group between CPUs."""

from __future__ import annotations

import ctypes

import torch
import torch.distributed as dist

from vernier import LaunchError, _vernier

from .transport import Streams, Transport


class NcclMessages(Transport):
    """Messages in a stream of their own, by the runtime's communicator: one part is on its way while kernels make the next.

    The communicator is vernier's, beside those of the process group, which carries its id.
    """

    def __init__(self, group: dist.ProcessGroup, device: torch.device) -> None:
        super().__init__(group, device)
        ids = [_vernier.nccl_unique_id() if self.rank == 0 else b""]
        dist.broadcast_object_list(ids, group=group, group_src=0, device=device)
        index = torch.cuda.current_device() if device.index is None else device.index
        self._communicator = _vernier.Communicator(index, self.ranks, self.rank, ids[0])
        self._streams, self._stream = Streams(device), 0
        self._sent: list[tuple[int, int, int]] = []
        self._expected: list[tuple[int, int, int]] = []

    def _allocate(self) -> torch.Tensor:
        memory = torch.empty(self.bytes, dtype=torch.uint8, device=self.device)
        memory.record_stream(torch.cuda.ExternalStream(self._communicator.stream, self.device))
        return memory

    def stream(self) -> int:
        return self._stream

    def open(self) -> None:
        self._stream = self._streams.current()
        self._alive()

    def put(self, to: int, offset: int, source: int, size: int) -> None:
        self._sent.append((to, source, size))

    def expect(self, source: int, offset: int, size: int) -> None:
        self._expected.append((source, self.memory.data_ptr() + offset, size))

    def flush(self) -> None:
        sent, expected, self._sent, self._expected = self._sent, self._expected, [], []
        self._communicator.exchange(sent, expected, self._stream)

    def close(self) -> None:
        self._communicator.join(self._streams.current())
        self._alive()

    def _alive(self) -> None:
        try:
            self._communicator.check()
        except LaunchError as error:  # a peer's end, not this rank's own
            raise ConnectionError(str(error)) from None


class HostMessages(Transport):
    """The same by the process group, for tests and CPUs."""

    def __init__(self, group: dist.ProcessGroup, device: torch.device) -> None:
        super().__init__(group, device)
        self._operations: list[dist.P2POp] = []

    def _allocate(self) -> torch.Tensor:
        return torch.empty(self.bytes, dtype=torch.uint8)

    def open(self) -> None:
        pass

    def put(self, to: int, offset: int, source: int, size: int) -> None:
        self._add(dist.isend, to, source, size)

    def expect(self, source: int, offset: int, size: int) -> None:
        self._add(dist.irecv, source, self.memory.data_ptr() + offset, size)

    def _add(self, operation: object, peer: int, address: int, size: int) -> None:
        if size:
            tensor = torch.frombuffer((ctypes.c_uint8 * size).from_address(address), dtype=torch.uint8)
            self._operations.append(dist.P2POp(operation, tensor, group=self.group, group_peer=peer))

    def flush(self) -> None:
        operations, self._operations = self._operations, []
        for work in dist.batch_isend_irecv(operations) if operations else []:
            work.wait()

    def close(self) -> None:
        pass
