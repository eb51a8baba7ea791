"""Bad input gets one clear line, and nothing is lost."""

import ml_dtypes
import numpy as np
import pytest
import torch
import vernier as vn
from helpers import assert_same, draw
from vernier import reference as ref


def refused(error, message, function, *args, **kwargs):
    with pytest.raises(error, match=message) as caught:
        function(*args, **kwargs)
    assert "\n" not in str(caught.value).strip()


X = draw("normal", (4, 256), 1)
T = vn.quantize(X, vn.FP8)


@pytest.mark.host
def test_shapes_and_types():
    refused(
        vn.CompileError,
        "expected K to be a multiple of 128, but got 1000; pad to 1024",
        vn.quantize,
        np.ones((4, 1000), np.float32),
        vn.FP8,
    )
    refused(vn.CompileError, "pad to 1024 or use vn.MXFP8", vn.quantize, np.ones((4, 992), np.float32), vn.FP8)
    refused(
        vn.CompileError, r"expected a matrix of rank 2, but got shape \[\?\]", vn.quantize, np.ones(32, np.float32), vn.MXFP4
    )
    refused(vn.CompileError, "but got float64; convert it first", vn.quantize, np.ones((4, 32)), vn.MXFP4)
    refused(vn.CompileError, "expected a format such as vernier.MXFP4, but got 'MXFP4'", vn.quantize, X, "MXFP4")
    refused(
        vn.CompileError,
        "expected an array .* but got list|expected at least one array|expected a plain array",
        vn.quantize,
        [[1.0]],
        vn.MXFP4,
    )
    refused(vn.CompileError, "dequantize a scaled tensor first", vn.exp, T)
    refused(vn.CompileError, "expected a scaled tensor, but got", vn.dequantize, X)
    refused(vn.CompileError, "K of a and b: 256 and 128 differ", vn.matmul, T, vn.quantize(X[:, :128].copy(), vn.FP8))
    refused(vn.CompileError, "both operands to be scaled or both to be plain", vn.matmul, T, X)
    refused(vn.CompileError, "stochastic rounding needs a seed", vn.quantize, X, vn.MXFP4.replace(rounding="stochastic"))
    refused(vn.CompileError, "a seed needs a format with rounding='stochastic'", vn.quantize, X, vn.MXFP4, seed=1)
    refused(vn.CompileError, "expected an int32 array", vn.permute, X, np.array([0, 1]))
    refused(vn.CompileError, "shapes .* differ", vn.maximum, X, np.ones((4, 128), np.float32))
    refused(ValueError, "expected a scale rule of floor, even, ceil", vn.MXFP4.replace, scale_rule="up")


def test_sizes_that_only_a_call_knows():
    @vn.jit
    def f(x, w):
        return x * w[:, None]

    f(X, np.ones(4, np.float32))
    refused(
        vn.LaunchError,
        r"sizes differ: dimension 0 of argument 1 \(w\) is 5, dimension 0 of argument 0 \(x\) is 4",
        f,
        X,
        np.ones(5, np.float32),
    )


def test_scaled_tensors_from_raw_arrays_are_checked():
    payload, scales = np.zeros((4, 128), np.uint8), np.zeros((4, 8), np.uint8)
    assert vn.ScaledTensor(payload, scales, vn.MXFP4, (4, 256)).dequantize().shape == (4, 256)
    refused(
        vn.LaunchError,
        r"expected scales of shape \(4, 8\), but got \(4, 2\)",
        vn.ScaledTensor,
        payload,
        scales[:, :2],
        vn.MXFP4,
        (4, 256),
    )
    refused(vn.LaunchError, r"expected payload of shape \(4, 256\)", vn.ScaledTensor, payload, scales, vn.FP8, (4, 256))
    refused(
        vn.LaunchError,
        r"expected payload in bytes \(uint8\), but got int32",
        vn.ScaledTensor,
        payload.astype(np.int32),
        scales,
        vn.MXFP4,
        (4, 256),
    )
    refused(
        vn.LaunchError,
        "expected a tensor_scale",
        vn.ScaledTensor,
        np.zeros((4, 8), np.uint8),
        np.zeros((4, 1), np.uint8),
        vn.NVFP4,
        (4, 16),
    )


