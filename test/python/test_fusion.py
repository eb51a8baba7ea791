"""Fusion: programs that nobody wrote a pattern for come out in few kernels, with the right bits."""

import re

import numpy as np
import pytest
import vernier as vn
from helpers import draw, to_reference
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from programs import NumpyBackend, VernierBackend, run
from vernier import reference as ref

STEP = st.tuples(st.integers(0, 11), st.integers(0, 7), st.integers(0, 7), st.integers(0, 7))


def assert_equal(actual, expected, what):
    if isinstance(expected, vn.ScaledTensor):
        a, e = to_reference(actual), to_reference(expected)
        np.testing.assert_array_equal(a.scales, e.scales, err_msg=f"{what}: scales")
        np.testing.assert_array_equal(a.codes, e.codes, err_msg=f"{what}: codes")
    else:
        np.testing.assert_array_equal(actual, expected, err_msg=what)


@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    program=st.lists(STEP, min_size=1, max_size=14),
    rows=st.sampled_from((1, 2, 5, 128, 150)),
    width=st.sampled_from((256, 384, 96)),
)
def test_random_programs_agree_with_the_reference(program, rows, width):
    x, gain = draw("outliers", (rows, width), 1), draw("normal", (width,), 2)
    weight = draw("normal", (rows,), 3)
    index = np.random.default_rng(4).integers(-1, rows, 37).astype(np.int32)

    @vn.jit
    def compiled(x, gain, weight, index):
        return run(program, VernierBackend(), x, gain, weight, index, width)

    expected = run(program, NumpyBackend(), x, gain, weight, index, width)
    for number, (a, e) in enumerate(zip(compiled(x, gain, weight, index), expected, strict=True)):
        assert_equal(a, e, f"result {number}")


@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(program=st.lists(STEP, min_size=2, max_size=8), rows=st.sampled_from((5, 130)), width=st.sampled_from((256, 96)))
def test_random_programs_fused_and_apart(program, rows, width):
    x, gain, weight = draw("outliers", (rows, width), 1), draw("normal", (width,), 2), draw("normal", (rows,), 3)
    index = np.random.default_rng(4).integers(-1, rows, 37).astype(np.int32)

    def function(x, gain, weight, index):
        return run(program, VernierBackend(), x, gain, weight, index, width)

    fused, apart = (vn.jit(fuse=fuse)(function)(x, gain, weight, index) for fuse in (True, False))
    for number, (a, b) in enumerate(zip(fused, apart, strict=True)):
        same = getattr(a, "payload", a), getattr(b, "payload", b)
        np.testing.assert_array_equal(*map(np.asarray, same), err_msg=f"result {number}")


def test_a_kernel_for_every_operation():
    def function(x, w):
        gate, up = vn.split(x, 2, axis=1)
        h = vn.silu(gate) * up * w[:, None]
        return vn.quantize(h, vn.FP8), vn.quantize(h, vn.MXFP4)

    x, w = draw("normal", (70, 512), 1), draw("normal", (70,), 2)
    fused, apart = vn.jit(function), vn.jit(fuse=False)(function)
    assert kernels(fused, x, w) == 1 and kernels(apart, x, w) == 9
    moved = [float(re.search(r"([\d.]+) ([KM])B moved", f.explain(x, w))[1]) for f in (fused, apart)]
    assert moved[0] > 100 and moved[1] < 10  # kilobytes, megabytes
    for a, b in zip(fused(x, w), apart(x, w)):
        np.testing.assert_array_equal(a.payload, b.payload)
        np.testing.assert_array_equal(a.scales, b.scales)
    specs = vn.ArraySpec((None, 512), vn.float32), vn.ArraySpec((None,), vn.float32)
    assert len(vn.compile(apart, *specs, target="sm_90a").kernels) == 9


def kernels(function, *args):
    return function.explain(*args).count("\nkernel ")


