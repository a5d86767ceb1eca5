"""An objective from outside: one module and one entry of the table, through plan, pretraining and fine-tuning."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F

from selfpretrain.model.encoder import Encoder
from selfpretrain.model.flops import count_encoder_flops
from selfpretrain.model.init import init_weights
from selfpretrain.model.pretraining import PretrainModule
from selfpretrain.model.sizes import count_encoder_parameters
from selfpretrain.pretext.objectives import OBJECTIVES, Objective


class Copy(PretrainModule):
    """Say every token of the text again, the masked ones too."""

    def __init__(self, model, objective, vocab_size, pad_id, seed):
        super().__init__()
        self.encoder = Encoder(model, vocab_size, pad_id)
        init_weights(self, model, torch.Generator().manual_seed(seed))

    def forward(self, batch):
        logits = self.encoder(batch["input_ids"], None, None) @ self.encoder.embeddings.word.weight.T
        loss = F.cross_entropy(logits.flatten(0, 1), batch["original_ids"].flatten())
        return loss, {"loss": loss.detach()}


def count_flops(model, vocab_size, slots, rows, length):
    return count_encoder_flops(model, rows, length) + 2 * rows * length * model.hidden_size * vocab_size


def test_an_objective_is_one_entry(command, tiny, local, tmp_path, monkeypatch):
    monkeypatch.setitem(OBJECTIVES, "copy", Objective(("roberta",), Copy, count_flops, count_encoder_parameters))
    recipe = ["pretrain.peak_lr=0.05", "pretrain.schedule=constant", "pretrain.warmup_fraction=null"]
    arguments = [*tiny, *local(), *recipe, "objective.name=copy", "runtime.log_every=1"]
    assert command("pretrain", *arguments).code == 0
    (file,) = (tmp_path / "runs" / "pretrain").glob("*/result.json")
    result = json.loads(file.read_text())
    losses = [json.loads(line).get("loss") for line in (file.parent / "metrics.jsonl").read_text().splitlines()]
    assert losses[1] < losses[0] < 20 and 0 < result["held_out"]["loss"] < losses[0]
    assert command("finetune", *arguments, f"init=run:{file.parent.name}").code == 0
    planned = command("plan", *arguments, "study.pretrain_seeds=1")
    row = next(line for line in planned.out.splitlines() if "pretraining" in line)
    # two steps of two sequences, and up to 256 held-out ones at a third of the cost
    assert float(row.split("│")[5]) == pytest.approx(result["flops"] * (1 + 256 / 2 / 2 / 3), rel=0.01)
    outcome = command("pretrain", *arguments, "model=electra_tiny")
    assert outcome.code == 2
    assert "objective.name=copy needs model.family=roberta, not electra; set objective.name=rtd" in outcome.err
