"""Products against float64 of the decoded operands."""

import re

import ml_dtypes
import numpy as np
import pytest
import vernier as vn
from helpers import draw, random_scaled, to_reference
from vernier import reference as ref


def relative(actual, expected):
    return np.linalg.norm(np.asarray(actual, np.float64) - expected) / max(np.linalg.norm(expected), 1e-300)


def quantized(shape, format, seed):
    return vn.quantize(draw("normal", shape, seed), format)


# Small sizes are products of few tiles, for which a GPU has kernels of its own: here those for many, too.
MATMULS = [vn.matmul, vn.jit(product_shape={"slabs": 2})(lambda a, b, dtype=vn.bfloat16: vn.matmul(a, b, dtype))]
either_shape = pytest.mark.parametrize("matmul", MATMULS, ids=("as few tiles", "as many tiles"))


@pytest.mark.parametrize(
    ("left", "right"),
    [(vn.FP8, vn.FP8_BLOCK), (vn.FP8, vn.FP8), (vn.MXFP8, vn.MXFP8), (vn.MXFP4, vn.FP8_BLOCK), (vn.FP8, vn.MXFP8)],
)
@pytest.mark.parametrize("m", (0, 1, 7, 130, 300))
@either_shape
def test_matmul(matmul, left, right, m, summed):
    for n, k in ((1, 128), (40, 256), (130, 384), (384, 128)):
        a, b = quantized((m, k), left, 1), quantized((n, k), right, 2)
        expected = ref.matmul(to_reference(a), to_reference(b))
        assert relative(matmul(a, b, vn.float32), expected) < summed  # FP32 sums of exact products
        assert relative(matmul(a, b), expected) < 3e-3  # bfloat16 result


@pytest.mark.parametrize(
    "shape", [{"slabs": 2}, {"slabs": 1}, {"slabs": 1, "cols": 64, "cluster": 1}, {"cluster": 1}, {"warpgroups": 1}], ids=str
)
def test_rows_that_a_tile_lacks_change_nothing(shape):
    """On a GPU they are not fetched, nor columns: what lies in their place in shared memory comes of other tiles."""
    matmul = vn.jit(product_shape=shape)(lambda a, b: vn.matmul(a, b))
    rows, cols = draw("normal", (300, 512), 1), draw("normal", (330, 512), 2)
    b = vn.quantize(cols, vn.FP8)
    whole = np.asarray(matmul(vn.quantize(rows, vn.FP8), b))
    for m in (1, 16, 17, 40, 64, 70, 90, 100, 127, 129, 150, 220, 255):
        a = vn.quantize(rows[:m], vn.FP8)
        np.testing.assert_array_equal(np.asarray(matmul(a, b)), whole[:m])
    a = vn.quantize(rows[:20], vn.FP8)
    for n in (1, 60, 100, 130, 200, 257):
        np.testing.assert_array_equal(np.asarray(matmul(a, vn.quantize(cols[:n], vn.FP8))), whole[:20, :n])


@pytest.mark.parametrize("k", (1024, 1152, 1184))
@pytest.mark.parametrize(("left", "right"), [(vn.FP8, vn.FP8_BLOCK), (vn.MXFP8, vn.FP8_BLOCK), (vn.MXFP8, vn.MXFP8)])
@either_shape
def test_long_sums_in_whole_tiles_and_parts_of_them(matmul, left, right, k, summed):
    """Many blocks of K, in words of 1 to 8 scales a row; rows of the result of any alignment, in every type."""
    if k % 128 and right == vn.FP8_BLOCK:
        pytest.skip("no whole blocks")
    a = quantized((600, k), left, 1)
    for n in (64, 100, 200, 320):
        b = quantized((n, k), right, 2)
        expected = ref.matmul(to_reference(a), to_reference(b))
        for dtype, most in ((vn.float32, summed), (vn.bfloat16, 3e-3), (vn.float16, 1e-3)):
            assert relative(matmul(a, b, dtype), expected) < most