def test_values_that_are_not_known_while_compiling():
    refused(vn.CompileError, "use vn.where", vn.jit(lambda x: x if x > 0 else -x), X)
    refused(vn.CompileError, "use vn.split", vn.jit(lambda x: [row for row in x]), X)
    refused(vn.CompileError, "takes .:, None.", vn.jit(lambda x: x[0]), X)
    kept = []
    vn.jit(lambda x: kept.append(x) or x + 1.0)(X)
    refused(vn.CompileError, "belongs to another trace", vn.jit(lambda y: (y + 1.0, kept[0])), X)


def test_empty_arrays():
    for rows in (0, 1):
        x = X[:rows]
        for format in (vn.FP8, vn.MXFP4, vn.FP8_BLOCK, vn.NVFP4):
            assert_same(vn.quantize(x, format), ref.quantize(x, format), f"{format.name}, {rows} rows")
        turned = vn.transpose(vn.quantize(x, vn.MXFP4))
        assert turned.shape == (256, rows) and turned.scales.shape == (256, rows)
        assert (np.asarray(vn.sum(x, axis=0)) == x.sum(axis=0)).all()
        assert vn.matmul(vn.quantize(x, vn.FP8), T).shape == (rows, 4)
    assert vn.max(X[:0]) == -np.inf


def test_arrays_that_are_not_contiguous_are_read_right():
    big = draw("normal", (8, 512), 3)
    for view in (big[::2, :256], big[:, ::2], big.T[:, :8].T, np.asfortranarray(big), big[::-1]):
        assert_same(vn.quantize(view, vn.MXFP4), ref.quantize(view, vn.MXFP4))
    tensor = torch.from_numpy(big)
    for view in (tensor[::2, :256], tensor.t().contiguous().t(), tensor[:, 256:]):
        assert_same(vn.quantize(view, vn.MXFP4), ref.quantize(view.numpy(), vn.MXFP4))
    t = vn.quantize(big, vn.FP8)
    strided = vn.ScaledTensor(np.asfortranarray(t.payload), np.asfortranarray(t.scales), vn.FP8, t.shape)
    np.testing.assert_array_equal(strided.dequantize(), t.dequantize())


@pytest.mark.host
def test_a_huge_result_is_an_error_and_no_crash():
    with pytest.raises((MemoryError, vn.LaunchError)):
        vn.permute(np.zeros((1, 1 << 22), np.float32), np.zeros(1 << 26, np.int32))
    # And the process goes on.
    assert_same(vn.quantize(X, vn.FP8), ref.quantize(X, vn.FP8))


@pytest.mark.host
def test_constants_arguments_and_repeated_results():
    @vn.jit
    def f(x, flag, scale):
        y = x * scale
        return {"same": x, "twice": (y, y), "none": None, "flag": flag, "maximum": vn.maximum(x, x)}

    out = f(X, "on", 2.0)
    assert out["same"] is X and out["none"] is None and out["flag"] == "on"
    np.testing.assert_array_equal(out["twice"][0], X * 2)
    np.testing.assert_array_equal(out["maximum"], X)
    assert out["maximum"] is not X


def test_results_come_back_as_the_callers_kind_of_array():
    tensor = torch.from_numpy(X)
    t = vn.quantize(tensor.bfloat16(), vn.MXFP4)
    assert isinstance(t.payload, torch.Tensor) and t.payload.dtype is torch.uint8
    assert vn.dequantize(t, vn.bfloat16).dtype is torch.bfloat16
    assert isinstance(vn.quantize(X.astype(ml_dtypes.bfloat16), vn.FP8).payload, np.ndarray)
    fp8 = vn.ScaledTensor(
        t.payload.new_zeros((4, 256)).view(torch.float8_e4m3fn), t.payload.new_full((4, 2), 127), vn.FP8, (4, 256)
    )
    assert (vn.dequantize(fp8) == 0).all()
    gradient = torch.ones(4, 4, requires_grad=True)
    assert vn.add(gradient, 1.0).sum() == 32


