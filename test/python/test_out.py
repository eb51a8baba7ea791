"""Results in memory of the caller."""

import numpy as np
import pytest
import vernier as vn

pytestmark = pytest.mark.host  # arrays that are given must not be moved; test_gpu.py has the same for tensors on a GPU


def _like(value):
    if isinstance(value, vn.ScaledTensor):
        scale = None if value.tensor_scale is None else np.zeros_like(value.tensor_scale)
        return vn.ScaledTensor(
            np.full_like(value.payload, 7), np.full_like(value.scales, 7), value.format, value.shape, value.axis, scale
        )
    return np.full_like(value, 7)


@vn.jit
def several(x):
    return {"codes": vn.quantize(x, vn.MXFP4), "rest": [x * 2, vn.sum(x, axis=1)]}


def several_in_a_tuple(x):
    return vn.quantize(x, vn.MXFP4), x * 2


def _numbers(rows=33, cols=64, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, cols)).astype(np.float32)


@pytest.mark.parametrize("format", [vn.FP8, vn.MXFP4, vn.NVFP4, vn.FP8_BLOCK])
def test_scaled(format):
    @vn.jit
    def f(x):
        return vn.quantize(x, format)

    x = _numbers(5, 256)
    expected = f(x)
    out = _like(expected)
    assert f(x, out=out) is out
    np.testing.assert_array_equal(out.payload, expected.payload)
    np.testing.assert_array_equal(out.scales, expected.scales)
    if expected.tensor_scale is not None:
        np.testing.assert_array_equal(out.tensor_scale, expected.tensor_scale)


def test_results_of_any_structure():
    x = _numbers()
    expected = several(x)
    out = {"codes": _like(expected["codes"]), "rest": [_like(v) for v in expected["rest"]]}
    assert several(x, out=out) is out
    np.testing.assert_array_equal(out["codes"].payload, expected["codes"].payload)
    for mine, value in zip(out["rest"], expected["rest"]):
        np.testing.assert_array_equal(mine, value)


def test_part_of_a_larger_array():
    x, large = _numbers(), np.zeros((100, 64), np.float32)
    vn.jit(lambda x: x * 2)(x, out=large[40:73])
    np.testing.assert_array_equal(large[40:73], x * 2)
    assert not large[:40].any() and not large[73:].any()


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (np.zeros((33, 65), np.float32), r"expected float32 of shape \(33, 64\)"),
        (np.zeros((33, 64), np.float64), "float64"),
        (np.zeros((64, 33), np.float32).T, "contiguous"),
        ([np.zeros((33, 64), np.float32)], "expected an array"),
        (vn.quantize(_numbers(), vn.MXFP4), "expected"),
    ],
)
def test_refused(out, message):
    with pytest.raises((vn.LaunchError, vn.CompileError), match=message):
        vn.jit(lambda x: x * 2)(_numbers(), out=out)


def test_what_cannot_be_written_to_is_refused():
    out = np.zeros((33, 64), np.float32)
    out.flags.writeable = False
    with pytest.raises(vn.LaunchError, match="read-only"):
        vn.jit(lambda x: x * 2)(_numbers(), out=out)


def test_functions_of_a_bundle(tmp_path):
    vn.compile(several_in_a_tuple, vn.ArraySpec((None, 64), vn.float32)).save(tmp_path)
    loaded, x = vn.load_bundle(tmp_path)["several_in_a_tuple"], _numbers()
    expected = loaded(x)
    out = tuple(_like(v) for v in expected)
    assert loaded(x, out=out) is out
    np.testing.assert_array_equal(out[0].payload, expected[0].payload)
    np.testing.assert_array_equal(out[1], expected[1])
    with pytest.raises(vn.LaunchError, match="expected out to be 2 results"):
        loaded(x, out=out[1])
    with pytest.raises(vn.LaunchError, match="expected a ScaledTensor"):
        loaded(x, out=out[::-1])


def test_structures_are_compared():
    with pytest.raises(vn.LaunchError, match="'codes', 'rest'"):
        several(_numbers(), out={"codes": None})
    with pytest.raises(vn.LaunchError, match="ScaledTensor"):
        several(_numbers(), out={"codes": _numbers(), "rest": [_numbers(), _numbers()]})


def test_results_apart_from_arguments():
    x = _numbers()
    with pytest.raises(vn.LaunchError, match="overlaps argument 0"):
        vn.jit(lambda x: x[:, :32] * 2)(x, out=x.reshape(-1)[: 33 * 32].reshape(33, 32))
    both = np.zeros((66, 64), np.float32)
    with pytest.raises(vn.LaunchError, match="overlaps result 0"):
        vn.jit(lambda x: (x * 2, x * 3))(x, out=(both[:33], both[1:34]))