def test_norm_gate_two_formats_and_a_transpose_are_one_kernel():
    @vn.jit(kernels=1)
    def f(x, gain, gate):
        y = x * vn.rsqrt((x**2).mean(axis=1, keepdims=True) + 1e-6) * gain
        y = y * vn.sigmoid(gate[:, None])
        q = vn.quantize(y, vn.FP8)
        return q, vn.quantize(y, vn.MXFP4), vn.transpose(q), vn.quantize(y.T, vn.FP8)

    x, gain, gate = draw("normal", (300, 512), 1), draw("normal", (512,), 2), draw("normal", (300,), 3)
    q, q4, turned, columns = f(x, gain, gate)
    y = (
        x
        / np.sqrt((x.astype(np.float64) ** 2).mean(axis=1, keepdims=True) + 1e-6)
        * gain
        / (1 + np.exp(-gate[:, None].astype(np.float64)))
    )
    for t, bits in ((q, 3), (q4, 1)):
        assert np.linalg.norm(t.dequantize() - y) / np.linalg.norm(y) < 2.0 ** -(bits + 1)
    np.testing.assert_array_equal(to_reference(turned).codes, ref.transpose(to_reference(q)).codes)
    assert np.linalg.norm(columns.dequantize() - y.T) / np.linalg.norm(y) < 2.0**-4
    assert kernels(f, x, gain, gate) == 1


def test_swiglu_backward_is_one_kernel():
    @vn.jit(kernels=1)
    def backward(x, w, g):
        a, b = vn.split(x, 2)
        s = vn.sigmoid(a)
        gw = vn.cast(g, vn.float32) * w[:, None]
        da = gw * s * (1 + a * (1 - s)) * b
        db = gw * a * s
        dw = (a * s * b * g).sum(axis=1)
        d = vn.concat([da, db])
        return vn.quantize(d, vn.FP8), vn.transpose(vn.quantize(d, vn.FP8)), dw

    x, w, g = draw("normal", (200, 512), 1), draw("uniform", (200,), 2), draw("normal", (200, 256), 3)
    q, turned, dw = backward(x, w, g)
    a, b = x[:, :256].astype(np.float64), x[:, 256:].astype(np.float64)
    s = 1 / (1 + np.exp(-a))
    d = np.concatenate([g * w[:, None] * s * (1 + a * (1 - s)) * b, g * w[:, None] * a * s], axis=1)
    assert np.linalg.norm(q.dequantize() - d) / np.linalg.norm(d) < 2.0**-4
    np.testing.assert_array_equal(to_reference(turned).codes, ref.transpose(to_reference(q)).codes)
    np.testing.assert_allclose(dw, (a * s * b * g).sum(axis=1), rtol=1e-4, atol=1e-4)


def test_a_split_that_is_refused_says_why():
    @vn.jit(kernels=1)
    def f(x):
        return vn.quantize(x - x.mean(axis=0, keepdims=True), vn.FP8)

    with pytest.raises(
        vn.CompileError, match=r"(?s)needs 2 kernels, but at most 1 were allowed.*a reduction over all rows must be finished"
    ):
        f(draw("normal", (8, 128), 1))