def test_any_array_with_dlpack():
    class Namespace:
        @staticmethod
        def from_dlpack(array):
            return Foreign(np.from_dlpack(array))

    class Foreign:
        """An array of a library that this package has never heard of."""

        def __init__(self, array):
            self.array, self.shape = array, array.shape

        def __dlpack__(self, **kwargs):
            return self.array.__dlpack__(**kwargs)

        def __dlpack_device__(self):
            return self.array.__dlpack_device__()

        def __array_namespace__(self):
            return Namespace

    result = vn.add(Foreign(X), 1.0)
    assert isinstance(result, Foreign)
    np.testing.assert_array_equal(result.array, X + 1)


def test_layouts_of_results():
    w = draw("normal", (5,), 1)
    assert vn.jit(lambda w: w[:, None])(w).shape == (5, 1) and vn.jit(lambda w: w[None, :])(w).shape == (1, 5)
    column = w[:, None].copy()
    assert vn.jit(lambda c: c.T)(column).shape == (1, 5) and vn.sum(column, axis=1).shape == (5,)
    refused(vn.CompileError, "axis 5 is outside the shape", vn.max, column, axis=5)


def test_formats_are_checked_when_they_are_made():
    refused(ValueError, "powers of two up to 128, and not 1x1, but got 1x48", vn.MXFP4.replace, block=(1, 48))
    refused(ValueError, "expected element to be one of e4m3, e2m1, but got 'e5m2'", vn.MXFP4.replace, element="e5m2")
    refused(ValueError, "E4M3 scales go with blocks along rows", vn.NVFP4.replace, block=(16, 16))
    refused(vn.CompileError, "E4M3 scales go with blocks along rows; quantize the transpose", vn.quantize, X, vn.NVFP4, axis=0)


@pytest.mark.host
def test_codes_are_no_numbers():
    codes = torch.tensor([[1.0, 2.0]]).to(torch.float8_e4m3fn)
    refused(vn.CompileError, "wrap codes in a ScaledTensor", vn.cast, codes, vn.float32)
    refused(vn.CompileError, "wrap codes in a ScaledTensor", vn.cast, np.ones((2, 2), ml_dtypes.float8_e4m3fn), vn.float32)


def test_more_unclear_input_gets_a_clear_line():
    refused(vn.CompileError, "expected at least one column, but got 10:3|at least one column", vn.jit(lambda x: x[:, 10:3]), X)
    refused(
        vn.CompileError,
        "expected float32, bfloat16 or float16",
        vn.matmul,
        np.ones((2, 8), np.int32),
        np.ones((2, 8), np.int32),
    )
    refused(vn.CompileError, "expected float32, bfloat16 or float16, but got int32", vn.dequantize, T, vn.int32)
    refused(vn.CompileError, r"expected rank 1, but got shape \[\?, 3\]", vn.transpose, T, np.zeros((1, 3), np.int32))
    refused(vn.CompileError, "expected E8M0 scales and no groups", vn.matmul, vn.quantize(X, vn.NVFP4), T)
    refused(
        vn.CompileError,
        "expected K to be a multiple of 128, but got 32",
        vn.matmul,
        vn.quantize(X[:, :32].copy(), vn.MXFP4),
        vn.quantize(X[:, :32].copy(), vn.MXFP8),
    )
    refused(vn.CompileError, "arithmetic on int64 is not defined", vn.add, np.ones(3, np.int64), 1)
    refused(vn.CompileError, "expected an int32 constant", vn.add, np.ones(3, np.int32), 2**40)
    refused(vn.CompileError, "concat: expected at least one array", vn.jit(lambda x: vn.concat([])), X)
    refused(
        vn.LaunchError,
        "expected at least two offsets",
        vn.grouped_matmul,
        X,
        np.zeros((0, 8, 256), np.float32),
        np.zeros(1, np.int32),
    )
    assert vn.jit(lambda größe: größe * np.float32(2))(X).shape == X.shape
    assert np.allclose(vn.power(np.abs(X), 2.5), np.abs(X) ** 2.5, rtol=1e-5)


