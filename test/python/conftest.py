"""Tests compile into a cache of their own. `--device cuda` runs calls on NumPy arrays on a GPU instead of the host, so that
every test of bits is a test of both targets; `--device emulated` runs the same kernels where there is none (test/emulator)."""

import os
import tempfile

import emulated
import numpy as np
import pytest
import vernier as vn

os.environ["VERNIER_CACHE_DIR"] = os.path.join(tempfile.mkdtemp(prefix="vernier-test-"), "cache")


def pytest_addoption(parser):
    parser.addoption("--device", choices=("cpu", "cuda", "emulated"), default="cpu", help="where calls on NumPy arrays run")


def pytest_configure(config):
    config.addinivalue_line("markers", "host: about the host target; left out with --device cuda")
    config.addinivalue_line("markers", "device: about a GPU's kernels, real or emulated; left out with --device cpu")
    config.addinivalue_line("markers", "gpu: needs a GPU; left out without one")
    device = config.getoption("--device")
    if device == "emulated":
        emulated.install()
    if device != "cpu":
        _run_on_gpu(*((to_device, to_host) if device == "cuda" else (to_emulated, from_emulated)))


def _has_gpu():
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()


def pytest_collection_modifyitems(config, items):
    device = config.getoption("--device")
    on_gpu, no_gpu = device != "cpu", device == "emulated" or not _has_gpu()
    for item in items:
        if on_gpu and (item.get_closest_marker("host") or "test_recipe" in str(item.path)):
            item.add_marker(pytest.mark.skip(reason="about the host target"))
        if not on_gpu and item.get_closest_marker("device"):
            item.add_marker(pytest.mark.skip(reason="about a GPU's kernels"))
        if no_gpu and item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no GPU"))


@pytest.fixture
def summed(request):
    """What the order and the depth of sums may change, relative: FP32 on the host, the tensor cores' on a GPU."""
    return 1e-6 if request.config.getoption("--device") == "cpu" else 1e-3


def converted(value, convert):
    """Nested values with every array converted."""
    if isinstance(value, vn.ScaledTensor):
        scale = None if value.tensor_scale is None else converted(value.tensor_scale, convert)
        parts = converted(value.payload, convert), converted(value.scales, convert)
        return vn.ScaledTensor(*parts, value.format, value.shape, value.axis, scale, value.grouped)
    if isinstance(value, (list, tuple)):
        items = [converted(v, convert) for v in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, dict):
        return {k: converted(v, convert) for k, v in value.items()}
    return convert(value)


def to_device(value):
    """A NumPy array as a CUDA tensor."""
    import torch

    if not isinstance(value, np.ndarray):
        return value
    value = np.ascontiguousarray(value) if value.ndim else value
    if value.dtype == vn.bfloat16.numpy:
        return torch.from_numpy(value.view(np.int16).copy()).view(torch.bfloat16).cuda()
    return torch.from_numpy(value.copy()).cuda()


def to_host(value):
    """A CUDA tensor as a NumPy array."""
    import torch

    if not isinstance(value, torch.Tensor):
        return value
    if value.dtype == torch.bfloat16:
        return value.cpu().view(torch.int16).numpy().view(vn.bfloat16.numpy)
    return value.cpu().numpy()


def to_emulated(value):
    return emulated.Array.of(value) if isinstance(value, np.ndarray) else value


def from_emulated(value):
    return value.numpy if isinstance(value, emulated.Array) else value


def _numpy_only(value):
    if isinstance(value, np.ndarray):
        return True
    if isinstance(value, vn.ScaledTensor):
        return isinstance(value.payload, np.ndarray)
    if isinstance(value, (list, tuple)):
        return any(_numpy_only(v) for v in value)
    if isinstance(value, dict):
        return any(_numpy_only(v) for v in value.values())
    return False


def _run_on_gpu(there, back):
    on_host = vn.Jit.__call__

    def call(self, *args, **kwargs):
        if not _numpy_only(args) and not _numpy_only(kwargs):
            return on_host(self, *args, **kwargs)
        try:
            return converted(on_host(self, *converted(args, there), **converted(kwargs, there)), back)
        except vn.CompileError as error:
            if str(error).endswith('compile this function for target "host"'):
                pytest.skip(str(error))  # a product that this target does not have
            raise

    vn.Jit.__call__ = call
