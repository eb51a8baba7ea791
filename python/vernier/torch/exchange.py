"""The exchange of expert parallelism: rows to the ranks that hold their experts, and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist

from vernier.errors import VernierError

from .packing import Meter
from .parts import PartsPlan
from .plans import CollectivePlan, Plan
from .routing import Route

TRANSPORTS = ("collective", "messages", "peers")


class ExchangeError(RuntimeError):
    """A collective failed: a peer died or did not come within the process group's time-out.

    A peer that dies between the exchange of row counts and that of rows in peers' memory is noticed by the device alone, which
    then reports a failed launch (see `peers.TIMEOUT_MS`); between GPUs, messages wait until NCCL gives the peer up.
    """


class Exchange:
    """Moves rows between the ranks of a group. Rank r of R holds experts r * E / R to (r + 1) * E / R.

    With one rank nothing moves and nothing is copied, but bytes are counted all the same. All ways give the same bytes.

    Args:
        experts: E, of the whole layer.
        group: a process group; None: one rank.
        meter: where to count bytes.
        transport: "collective": all of a row side by side (codes, scales, routing weight), in one all-to-all of the process group
            each way. "messages": part by part, each on its way while kernels make the next; over NCCL, by a communicator of the
            runtime's, or by the process group on a CPU. "peers": the same, in the memory of one another: GPUs of one host with
            NVLink, or processes of one host on a CPU.

    Raises:
        ValueError: the ranks do not divide the experts, or there is no such transport.
    """

    def __init__(
        self, experts: int, group: dist.ProcessGroup | None = None, meter: Meter | None = None, transport: str = "collective"
    ) -> None:
        self.group = group
        self.ranks = dist.get_world_size(group) if group is not None else 1
        self.rank = dist.get_rank(group) if group is not None else 0
        self.experts = experts
        self.meter = meter or Meter()
        self.transport = transport
        self.plans = 0
        if experts % self.ranks:
            raise ValueError(f"expected the {experts} experts to divide among {self.ranks} ranks")
        if transport not in TRANSPORTS:
            raise ValueError(f"expected a transport of {', '.join(TRANSPORTS)}, but got {transport!r}")

    @property
    def local_experts(self) -> int:
        return self.experts // self.ranks

    def plan(self, route: Route) -> Plan:
        """Exchanges row counts. Raises ExchangeError."""
        self.plans += 1
        if self.ranks == 1:
            return Plan(self, route, route.offsets)
        counts = torch.empty(self.ranks * self.experts, dtype=torch.int64, device=route.counts.device)
        self.run("row counts", lambda: dist.all_gather_into_tensor(counts, route.counts.to(torch.int64), group=self.group))
        by_rank = counts.reshape(self.ranks, self.ranks, self.local_experts)
        moved = by_rank.sum(2)
        messages = moved.tolist()  # rows from each rank to each: the host waits here
        received = [row[self.rank] for row in messages]
        theirs = by_rank[:, self.rank]
        # Rows arrive by rank, then expert; products want them by expert, then rank.
        starts = (theirs.reshape(-1).cumsum(0) - theirs.reshape(-1)).reshape(theirs.shape).T.reshape(-1)
        lengths = theirs.T.reshape(-1)
        shifts = starts - (lengths.cumsum(0) - lengths)
        total = sum(received)
        rows = torch.arange(total, device=theirs.device)
        by_expert = torch.repeat_interleave(shifts, lengths, output_size=total) + rows
        back = torch.empty_like(by_expert).scatter_(0, by_expert, rows)
        ends = theirs.sum(0).cumsum(0)
        offsets = torch.cat([ends.new_zeros(1), ends]).to(torch.int32)
        kind = CollectivePlan if self.transport == "collective" else PartsPlan
        return kind(self, route, offsets, messages, moved, by_expert, back)

    def run(self, what: str, collective: Callable[[], Any]) -> None:
        try:
            collective()
        except (RuntimeError, ValueError, OSError) as error:
            if isinstance(error, (VernierError, torch.OutOfMemoryError)):  # of this rank alone
                raise
            line = (str(error).splitlines() or [type(error).__name__])[0]
            raise ExchangeError(f"rank {self.rank} of {self.ranks}, exchange {self.plans} ({what}): {line}") from error
