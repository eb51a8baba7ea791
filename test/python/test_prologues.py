"""What makes a product's left operand, in the product's kernel: the bits of kernels apart, and no spills."""

import numpy as np
import pytest
import vernier as vn
from helpers import draw
from hypothesis import given, settings
from hypothesis import strategies as st

N, K = 256, 512


def weights(format, seed=1, n=N, k=K):
    return vn.quantize(draw("normal", (n, k), seed), format)


PROLOGUES = {
    "MXFP4": (lambda x: x, vn.MXFP4),
    "gathered FP8": (vn.permute, vn.FP8),
    "gathered MXFP4": (vn.permute, vn.MXFP4),
    "quantised": (lambda x: vn.quantize(x, vn.FP8), None),
    "gathered and quantised": (lambda x, index: vn.quantize(vn.permute(x, index), vn.FP8), None),
    "weighted, activated, quantised": (lambda x, w: vn.quantize(vn.relu(vn.cast(x, vn.float32) * w[:, None]), vn.FP8), None),
    "decoded and encoded": (lambda x: vn.quantize(vn.dequantize(x, vn.float32) * 3.0, vn.FP8), vn.MXFP4),
}
EPILOGUES = {
    "alone": lambda y: y,
    "BF16": lambda y: vn.cast(y, vn.bfloat16),
    "quantised": lambda y: vn.quantize(y, vn.MXFP4),
    "twice": lambda y: (vn.quantize(y, vn.FP8), vn.cast(y, vn.bfloat16)),
}


def operands(name, rows, seed=0):
    """Of the prologue, but for the weights."""
    format = PROLOGUES[name][1]
    x = draw("normal", (rows, K), seed)
    values = [x.astype(vn.bfloat16.numpy) if format is None else vn.quantize(x, format)]
    generator = np.random.default_rng(seed)
    if "gathered" in name:
        values.append(generator.integers(-1, rows, rows + 3).astype(np.int32))
    if "weighted" in name:
        values.append(generator.standard_normal(rows).astype(np.float32))
    return values


def specs(name):
    format = PROLOGUES[name][1]
    values = [vn.ArraySpec((None, K), vn.bfloat16) if format is None else vn.ScaledSpec((None, K), format)]
    values += [vn.ArraySpec((None,), vn.int32)] * ("gathered" in name) + [vn.ArraySpec((None,), vn.float32)] * (
        "weighted" in name
    )
    return values


def function(prologue, epilogue="alone", dtype=vn.float32):
    make, finish = PROLOGUES[prologue][0], EPILOGUES[epilogue]
    return lambda w, *values: finish(vn.matmul(make(*values), w, dtype))


def same(a, b):
    for x, y in zip(a if isinstance(a, tuple) else (a,), b if isinstance(b, tuple) else (b,)):
        parts = [(x.payload, y.payload), (x.scales, y.scales)] if isinstance(x, vn.ScaledTensor) else [(x, y)]
        for left, right in parts:
            np.testing.assert_array_equal(np.asarray(left), np.asarray(right))


@pytest.mark.device
@pytest.mark.parametrize("rows", (1, 17, 130, 300))
@pytest.mark.parametrize("prologue", PROLOGUES)
def test_one_kernel_gives_the_bits_of_several(prologue, rows):
    values = operands(prologue, rows)
    for format in (vn.FP8_BLOCK, vn.FP8):
        w, f = weights(format), function(prologue)
        same(vn.jit(kernels=1)(f)(w, *values), vn.jit(fuse=False)(f)(w, *values))


@pytest.mark.device
@pytest.mark.parametrize("epilogue", EPILOGUES)
@pytest.mark.parametrize("prologue", ("MXFP4", "gathered and quantised"))
def test_with_what_becomes_of_the_product(prologue, epilogue):
    values, w, f = operands(prologue, 150), weights(vn.FP8_BLOCK), function(prologue, epilogue, vn.bfloat16)
    same(vn.jit(kernels=1)(f)(w, *values), vn.jit(fuse=False)(f)(w, *values))


@pytest.mark.device
def test_groups_of_rows():
    parts = [weights(vn.FP8_BLOCK, seed) for seed in (1, 2, 3)]
    w = vn.ScaledTensor(
        *(np.stack([getattr(p, name) for p in parts]) for name in ("payload", "scales")), vn.FP8_BLOCK, (3, N, K)
    )
    offsets = np.array([0, 40, 40, 170], np.int32)
    for prologue in ("MXFP4", "gathered MXFP4", "quantised"):
        make = PROLOGUES[prologue][0]

        def f(w, offsets, *values, make=make):
            return vn.grouped_matmul(make(*values), w, offsets, vn.float32)

        values = operands(prologue, 170)
        same(vn.jit(kernels=1)(f)(w, offsets, *values), vn.jit(fuse=False)(f)(w, offsets, *values))


