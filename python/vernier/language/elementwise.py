"""Elementwise operations and the broadcasting between matrices, row and column vectors and scalars.

Arithmetic computes in float32 whatever the inputs are, and gives float32: a chain of operations on bfloat16 rounds
once, where the program casts or quantises. int32 stays int32 among itself; other integers are cast first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import dtypes
from ..dtypes import DType
from ..errors import CompileError
from .builder import Builder, TensorType
from .eager import operation
from .sizes import Size, join, show
from .values import Traced, TracedScaled


def builder_of(values: Any) -> Builder:
    for value in values:
        if isinstance(value, (Traced, TracedScaled)):
            return value.builder
    raise CompileError("expected at least one array")


def lift(builder: Builder, value: Any, like: DType | None = None) -> Traced:
    """A traced value from one or from a Python number."""
    if isinstance(value, Traced):
        return value
    if isinstance(value, TracedScaled):
        raise CompileError("arithmetic needs numbers; dequantize a scaled tensor first")
    if isinstance(value, np.generic):  # a NumPy scalar in the function's text is a constant
        value = value.item()
    if isinstance(value, (bool, int, float)):
        if isinstance(value, bool):
            dtype = dtypes.bool_
        elif isinstance(value, int) and like is dtypes.int32:
            if not -(2**31) <= value < 2**31:
                raise CompileError(f"expected an int32 constant, but got {value}")
            dtype = dtypes.int32
        else:
            dtype = dtypes.float32
        return Traced(builder, builder.constant(value, dtype), TensorType((), dtype))
    raise CompileError(f"expected an array or a number, but got {type(value).__name__}")


def _select(c: Traced, x: Traced, y: Traced) -> Traced:
    return Traced(c.builder, c.builder.op(f"arith.select {c.ssa}, {x.ssa}, {y.ssa} : ", c.type, ", ", x.type), x.type, x.layout)


def _full(x: Traced, value: int, dtype: DType) -> Traced:
    """A number in the shape of x."""
    number = Traced(x.builder, x.builder.constant(value, dtype), TensorType((), dtype))
    return align([x, number], "constant")[1]


def _to_integer(x: Traced, dtype: DType) -> Traced:
    """Towards zero; what is beyond the integers is the nearest of them, and NaN is 0."""
    bits = {dtypes.uint8: 8, dtypes.int32: 31, dtypes.int64: 63}[dtype]
    least = 0 if dtype is dtypes.uint8 else -(2**bits)
    result = TensorType(x.type.shape, dtype)
    op = "arith.fptoui" if dtype is dtypes.uint8 else "arith.fptosi"
    whole = Traced(x.builder, x.builder.op(f"{op} {x.ssa} : ", x.type, " to ", result), result, x.layout)
    below = _full(x, 0, dtype)  # of NaN
    if least:
        below = _select(compare("oeq", "eq", x, x), _full(x, least, dtype), below)
    inside = _select(compare("oge", "sge", x, float(least)), whole, below)
    return _select(compare("oge", "sge", x, 2.0**bits), _full(x, 2**bits - 1, dtype), inside)


def convert(x: Traced, dtype: DType) -> Traced:
    """Changes the element type, as `cast` says."""
    source, target = x.dtype, dtype
    if source is target:
        return x
    if source.is_float and target.is_float:
        if source is not dtypes.float32 and target is not dtypes.float32:
            return convert(convert(x, dtypes.float32), target)
        op = "arith.truncf" if target is not dtypes.float32 else "arith.extf"
    elif target.is_float:
        if target is not dtypes.float32:
            return convert(convert(x, dtypes.float32), target)
        op = "arith.uitofp" if source in (dtypes.bool_, dtypes.uint8) else "arith.sitofp"
    elif source.is_float:
        if target is dtypes.bool_:
            return compare("une", "ne", x, 0.0)
        return _to_integer(convert(x, dtypes.float32), target)
    else:
        bits = {dtypes.bool_: 1, dtypes.uint8: 8, dtypes.int32: 32, dtypes.int64: 64}
        if target is dtypes.bool_:
            result = TensorType(x.type.shape, target)
            return Traced(
                x.builder, x.builder.op(f"arith.cmpi ne, {x.ssa}, {_full(x, 0, source).ssa} : ", x.type), result, x.layout
            )
        narrower = bits[target] < bits[source]
        op = "arith.trunci" if narrower else "arith.extui" if source in (dtypes.bool_, dtypes.uint8) else "arith.extsi"
    result = TensorType(x.type.shape, target)
    return Traced(x.builder, x.builder.op(f"{op} {x.ssa} : ", x.type, " to ", result), result, x.layout)


def to_float(x: Traced) -> Traced:
    return convert(x, dtypes.float32)


def broadcast_to(x: Traced, like: Traced, dims: list[int]) -> Traced:
    """Repeats a scalar or vector over the shape of `like`, or, for a vector `like`, along its one dimension as well."""
    if like.type.shape and len(like.type.shape) == 1 and x.type.shape:
        shape: tuple[Size, ...] = (
            (x.type.shape[0], like.type.shape[0]) if dims == [0] else (like.type.shape[0], x.type.shape[0])
        )
    else:
        shape = like.type.shape
    result = TensorType(shape, x.dtype)
    ssa = x.builder.op(f"mx.broadcast {x.ssa} dims {dims} like {like.ssa} : ", x.type, ", ", like.type, " -> ", result)
    return Traced(x.builder, ssa, result)


def materialize(x: Traced) -> Traced:
    """A [M, 1] or [1, N] vector as a matrix in memory."""
    if x.layout == "full":
        return x
    one = TensorType((1,), dtypes.float32)
    like = Traced(x.builder, x.builder.op("arith.constant dense<0.0> : ", one), one)
    return broadcast_to(Traced(x.builder, x.ssa, x.type), like, [0] if x.layout == "rows" else [1])


def align(values: list[Traced], what: str) -> list[Traced]:
    """Brings values to one shape: scalars and vectors repeat along matrices by NumPy's rules, matrices must agree."""
    rank = max(v.ndim for v in values)
    if rank > 2 and any(v.ndim not in (0, rank) for v in values):
        raise CompileError(f"{what}: expected operands of rank 2 at most, but got {', '.join(show(v.shape) for v in values)}")
    if rank == 2:
        # A vector [N] beside a matrix runs along its columns.
        values = [Traced(v.builder, v.ssa, v.type, "cols") if v.ndim == 1 else v for v in values]
        layouts = {v.layout for v in values if v.ndim == 2}
        rows: Size | None = None
        cols: Size | None = None
        try:
            for v in values:
                if v.ndim == 2 and v.layout != "cols":
                    rows = v.shape[0] if rows is None else join(rows, v.shape[0], what)
                if v.ndim == 2 and v.layout != "rows":
                    cols = v.shape[1] if cols is None else join(cols, v.shape[1], what)
        except CompileError:
            raise CompileError(f"{what}: shapes {' and '.join(show(v.shape) for v in values)} differ") from None
        if layouts == {"rows", "cols"}:
            column = next(v for v in values if v.layout == "rows")
            row = next(v for v in values if v.layout == "cols" and v.ndim == 2)
            like = broadcast_to(column, row, [0])
        elif len(layouts) == 1 and layouts != {"full"}:
            like = next(v for v in values if v.ndim == 2)
        else:
            like = next(v for v in values if v.ndim == 2 and v.layout == "full")
        full = like.layout == "full"
        aligned = []
        for v in values:
            if v.ndim == 0:
                v = broadcast_to(v, like, [])
                v.layout = like.layout
            elif full and v.layout != "full":
                v = broadcast_to(v, like, [0] if v.layout == "rows" else [1])
            aligned.append(v)
        return aligned
    first = next((v for v in values if v.ndim == rank), values[0])
    for v in values:
        if v.ndim == rank:
            for a, b in zip(first.shape, v.shape, strict=True):
                try:
                    join(a, b, what)
                except CompileError:
                    raise CompileError(f"{what}: shapes {show(first.shape)} and {show(v.shape)} differ") from None
    return [v if v.ndim == rank else broadcast_to(v, first, []) for v in values]


