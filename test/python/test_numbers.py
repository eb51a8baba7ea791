"""Numbers at the edges: signs of zeros, NaN, integers, casts. The same on every target."""

import itertools
import operator

import ml_dtypes
import numpy as np
import pytest
import vernier as vn
from helpers import draw
from vernier import reference

EDGES = np.array([0.0, -0.0, np.nan, 1.0, -1.0, np.inf, -np.inf], np.float32)
LEFT, RIGHT = (np.repeat(v[None], 3, axis=0).copy() for v in (np.repeat(EDGES, 7), np.tile(EDGES, 7)))


def assert_same_bits(got, expected):
    """Of all NaNs, none is like another."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(np.signbit(got)[~np.isnan(got)], np.signbit(expected)[~np.isnan(got)])


@pytest.mark.parametrize("swapped", (False, True))
@pytest.mark.parametrize("compare", (operator.lt, operator.le, operator.gt, operator.ge))
def test_where_is_no_minimum(compare, swapped):
    def chosen(a, b, where):
        return where(compare(a, b), b, a) if swapped else where(compare(a, b), a, b)

    assert_same_bits(vn.jit(lambda a, b: chosen(a, b, vn.where))(LEFT, RIGHT), chosen(LEFT, RIGHT, np.where))

    @vn.jit
    def with_constants(a):
        return tuple(chosen(a, c, vn.where) for c in (0.0, -0.0, 1.0))

    for got, c in zip(with_constants(LEFT), (0.0, -0.0, 1.0)):
        assert_same_bits(got, chosen(LEFT, np.float32(c), np.where))


@pytest.mark.parametrize(("function", "wins"), ((vn.maximum, False), (vn.minimum, True)), ids=("maximum", "minimum"))
def test_extremes_of_two_zeros(function, wins):
    zeros = np.array([[0.0, -0.0]], np.float32)
    for a, b in itertools.product((zeros, zeros[:, ::-1].copy()), repeat=2):
        sign = np.signbit(a) | np.signbit(b) if wins else np.signbit(a) & np.signbit(b)
        assert_same_bits(vn.jit(lambda a, b: function(a, b))(a, b), np.where(sign, np.float32(-0.0), np.float32(0.0)))


@pytest.mark.parametrize("axis", (0, 1))
def test_extremes_of_many_zeros(axis):
    zeros = np.random.default_rng(1).choice(np.array([0.0, -0.0], np.float32), (70, 5))
    zeros[:, 0], zeros[0, :] = -0.0, 0.0
    zeros = zeros if axis == 0 else zeros.T.copy()
    negative = np.signbit(zeros)
    most, least = vn.jit(lambda x: (vn.max(x, axis=axis), vn.min(x, axis=axis)))(zeros)
    np.testing.assert_array_equal(np.signbit(most), negative.all(axis))
    np.testing.assert_array_equal(np.signbit(least), negative.any(axis))


def test_codes_of_clamped_zeros():
    x = np.full((1, 32), -0.0, np.float32)
    x[0, 0] = -1
    np.testing.assert_array_equal(
        np.asarray(vn.jit(lambda x: vn.quantize(vn.minimum(x, 0.0), vn.MXFP8))(x).payload)[0, 1:], 128
    )


@pytest.mark.parametrize("dtype", (vn.int32, vn.int64, vn.uint8))
def test_casts_to_integers_saturate(dtype):
    x = np.array(
        [[np.nan, np.inf, -np.inf, 3e9, -3e9, 1e19, -1e19, -0.9, 0.9, 255.9, 256.0, -1.0, 2147483520.0, -2147483648.0]]
    )
    info = np.iinfo(dtype.numpy)
    expected = [
        0 if np.isnan(v) else info.max if v >= info.max else info.min if v <= info.min else int(v)
        for v in x.astype(np.float32)[0].tolist()
    ]
    np.testing.assert_array_equal(vn.jit(lambda x: vn.cast(x, dtype))(x.astype(np.float32)), [expected])


@pytest.mark.parametrize("dtype", (np.uint8, np.int32, np.int64, np.float32))
def test_casts_to_bool(dtype):
    x = np.array([[0, 1, 2, 128, 255]], dtype)
    np.testing.assert_array_equal(np.asarray(vn.jit(lambda x: vn.cast(x, vn.bool_))(x)).astype(bool), x != 0)


def test_integers_keep_their_bits():
    x = np.array([[16777217, -5, 2**31 - 1]], np.int32)
    for f, expected in (
        (lambda x: vn.where(x > 0, x, 0), np.where(x > 0, x, 0)),
        (lambda x: vn.where(x > 0, 7, x), np.where(x > 0, 7, x)),
        (lambda x: vn.maximum(x, 16777216), np.maximum(x, 16777216)),
    ):
        got = np.asarray(vn.jit(f)(x))
        assert got.dtype == np.int32
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("dtype", (np.float32, ml_dtypes.bfloat16))
def test_a_slice_of_one_column_keeps_its_type(dtype):
    x = draw("normal", (5, 8), 1).astype(dtype)
    got = np.asarray(vn.jit(lambda x: x[:, 2:3])(x))
    assert got.dtype == x.dtype
    np.testing.assert_array_equal(got, x[:, 2:3])


def test_unpermute_of_one_copy():
    y = np.array([[-0.0, 1.0], [2.0, np.nan]], np.float32)
    index, weights = np.array([[0], [-1], [1]], np.int32), np.array([[1.0], [np.nan], [-1.0]], np.float32)
    assert_same_bits(vn.jit(lambda y, i, w: vn.unpermute(y, i, w))(y, index, weights), reference.unpermute(y, index, weights))
    assert_same_bits(vn.jit(lambda y, i: vn.unpermute(y, i))(y, index), reference.unpermute(y, index))


@pytest.mark.parametrize(
    "weights", (np.ones(3, np.float32), np.ones((3, 2), np.float32), np.ones((3, 1), ml_dtypes.bfloat16), 2.0)
)
def test_unpermute_refuses_other_weights(weights):
    y, index = np.ones((2, 3), np.float32), np.zeros((3, 1), np.int32)
    with pytest.raises(vn.CompileError, match=r"expected float32 weights|differ"):
        vn.jit(lambda y, i, w: vn.unpermute(y, i, w))(y, index, weights)