@pytest.mark.device
def test_other_elements():
    """MXFP8 times MXFP8, and BF16 without scales."""
    x = draw("normal", (77, K), 5).astype(vn.bfloat16.numpy)
    w8, w16 = weights(vn.MXFP8), draw("normal", (72, K), 6).astype(vn.bfloat16.numpy)
    for f, w in (
        (lambda x, w: vn.matmul(vn.quantize(x, vn.MXFP8), w, vn.float32), w8),
        (lambda x, w: vn.matmul(vn.cast(vn.relu(x) * 2.0, vn.bfloat16), w, vn.float32), w16),
    ):
        same(vn.jit(kernels=1)(f)(x, w), vn.jit(fuse=False)(f)(x, w))


@pytest.mark.device
@settings(max_examples=25, deadline=None)
@given(
    prologue=st.sampled_from(sorted(PROLOGUES)), epilogue=st.sampled_from(sorted(EPILOGUES)), rows=st.integers(0, 400),
    right=st.sampled_from([vn.FP8_BLOCK, vn.FP8]), seed=st.integers(0, 9),
)  # fmt: skip
def test_random_combinations(prologue, epilogue, rows, right, seed):
    if "gathered" in prologue and rows == 0:
        rows = 1  # an index needs rows
    values, w, f = operands(prologue, rows, seed), weights(right, seed), function(prologue, epilogue, vn.bfloat16)
    same(vn.jit(kernels=1)(f)(w, *values), vn.jit(fuse=False)(f)(w, *values))


@pytest.mark.parametrize("epilogue", EPILOGUES)
@pytest.mark.parametrize("prologue", PROLOGUES)
def test_nothing_spills(prologue, epilogue):
    for dtype in (vn.bfloat16, vn.float32):
        compiled = vn.compile(
            vn.jit(kernels=1)(function(prologue, epilogue, dtype)), vn.ScaledSpec((N, K), vn.FP8_BLOCK), *specs(prologue),
            target="sm_90a",
        )  # fmt: skip
        (kernel,) = compiled.kernels
        assert kernel.spill_bytes == 0 and not kernel.warnings and "the left ones made by threads" in kernel.schedule


@pytest.mark.parametrize(
    ("f", "values", "reason"),
    [
        (lambda x, w: (lambda q: (vn.matmul(q, w), q))(vn.quantize(x, vn.FP8)), (vn.ArraySpec((99, K), vn.bfloat16),),
         "a result beside that of a product has nothing of it"),
        (lambda x, w: vn.matmul(vn.quantize(x / x.max(axis=1, keepdims=True), vn.FP8), w), (vn.ArraySpec((99, K), vn.float32),),
         "mx.reduce beside a matrix product"),
        (lambda x, w: (lambda y: vn.silu(y[:, :128]) * y[:, 128:])(vn.matmul(x, w)), (vn.ScaledSpec((99, K), vn.MXFP4),),
         "two parts of a product's columns and threads that make its left operand find no room"),
    ],
)  # fmt: skip
def test_what_stays_apart_says_why(f, values, reason):
    w = vn.ScaledSpec((N, K), vn.FP8_BLOCK)
    with pytest.raises(vn.CompileError, match="at most 1 were allowed") as error:
        vn.compile(vn.jit(kernels=1)(f), *(vn.ScaledSpec((None, K), v.format) if isinstance(v, vn.ScaledSpec)
                   else vn.ArraySpec((None, K), v.dtype) for v in values), w, target="sm_90a")  # fmt: skip
    assert reason in str(error.value)


def test_many_columns_are_not_worth_it():
    """Every tile of the result's columns makes the operand anew."""
    many = vn.jit(vn.matmul).kernels(
        vn.ScaledSpec((4096, 7168), vn.MXFP4), vn.ScaledSpec((4096, 7168), vn.FP8_BLOCK), target="sm_90a"
    )[1]
    assert len(many) == 2 and "holding up a product would cost more" in many[1]["reasons"][0]
    grouped = vn.jit(vn.grouped_matmul).kernels(
        vn.ScaledSpec((32768, 7168), vn.MXFP4), vn.ScaledSpec((8, 4096, 7168), vn.FP8_BLOCK), vn.ArraySpec((9,), vn.int32),
        target="sm_90a",
    )[1]  # fmt: skip
    assert len(grouped) == 2
