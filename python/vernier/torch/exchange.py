"""The exchange of expert parallelism: rows to the ranks that hold their experts, and back."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist

from vernier.errors import VernierError

from . import functions
from .packing import Meter, nbytes, parts, rebuilt
from .peers import ALIGNMENT, chunks, peer_memory
from .routing import Route


class ExchangeError(RuntimeError):
    """A collective failed: a peer died or did not come within the process group's time-out.

    A peer that dies between the exchange of row counts and that of rows in peers' memory is noticed by the device alone, which
    then reports a failed launch (see `peers.TIMEOUT_MS`).
    """


class Exchange:
    """Moves rows between the ranks of a group. Rank r of R holds experts r * E / R to (r + 1) * E / R.

    With one rank nothing moves and nothing is copied, but bytes are counted all the same. A message holds all of a row side by
    side (codes, scales, routing weight), so that there is one collective each way. With `peers`, there is none: rows are quantised
    and sorted in the memory of the rank that they go to, or here and copied there in parts (see `peers`).

    Args:
        experts: E, of the whole layer.
        group: a process group; None: one rank.
        meter: where to count bytes.
        peers: whether ranks write to one another's memory: GPUs of one host with NVLink, or processes of one host on a CPU.

    Raises:
        ValueError: the ranks do not divide the experts.
    """

    def __init__(
        self, experts: int, group: dist.ProcessGroup | None = None, meter: Meter | None = None, peers: bool = False
    ) -> None:
        self.group = group
        self.ranks = dist.get_world_size(group) if group is not None else 1
        self.rank = dist.get_rank(group) if group is not None else 0
        self.experts = experts
        self.meter = meter or Meter()
        self.peers = peers
        self.plans = 0
        if experts % self.ranks:
            raise ValueError(f"expected the {experts} experts to divide among {self.ranks} ranks")

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
        kind = PeerPlan if self.peers else CollectivePlan
        return kind(self, route, offsets, messages, moved, by_expert, back)

    def run(self, what: str, collective: Callable[[], Any]) -> None:
        try:
            collective()
        except (RuntimeError, ValueError, OSError) as error:
            if isinstance(error, (VernierError, torch.OutOfMemoryError)):  # of this rank alone
                raise
            line = (str(error).splitlines() or [type(error).__name__])[0]
            raise ExchangeError(f"rank {self.rank} of {self.ranks}, exchange {self.plans} ({what}): {line}") from error


def _in_order(rows: Any, order: torch.Tensor, element: str, compute: str | None) -> tuple[Any, Any]:
    """Rows in an order, and as what they are computed with: one kernel writes both."""
    if element == "mxfp4" and compute is not None:
        kept, operand = functions.permute_twice(rows, order, compute)
        return kept, operand
    return 2 * (functions.permute(rows, order),)


@dataclasses.dataclass(frozen=True)
class Plan:
    """One layer's exchange: where rows go and come from. This one is of a single rank, where they stay.

    Attributes:
        offsets: of the experts here, int32 [E / R + 1].
    """

    exchange: Exchange
    route: Route
    offsets: torch.Tensor

    def to_experts(
        self, direction: str, x: torch.Tensor, element: str, compute: str | None = None, weight: torch.Tensor | None = None
    ) -> tuple[Any, Any, torch.Tensor | None]:
        """Rows of x [T, N] on the ranks of their experts, in the order of experts there.

        Args:
            element: of the rows: "bf16", "fp8" or "mxfp4".
            compute: what products read them as; None: as `element`.
            weight: FP32 [P], one of every row before it moves.

        Returns the rows, the same as `compute` (or the rows again, where a product re-encodes them itself), and their weights.
        Raises ExchangeError.
        """
        rows, operand = _in_order(functions.encode(x, element), self.route.source, element, compute)
        self.count(direction, nbytes(rows, weight))
        return rows, operand, weight

    def to_tokens(self, direction: str, *values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Rows and numbers of rows, in the order of experts, back to the ranks they came from. Raises ExchangeError.

        They may lie in memory that the next exchange writes to, and must be used before it.
        """
        self.count(direction, nbytes(*values))
        return values

    @property
    def place(self) -> torch.Tensor:
        """int32 [T, k]: where `to_tokens` puts the row of every copy of a token."""
        return self.route.place

    def count(self, direction: str, sent: int) -> None:
        """Notes bytes sent."""
        meter = self.exchange.meter
        setattr(meter, direction, getattr(meter, direction) + sent)


