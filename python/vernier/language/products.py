"""Matrix products of scaled or plain operands."""

from __future__ import annotations

from typing import Any

from .. import dtypes
from ..errors import CompileError
from .builder import TensorType
from .conversions import float_dtype
from .eager import operation
from .elementwise import materialize
from .movement import index_vector
from .sizes import fixed, join, join_shapes, show, specialize
from .values import Traced, TracedScaled


def _operands(what: str, a: Any, b: Any, right_rank: int) -> tuple[Any, Any]:
    a, b = (materialize(v) if isinstance(v, Traced) else v for v in (a, b))
    for value, rank in ((a, 2), (b, right_rank)):
        if isinstance(value, TracedScaled) and (value.grouped or value.format.scale == "e4m3"):
            raise CompileError(f"{what}: expected E8M0 scales and no groups of rows, but got {value!r}")
        if isinstance(value, Traced) and not value.dtype.is_float:
            raise CompileError(f"{what}: expected float32, bfloat16 or float16, but got {value!r}")
        if isinstance(value, TracedScaled) and value.format.packed and value.axis == -1 and what != "grouped_wgrad":
            known = fixed(value.shape[-1])
            if known is not None and known % 128:
                raise CompileError(
                    f"{what}: a 4-bit operand is read as FP8: expected K to be a multiple of 128, but got {known}"
                )
        if not isinstance(value, (Traced, TracedScaled)) or len(value.shape) != rank:
            raise CompileError(f"{what}: expected operands of rank 2 and {right_rank}, but got {a!r} and {b!r}")
    if isinstance(a, TracedScaled) != isinstance(b, TracedScaled):
        raise CompileError(f"{what}: expected both operands to be scaled or both to be plain, but got {a!r} and {b!r}")
    return a, b


def _accumulate(what: str, accumulate: Any, shape: Any) -> tuple[Any, ...]:
    if accumulate is None:
        return ()
    if not isinstance(accumulate, Traced) or accumulate.dtype is not dtypes.float32:
        raise CompileError(f"{what}: expected a float32 array to accumulate into, but got {accumulate!r}")
    join_shapes(shape, accumulate.shape, f"{what}: accumulate and result")
    accumulate = materialize(accumulate)
    return (f" accumulate {accumulate.ssa} : ", accumulate.type)


@operation
def matmul(a: Any, b: Any, out_dtype: Any = dtypes.bfloat16, accumulate: Any = None) -> Any:
    """A @ B.T, promoted to FP32 and scaled every 128 of K.

    Args:
        a: [M, K], scaled with blocks along K, or plain.
        b: [N, K], likewise; both scaled or both plain. A 4-bit operand counts as its re-encoding to FP8.
        out_dtype: float32, bfloat16 or float16.
        accumulate: float32 [M, N] to add; the result is then a float32 array of its own.

    On a GPU, what two scales with a product below 2^-149 belong to counts as 0.

    Raises:
        CompileError: different K, mixed operands, blocks that do not run along K.
    """
    a, b = _operands("matmul", a, b, 2)
    join(a.shape[1], b.shape[1], "matmul: K of a and b")
    dtype = dtypes.float32 if accumulate is not None else float_dtype(out_dtype, "matmul")
    # The weights' rows are the result's columns, on whose number the kernel's tiles and accesses hang.
    shape = (a.shape[0], specialize(b.shape[0]))
    extra = _accumulate("matmul", accumulate, shape)
    result = TensorType(shape, dtype)
    ssa = a.builder.op(f"mx.matmul {a.ssa}, {b.ssa}", *extra, " : ", a.type, ", ", b.type, " -> ", result)
    return Traced(a.builder, ssa, result)


