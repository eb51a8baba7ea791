"""Matrix products on a GPU against cuBLASLt's blockwise FP8 product, and DeepGEMM where it is installed, in the same run.

    ./vernier bench gemm [NAME ...] [--record FILE] [--check FILE] [--plot FILE] [--peer deep_gemm]

Operands are FP8 with 1x128 and 128x128 scales, results bfloat16. Weight gradients are of FP8 rows by FP8 or MXFP4 rows and add to
FP32; their time holds the kernel that turns the operands. A row is the median of device-event timings with the L2 cache
flushed before each, random data, launches alone (results in buffers that exist). The floor is the larger of the bytes
over the copy speed and the operations over the peak of the tensor cores at the GPU's highest clock. Every row is checked against
float64 of the decoded operands on some rows before it is timed. `--check` compares with a stored record of the same GPU and
driver, and fails where a row has become more than 5% slower. Needs one Hopper GPU and torch.
"""

from __future__ import annotations

import importlib
import random
import sys
from typing import Any

import torch
import vernier as vn
from device import DEVICE, Timer, arguments, copy_bytes_per_microsecond, finish, new_record, operand, prepared, weights

DENSE = [(4096, 4096, 7168), (4096, 7168, 2048), (4096, 24576, 1536), (4096, 7168, 16384), (8192, 4096, 7168),
         (8192, 8192, 8192), (4096, 2112, 7168)]  # fmt: skip
FEW = [(m, n, k) for n, k in ((2112, 7168), (4096, 7168), (7168, 2048)) for m in (16, 64, 128, 512, 1024)]
WGRAD = [(1, 4096, 4096, 7168), (1, 8192, 7168, 2048), (1, 8192, 4096, 7168), (8, 4096, 4096, 7168), (32, 1024, 4096, 7168)]
GROUPED = [(groups, rows, n, k) for groups, rows in ((4, 8192), (8, 4096), (32, 1024)) for n, k in ((4096, 7168), (7168, 2048))]
PEAK_PER_CLOCK = 8192
"""FP8 operations of a multiprocessor's tensor cores per cycle: 4096 multiplications and as many additions."""


def dense(a: Any, b: Any) -> Any:
    return vn.matmul(a, b, vn.bfloat16)


def grouped(a: Any, b: Any, offsets: Any) -> Any:
    return vn.grouped_matmul(a, b, offsets, vn.bfloat16)


def wgrad(dy: Any, x: Any, offsets: Any, gradient: Any) -> Any:
    return vn.grouped_wgrad(dy, x, offsets, accumulate=gradient)


def offsets_of(groups: int, mean: int) -> torch.Tensor:
    """Group sizes in 0.7..1.3 of the mean; one group has all rows."""
    draw = random.Random(0)
    sizes = [int(mean * draw.uniform(0.7, 1.3)) for _ in range(groups)] if groups > 1 else [mean]
    return torch.tensor([0, *torch.tensor(sizes).cumsum(0).tolist()], dtype=torch.int32, device=DEVICE)


def check_wgrad(result: torch.Tensor, dy: Any, x: Any, offsets: torch.Tensor, gradient: torch.Tensor) -> None:
    """Some rows of the last group's gradient, against float64."""
    begin, end = offsets[-2:].tolist()
    left = vn.dequantize(dy, vn.float32)[begin:end, :64].double()
    expected = left.T @ vn.dequantize(x, vn.float32)[begin:end].double() + gradient[-1, :64].double()
    error = ((result[-1, :64].double() - expected).norm() / expected.norm()).item()
    assert error < 1e-3, f"relative error {error:.1e}"


def check(result: torch.Tensor, a: Any, b: Any) -> None:
    """The last rows, against float64."""
    rows = min(64, a.shape[0])
    left = vn.ScaledTensor(a.payload[-rows:].contiguous(), a.scales[-rows:].contiguous(), a.format, (rows, a.shape[1]))
    expected = vn.dequantize(left, vn.float32).double() @ vn.dequantize(b, vn.float32).double().T
    error = ((result[-rows:].double() - expected).norm() / expected.norm()).item()
    assert error < 3e-3, f"relative error {error:.1e}"  # the result is bfloat16


def cublaslt(a: Any, b: Any) -> Any:
    """The same product by torch._scaled_mm, with the scales as FP32 in the layout that it wants."""
    left, right = a.payload.view(torch.float8_e4m3fn), b.payload.view(torch.float8_e4m3fn).t()
    rows = torch.exp2(a.scales.float() - 127).t().contiguous().t()
    blocks = torch.exp2(b.scales.float() - 127).t()
    return lambda: torch._scaled_mm(left, right, rows, blocks, out_dtype=torch.bfloat16)


def deep_gemm(a: Any, b: Any) -> Any:
    library = importlib.import_module("deep_gemm")
    result = torch.empty(a.shape[0], b.shape[0], dtype=torch.bfloat16, device=DEVICE)
    # Scales of rows in columns, as it wants them: it would launch a transpose otherwise.
    left = (a.payload.view(torch.float8_e4m3fn), torch.exp2(a.scales.float() - 127).t().contiguous().t())
    right = (b.payload.view(torch.float8_e4m3fn), torch.exp2(b.scales.float() - 127))
    return lambda: library.fp8_gemm_nt(left, right, result, disable_ue8m0_cast=True)


