"""Every conversion, bit for bit against the reference: random data, and exhaustive sets of codes, shifts and ties."""

import itertools

import ml_dtypes
import numpy as np
import pytest
import vernier as vn
from helpers import DISTRIBUTIONS, assert_same, draw, from_reference, random_scaled, to_reference
from vernier import reference as ref

RULES = ("floor", "even", "ceil")
FORMATS = [f.replace(scale_rule=r) for f in (vn.FP8, vn.MXFP8, vn.MXFP4) for r in RULES] + [vn.FP8_BLOCK, vn.NVFP4]
E8M0 = [f for f in FORMATS if f.scale == "e8m0"]


def label(value):
    return f"{value.name}-{value.scale_rule}" if isinstance(value, vn.Format) else None


@pytest.mark.parametrize("kind", DISTRIBUTIONS)
@pytest.mark.parametrize("format", FORMATS, ids=label)
def test_quantize_matches_reference(format, kind):
    # 11 formats x 9 distributions x 2^17 elements: more than 10^7 in all.
    x = draw(kind, (256, 512), DISTRIBUTIONS.index(kind))
    assert_same(vn.quantize(x, format), ref.quantize(x, format), f"{format.name} of {kind}")


@pytest.mark.parametrize("kind", ("normal", "wide", "specials"))
@pytest.mark.parametrize("format", [f for f in E8M0 if f.block[0] == 1], ids=label)
def test_quantize_down_columns_matches_reference(format, kind):
    x = draw(kind, (300, 192), 5)
    assert_same(vn.quantize(x, format, axis=0), ref.quantize(x, format, axis=0), f"{format.name} of {kind}")


@pytest.mark.parametrize("dtype", (ml_dtypes.bfloat16, np.float16))
def test_narrow_inputs_are_widened_exactly(dtype):
    x = draw("normal", (64, 256), 1).astype(dtype)
    for format in (vn.FP8, vn.MXFP4):
        assert_same(vn.quantize(x, format), ref.quantize(x.astype(np.float32), format))


@pytest.mark.parametrize("format", E8M0, ids=label)
def test_dequantize_matches_reference(format):
    for seed, spread in ((1, 4), (2, 60), (3, 250)):
        t = random_scaled(format, (256, 256), seed, spread)
        expected = ref.dequantize(to_reference(t))
        np.testing.assert_array_equal(vn.dequantize(t), expected)


@pytest.mark.parametrize("dtype", (vn.bfloat16, vn.float16))
def test_dequantize_rounds_to_nearest_even(dtype):
    t = random_scaled(vn.MXFP8, (256, 256), 4, 250)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = ref.dequantize(to_reference(t)).astype(dtype.numpy)
    got = np.asarray(vn.dequantize(t, dtype))
    np.testing.assert_array_equal(got.astype(np.float32), expected.astype(np.float32))


PAIRS = [
    (a, b)
    for a, b in itertools.product([f for f in E8M0 if f.block[0] == 1], repeat=2)
    if a.scale_rule == "floor" or a.name == "FP8"
]


@pytest.mark.parametrize(("source", "target"), PAIRS, ids=label)
def test_requantize_matches_reference(source, target):
    for seed, spread in ((1, 4), (2, 40), (3, 250)):
        t = random_scaled(source, (64, 256), seed, spread)
        assert_same(vn.requantize(t, target), ref.requantize(to_reference(t), target), f"{source.name} to {target.name}")


def test_requantize_is_quantize_of_the_decoded_values():
    """FP8 to MXFP4 on the codes gives the bits of decoding first, as long as FP32 holds the decoded values."""
    for rule in RULES:
        format = vn.MXFP4.replace(scale_rule=rule)
        t = vn.quantize(draw("outliers", (512, 512), 7), vn.FP8)
        direct, detour = vn.requantize(t, format), vn.quantize(vn.dequantize(t), format)
        np.testing.assert_array_equal(direct.payload, detour.payload)
        np.testing.assert_array_equal(direct.scales, detour.scales)


@pytest.mark.parametrize("source", (vn.MXFP4, vn.MXFP8, vn.FP8), ids=label)
@pytest.mark.parametrize("rows", (1, 2, 17, 127, 128, 129, 300))
def test_transpose_matches_reference(source, rows):
    for seed, spread in ((1, 4), (2, 40), (3, 250)):
        t = random_scaled(source, (rows, 256), seed, spread)
        assert_same(vn.transpose(t), ref.transpose(to_reference(t)), f"{source.name}, {rows} rows")


