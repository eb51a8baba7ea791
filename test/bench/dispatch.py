"""What expert parallelism sends between GPUs of one host: rows of BF16 to the ranks of their experts, in each format.

    torchrun --nproc-per-node 2 test/bench/dispatch.py [--record FILE]

32768 rows of 7168 on every rank, spread evenly over the experts of all; row counts are known. "bytes" is NCCL's all-to-all alone,
of rows that lie ready in one buffer. "collective", "messages" and "peers" are what vernier.torch does from BF16 rows to rows in the
order of experts: quantise, permute, pack, exchange, unpack; or quantise and permute part by part while parts before travel, by NCCL
or into the peers' memory, and gather. "sent by" is the first part of the latter two, after which rows have arrived. Medians of 20, in microseconds, of the slowest rank. Then one layer's loss with
experts over the ranks, by both ways, and on one.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import sys
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from vernier.torch import GroupedExperts
from vernier.torch.exchange import TRANSPORTS, Exchange
from vernier.torch.packing import parts
from vernier.torch.parts import PartsPlan
from vernier.torch.routing import route

ROWS, HIDDEN, EXPERTS = 32768, 7168, 16
BYTES = {"bf16": 2 * HIDDEN, "fp8": HIDDEN + HIDDEN // 128, "mxfp4": HIDDEN // 2 + HIDDEN // 32}


def microseconds(work: Callable[[], Any]) -> float:
    times = []
    for number in range(24):
        dist.barrier()
        torch.cuda.synchronize()
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        work()
        end.record()
        torch.cuda.synchronize()
        if number >= 4:
            times.append(start.elapsed_time(end) * 1e3)
    slowest = torch.tensor(statistics.median(times), device="cuda")
    dist.all_reduce(slowest, dist.ReduceOp.MAX)
    return float(slowest)


def losses(mode: str) -> list[float]:
    """Of one layer, experts over the ranks by every transport, and all of them here, for the same rows."""
    torch.manual_seed(0)
    rank, ranks, experts = dist.get_rank(), dist.get_world_size(), 8
    w1, w2 = torch.randn(experts, 1024, 1024, device="cuda") / 32, torch.randn(experts, 1024, 512, device="cuda") / 23
    x = torch.randn(ranks, 3000, 1024, device="cuda", dtype=torch.bfloat16)[rank]
    choices = torch.randint(0, experts, (ranks, 3000, 2), device="cuda")[rank]
    weights = torch.rand(ranks, 3000, 2, device="cuda")[rank]
    mine = slice(rank * experts // ranks, (rank + 1) * experts // ranks)
    found = []
    for group, transport, pair in [*((dist.group.WORLD, name, (w1[mine], w2[mine])) for name in TRANSPORTS),
                                   (None, "collective", (w1, w2))]:  # fmt: skip
        leaf = x.clone().requires_grad_()
        layer = GroupedExperts(
            1024,
            512,
            experts,
            policy=mode,
            group=group,
            transport=transport,
            parameters=(torch.nn.Parameter(pair[0]), torch.nn.Parameter(pair[1])),
        )
        loss = layer(leaf, choices, weights).float().square().mean()
        loss.backward()
        assert leaf.grad is not None
        both = torch.stack([loss.detach(), leaf.grad.float().square().mean()])
        dist.all_reduce(both)
        found += (both / ranks).tolist()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record")
    options = parser.parse_args()
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl", device_id=torch.device("cuda", int(os.environ["LOCAL_RANK"])))
    ranks = dist.get_world_size()
    torch.manual_seed(dist.get_rank())
    x = torch.randn(ROWS, HIDDEN, device="cuda", dtype=torch.bfloat16)
    choices = torch.randint(0, EXPERTS, (ROWS, 1), device="cuda")
    record: dict[str, Any] = {"ranks": ranks, "gpu": torch.cuda.get_device_name(), "torch": torch.__version__,
                              "nccl": ".".join(map(str, torch.cuda.nccl.version())), "results": {}}  # fmt: skip
    for mode, width in BYTES.items():
        ready = torch.empty(ROWS, width, dtype=torch.uint8, device="cuda").random_()
        arrived = torch.empty_like(ready)

        def alone(ready: torch.Tensor = ready, arrived: torch.Tensor = arrived) -> None:
            dist.all_to_all_single(arrived, ready)

        routed = route(choices, EXPERTS)
        plans = {way: Exchange(EXPERTS, dist.group.WORLD, transport=way).plan(routed) for way in TRANSPORTS}
        there = {way: plan.to_experts("dispatch", x, mode)[0] for way, plan in plans.items()}
        same = [
            torch.equal(part, first)
            for value in there.values()
            for part, first in zip(parts(value), parts(there["collective"]))
        ]
        assert all(same), f"{mode}: transports give other bytes"
        row: dict[str, Any] = {"bytes": microseconds(alone)}
        for way, plan in plans.items():
            row[way] = microseconds(functools.partial(plan.to_experts, "dispatch", x, mode))
        for way, plan in plans.items():
            if isinstance(plan, PartsPlan):
                row[f"sent by {way}"] = microseconds(functools.partial(plan.send, "dispatch", x, mode))
        record["results"][mode] = row
        if dist.get_rank() == 0:
            print(f"{mode:6} {ROWS * width / 1e6:7.1f} MB " + "".join(f"  {k} {v:8.1f} us" for k, v in row.items()), flush=True)
    for mode in BYTES:
        record["results"][mode]["losses"] = found = losses(mode)
        if dist.get_rank() == 0:
            ways = ", ".join(f"{found[2 * i : 2 * i + 2]} {way}" for i, way in enumerate((*TRANSPORTS, "on one rank")))
            print(f"{mode:6} loss and mean square of its gradient: {ways}", flush=True)
    if dist.get_rank() == 0:
        speed = {
            name: record["results"]["fp8"]["bytes"] / record["results"]["mxfp4"][name]
            for name in record["results"]["mxfp4"]
            if name not in ("bytes", "losses")
        }
        record["over_fp8_bytes"] = speed
        print("MXFP4 with quantisation against NCCL's FP8 bytes: " + ", ".join(f"{k} {v:.2f}x" for k, v in speed.items()))
    if dist.get_rank() == 0 and options.record:
        with open(options.record, "w") as file:
            json.dump(record, file, indent=1)
    dist.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
