"""Loss curves of 50 steps in fp32, stored before the code was last rearranged: a change that means to change nothing is
held to them.

They are equal to the last bit on one machine. Another processor's instructions move them by 5e-6 (measured), and
ELECTRA's by 2e-4 where a sample of its generator falls on the other side of a border. A change that is meant to move
them raises a version in the identity and stores them anew:
``SELFPRETRAIN_STORE_GOLDEN=1 pytest tests/test_golden.py``.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest

STORED = Path(__file__).parent / "golden" / "losses.json"
STEPS = 50
WORDS = "red blue green black white cat dog bird fish horse runs sleeps eats sees likes the a one two three"
SHRUNK = [
    "model.num_layers=2", "model.hidden_size=64", "model.embedding_size=32", "model.num_heads=4",
    "model.intermediate_size=128", "model.max_positions=64", "model.dropout_prob=0.1", "tokenizer.vocab_size=300", "tokenizer.source=own",
    f"pretrain.total_steps={STEPS}", "pretrain.batch_size=8", "pretrain.micro_batch_size=4", "pretrain.seq_len=48",
    "pretrain.warmup_fraction=0.1", "pretrain.peak_lr=2e-3", "pretrain.precision=fp32", "finetune.seq_len=48",
    f"finetune.max_steps={STEPS}", f"finetune.min_steps={STEPS}", "finetune.batch_size=8", "finetune.peak_lr=1e-3",
    "finetune.precision=fp32", "finetune.lr_grid=[]", "runtime.num_workers=1", "runtime.log_every=1",
    "runtime.num_threads=1", "runtime.device=cpu",
]  # fmt: skip


def make_rows() -> list[dict[str, str]]:
    chance = random.Random(0)
    rows = []
    for number in range(160):
        sentences = [
            " ".join(chance.choices(WORDS.split(), k=chance.randint(3, 9))) for _ in range(chance.randint(1, 5))
        ]
        text = ". ".join(sentences)
        rows.append({"id": str(number), "body": f"{text} {number}", "topic": "cat" if " cat" in text else "other"})
    return rows


def read_losses(folder: Path) -> list[float]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row["loss"] for row in lines if "loss" in row]


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
@pytest.mark.parametrize("model", ["electra_tiny", "roberta_tiny"])
def test_losses_are_those_of_before(command, local, tmp_path, model, stage):
    outcome = command(stage, f"model={model}", *SHRUNK, f"runtime.runs_dir={tmp_path / 'runs'}", *local(make_rows()))
    assert outcome.code == 0, outcome.err
    (folder,) = (path for path in (tmp_path / "runs" / stage).iterdir() if path.is_dir())
    losses = read_losses(folder)
    assert len(losses) == STEPS and losses[-1] < losses[0]
    stored = json.loads(STORED.read_text()) if STORED.exists() else {}
    if os.environ.get("SELFPRETRAIN_STORE_GOLDEN"):
        stored[f"{stage} {model}"] = losses
        STORED.write_text(json.dumps(stored, indent=1) + "\n")
    assert losses == pytest.approx(
        stored[f"{stage} {model}"], rel=1e-3 if stage == "pretrain" and model == "electra_tiny" else 2e-5
    )