def emit(op: str, operands: list[Traced], dtype: DType | None = None) -> Traced:
    """An upstream operation whose result has the shape (and, without `dtype`, the type) of its operands."""
    first = operands[0]
    result = TensorType(first.type.shape, dtype or first.dtype)
    ssa = first.builder.op(f"{op} {', '.join(v.ssa for v in operands)} : ", result)
    return Traced(first.builder, ssa, result, first.layout)


def unary(op: str, x: Any) -> Traced:
    return emit(op, [to_float(lift(builder_of([x]), x))])


def numbers(what: str, *values: Any) -> list[Traced]:
    """Operands aligned and of one type: int32 when all are, else float32."""
    builder = builder_of(values)
    arrays = [v for v in values if isinstance(v, Traced)]
    for v in arrays:
        if v.dtype in (dtypes.int64, dtypes.uint8):
            raise CompileError(f"{what}: arithmetic on {v.dtype.name} is not defined; cast it to int32 or float32 first")
    integers = all(v.dtype is dtypes.int32 for v in arrays) and all(not isinstance(v, float) for v in values)
    like = dtypes.int32 if integers else None
    lifted = [lift(builder, v, like) for v in values]
    if not integers:
        lifted = [to_float(v) for v in lifted]
    return align(lifted, what)


def binary(name: str, float_op: str, int_op: str | None) -> Callable[[Any, Any], Traced]:
    def call(a: Any, b: Any) -> Traced:
        x, y = numbers(name, a, b)
        if x.dtype is dtypes.int32:
            if int_op is None:
                x, y = to_float(x), to_float(y)
            else:
                return emit(int_op, [x, y])
        return emit(float_op, [x, y])

    return call


