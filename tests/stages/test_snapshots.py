"""A pretraining's encoder on the way: kept where asked for, without changing the run, and a start like any other."""

from __future__ import annotations

import pytest

from selfpretrain.config import UserError
from selfpretrain.door import compose_settings
from selfpretrain.files import read_json
from selfpretrain.stages.finetune import finetune
from selfpretrain.stages.pretrain import pretrain
from selfpretrain.train.checkpoint import load_encoder
from selfpretrain.train.trainer import Trainer

STEPS = ["pretrain.total_steps=8", "runtime.save_every=3"]


def list_weights(folder):
    return [value.tolist() for value in load_encoder(folder)[0].parameters()]


def test_a_snapshot_is_the_encoder_of_that_step_and_the_run_is_the_same(tiny, local):
    plain = pretrain(compose_settings("pretrain", [*tiny, *local(), *STEPS]))
    end = list_weights(plain.encoder())
    # half of a run under a constant rate is a run of half the steps
    constant = ["pretrain.schedule=constant", "pretrain.warmup_fraction=0"]
    half = pretrain(compose_settings("pretrain", [*tiny, *local(), *STEPS, *constant, "pretrain.total_steps=4"]))
    kept = pretrain(compose_settings("pretrain", [*tiny, *local(), *STEPS, *constant, "pretrain.snapshots=[.5,.999]"]))
    assert sorted(path.name for path in kept.path.glob("encoder*")) == ["encoder", "encoder_4"]
    assert list_weights(kept.encoder(4)) == list_weights(half.encoder()) != list_weights(kept.encoder())
    # what is kept on the way is no part of the run: it is the one that there is
    again = pretrain(compose_settings("pretrain", [*tiny, *local(), *STEPS, "pretrain.snapshots=[.5]"]))
    assert again.path == plain.path and list_weights(again.encoder()) == end


def test_finetuning_from_a_snapshot(tiny, local):
    given = [*tiny, *local()]
    run = pretrain(compose_settings("pretrain", [*given, *STEPS, "pretrain.snapshots=[0.25]"]))
    found = finetune(compose_settings("finetune", [*given, f"init=run:{run.id}@2"]))
    assert found.id != finetune(compose_settings("finetune", [*given, f"init=run:{run.id}"])).id
    assert set(read_json(found.path / "result.json")["scores"]) == {"validation", "test"}
    with pytest.raises(UserError, match=f"no snapshot after 3 steps; allowed: run:{run.id}@2 "):
        finetune(compose_settings("finetune", [*given, f"init=run:{run.id}@3"]))


@pytest.mark.parametrize("init", ["run:abc@", "run:abc@x", "run:abc@-1", "run:@3"])
def test_wrong_steps(tiny, local, init):
    with pytest.raises(UserError, match="is not a start"):
        compose_settings("finetune", [*tiny, *local(), f"init={init}"])


def test_the_published_schedule_scaled_down_keeps_28_encoders(tiny, local):
    given = [
        *tiny,
        *local(),
        "pretrain.total_steps=100",
        "pretrain.checkpoint_schedule=multiberts",
        "runtime.save_every=50",
    ]
    run = pretrain(compose_settings("pretrain", given))
    steps = [*range(1, 11), *range(15, 100, 5)]
    kept = {path.name for path in run.path.glob("encoder*")}
    assert kept == {"encoder", *(f"encoder_{step}" for step in steps)} and len(kept) == 28
    assert run.read_result()["snapshots"] == steps
    assert list_weights(run.encoder(1)) != list_weights(run.encoder(95)) != list_weights(run.encoder())


def test_a_result_names_what_was_kept(tiny, local, monkeypatch):
    """No id holds what is asked for: a run that goes on may be past a step that is asked for then."""
    take = Trainer.step

    def die(trainer, step, micro_batches):
        if step == 5:
            raise KeyboardInterrupt
        take(trainer, step, micro_batches)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Trainer, "step", die)
        pretrain(compose_settings("pretrain", [*tiny, *local(), *STEPS]))
    run = pretrain(compose_settings("pretrain", [*tiny, *local(), *STEPS, "pretrain.snapshots=[.25,.75]"]))
    assert run.list_snapshots() == run.read_result()["snapshots"] == [6]
