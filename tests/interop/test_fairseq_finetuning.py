"""RoBERTa fine-tuned by fairseq-train: the same arithmetic as the native engine's, and a run like any other."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from selfpretrain.tasks.sequence import SequenceModel

ROOT = Path(__file__).parents[2]
ENVIRONMENT = ROOT / ".fairseq"
needs_fairseq = pytest.mark.skipif(
    not (ENVIRONMENT / "installed").is_file(), reason="no fairseq in .fairseq; launch/fairseq_env.sh builds it"
)
ENGINE = ["finetune.engine=fairseq", f"runtime.fairseq_env={ENVIRONMENT}"]
AS_FAIRSEQ = ["finetune.head=tanh", "finetune.pooling=cls", "finetune.decay_all=true", "finetune.bias_correction=true",
              "finetune.schedule=polynomial", "finetune.eps_uncorrected=true", "finetune.recipe=preset"]  # fmt: skip


def find_run(runs: Path) -> Path:
    (folder,) = [path for path in (runs / "finetune").iterdir() if path.is_dir()]
    return folder


def read_logits(folder: Path) -> np.ndarray:
    with np.load(next(folder.glob("*test*.npz"))) as file:
        return np.array(file["outputs"])


@needs_fairseq
@pytest.mark.parametrize("kind", ["class", "score"])
def test_of_whole_batches_both_engines_learn_the_same(command, tiny, local, examples, tmp_path, monkeypatch, kind):
    # fairseq has no row of the only segment, the positions have it: ours stays as it was
    monkeypatch.setattr("selfpretrain.stages.finetune.SequenceModel", WithoutSegments)
    if kind == "score":
        examples = [{**row, "topic": f"{int(row['id']) * 7 % 80 / 4}"} for row in examples]
    whole = ["finetune.batch_size=100", "finetune.min_steps=6", "finetune.max_steps=6", "finetune.peak_lr=3e-3",
             "finetune.warmup_fraction=0", "model.dropout_prob=0", "model.attention_dropout_prob=0"]  # fmt: skip
    models = []
    for name, engine in (("native", []), ("fairseq", ENGINE)):
        runs = tmp_path / name
        outcome = command(
            "finetune",
            *tiny,
            *local(examples),
            f"task.label_kind={kind}",
            *AS_FAIRSEQ,
            *whole,
            *engine,
            f"runtime.runs_dir={runs}",
        )
        assert outcome.code == 0, outcome.err
        models.append({**load_file(find_run(runs) / "model" / "encoder.safetensors"), **load_head(find_run(runs))})
    names = [name for name in models[0] if "token_type" not in name and "position" not in name]
    assert len(names) > 10
    for name in names:
        np.testing.assert_allclose(models[1][name], models[0][name], atol=2e-4, err_msg=name)


class WithoutSegments(SequenceModel):
    def __init__(self, *given):
        super().__init__(*given)
        self.encoder.embeddings.token_type.weight.requires_grad_(False)


def load_head(folder: Path) -> dict[str, np.ndarray]:
    return load_file(folder / "model" / "head.safetensors")


@needs_fairseq
def test_stopped_and_started_again_it_ends_alike(tiny, local, tmp_path):
    given = [*tiny, *local(), *AS_FAIRSEQ, *ENGINE, "finetune.min_steps=600", "finetune.max_steps=600", "finetune.max_evals=4",
             "runtime.log_every=100", "runtime.save_every=100", "model.dropout_prob=0.1"]  # fmt: skip
    ends = []
    for stop in (None, signal.SIGTERM):
        runs = tmp_path / str(stop)
        line = [sys.executable, "-m", "selfpretrain", "finetune", *given, f"runtime.runs_dir={runs}"]
        if stop:
            with subprocess.Popen(line, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
                limit = time.monotonic() + 120
                while not list(runs.glob("finetune/*/checkpoints/checkpoint_last.pt")):
                    assert process.poll() is None and time.monotonic() < limit
                    time.sleep(0.02)
                process.send_signal(stop)
            assert process.returncode == 75
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        folder = find_run(runs)
        result = json.loads((folder / "result.json").read_text())
        assert [entry["step"] for entry in result["history"]] == [150, 300, 450, 600]
        rows = [json.loads(row)["step"] for row in (folder / "metrics.jsonl").read_text().splitlines()]
        assert rows == sorted([*range(100, 601, 100), 150, 300, 450, 600])
        assert [path.name for path in (folder / "checkpoints").glob("look_*")] == []
        ends.append((result["history"], result["scores"], (folder / "model" / "encoder.safetensors").read_bytes()))
    assert ends[0] == ends[1]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["finetune.pooling=mean"], "finetune.engine=fairseq needs finetune.pooling=cls"),
        (["finetune.head=linear", "finetune.decay_all=false"], "finetune.head=tanh, finetune.decay_all=true"),
        (["model.family=bert", "model.type_vocab_size=2", "tokenizer.kind=wordpiece"], "needs model.family=roberta, "),
    ],
)
def test_what_it_cannot_do_is_one_line(command, tiny, local, monkeypatch, given, said):
    monkeypatch.setattr("selfpretrain.interop.fairseq_finetuning.find_python", lambda environment: Path("python"))
    outcome = command("finetune", *tiny, *local(), *AS_FAIRSEQ, "finetune.engine=fairseq", *given)
    assert outcome.code == 2 and outcome.err.count("\n") == 1
    assert said in outcome.err
