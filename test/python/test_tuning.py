"""Shapes of products' tiles: asked for, and measured."""

import dataclasses
import json
import re

import numpy as np
import pytest
import vernier as vn
from helpers import draw
from vernier import tuning

SPECS = vn.ScaledSpec((None, 1024), vn.FP8), vn.ScaledSpec((4096, 1024), vn.FP8_BLOCK)


def product(a, b):
    return vn.matmul(a, b)


def schedule(**shape):
    (kernel,) = vn.compile(vn.jit(product_shape=shape)(product), *SPECS, target="sm_90a").kernels
    assert kernel.spill_bytes == 0
    return kernel.schedule


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        ({}, "tiles of 256 x 128 x 128, 3 stages, clusters of 2"),
        ({"slabs": 1}, "tiles of 128 x 128 x 128, 4 stages, clusters of 2"),
        ({"cols": 64}, "tiles of 256 x 64 x 128"),
        ({"cluster": 1, "stages": 2}, "tiles of 256 x 128 x 128, 2 stages"),
        ({"slabs": 1, "cols": 32, "band": 16}, "tiles of 128 x 32 x 128"),
    ],
)
def test_shapes_that_are_asked_for(shape, text):
    found = schedule(**shape)
    assert text in found and ("clusters" in found) == (shape.get("cluster") != 1)


def test_a_band_changes_the_walk_alone():
    codes = {
        band: vn.compile(vn.jit(product_shape={"band": band})(product), *SPECS, target="sm_90a").kernels[0].ptx
        for band in (4, 8)
    }
    usual = vn.compile(vn.jit(product_shape={"slabs": 2})(product), *SPECS, target="sm_90a").kernels[0].ptx
    assert codes[8] == usual != codes[4]


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"slabs": 3}, "slabs to be a power of two from 1 to 2, but got 3"),
        ({"rows": 3}, 'but got "rows"'),
        ({"stages": 1}, "from 2 to 12"),
    ],
)
def test_shapes_that_are_refused(shape, message):
    with pytest.raises(vn.CompileError, match=message):
        schedule(**shape)
    with pytest.raises(vn.CompileError, match=message):  # on the host, where it changes nothing, too
        vn.jit(product_shape=shape)(product)(*quantised())


@pytest.mark.parametrize(
    ("rows", "cols", "text"),
    [
        (1, 2112, "tiles of 64 x 64 "),
        (256, 2112, "tiles of 64 x 64 "),  # 132
        (512, 2112, "tiles of 128 x 64 "),  # 132
        (4096, 2112, "tiles of 256 x 128 "),
        (128, 4096, "tiles of 64 x 64 "),
        (256, 4096, "tiles of 128 x 64 "),
        (512, 4096, "tiles of 128 x 128 "),  # 128, and 64 of 256 x 128
        (1024, 4096, "tiles of 256 x 128 "),
    ],
)
def test_calls_with_few_rows_take_kernels_of_smaller_tiles(rows, cols, text):
    specs = vn.ScaledSpec((rows, 1024), vn.FP8), vn.ScaledSpec((cols, 1024), vn.FP8_BLOCK)
    assert text in vn.jit(product).explain(*specs, target="sm_90a")


def test_what_has_kernels_for_few_tiles():
    def kernels_of(function, *others, product_shape=None):
        jitted = vn.jit(product_shape=product_shape)(function)
        return vn.compile(jitted, *SPECS, *others, target="sm_90a").kernels

    (kernel,) = kernels_of(product)
    assert len(kernel.others) == 3 and kernel.spill_bytes == 0
    (kernel,) = kernels_of(lambda a, b: vn.quantize(product(a, b), vn.FP8))  # sees 128 columns at a time
    assert [re.search("tiles of ([0-9]+ x [0-9]+)", other)[1] for other in kernel.others] == ["128 x 128", "64 x 128"]
    (kernel,) = kernels_of(product, product_shape={"band": 8})
    assert not kernel.others


@pytest.mark.parametrize("multiprocessors", (1, 2, 8, 64))
@pytest.mark.device
def test_all_kernels_of_a_product_have_the_same_bits(multiprocessors, monkeypatch):
    """What an emulated GPU takes hangs on the number of its multiprocessors."""
    monkeypatch.setenv("VERNIER_EMULATOR_MULTIPROCESSORS", str(multiprocessors))

    def few(a, b, bias):
        return vn.matmul(a, b) + bias[None, :]

    bias = draw("normal", (320,), 4)
    for rows in (1, 130, 600):
        a, b = (vn.quantize(draw("normal", (n, 256), n), f) for n, f in ((rows, vn.FP8), (320, vn.FP8)))
        usual = vn.jit(product_shape={"slabs": 2})(few)
        np.testing.assert_array_equal(vn.jit(few)(a, b, bias), usual(a, b, bias))