def test_vectors_that_keep_their_dimensions():
    total = vn.jit(lambda x: (vn.sum(x, axis=1, keepdims=True), vn.sum(x, axis=0, keepdims=True)))
    x = _numbers()
    out = np.zeros((33, 1), np.float32), np.zeros((1, 64), np.float32)
    assert total(x, out=out) is out
    for mine, value in zip(out, total(x)):
        np.testing.assert_array_equal(mine, value)
    strided = np.zeros((33, 5), np.float32)[:, :1]
    for bad, message in (
        (strided, "contiguous"),
        (np.zeros((1, 33), np.float32), r"shape \(M, 1\)"),
        (np.zeros(33, np.float32), r"\(M, 1\)"),
    ):
        with pytest.raises(vn.LaunchError, match=message):
            total(x, out=(bad, out[1]))


def test_inside_another_function():
    inner = vn.jit(lambda x: x * 2)
    with pytest.raises(vn.CompileError, match="part of another"):
        vn.jit(lambda x: inner(x, out=x))(_numbers())


def test_autograd_notices_what_was_written():
    torch = pytest.importorskip("torch")
    w = torch.ones(4, 8, requires_grad=True)
    kept = w.exp()
    vn.jit(lambda x: x * 2)(torch.zeros(4, 8), out=kept.detach())
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        kept.sum().backward()


def test_an_argument_is_no_result_of_its_own():
    x = _numbers()
    with pytest.raises(vn.LaunchError, match="no memory of its own"):
        vn.jit(lambda x: (x, x * 2))(x, out=(_like(x), _like(x)))
    with pytest.raises(vn.LaunchError, match="no memory of its own"):
        vn.jit(lambda x: x)(x, out=_like(x))


def test_a_parameter_named_out():
    np.testing.assert_array_equal(
        vn.jit(lambda x, out: x + out)(_numbers(), out=_numbers(seed=1)), _numbers() + _numbers(seed=1)
    )


def test_sums_in_place():
    a, b, c = _numbers(40, 256), _numbers(200, 256, 1), _numbers(40, 200, 2)
    qa, qb = vn.quantize(a, vn.FP8), vn.quantize(b, vn.FP8_BLOCK)
    product = vn.jit(lambda a, b, c: vn.matmul(a, b, accumulate=c))
    expected = product(qa, qb, c)
    assert product(qa, qb, c, out=c) is c
    np.testing.assert_array_equal(c, expected)
    shifted = np.zeros((41, 200), np.float32)
    with pytest.raises(vn.LaunchError, match="overlaps"):
        product(qa, qb, shifted[:40], out=shifted[1:])
    doubled = vn.jit(lambda a, b, c: (vn.matmul(a, b, accumulate=c), c * 2))
    with pytest.raises(vn.LaunchError, match="overlaps"):
        doubled(qa, qb, c, out=(c, _like(c)))
    twice = vn.jit(lambda a, b, c: (c + 1, vn.matmul(a, b, accumulate=c)))
    with pytest.raises(vn.LaunchError, match="overlaps"):
        twice(qa, qb, c, out=(_like(c), c))
    beside = vn.jit(lambda a, b, c: (lambda s: (s, vn.silu(s)))(vn.matmul(a, b, accumulate=c)))
    expected = beside(qa, qb, c)
    out = (c, _like(c))
    beside(qa, qb, c, out=out)
    for mine, value in zip(out, expected):
        np.testing.assert_array_equal(mine, value)


@pytest.mark.parametrize("sizes", [[130, 0, 257, 1], [513]])
def test_gradients_in_place(sizes):
    offsets = np.cumsum([0, *sizes]).astype(np.int32)
    dy, x = vn.quantize(_numbers(sum(sizes), 256), vn.FP8), vn.quantize(_numbers(sum(sizes), 384, 1), vn.MXFP4)
    gradient = np.random.default_rng(2).standard_normal((len(sizes), 256, 384)).astype(np.float32)
    add = vn.jit(lambda dy, x, o, g: vn.grouped_wgrad(dy, x, o, accumulate=g))
    expected = add(dy, x, offsets, gradient)
    add(dy, x, offsets, gradient, out=gradient)
    np.testing.assert_array_equal(gradient, expected)


def test_codes_apart_from_their_scales():
    x, memory = _numbers(4, 128), np.zeros(4 * 128 + 4, np.uint8)
    codes, scales = memory[: 4 * 128].reshape(4, 128), memory[4 * 128 - 4 : -4].reshape(4, 1)
    with pytest.raises(vn.LaunchError, match="codes and scales of result 0 overlap"):
        vn.jit(lambda x: vn.quantize(x, vn.FP8))(x, out=vn.ScaledTensor(codes, scales, vn.FP8, (4, 128)))