@pytest.mark.parametrize("k", (384, 1024))
@pytest.mark.parametrize("n", (64, 200, 4096))
@pytest.mark.parametrize(("left", "right"), [(vn.FP8, vn.FP8_BLOCK), (vn.MXFP8, vn.FP8_BLOCK), (vn.MXFP8, vn.MXFP8)])
def test_sides_of_a_product_ask_for_no_more_registers_than_there_are(left, right, n, k):
    """A block that asks for more than it was launched with waits for ever, also where a kernel was assembled anew for its spills."""
    specs = vn.ScaledSpec((None, k), left), vn.ScaledSpec((n, k), right)
    (kernel,) = vn.compile(lambda a, b: vn.matmul(a, b, vn.float32), *specs, target="sm_90a").kernels
    _, *entries = kernel.ptx.split(".visible .entry")
    assert len(entries) == 1 + len(kernel.others)
    for entry in entries:
        computing, *others = (int(count) for count in re.findall(r"setmaxnreg\.\w+\.sync\.aligned\.u32\s+(\d+)", entry))
        threads = int(re.search(r"\.maxntid (\d+)", entry)[1])
        groups = threads // 128
        assert others and computing * (groups - len(others)) + sum(others) <= 65536 // threads // 8 * 8 * groups


@pytest.mark.parametrize("k", (256, 1024))
def test_more_tiles_than_blocks_run_at_a_time(k, summed, request):
    """On a GPU, blocks then go from tile to tile, with whole tiles of two slabs and parts of them among one another."""
    if request.config.getoption("--device") == "cpu":
        pytest.skip("one tile after the other anyway")
    n = 4096
    a, b, weights = quantized((2500, k), vn.FP8, 1), quantized((n, k), vn.FP8_BLOCK, 2), quantized((3 * n, k), vn.FP8_BLOCK, 3)
    experts = vn.ScaledTensor(
        weights.payload.reshape(3, n, -1), weights.scales.reshape(3, n // 128, -1), vn.FP8_BLOCK, (3, n, k)
    )
    o = np.array([0, 700, 1950, 2500], np.int32)
    expected = ref.matmul(to_reference(a), to_reference(b))
    every = ref.matmul(to_reference(a), to_reference(weights))
    grouped = np.concatenate([every[o[e] : o[e + 1], e * n : (e + 1) * n] for e in range(3)])
    for dtype, most in ((vn.float32, summed), (vn.bfloat16, 3e-3)):
        for result, wanted in ((vn.matmul(a, b, dtype), expected), (vn.grouped_matmul(a, experts, o, dtype), grouped)):
            worst = np.abs(np.asarray(result, np.float64) - wanted).max(axis=1) / np.abs(wanted).max(axis=1)
            assert worst.max() < 4 * most, f"row {worst.argmax()}"


@pytest.mark.parametrize("k", (1, 30, 128, 200))
@either_shape
def test_plain_matmul_with_any_k(matmul, k, summed):
    a, b = draw("normal", (33, k), 1).astype(ml_dtypes.bfloat16), draw("normal", (50, k), 2).astype(ml_dtypes.bfloat16)
    expected = a.astype(np.float64) @ b.astype(np.float64).T
    assert relative(matmul(a, b, vn.float32), expected) < summed
    assert relative(matmul(a.astype(np.float16), b.astype(np.float16), vn.float16), expected) < 1e-3


def test_accumulate_adds_and_leaves_the_buffer_alone(summed):
    a, b, acc = quantized((20, 128), vn.FP8, 1), quantized((30, 128), vn.FP8, 2), draw("normal", (20, 30), 3)
    before = acc.copy()
    assert relative(vn.matmul(a, b, accumulate=acc), ref.matmul(to_reference(a), to_reference(b)) + acc) < summed
    np.testing.assert_array_equal(acc, before)


def test_accumulate_one_column(summed):
    a, b = (vn.quantize(draw("normal", (rows, 256), rows), vn.FP8) for rows in (5, 1))
    acc = draw("normal", (5, 1), 3)
    got = vn.jit(lambda a, b, acc: vn.matmul(a, b, accumulate=acc))(a, b, acc)
    assert relative(got, ref.matmul(to_reference(a), to_reference(b)) + acc) < summed


def test_a_4_bit_operand_gives_exactly_the_product_of_its_re_encoding():
    a, b = random_scaled(vn.MXFP4, (65, 256), 1, spread=30), quantized((40, 256), vn.FP8_BLOCK, 2)
    np.testing.assert_array_equal(vn.matmul(a, b, vn.float32), vn.matmul(vn.requantize(a, vn.FP8), b, vn.float32))


OFFSETS = (
    [0, 100, 100, 260, 300],
    [0, 300, 300, 300, 300],
    [10, 20, 30, 31, 290],
    [270, 280, 280, 299, 300],
    [0, 0, 0, 0, 0],
    [0, 1, 2, 3, 300],
)


@pytest.mark.parametrize("offsets", OFFSETS)
@pytest.mark.parametrize("scaled", (True, False))
def test_grouped_matmul(offsets, scaled, summed):
    o = np.array(offsets, np.int32)
    x, w = draw("normal", (300, 256), 1), draw("normal", (4, 128, 256), 2)
    if scaled:
        a, b = vn.quantize(x, vn.FP8), vn.quantize(w, vn.FP8_BLOCK)
        experts = [to_reference(vn.quantize(w[e], vn.FP8_BLOCK)) for e in range(4)]
        expected = ref.grouped_matmul(to_reference(a), experts, o)
    else:
        a, b = x.astype(ml_dtypes.bfloat16), w.astype(ml_dtypes.bfloat16)
        expected = ref.grouped_matmul(a, list(b), o)
    result = vn.grouped_matmul(a, b, o, vn.float32)
    assert relative(result, expected) < summed
    assert (result[: offsets[0]] == 0).all() and (result[offsets[-1] :] == 0).all()


SPANS = [
    [0, 70, 70, 70, 128, 300, 301, 640],  # padded to whatever
    [5, 6, 200, 456, 456, 460, 500, 500],  # rows before and behind all groups
    [0, 3, 160, 320, 320, 320, 480, 481],  # a buffer of 160 rows for each
    [0, 0, 0, 0, 0, 0, 640, 640],
]


@pytest.mark.parametrize("spans", SPANS)
@pytest.mark.parametrize("scaled", [(vn.FP8, vn.FP8_BLOCK), (vn.MXFP4, vn.FP8_BLOCK), (vn.MXFP8, vn.MXFP8), None])
def test_groups_with_rows_between_them(spans, scaled, summed):
    x, w = draw("normal", (640, 256), 1), draw("normal", (4, 192, 256), 2)
    if scaled:
        a = vn.quantize(x, scaled[0])
        parts = [vn.quantize(m, scaled[1]) for m in w]
        payload, scales = (np.stack([np.asarray(getattr(p, name)) for p in parts]) for name in ("payload", "scales"))
        b = vn.ScaledTensor(payload, scales, scaled[1], (4, 192, 256))
    else:
        a, b = x.astype(ml_dtypes.bfloat16), w.astype(ml_dtypes.bfloat16)
        parts = list(b)
    result = np.asarray(vn.grouped_matmul(a, b, np.array(spans, np.int32), vn.float32, spans=True))
    used = np.zeros(640, bool)
    for e, (begin, end) in enumerate(zip(spans[::2], spans[1::2])):
        used[begin:end] = True
        if begin == end:
            continue
        # The same rows, multiplied by themselves.
        one = np.array([begin, end], np.int32)
        whole = np.asarray(vn.grouped_matmul(a, vn.ScaledTensor(payload[e : e + 1], scales[e : e + 1], scaled[1], (1, 192, 256))
                                             if scaled else b[e : e + 1], one, vn.float32))  # fmt: skip
        np.testing.assert_array_equal(result[begin:end], whole[begin:end])
        left = to_reference(a) if scaled and not scaled[0].packed else None
        if left is not None:
            expected = ref.matmul(left, to_reference(parts[e]))
            assert relative(result[begin:end], expected[begin:end]) < summed
    assert not result[~used].any()


def test_what_becomes_of_a_product_with_rows_between_groups():
    """Rows between groups are what becomes of zeros."""
    spans = np.array([0, 3, 160, 320, 320, 320, 480, 481], np.int32)
    x, w = vn.quantize(draw("normal", (640, 256), 1), vn.FP8), draw("normal", (4 * 256, 256), 2)
    one = vn.quantize(w, vn.FP8_BLOCK)
    b = vn.ScaledTensor(
        np.asarray(one.payload).reshape(4, 256, 256), np.asarray(one.scales).reshape(4, 2, 2), vn.FP8_BLOCK, (4, 256, 256)
    )

    @vn.jit
    def biased(x, b, o, bias):
        y = vn.grouped_matmul(x, b, o, vn.float32, spans=True) + bias[None, :]
        return y, vn.quantize(y, vn.MXFP4)

    bias = draw("normal", (256,), 3)
    y, q = biased(x, b, spans, bias)
    product = np.asarray(vn.grouped_matmul(x, b, spans, vn.float32, spans=True))
    np.testing.assert_array_equal(np.asarray(y), product + bias[None, :])
    expected = vn.quantize(product + bias[None, :], vn.MXFP4)
    np.testing.assert_array_equal(np.asarray(q.payload), np.asarray(expected.payload))
    np.testing.assert_array_equal(np.asarray(y)[3:160], np.broadcast_to(bias, (157, 256)))


@pytest.mark.host
@pytest.mark.parametrize(("spans", "message"), [([0, 5, 4, 9, 9, 9, 9, 9], "ascending"), ([0, 5, 6, 9, 9, 9, 9, 641], "within the 640 rows"),
                                                ([0, 5, 6, 9, 9], "sizes differ")])  # fmt: skip
def test_bad_spans_are_refused(spans, message):
    x, w = draw("normal", (640, 64), 1).astype(ml_dtypes.bfloat16), draw("normal", (4, 32, 64), 2).astype(ml_dtypes.bfloat16)
    with pytest.raises(vn.LaunchError, match=message):
        vn.grouped_matmul(x, w, np.array(spans, np.int32), spans=True)


def test_spans_compile_without_spills():
    specs = (vn.ScaledSpec((None, 7168), vn.FP8), vn.ScaledSpec((32, 4096, 7168), vn.FP8_BLOCK), vn.ArraySpec((64,), vn.int32))
    (kernel,) = vn.compile(lambda a, b, o: vn.grouped_matmul(a, b, o, spans=True), *specs, target="sm_90a").kernels
    assert kernel.spill_bytes == 0


def gradient_case(dy, x, formats, offsets):
    """Operands of a weight gradient, scaled or BF16 where `formats` is None, and the reference's result."""
    if formats:
        left, right = vn.quantize(dy, formats[0]), vn.quantize(x, formats[1])
        return left, right, ref.grouped_wgrad(to_reference(left), to_reference(right), offsets)
    left, right = dy.astype(ml_dtypes.bfloat16), x.astype(ml_dtypes.bfloat16)
    return left, right, ref.grouped_wgrad(left, right, offsets)


@pytest.mark.parametrize("offsets", OFFSETS)
@pytest.mark.parametrize("formats", [(vn.FP8, vn.FP8), (vn.FP8, vn.MXFP4), (vn.MXFP8, vn.MXFP4), None])
def test_grouped_wgrad(offsets, formats, summed):
    o = np.array(offsets, np.int32)
    dy, x = draw("outliers", (300, 256), 1), draw("normal", (300, 128), 2)
    left, right, expected = gradient_case(dy, x, formats, o)
    result = vn.grouped_wgrad(left, right, o)
    assert result.shape == (4, 256, 128)
    assert relative(result, expected) < summed
    acc = draw("normal", result.shape, 5)
    assert relative(vn.grouped_wgrad(left, right, o, accumulate=acc), expected + acc) < summed


@pytest.mark.parametrize(("n", "k", "formats"), [(384, 96, (vn.FP8, vn.MXFP4)), (32, 640, (vn.MXFP8, vn.FP8)), (72, 40, None)])
def test_wgrad_beside_whole_tiles(n, k, formats, summed):
    """Sizes that fill no tile, groups that begin inside one another's blocks, rows before and behind all groups."""
    o = np.array([3, 3, 131, 140, 400, 697], np.int32)
    dy, x = draw("normal", (700, n), 1), draw("normal", (700, k), 2)
    dy[130, 5] = x[140, 7] = np.nan  # poison stays in its group
    left, right, expected = gradient_case(dy, x, formats, o)
    result = np.asarray(vn.grouped_wgrad(left, right, o))
    np.testing.assert_array_equal(np.isnan(result), np.isnan(expected))
    assert not np.isnan(result[[0, 2, 4]]).any() and np.isnan(result[[1, 3]]).any()
    finite = np.isfinite(expected)
    assert relative(result[finite], expected[finite]) < summed


def test_wgrad_finds_the_number_of_experts_in_the_call():
    gradient = vn.jit(lambda dy, x, offsets: vn.grouped_wgrad(dy, x, offsets))
    x = draw("normal", (64, 32), 1)
    for offsets in ([0, 64], [0, 10, 64], [0, 64]):
        assert gradient(x, x, np.array(offsets, np.int32)).shape == (len(offsets) - 1, 32, 32)


def test_wgrad_of_rows_is_the_product_of_transposes(summed):
    """Under scales far apart too, where the transpose rounds."""
    dy, x = random_scaled(vn.FP8, (128, 128), 1, 30), random_scaled(vn.MXFP4, (128, 64), 2, 30)
    # Scales of 255 poison; leave them out to compare numbers.
    for t in (dy, x):
        t.scales[t.scales == 255] = 120
        t.scales[t.scales == 254] = 121
    o = np.array([0, 128], np.int32)
    direct = vn.grouped_wgrad(dy, x, o)[0]
    turned = ref.decoded(ref.transpose(to_reference(dy))) @ ref.decoded(ref.transpose(to_reference(x))).T
    finite = np.isfinite(turned)
    assert relative(direct[finite], turned[finite]) < summed
    np.testing.assert_array_equal(np.isnan(direct), ~finite)


@pytest.mark.parametrize(
    ("left", "right", "k", "at"),
    [(vn.FP8, vn.FP8_BLOCK, 256, 200), (vn.MXFP8, vn.MXFP8, 160, 3), (vn.MXFP8, vn.FP8_BLOCK, 384, 3)],
)
def test_poison_reaches_exactly_its_rows_and_columns(left, right, k, at):
    """In the first block of a row too, whose scale lies behind the last one of the row before."""
    x = draw("normal", (20, k), 1)
    x[3, at] = np.nan
    d = vn.matmul(vn.quantize(x, left), quantized((10, k), right, 2), vn.float32)
    assert np.isnan(d[3]).all() and not np.isnan(np.delete(d, 3, 0)).any()


def test_runs_are_bit_identical():
    a, b = quantized((300, 512), vn.FP8, 1), quantized((200, 512), vn.FP8_BLOCK, 2)
    first = vn.matmul(a, b, vn.float32)
    for _ in range(5):
        np.testing.assert_array_equal(vn.matmul(a, b, vn.float32), first)


@pytest.mark.host  # on a GPU, offsets are kept within bounds where they are: looking at them would wait
@pytest.mark.parametrize(
    ("offsets", "message"),
    [([0, 5, 3], "offset 2 is 3 after 5"), ([0, 5, 400], "offset 2 is 400"), ([-1, 5, 300], "offset 0 is -1")],
)
def test_bad_offsets_are_refused(offsets, message):
    x, o = draw("normal", (300, 128), 1), np.array(offsets, np.int32)
    a = vn.quantize(x, vn.FP8)
    with pytest.raises(vn.LaunchError, match=message):
        vn.grouped_matmul(a, vn.quantize(draw("normal", (2, 128, 128), 1), vn.FP8_BLOCK), o)
    with pytest.raises(vn.LaunchError, match=message):
        vn.grouped_wgrad(a, a, o)
    with pytest.raises(vn.LaunchError, match=message):
        vn.transpose(a, o)
    with pytest.raises(vn.LaunchError, match="sizes differ"):
        vn.grouped_matmul(a, vn.quantize(draw("normal", (3, 128, 128), 1), vn.FP8_BLOCK), np.array([0, 1, 2], np.int32))


@pytest.mark.host
@pytest.mark.parametrize("right", (vn.FP8_BLOCK, vn.FP8))
def test_sums_of_the_tensor_cores_on_request(right):
    """Bit for bit those of the reference, further off than exact products, and no worse than fourteen bits."""
    a, b = quantized((19, 640), vn.FP8, 1), quantized((130, 640), right, 2)
    values = [ref.decode_codes(to_reference(t).codes, "e4m3") for t in (a, b)]
    scales = [np.exp2(np.asarray(s, np.float64) - 127) for s in (a.scales, b.scales)]
    expected = np.zeros((19, 130), np.float32)
    for block in range(5):
        k = slice(128 * block, 128 * block + 128)
        sums = ref.tensor_core_sums(values[0][:, k], values[1][:, k]).astype(np.float32)
        factor = scales[1][:, block] if right == vn.FP8 else np.repeat(scales[1][:, block], 128)[:130]
        expected += (sums * scales[0][:, block, None] * factor).astype(np.float32)
    exact = ref.matmul(to_reference(a), to_reference(b))
    got = vn.jit(tensor_core_sums=True)(lambda a, b: vn.matmul(a, b, vn.float32))(a, b)
    np.testing.assert_array_equal(got, expected)
    assert relative(vn.matmul(a, b, vn.float32), exact) < 1e-6 < relative(got, exact) < 1e-3


@pytest.mark.host
def test_sums_of_the_tensor_cores_keep_poison_and_tails():
    """Of gradients too, whose groups end anywhere; plain operands stay as they are."""
    x = draw("normal", (70, 128), 1)
    x[3, 5] = np.nan
    dy, x8 = vn.quantize(draw("normal", (70, 128), 2), vn.FP8), vn.quantize(x, vn.FP8)
    offsets = np.array([0, 33, 70], np.int32)
    emulate = vn.jit(tensor_core_sums=True)
    got, exact = emulate(vn.grouped_wgrad)(dy, x8, offsets), vn.grouped_wgrad(dy, x8, offsets)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(exact))
    finite = np.isfinite(exact)
    assert 0 < relative(got[finite], exact[finite].astype(np.float64)) < 1e-3
    plain = draw("normal", (9, 64), 3).astype(vn.bfloat16.numpy)
    np.testing.assert_array_equal(emulate(vn.matmul)(plain, plain), vn.matmul(plain, plain))


@pytest.mark.device
@pytest.mark.parametrize("right", (vn.FP8_BLOCK, vn.FP8))
@pytest.mark.parametrize("spread", (0, 8))
def test_the_hosts_model_of_the_tensor_cores_has_their_bits(right, spread):
    """The same FP32 results as a GPU's, the emulated one included."""
    generator = np.random.default_rng(7)

    def wide(shape):
        return generator.standard_normal(shape) * np.exp2(generator.integers(-spread, spread + 1, shape))

    a, b = vn.quantize(wide((150, 1024)).astype(np.float32), vn.FP8), vn.quantize(wide((136, 1024)).astype(np.float32), right)

    def f(a, b):
        return vn.matmul(a, b, vn.float32)

    program, values, originals = vn.jit(tensor_core_sums=True)(f)._prepare((a, b), {})
    np.testing.assert_array_equal(vn.jit(f)(a, b), program.call(values, originals))
