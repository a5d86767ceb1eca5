from __future__ import annotations

import torch
from torch import nn

from selfpretrain.runs.folder import open_run, read_starts
from selfpretrain.train.keeper import hash_weights, note_start

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
