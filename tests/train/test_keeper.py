from __future__ import annotations

import pytest
import torch
from torch import nn

from selfpretrain.config import RuntimeConfig, UserError
from selfpretrain.runs.folder import open_run, read_starts
from selfpretrain.tracking import NullTracker
from selfpretrain.train.keeper import Evaluation, Keeper, hash_weights, note_start

CPU = torch.device("cpu")


def make_module(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))


def test_every_start_is_kept_with_device_precision_processes_and_weights(tmp_path):
    run = open_run(tmp_path, "pretrain", "abc")
    for precision in ("fp32", "bf16"):
        note_start(run, "a: 1\n", "selfpretrain pretrain", 2, make_module(), precision, CPU)
    first, second = read_starts(run.path)
    assert (first["device"], first["gpu"], first["precision"], first["world_size"]) == ("cpu", "", "fp32", 1)
    assert second["precision"] == "bf16"
    assert first["seeds_together"] == 2
    assert first["initial_weights"] == second["initial_weights"] == hash_weights(make_module())
    assert run.status == "running"


def test_weights_are_named_by_every_bit():
    whole, other = make_module(), make_module()
    with torch.no_grad():
        other[0].bias[1] += 1e-7
    assert len({hash_weights(whole), hash_weights(other), hash_weights(make_module(1))}) == 3
    assert hash_weights(make_module().to(torch.bfloat16)) != hash_weights(whole)


def make_keeper(folder):
    run = open_run(folder, "pretrain", "abc")
    run.path.mkdir(parents=True, exist_ok=True)
    return Keeper(make_module(), run, RuntimeConfig(), NullTracker())


@pytest.mark.parametrize(
    ("kept", "said"), [(3, ""), (2, "after step 2 up to 3 are lost"), (0, "after step 0 up to 3 are lost")]
)
def test_lost_lines_are_said_and_no_hindrance(tmp_path, capsys, kept, said):
    keeper = make_keeper(tmp_path)
    for step in (1, 2, 3):
        keeper.log(step, {"loss": 1.0})
    keeper.save(4, {})
    keeper.log(5, {"loss": 1.0})  # after the checkpoint: it will be written again
    file = keeper.run.path / "metrics.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:kept]) + lines[kept][:7])
    assert make_keeper(tmp_path).resume()[0] == 4
    printed = capsys.readouterr().err
    assert file.read_text() == "".join(lines[:kept])
    assert printed.count("\n") == bool(said) and said in printed


def test_best_weights_that_are_damaged_are_refused_with_what_makes_them_anew(tmp_path):
    keeper = make_keeper(tmp_path)
    keeper.evaluation = Evaluation(lambda done: {"score": 0.5}, {1}, best_of="score")
    keeper.evaluate(1)
    keeper.load_best()
    (best,) = keeper.run.checkpoints.glob("best_*")
    (best / "model.safetensors").write_bytes(b"")
    with pytest.raises(
        UserError, match=rf"best_000000001 is damaged or missing; delete {keeper.run.checkpoints} and run"
    ):
        keeper.load_best()
