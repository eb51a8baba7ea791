"""Functions of bf16 numbers that kernels look up: the bits of those that they compute, for every number."""

import numpy as np
import pytest
import vernier as vn
from helpers import draw

WIDE = vn.float32
FUNCTIONS = {
    "sigmoid": vn.sigmoid,
    "silu": vn.silu,
    "exp": vn.exp,
    "log": vn.log,
    "a chain": lambda x: vn.tanh(x * 0.5) * x + 1.0,
    "a function and its gradient": lambda x: (vn.silu(x), (lambda s: s * (1 + x * (1 - s)))(vn.sigmoid(x))),
    "two functions": lambda x: vn.exp(x) - vn.sigmoid(x * 3.0),
}


def lookups(function, *specs):
    text = vn.jit(function).ir("tiled", *specs)
    return text.count("hopper.tabulate "), text.count("hopper.lookup ")


def everything(rows, columns):
    """Rows with every bf16 number, mixed."""
    count = rows * columns
    assert count % 65536 == 0
    order = np.random.default_rng(3).permutation(count) % 65536
    return order.astype(np.uint16).view(vn.bfloat16.numpy).reshape(rows, columns)


@pytest.mark.device
@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_number(name, request, monkeypatch):
    monkeypatch.setenv("VERNIER_EMULATOR_MULTIPROCESSORS", "1")
    # Enough tasks for tables to be worth it.
    x = everything(8192 if request.config.getoption("--device") == "emulated" else 1 << 20, 64)
    function = FUNCTIONS[name]
    looked_up = vn.jit(lambda a: function(vn.cast(a, WIDE)))
    assert lookups(lambda a: function(vn.cast(a, WIDE)), vn.ArraySpec(x.shape, vn.bfloat16))[0] in (1, 2)
    computed = vn.jit(lambda a: function(a))(x.astype(np.float32))
    results = looked_up(x)
    for a, b in zip(results, computed) if isinstance(results, tuple) else [(results, computed)]:
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize("name, tables, values", [
    ("sigmoid", 1, 1), ("silu", 1, 1), ("a chain", 1, 1), ("two functions", 1, 1), ("a function and its gradient", 1, 1),
])  # fmt: skip
def test_what_is_looked_up(name, tables, values):
    spec = vn.ArraySpec((None, 256), vn.bfloat16)
    assert lookups(lambda a: FUNCTIONS[name](vn.cast(a, WIDE)), spec) == (tables, values)


def test_what_is_computed():
    spec, vector = vn.ArraySpec((None, 256), vn.bfloat16), vn.ArraySpec((None,), WIDE)
    # Of other numbers, of two, or not dear.
    assert lookups(vn.silu, vn.ArraySpec((None, 256), WIDE)) == (0, 0)
    assert lookups(lambda a, w: vn.exp(a * w[:, None]), spec, vector) == (0, 0)
    assert lookups(lambda a: vn.relu(a) * 2.0, spec) == (0, 0)
    # The same function of two matrices is one table; what follows with others is computed.
    both = lookups(lambda a, b, w: vn.sigmoid(vn.cast(a, WIDE)) * vn.sigmoid(vn.cast(b, WIDE)) * w[:, None], spec, spec, vector)
    assert both == (1, 2)


@pytest.mark.device
@pytest.mark.parametrize("rows", (0, 1, 33, 5000))
def test_odd_shapes(rows, monkeypatch):
    """With tables and without, columns that are cut off, one column a thread."""
    monkeypatch.setenv("VERNIER_EMULATOR_MULTIPROCESSORS", "1")

    def swiglu(x, w):
        gate, up = vn.split(x, 2, axis=1)
        h = vn.silu(gate) * up * w[:, None]
        return vn.quantize(h, vn.FP8), vn.quantize(h, vn.MXFP4), h.sum(axis=1)

    for columns in (128, 640):
        x, w = draw("normal", (rows, 2 * columns), 5).astype(vn.bfloat16.numpy), draw("normal", (rows,), 6)
        wide = np.asarray(x, np.float32)
        for a, b in zip(vn.jit(swiglu)(x, w), vn.jit(swiglu)(wide, w)):
            parts = ("payload", "scales") if isinstance(a, vn.ScaledTensor) else (None,)
            for part in parts:
                left, right = (np.asarray(getattr(v, part) if part else v) for v in (a, b))
                if part is None:
                    np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-5)  # sums of other orders
                else:
                    np.testing.assert_array_equal(left, right)
