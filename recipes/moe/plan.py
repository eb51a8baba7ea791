"""Bytes and roofline times of the mixture-of-experts layers of a model, for any number of GPUs and layout.

    ./vernier plan [16B|236B|671B] [--gpus N] [--ep N] [--tokens N] [--hidden H --intermediate I --experts E --top-k K --shared S]

For each mode: what a layer keeps for the backward pass, what a rank sends and receives, and the time of a layer's experts, forward
and backward, if products ran at the peak of the tensor cores, everything else at the bandwidth of memory, and the wire at its
own, overlapped or not. What is counted is what vernier.torch does, not what a perfect compiler could do.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Callable

from vernier.torch import POLICIES

from .config import MODES, Mode, ModelConfig
from .memory import BYTES, kept_bytes


@dataclasses.dataclass(frozen=True)
class Shape:
    """Sizes of a layer of experts."""

    hidden: int
    intermediate: int
    experts: int
    top_k: int
    shared: int
    layers: int


MODELS = {
    "16B": Shape(2048, 1408, 64, 6, 2, 26),
    "236B": Shape(5120, 1536, 160, 6, 2, 59),
    "671B": Shape(7168, 2048, 256, 8, 1, 58),
}
"""DeepSeek-V2-Lite, V2 and V3: sizes, and how many of their layers are mixtures of experts."""


@dataclasses.dataclass(frozen=True)
class Machine:
    """What one GPU can do at most.

    Attributes:
        fp8, bf16: dense operations a second of the tensor cores.
        memory: bytes a second.
        wire: bytes a second that one GPU sends, and receives at the same time.
    """

    fp8: float = 1.979e15
    bf16: float = 0.989e15
    memory: float = 4.8e12
    wire: float = 50e9


PUBLISHED = """Published for 671B on 256 Hopper GPUs of 80 GB (arXiv 2603.02731), tokens/GPU/s and peak memory in % of 80 GB:
  recompute scope                    bf16           fp8         mxfp4
  attention, norm, experts    1122 / 68.3   1157 / 74.2   1156 / 59.4
  attention, norm, MLP      out of memory out of memory   1248 / 60.6
  MLA up-projection only    out of memory out of memory   1302 / 70.1"""


@dataclasses.dataclass(frozen=True)
class Plan:
    """One layer on one rank, in one mode. Bytes, seconds.

    Attributes:
        kept: for the backward pass, of routed and shared experts.
        weights: FP32 masters, gradients and both moments of AdamW, of the experts here.
        dispatch, combine, gradient_dispatch, gradient_combine: sent to other ranks.
        products, around, wire: the least time of products, of the memory traffic around them, of the exchange.
    """

    kept: float
    weights: float
    dispatch: float
    combine: float
    gradient_dispatch: float
    gradient_combine: float
    products: float
    around: float
    wire: float

    @property
    def sent(self) -> float:
        return self.dispatch + self.combine + self.gradient_dispatch + self.gradient_combine


def plan(shape: Shape, mode: Mode, tokens: int, ranks: int, machine: Machine) -> Plan:
    """A layer for `tokens` tokens a rank, with experts spread over `ranks`; rows are taken to be spread evenly."""
    element, gradient = BYTES[mode], BYTES["bf16" if mode == "bf16" else "fp8"]
    hidden, inner = shape.hidden, shape.intermediate
    rows = tokens * shape.top_k
    sizes = ModelConfig(
        hidden=hidden, heads=1, experts=shape.experts, top_k=shape.top_k, shared=shape.shared, intermediate=inner
    )
    kept = kept_bytes(sizes, tokens, POLICIES[mode])
    away = 1 - 1 / ranks
    dispatch, combine = rows * away * (hidden * element + 4), rows * away * hidden * 2
    back, back_combine = rows * away * hidden * gradient, rows * away * (hidden * 2 + 4)
    # Forward, gradients of inputs, gradients of weights: three products of [rows, H] with 3I columns each.
    operations = 3 * 2 * hidden * 3 * (rows * inner + tokens * shared_width(shape))
    local = shape.experts / ranks
    parameters = 3 * hidden * inner * local + 3 * hidden * shared_width(shape)
    compute = 2 if mode == "bf16" else 1
    # Around the products, once each: the input in and out, gate and up out and in, h out and in, the result out and in; in the
    # backward pass the same and what was kept; weights read in FP32 and written in the format computed in, twice.
    wide = rows * (hidden * (2 + 2 * element + 2) + inner * (2 * element + 2 * compute) + hidden * 4)
    backward = rows * (hidden * (2 + 2 * gradient + 4) + inner * (2 * 2 + 2 * element + 4 * gradient)) + kept
    around = wide + backward + parameters * 2 * (4 + compute) + parameters * 4
    return Plan(kept, parameters * 16, dispatch, combine, back, back_combine,
                operations / (machine.bf16 if mode == "bf16" else machine.fp8), around / machine.memory,
                (dispatch + combine + back + back_combine) / machine.wire)  # fmt: skip


def shared_width(shape: Shape) -> int:
    return shape.shared * shape.intermediate


def table(name: str, shape: Shape, tokens: int, gpus: int, ranks: int, stages: int, machine: Machine) -> str:
    lines = [
        f"{name}: H {shape.hidden}, I {shape.intermediate}, {shape.experts} experts, top-{shape.top_k}, {shape.shared} shared; "
        f"{gpus} GPUs, experts over {ranks}, layers over {stages}, {tokens} tokens ({tokens * shape.top_k} rows) a rank",
        f"a GPU: {machine.fp8 / 1e12:.0f} TFLOPS FP8, {machine.bf16 / 1e12:.0f} BF16, {machine.memory / 1e12:.1f} TB/s, "
        f"wire {machine.wire / 1e9:.0f} GB/s",
        "",
        f"{'one layer':7}" + "".join(f"{mode:>12}" for mode in MODES),
    ]
    plans = {mode: plan(shape, mode, tokens, ranks, machine) for mode in MODES}
    rows: tuple[tuple[str, Callable[[Plan], float], str], ...] = (
        ("kept, MB", lambda p: p.kept / 1e6, "{:.1f}"),
        ("sent, MB", lambda p: p.sent / 1e6, "{:.1f}"),
        ("  dispatch", lambda p: p.dispatch / 1e6, "{:.1f}"),
        ("  gradients", lambda p: p.gradient_dispatch / 1e6, "{:.1f}"),
        ("products, ms", lambda p: p.products * 1e3, "{:.2f}"),
        ("around, ms", lambda p: p.around * 1e3, "{:.2f}"),
        ("wire, ms", lambda p: p.wire * 1e3, "{:.2f}"),
        ("one by one", lambda p: (p.products + p.around + p.wire) * 1e3, "{:.2f}"),
        ("overlapped", lambda p: max(p.products + p.around, p.wire) * 1e3, "{:.2f}"),
    )  # fmt: skip
    width = max(len(label) for label, *_ in rows) + 2
    lines[-1] = f"{'one layer':{width}}" + "".join(f"{mode:>10}" for mode in MODES)
    for label, value, form in rows:
        lines.append(f"{label:{width}}" + "".join(f"{form.format(value(p)):>10}" for p in plans.values()))
    layers = math.ceil(shape.layers / stages)
    kept = {mode: p.kept * layers / 1e9 for mode, p in plans.items()}
    lines.append("")
    lines.append(
        f"{layers} layers a GPU, no recomputation: kept for one batch "
        + ", ".join(f"{mode} {gb:.1f} GB" for mode, gb in kept.items())
        + f"; FP32 masters, gradients and moments of the experts here {plans['bf16'].weights * layers / 1e9:.1f} GB"
    )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="vernier plan", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", choices=list(MODELS), default="671B")
    parser.add_argument("--gpus", type=int, default=256)
    parser.add_argument(
        "--ep", type=int, help="ranks that a layer's experts are spread over; by default 32, or all GPUs if fewer"
    )
    parser.add_argument("--pp", type=int, help="pipeline stages that the layers are spread over; by default GPUs / ep")
    parser.add_argument("--tokens", type=int, default=4096, help="a rank and step")
    for name in ("hidden", "intermediate", "experts", "top-k", "shared", "layers"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--wire", type=float, default=50, help="GB/s one GPU sends: 50 for 400 Gbit/s, 450 for NVLink")
    parser.add_argument("--memory", type=float, default=4.8, help="TB/s of a GPU's memory")
    options = parser.parse_args()
    given = {f.name: v for f in dataclasses.fields(Shape) if (v := getattr(options, f.name)) is not None}
    shape = dataclasses.replace(MODELS[options.model], **given)
    ranks = options.ep or min(options.gpus, 32)
    if options.gpus % ranks or shape.experts % ranks:
        parser.error(f"expected --ep to divide {options.gpus} GPUs and {shape.experts} experts, but got {ranks}")
    stages = options.pp or options.gpus // ranks
    machine = Machine(memory=options.memory * 1e12, wire=options.wire * 1e9)
    name = options.model if not given else "custom"
    print(table(name, shape, options.tokens, options.gpus, ranks, stages, machine))
    if name == "671B":
        print("\n" + PUBLISHED)


if __name__ == "__main__":
    main()
