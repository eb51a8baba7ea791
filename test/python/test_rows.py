"""Gathers of rows and their errors."""

import ml_dtypes
import numpy as np
import pytest
import vernier as vn
from helpers import assert_same, draw, random_scaled, to_reference
from vernier import reference as ref

INDICES = {
    "some": np.array([3, -1, 0, 9, 9, -1, 5], np.int32),
    "none": np.array([], np.int32),
    "all missing": np.full(5, -1, np.int32),
    "many": np.random.default_rng(0).integers(-1, 10, 500).astype(np.int32),
}


@pytest.mark.parametrize("pad_to", (1, 4, 128))
@pytest.mark.parametrize("name", INDICES)
def test_permute(name, pad_to):
    index = INDICES[name]
    x = draw("normal", (10, 160), 1)
    np.testing.assert_array_equal(vn.permute(x, index, pad_to), ref.permute(x, index, pad_to))
    half = x.astype(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(
        vn.permute(half, index, pad_to).view(np.uint16), ref.permute(half, index, pad_to).view(np.uint16)
    )
    np.testing.assert_array_equal(vn.permute(x[:, 0].copy(), index, pad_to), ref.permute(x[:, 0], index, pad_to))
    for format in (vn.MXFP4, vn.FP8, vn.MXFP8):
        t = random_scaled(format, (10, 256), 2)
        assert_same(vn.permute(t, index, pad_to), ref.permute(to_reference(t), index, pad_to), f"{format.name}")


@pytest.mark.parametrize("copies", (1, 3))
@pytest.mark.parametrize("weighted", (True, False))
def test_unpermute_adds_copies_in_their_order(weighted, copies):
    rng = np.random.default_rng(1)
    y = draw("normal", (40, 96), 3)
    index = rng.integers(-1, 40, (25, copies)).astype(np.int32)
    weights = rng.random((25, copies)).astype(np.float32) if weighted else None
    np.testing.assert_array_equal(vn.unpermute(y, index, weights), ref.unpermute(y, index, weights))
    half = y.astype(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(vn.unpermute(half, index, weights), ref.unpermute(half, index, weights))


def test_a_gather_of_something_computed_has_zeros_where_rows_are_missing():
    @vn.jit
    def f(x, index):
        return vn.permute(vn.quantize(vn.exp(x), vn.MXFP4), index, 4), vn.permute(vn.exp(x), index)

    x, index = draw("uniform", (10, 64), 4), INDICES["some"]
    packed, plain = f(x, index)
    assert_same(packed, ref.permute(to_reference(vn.quantize(vn.exp(x), vn.MXFP4)), index, 4))
    np.testing.assert_array_equal(plain, ref.permute(vn.exp(x), index))
    assert (plain[1] == 0).all()


@pytest.mark.host  # on a GPU, indices are kept within bounds where they are used
@pytest.mark.parametrize("bad", (-2, 10, 2**31 - 1, -(2**31)))
def test_an_index_out_of_range_is_refused(bad):
    x, index = draw("normal", (10, 32), 1), np.array([0, bad], np.int32)
    with pytest.raises(vn.LaunchError, match=rf"expected rows in \[0, 10\) or -1, but entry 1 is {bad}"):
        vn.permute(x, index)
    with pytest.raises(vn.LaunchError, match="entry 1 is"):
        vn.unpermute(x, index.reshape(1, 2))
