"""A pretraining whose layers part: what it begins with, what it leaves, and kill -9 around the step at which they do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
import torch

from selfpretrain.config import UserError
from selfpretrain.door import compose_settings
from selfpretrain.files import compute_checksum, read_json
from selfpretrain.runs.folder import read_starts
from selfpretrain.stages.pretrain import Pretraining, build_model, pretrain
from selfpretrain.train.checkpoint import load_encoder
from selfpretrain.train.engine import carry_out

DEEP = ["model.num_layers=4", "pretrain.total_steps=12", "runtime.save_every=4", "runtime.log_every=1"]
ADAPTIVE = ["pretrain.weight_sharing=adaptive", "pretrain.share_threshold=1", "pretrain.share_check_every=2"]
# a step of the product, then SIGKILL to itself
KILLED = """
import os, signal, sys
from selfpretrain.__main__ import main
from selfpretrain.train.trainer import Trainer

def step_and_die(trainer, step, micro_batches, take=Trainer.step):
    take(trainer, step, micro_batches)
    if step == int(os.environ["DIES_AFTER"]):
        os.kill(os.getpid(), signal.SIGKILL)

Trainer.step = step_and_die
sys.argv = ["selfpretrain", *sys.argv[1:]]
main()
"""


def read_rows(run):
    rows = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "tokens_per_second"} for row in rows]


def hash_files(run):
    paths = [path for path in run.path.rglob("*") if path.suffix in (".safetensors", ".json")]
    return {
        str(path.relative_to(run.path)): compute_checksum(path, "sha256")
        for path in paths if path.name not in ("provenance.json", "budget.json")
    }  # fmt: skip


def count_alike(layers):
    """Layers whose weights are those of the first."""
    first = layers[0].state_dict()
    return sum(all(torch.equal(first[name], value) for name, value in layer.state_dict().items()) for layer in layers)


def test_killed_before_and_after_its_layers_part_it_leaves_the_same_files(tiny, local, tmp_path):
    arguments = [*local(), *tiny, *DEEP, *ADAPTIVE, "model.dropout_prob=.1"]
    settings = compose_settings("pretrain", arguments)
    straight = pretrain(settings)
    assert read_json(straight.path / "result.json")["parted"] == {"encoder": [6, 6, 6]}
    elsewhere = [*arguments, f"runtime.runs_dir={tmp_path / 'killed'}"]
    for dies_after in (5, 7):  # the third check comes before step 6 (from 0); checkpoints after 4 and 8
        environment = {**os.environ, "DIES_AFTER": str(dies_after), "PYTHONPATH": os.pathsep.join(sys.path)}
        died = subprocess.run(
            [sys.executable, "-c", KILLED, "pretrain", *elsewhere], env=environment, capture_output=True, text=True
        )
        assert died.returncode == -signal.SIGKILL, died.stderr
    killed = pretrain(compose_settings("pretrain", elsewhere))
    assert killed.id == straight.id
    assert len(read_starts(killed.path)) == 3
    files = hash_files(straight)
    assert hash_files(killed) == files and "checkpoints/step_000000012/state.json" in files
    assert read_rows(killed) == read_rows(straight)


@pytest.mark.parametrize("model", ["roberta_tiny", "electra_tiny"])
def test_what_is_left_of_a_run_says_when_its_layers_parted(tiny, local, model):
    arguments = [*local(), *tiny, *DEEP, f"model={model}", "pretrain.share_until=.5", "pretrain.share_unit=2"]
    settings = compose_settings("pretrain", [*arguments, "pretrain.weight_sharing=fixed", "pretrain.snapshots=[.5]"])
    training, weights = Pretraining(settings), []
    training.hook = lambda step, named: weights.append(named["encoder.layers.2.up.weight"].clone())
    run = carry_out(training, wait=True)
    stacks = ["encoder"] if model == "roberta_tiny" else ["encoder", "generator"]
    assert read_json(run.path / "result.json")["parted"] == {stack: [6] for stack in stacks}
    rows = [row for row in read_rows(run) if "loss" in row]
    for stack in stacks:
        assert [row[f"{stack}_groups"] for row in rows] == [1] * 6 + [2] * 6
    tied, _ = load_encoder(run.encoder(6))
    assert count_alike(tied.layers[::2]) == count_alike(tied.layers[1::2]) == 2 and count_alike(tied.layers) == 2
    parted, _ = load_encoder(run.encoder())
    assert count_alike(parted.layers[::2]) == count_alike(parted.layers[1::2]) == 1
    assert not torch.equal(weights[0], weights[6])
    # what is not shared has a run of its own and says nothing of it
    plain = pretrain(compose_settings("pretrain", [*local(), *tiny, *DEEP, f"model={model}"]))
    assert plain.id != run.id and "parted" not in read_json(plain.path / "result.json")
    assert not any("groups" in key for row in read_rows(plain) for key in row)


def test_correlations_are_logged_where_they_are_looked_at(tiny, local):
    multistep = ["pretrain.weight_sharing=multistep", "pretrain.share_threshold=0", "pretrain.share_check_every=2"]
    run = pretrain(compose_settings("pretrain", [*local(), *tiny, *DEEP, *multistep]))
    rows = [row for row in read_rows(run) if "loss" in row]
    looked = [row for row in rows if "encoder_correlation" in row]
    assert [row["step"] for row in looked] == [3, 5, 7, 9, 11]  # before the steps 2, 4, ... from 0
    assert all(-1 <= row["encoder_correlation_lowest"] <= row["encoder_correlation"] <= 1 for row in looked)
    assert read_json(run.path / "result.json")["parted"] == {"encoder": [None] * 3}
    encoder, _ = load_encoder(run.encoder())
    assert count_alike(encoder.layers) == 4


@pytest.mark.parametrize(("scheme", "unit"), [("normal", 1), ("mimetic", 2)])
def test_all_units_begin_as_the_first_and_nothing_else_differs(tiny, local, scheme, unit):
    arguments = [*local(), *tiny, *DEEP, f"model.init_scheme={scheme}"]
    plain = Pretraining(compose_settings("pretrain", arguments))
    tied = compose_settings("pretrain", [*arguments, "pretrain.weight_sharing=fixed", f"pretrain.share_unit={unit}"])
    before, after = (build_model(settings, plain.tokenizer).state_dict() for settings in (plain.settings, tied))
    assert before.keys() == after.keys()
    for name, value in after.items():
        part = name.split(".")
        if "layers" in part:
            part[2] = str(int(part[2]) % unit)
        assert torch.equal(value, before[".".join(part)]), name
    assert not torch.equal(before["encoder.layers.0.up.weight"], before["encoder.layers.2.up.weight"])


def test_what_goes_on_from_an_encoder_cannot_begin_as_one(tiny, local):
    arguments = [*local(), *tiny, *DEEP]
    start = pretrain(compose_settings("pretrain", [*arguments, "pretrain.total_steps=1"]))
    given = [*arguments, f"init=run:{start.id}", "pretrain.weight_sharing=fixed"]
    with pytest.raises(
        UserError, match=f"those of init=run:{start.id} do not; set pretrain.weight_sharing=none"
    ) as error:
        pretrain(compose_settings("pretrain", given))
    assert "\n" not in str(error.value)
