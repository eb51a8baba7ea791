"""The recipe, small: gradients, bytes, checkpoints, and two processes."""

import dataclasses
import os
import signal
import time

import pytest
import torch

from recipes.moe import memory, parallel
from recipes.moe.config import MODES, ModelConfig, TrainConfig
from recipes.moe.exchange import Exchange
from recipes.moe.experts import ExpertOptions, Experts, Saved
from recipes.moe.routing import route
from recipes.moe.train import Trainer

SMALL = ModelConfig(layers=1, hidden=128, heads=2, intermediate=128, sequence=64)
SHORT = dict(steps=4, batch=2, warmup=2, evaluate_every=10**9, evaluate_batches=1)


def experts_in_torch(x, weights, w1, w2, choices):
    y = torch.zeros_like(x)
    for e in range(w1.shape[0]):
        for j in range(choices.shape[1]):
            rows = choices[:, j] == e
            gate, up = (x[rows] @ w1[e].T).chunk(2, dim=1)
            y[rows] = y[rows] + weights[rows, j, None] * ((torch.nn.functional.silu(gate) * up) @ w2[e].T)
    return y


@pytest.mark.parametrize(
    ("mode", "gate_up", "tolerance"),
    [
        ("bf16", "stored", 0.02),
        ("fp8", "stored", 0.09),
        ("mxfp4", "stored", 0.3),
        ("mxfp4", "fp8", 0.25),
        ("mxfp4", "recompute", 0.25),
    ],
)
def test_gradients_of_the_experts(mode, gate_up, tolerance):
    generator = torch.Generator().manual_seed(0)
    leaves = [
        torch.randn(*s, generator=generator) * f for s, f in (((100, 128), 1.0), ((4, 256, 128), 0.09), ((4, 128, 128), 0.09))
    ]
    x, w1, w2 = (v.requires_grad_() for v in leaves)
    choices = torch.stack([torch.randperm(4, generator=generator)[:2] for _ in range(100)])
    weights = torch.rand(100, 2, generator=generator).requires_grad_()
    dy = torch.randn(100, 128, generator=generator)
    options = ExpertOptions(mode, gate_up, Exchange(4), Saved())
    y = Experts.apply(x, weights, w1, w2, route(choices, 4), options)
    mine = torch.autograd.grad((y * dy).sum(), (x, weights, w1, w2))
    expected = experts_in_torch(x, weights, w1, w2, choices)
    theirs = torch.autograd.grad((expected * dy).sum(), (x, weights, w1, w2))
    for name, a, b in zip(("y", "dx", "dweights", "dw1", "dw2"), (y, *mine), (expected, *theirs), strict=True):
        # MXFP4 keeps about 19 dB, that is 11% of noise an operand; a routing weight's gradient has three of them.
        error = float((a - b).detach().norm() / b.detach().norm())
        assert error < tolerance, f"{name}: {error:.3f}"


def test_main_grad_accumulates_in_fp32():
    x, weights = torch.randn(64, 128), torch.rand(64, 2)
    w1, w2 = (torch.nn.Parameter(torch.randn(*s) * 0.05) for s in ((4, 256, 128), (4, 128, 128)))
    choices = torch.stack([torch.randperm(4)[:2] for _ in range(64)])
    options = ExpertOptions("mxfp4", "stored", Exchange(4), Saved())
    for w in (w1, w2):
        w.main_grad = torch.ones(w.shape)
    Experts.apply(x, weights, w1, w2, route(choices, 4), options).sum().backward()
    assert w1.grad is None and float((w1.main_grad - 1).abs().max()) > 0
    first = w1.main_grad.clone()
    Experts.apply(x, weights, w1, w2, route(choices, 4), options).sum().backward()
    torch.testing.assert_close(w1.main_grad - first, first - 1, atol=1e-4, rtol=1e-3)


