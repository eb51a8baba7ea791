"""What is particular to GPUs: arrays of several libraries, streams, graphs, bundles, refusals. Bits are tested by all other
tests with `--device cuda`."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
import vernier as vn

SPEC = vn.ArraySpec((None, 256), vn.bfloat16)


def two(x):
    return x * 2.0


def quantize(x):
    return vn.quantize(x, vn.FP8), vn.quantize(x, vn.MXFP4)


def silu_gradient(g, dy):
    s = vn.sigmoid(g)
    return dy * (s * (1.0 + g * (1.0 - s)))


def both_ways(v, format=vn.FP8):
    return vn.quantize(v, format), vn.quantize(v, format, axis=0)


WIDE = vn.ArraySpec((None, 1024), vn.bfloat16)

# --- without a GPU ---

PROGRAMS = {
    "to FP8 and MXFP4": (quantize, (SPEC,)),
    "FP8 to MXFP4": (lambda t: vn.requantize(t, vn.MXFP4), (vn.ScaledSpec((None, 512), vn.FP8),)),
    "MXFP4 to FP8": (lambda t: vn.requantize(t, vn.FP8), (vn.ScaledSpec((None, 512), vn.MXFP4),)),
    "FP8 transpose": (vn.transpose, (vn.ScaledSpec((None, 512), vn.FP8),)),
    "MXFP4 transpose": (vn.transpose, (vn.ScaledSpec((None, 512), vn.MXFP4),)),
    "bf16 transpose": (vn.transpose, (SPEC,)),
    "grouped transpose": (vn.transpose, (vn.ScaledSpec((None, 512), vn.FP8), vn.ArraySpec((None,), vn.int32))),
    "columns": (lambda x: vn.quantize(x, vn.FP8, axis=0), (SPEC,)),
    "permute": (lambda x, i: vn.permute(x, i, 128), (SPEC, vn.ArraySpec((None,), vn.int32))),
    "unpermute": (vn.unpermute, (SPEC, vn.ArraySpec((None, 8), vn.int32), vn.ArraySpec((None, 8), vn.float32))),
    "norm": (lambda x: vn.quantize(x * vn.rsqrt((x * x).mean(axis=1, keepdims=True) + 1e-6), vn.FP8), (SPEC,)),
    "column sum": (lambda x: x.sum(axis=0), (vn.ArraySpec((None, 256), vn.float32),)),
    "odd width": (lambda x: x * 3.0, (vn.ArraySpec((None, 577), vn.bfloat16),)),
    "NVFP4": (lambda x: vn.quantize(x, vn.NVFP4), (SPEC,)),
    # These ran out of registers in one shape of tiles or another.
    "gelu": (lambda x: vn.quantize(vn.gelu(x), vn.FP8), (WIDE,)),
    "gelu down columns": (lambda x: vn.quantize(vn.gelu(x), vn.FP8, axis=0), (WIDE,)),
    "power to MXFP4": (lambda x: vn.quantize(vn.power(vn.abs(x), 0.7), vn.MXFP4), (WIDE,)),
    "gradient of silu both ways": (lambda g, dy: both_ways(silu_gradient(g, dy)), (WIDE, WIDE)),
    "geglu both ways": (lambda g, u: both_ways(vn.gelu(g) * u, vn.MXFP4), (WIDE, WIDE)),
    "three formats down columns": (lambda x: tuple(vn.quantize(x, f, axis=0) for f in (vn.FP8, vn.MXFP4, vn.MXFP8)), (WIDE,)),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_compiles_to_a_cubin_without_spills(name):
    function, specs = PROGRAMS[name]
    for kernel in vn.compile(function, *specs, target="sm_90a").kernels:
        assert kernel.cubin.startswith(b"\x7fELF") and ".target sm_90a" in kernel.ptx
        assert kernel.spill_bytes == 0 and not kernel.warnings and 0 < kernel.registers <= 255
        assert kernel.threads % 32 == 0 and "threads" in kernel.schedule


def test_what_is_shown_is_what_runs():
    """Also where a kernel was lowered again, with less for each thread to hold."""
    f = vn.jit(lambda g, dy: both_ways(silu_gradient(g, dy)))
    (kernel,) = vn.compile(f, WIDE, WIDE, target="sm_90a").kernels
    blocks = re.compile(r"\.minnctapersm \d+")  # which the assembler may be asked to lower at last
    assert blocks.sub("", kernel.ptx) == blocks.sub("", f.ir("ptx", WIDE, WIDE))
    assert " 0 bytes spill stores" in f.ir("cubin", WIDE, WIDE)


@pytest.mark.parametrize(
    "program",
    (
        lambda g, u: both_ways(silu_gradient(g, u)),
        lambda g, u: both_ways(vn.gelu(g) * u, vn.MXFP4),
        lambda g, u: tuple(vn.quantize(vn.tanh(g) - u, f, axis=0) for f in (vn.FP8, vn.MXFP4, vn.MXFP8)),
        lambda g, u: (vn.quantize(vn.gelu(g) * u, vn.FP8), vn.transpose(vn.quantize(vn.gelu(g) * u, vn.FP8))),
    ),
    ids=("gradient of silu", "geglu", "three formats", "rows and turned"),
)
def test_bits_of_kernels_that_ran_out_of_registers(program):
    g, u = np.random.default_rng(0).standard_normal((2, 300, 1024)).astype(vn.bfloat16.numpy)
    for got, expected in zip(vn.jit(program)(g, u), vn.jit(fuse=False)(program)(g, u)):
        np.testing.assert_array_equal(got.payload, expected.payload)
        np.testing.assert_array_equal(got.scales, expected.scales)


def test_bundles_hold_what_was_compiled(tmp_path):
    vn.compile(quantize, SPEC, target="host").save(tmp_path)
    vn.compile(two, SPEC, target="sm_90a").save(tmp_path)
    bundle = vn.load_bundle(tmp_path)
    assert sorted((name, target) for _, name, target, _ in bundle.entries) == [("quantize", "host"), ("two", "sm_90a")]
    x = np.random.default_rng(0).standard_normal((10, 256)).astype(vn.bfloat16.numpy)
    for got, expected in zip(bundle["quantize"](x), vn.jit(quantize)(x)):
        np.testing.assert_array_equal(got.payload, expected.payload)
        np.testing.assert_array_equal(got.scales, expected.scales)
        assert got.format == expected.format
    with pytest.raises(vn.LaunchError, match="two: compiled for sm_90a, but the arrays are on the CPU"):
        bundle["two"](x)
    with pytest.raises(vn.CompileError, match="has no 'three'; it has: quantize, two"):
        bundle["three"]
    with pytest.raises(vn.CompileError, match="no bundle in"):
        vn.load_bundle(tmp_path / "elsewhere")


def _half(x, s):
    return x * s, x > 0, vn.sum(x, axis=1, keepdims=True)


def test_functions_of_a_bundle_take_what_they_were_compiled_for(tmp_path):
    vn.compile(_half, vn.ArraySpec((None, 128), vn.float32), vn.ArraySpec((), vn.float32)).save(tmp_path)
    vn.compile(vn.jit(lambda t: vn.dequantize(t)), vn.ScaledSpec((None, 256), vn.FP8)).save(tmp_path)
    loaded, decode = vn.load_bundle(tmp_path)["half"], vn.load_bundle(tmp_path)["lambda"]
    x = np.random.default_rng(0).standard_normal((3, 128)).astype(np.float32)
    product, positive, sums = loaded(x, 0.5)
    np.testing.assert_array_equal(product, x * np.float32(0.5))
    np.testing.assert_array_equal(positive, x > 0)
    assert positive.dtype == np.bool_ and sums.shape == (3,)
    for args, message in (
        ((x,), "expected 2 arguments, but got 1"),
        ((x.astype(np.int32), 0.5), "argument 0: expected f32, but got i32"),
        ((x.astype(vn.bfloat16.numpy), 0.5), "argument 0: expected f32, but got bf16"),
        ((x, "a"), "argument 1: expected f32, but got str"),
        ((vn.quantize(x, vn.FP8), 0.5), "argument 0: expected f32, but got FP8, axis -1"),
        ((x[:, :64], 0.5), "expected dimension 1 to be 128"),
    ):
        with pytest.raises(vn.LaunchError, match=message):
            loaded(*args)
    wide = np.concatenate([x, x], axis=1)
    np.testing.assert_array_equal(decode(vn.quantize(wide, vn.FP8.replace(scale_rule="floor"))),
                                  vn.quantize(wide, vn.FP8.replace(scale_rule="floor")).dequantize())  # fmt: skip
    with pytest.raises(vn.LaunchError, match="expected FP8, axis -1, but got MXFP8, axis -1"):
        decode(vn.quantize(wide, vn.MXFP8))
    with pytest.raises(vn.LaunchError, match="expected FP8, axis -1, but got FP8, axis 0"):
        decode(vn.quantize(np.zeros((128, 256), np.float32), vn.FP8, axis=0))


def test_grouped_transposes_of_a_bundle(tmp_path):
    spec = (vn.ScaledSpec((None, 256), vn.FP8), vn.ArraySpec((None,), vn.int32))
    turn = vn.jit(lambda t, offsets: vn.transpose(t, offsets))
    vn.compile(turn, *spec).save(tmp_path)
    t = vn.quantize(np.random.default_rng(0).standard_normal((200, 256)).astype(np.float32), vn.FP8)
    offsets = np.array([0, 70, 200], np.int32)
    got, expected = vn.load_bundle(tmp_path)["lambda"](t, offsets), turn(t, offsets)
    assert got.grouped
    np.testing.assert_array_equal(got.payload, expected.payload)
    np.testing.assert_array_equal(got.scales, expected.scales)


def test_compiling_can_be_forbidden(tmp_path):
    vn.compile(two, SPEC, target="host").save(tmp_path)
    code = """