def compare(float_predicate: str, int_predicate: str, a: Any, b: Any) -> Traced:
    x, y = numbers("comparison", a, b)
    op = f"arith.cmpi {int_predicate}," if x.dtype is dtypes.int32 else f"arith.cmpf {float_predicate},"
    result = TensorType(x.type.shape, dtypes.bool_)
    return Traced(x.builder, x.builder.op(f"{op} {x.ssa}, {y.ssa} : ", x.type), result, x.layout)


def logical(op: str, a: Any, b: Any) -> Traced:
    builder = builder_of([a, b])
    x, y = align([lift(builder, a), lift(builder, b)], "logical operation")
    if x.dtype is not dtypes.bool_ or y.dtype is not dtypes.bool_:
        raise CompileError(f"expected bool operands, but got {x.dtype.name} and {y.dtype.name}")
    return emit(op, [x, y])


add = operation(binary("add", "arith.addf", "arith.addi"))
subtract = operation(binary("subtract", "arith.subf", "arith.subi"))
multiply = operation(binary("multiply", "arith.mulf", "arith.muli"))
divide = operation(binary("divide", "arith.divf", None))
_maximum = binary("maximum", "arith.maximumf", "arith.maxsi")
_minimum = binary("minimum", "arith.minimumf", "arith.minsi")


@operation
def maximum(a: Any, b: Any) -> Any:
    """The larger of two, elementwise; NaN where either is; 0 is larger than -0."""
    return _maximum(a, b)


@operation
def minimum(a: Any, b: Any) -> Any:
    """The smaller of two, elementwise; NaN where either is; -0 is smaller than 0."""
    return _minimum(a, b)


@operation
def exp(x: Any) -> Any:
    """e**x in float32, within 2 ulp."""
    return unary("math.exp", x)


@operation
def log(x: Any) -> Any:
    """Natural logarithm in float32, within 2 ulp."""
    return unary("math.log", x)


@operation
def sqrt(x: Any) -> Any:
    """Square root in float32, correctly rounded."""
    return unary("math.sqrt", x)


@operation
def rsqrt(x: Any) -> Any:
    """1 / sqrt(x) in float32, within 2 ulp."""
    return 1.0 / unary("math.sqrt", x)  # type: ignore[operator, no-any-return]


@operation
def tanh(x: Any) -> Any:
    """Hyperbolic tangent in float32, within 2 ulp."""
    return unary("math.tanh", x)


@operation
def abs(x: Any) -> Any:
    """Magnitude."""
    x = lift(builder_of([x]), x)
    return emit("math.absi", [x]) if x.dtype is dtypes.int32 else unary("math.absf", x)


@operation
def negative(x: Any) -> Any:
    """-x."""
    x = lift(builder_of([x]), x)
    return _subtract_int(x) if x.dtype is dtypes.int32 else unary("arith.negf", x)