@pytest.mark.device
def test_rows_beyond_whole_waves_have_a_launch_of_their_own(monkeypatch):
    monkeypatch.setenv("VERNIER_EMULATOR_MULTIPROCESSORS", "4")

    def layer(a, b, bias, scale, residual):
        y = vn.matmul(a, b, vn.float32) * scale[:, None] + bias[None, :] + residual
        return y, vn.quantize(y, vn.MXFP4)

    b, bias = vn.quantize(draw("normal", (128, 4096), 2), vn.FP8_BLOCK), draw("normal", (128,), 3)
    for rows in (1024, 1025, 1088):  # 4 tiles at a time
        a = vn.quantize(draw("normal", (rows, 4096), 1), vn.FP8)
        scale, residual = draw("normal", (rows,), 4), draw("normal", (rows, 128), 5)
        args = a, b, bias, scale, residual
        usual, found = vn.jit(product_shape={"slabs": 2})(layer)(*args), vn.jit(layer)(*args)
        for expected, result in zip(usual, found):
            parts = ("payload", "scales") if isinstance(result, vn.ScaledTensor) else ()
            for x, y in [(getattr(expected, p), getattr(result, p)) for p in parts] or [(expected, result)]:
                np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


def test_what_is_launched_row_part_by_row_part():
    def schedule_of(function, *others, k=7168):
        specs = vn.ScaledSpec((2048, k), vn.FP8), vn.ScaledSpec((2112, k), vn.FP8_BLOCK), *others
        return vn.jit(function).explain(*specs, target="sm_90a")

    rows, matrix = vn.ArraySpec((2048,), vn.float32), vn.ArraySpec((2048, 2112), vn.bfloat16)
    assert "; the last " in schedule_of(product)
    assert "; the last " in schedule_of(lambda a, b, s, x: product(a, b) * s[:, None] + x, rows, matrix)
    noisy = dataclasses.replace(vn.MXFP4, rounding="stochastic")
    assert "; the last " in schedule_of(lambda a, b: vn.quantize(product(a, b), vn.MXFP4))
    assert "; the last " not in schedule_of(lambda a, b: vn.quantize(product(a, b), noisy, seed=1))  # noise hangs on the row
    assert "; the last " not in schedule_of(product, k=256)  # too short


def quantised():
    return vn.quantize(draw("normal", (40, 1024), 1), vn.FP8), vn.quantize(draw("normal", (256, 1024), 2), vn.FP8_BLOCK)


def test_the_fastest_is_kept_and_found_again(monkeypatch, tmp_path):
    monkeypatch.setenv("VERNIER_CACHE_DIR", str(tmp_path))
    asked = []

    def measure(function, args):
        asked.append(function.product_shape)
        return {(): 3.0, (("slabs", 1),): 1.0, (("cols", 64),): 2.0}[tuple(function.product_shape.items())]

    candidates = [{}, {"slabs": 1}, {"cols": 64}]
    a, b = quantised()
    best = vn.autotune(product, a, b, candidates=candidates, measure=measure)
    assert best.product_shape == {"slabs": 1} and asked == candidates
    np.testing.assert_array_equal(best(a, b), vn.jit(product)(a, b))
    assert vn.autotune(product, a, b, candidates=candidates, measure=measure).product_shape == {"slabs": 1} and len(asked) == 3
    (record,) = (tmp_path / "shapes").iterdir()
    assert json.loads(record.read_text()) == {"product_shape": {"slabs": 1}}
    record.write_text("{")  # cut off
    assert vn.autotune(product, a, b, candidates=candidates, measure=measure).product_shape == {"slabs": 1} and len(asked) == 6
    other = vn.quantize(draw("normal", (41, 1024), 1), vn.FP8)
    vn.autotune(product, other, b, candidates=candidates, measure=measure)
    assert len(asked) == 9 and len(list((tmp_path / "shapes").iterdir())) == 2


def test_the_first_is_kept_where_another_is_no_faster(monkeypatch):
    monkeypatch.setenv("VERNIER_CACHE_DIR", "")
    assert vn.autotune(product, *quantised(), measure=lambda function, args: 1.0).product_shape == {}
    with pytest.raises(vn.CompileError, match="at least one candidate"):
        vn.autotune(product, *quantised(), candidates=[], measure=lambda function, args: 1.0)


@pytest.mark.host
def test_the_host_has_nothing_to_tune():
    with pytest.raises(vn.LaunchError, match="no shapes to choose from"):
        vn.autotune(product, *quantised())


@pytest.mark.gpu
def test_measured_on_a_gpu():
    import torch

    a, b = (vn.quantize(torch.randn(n, 1024, device="cuda"), f) for n, f in ((512, vn.FP8), (4096, vn.FP8_BLOCK)))
    best = vn.autotune(product, a, b)
    assert best.product_shape in [dict(c) for c in tuning.CANDIDATES]
    for shape in tuning.CANDIDATES:
        assert torch.equal(vn.jit(product_shape=shape)(product)(a, b), product_of(a, b))


def product_of(a, b):
    return vn.jit(product)(a, b)