@pytest.mark.parametrize("source", (vn.MXFP4, vn.FP8), ids=label)
@pytest.mark.parametrize(
    "offsets", ([0, 300], [200, 260, 300], [0, 0, 128, 300], [0, 1, 2, 200, 200, 300], [0, 300, 300], [0, 129, 257, 300])
)
def test_grouped_transpose_matches_reference(source, offsets):
    t = random_scaled(source, (300, 128), 9, 12)
    o = np.array(offsets, np.int32)
    assert_same(vn.transpose(t, o), ref.transpose(to_reference(t), o))


@pytest.mark.parametrize("rows", (1, 31, 32, 33, 128, 200))
def test_blocks_that_turn_keep_every_bit(rows):
    for format, axis, cols in ((vn.FP8, 0, 64), (vn.MXFP8, 0, 64), (vn.MXFP4, 0, 64), (vn.FP8_BLOCK, -1, 256)):
        t = random_scaled(format, (rows, cols), rows, axis=axis)
        assert_same(vn.transpose(t), ref.transpose(to_reference(t)), f"{format.name} axis {axis}")


# --- data as it comes: whole chunks take the short ways of re-encoding, where random codes never do ---


@pytest.mark.parametrize("kind", ("normal", "outliers", "zeros"))
@pytest.mark.parametrize(("source", "target"), [(a, b) for a, b in PAIRS if a is not b], ids=label)
def test_requantize_of_quantised_data(source, target, kind):
    t = vn.quantize(draw(kind, (130, 512), 8), source)
    assert_same(vn.requantize(t, target), ref.requantize(to_reference(t), target))