def test_rows_outside_groups_are_zeros_and_grouped_results_are_results_only():
    t = vn.quantize(draw("normal", (300, 128), 1), vn.MXFP4)
    offsets = np.array([10, 150, 200], np.int32)

    @vn.jit
    def f(x, offsets):
        q = vn.quantize(x, vn.FP8)
        return q, vn.transpose(q, offsets)

    x = draw("normal", (300, 128), 2)
    q, turned = f(x, offsets)
    assert_same(q, ref.quantize(x, vn.FP8))
    assert_same(turned, ref.transpose(ref.quantize(x, vn.FP8), offsets))
    assert_same(vn.transpose(t, offsets), ref.transpose(ref.quantize(draw("normal", (300, 128), 1), vn.MXFP4), offsets))
    refused(vn.CompileError, "nothing here reads a grouped transpose", vn.matmul, turned, turned)


def test_computed_offsets_and_indices_stay_inside():
    x, w = draw("normal", (5, 64), 1), draw("normal", (3, 32, 64), 2)
    o = np.array([0, 1, 2, 5], np.int32)
    far = vn.jit(lambda a, b, o: vn.grouped_matmul(a, b, o + 100000000))(x, w, o)
    assert (np.asarray(far).astype(np.float32) == 0).all()
    assert vn.jit(lambda x, o: vn.grouped_wgrad(x, x, o - 100000000, experts=3))(x, o).shape == (3, 64, 64)
    assert (vn.jit(lambda x, i: vn.permute(x, i + 5, 4))(x, np.array([0, 1], np.int32)) == 0).all()


@pytest.mark.parametrize("seed", ("7", 1.5, True, 2**63))
def test_seeds_are_whole_numbers_of_64_bits(seed):
    x, format = draw("normal", (4, 128), 1), vn.FP8.replace(rounding="stochastic")
    with pytest.raises(vn.CompileError, match="expected a seed that is a whole number of 64 bits"):
        vn.quantize(x, format, seed=seed)
    with pytest.raises(vn.CompileError, match="expected a seed that is a whole number of 64 bits"):
        vn.jit(lambda x: vn.quantize(x, format, seed=seed))(x)


@pytest.mark.host
def test_codes_of_another_type_are_refused():
    ones, scales = np.ones((4, 128)), np.zeros((4, 1), np.uint8)
    vn.ScaledTensor(ones.astype(ml_dtypes.float8_e4m3fn), scales.view(ml_dtypes.float8_e8m0fnu), vn.FP8, (4, 128))
    with pytest.raises(vn.LaunchError, match="payload in float8_e4m3fn or uint8, but got float8_e5m2"):
        vn.ScaledTensor(ones.astype(ml_dtypes.float8_e5m2), scales, vn.FP8, (4, 128))
    with pytest.raises(vn.LaunchError, match="scales in float8_e8m0fnu or uint8, but got float8_e4m3fn"):
        vn.ScaledTensor(ones.astype(np.uint8), scales.view(ml_dtypes.float8_e4m3fn), vn.FP8, (4, 128))
    with pytest.raises(vn.LaunchError, match="payload in float8_e4m3fn or uint8"):
        vn.ScaledTensor(torch.ones(4, 128).to(torch.float8_e5m2), torch.zeros(4, 1, dtype=torch.uint8), vn.FP8, (4, 128))
