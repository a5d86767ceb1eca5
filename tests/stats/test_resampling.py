"""Groups of examples: whole ones are drawn, and where their examples are alike the interval says so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from selfpretrain.config import UserError
from selfpretrain.stats import METRICS, compute_benefit, multibootstrap
from selfpretrain.stats.calibration import build_debiased_square, build_ece, compute_brier, compute_probabilities
from selfpretrain.stats.estimates import estimate_score
from selfpretrain.stats.metrics import CLASS_NUMBERS, COLUMNS, NUMBERS
from selfpretrain.stats.resampling import iter_example_counts
from selfpretrain.stats.statistics import build_mean

SEEDS: dict[str, Any] = {"base_seeds": [0, 1, 2], "expt_seeds": [0, 1, 2], "paired": False}
GROUPS = np.array([0, 0, 0, 1, 2, 2, 3, 3, 3, 3])


def test_whole_groups_are_drawn() -> None:
    (counts,) = iter_example_counts(10, 300, seed=0, groups=GROUPS)
    _, firsts = np.unique(GROUPS, return_index=True)
    np.testing.assert_array_equal(counts, counts[:, firsts][:, GROUPS])
    assert (counts[:, firsts].sum(axis=1) == 4).all()
    assert len(set(counts.sum(axis=1).tolist())) > 5  # so replicates differ in size
    np.testing.assert_allclose(counts[:, firsts].mean(axis=0), 1, atol=0.2)


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_scores_what_was_drawn(metric: str, draw_sums: Any) -> None:
    """On replicates of other sizes than the test set, each score is that of the examples written out."""
    rng, named = np.random.default_rng(1), METRICS[metric]
    classes = 2 if named.is_of_class_1 else 3
    by_takes = {
        CLASS_NUMBERS: (rng.integers(0, classes, 60), rng.integers(0, classes, (3, 60))),
        NUMBERS: (rng.normal(size=60), rng.normal(size=(3, 60)).round(1)),
        COLUMNS: (rng.integers(0, 2, (60, 3)), rng.normal(size=(3, 60, 3)).round(1)),
    }
    labels, predictions = by_takes.get(named.takes) or draw_sums(rng, 3, 60)
    (counts,) = iter_example_counts(60, 20, seed=0, groups=rng.integers(0, 9, 60))
    found = named.build_scorer(labels, predictions)(counts, np.ones((20, 3), bool))
    for replicate, row in enumerate(counts):
        drawn = np.repeat(np.arange(60), row)
        wanted = [named.compute(labels[drawn], run[drawn]) for run in predictions]
        np.testing.assert_allclose(found[replicate], wanted, atol=1e-12)


def test_errors_of_calibration_score_what_was_drawn() -> None:
    rng = np.random.default_rng(2)
    probabilities, labels = compute_probabilities(rng.normal(size=(2, 80, 3))), rng.integers(0, 3, 80)
    (counts,) = iter_example_counts(80, 5, seed=0, groups=np.arange(80) // 7)
    ece = build_ece(probabilities, labels)(counts, np.ones((5, 2), bool))
    for replicate, row in enumerate(counts):
        drawn = np.repeat(np.arange(80), row)
        once, everything = np.ones((1, len(drawn)), np.int32), np.ones((1, 2), bool)
        wanted = build_ece(probabilities[:, drawn], labels[drawn])(once, everything)
        np.testing.assert_allclose(ece[[replicate]], wanted)
    # every example twice: what chance adds is less of the whole, and no more than the shares themselves
    square, twice = build_debiased_square(probabilities, labels), np.full((1, 80), 2, np.int32)
    assert (np.abs(square(twice, np.ones((1, 2), bool))) <= 1).all()


def test_an_example_to_a_group_changes_nothing() -> None:
    rng = np.random.default_rng(3)
    labels, runs = rng.integers(0, 3, 200), rng.integers(0, 3, (6, 200))
    sides = (runs[:3], runs[3:])
    for method in ("t", "percentile"):
        alone = multibootstrap(sides, labels, "accuracy", method=method, **SEEDS)
        grouped = multibootstrap(
            sides, labels, "accuracy", method=method, groups=[f"q{n}" for n in range(200)], **SEEDS
        )
        assert (alone.delta, alone.base, alone.p) == (grouped.delta, grouped.base, grouped.p)
        assert (alone.num_groups, grouped.num_groups) == (None, 200)


def draw_grouped(rng: np.random.Generator, alike: float, lift: float = 0.0) -> tuple[Any, Any, Any]:
    """Two procedures of three seeds on 40 passages of 1 to 9 questions, right or wrong much as their passage goes."""
    groups = np.repeat(np.arange(40), rng.integers(1, 10, 40))
    ease = np.sqrt(alike) * rng.normal(size=(2, 1, 40))[..., groups]  # a passage suits one procedure and not the other
    ease = ease + np.sqrt(1 - alike) * rng.normal(size=(2, 1, len(groups)))
    noise = 0.5 * rng.normal(size=(2, 3, len(groups)))
    right = ease + noise + np.array([0.0, lift])[:, None, None] > -0.4
    return np.zeros(len(groups), int), groups, np.where(right, 0, 1)


@pytest.mark.parametrize("unit", ["groups", "examples"])
def test_intervals_cover_only_if_groups_are_drawn(unit: str) -> None:
    """No true difference, and passages that are alike within: with groups about 95 of 100 intervals hold 0."""
    rng, num_studies = np.random.default_rng(4), 200
    covered = 0
    for _ in range(num_studies):
        labels, groups, runs = draw_grouped(rng, alike=0.8)
        given = groups if unit == "groups" else None
        found = multibootstrap((runs[0], runs[1]), labels, "accuracy", groups=given, num_replicates=200, **SEEDS)
        covered += found.delta.low <= 0 <= found.delta.high
    error = np.sqrt(0.95 * 0.05 / num_studies)
    if unit == "groups":
        assert 0.95 - 2 * error <= covered / num_studies
    else:
        assert covered / num_studies < 0.80


def test_all_intervals_are_wider_and_count_the_groups() -> None:
    labels, groups, runs = draw_grouped(np.random.default_rng(5), alike=0.9, lift=0.6)
    by_examples, by_groups = (
        multibootstrap((runs[0], runs[1]), labels, "accuracy", groups=given, **SEEDS) for given in (None, groups)
    )
    assert by_groups.variance is not None and by_examples.variance is not None
    assert by_groups.variance.sizes == (3, 3, 40) and by_groups.num_groups == 40
    assert by_groups.variance.examples > 2 * by_examples.variance.examples
    assert by_groups.delta.point == by_examples.delta.point
    assert by_groups.base.low < by_examples.base.low

    names = {f"{side}_seeds": [0, 1, 2] for side in ("none", "expt", "reference")}
    benefits = [
        compute_benefit(runs[0], runs[1], runs[1], labels, "accuracy", groups=given, **names)
        for given in (None, groups)
    ]
    assert benefits[1].gain.low < benefits[0].gain.low and benefits[1].means.num_examples == 40

    brier = build_mean(compute_brier(np.eye(2)[runs[0]], labels))
    single, grouped = (
        estimate_score(brier, [0, 1, 2], len(labels), groups=given)[0] for given in (None, groups.tolist())
    )
    assert grouped.high - grouped.low > single.high - single.low


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([1, 2, 3], "3 groups given for 4 examples: give one per example"),
        (["a", "b", None, "b"], "example 2 has no group"),
        (["a", "", "b", "b"], "example 1 has no group"),
        (np.array([0.0, np.nan, 1.0, 1.0]), "example 1 has no group"),
        (["p", "p", "p", "p"], "all 4 examples are of one group"),
    ],
)
def test_groups_that_cannot_be_drawn_are_refused(groups: Any, message: str) -> None:
    runs = np.array([[0, 1, 0, 1], [1, 1, 0, 0]])
    with pytest.raises(UserError, match=message) as caught:
        multibootstrap((runs, runs), [0, 1, 1, 0], "accuracy", base_seeds=[0, 1], expt_seeds=[0, 1], paired=True, groups=groups)  # fmt: skip
    assert "\n" not in str(caught.value)
