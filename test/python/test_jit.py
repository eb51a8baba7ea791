"""Compilation: caches in memory and on disk, threads and processes, ahead of time, phases, reports."""

import functools
import json
import os
import subprocess
import sys
import threading
from typing import Any, NamedTuple

import numpy as np
import pytest
import vernier as vn
from helpers import draw

X = draw("normal", (4, 256), 1)
ROOT = os.path.join(os.path.dirname(__file__), "..", "..")


def run_python(code, folder, **environment):
    env = os.environ | {"VERNIER_CACHE_DIR": str(folder), "PYTHONPATH": os.path.join(ROOT, "python")} | environment
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)


PROGRAM = """
import numpy as np, vernier as vn
f = vn.jit(lambda x: vn.quantize(x * 2.0, vn.FP8))
f(np.ones((3, 128), np.float32))
program = next(iter(f._programs.values()))[0].program
print(program.outcome, program.note)
"""


def test_a_second_process_compiles_nothing(tmp_path):
    folder = tmp_path / "cache"
    assert run_python(PROGRAM, folder).stdout.split()[0] == "compiled"
    assert run_python(PROGRAM, folder).stdout.split()[0] == "hit"
    entries = [p for p in folder.iterdir() if not p.name.startswith(".")]
    assert len(entries) == 1
    meta = json.loads((entries[0] / "meta.json").read_text())
    assert meta["key"] == entries[0].name and set(meta["files"]) == {"code.o"}
    assert str(tmp_path) not in (entries[0] / "meta.json").read_text()


def test_line_numbers_are_not_part_of_the_key(tmp_path):
    folder = tmp_path / "cache"
    run_python(PROGRAM, folder)
    assert run_python("\n\n# moved\n" + PROGRAM, folder).stdout.split()[0] == "hit"
    assert run_python(PROGRAM.replace("2.0", "3.0"), folder).stdout.split()[0] == "compiled"