@dataclasses.dataclass(frozen=True)
class _MovingPlan(Plan):
    """Over several ranks: the numbers of rows from each rank to each, here and on the device, and the order by expert of those that
    come here."""

    messages: list[list[int]]
    moved: torch.Tensor
    by_expert: torch.Tensor
    back: torch.Tensor

    @property
    def sent(self) -> list[int]:
        return self.messages[self.exchange.rank]

    @property
    def received(self) -> list[int]:
        return [row[self.exchange.rank] for row in self.messages]


@dataclasses.dataclass(frozen=True)
class CollectivePlan(_MovingPlan):
    """One all-to-all each way."""

    def to_experts(
        self, direction: str, x: torch.Tensor, element: str, compute: str | None = None, weight: torch.Tensor | None = None
    ) -> tuple[Any, Any, torch.Tensor | None]:
        values = functions.permute(functions.encode(x, element), self.route.source), weight
        self.count(direction, nbytes(*values))
        rows, weight = self._packed(
            values, lambda packed: self._move(direction, packed, self.sent, self.received)[self.by_expert]
        )
        return rows, rows, weight

    def to_tokens(self, direction: str, *values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        self.count(direction, nbytes(*values))
        return self._packed(values, lambda packed: self._move(direction, packed[self.back], self.received, self.sent))

    def _move(self, direction: str, packed: torch.Tensor, out: list[int], into: list[int]) -> torch.Tensor:
        result = packed.new_empty((sum(into), packed.shape[1]))
        group = self.exchange.group
        self.exchange.run(direction, lambda: dist.all_to_all_single(result, packed, into, out, group=group))
        return result

    @staticmethod
    def _packed(values: tuple[Any, ...], move: Callable[[torch.Tensor], torch.Tensor]) -> tuple[Any, ...]:
        """All of a row side by side, moved, and taken apart again."""
        flat = [part for value in values for part in parts(value)]
        raw = [part.contiguous().reshape(part.shape[0], math.prod(part.shape[1:])).view(torch.uint8) for part in flat]
        moved = move(torch.cat(raw, dim=1))
        pieces = moved.split([piece.shape[1] for piece in raw], dim=1)
        tensors = [
            piece.clone(memory_format=torch.contiguous_format).view(part.dtype).reshape(moved.shape[0], *part.shape[1:])
            for piece, part in zip(pieces, flat)
        ]
        results = []
        for value in values:
            count = len(parts(value))
            mine, tensors = tensors[:count], tensors[count:]
            results.append(None if value is None else rebuilt(value, mine))
        return tuple(results)


@functools.lru_cache(maxsize=64)
def _no_rows(element: str, width: int, device: torch.device) -> Any:
    return functions.encode(torch.empty(0, width, dtype=torch.bfloat16, device=device), element)


def _addressed(matrix: torch.Tensor) -> torch.Tensor:
    """The same numbers where kernels may read them."""
    matrix = matrix.detach().contiguous()
    return matrix.clone() if matrix.data_ptr() % 16 else matrix


@dataclasses.dataclass(frozen=True)
class _Pieces:
    """Parts of an index int32, one for each rank, each aligned as kernels want it."""

    index: torch.Tensor
    starts: list[int]

    def part(self, rank: int, first: int, rows: int) -> tuple[tuple[int, ...], list[int]]:
        """Some of a rank's, as a launch takes them."""
        return (rows,), [self.index.data_ptr() + 4 * (self.starts[rank] + first)]


@dataclasses.dataclass(frozen=True)
class PeerPlan(_MovingPlan):
    """Rows are written to the memory of the ranks they go to; who reads them next brings them into the order of experts.

    What comes from one rank begins at a multiple of 16 rows, so that every part of it is aligned.
    """

    def to_experts(
        self, direction: str, x: torch.Tensor, element: str, compute: str | None = None, weight: torch.Tensor | None = None
    ) -> tuple[Any, Any, torch.Tensor | None]:
        rows, weight = self.send(direction, x, element, weight)
        rows, operand = _in_order(rows, self._arrived, element, compute)
        return rows, operand, None if weight is None else weight[self._arrived.long()]

    def send(
        self, direction: str, x: torch.Tensor, element: str, weight: torch.Tensor | None = None
    ) -> tuple[Any, torch.Tensor | None]:
        """The first half of `to_experts`: rows as they arrive, with gaps, in memory that the next exchange writes to."""
        like, x = _no_rows(element, x.shape[1], x.device), _addressed(x)
        launch = functions.encode_rows.launcher(x, self._sources.index, element)
        value = tuple(x.shape), [x.data_ptr()]

        def make(to: int, first: int, rows: int, results: list[int], stream: int) -> None:
            launch([value, self._sources.part(to, first, rows)], [((rows, x.shape[1]), results)], stream)

        vectors = [] if weight is None else [weight.detach().contiguous()]
        arrived = self._exchange(direction, parts(like), vectors, self.messages, make)
        count = len(parts(like))
        return rebuilt(like, arrived[:count]), None if weight is None else arrived[count]

    def to_tokens(self, direction: str, *values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        matrices = [_addressed(value) for value in values if value.ndim == 2]
        vectors = [value.detach()[self.back] for value in values if value.ndim == 1]
        launches = [functions.permute.launcher(matrix, self._backs.index) for matrix in matrices]

        def make(to: int, first: int, rows: int, results: list[int], stream: int) -> None:
            index = self._backs.part(to, first, rows)
            for launch, matrix, result in zip(launches, matrices, results):
                value = tuple(matrix.shape), [matrix.data_ptr()]
                launch([value, index], [((rows, matrix.shape[1]), [result])], stream)

        messages = [list(column) for column in zip(*self.messages)]
        moved = self._exchange(direction, [matrix[:0] for matrix in matrices], vectors, messages, make)
        of_rank = {2: iter(moved[: len(matrices)]), 1: iter(moved[len(matrices) :])}
        return tuple(next(of_rank[value.ndim]) for value in values)

    @functools.cached_property
    def _arrived(self) -> torch.Tensor:
        """int32: where the rows of the experts here arrive."""
        return self._with_gaps(self.moved[:, self.exchange.rank], self.received, self.by_expert).to(torch.int32)

    @functools.cached_property
    def place(self) -> torch.Tensor:
        return self._with_gaps(self.moved[self.exchange.rank], self.sent, self.route.place.long()).to(torch.int32)

    @functools.cached_property
    def _sources(self) -> _Pieces:
        """For each rank, the tokens of the rows that go there."""
        return self._pieces(self.moved[self.exchange.rank], self.sent, self.route.source)

    @functools.cached_property
    def _backs(self) -> _Pieces:
        """For each rank, the rows here that go back there."""
        return self._pieces(self.moved[:, self.exchange.rank], self.received, self.back.to(torch.int32))

    @staticmethod
    def _above(rows: int) -> int:
        return -(-rows // 16) * 16

    @staticmethod
    def _with_gaps(counts: torch.Tensor, lengths: list[int], index: torch.Tensor) -> torch.Tensor:
        """Where rows lie that were numbered as though what comes from each rank began where that of the last one ends. `lengths` are
        the counts, known here: the host does not wait for the device."""
        gaps = (counts + 15) // 16 * 16 - counts
        shifts = torch.repeat_interleave(gaps.cumsum(0) - gaps, counts, output_size=sum(lengths))
        return index + shifts[index]

    def _pieces(self, counts: torch.Tensor, lengths: list[int], index: torch.Tensor) -> _Pieces:
        starts = [0, *itertools.accumulate(map(self._above, lengths))]
        every = torch.arange(len(index), device=index.device)
        apart = index.new_zeros(starts[-1]).scatter_(0, self._with_gaps(counts, lengths, every), index)
        return _Pieces(apart, starts)

    def _exchange(
        self, direction: str, likes: list[torch.Tensor], vectors: list[torch.Tensor], messages: list[list[int]],
        make: Callable[[int, int, int, list[int], int], None],
    ) -> list[torch.Tensor]:  # fmt: skip
        """Everyone puts its rows, messages[from][to] of them, into the memory of the others.

        From the first kernel on, Python must be faster than the wire: there are addresses in place of tensors.

        Args:
            likes: tensors without rows, like those that rows are made of.
            vectors: numbers of rows, in the order in which rows leave.
            make: launches a kernel for some of the rows for a rank: their first and their number, the address of the first one in
                each tensor, the stream.
        """
        rank, ranks = self.exchange.rank, self.exchange.ranks
        sent, wanted = messages[rank], likes + vectors
        widths = [math.prod(like.shape[1:]) * like.element_size() for like in wanted]
        heights = [sum(self._above(row[to]) for row in messages) for to in range(ranks)]
        # Of the tensors in each rank's memory, and the end of the last.
        ends = [
            [0, *itertools.accumulate(-(-height * width // ALIGNMENT) * ALIGNMENT for width in widths)] for height in heights
        ]
        above = [sum(self._above(row[to]) for row in messages[:rank]) for to in range(ranks)]
        assert self.exchange.group is not None
        memory = peer_memory(self.exchange.group, self.by_expert.device)
        # What goes to one rank lies together here, as aligned as there.
        largest = max((self._above(rows) for to, rows in enumerate(sent) if to != rank), default=0)
        here = [0, *itertools.accumulate(-(-largest * width // ALIGNMENT) * ALIGNMENT for width in widths[: len(likes)])]

        def places(to: int) -> list[int]:
            return [memory.address(to) + end + above[to] * width for end, width in zip(ends[to], widths)]

        def put_vectors(to: int) -> None:
            first = sum(sent[:to])
            for place, vector, width in zip(places(to)[len(likes) :], vectors, widths[len(likes) :]):
                memory.put(place, vector.data_ptr() + first * width, sent[to] * width)

        def send(to: int, staging: int) -> None:
            begins, targets = [staging + offset for offset in here], places(to)
            for first, rows in chunks(sent[to]):
                make(
                    to,
                    first,
                    rows,
                    [begin + first * width for begin, width in zip(begins, widths)][: len(likes)],
                    memory.stream(),
                )
                memory.put(targets[0] + first * widths[0], begins[0] + first * widths[0], rows * widths[0])
            for i in range(1, len(likes)):  # a few bytes a row: together
                memory.put(targets[i], begins[i], sent[to] * widths[i])
            put_vectors(to)

        self.exchange.run(direction, lambda: memory.reserve(max(end[-1] for end in ends)))
        self.exchange.run(direction, memory.open)
        try:
            others = [to for to in [*range(rank + 1, ranks), *range(rank)] if sent[to]]
            stagings = [torch.empty(here[-1], dtype=torch.uint8, device=self.by_expert.device) for _ in others]
            for to, staging in zip(others, stagings):
                send(to, staging.data_ptr())
            if sent[rank]:
                make(rank, 0, sent[rank], places(rank)[: len(likes)], memory.stream())
                put_vectors(rank)
        finally:  # also where this rank has failed: the others wait
            self.exchange.run(direction, memory.close)
        self.count(direction, sum(sent) * sum(widths))
        return [memory.part(end, (heights[rank], *like.shape[1:]), like.dtype) for end, like in zip(ends[rank], wanted)]
