"""Tests compile into a cache of their own. `--device cuda` runs calls on NumPy arrays on a GPU instead of the host, so that
every test of bits is a test of both targets."""

import os
import tempfile

import numpy as np
import pytest
import vernier as vn

os.environ["VERNIER_CACHE_DIR"] = os.path.join(tempfile.mkdtemp(prefix="vernier-test-"), "cache")


def pytest_addoption(parser):
    parser.addoption("--device", choices=("cpu", "cuda"), default="cpu", help="where calls on NumPy arrays run")


def pytest_configure(config):
    config.addinivalue_line("markers", "host: about the host target; left out with --device cuda")
    config.addinivalue_line("markers", "gpu: needs a GPU; left out without one")
    if config.getoption("--device") == "cuda":
        _run_on_gpu()


def _has_gpu():
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()


def pytest_collection_modifyitems(config, items):
    on_gpu = config.getoption("--device") == "cuda"
    no_gpu = not _has_gpu()
    for item in items:
        if on_gpu and (item.get_closest_marker("host") or "test_recipe" in str(item.path)):
            item.add_marker(pytest.mark.skip(reason="about the host target"))
        if no_gpu and item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no GPU"))


@pytest.fixture
def summed(request):
    """What the order and the depth of sums may change, relative: FP32 on the host, the tensor cores' on a GPU."""
    return 1e-6 if request.config.getoption("--device") == "cpu" else 1e-3


def to_device(value):
    """NumPy arrays in nested values as CUDA tensors."""
    import torch

    if isinstance(value, np.ndarray):
        value = np.ascontiguousarray(value) if value.ndim else value
        if value.dtype == vn.bfloat16.numpy:
            return torch.from_numpy(value.view(np.int16).copy()).view(torch.bfloat16).cuda()
        return torch.from_numpy(value.copy()).cuda()
    if isinstance(value, np.generic):
        return value
    if isinstance(value, vn.ScaledTensor):
        scale = None if value.tensor_scale is None else torch.tensor(float(np.asarray(value.tensor_scale))).cuda()
        return vn.ScaledTensor(to_device(np.asarray(value.payload)), to_device(np.asarray(value.scales)), value.format, value.shape,
                               value.axis, scale, value.grouped)  # fmt: skip
    if isinstance(value, (list, tuple)):
        return type(value)(to_device(v) for v in value)
    if isinstance(value, dict):
        return {k: to_device(v) for k, v in value.items()}
    return value


def to_host(value):
    """CUDA tensors in nested values as NumPy arrays."""
    import torch

    if isinstance(value, torch.Tensor):
        if value.dtype == torch.bfloat16:
            return value.cpu().view(torch.int16).numpy().view(vn.bfloat16.numpy)
        return value.cpu().numpy()
    if isinstance(value, vn.ScaledTensor):
        scale = None if value.tensor_scale is None else to_host(value.tensor_scale)
        return vn.ScaledTensor(
            to_host(value.payload), to_host(value.scales), value.format, value.shape, value.axis, scale, value.grouped
        )
    if isinstance(value, (list, tuple)):
        return type(value)(to_host(v) for v in value)
    if isinstance(value, dict):
        return {k: to_host(v) for k, v in value.items()}
    return value


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


def _run_on_gpu():
    on_host = vn.Jit.__call__

    def call(self, *args, **kwargs):
        if not _numpy_only(args) and not _numpy_only(kwargs):
            return on_host(self, *args, **kwargs)
        try:
            return to_host(on_host(self, *to_device(args), **to_device(kwargs)))
        except vn.CompileError as error:
            if str(error).endswith('compile this function for target "host"'):
                pytest.skip(str(error))  # a product that this target does not have
            raise

    vn.Jit.__call__ = call