@operation
def grouped_matmul(a: Any, b: Any, offsets: Any, out_dtype: Any = dtypes.bfloat16, spans: bool = False) -> Any:
    """Rows offsets[e]:offsets[e+1] of A times B[e].T, for every expert e; rows outside every group are 0.

    With `spans`, group e has the rows offsets[2e]:offsets[2e+1], and there may be rows between groups: groups padded to a
    multiple, or one buffer of fixed height for every expert of which so many rows are used ("masked": begins e * height, ends
    e * height + counts[e]). The sizes stay on the device.

    Args:
        a: [M, K]; b: [E, N, K]; both scaled or both plain; b in 8 bits where it is scaled.
        offsets: int32 [E + 1], ascending, or [2 E] with `spans`; groups may be empty and need no padding.

    Returns:
        [M, N] in `out_dtype`.

    Raises:
        CompileError: different K, mixed operands. LaunchError: offsets that descend or lie outside [0, M], or another number of
        them (on a GPU they are kept within the rows instead: looking at them would wait).
    """
    a, b = _operands("grouped_matmul", a, b, 3)
    join(a.shape[1], b.shape[2], "grouped_matmul: K of a and b")
    offsets = index_vector(offsets, "grouped_matmul: offsets")
    result = TensorType((a.shape[0], b.shape[1]), float_dtype(out_dtype, "grouped_matmul"))
    ssa = a.builder.op(
        f"mx.grouped_matmul {a.ssa}, {b.ssa} offsets {offsets.ssa} {'spans ' if spans else ''}: ",
        a.type,
        ", ",
        b.type,
        ", ",
        offsets.type,
        " -> ",
        result,
    )
    return Traced(a.builder, ssa, result)


def grouped_wgrad(dy: Any, x: Any, offsets: Any, accumulate: Any = None, experts: int | None = None) -> Any:
    """Weight gradients: G[e] = dY[rows of e].T @ X[rows of e], from operands given by rows.

    Args:
        dy: [M, N]; x: [M, K]; both scaled with blocks along rows (counting as their scaling-aware transposes), or plain.
        offsets: int32 [E + 1].
        accumulate: float32 [E, N, K] to add.
        experts: E, where neither `accumulate` nor the shape of `offsets` tells it (specs with run-time sizes).

    Returns:
        float32 [E, N, K].

    Raises:
        CompileError: different rows, mixed operands, an unknown E. LaunchError: offsets out of order or range (on a GPU they are
        kept within the rows instead: looking at them would wait).
    """
    if experts is None and not isinstance(offsets, Traced) and hasattr(offsets, "shape"):
        experts = int(offsets.shape[0]) - 1
    return _grouped_wgrad(dy, x, offsets, accumulate, experts)


@operation
def _grouped_wgrad(dy: Any, x: Any, offsets: Any, accumulate: Any, experts: int | None) -> Any:
    dy, x = _operands("grouped_wgrad", dy, x, 2)
    join(dy.shape[0], x.shape[0], "grouped_wgrad: rows of dy and x")
    offsets = index_vector(offsets, "grouped_wgrad: offsets")
    if experts is None and accumulate is not None:
        experts = fixed(specialize(accumulate.shape[0]))
    if experts is None:
        known = fixed(specialize(offsets.shape[0]))
        if known is None:
            raise CompileError("grouped_wgrad: give experts=E, the number of groups")
        experts = known - 1
    if experts < 1:
        raise CompileError(f"grouped_wgrad: expected at least one expert, but got {experts}")
    join(offsets.shape[0], experts + 1, "grouped_wgrad: offsets for the experts")
    shape = (experts, dy.shape[1], x.shape[1])
    if any(fixed(s) is None for s in shape):
        raise CompileError(f"grouped_wgrad: expected static N and K, but got {show(dy.shape)} and {show(x.shape)}")
    extra = _accumulate("grouped_wgrad", accumulate, shape)
    result = TensorType(shape, dtypes.float32)
    ssa = dy.builder.op(
        f"mx.grouped_wgrad {dy.ssa}, {x.ssa} offsets {offsets.ssa}", *extra, " : ", dy.type, ", ", x.type, ", ", offsets.type,
        " -> ", result,
    )  # fmt: skip
    return Traced(dy.builder, ssa, result)
