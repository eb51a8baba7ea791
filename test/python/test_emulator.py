"""That the emulator of test/emulator finds what it is there to find: kernels with a fault each, and the same without it."""

import ctypes

import emulated
import numpy as np
import pytest

pytestmark = pytest.mark.host  # and about the build folder
HEADER = ".version 8.7\n.target sm_90a\n.address_size 64\n.extern .shared .align 1024 .b8 memory[];\n"


class _Config(ctypes.Structure):
    _fields_ = [
        ("blocks", ctypes.c_uint * 3), ("threads", ctypes.c_uint * 3), ("shared", ctypes.c_uint), ("stream", ctypes.c_void_p),
        ("attributes", ctypes.c_void_p), ("count", ctypes.c_uint),
    ]  # fmt: skip


class _Driver:
    def __init__(self):
        self.library = ctypes.CDLL(str(emulated.LIBRARY))

    def failure(self, code):
        text = ctypes.c_char_p()
        self.library.cuGetErrorString(code, ctypes.byref(text))
        return text.value.decode()

    def array(self, count):
        address = ctypes.c_uint64()
        self.library.cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(4 * count))
        values = np.ctypeslib.as_array((ctypes.c_uint32 * count).from_address(address.value))
        values[:] = np.arange(count)
        return address, values

    def map(self, address, rows):
        """Of rows of 32 words."""
        made, one = (ctypes.c_char * 128)(), (ctypes.c_uint32 * 2)(1, 1)
        sizes, stride, box = (ctypes.c_uint64 * 2)(32, rows), (ctypes.c_uint64 * 1)(128), (ctypes.c_uint32 * 2)(32, rows)
        assert self.library.cuTensorMapEncodeTiled(made, 7, 2, address, sizes, stride, box, one, 0, 0, 0, 0) == 0
        return made

    def launch(self, body, *parameters, threads=64, blocks=1):
        """What went wrong, or an empty string. Parameters are addresses and tensor maps, %rd0 and on."""
        declared = ",".join(
            f".param .align 64 .b8 p{i}[128]" if isinstance(p, ctypes.Array) else f".param .u64 p{i}"
            for i, p in enumerate(parameters)
        )
        loads = "".join(
            f"mov.b64 %rd{i}, p{i};\ncvta.param.u64 %rd{i}, %rd{i};\n"
            if isinstance(p, ctypes.Array)
            else f"ld.param.b64 %rd{i}, [p{i}];\n"
            for i, p in enumerate(parameters)
        )
        text = (
            HEADER + f".visible .entry kernel({declared})\n.maxntid {threads}\n{{\n.reg .pred %p<9>;\n.reg .b32 %r<40>;\n"
            f".reg .b64 %rd<40>;\n{loads}mov.u32 %r0, %tid.x;\nmov.b64 %rd9, memory;\n"
            f"mul.wide.u32 %rd8, %r0, 4;\nadd.s64 %rd10, %rd9, %rd8;\n{body}\nret;\n}}\n"
        )
        module, function = ctypes.c_void_p(), ctypes.c_void_p()
        if code := self.library.cuModuleLoadDataEx(ctypes.byref(module), text.encode(), 0, None, None):
            return self.failure(code)
        assert self.library.cuModuleGetFunction(ctypes.byref(function), module, b"kernel") == 0
        config = _Config((blocks, 1, 1), (threads, 1, 1), 4096)
        pointers = (ctypes.c_void_p * len(parameters))(*(ctypes.addressof(p) for p in parameters))
        code = self.library.cuLaunchKernelEx(ctypes.byref(config), function, pointers, None)
        return self.failure(code) if code else ""


@pytest.fixture(scope="module")
def driver():
    if not emulated.LIBRARY.exists():
        pytest.skip("the emulator is not built")
    return _Driver()


def test_memory_that_is_not_allocated(driver):
    address, values = driver.array(64)
    body = "add.s64 %rd1, %rd0, %rd8;\nld.global.b32 %r1, [%rd1];\nadd.s32 %r1, %r1, 5;\nst.global.b32 [%rd1{}], %r1;"
    assert driver.launch(body.format(""), address) == ""
    assert (values == np.arange(64) + 5).all()
    assert "(4 bytes) is not allocated" in driver.launch(body.format("+4"), address)
    assert "is not aligned to 4" in driver.launch(body.format("+2"), address)
    assert "before griddepcontrol.wait" in driver.launch(body.format("") + "\ngriddepcontrol.wait;", address)
    assert driver.launch("griddepcontrol.wait;\n" + body.format(""), address) == ""
    assert "is outside of 4096 bytes" in driver.launch("st.shared.b32 [%rd10+4000], %r0;")


def test_threads_that_wait_for_ever(driver):
    body = "setp.lt.u32 %p0, %r0, 32;\n@%p0 bra $there;\nbar.sync {};\n$there:\n"
    assert driver.launch(body.format("1, 32")) == ""
    assert "all threads wait:\n  block 0 warp 1: 32 threads at bar.sync" in driver.launch(body.format("0"))
    body = """setp.ne.u32 %p0, %r0, 0;
mov.b32 %r1, {};
@%p0 bra $made;
mbarrier.init.shared.b64 [%rd9], %r1;
$made:
bar.sync 0;
mbarrier.arrive.shared.b64 %rd1, [%rd9];
mov.b32 %r2, 0;
$wait:
mbarrier.try_wait.parity.shared.b64 %p1, [%rd9], %r2;
@!%p1 bra $wait;"""
    assert driver.launch(body.format(64)) == ""
    assert "in phase 0: 1 of 65 arrivals and 0 bytes to come" in driver.launch(body.format(65))


def test_the_asynchronous_proxy(driver):
    """Words go through shared memory to a matrix of two rows."""
    address, values = driver.array(64)
    body = """st.shared.b32 [%rd10], 7;
{}
bar.sync 0;
setp.ne.u32 %p0, %r0, 0;
@%p0 bra $end;
mov.b32 %r1, 0;
cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%rd0, {{%r1, %r1}}], [%rd9];
cp.async.bulk.commit_group;
{}
$end:"""
    fence, wait = "fence.proxy.async.shared::cta;", "cp.async.bulk.wait_group.read 0;"
    assert driver.launch(body.format(fence, wait), driver.map(address, 2)) == ""
    assert (values == 7).all()
    assert "without a fence.proxy.async" in driver.launch(body.format("", wait), driver.map(address, 2))
    # The scheduler may have made the copy in time.
    failures = {driver.launch(body.format(fence, ""), driver.map(address, 2)) for _ in range(20)} - {""}
    assert failures and all("ends before the tiles that it stores were read" in failure for failure in failures)


def test_what_is_not_known(driver):
    assert "does not know sin.approx.f32 (line" in driver.launch("sin.approx.f32 %r1, %r0;")
    assert "no label $nowhere" in driver.launch("bra $nowhere;")
    assert "no name 'absent'" in driver.launch("mov.b64 %rd1, absent;")