def jobs(peers: list[str]) -> Any:
    for name, (m, n, k) in (*(("dense", shape) for shape in DENSE), *(("few rows", shape) for shape in FEW)):
        a, b = operand(m, k, vn.FP8), operand(n, k, vn.FP8_BLOCK)
        others = {"cublaslt": cublaslt(a, b)}
        if "deep_gemm" in peers:
            others["deep_gemm"] = deep_gemm(a, b)
        yield name, (m, n, k), dense, (a, b), lambda result, a=a, b=b: check(result, a, b), others
    for groups, mean, n, k in GROUPED:
        offsets = offsets_of(groups, mean)
        m = int(offsets[-1])
        a, b = operand(m, k, vn.FP8), weights(groups, n, k)
        last = vn.ScaledTensor(b.payload[-1], b.scales[-1], vn.FP8_BLOCK, (n, k))
        yield f"{groups} groups", (m, n, k), grouped, (a, b, offsets), lambda result, a=a, b=last: check(result, a, b), {}
    for groups, mean, n, k in WGRAD:
        offsets = offsets_of(groups, mean)
        m = int(offsets[-1])
        gradient = torch.randn(groups, n, k, device=DEVICE)
        for name, format in (("wgrad", vn.FP8), ("wgrad MXFP4", vn.MXFP4)):
            args = operand(m, n, vn.FP8), operand(m, k, format), offsets, gradient
            yield f"{name} {groups}", (m, n, k), wgrad, args, lambda result, args=args: check_wgrad(result, *args), {}


def plot(record: dict[str, Any], path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = record["results"]
    names = [f"{r['operation']} {'x'.join(map(str, r['shape']))}" for r in rows]
    figure, axes = pyplot.subplots(figsize=(9, 0.4 * len(rows) + 1.2))
    at = range(len(rows))
    axes.barh([i - 0.2 for i in at], [r["tflops"] for r in rows], height=0.4, color="#2a6f97", label="vernier")
    axes.barh(
        [i + 0.2 for i in at], [r["peers"].get("cublaslt", 0) for r in rows], height=0.4, color="#bbbbbb", label="cuBLASLt"
    )
    axes.set_yticks(list(at), names, fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel(f"TFLOPS ({record['conditions'].get('name', '')})")
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("names", nargs="*", help="only rows whose name and shape have one of these in them")
    parser.add_argument("--peer", action="append", default=[], choices=("deep_gemm",), help="a package to compare with")
    options = parser.parse_args()
    timer = Timer()
    copy = copy_bytes_per_microsecond()
    record = new_record(copy_bytes_per_microsecond=copy)
    conditions, device = record["conditions"], torch.cuda.get_device_properties(0)
    fastest = float(conditions.get("clocks.max.sm", "1980 MHz").split()[0]) / 1e6
    record["peak_tflops"] = peak = PEAK_PER_CLOCK * device.multi_processor_count * fastest
    print(f"{conditions.get('name')}, copy {copy / 1e6:.3f} TB/s, FP8 peak {peak:.0f} TFLOPS at the highest clock")
    print(f"{'product':14}{'M':>7}{'N':>7}{'K':>7}{'us':>9}{'floor':>8}{'TFLOPS':>8}  peers: TFLOPS, ratio")
    for name, (m, n, k), function, args, check_result, others in jobs(options.peer):
        if options.names and not any(text in f"{name} {m}x{n}x{k}" for text in options.names):
            continue
        check_result(function(*args))
        # Gradients are added where they are, as a training step does.
        work, moved, kernels = prepared(function, args, into=args[-1] if function is wgrad else None)
        time, work_done = timer.microseconds(work), 2 * m * n * k / 1e6
        row = {"operation": name, "shape": (m, n, k), "microseconds": time, "floor": max(moved / copy, work_done / peak),
               "tflops": work_done / time, "registers": [kernel["registers"] for kernel in kernels],
               "peers": {peer: work_done / timer.microseconds(run) for peer, run in others.items()}}  # fmt: skip
        record["results"].append(row)
        text = ", ".join(f"{peer} {speed:.0f}, {row['tflops'] / speed:.3f}" for peer, speed in row["peers"].items())
        print(f"{name:14}{m:7}{n:7}{k:7}{time:9.1f}{row['floor']:8.1f}{row['tflops']:8.0f}  {text}", flush=True)
    for peer in ("cublaslt", "deep_gemm"):
        for name, key in (("dense", f"geometric_mean_over_{peer}"), ("few rows", f"geometric_mean_of_few_rows_over_{peer}")):
            rows = [r for r in record["results"] if r["operation"] == name and peer in r["peers"]]
            if ratios := [r["tflops"] / r["peers"][peer] for r in rows]:
                record[key] = mean = torch.tensor(ratios).log().mean().exp().item()
                print(f"geometric mean over {peer}, {name}: {mean:.3f}, least {min(ratios):.3f}")
    return finish(record, options, plot)


if __name__ == "__main__":
    sys.exit(main())