def _subtract_int(x: Traced) -> Traced:
    return subtract(0, x)  # type: ignore[no-any-return]


@operation
def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)) in float32, within 2 ulp."""
    return unary("mx.sigmoid", x)


@operation
def silu(x: Any) -> Any:
    """x * sigmoid(x) in float32."""
    return multiply(x, sigmoid(x))


@operation
def gelu(x: Any) -> Any:
    """x * Phi(x), with Phi the normal distribution: 0.5 * x * erfc(-x / sqrt(2)), in float32."""
    x = to_float(lift(builder_of([x]), x))
    return multiply(multiply(x, 0.5), unary("math.erfc", multiply(x, -math.sqrt(0.5))))


@operation
def relu(x: Any) -> Any:
    """max(x, 0)."""
    return maximum(x, 0.0)


@operation
def power(x: Any, exponent: Any) -> Any:
    """x ** exponent in float32; small whole exponents are products."""
    if isinstance(exponent, int) and 1 <= exponent <= 4:
        result = x
        for _ in range(exponent - 1):
            result = multiply(result, x)
        return result
    if isinstance(exponent, float) and exponent == 0.5:
        return sqrt(x)
    a, b = numbers("power", x, exponent)
    return emit("math.powf", [to_float(a), to_float(b)])


@operation
def where(condition: Any, a: Any, b: Any) -> Any:
    """a where the condition holds, else b; whole Python numbers beside int32 are int32. Raises CompileError unless the condition is
    bool."""
    builder = builder_of([condition, a, b])
    c = lift(builder, condition)
    if c.dtype is not dtypes.bool_:
        raise CompileError(f"expected a bool condition, but got {c.dtype.name}")
    like = next((v.dtype for v in (a, b) if isinstance(v, Traced)), None)
    x, y = lift(builder, a, like), lift(builder, b, like)
    if x.dtype is not y.dtype:
        x, y = to_float(x), to_float(y)
    c, x, y = align([c, x, y], "where")
    return _select(c, x, y)


@operation
def cast(x: Any, dtype: Any) -> Any:
    """Changes the element type: nearest-even towards narrower floats; towards zero from floats to integers, where what is beyond
    them becomes the nearest of them, and NaN 0."""
    return convert(lift(builder_of([x]), x), dtypes.as_dtype(dtype))


def _operator(function: Callable[..., Any], swapped: bool = False) -> Callable[..., Any]:
    return (lambda self, other: function(other, self)) if swapped else (lambda self, other: function(self, other))


def _install() -> None:
    for name, function in {"add": add, "sub": subtract, "mul": multiply, "truediv": divide}.items():
        setattr(Traced, f"__{name}__", _operator(function))
        setattr(Traced, f"__r{name}__", _operator(function, swapped=True))
    for name, (floats, integers) in {
        "lt": ("olt", "slt"), "le": ("ole", "sle"), "gt": ("ogt", "sgt"),
        "ge": ("oge", "sge"), "eq": ("oeq", "eq"), "ne": ("une", "ne"),
    }.items():  # fmt: skip
        setattr(Traced, f"__{name}__", lambda a, b, f=floats, i=integers: compare(f, i, a, b))
    for name, op in {"and": "arith.andi", "or": "arith.ori", "xor": "arith.xori"}.items():
        setattr(Traced, f"__{name}__", lambda a, b, o=op: logical(o, a, b))
        setattr(Traced, f"__r{name}__", lambda a, b, o=op: logical(o, b, a))
    methods: dict[str, Any] = {
        "__neg__": lambda self: negative(self),
        "__abs__": lambda self: abs(self),
        "__pow__": lambda self, e: power(self, e),
        "__invert__": lambda self: logical("arith.xori", self, True),
        "__hash__": object.__hash__,
    }
    for name, method in methods.items():
        setattr(Traced, name, method)


_install()

__all__ = [
    "abs", "add", "cast", "divide", "exp", "gelu", "log", "maximum", "minimum", "multiply", "negative", "power",
    "relu", "rsqrt", "sigmoid", "silu", "sqrt", "subtract", "tanh", "where",
]  # fmt: skip