def test_processes_that_race_compile_once(tmp_path):
    folder = tmp_path / "cache"
    env = os.environ | {"VERNIER_CACHE_DIR": str(folder), "PYTHONPATH": os.path.join(ROOT, "python")}
    racers = [subprocess.Popen([sys.executable, "-c", PROGRAM], env=env, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    outcomes = sorted(r.communicate(timeout=120)[0].split()[0] for r in racers)
    assert outcomes == ["compiled", "hit", "hit", "hit"]


@pytest.mark.parametrize("file", ("meta.json", "code.o"))
def test_a_damaged_entry_is_rebuilt(tmp_path, file):
    folder = tmp_path / "cache"
    run_python(PROGRAM, folder)
    entry = next(p for p in folder.iterdir() if not p.name.startswith("."))
    (entry / file).write_bytes(b"damage")
    result = run_python(PROGRAM, folder)
    assert result.returncode == 0 and result.stdout.startswith("compiled") and "set aside" in result.stdout
    assert run_python(PROGRAM, folder).stdout.split()[0] == "hit"


def test_folders_that_cannot_be_used(tmp_path):
    (tmp_path / "file").write_text("x")
    assert run_python(PROGRAM, tmp_path / "file" / "cache").stdout.startswith("unstored cannot make the cache folder")
    assert run_python(PROGRAM, "").stdout.startswith("unstored")
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o777)
    shared.chmod(0o777)
    result = run_python(PROGRAM, shared)
    assert result.returncode == 1 and "can be written to by others" in result.stderr


def test_rows_are_a_run_time_size():
    f = vn.jit(lambda x: vn.quantize(x, vn.MXFP4))
    for rows in (1, 5, 300, 0, 5):
        f(np.ones((rows, 64), np.float32))
    assert len(f._programs) == 1
    f(np.ones((5, 128), np.float32))
    assert len(f._programs) == 2


def test_threads_compile_a_function_once_and_run_it_together():
    traces = []

    @vn.jit
    def f(x):
        traces.append(1)
        return x * 3.0

    results = [None] * 8

    def work(i):
        results[i] = f(X)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(traces) == 1
    for r in results:
        np.testing.assert_array_equal(r, X * 3)


def test_functions_compose_and_methods_work():
    @vn.jit
    def inner(x):
        return vn.relu(x) + 1.0

    class Layer:
        @vn.jit
        def __call__(self, x):
            return vn.quantize(inner(x), vn.FP8)

    layer = Layer()
    expected = vn.quantize(np.maximum(X, 0) + np.float32(1), vn.FP8)
    np.testing.assert_array_equal(layer(X).payload, expected.payload)
    assert vn.jit(kernels=1)(lambda x: inner(x) * 2.0)(X).shape == X.shape


@pytest.mark.host
def test_phases():
    f = vn.jit(lambda x: vn.quantize(x, vn.FP8))
    spec = vn.ArraySpec((None, 256), vn.float32)
    for phase, text in (("input", "mx.quantize"), ("fused", "mx.kernel"), ("loops", "vector.load"), ("llvm", "llvm.func")):
        assert text in f.ir(phase, spec) and text in f.ir(phase, X)
    gpu = (("tiled", "hopper.load"), ("scheduled", "hopper.layout"), ("nvvm", "llvm.func @"), ("ptx", ".target sm_90a"),
           ("cubin", "0 bytes spill stores"))  # fmt: skip
    for phase, text in gpu:
        assert text in f.ir(phase, spec)
    with pytest.raises(vn.CompileError, match="unknown phase 'sass'; phases of host are: input, fused, loops, llvm"):
        f.ir("sass", X)
    with pytest.raises(vn.CompileError, match="unknown phase 'ptx'; phases of host are"):
        f.ir("ptx", X, target="host")


def test_ahead_of_time():
    artifact = vn.compile(
        lambda t, w: vn.dequantize(t) * w[:, None], vn.ScaledSpec((None, 256), vn.MXFP4), vn.ArraySpec((None,), "float32")
    )
    assert [k.name for k in artifact.kernels] and artifact.code.startswith(b"\x7fELF") and artifact.target == "host"
    assert "mx.dequantize" in artifact.kernels[0].operations
    with pytest.raises(vn.CompileError, match="unknown target 'sm_1'; this build knows: host, sm_90a"):
        vn.compile(lambda x: x + 1.0, vn.ArraySpec((None, 4), vn.float32), target="sm_1")


def test_explain_of_specs():
    """Sizes in place of arrays, for a GPU that is not there."""

    @vn.jit
    def f(x, w):
        return vn.quantize(x * w[:, None], vn.FP8), vn.quantize(x, vn.MXFP4)

    x, w = np.ones((1000, 256), np.float32), np.ones(1000, np.float32)
    specs = vn.ArraySpec((1000, 256), vn.float32), vn.ArraySpec((1000,), vn.float32)
    assert f.explain(*specs) == f.explain(x, w)
    target, (kernel,) = f.kernels(*specs, target="sm_90a")
    assert target == "sm_90a" and kernel["bytes_read"] == 1000 * 257 * 4
    assert kernel["bytes_written"] == 1000 * (256 + 2 + 128 + 8)
    with pytest.raises(vn.CompileError, match="specs alone"):
        f.explain(specs[0], w)
    with pytest.raises(vn.CompileError, match="all their sizes"):
        f.explain(vn.ArraySpec((None, 256), vn.float32), specs[1])
    with pytest.raises(vn.CompileError, match="these arrays run on host"):
        f.explain(x, w, target="sm_90a")


def test_explain_counts_kernels_bytes_and_reasons():
    f = vn.jit(lambda x: (vn.quantize(x, vn.FP8), vn.quantize(x - x.mean(axis=0, keepdims=True), vn.MXFP4)))
    text = f.explain(X)
    assert "2 kernels" in text and "bytes:" in text and "floor" in text
    assert "a reduction over all rows must be finished before its result is used" in text
    chain = vn.jit(lambda t: vn.requantize(vn.requantize(t, vn.MXFP8), vn.FP8)).explain(vn.quantize(X, vn.MXFP4))
    assert "mx.requantize (exact)" in chain and "mx.requantize (exact within the lossless window)" in chain
    one = vn.jit(lambda x: vn.quantize(x, vn.FP8)).explain(X)
    assert "4.1 KB read, 1.0 KB written" in one


def test_kernels_compile_in_less_than_half_a_second():
    import statistics
    import time

    def swiglu(x, w):
        gate, up = vn.split(x, 2)
        h = vn.silu(gate) * up * w[:, None]
        return vn.quantize(h, vn.FP8), vn.quantize(h, vn.MXFP4), vn.transpose(vn.quantize(h, vn.MXFP4))

    def norm(x):
        return vn.quantize(x * vn.rsqrt((x**2).mean(axis=1, keepdims=True) + 1e-6), vn.FP8_BLOCK)

    specs = [
        (swiglu, vn.ArraySpec((None, 512), vn.bfloat16), vn.ArraySpec((None,), vn.float32)),
        (norm, vn.ArraySpec((None, 512), vn.float32)),
        (lambda t: vn.requantize(t, vn.MXFP4), vn.ScaledSpec((None, 512), vn.FP8)),
        (lambda t: vn.transpose(t), vn.ScaledSpec((None, 512), vn.MXFP4)),
        (lambda a, b: vn.matmul(a, b), vn.ScaledSpec((None, 512), vn.FP8), vn.ScaledSpec((256, 512), vn.FP8_BLOCK)),
    ]
    times = []
    for function, *arguments in specs:
        start = time.perf_counter()
        vn.compile(function, *arguments)
        times.append(time.perf_counter() - start)
    assert statistics.median(times) < 0.5


def test_import_needs_neither_torch_nor_cuda(tmp_path):
    code = "import sys, vernier as vn, numpy as np; vn.quantize(np.ones((1, 128), np.float32), vn.FP8); print([m for m in ('torch', 'cupy', 'jax') if m in sys.modules])"
    assert run_python(code, tmp_path / "cache").stdout.strip() == "[]"


def test_a_product_is_compiled_for_its_weights_rows():
    f = vn.jit(lambda a, b: vn.matmul(a, b, vn.float32))
    for rows, cols in ((3, 64), (5, 64), (3, 96), (4, 64)):
        a, b = np.ones((rows, 128), np.float32), np.ones((cols, 128), np.float32)
        assert (f(a, b) == 128).all() and f(a, b).shape == (rows, cols)
    assert sorted(p.trace.specialized for p in next(iter(f._programs.values()))) == [((1, 64),), ((1, 96),)]


@pytest.mark.host
def test_names_of_functions():
    def _2d(x):
        return x * 2.0

    def é3(x):
        return x * 3.0

    x = np.ones((2, 128), np.float32)
    for function, factor in ((_2d, 2), (é3, 3), (functools.partial(_2d), 2), (lambda x: x * 4.0, 4)):
        assert (vn.jit(function)(x) == factor).all()
        assert vn.compile(function, vn.ArraySpec((None, 128), vn.float32), target="sm_90a").kernels[0].registers > 0


class Pair(NamedTuple):
    left: Any
    right: Any


def test_named_tuples_stay_what_they_are():
    @vn.jit
    def swapped(pair):
        return Pair(pair.right * 2.0, pair.left)

    x, y = draw("normal", (3, 8), 1), draw("normal", (2, 8), 2)
    got = swapped(Pair(x, y))
    assert type(got) is Pair
    np.testing.assert_array_equal(got.left, y * 2)
    np.testing.assert_array_equal(got.right, x)


def test_a_hundred_arrays_in_one_call():
    xs = [draw("normal", (4, 64), i) for i in range(100)]
    total, *doubled = vn.jit(lambda xs: [sum(xs[1:], xs[0])] + [x * 2.0 for x in xs])(xs)
    np.testing.assert_array_equal(total, sum(xs[1:], xs[0]))
    for got, x in zip(doubled, xs):
        np.testing.assert_array_equal(got, x * 2)