def test_column_reductions_and_what_follows_them():
    @vn.jit
    def f(x, w):
        centred = x - x.mean(axis=0, keepdims=True)
        return centred.max(axis=0), (centred * w[:, None]).sum(axis=0), vn.quantize(centred, vn.MXFP4), x.sum(), x.min()

    x, w = draw("normal", (77, 100), 1)[:, :96].copy(), draw("normal", (77,), 2)
    high, total, q, everything, least = f(x, w)
    centred = x - x.mean(axis=0, keepdims=True)
    np.testing.assert_allclose(high, centred.max(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(total, (centred * w[:, None]).sum(axis=0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(everything, x.sum(), rtol=1e-4, atol=1e-3)
    assert least == x.min() and everything.shape == ()
    assert np.linalg.norm(q.dequantize() - centred) / np.linalg.norm(centred) < 0.2


@pytest.mark.parametrize("columns", (1, 3, 63, 64, 65, 100, 200))
def test_any_number_of_columns_for_plain_operations(columns):
    @vn.jit
    def f(x, v):
        y = vn.relu(x) * v + 1.0
        return y, y.T, y.sum(axis=1), y.max(axis=0), vn.cast(y > 1.0, vn.float32), y > 1.0

    x, v = draw("normal", (70, columns), 1), draw("normal", (columns,), 2)
    y = np.maximum(x, 0) * v + np.float32(1)
    got = f(x, v)
    for a, e in zip(got, (y, y.T, y.sum(axis=1), y.max(axis=0), (y > 1).astype(np.float32), y > 1), strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-5)
    assert got[5].dtype == np.bool_


def test_slices_that_cut_blocks():
    x = draw("normal", (30, 256), 1)
    for format, start, stop in (
        (vn.MXFP4, 16, 48),
        (vn.MXFP4, 1, 33),
        (vn.FP8, 64, 192),
        (vn.MXFP8, 0, 16),
        (vn.FP8_BLOCK, 100, 256),
    ):
        t = vn.quantize(x, format)
        expected = np.asarray(t.dequantize())[:, start:stop]
        np.testing.assert_array_equal(vn.jit(lambda t, a=start, b=stop: vn.dequantize(t)[:, a:b])(t), expected)
        inside = vn.jit(lambda x, f=format, a=start, b=stop: vn.dequantize(vn.quantize(x, f))[:, a:b])
        np.testing.assert_array_equal(inside(x), expected)
    np.testing.assert_array_equal(vn.jit(lambda x: x * x[:, 3:4])(x), x * x[:, 3:4])


@pytest.mark.host  # has products
def test_different_run_time_columns():
    x, w, v = draw("normal", (127, 256), 1), draw("normal", (40, 256), 2), draw("normal", (90, 256), 3)
    two, three = vn.jit(lambda x, w, v: (vn.matmul(x, w, vn.float32) * 2.0, vn.matmul(x, v, vn.float32) * 3.0))(x, w, v)
    np.testing.assert_allclose(two, x @ w.T * 2, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(three, x @ v.T * 3, rtol=1e-3, atol=1e-3)
    high, other = vn.jit(lambda x, y: (x.T.max(axis=1), y.T.max(axis=1)))(x, draw("normal", (300, 256), 4))
    np.testing.assert_array_equal(high, x.max(axis=0))
    np.testing.assert_array_equal(other, draw("normal", (300, 256), 4).max(axis=0))
    u, a, b = draw("normal", (127,), 1), draw("normal", (300,), 2), draw("normal", (127,), 3)
    left, right = vn.jit(lambda u, a, b: (u[:, None] * a[None, :], u[:, None] * b[None, :]))(u, a, b)
    np.testing.assert_array_equal(left, u[:, None] * a)
    np.testing.assert_array_equal(right, u[:, None] * b)


def test_column_reductions_of_blocks_that_span_rows():
    x = draw("normal", (200, 128), 1)
    for format, axis in ((vn.FP8, 0), (vn.MXFP8, 0), (vn.FP8_BLOCK, -1)):
        got = vn.jit(lambda x, f=format, a=axis: vn.dequantize(vn.quantize(x, f, a)).max(axis=0))(x)
        np.testing.assert_array_equal(got, np.asarray(vn.quantize(x, format, axis).dequantize()).max(axis=0))


def test_integers_and_booleans_that_cancel():
    k, m = np.arange(40, dtype=np.int32).reshape(5, 8), np.eye(5, 8, dtype=bool)
    difference, same, none = vn.jit(lambda a, b, m: ((a - b) - a, a == a, m ^ m))(k, k, m)
    np.testing.assert_array_equal(difference, -k)
    assert same.all() and not none.any()
    assert vn.jit(lambda i: i - i)(np.int32(7)) == 0


def test_scalars_beside_no_rows():
    empty = np.zeros((0, 128), np.float32)
    assert vn.jit(lambda x, s: (x + 1.0, s * 2.0))(empty, np.float32(3))[1] == 6
    assert vn.quantize(empty, vn.NVFP4).tensor_scale == 1


def test_long_functions_compile_quickly():
    import time

    def f(x):
        for i in range(60):
            x = x * 1.01 + float(i)
        return x

    start = time.perf_counter()
    vn.jit(f)(np.ones((3, 128), np.float32))
    assert time.perf_counter() - start < 2


def test_outer_products_vectors_and_scalars():
    @vn.jit
    def f(u, v, s):
        return u[:, None] * v[None, :] * s, u * 2.0 + s, (u * u).sum(), u[:, None] + 0.0

    u, v = draw("normal", (50,), 1), draw("normal", (70,), 2)
    outer, vector, square, column = f(u, v, 1.5)
    np.testing.assert_allclose(outer, u[:, None] * v[None, :] * np.float32(1.5), rtol=1e-6)
    np.testing.assert_allclose(vector, u * 2 + np.float32(1.5), rtol=1e-6)
    np.testing.assert_allclose(square, (u * u).sum(), rtol=1e-5)
    assert column.shape == (50, 1)


def test_transcendental_functions_within_2_ulp():
    x = np.concatenate([draw("normal", (1 << 16,), 1) * 8, np.linspace(-110, 95, 1 << 15), draw("tiny", (1 << 12,), 2)]).astype(
        np.float32
    )
    x = x.reshape(-1, 64)
    wide = x.astype(np.float64)
    with np.errstate(all="ignore"):
        cases = {
            "exp": (x, np.exp(wide)), "tanh": (x, np.tanh(wide)), "sigmoid": (x, 1 / (1 + np.exp(-wide))),
            "log": (np.abs(x), np.log(np.abs(wide))), "rsqrt": (np.abs(x), 1 / np.sqrt(np.abs(wide))), "sqrt": (np.abs(x), np.sqrt(np.abs(wide))),
        }  # fmt: skip
    for name, (argument, exact) in cases.items():
        got = np.asarray(getattr(vn, name)(argument))
        with np.errstate(all="ignore"):
            expected = exact.astype(np.float32)
            ulp = np.spacing(np.maximum(np.abs(expected), np.float32(2.0**-126)))
            error = np.abs(got.astype(np.float64) - exact) / ulp
        error[(got == expected) | (np.isnan(got) & np.isnan(expected))] = 0
        assert error.max() <= 2, f"{name}: {error.max():.2f} ulp at {argument.ravel()[error.argmax()]}"


@pytest.mark.parametrize("width", (129, 130, 133, 255, 385))
def test_parts_side_by_side_keep_to_their_columns(width):
    """Wider than a tile, and no multiple of what a thread stores at once."""
    z = draw("normal", (3, width), 3)
    np.testing.assert_array_equal(np.asarray(vn.jit(lambda z: vn.concat([z, z], axis=1))(z)), np.concatenate([z, z], axis=1))


@pytest.mark.parametrize("format", (vn.MXFP8, vn.MXFP4, vn.FP8, vn.FP8_BLOCK), ids=lambda f: f.name)
def test_quantised_down_columns_behind_a_transpose(format):
    x = draw("normal", (256, 128), 3)

    @vn.jit
    def turned(x):
        y = vn.silu(x.T)
        return vn.quantize(x.T, format, axis=0), vn.quantize(y, format, axis=0), vn.quantize(x.T, format)

    apart = np.ascontiguousarray(x.T)
    for got, expected in zip(turned(x), (vn.quantize(apart, format, axis=0), vn.quantize(vn.silu(apart), format, axis=0),
                                         vn.quantize(apart, format))):  # fmt: skip
        np.testing.assert_array_equal(got.payload, expected.payload)
        np.testing.assert_array_equal(got.scales, expected.scales)