import numpy as np, vernier as vn
x = np.ones((3, 256), vn.bfloat16.numpy)
def two(x):
    return x * 2.0
assert (vn.jit(two)(x) == 2).all()
try:
    vn.jit(lambda x: x * 3.0)(x)
except vn.CompileError as error:
    assert "VERNIER_COMPILE=never forbids compiling" in str(error)
else:
    raise AssertionError
"""
    environment = os.environ | {"VERNIER_BUNDLES": str(tmp_path), "VERNIER_COMPILE": "never", "VERNIER_CACHE_DIR": ""}
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def test_torch_operators_have_fakes():
    torch = pytest.importorskip("torch")
    op = vn.torch_op(quantize, "test_quantize")
    x = torch.randn(10, 256).bfloat16()
    expected = [t.shape for t in op(x)]
    compiled = torch.compile(lambda x: op(x * 2)[0].float().sum(), backend="aot_eager", dynamic=True)
    for rows in (10, 20):
        y = torch.randn(rows, 256).bfloat16()
        assert compiled(y) == op(y * 2)[0].float().sum()
    with torch._subclasses.FakeTensorMode() as mode:
        assert [t.shape for t in op(mode.from_tensor(x))] == expected
    with pytest.raises(vn.CompileError, match="expected a name for the operator"):
        vn.torch_op(two, name="2x")


# --- with a GPU ---


@pytest.fixture
def x():
    torch = pytest.importorskip("torch")
    return torch.randn(300, 256, device="cuda").bfloat16()


@pytest.mark.gpu
def test_copies_beside_kernels():
    torch = pytest.importorskip("torch")
    from vernier import _vernier

    courier, stream = _vernier.Courier(0), torch.cuda.current_stream().cuda_stream
    source = torch.zeros(1 << 24, device="cuda")
    target = torch.full_like(source, -1)
    for step in range(20):  # each copy comes after the sum before it, and ahead of the sum after the join
        source += 1
        courier.copy(target.data_ptr(), source.data_ptr(), source.numel() * 4, stream)
        courier.join(stream)
        assert step % 5 or (target == step + 1).all()
    with pytest.raises(vn.LaunchError, match="no device"):
        _vernier.Courier(4096)


@pytest.mark.gpu
def test_streams_and_graphs(x):
    import torch

    f = vn.jit(quantize)
    expected = f(x)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        other = f(x)
    stream.synchronize()
    assert torch.equal(other[0].payload, expected[0].payload)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = f(x)
    x.copy_(torch.randn_like(x))
    graph.replay()
    torch.cuda.synchronize()
    for a, b in zip(captured, f(x)):
        assert torch.equal(a.payload, b.payload) and torch.equal(a.scales, b.scales)


@pytest.mark.gpu
def test_the_short_way_gives_the_same(x):
    import torch

    f, seen = vn.jit(quantize), []
    for rows in (300, 17, 0, 300):
        seen.append(f(x[:rows]))
    assert torch.equal(seen[0][1].payload, seen[3][1].payload)
    assert isinstance(seen[3][0], vn.ScaledTensor) and seen[3][0].shape == (300, 256) and seen[2][0].payload.shape == (0, 256)
    assert torch.equal(vn.dequantize(seen[3][0], vn.bfloat16), vn.dequantize(seen[0][0], vn.bfloat16))


@pytest.mark.gpu
def test_other_libraries(x):
    cupy = pytest.importorskip("cupy")
    a = cupy.arange(64 * 256, dtype=cupy.float32).reshape(64, 256)
    b = vn.jit(two)(a)
    assert isinstance(b, cupy.ndarray) and bool((b == a * 2).all())
    jax = pytest.importorskip("jax")
    if jax.default_backend() == "gpu":
        j = jax.numpy.arange(64 * 256, dtype=jax.numpy.float32).reshape(64, 256)
        assert bool((vn.jit(two)(j) == j * 2).all())


@pytest.mark.gpu
def test_views_of_eight_bit_floats(x):
    import torch

    q = vn.quantize(x, vn.FP8)
    views = vn.ScaledTensor(q.payload.view(torch.float8_e4m3fn), q.scales.view(torch.float8_e8m0fnu), vn.FP8, q.shape)
    assert torch.equal(vn.dequantize(views, vn.bfloat16), vn.dequantize(q, vn.bfloat16))


@pytest.mark.gpu
def test_results_in_memory_of_the_caller(x):
    import torch

    @vn.jit
    def encoded(x):
        return vn.quantize(x, vn.MXFP4)

    tensor = x.repeat(1, 4)
    expected = encoded(tensor)
    rows, large = len(tensor), torch.zeros(3 * len(tensor), 512, dtype=torch.uint8, device="cuda")
    scales = torch.zeros(3 * rows, 32, dtype=torch.uint8, device="cuda")
    out = vn.ScaledTensor(large[rows : 2 * rows], scales[rows : 2 * rows], vn.MXFP4, (rows, 1024))
    assert encoded(tensor, out=out) is out
    assert encoded._fast.call((tensor,), out) is out  # the short way
    assert torch.equal(large[rows : 2 * rows], expected.payload) and torch.equal(scales[rows : 2 * rows], expected.scales)
    assert not large[:rows].any() and not large[2 * rows :].any()
    with pytest.raises(vn.LaunchError, match="expected uint8 of shape"):
        encoded(tensor[:-1], out=out)
    with pytest.raises(vn.LaunchError, match="contiguous"):
        vn.jit(lambda x: x * 2)(tensor, out=torch.zeros(1024, rows, device="cuda").T)
    wide = tensor.float()
    with pytest.raises(vn.LaunchError, match="overlaps argument 0"):
        vn.jit(lambda x: x[:, :512] * 2)(wide, out=wide.view(-1)[: rows * 512].view(rows, 512))


@pytest.mark.gpu
def test_more_results_than_the_short_way_has_room_for(x):
    many = vn.jit(lambda x: tuple(x * i for i in range(1, 41)))
    for _ in range(2):
        results = many(x)
    assert len(results) == 40 and all((r == x.float() * i).all() for i, r in enumerate(results, 1))


@pytest.mark.gpu
@pytest.mark.parametrize("sizes", [[130, 0, 2000, 1], [513]])
def test_gradients_are_added_in_place(sizes):
    """More tiles than places on their way; whole ones and parts."""
    import torch

    generator = torch.Generator("cuda").manual_seed(0)
    rows = sum(sizes)
    draw = [torch.randn(rows, n, device="cuda", generator=generator) for n in (1152, 2176)]
    dy, x = vn.quantize(draw[0], vn.FP8), vn.quantize(draw[1], vn.MXFP4)
    offsets = torch.tensor([0, *sizes], device="cuda").cumsum(0).to(torch.int32)
    gradient = torch.randn(len(sizes), 1152, 2176, device="cuda", generator=generator)
    add = vn.jit(lambda dy, x, o, g: vn.grouped_wgrad(dy, x, o, accumulate=g))
    expected = add(dy, x, offsets, gradient)
    for _ in range(3):
        inplace = gradient.clone()
        assert add(dy, x, offsets, inplace, out=inplace) is inplace
        assert torch.equal(inplace, expected)


@pytest.mark.gpu
def test_what_cannot_run_is_refused_or_copied(x):
    import torch

    view = torch.empty(300 * 256 + 1, dtype=torch.bfloat16, device="cuda")[1:].view(300, 256).copy_(x)
    assert torch.equal(vn.jit(two)(view), x * 2)  # misaligned
    assert torch.equal(vn.jit(two)(x.T.contiguous().T), x * 2)  # not contiguous
    with pytest.raises(vn.LaunchError, match=r"argument 0 \(a\) is on cuda:0 and argument 1 \(b\) on the CPU"):
        vn.jit(lambda a, b: a + b)(x, x.cpu())
    with pytest.raises(vn.LaunchError, match="sizes differ"):
        vn.jit(lambda a, b: a + b)(x, x[:10])
    offsets = torch.tensor([-5, 10, 1000], dtype=torch.int32, device="cuda")  # kept within the rows
    q = vn.quantize(x, vn.FP8)
    turned = vn.transpose(q, offsets)
    inside = vn.transpose(q, torch.tensor([0, 10, 300], dtype=torch.int32, device="cuda"))
    assert torch.equal(turned.payload, inside.payload)
    for outside, kept in (([-5, 10, 1000], [0, 10, 300]), ([-5, 100, 1000], [0, 100, 300]), ([0, 350, 1000], [0, 300, 300])):
        pair = [vn.grouped_wgrad(q, q, torch.tensor(o, dtype=torch.int32, device="cuda")) for o in (outside, kept)]
        assert torch.equal(*pair)
    plain = x[:, :36].contiguous()
    with pytest.raises(vn.CompileError, match="K must be known and a multiple of 8 on sm_90a"):
        vn.matmul(plain, plain)


@pytest.mark.gpu
def test_more_than_two_to_the_31_elements():
    import torch

    big = torch.randn(2**18 + 3, 9216, device="cuda", dtype=torch.bfloat16)
    four, eight = vn.quantize(big, vn.MXFP4), vn.quantize(big, vn.FP8)
    for start in (0, 2**18 - 5):
        part = vn.quantize(big[start : start + 8].contiguous(), vn.MXFP4)
        assert torch.equal(part.payload, four.payload[start : start + 8]) and torch.equal(
            part.scales, four.scales[start : start + 8]
        )
    turned, tail = vn.transpose(eight), vn.transpose(vn.quantize(big[2**18 - 128 :].contiguous(), vn.FP8))
    assert torch.equal(tail.payload, turned.payload[:, 2**18 - 128 :])
    moved = vn.permute(big, torch.tensor([2**18 + 2, -1], device="cuda", dtype=torch.int32))
    assert torch.equal(moved[0], big[-1]) and not moved[1].any()
