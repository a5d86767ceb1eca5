"""Known values by hand, and a refusal wherever a score does not exist."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from selfpretrain.stats import METRICS
from selfpretrain.stats.metrics import SUMS
from selfpretrain.tasks.scores import compute_metric


@pytest.mark.parametrize(
    ("name", "labels", "predictions", "expected"),
    [
        ("accuracy", [0, 1, 2, 1], [0, 1, 1, 1], 0.75),
        ("f1", [1, 1, 0, 0], [1, 0, 1, 0], 0.5),
        ("f1", [1, 1, 0, 0], [0, 0, 0, 0], 0.0),
        ("macro_f1", [1, 1, 0, 0], [0, 0, 0, 0], 1 / 3),  # class 0: 2 x 2 / (2 + 4); class 1: 0
        ("mcc", [1, 1, 0, 0], [1, 0, 0, 0], 1 / 3**0.5),  # (1 x 2 - 0 x 1) / sqrt(1 x 2 x 2 x 3)
        ("mcc", [1, 1, 0, 0], [1, 1, 1, 1], 0.0),
        ("pearson", [0.0, 1.0, 2.0], [1.0, 3.0, 5.0], 1.0),
        ("spearman", [0.0, 1.0, 2.0], [9.0, 4.0, 1.0], -1.0),
        ("entity_f1", [[2, 2, 2, 4, 2, 4], [1, 1, 1, 3, 1, 3]], [[1, 3, 2, 2, 2, 4], [1, 1, 1, 3, 1, 3]], 4 / 7),
        ("entity_f1", [[2, 2, 2, 4, 2, 4]], [[0, 0, 2, 2, 2, 4]], 0.0),
        ("token_accuracy", [[2, 2, 2, 4, 2, 4], [0, 0, 0, 3, 3, 3]], [[1, 3, 2, 2, 2, 4], [0, 0, 0, 3, 3, 3]], 5 / 7),
        ("micro_auc", [[0, 1], [1, 0]], [[0.1, 0.9], [0.5, 0.5]], 0.875),  # pairs won 1 + 1 + 1 + 1/2 of 4
    ],
)
def test_known_values(name: str, labels: Any, predictions: Any, expected: float) -> None:
    assert compute_metric(name, np.array(labels), np.array(predictions)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "labels", "predictions", "message"),
    [
        ("bleu", [0, 1], [0, 1], "unknown"),
        ("accuracy", [], [], "empty"),
        ("accuracy", [0, 1], [0.0, 1.0], "class numbers"),
        ("accuracy", [0, -100], [0, 1], "-100"),
        ("accuracy", [0, 1], [0, 1, 1], "2 labels"),
        ("accuracy", [0, 1], [[0.1, 0.2], [0.3, 0.1]], "argmax"),
        ("f1", [0, 2], [0, 1], "macro_f1"),
        ("f1", [0, 0], [0, 1], "no label is 1"),
        ("mcc", [1, 1], [0, 1], "two different labels"),
        ("pearson", [1.0, 2.0], [np.nan, 1.0], "NaN"),
        ("pearson", [1.0, 2.0], [3.0, 3.0], "two different values"),
        ("spearman", [1.0, 1.0], [3.0, 4.0], "two different labels"),
        ("spearman", [1.0, 2.0], [3.0, 3.0], "two different values"),
        ("micro_auc", [[0, 0], [0, 0]], [[0.1, 0.2], [0.3, 0.4]], "two different labels"),
        ("micro_auc", [[0, 2], [0, 1]], [[0.1, 0.2], [0.3, 0.4]], "2 found in labels"),
        ("micro_auc", [[0, 1], [0, 1]], [[0.1, np.inf], [0.3, 0.4]], "infinite"),
        ("entity_f1", [[0, 0, 0, 3, 3, 3]], [[0, 0, 0, 3, 3, 3]], "nothing to find .* perfect answers score 0"),
        ("entity_f1", [[1, 1, 1]], [[1, 1, 1]], "entity_f1 wants 6 sums, entities found, entities predicted, "),
        ("token_accuracy", [3, 4], [3, 2], "token_accuracy wants 6 sums"),
    ],
)
def test_refuses_what_cannot_be_computed(name: str, labels: Any, predictions: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        compute_metric(name, np.array(labels, dtype=int if labels == [] else None), np.array(predictions))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", METRICS)
def test_perfect_predictions_score_one(name: str) -> None:
    labels = np.array([[0, 1], [1, 0]]) if name == "micro_auc" else np.array([0, 1, 1, 0])
    if METRICS[name].takes == SUMS:
        labels = np.array([[0, 0, 0, 3, 3, 3], [2, 2, 2, 4, 1, 4]])
    assert compute_metric(name, labels, labels) == pytest.approx(1.0, abs=1e-12)
