"""Means over tasks: against one task alone, and by hand."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from selfpretrain.stats import compute_benefit, multibootstrap
from selfpretrain.stats.means import estimate_mean_benefit, estimate_mean_difference, estimate_mean_score
from selfpretrain.stats.variance import compute_t_quantile

SEEDS = np.arange(4)
LABELS = np.ones(300, dtype=int)
NONE, EXPT, REFERENCE = (
    (np.random.default_rng(n).random((4, 300)) < p).astype(int) for n, p in enumerate((0.5, 0.7, 0.8))
)
SIDES = {f"{name}_seeds": SEEDS for name in ("none", "expt", "reference")}


def get_scores(runs):
    return runs.mean(axis=1)[None]  # [one task, seeds]


def test_of_one_task_they_are_its_own() -> None:
    pair = multibootstrap((NONE, EXPT), LABELS, "accuracy", base_seeds=SEEDS, expt_seeds=SEEDS, paired=False)
    assert pair.variance is not None
    scores = get_scores(NONE), get_scores(EXPT), get_scores(REFERENCE)
    difference = estimate_mean_difference(*scores[:2], np.array([pair.variance.examples]), [300], 0.95)
    assert dataclasses.astuple(difference) == pytest.approx(dataclasses.astuple(pair.delta))
    by_examples = np.array([pair.samples.base.var(ddof=1)])
    score = estimate_mean_score(scores[0], by_examples, [300], 0.95, (0.0, 1.0))
    assert dataclasses.astuple(score) == pytest.approx(dataclasses.astuple(pair.base))
    result = compute_benefit(NONE, EXPT, REFERENCE, LABELS, "accuracy", **SIDES)
    share, reason = estimate_mean_benefit(*scores, result.means.by_examples[None], [300], 0.95)
    assert reason == "" and share is not None and result.benefit is not None
    assert dataclasses.astuple(share) == pytest.approx(dataclasses.astuple(result.benefit))


def test_two_tasks_by_hand() -> None:
    base, expt = np.array([[0.5, 0.6, 0.7], [0.5, 0.4, 0.3]]), np.array([[0.8, 0.9], [0.6, 0.7]])
    found = estimate_mean_difference(base, expt, np.array([2e-4, 6e-4]), [200, 50], 0.9)
    parts, sizes = [0.0, 0.1**2 / 2 / 2, 2e-4], [3, 2, 50]  # base's seeds have one mean, expt's .7 and .8
    df = sum(parts) ** 2 / sum(part**2 / (size - 1) for part, size in zip(parts, sizes, strict=True))
    half = stats.t.ppf(0.95, df) * math.sqrt(sum(parts))
    assert (found.point, found.high - found.point) == pytest.approx((0.25, half))


def test_one_seed_a_side_leaves_the_examples() -> None:
    found = estimate_mean_difference(np.array([[0.5, 0.9]]), np.array([[0.8]]), np.array([1e-4]), [100], 0.95)
    assert found.high - found.point == pytest.approx(0.01 * compute_t_quantile(0.975, 99))


def test_benefit_is_none_where_the_mean_gain_is_not_clear() -> None:
    """The reference gains on one task what it loses on the other."""
    none, expt = np.full((2, 3), 0.5), np.full((2, 3), 0.6)
    reference = np.array([[0.9] * 3, [0.1] * 3])
    share, reason = estimate_mean_benefit(none, expt, reference, np.array([np.eye(3) * 1e-4] * 2), [100, 100], 0.95)
    assert share is None and "may be zero" in reason


def test_fieller_over_tasks_is_what_it_is_over_their_means() -> None:
    """Where seeds make no doubt, the ends are the roots of a quadratic."""
    none, expt, reference = (np.full((2, 4), score) for score in (0.5, 0.6, 0.7))
    share, _ = estimate_mean_benefit(none, expt, reference, np.array([np.eye(3) * 4e-4] * 2), [50, 80], 0.95)
    assert share is not None
    quantile = compute_t_quantile(0.975, 49)
    for end in (share.low / 100, share.high / 100):
        variance = 2e-4 * ((end - 1) ** 2 + 1 + end**2)
        assert abs(0.1 - end * 0.2) == pytest.approx(quantile * math.sqrt(variance), rel=1e-6)
