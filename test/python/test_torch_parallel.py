"""The PyTorch layers over two processes: expert parallelism, DDP, FSDP2, and a peer that dies."""

import multiprocessing
import os
import signal
import time

import pytest
import torch
import torch.distributed as dist
from vernier.torch import ExchangeError, GroupedExperts, MoE, functions
from vernier.torch import transport as transports
from vernier.torch.exchange import TRANSPORTS

from recipes.moe import parallel

pytestmark = pytest.mark.host  # processes of their own, on the host

MODES = ("bf16", "fp8", "mxfp4")


def _split_against_whole(mode, rows, transport):
    """One layer's experts over the ranks against the same experts on one."""
    rank = dist.get_rank()
    generator = torch.Generator().manual_seed(3)
    w1, w2 = torch.randn(4, 256, 128, generator=generator) * 0.09, torch.randn(4, 128, 128, generator=generator) * 0.09
    count = rows[rank]
    x = torch.randn(2, 50, 128, generator=generator)[rank, :count]
    choices = torch.randint(0, 2 if rank else 4, (count, 2), generator=generator)  # uneven, and some ranks get nothing
    weights = torch.rand(count, 2, generator=generator)
    mine = slice(2 * rank, 2 * rank + 2)
    layers = [
        GroupedExperts(
            128, 128, 4, policy=mode, group=group, transport=transport, parameters=tuple(map(torch.nn.Parameter, parts))
        )
        for group, parts in ((dist.group.WORLD, (w1[mine].clone(), w2[mine].clone())), (None, (w1, w2)))
    ]
    results = []
    for layer in layers:
        leaves = [v.clone().requires_grad_() for v in (x, weights)]
        y = layer(leaves[0], choices, leaves[1])
        y.sum().backward()
        results.append((y, leaves[0].grad, leaves[1].grad, layer.gate_up_proj.grad))
    (y, dx, dweights, dw1), (y_whole, dx_whole, dweights_whole, total) = results
    assert torch.equal(y, y_whole) and torch.equal(dx, dx_whole) and torch.equal(dweights, dweights_whole)
    dist.all_reduce(total)
    sent = layers[0].meter
    return float((dw1 - total[mine]).norm() / total[mine].norm().clamp(min=1e-6)), (sent.dispatch, sent.gradient_dispatch)


def _all_splits():
    transports.LEAST_ROWS = 32  # rows go in two parts
    cases = [(mode, rows, transport) for mode in MODES for rows in ((50, 50), (50, 0), (0, 0)) for transport in TRANSPORTS]
    return {case: _split_against_whole(*case) for case in cases}


def test_experts_on_two_ranks_compute_what_one_computes():
    for rank, results in enumerate(parallel.run(2, _all_splits)):
        for (mode, rows, transport), (error, sent) in results.items():
            # The blocks of a weight gradient start elsewhere when rows of two ranks lie side by side.
            assert error < (1e-5 if mode == "bf16" else 0.05), (mode, rows, transport)
            a_row = {"bf16": 256, "fp8": 129, "mxfp4": 68}[mode] + 4  # and a routing weight
            gradient = {"bf16": 256, "fp8": 129, "mxfp4": 129}[mode]
            assert sent == (2 * rows[rank] * a_row, 2 * rows[rank] * gradient), (mode, rows, transport)


def _both_wrapped():
    return max(_wrapped("ddp"), _wrapped("fsdp"))


def _wrapped(kind):
    """Gradients of a layer under DDP or FSDP2, each rank with its own rows, against the mean of both."""
    torch.manual_seed(0)
    layer = MoE(128, 128, 4, 2, shared=1, policy="bf16")
    reference = MoE(128, 128, 4, 2, shared=1, policy="bf16")
    reference.load_state_dict(layer.state_dict())
    x = torch.randn(2, 40, 128)
    if kind == "ddp":
        model = torch.nn.parallel.DistributedDataParallel(layer)
    else:
        from torch.distributed.fsdp import fully_shard

        model = fully_shard(layer, mesh=torch.distributed.init_device_mesh("cpu", (2,)))
    for _ in range(2):  # the second step sees the sharded parameters again
        model.zero_grad()
        model(x[dist.get_rank()]).square().sum().backward()
    gradients = {name: p.grad for name, p in layer.named_parameters()}
    if kind == "fsdp":
        gradients = {name: g.full_tensor() for name, g in gradients.items()}
    sum(reference(v).square().sum() for v in x).backward()
    expected = {name: p.grad / 2 for name, p in reference.named_parameters()}
    return max(float((gradients[n] - expected[n]).norm() / expected[n].norm()) for n in expected)


def test_data_parallel_wrappers():
    assert max(parallel.run(2, _both_wrapped)) < 1e-2


def _apart(function, *args):
    """Two processes that nobody ends when the other does."""
    port, context = parallel._free_port(), multiprocessing.get_context("spawn")
    processes = [context.Process(target=parallel._worker, args=(rank, 2, port, 30, function, args, {})) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(90)
    return [process.exitcode for process in processes]


def _die_or_wait(folder, transport):
    layer = GroupedExperts(128, 128, 4, group=dist.group.WORLD, transport=transport)
    x, choices = torch.randn(8, 128), torch.zeros(8, 2, dtype=torch.int64)
    layer(x, choices, torch.ones(8, 2))
    if dist.get_rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    try:
        layer(x, choices, torch.ones(8, 2))
    except ExchangeError as error:
        (folder / "report").write_text(str(error))
        raise


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_dead_peer_ends_the_others_with_a_message(transport, tmp_path):
    start = time.time()
    other, killed = _apart(_die_or_wait, tmp_path, transport)
    assert killed == -signal.SIGKILL and other not in (0, None) and time.time() - start < 60
    assert "rank 0 of 2, exchange 2 (" in (tmp_path / "report").read_text()


def _raises(*_, **__):
    raise MemoryError("only here")


def _fail_on_one(folder, transport):
    layer = GroupedExperts(128, 128, 4, group=dist.group.WORLD, transport=transport)
    if dist.get_rank() == 1:
        functions.encode_rows.launcher = lambda *_: _raises
    try:
        layer(torch.randn(8, 128), torch.zeros(8, 2, dtype=torch.int64), torch.ones(8, 2))
    except Exception as error:
        (folder / str(dist.get_rank())).write_text(f"{type(error).__name__}: {error}")
        raise


@pytest.mark.parametrize("transport", ["messages", "peers"])
def test_an_error_of_one_rank_is_its_own(transport, tmp_path):
    """And the other does not wait for a time-out."""
    start = time.time()
    codes = _apart(_fail_on_one, tmp_path, transport)
    assert all(code not in (0, None) for code in codes) and time.time() - start < 28
    assert (tmp_path / "1").read_text() == "MemoryError: only here"
    assert (tmp_path / "0").read_text().startswith("ExchangeError: rank 0 of 2, exchange 1 (combine)")


def _no_rows_at_first(transport):
    return _split_against_whole("mxfp4", (0, 0), transport)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_first_exchange_without_rows(transport):
    for error, sent in parallel.run(2, _no_rows_at_first, transport):
        assert error == 0 and sent == (0, 0)


def _three_experts():
    with pytest.raises(ValueError, match="expected the 3 experts to divide among 2 ranks"):
        GroupedExperts(128, 128, 3, group=dist.group.WORLD)
    with pytest.raises(ValueError, match="expected a transport of collective, messages, peers, but got 'pigeons'"):
        GroupedExperts(128, 128, 4, group=dist.group.WORLD, transport="pigeons")


def test_what_cannot_be_spread_is_refused():
    parallel.run(2, _three_experts)