@pytest.mark.parametrize("rows", (4095, 4096, 4097, 9000))
def test_scales_of_many_tiles(rows):
    """Those of turned tiles wait for one another: runs that begin and end within a sector, several matrices at once."""
    steps = np.random.default_rng(rows).integers(-20, 20, (-(-rows // 32), 640)).repeat(32, 0)[:rows]
    x = np.ldexp(draw("normal", (rows, 640), rows), steps).astype(vn.bfloat16.numpy)
    for format in (vn.FP8, vn.MXFP4):
        t = random_scaled(format, (rows, 640), rows, 100)
        assert_same(vn.transpose(t), ref.transpose(to_reference(t)), f"{format.name}, {rows} rows")

    @vn.jit
    def columns(x):
        down = [vn.quantize(x, format, axis=0) for format in (vn.FP8, vn.MXFP8)]
        return *(vn.transpose(d) for d in down), vn.quantize(x, vn.MXFP4)

    eight, mx, _ = columns(x)
    for turned, format in ((eight, vn.FP8), (mx, vn.MXFP8)):
        assert_same(turned, ref.transpose(ref.quantize(x, format, axis=0)), f"{format.name} down columns, {rows} rows")


@pytest.mark.parametrize("kind", ("normal", "outliers", "zeros"))
@pytest.mark.parametrize("source", (vn.MXFP4, vn.MXFP8, vn.FP8), ids=label)
def test_transpose_of_quantised_data(source, kind):
    t = vn.quantize(draw(kind, (300, 512), 8), source)
    assert_same(vn.transpose(t), ref.transpose(to_reference(t)))


def test_ten_million_elements_of_each_conversion():
    rows = [
        draw(kind, (400, 3200), 20 + i)
        for i, kind in enumerate(("normal", "wide", "outliers", "ties", "tiny", "huge", "zeros", "specials"))
    ]
    x = np.concatenate(rows)  # 3200 x 3200
    assert x.size > 10**7
    fp8, mxfp4 = vn.quantize(x, vn.FP8), vn.quantize(x, vn.MXFP4)
    reference = {"fp8": ref.quantize(x, vn.FP8), "mxfp4": ref.quantize(x, vn.MXFP4)}
    assert_same(fp8, reference["fp8"], "to FP8")
    assert_same(mxfp4, reference["mxfp4"], "to MXFP4")
    assert_same(vn.quantize(x, vn.MXFP8), ref.quantize(x, vn.MXFP8), "to MXFP8")
    assert_same(vn.requantize(fp8, vn.MXFP4), ref.requantize(reference["fp8"], vn.MXFP4), "FP8 to MXFP4")
    assert_same(vn.requantize(mxfp4, vn.FP8), ref.requantize(reference["mxfp4"], vn.FP8), "MXFP4 to FP8")
    assert_same(vn.transpose(fp8), ref.transpose(reference["fp8"]), "FP8 transposed")
    assert_same(vn.transpose(mxfp4), ref.transpose(reference["mxfp4"]), "MXFP4 transposed")
    np.testing.assert_array_equal(vn.dequantize(fp8), ref.dequantize(reference["fp8"]))
    np.testing.assert_array_equal(vn.dequantize(mxfp4), ref.dequantize(reference["mxfp4"]))


# --- exhaustive sets ---


def test_all_fp8_codes_at_all_shifts():
    """Row scales of one tile from equal to 2^24 apart: every code drops by every distance, through the subnormals."""
    codes = np.tile(np.arange(256, dtype=np.uint8), (128, 1))
    codes[:, (codes[0] & 0x7F) == 0x7F] = 0
    for top in (60, 127, 254):
        scales = np.repeat((top - np.arange(128) % 25).astype(np.uint8)[:, None], 2, axis=1)
        t = from_reference(ref.Scaled(codes, scales, vn.FP8, (1, 128)))
        assert_same(vn.transpose(t), ref.transpose(to_reference(t)), f"top scale {top}")


def test_all_fp4_codes_at_all_shifts():
    """MXFP4 to FP8, by rows and by columns, at every distance from 0 to 40."""
    distance = np.arange(41)
    codes = np.tile(np.arange(16, dtype=np.uint8), (41, 8))
    scales = np.stack([np.full(41, 127), 127 - distance, np.full(41, 127), 127 - distance], axis=1).astype(np.uint8)
    t = from_reference(ref.Scaled(codes, scales, vn.MXFP4, (1, 32)))
    up = vn.requantize(t, vn.FP8)
    assert_same(up, ref.requantize(to_reference(t), vn.FP8))
    assert_same(vn.transpose(t), ref.transpose(to_reference(t)))
    lossless = (np.asarray(up.dequantize()) == np.asarray(t.dequantize())).all(axis=1)
    # Fj - E = 6 - distance, and the smallest code is 0.5 = 2^-1: lossless down to 2^-9, that is to distance 14.
    np.testing.assert_array_equal(lossless, distance <= 14)


def test_all_fp8_codes_to_fp4_under_every_amax():
    """Every code below every largest code of its block."""
    for rule in RULES:
        format = vn.MXFP4.replace(scale_rule=rule)
        codes = np.zeros((127 * 8, 128), np.uint8)
        for amax in range(127):
            below = np.minimum(np.arange(248), amax)  # 8 rows x 31 codes, plus the largest itself
            rows = codes[amax * 8 : amax * 8 + 8].reshape(8, 4, 32)
            rows[:, :, 0] = amax
            rows[:, :, 1:] = np.resize(below, (8, 4, 31))
        codes[1::2] |= 0x80
        for scale in (0, 1, 5, 127, 250, 254, 255):
            t = from_reference(ref.Scaled(codes, np.full((len(codes), 1), scale, np.uint8), vn.FP8, (1, 128)))
            assert_same(vn.requantize(t, format), ref.requantize(to_reference(t), format), f"{rule}, scale {scale}")


@pytest.mark.parametrize("format", (vn.MXFP4, vn.MXFP8), ids=label)
def test_every_tie_with_both_signs(format):
    values = ref.codes.magnitudes(format.element)
    ties = (values[1:] + values[:-1]) / 2
    around = np.concatenate(
        [ties, np.nextafter(ties.astype(np.float32), 0), np.nextafter(ties.astype(np.float32), np.float32(1e9))]
    )
    around = around[around < values[-1]].astype(np.float32)
    blocks = np.zeros((len(around), 32), np.float32)
    blocks[:, 0] = values[-1]  # fixes the scale at 1
    blocks[:, 1], blocks[:, 2] = around, -around
    for exponent in (-100, 0, 100):
        x = np.ldexp(blocks, exponent).astype(np.float32)
        t = vn.quantize(x, format)
        assert (np.asarray(t.scales) == 127 + exponent).all()
        assert_same(t, ref.quantize(x, format))


def test_the_ties_of_the_contract():
    expected = {0.25: 0, 0.75: 1, 1.25: 1, 1.75: 2, 2.5: 2, 3.5: 4, 5: 4}
    x = np.zeros((1, 32), np.float32)
    x[0, : len(expected)] = list(expected)
    x[0, 10 : 10 + len(expected)] = [-v for v in expected]
    x[0, 31] = 6
    decoded = vn.quantize(x, vn.MXFP4).dequantize()[0]
    np.testing.assert_array_equal(decoded[: len(expected)], list(expected.values()))
    np.testing.assert_array_equal(decoded[10 : 10 + len(expected)], [-v for v in expected.values()])


@pytest.mark.parametrize("format", [f for f in E8M0 if f.block[0] == 1], ids=label)
def test_poison_stays_in_its_block_and_zero_blocks_have_scale_zero(format):
    width = format.block[1]
    x = np.ones((2, 4 * width), np.float32)
    x[0, 0], x[0, width], x[0, 2 * width : 3 * width] = np.nan, -np.inf, 0.0
    t = vn.quantize(x, format)
    np.testing.assert_array_equal(t.scales[0, :3], [255, 255, 0])
    decoded = t.dequantize()
    assert np.isnan(decoded[0, : 2 * width]).all()
    assert (decoded[0, 2 * width : 3 * width] == 0).all() and (decoded[0, 3 * width :] == 1).all() and (decoded[1] == 1).all()


def test_stochastic_rounding_is_the_reference_and_unbiased():
    for format in (vn.MXFP4, vn.FP8):
        stochastic = format.replace(rounding="stochastic")
        x = draw("normal", (64, 256), 3)
        for seed in (0, 1, 2**40 + 7):
            assert_same(vn.quantize(x, stochastic, seed=seed), ref.quantize(x, format, seed=seed))
    x = np.full((4096, 32), 1.3, np.float32)
    x[:, 0] = 6
    mean = vn.quantize(x, vn.MXFP4.replace(rounding="stochastic"), seed=5).dequantize()[:, 1:].mean()
    assert abs(mean - 1.3) < 0.005


def test_losses_are_counted():
    t = random_scaled(vn.MXFP4, (64, 128), 3, spread=4)
    clean = from_reference(ref.Scaled(to_reference(t).codes, np.full((64, 4), 120, np.uint8), vn.MXFP4, (1, 32)))
    assert vn.reencoding_losses(clean, vn.FP8) == 0
    scales = np.full((64, 4), 120, np.uint8)
    scales[:5, 1] = 60
    codes = np.full((64, 128), 3, np.uint8)
    far = from_reference(ref.Scaled(codes, scales, vn.MXFP4, (1, 32)))
    assert vn.reencoding_losses(far, vn.FP8) == 5


# --- controls: the comparison must be able to fail ---


@pytest.mark.parametrize("bug", ("half-away ties", "dropped hidden bit", "floor(log2) off by one"))
def test_planted_bugs_are_found(bug, monkeypatch):
    from vernier.reference import codes, formats

    x = draw("ties", (64, 128), 11)
    t = random_scaled(vn.FP8, (128, 128), 2, 30)
    if bug == "half-away ties":

        def half_away(values, element):
            table = codes.magnitudes(element)
            size = np.minimum(np.abs(np.nan_to_num(values, nan=0.0)), table[-1])
            code = np.searchsorted((table[1:] + table[:-1]) / 2, size, side="right")
            return (code | np.where(np.signbit(values), codes.sign_bit(element), 0)).astype(np.uint8)

        monkeypatch.setattr(formats, "encode_values", half_away)
    elif bug == "dropped hidden bit":
        honest = codes.encode_values

        def dropped(values, element):
            code = honest(values, element)
            subnormal = (code & 0x78) == 0
            return np.where(subnormal & (np.abs(values) > 0), code & 0x83, code).astype(np.uint8)

        monkeypatch.setattr(formats, "encode_values", dropped)
    else:
        honest_exponent = formats.block_exponent
        monkeypatch.setattr(formats, "block_exponent", lambda a, e, r: honest_exponent(a, e, r) - (np.frexp(a)[0] == 0.5))
    with pytest.raises(AssertionError, match="differ"):
        assert_same(vn.quantize(x, vn.MXFP4), ref.quantize(x, vn.MXFP4))
        assert_same(vn.transpose(t), ref.transpose(to_reference(t)))


@pytest.mark.parametrize("target", (vn.MXFP4, vn.NVFP4), ids=label)
def test_codes_of_run_time_columns(target):
    """Behind a transpose, rows are columns: every half of a byte is written, and every scale."""
    t = vn.quantize(draw("normal", (256, 128), 5), vn.FP8)
    turned = vn.transpose(t)
    for f, expected in (
        (lambda t: vn.quantize(vn.dequantize(vn.transpose(t)), target), vn.quantize(vn.dequantize(turned), target)),
        (lambda t: vn.requantize(vn.transpose(t), vn.MXFP4), vn.requantize(turned, vn.MXFP4)),
    ):
        got = vn.jit(f)(t)
        np.testing.assert_array_equal(got.payload, expected.payload)
        np.testing.assert_array_equal(got.scales, expected.scales)
