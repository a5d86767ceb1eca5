"""Metrics of one's own by name: found, called as the kind has it, resampled, and each way they can be wrong."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import pytest

from selfpretrain.config import UserError
from selfpretrain.stats import METRICS, multibootstrap
from selfpretrain.stats.inputs import check_labels
from selfpretrain.tasks.scores import Undefined, compute_metric

MODULE = '''
import numpy as np

calls = []

def cost(labels, predictions):
    """Minus what is paid for each error."""
    calls.append(len(labels))
    return -np.abs(labels - predictions).mean()

def costs(labels, predictions):
    calls.append(len(labels))
    return -np.abs(labels - predictions)

def found(labels, predictions):
    """Recall of class 2: none where there is no such example."""
    wanted = labels == 2
    return (predictions[wanted] == 2).mean() if wanted.any() else float("nan")

def ranked(labels, predictions):
    return float((predictions[labels == 1]).mean() - (predictions[labels == 0]).mean())

def table(labels, predictions):
    return np.zeros((len(labels), 2))

def words(labels, predictions):
    return "good"

def nothing(labels, predictions):
    return None

def failing(labels, predictions):
    return 1 / 0

def endless(labels, predictions):
    return float("inf")

constant = 3
'''


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module in the folder of the command, and no trace of it afterwards."""
    (tmp_path / "my_metrics.py").write_text(MODULE)
    (tmp_path / "broken.py").write_text("import no_such_library\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    kept = dict(METRICS)
    yield "my_metrics"
    METRICS.clear()
    METRICS.update(kept)
    for name in ("my_metrics", "broken"):
        sys.modules.pop(name, None)


@pytest.fixture
def runs():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 150)
    predictions = np.where(rng.random((6, 150)) < 0.7, labels, rng.integers(0, 3, (6, 150)))
    return labels, (predictions[:3], predictions[3:])


def compare(labels, sides, metric, **changes: Any):
    seeds = {"base_seeds": [0, 1, 2], "expt_seeds": [0, 1, 2], "paired": False}
    return multibootstrap(sides, labels, metric, num_replicates=200, **{**seeds, **changes})


def test_a_number_and_one_for_each_example_are_one_score(own, runs):
    labels, sides = runs
    whole, single = (compare(labels, sides, f"{own}:{name}") for name in ("cost", "costs"))
    assert whole.delta.point == pytest.approx(-np.abs(sides[1] - labels).mean() + np.abs(sides[0] - labels).mean())
    for estimate in ("base", "expt", "delta"):
        for end in ("point", "low", "high"):
            assert getattr(getattr(whole, estimate), end) == pytest.approx(getattr(getattr(single, estimate), end))
    assert whole.metric == f"{own}:cost" and whole.base.high < 0  # of no known range: nothing is cut off at 0
    from my_metrics import calls

    # by name it is called for each of the 6 runs on 200 replicates; one score an example is added up instead
    calls.clear()
    compare(labels, sides, f"{own}:costs")
    assert len(calls) < 20
    grouped = compare(labels, sides, f"{own}:costs", groups=np.arange(150) // 5)
    assert grouped.delta.point == pytest.approx(single.delta.point) and grouped.num_groups == 30


def test_where_it_has_no_value_is_counted(own):
    rng = np.random.default_rng(0)
    labels = np.zeros(40, int)
    labels[:3] = 2  # a replicate without any of them: .05
    predictions = rng.integers(0, 3, (2, 40))
    predictions[:, :3] = [[2, 2, 0], [2, 0, 0]]
    found = compare(labels, (predictions, predictions), f"{own}:found", base_seeds=[0, 1], expt_seeds=[0, 1])
    assert 0 < found.num_dropped < 40
    assert f"{found.num_dropped} of 200 replicates left out: the metric is undefined there" in found.notes
    with pytest.raises(UserError, match="the metric is undefined for base run 0"):
        compare(np.zeros(40, int), (predictions, predictions), f"{own}:found", base_seeds=[0, 1], expt_seeds=[0, 1])


def test_one_score(own):
    labels = np.array([0, 1, 2, 2])
    assert compute_metric(f"{own}:cost", labels, np.array([0, 1, 2, 0])) == -0.5
    assert compute_metric(f"{own}:costs", labels, np.array([0, 1, 2, 0])) == -0.5
    with pytest.raises(Undefined, match="my_metrics:found gives no finite number"):
        compute_metric(f"{own}:found", labels[:2], labels[:2])
    with pytest.raises(Undefined, match="my_metrics:endless gives no finite number"):
        compute_metric(f"{own}:endless", labels, labels)


def test_what_needs_no_text(own):
    assert METRICS[f"{own}:cost"].compute_blind(np.array([0, 2, 2, 2])) == (-0.5, "always the most frequent class")
    assert METRICS[f"{own}:costs"].compute_blind(np.array([0.0, 1.0])) == (-0.5, "always the mean")
    columns = np.array([[1, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    score, rule = METRICS[f"{own}:cost"].compute_blind(columns)
    assert (score, rule) == (pytest.approx(-(0.375 + 0.5) / 2), "the classes' frequencies alone")
    score, rule = METRICS[f"{own}:found"].compute_blind(np.zeros(4, int))
    assert score == -math.inf and "has no score" in rule
    assert (METRICS[f"{own}:cost"].low, METRICS[f"{own}:cost"].high) == (-math.inf, math.inf)
    assert METRICS[f"{own}:cost"].words == "cost"


def test_columns_are_given_as_they_are(own):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (60, 3))
    scores = labels + rng.normal(size=(6, 60, 3))
    found = compare(labels, (scores[:3], scores[3:]), f"{own}:ranked")
    assert 0.5 < found.base.low < found.base.high < 1.5


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:cost", r"task.metric=no_such_module:cost cannot be imported \(ModuleNotFoundError: .*write no_such_module.py"),
        ("my_metrics:missing", r"cannot be imported \(AttributeError: .*with a function missing in the folder"),
        ("broken:cost", r"task.metric=broken:cost cannot be imported \(ModuleNotFoundError: No module named 'no_such_library'\)"),
        ("my_metrics:constant", r"is int and no function; name a function\(y_true, y_pred\)"),
        ("my_metrics:table", r"gave an array of shape \(4, 2\) of type float64; it must give a number, or one for each of the 4"),
        ("my_metrics:words", r"gave 'good' of type <U4; it must give a number"),
        ("my_metrics:nothing", r"gave None of type object; it must give a number"),
        ("my_metrics:failing", r"failed: ZeroDivisionError: division by zero; return float\('nan'\) where there is no score"),
        ("acuracy", r"metric='acuracy' is unknown: allowed are accuracy, .* or a function\(y_true, y_pred\)"),
    ],
)  # fmt: skip
def test_what_gives_no_score_is_refused_in_one_line(own, name, message):
    with pytest.raises(UserError, match=message) as caught:
        check_labels([0, 1, 2, 2], name)
    assert "\n" not in str(caught.value)
    assert name not in METRICS or name.partition(":")[2] in ("table", "words", "nothing", "failing")
