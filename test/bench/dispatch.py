"""What expert parallelism sends between GPUs of one host: rows of BF16 to the ranks of their experts, in each format.

    torchrun --nproc-per-node 2 test/bench/dispatch.py [--record FILE]

32768 rows of 7168 on every rank, spread evenly over the experts of all. "bytes" is NCCL's all-to-all alone, of rows that lie ready in
one buffer; "dispatch" is what vernier.torch does: quantise, permute, pack, exchange, unpack in the order of experts, row counts
exchanged before. Medians of 20, in microseconds, of the slowest rank. Then one layer's loss with experts over the ranks and on one.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from vernier.torch import GroupedExperts
from vernier.torch.exchange import Exchange
from vernier.torch.functions import encode, permute
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


def losses(mode: str) -> tuple[float, float]:
    """Of one layer, experts over the ranks and all of them here, for the same rows."""
    torch.manual_seed(0)
    rank, ranks, experts = dist.get_rank(), dist.get_world_size(), 8
    w1, w2 = torch.randn(experts, 1024, 1024, device="cuda") / 32, torch.randn(experts, 1024, 512, device="cuda") / 23
    x = torch.randn(ranks, 3000, 1024, device="cuda", dtype=torch.bfloat16)[rank]
    choices = torch.randint(0, experts, (ranks, 3000, 2), device="cuda")[rank]
    weights = torch.rand(ranks, 3000, 2, device="cuda")[rank]
    mine = slice(rank * experts // ranks, (rank + 1) * experts // ranks)
    found = []
    for group, parts in ((dist.group.WORLD, (w1[mine], w2[mine])), (None, (w1, w2))):
        layer = GroupedExperts(1024, 512, experts, policy=mode, group=group, parameters=tuple(map(torch.nn.Parameter, parts)))
        loss = layer(x, choices, weights).float().square().mean()
        loss.backward()
        dist.all_reduce(loss.detach())
        found.append(float(loss) / ranks)
    return found[0], found[1]


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

        def dispatch(mode: str = mode) -> Any:
            routed = route(choices, EXPERTS)
            plan = Exchange(EXPERTS, dist.group.WORLD).plan(routed)
            return plan.to_experts("dispatch", permute(encode(x, mode), routed.source))

        record["results"][mode] = {"bytes": microseconds(alone), "dispatch": microseconds(dispatch), "loss": losses(mode)}
        if dist.get_rank() == 0:
            row = record["results"][mode]
            print(f"{mode:6} {ROWS * width / 1e6:7.1f} MB  bytes {row['bytes']:8.1f} us  dispatch {row['dispatch']:8.1f} us"
                  f"  loss {row['loss'][0]:.6f} over {ranks}, {row['loss'][1]:.6f} on one", flush=True)  # fmt: skip
    if dist.get_rank() == 0 and options.record:
        with open(options.record, "w") as file:
            json.dump(record, file, indent=1)
    dist.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