def test_saved_bytes_are_those_of_the_plan():
    saved = {}
    for mode in MODES:
        trainer = Trainer(SMALL, TrainConfig(mode=mode, **SHORT))
        trainer.run(until=1)
        saved[mode] = trainer.record.saved_bytes_per_layer
        assert saved[mode] == memory.scopes(SMALL, SHORT["batch"] * SMALL.sequence, mode)[0].bytes
    assert saved["mxfp4"] <= 0.30 * saved["bf16"]


@pytest.mark.parametrize("mode", MODES)
def test_a_resumed_run_has_the_losses_of_an_unbroken_one(mode, tmp_path):
    config = TrainConfig(mode=mode, **SHORT)
    whole = Trainer(SMALL, config).run().losses
    broken = Trainer(SMALL, config)
    broken.run(until=2)
    broken.save(tmp_path / "checkpoint.pt")
    resumed = Trainer(SMALL, config)
    resumed.load(tmp_path / "checkpoint.pt")
    assert resumed.run().losses == whole
    with pytest.raises(ValueError, match="another configuration"):
        Trainer(SMALL, dataclasses.replace(config, seed=1)).load(tmp_path / "checkpoint.pt")


def _parallel_losses(mode):
    trainer = Trainer(SMALL, TrainConfig(mode=mode, **SHORT))
    record = trainer.run()
    return record.losses, record.wire_bytes_per_step


@pytest.mark.parametrize("mode", ("bf16", "mxfp4"))
def test_two_processes_train_alike_and_send_little(mode):
    (losses, wire), (other, _) = parallel.run(2, _parallel_losses, mode)
    assert losses == other and losses[-1] < losses[0]
    rows = SHORT["batch"] * SMALL.sequence * SMALL.top_k
    per_row = {"bf16": 2 * SMALL.hidden, "mxfp4": SMALL.hidden // 2 + SMALL.hidden // 32}[mode]
    assert wire["dispatch"] == rows * (per_row + 4)  # and a routing weight


def _split_against_whole(mode):
    """One layer's experts over the ranks against the same experts on one."""
    import torch.distributed as dist

    rank = dist.get_rank()
    generator = torch.Generator().manual_seed(3)
    w1, w2 = torch.randn(4, 256, 128, generator=generator) * 0.09, torch.randn(4, 128, 128, generator=generator) * 0.09
    x = torch.randn(2, 50, 128, generator=generator)[rank]
    choices = torch.randint(0, 2 if rank else 4, (50, 2), generator=generator)  # uneven, and some ranks get nothing
    weights = torch.rand(50, 2, generator=generator)
    split = ExpertOptions(mode, "stored", Exchange(4), Saved())
    mine = slice(2 * rank, 2 * rank + 2)
    routed = route(choices, 4)
    parts = [v.clone().requires_grad_() for v in (x, weights, w1[mine], w2[mine])]
    y = Experts.apply(*parts, routed, split)
    y.sum().backward()
    whole = Exchange(4)
    whole.ranks = 1
    same = [v.clone().requires_grad_() for v in (x, weights, w1, w2)]
    expected = Experts.apply(*same, routed, ExpertOptions(mode, "stored", whole, Saved()))
    expected.sum().backward()
    assert torch.equal(y, expected)
    assert torch.equal(parts[0].grad, same[0].grad)
    total = same[2].grad.clone()
    dist.all_reduce(total)
    return float((parts[2].grad - total[mine]).norm() / total[mine].norm())


@pytest.mark.parametrize("mode", MODES)
def test_experts_on_two_ranks_compute_what_one_computes(mode):
    # The blocks of a weight gradient start elsewhere when rows of two ranks lie side by side.
    assert max(parallel.run(2, _split_against_whole, mode)) < (1e-5 if mode == "bf16" else 0.05)


def _die_or_wait():
    import torch.distributed as dist

    if dist.get_rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    Exchange(4).plan(route(torch.zeros(8, 2, dtype=torch.int64), 4))


def test_a_dead_process_ends_the_run():
    start = time.time()
    with pytest.raises(Exception, match=r"(?i)SIGKILL|closed|terminated|reset|peer"):
        parallel.run(2, _die_or_wait, timeout=30)
    assert time.time() - start < 60
