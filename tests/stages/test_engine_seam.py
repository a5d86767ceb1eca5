"""An engine from outside: one function and one entry of the table, through pretraining and fine-tuning."""

from __future__ import annotations

import json

import torch

from selfpretrain.engines import ENGINES
from selfpretrain.stages.pretrain import build_model
from selfpretrain.train.engine import Engine

trained = []


def train(jobs):
    """Plain gradient descent on the first sequence of the token file."""
    (job,) = jobs
    config = job.settings.pretrain
    module = build_model(job.settings, job.tokenizer)
    job.start(1, module)
    text = torch.from_numpy(job.tokens.tokens[: config.seq_len].astype("int64"))[None]
    chosen = torch.arange(1, config.seq_len, 7)[None]
    batch = {
        "input_ids": text.scatter(1, chosen, job.tokenizer.mask_id), "original_ids": text, "masked_positions": chosen
    }  # fmt: skip
    optimizer = torch.optim.SGD(module.parameters(), config.peak_lr)
    for step in range(config.total_steps):
        loss, measures = module(batch)
        job.run.append_metrics({"step": step + 1, "loss": float(measures["loss"])})
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    trained.append(job.run.id)
    job.store(module.hand_over(), {"loss": float(module(batch)[1]["loss"])})


ENGINE = Engine(train)


def test_an_engine_is_one_entry(command, tiny, local, tmp_path, monkeypatch):
    monkeypatch.setitem(ENGINES, "plain", f"{__name__}:ENGINE")
    recipe = ["pretrain.peak_lr=0.1", "model.dropout_prob=0", "model.attention_dropout_prob=0"]
    arguments = [*tiny, *local(), *recipe]
    first = command("pretrain", *arguments, "pretrain.engine=plain")
    assert first.code == 0, first.err
    assert command("pretrain", *arguments, "pretrain.engine=plain") == first and len(trained) == 1  # done is done
    folder = tmp_path / "runs" / "pretrain" / trained[0]
    result = json.loads((folder / "result.json").read_text())
    losses = [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert len(losses) == 2 and 0 < result["held_out"]["loss"] < losses[1] < losses[0]
    assert (folder / "status").read_text().strip() == "done" and result["flops"] > 0
    assert command("finetune", *arguments, f"init=run:{trained[0]}").code == 0
    assert command("pretrain", *arguments).code == 0  # the native engine's run is another
    assert len(list((tmp_path / "runs" / "pretrain").glob("*/result.json"))) == 2 and len(trained) == 1
