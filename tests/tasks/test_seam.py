"""A kind of task from outside: stars from one to three, by two thresholds, with a metric of its own."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch.nn.functional as F

from selfpretrain.config import UserError
from selfpretrain.kinds import CLASSES, KINDS, TaskKind
from selfpretrain.runs.predictions import load_predictions
from selfpretrain.stats.metrics import CLASS_NUMBERS, METRICS, NamedMetric
from selfpretrain.stats.statistics import build_mean
from selfpretrain.tasks.heads import HEADS, TaskHead, get_head


def count_thresholds(task):
    return len(task.label_names) - 1


def encode(task, labels):  # 2 of 0, 1, 2 -> above both thresholds: 1, 1
    return (labels[:, None] > np.arange(count_thresholds(task))).astype(np.float32)


def give_closeness(labels, predictions):
    return 1 - np.abs(labels - predictions) / 2


CLOSENESS = NamedMetric(
    "closeness", CLASS_NUMBERS,
    compute=lambda labels, predictions: float(give_closeness(labels, predictions).mean()),
    build_scorer=lambda labels, predictions: build_mean(give_closeness(labels, predictions)),
    compute_blind=lambda labels: (float(give_closeness(labels, 1).mean()), "always two stars"),
)  # fmt: skip
ORDINAL = TaskKind(CLASSES, ("closeness", "accuracy"), lambda z: (z > 0).sum(axis=1), count_thresholds, encode)


@pytest.fixture
def ordinal(monkeypatch):
    monkeypatch.setitem(KINDS, "ordinal", ORDINAL)
    monkeypatch.setitem(METRICS, "closeness", CLOSENESS)
    monkeypatch.setitem(HEADS, "ordinal", TaskHead(F.binary_cross_entropy_with_logits))


def test_a_study_of_a_kind_from_outside(ordinal, command, tiny, local, examples, tmp_path):
    rows = [{**row, "topic": str(1 + number % 3)} for number, row in enumerate(examples)]
    study = ["study.pretrain_seeds=2", "study.num_replicates=200", "task.label_kind=ordinal"]
    outcome = command("study", *tiny, *local(rows), *study)
    assert outcome.code == 0, outcome.err
    (panel,) = json.loads(next((tmp_path / "runs" / "reports").glob("*/summary.json")).read_text())["panels"]
    assert (panel["metric"], panel["blind_rule"]) == ("closeness", "always two stars")
    runs = [load_predictions(path) for path in (tmp_path / "runs" / "finetune").glob("*/predictions/test.parquet")]
    scores = [give_closeness(run.labels, (run.outputs > 0).sum(axis=1)).mean() for run in runs]
    assert len(runs) == 4 and {run.outputs.shape[1] for run in runs} == {2}
    points = [entry["score"]["point"] for entry in panel["entries"]]
    assert sum(points) / 2 == pytest.approx(np.mean(scores)) and len(points) == 2
    assert panel["entries"][1]["gain"]["delta"]["point"] == pytest.approx(points[1] - points[0])


def test_a_kind_without_a_head_is_named():
    with pytest.raises(UserError, match=r"label_kind=ordinal has no head .* allowed: class, score, multilabel"):
        get_head("ordinal")
