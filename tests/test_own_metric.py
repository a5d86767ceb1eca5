"""A metric of the user's own, from the file beside which a command is started, through every command that scores."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from selfpretrain.config import TaskConfig, UserError
from selfpretrain.runs.predictions import load_predictions
from selfpretrain.sources import tasks
from selfpretrain.sources.tasks import load_task, read_task
from selfpretrain.stats import METRICS

MODULE = '''
import numpy as np

def cost(labels, predictions):
    """A missed class 1 costs five times what a false one does."""
    return -np.where(labels == 1, 5.0, 1.0) * (labels != predictions)
'''


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "my_costs.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield ["task.metric=my_costs:cost"]
    METRICS.pop("my_costs:cost", None)
    sys.modules.pop("my_costs", None)


def test_a_study_and_an_evaluation_go_by_it(own, command, tiny, local, tmp_path):
    outcome = command("study", *tiny, *local(), *own, "study.pretrain_seeds=1", "study.num_replicates=200")
    assert outcome.code == 0, outcome.err
    (panel,) = json.loads(next((tmp_path / "runs" / "reports").glob("*/summary.json")).read_text())["panels"]
    assert (panel["metric"], panel["blind_rule"]) == ("my_costs:cost", "always the most frequent class")
    folders = [path for path in (tmp_path / "runs" / "finetune").iterdir() if path.is_dir()]
    scores = []
    for folder in folders:
        run, result = (
            load_predictions(folder / "predictions" / "test.parquet"),
            json.loads((folder / "result.json").read_text()),
        )
        wrong = run.labels != run.outputs.argmax(axis=1)
        scores.append(-float((wrong * [5.0 if label else 1.0 for label in run.labels]).mean()))
        assert result["metric"] == "my_costs:cost" and result["scores"]["test"] == pytest.approx(scores[-1])
    points = [entry["score"]["point"] for entry in panel["entries"]]
    assert sorted(points) == pytest.approx(sorted(scores)) and len(points) == 2
    assert all(
        entry["score"]["high"] <= 0 or entry["score"]["high"] > entry["score"]["point"] for entry in panel["entries"]
    )
    assert "(my_costs:cost)" in outcome.out

    scored = command("evaluate", *local(), *own, f"init=run:{folders[0].name}", f"runtime.runs_dir={tmp_path / 'runs'}")
    assert scored.code == 0, scored.err
    assert "my_costs:cost" in scored.out


def test_a_metric_that_is_not_there_is_refused_before_training(command, tiny, local, tmp_path):
    outcome = command("finetune", *tiny, *local(), "task.metric=nowhere_at_all:cost")
    assert outcome.code == 2 and outcome.err.count("\n") == 1
    assert "task.metric=nowhere_at_all:cost cannot be imported" in outcome.err
    assert not (tmp_path / "runs" / "finetune").exists()


def test_one_that_is_gone_is_missed_although_the_data_are_kept(own, local, tmp_path):
    path = local()[1].partition("=")[2]
    task = TaskConfig(name="local", loader="local", path=path, text=["body"], label=["topic"], metric="my_costs:cost")
    assert read_task(task, str(tmp_path / "runs")).task.metric == "my_costs:cost"
    Path("my_costs.py").unlink()
    METRICS.pop("my_costs:cost")
    del sys.modules["my_costs"]
    tasks._read.clear()
    with pytest.raises(UserError, match="my_costs:cost cannot be imported"):
        read_task(task, str(tmp_path / "runs"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metric": "accurate"}, r"task.metric=accurate does not fit .* mcc, or one of your own: <module>:<function>"),
        ({"metric": "my_costs:cost", "label_kind": "token", "label_names": ["a", "b"]}, r"does not fit labels of kind token; allowed: entity_f1, token_accuracy$"),
    ],
)  # fmt: skip
def test_kinds_say_what_they_allow(own, changes, message):
    rows = [{"words": "x", "tag": "ab"[n % 2], "body": f"text {n}", "topic": n % 2} for n in range(60)]
    Path("rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    text, label = ("words", "tag") if "label_kind" in changes else ("body", "topic")
    task = TaskConfig(name="local", loader="local", path="rows.jsonl", text=[text], label=[label], **changes)
    with pytest.raises(UserError, match=message):
        load_task(task, "runs")
