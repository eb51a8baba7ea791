"""What becomes of a product's result belongs to the product's kernel, and has the bits that it has apart from it."""

import numpy as np
import pytest
import vernier as vn
from helpers import draw
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from programs import VernierBackend, run
from test_fusion import STEP, assert_equal

EPILOGUES = {
    "silu": lambda y, bias, weight, other: vn.silu(y),
    "bias": lambda y, bias, weight, other: y.astype(vn.float32) + bias,
    "routing weight": lambda y, bias, weight, other: y * weight[:, None],
    "residual": lambda y, bias, weight, other: (y.astype(vn.float32) + other).astype(vn.bfloat16),
    "FP8": lambda y, bias, weight, other: vn.quantize(y, vn.FP8),
    "MXFP4": lambda y, bias, weight, other: vn.quantize(y * 0.5, vn.MXFP4),
    "three results": lambda y, bias, weight, other: (y, vn.quantize(y, vn.FP8), vn.quantize(y * weight[:, None], vn.MXFP8)),
    "re-encoded": lambda y, bias, weight, other: vn.requantize(vn.quantize(y, vn.FP8), vn.MXFP4),
    "stochastic": lambda y, bias, weight, other: vn.quantize(y, vn.MXFP4.replace(rounding="stochastic"), seed=7),
}


def one_kernel(request):
    """Whether it pays or not, where a target's products can hold what becomes of them."""
    return {"kernels": 1 if request.config.getoption("--device") == "cuda" else 0}


def same(actual, expected):
    actual, expected = (v if isinstance(v, (tuple, list)) else (v,) for v in (actual, expected))
    for number, (a, e) in enumerate(zip(actual, expected, strict=True)):
        assert_equal(a, e, f"result {number}")


@pytest.mark.parametrize("name", EPILOGUES)
@pytest.mark.parametrize("dtype", (vn.float32, vn.bfloat16))
@pytest.mark.parametrize(("m", "n", "k"), [(1, 128, 128), (300, 384, 1024)])
def test_epilogue(name, dtype, m, n, k):
    a, b = vn.quantize(draw("outliers", (m, k), 1), vn.FP8), vn.quantize(draw("normal", (n, k), 2), vn.FP8_BLOCK)
    rest = draw("normal", (n,), 3), draw("normal", (m,), 4), draw("normal", (m, n), 5)
    epilogue = EPILOGUES[name]
    product = vn.jit(lambda a, b: vn.matmul(a, b, dtype))
    fused = vn.jit(lambda a, b, *rest: epilogue(vn.matmul(a, b, dtype), *rest))
    same(fused(a, b, *rest), vn.jit(epilogue)(product(a, b), *rest))


@pytest.mark.parametrize("n", (40, 96, 100, 130))
def test_columns_that_fill_no_tile(n):
    a, b = vn.quantize(draw("normal", (200, 256), 1), vn.FP8), vn.quantize(draw("normal", (n, 256), 2), vn.FP8_BLOCK)
    bias = draw("normal", (n,), 3)
    fused = vn.jit(lambda a, b, c: vn.silu(vn.matmul(a, b, vn.float32) + c))
    same(fused(a, b, bias), vn.jit(lambda y, c: vn.silu(y + c))(vn.matmul(a, b, vn.float32), bias))


@pytest.mark.parametrize("offsets", ([0, 100, 100, 260, 300], [10, 20, 30, 31, 290], [0, 0, 0, 0, 0]))
def test_rows_of_no_group_are_what_becomes_of_zero(offsets):
    a = vn.quantize(draw("normal", (300, 256), 1), vn.FP8)
    w = vn.quantize(draw("normal", (4 * 256, 256), 2), vn.FP8_BLOCK)
    w = vn.ScaledTensor(w.payload.reshape(4, 256, 256), w.scales.reshape(4, 2, 2), vn.FP8_BLOCK, (4, 256, 256))
    o, bias = np.array(offsets, np.int32), draw("normal", (256,), 3)

    def epilogue(y, bias):
        return vn.quantize(y.astype(vn.float32) + bias, vn.FP8), y

    fused = vn.jit(lambda a, w, o, c: epilogue(vn.grouped_matmul(a, w, o), c))
    same(fused(a, w, o, bias), vn.jit(epilogue)(vn.grouped_matmul(a, w, o), bias))


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    program=st.lists(STEP, min_size=1, max_size=8),
    rows=st.sampled_from((1, 150, 300)),
    width=st.sampled_from((256, 384, 96)),
)
def test_random_programs_behind_a_product(program, rows, width):
    a, b = vn.quantize(draw("outliers", (rows, 256), 1), vn.FP8), vn.quantize(draw("normal", (width, 256), 2), vn.FP8_BLOCK)
    gain, weight = draw("normal", (width,), 2), draw("normal", (rows,), 3)
    index = np.random.default_rng(4).integers(-1, rows, 37).astype(np.int32)

    def rest(x, gain, weight, index):
        return run(program, VernierBackend(), x, gain, weight, index, width)

    fused = vn.jit(lambda a, b, *others: rest(vn.matmul(a, b, vn.float32), *others))
    same(fused(a, b, gain, weight, index), vn.jit(rest)(vn.matmul(a, b, vn.float32), gain, weight, index))


