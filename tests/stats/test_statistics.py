"""Weighted formulas against scikit-learn and SciPy on the examples written out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from selfpretrain.stats import statistics
from selfpretrain.stats.metrics import METRICS, SUMS, build_scorer
from selfpretrain.tasks.scores import compute_metric

NUM_RUNS, NUM_EXAMPLES, NUM_REPLICATES = 5, 73, 6


def draw_data(metric: str, rng: np.random.Generator, num_classes: int, ties: bool, draw_sums: Any) -> tuple[Any, Any]:
    """Labels and predictions that agree on about half of the examples."""
    shape = (NUM_RUNS, NUM_EXAMPLES)
    if METRICS[metric].takes == SUMS:
        return draw_sums(rng, *shape)
    if metric == "micro_auc":
        labels = (rng.random((NUM_EXAMPLES, 3)) < 0.3).astype(np.int64)
        scores = labels + rng.normal(size=(*shape, 3))
        return labels, scores.round(1 if ties else 12)
    if metric in ("pearson", "spearman"):
        values = 5 + rng.normal(size=NUM_EXAMPLES)
        scores = 100 + values + rng.normal(size=shape)  # far from zero: rounding would show
        return values.round(1 if ties else 12), scores.round(1 if ties else 12).astype(np.float32)
    classes = 2 if metric == "f1" else num_classes
    labels = rng.integers(0, classes, NUM_EXAMPLES)
    return labels, np.where(rng.random(shape) < 0.5, labels, rng.integers(0, classes, shape))


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("num_classes", [2, 4, 64, 90])  # from 33 on more cells than the dense path takes
@pytest.mark.parametrize("metric", METRICS)
def test_equals_the_libraries_on_explicit_resamples(metric: str, num_classes: int, ties: bool, draw_sums: Any) -> None:
    rng = np.random.default_rng([num_classes, ties])
    labels, predictions = draw_data(metric, rng, num_classes, ties, draw_sums)
    counts = rng.multinomial(NUM_EXAMPLES, np.full(NUM_EXAMPLES, 1 / NUM_EXAMPLES), size=NUM_REPLICATES)
    scores = build_scorer(metric, labels, predictions)(
        counts.astype(np.int32), np.ones((NUM_REPLICATES, NUM_RUNS), bool)
    )
    for replicate, row in enumerate(counts):
        examples = np.repeat(np.arange(NUM_EXAMPLES), row)
        for run in range(NUM_RUNS):
            selected = predictions[run, examples]
            if metric == "pearson":
                selected = selected.astype(np.float64)  # SciPy computes in the input's precision
            expected = compute_metric(metric, labels[examples], selected)
            assert scores[replicate, run] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_blocks_do_not_change_scores(metric: str, monkeypatch: pytest.MonkeyPatch, draw_sums: Any) -> None:
    rng = np.random.default_rng(7)
    labels, predictions = draw_data(metric, rng, 3, True, draw_sums)
    counts = rng.multinomial(NUM_EXAMPLES, np.full(NUM_EXAMPLES, 1 / NUM_EXAMPLES), size=NUM_REPLICATES).astype(
        np.int32
    )
    drawn = np.ones((NUM_REPLICATES, NUM_RUNS), bool)
    whole = build_scorer(metric, labels, predictions)(counts, drawn)
    monkeypatch.setattr(statistics, "_BLOCK_BYTES", 1)
    monkeypatch.setattr(statistics, "_CACHE_VALUES", 1)
    np.testing.assert_allclose(build_scorer(metric, labels, predictions)(counts, drawn), whole, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("metric", "labels", "predictions"),
    [
        ("mcc", [0, 1, 1], [[0, 1, 1]]),
        ("f1", [1, 0, 0], [[1, 0, 0]]),
        ("pearson", [0.3, 1.0, 2.0], [[0.1, 0.8, 1.8]]),
        ("spearman", [0.3, 1.0, 2.0], [[0.1, 0.7, 0.9]]),
        ("micro_auc", [0, 1, 1], [[0.1, 0.7, 0.9]]),
        # the sentence that is drawn alone has no entity, and none is predicted
        (
            "entity_f1",
            [[2, 2, 2, 3, 1, 3], [1, 1, 1, 2, 1, 2], [0, 0, 0, 4, 4, 4]],
            [[[2, 2, 2, 3, 1, 3], [1, 1, 1, 2, 1, 2], [0, 0, 0, 4, 4, 4]]],
        ),
    ],
)
def test_one_distinct_example_is_undefined(metric: str, labels: list[Any], predictions: list[Any]) -> None:
    counts = np.array([[0, 0, 3], [1, 1, 1]], dtype=np.int32)
    scores = build_scorer(metric, np.array(labels), np.array(predictions))(counts, np.ones((2, 1), bool))
    assert np.isnan(scores[0, 0])
    assert scores[1, 0] == pytest.approx(1.0, abs=1e-12)


def test_constant_predictions_have_no_correlation() -> None:
    predictions = np.full((1, 10), 0.1)  # 0.1 is not exact: the deviation must not come from rounding
    counts = np.ones((1, 10), dtype=np.int32)
    for metric in ("pearson", "spearman"):
        assert np.isnan(build_scorer(metric, np.arange(10.0), predictions)(counts, np.ones((1, 1), bool))).all()


@pytest.mark.parametrize("metric", ["macro_f1", "mcc"])
def test_class_numbers_far_apart_score_the_same(metric: str) -> None:
    rng = np.random.default_rng(1)
    labels, predictions = draw_data(metric, rng, 3, False, None)
    counts, drawn = np.ones((1, NUM_EXAMPLES), dtype=np.int32), np.ones((1, NUM_RUNS), bool)
    near = build_scorer(metric, labels, predictions)(counts, drawn)
    far = build_scorer(metric, labels * 10**9, predictions * 10**9)(counts, drawn)
    np.testing.assert_array_equal(far, near)
