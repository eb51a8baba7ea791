"""Processes over gloo, for expert parallelism on one machine."""

from __future__ import annotations

import datetime
import os
import socket
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def _worker(
    rank: int, ranks: int, port: int, timeout: float, function: Callable[..., Any], args: tuple[Any, ...], results: Any
) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    threads = max(1, (os.cpu_count() or 1) // ranks)
    os.environ["VERNIER_NUM_THREADS"] = str(threads)
    torch.set_num_threads(threads)
    dist.init_process_group("gloo", rank=rank, world_size=ranks, timeout=datetime.timedelta(seconds=timeout))
    try:
        results[rank] = function(*args)
    finally:
        dist.destroy_process_group()


def run(ranks: int, function: Callable[..., Any], *args: Any, timeout: float = 300) -> list[Any]:
    """function(*args) in `ranks` processes that can talk; its results by rank. A process that dies ends the others."""
    manager = multiprocessing.get_context("spawn").Manager()
    results = manager.dict()
    multiprocessing.spawn(_worker, (ranks, _free_port(), timeout, function, args, results), nprocs=ranks)  # type: ignore[no-untyped-call]
    return [results[rank] for rank in range(ranks)]
