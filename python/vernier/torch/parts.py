"""The exchange of rows part by part: each is on its way while the next is made."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist

from . import functions
from .messages import HostMessages, NcclMessages
from .packing import parts, rebuilt
from .peers import GpuPeerMemory, HostPeerMemory
from .plans import MovingPlan, in_order
from .transport import ALIGNMENT, PARTS, Transport, parts_of

TRANSPORTS: dict[tuple[str, str], type[Transport]] = {
    ("peers", "cuda"): GpuPeerMemory, ("peers", "cpu"): HostPeerMemory,
    ("messages", "cuda"): NcclMessages, ("messages", "cpu"): HostMessages,
}  # fmt: skip
"""By name and device."""

_known: dict[tuple[str, dist.ProcessGroup, torch.device], Transport] = {}


def transport(name: str, group: dist.ProcessGroup, device: torch.device) -> Transport:
    """One for each group and device, kept as long as the process lives: exchanges of all layers take turns in it."""
    key = name, group, device
    if key not in _known:
        _known[key] = TRANSPORTS[name, device.type](group, device)
    return _known[key]


@functools.lru_cache(maxsize=64)
def _no_rows(element: str, width: int, device: torch.device) -> Any:
    return functions.encode(torch.empty(0, width, dtype=torch.bfloat16, device=device), element)


def _addressed(matrix: torch.Tensor) -> torch.Tensor:
    """The same numbers where kernels may read them."""
    matrix = matrix.detach().contiguous()
    return matrix.clone() if matrix.data_ptr() % 16 else matrix


def _ends(rows: int, widths: list[int]) -> list[int]:
    """Where tensors of so many rows, of so many bytes each, begin behind one another, and the end of the last."""
    return [0, *itertools.accumulate(-(-rows * width // ALIGNMENT) * ALIGNMENT for width in widths)]


@dataclasses.dataclass(frozen=True)
class _Pieces:
    """Parts of an index int32, one for each rank, each aligned as kernels want it."""

    index: torch.Tensor
    starts: list[int]

    def part(self, rank: int, first: int, rows: int) -> tuple[tuple[int, ...], list[int]]:
        """Some of a rank's, as a launch takes them."""
        return (rows,), [self.index.data_ptr() + 4 * (self.starts[rank] + first)]


@dataclasses.dataclass(frozen=True)
class PartsPlan(MovingPlan):
    """Rows are put into the memory of the ranks they go to (see `Transport`); who reads them next brings them into the order of
    experts.

    What comes from one rank begins at a multiple of 16 rows, so that every part of it is aligned.
    """

    def to_experts(
        self, direction: str, x: torch.Tensor, element: str, compute: str | None = None, weight: torch.Tensor | None = None
    ) -> tuple[Any, Any, torch.Tensor | None]:
        rows, weight = self.send(direction, x, element, weight)
        rows, operand = in_order(rows, self._arrived, element, compute)
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
        ends = [_ends(height, widths) for height in heights]

        def places(source: int, to: int) -> list[int]:
            """Where rows from one rank begin in each tensor of another."""
            above = sum(self._above(row[to]) for row in messages[:source])
            return [end + above * width for end, width in zip(ends[to], widths)]

        group = self.exchange.group
        assert group is not None
        wire = transport(self.exchange.transport, group, self.by_expert.device)
        self.exchange.run(direction, lambda: wire.reserve(max(end[-1] for end in ends)))
        self.exchange.run(direction, wire.open)
        # What goes to one rank lies together here, as aligned as there.
        others = [(rank + step) % ranks for step in range(1, ranks)]
        largest = max(self._above(sent[to]) for to in others)
        here = _ends(largest, widths[: len(likes)])
        stagings: dict[int, torch.Tensor] = {}
        failure: Exception | None = None
        try:
            stagings.update((to, self.by_expert.new_empty(here[-1], dtype=torch.uint8)) for to in others if sent[to])
        except torch.OutOfMemoryError as error:
            failure = error

        def make_or_note(to: int, first: int, rows: int, results: list[int]) -> None:
            """Where this rank fails, what it sends is of no use, but the others wait for it."""
            nonlocal failure
            try:
                if failure is None:
                    make(to, first, rows, results, wire.stream())
            except Exception as error:
                failure = error

        def move(number: int) -> None:
            """A part of the rows' first tensor; at last the others, a few bytes a row, together."""
            for to, staging in stagings.items():
                begins, targets, pieces = [staging.data_ptr() + offset for offset in here], places(rank, to), parts_of(sent[to])
                for first, rows in pieces[number : number + 1]:
                    make_or_note(to, first, rows, [begin + first * width for begin, width in zip(begins[:-1], widths)])
                    wire.put(to, targets[0] + first * widths[0], begins[0] + first * widths[0], rows * widths[0])
                if number == PARTS - 1:
                    row = sum(sent[:to])
                    sources = begins[1:-1] + [v.data_ptr() + row * v.element_size() for v in vectors]
                    for target, begin, width in zip(targets[1:], sources, widths[1:]):
                        wire.put(to, target, begin, sent[to] * width)
            for source in reversed(others):
                comes, targets = messages[source][rank], places(source, rank)
                for first, rows in parts_of(comes)[number : number + 1]:
                    wire.expect(source, targets[0] + first * widths[0], rows * widths[0])
                if number == PARTS - 1:
                    for target, width in zip(targets[1:], widths[1:]):
                        wire.expect(source, target, comes * width)
            self.exchange.run(direction, wire.flush)

        for number in range(PARTS):
            move(number)
        if sent[rank]:
            own, row = places(rank, rank), sum(sent[:rank])
            make_or_note(rank, 0, sent[rank], [wire.memory.data_ptr() + place for place in own[: len(likes)]])
            for place, vector in zip(own[len(likes) :], vectors):
                wire.part(place, (sent[rank],), vector.dtype).copy_(vector[row : row + sent[rank]])
        self.exchange.run(direction, wire.close)
        if failure is not None:
            raise failure
        self.count(direction, sum(sent) * sum(widths))
        return [wire.part(end, (heights[rank], *like.shape[1:]), like.dtype) for end, like in zip(ends[rank], wanted)]
