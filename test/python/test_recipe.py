"""The recipe, small: gradients, bytes, checkpoints, and two processes."""

import dataclasses
import json
from pathlib import Path

import pytest

from recipes.moe import memory, parallel, plan, report
from recipes.moe.config import MODES, ModelConfig, TrainConfig, load
from recipes.moe.train import Trainer, train

SMALL = ModelConfig(layers=1, hidden=128, heads=2, intermediate=128, sequence=64)
SHORT = dict(steps=4, batch=2, warmup=2, evaluate_every=10**9, evaluate_batches=1)


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


def _parallel_losses(mode, transport="collective"):
    trainer = Trainer(SMALL, TrainConfig(mode=mode, transport=transport, **SHORT))
    record = trainer.run()
    return record.losses, record.wire_bytes_per_step


@pytest.mark.parametrize(("mode", "transport"), [("bf16", "collective"), ("mxfp4", "messages")])
def test_two_processes_train_alike_and_send_little(mode, transport):
    (losses, wire), (other, _) = parallel.run(2, _parallel_losses, mode, transport)
    assert losses == other and losses[-1] < losses[0]
    rows = SHORT["batch"] * SMALL.sequence * SMALL.top_k * SMALL.layers
    per_row = {"bf16": 2 * SMALL.hidden, "mxfp4": SMALL.hidden // 2 + SMALL.hidden // 32}[mode]
    assert wire["dispatch"] == rows * (per_row + 4)  # and a routing weight


def test_two_processes_resume_each_from_its_own_checkpoint(tmp_path):
    # Steps are part of the configuration; a run that was broken off has the same.
    config = TrainConfig(**SHORT)
    whole = parallel.run(2, _parallel_losses, "mxfp4")[0][0]
    broken = parallel.run(2, _broken_off, str(tmp_path))
    assert broken[0] == whole[:2] and {p.name for p in tmp_path.glob("*.pt")} == {"mxfp4-seed0.0.pt", "mxfp4-seed0.1.pt"}
    assert parallel.run(2, _gone_on, str(tmp_path))[0] == whole and config.steps == len(whole)


def _broken_off(folder):
    trainer = Trainer(SMALL, TrainConfig(**SHORT))
    trainer.run(until=2)
    trainer.save(Path(folder) / "mxfp4-seed0.pt")
    return trainer.record.losses


def _gone_on(folder):
    return train(SMALL, TrainConfig(**SHORT), Path(folder), resume=True).losses


@pytest.mark.parametrize("recompute", ("experts", "layers"))
def test_recomputation_changes_no_loss(recompute):
    losses = [Trainer(SMALL, TrainConfig(recompute=r, **SHORT)).run().losses for r in ("nothing", recompute)]
    assert losses[0] == losses[1]


def test_a_run_leaves_a_record_a_picture_and_times(tmp_path):
    records = {mode: [train(SMALL, TrainConfig(mode=mode, **SHORT), tmp_path, resume=False)] for mode in ("bf16", "mxfp4")}
    written = json.loads((tmp_path / "mxfp4-seed0.json").read_text())
    assert len(written["losses"]) == 4 and written["tokens_per_second"] > 0
    assert {"first_product", "swiglu_gradient", "weight_gradient"} <= written["microseconds_per_kernel"].keys()
    table = report.seeds_table(records)
    assert "mxfp4" in table and "%" in table
    assert report.read(tmp_path) == records
    assert list((tmp_path / "tensorboard/mxfp4-seed0").iterdir())
    assert all(path.stat().st_size > 1000 for path in report.draw_seeds(records, tmp_path))


def test_every_scope_keeps_what_is_said_and_the_cap_chooses():
    tokens = SHORT["batch"] * SMALL.sequence
    for mode in MODES:
        sizes = []
        for scope in memory.scopes(SMALL, tokens, mode):
            trainer = Trainer(SMALL, TrainConfig(mode=mode, gate_up=scope.gate_up, hidden=scope.hidden, **SHORT))
            trainer.run(until=1)
            assert trainer.record.saved_bytes_per_layer == scope.bytes
            assert memory.widest(SMALL, tokens, mode, scope.bytes) == scope
            sizes.append(scope.bytes)
        assert sizes == sorted(sizes, reverse=True) and len(sizes) == (2 if mode == "fp8" else 4)
        assert memory.widest(SMALL, tokens, mode, sizes[-1] - 1) is None


def test_configurations_of_the_recipe(tmp_path):
    files = sorted((Path(__file__).parents[2] / "recipes/moe/configs").glob("*.toml"))
    assert len(files) >= 3
    for file in files:
        model, config = load(file)
        assert model.hidden % 128 == 0 and config.steps > 0
    assert load(next(f for f in files if f.stem == "tiny"))[0] == ModelConfig()
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("[model]\nwidth = 3\n")
    with pytest.raises(ValueError, match=r"\[model\]: unknown width"):
        load(wrong)


def test_the_plan_has_the_bytes_of_the_layers():
    """The working point of the paper: 4096 tokens a rank, 671B, experts over 32 ranks."""
    shape = plan.MODELS["671B"]
    by_mode = {mode: plan.plan(shape, mode, 4096, 32, plan.Machine()) for mode in MODES}
    rows = 4096 * 8
    assert by_mode["mxfp4"].dispatch == pytest.approx(rows * 31 / 32 * (7168 * 17 / 32 + 4))
    assert by_mode["mxfp4"].dispatch / by_mode["bf16"].dispatch == pytest.approx(0.266, abs=1e-3)
    sizes = ModelConfig(hidden=7168, heads=56, experts=256, top_k=8, intermediate=2048)
    for mode in MODES:
        assert by_mode[mode].kept == memory.scopes(sizes, 4096, mode)[0].bytes
    assert "671B" in plan.table("671B", shape, 4096, 256, 32, 8, plan.Machine())
