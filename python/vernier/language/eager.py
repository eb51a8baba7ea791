"""Every operation on traced values also works on arrays: it is then compiled as a function of its own."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from .values import any_traced

F = TypeVar("F", bound=Callable[..., Any])


def operation(function: F) -> F:
    """Marks a public operation: traced arguments are traced, arrays are computed on at once."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if any_traced(args) or any_traced(kwargs.values()):
            return function(*args, **kwargs)
        return compiled()(*args, **kwargs)

    @functools.cache
    def compiled() -> Any:
        from ..jit import jit

        return jit(function)

    return call  # type: ignore[return-value]
