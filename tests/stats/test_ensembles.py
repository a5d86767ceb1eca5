"""Two runs together: who is paired with whom, what identical and opposite runs give, and the interval by hand."""

from __future__ import annotations

import numpy as np
import pytest

from selfpretrain.stats import multibootstrap
from selfpretrain.stats.calibration import compute_probabilities
from selfpretrain.stats.ensembles import compare_ensembles, compute_inconsistency, pair_across, pair_within
from selfpretrain.stats.estimates import estimate_score
from selfpretrain.stats.statistics import build_mean

LABELS = np.arange(60) % 3


def make_probabilities(num_runs, seed=0):
    outputs = np.random.default_rng(seed).normal(size=(num_runs, 60, 3)) + np.eye(3)[LABELS]
    return compute_probabilities(outputs)


def test_pairs_within_a_procedure_share_no_seed():
    keys = [(seed, which) for seed in (4, 0, 1, 2, 3) for which in (0, 1)]
    pairs = pair_within(keys)
    assert [(keys[first], keys[second]) for first, second, _ in pairs] == [
        ((0, 0), (1, 0)), ((0, 1), (1, 1)), ((2, 0), (3, 0)), ((2, 1), (3, 1))
    ]  # fmt: skip
    assert [seed for *_, seed in pairs] == [0, 0, 2, 2]
    rows = [row for first, second, _ in pairs for row in (first, second)]
    assert len(set(rows)) == len(rows)


def test_a_seed_alone_makes_no_pair():
    assert pair_within([(7, 0), (7, 1)]) == []
    assert pair_within([(7, 0), (8, 1)]) == []  # no run of the same number


def test_pairs_across_have_the_same_number():
    first, second = [(2, 0), (0, 0), (1, 0)], [(0, 0), (2, 0), (3, 0)]
    assert pair_across(first, second) == [(1, 0, 0), (0, 1, 2)]


def test_inconsistency_by_hand():
    labels = np.array([0, 1, 2, 0])
    one, other = np.array([0, 1, 0, 1]), np.array([0, 0, 1, 0])  # both, the one, neither, the other
    assert compute_inconsistency(one, other, labels).tolist() == [False, True, False, True]


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "mcc"])
def test_identical_runs_gain_nothing(metric):
    runs = make_probabilities(3)
    found = compare_ensembles(runs, runs, LABELS, metric, [0, 1, 2], num_replicates=200)
    delta, inconsistency = found.gain.delta, found.inconsistency
    assert (delta.point, delta.low, delta.high) == (0, 0, 0)
    assert (inconsistency.point, inconsistency.low, inconsistency.high) == (0, 0, 0)


def test_the_surer_of_two_decides():
    sure, unsure = np.eye(3)[LABELS] * 0.7 + 0.1, np.full((60, 3), [0.2, 0.2, 0.6])
    found = compare_ensembles(sure[None], unsure[None], LABELS, "accuracy", [0], num_replicates=200)
    assert found.gain.base.point == pytest.approx((1 + 1 / 3) / 2)
    assert found.gain.expt.point == 1  # .8 + .2 against .1 + .6, and .1 + .6 with .8 + .6
    assert found.inconsistency.point == pytest.approx(2 / 3)
    assert found.gain.p is None and found.gain.scope == "checkpoints"


def test_pairs_are_what_varies():
    first, second = make_probabilities(4), make_probabilities(4, 1)
    found = compare_ensembles(first, second, LABELS, "accuracy", [0, 0, 1, 2], num_replicates=200)
    singles = [(a.argmax(-1) == LABELS).mean() / 2 + (b.argmax(-1) == LABELS).mean() / 2
               for a, b in zip(first, second, strict=True)]  # fmt: skip
    together = [((a + b).argmax(-1) == LABELS).mean() for a, b in zip(first, second, strict=True)]
    gains = np.subtract(together, singles)
    of_pairs = np.array([gains[:2].mean(), *gains[2:]])
    assert found.gain.delta.point == pytest.approx(of_pairs.mean())
    assert found.gain.variance.expt == pytest.approx(np.var(of_pairs, ddof=1) / 3)
    assert found.gain.variance.base == 0 and found.gain.num_expt_seeds == 3


def test_a_scorer_of_ones_own_is_estimated_like_a_known_metric():
    predictions, seeds = make_probabilities(5).argmax(-1), ["a", "b", "b", "a", "c"]
    known = multibootstrap(
        (predictions, predictions), LABELS, "accuracy", base_seeds=seeds, expt_seeds=seeds, paired=False,
        num_replicates=300,
    )  # fmt: skip
    scorer = build_mean(predictions == LABELS)
    found, run_scores = estimate_score(scorer, seeds, 60, num_replicates=300, bounds=(0, 1))
    assert (found.point, found.low, found.high) == pytest.approx((known.base.point, known.base.low, known.base.high))
    assert run_scores == pytest.approx(known.base_run_scores)