def swiglu(y):
    gate, up = vn.split(y, 2, axis=1)
    return vn.silu(gate) * up


PANELS = {
    "SwiGLU": lambda y, w, r: swiglu(y),
    "SwiGLU to two formats": lambda y, w, r: [vn.quantize(swiglu(y) * w[:, None], f) for f in (vn.FP8, vn.MXFP4)],
    "gate and up kept": lambda y, w, r: (vn.quantize(y, vn.MXFP4), vn.quantize(swiglu(y), vn.FP8)),
    "the product kept": lambda y, w, r: (y, swiglu(y.astype(vn.float32)) + r),
    "one half": lambda y, w, r: vn.split(y, 2, axis=1)[1] * w[:, None],
    "halves exchanged": lambda y, w, r: vn.concat([h * w[:, None] for h in vn.split(y, 2, axis=1)[::-1]], axis=1),
    "beside halves of an operand": lambda y, w, r: vn.concat(
        [vn.split(y, 2, axis=1)[0] * r, r.astype(vn.bfloat16) * 2], axis=1
    ),
}


@pytest.mark.parametrize("name", PANELS)
@pytest.mark.parametrize(("m", "n", "k"), [(1, 256, 128), (300, 512, 1024), (129, 768, 256)])
def test_parts_of_the_columns_together(name, m, n, k, request):
    a, b = vn.quantize(draw("outliers", (m, k), 1), vn.FP8), vn.quantize(draw("normal", (n, k), 2), vn.FP8_BLOCK)
    rest = draw("normal", (m,), 4), draw("normal", (m, n // 2), 5)
    fused = vn.jit(lambda a, b, *rest: PANELS[name](vn.matmul(a, b), *rest), **one_kernel(request))
    same(fused(a, b, *rest), vn.jit(PANELS[name])(vn.matmul(a, b), *rest))


@pytest.mark.parametrize("offsets", ([0, 100, 100, 260, 300], [10, 20, 30, 31, 290]))
@pytest.mark.parametrize("kept", (vn.FP8, vn.MXFP4))
def test_swiglu_backward_beside_a_grouped_product(offsets, kept, request):
    dy, gu = vn.quantize(draw("normal", (300, 256), 1), vn.FP8), vn.quantize(draw("normal", (300, 512), 2), kept)
    w = vn.quantize(draw("normal", (4 * 256, 256), 3), vn.FP8_BLOCK)
    w = vn.ScaledTensor(w.payload.reshape(4, 256, 256), w.scales.reshape(4, 2, 2), vn.FP8_BLOCK, (4, 256, 256))
    o, p = np.array(offsets, np.int32), draw("normal", (300,), 4)

    def backward(dh, gu, p):
        gate, up = vn.split(vn.dequantize(gu, vn.float32), 2, axis=1)
        s, d = vn.sigmoid(gate), dh.astype(vn.float32) * p[:, None]
        return vn.quantize(vn.concat([d * up * s * (1 + gate * (1 - s)), d * gate * s], axis=1), vn.FP8)

    fused = vn.jit(lambda dy, w, o, gu, p: backward(vn.grouped_matmul(dy, w, o), gu, p), **one_kernel(request))
    same(fused(dy, w, o, gu, p), vn.jit(backward)(vn.grouped_matmul(dy, w, o), gu, p))


@pytest.mark.parametrize("n", (192, 200))
def test_parts_that_fill_no_tile(n, request):
    a, b = draw("normal", (200, 64), 1).astype(np.float16), draw("normal", (n, 64), 2).astype(np.float16)
    fused = vn.jit(lambda a, b: swiglu(vn.matmul(a, b, vn.float16)), **one_kernel(request))
    same(fused(a, b), vn.jit(swiglu)(vn.matmul(a, b, vn.float16)))


@pytest.mark.host
@pytest.mark.parametrize("name", PANELS)
def test_parts_in_one_kernel(name):
    specs = (vn.ScaledSpec((None, 7168), vn.FP8), vn.ScaledSpec((4096, 7168), vn.FP8_BLOCK), vn.ArraySpec((None,), vn.float32),
             vn.ArraySpec((None, 2048), vn.float32))  # fmt: skip
    function = vn.jit(lambda a, b, *rest: PANELS[name](vn.matmul(a, b), *rest), kernels=1)
    assert len(vn.compile(function, *specs, target="sm_90a").kernels) == 1


@pytest.mark.host
@pytest.mark.parametrize("name", EPILOGUES)
def test_one_kernel(name):
    specs = (vn.ScaledSpec((None, 7168), vn.FP8), vn.ScaledSpec((8192, 7168), vn.FP8_BLOCK), vn.ArraySpec((8192,), vn.float32),
             vn.ArraySpec((None,), vn.float32), vn.ArraySpec((None, 8192), vn.float32))  # fmt: skip
    compiled = vn.compile(lambda a, b, *rest: EPILOGUES[name](vn.matmul(a, b), *rest), *specs, target="sm_90a")
    assert len(compiled.kernels) == 1


@pytest.mark.host
def test_what_would_hold_a_product_up_stays_apart():
    specs = vn.ScaledSpec((None, 256), vn.FP8), vn.ScaledSpec((8192, 256), vn.FP8_BLOCK)
    compiled = vn.compile(lambda a, b: vn.quantize(vn.tanh(vn.sigmoid(vn.matmul(a, b))), vn.FP8), *specs, target="sm_90a")
    assert len(compiled.kernels) == 2
    assert "holding up a product" in compiled.kernels[1].reasons[0]
    alone = vn.compile(lambda a, b: vn.quantize(vn.matmul(a, b), vn.FP8), *specs, target="sm_90a")
    assert len(alone.kernels) == 1 and alone.kernels[0].spill_bytes == 0


@pytest.mark.host
def test_what_one_tile_is_not_enough_for_stays_apart():
    a, b = vn.ScaledSpec((None, 256), vn.FP8), vn.ScaledSpec((512, 256), vn.FP8_BLOCK)
    w, o = vn.ScaledSpec((4, 512, 256), vn.FP8_BLOCK), vn.ArraySpec((5,), vn.int32)
    blocks = vn.ScaledSpec((None, 512), vn.FP8_BLOCK)

    def reasons(function, *specs):
        kernels = vn.compile(function, *specs, target="sm_90a").kernels
        assert len(kernels) == 2
        return kernels[1].reasons[0]

    assert "span rows" in reasons(lambda a, b: vn.quantize(vn.matmul(a, b), vn.FP8_BLOCK), a, b)
    assert "begin inside blocks" in reasons(
        lambda a, w, o, r: vn.grouped_matmul(a, w, o, vn.float32) + vn.dequantize(r, vn.float32), a, w, o, blocks
    )
    parts = vn.ArraySpec((None, 128), vn.float32), vn.ArraySpec((None, 384), vn.float32)
    assert "more than 2 parts" in reasons(
        lambda a, b, r, s: vn.matmul(a, b, vn.float32) + vn.concat([r, s], axis=1), a, b, *parts
    )
    blocks_of_columns = vn.ScaledSpec((512, 256), vn.FP8)
    assert "no room" in reasons(lambda a, b: swiglu(vn.matmul(a, b)), a, blocks_of_columns)
    assert "inside blocks" in reasons(lambda a, b: swiglu(vn.matmul(a, b)), a, vn.ScaledSpec((192, 256), vn.FP8_BLOCK))
    assert "more of a product" in reasons(lambda a, b: vn.matmul(a, b, vn.float32).max(axis=1), a, b)


@pytest.mark.host
def test_blocks_that_are_read_beside_few_columns():
    specs = vn.ScaledSpec((None, 256), vn.FP8), vn.ScaledSpec((64, 256), vn.FP8_BLOCK), vn.ScaledSpec((None, 64), vn.FP8)
    vn.compile(lambda a, b, r: vn.matmul(a, b, vn.float32) + vn.dequantize(r, vn.float32), *specs, target="sm_90a")
