"""Dimensions while a function is traced: numbers, or run-time sizes that may turn out to be numbers or one another."""

from __future__ import annotations

from ..errors import CompileError


class Dim:
    """A run-time size. Sizes that an operation needs equal are joined; joined with a number, the size is that number.

    `hint` is the size in the call that is traced, where there is one: see `specialize`.
    """

    __slots__ = ("hint", "link", "number", "specialized")

    def __init__(self, hint: int | None = None) -> None:
        self.link: Dim | None = None
        self.number: int | None = None
        self.hint = hint
        self.specialized = False

    def root(self) -> Dim:
        dim = self
        while dim.link is not None:
            dim = dim.link
        return dim

    def __repr__(self) -> str:
        number = self.root().number
        return "?" if number is None else str(number)


Size = int | Dim
Shape = tuple[Size, ...]


def fixed(size: Size) -> int | None:
    """The number that a size is known to be, or None."""
    return size if isinstance(size, int) else size.root().number


def show(shape: Shape) -> str:
    return "[" + ", ".join(str(s) for s in shape) + "]"


def join(a: Size, b: Size, what: str) -> Size:
    """Makes two sizes equal and returns the better known one. Raises CompileError when they are different numbers."""
    x, y = fixed(a), fixed(b)
    if x is not None and y is not None:
        if x != y:
            raise CompileError(f"{what}: {x} and {y} differ")
        return x
    if x is not None and isinstance(b, Dim):
        b.root().number = x
        return x
    if y is not None and isinstance(a, Dim):
        a.root().number = y
        return y
    assert isinstance(a, Dim) and isinstance(b, Dim)
    if a.root() is not b.root():
        if a.root().hint is None:
            a.root().hint = b.root().hint
        b.root().link = a.root()
    return a


def specialize(size: Size) -> Size:
    """Makes a run-time size the number that it is in this call: other calls are then compiled apart."""
    if fixed(size) is None and isinstance(size, Dim) and size.root().hint is not None:
        size.root().number = size.root().hint
        size.root().specialized = True
    return size


def join_shapes(a: Shape, b: Shape, what: str) -> Shape:
    if len(a) != len(b):
        raise CompileError(f"{what}: shapes {show(a)} and {show(b)} differ in rank")
    try:
        return tuple(join(x, y, what) for x, y in zip(a, b, strict=True))
    except CompileError:
        raise CompileError(f"{what}: shapes {show(a)} and {show(b)} differ") from None
