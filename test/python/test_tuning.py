"""Shapes of products' tiles: asked for, and measured."""

import json

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
        ({"cluster": 1, "stages": 2}, "tiles of 256 x 128 x 128, 2 stages, 1"),
        ({"slabs": 1, "cols": 32, "band": 16}, "tiles of 128 x 32 x 128"),
    ],
)
def test_shapes_that_are_asked_for(shape, text):
    assert text in schedule(**shape)


def test_a_band_changes_the_walk_alone():
    codes = {
        band: vn.compile(vn.jit(product_shape={"band": band})(product), *SPECS, target="sm_90a").kernels[0].ptx
        for band in (4, 8)
    }
    plain = vn.compile(product, *SPECS, target="sm_90a").kernels[0].ptx
    assert codes[8] == plain != codes[4]


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"slabs": 3}, "slabs to be a power of two from 1 to 2, but got 3"),
        ({"rows": 3}, 'but got "rows"'),
        ({"stages": 1}, "from 2 to 8"),
    ],
)
def test_shapes_that_are_refused(shape, message):
    with pytest.raises(vn.CompileError, match=message):
        schedule(**shape)
    with pytest.raises(vn.CompileError, match=message):  # on the host, where it changes nothing, too
        vn.jit(product_shape=shape)(product)(*quantised())


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
