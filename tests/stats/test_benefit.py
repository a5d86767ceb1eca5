"""Benefit %: its formula, its interval, and its refusal to divide by nothing."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from scipy import stats

from selfpretrain.stats import BenefitResult, compute_benefit, multibootstrap

SEEDS = np.arange(6)


def make_runs(accuracy: float, seed: int) -> Any:
    return (np.random.default_rng(seed).random((6, 400)) < accuracy).astype(int)


def benefit_of(none: float, expt: float, reference: float, **changes: Any) -> BenefitResult:
    sides = [make_runs(accuracy, seed) for seed, accuracy in enumerate((none, expt, reference))]
    settings = {"none_seeds": SEEDS, "expt_seeds": SEEDS, "reference_seeds": SEEDS, **changes}
    return compute_benefit(sides[0], sides[1], sides[2], np.ones(400, dtype=int), "accuracy", **settings)


def test_point_and_interval() -> None:
    result = benefit_of(0.5, 0.7, 0.9)
    assert result.benefit is not None and result.reason == ""
    assert result.benefit.point == pytest.approx(100 * result.gain.point / result.reference_gain.point)
    assert 35 < result.benefit.low < 50 < result.benefit.high < 65
    assert result.num_seeds == (6, 6, 6) and result.scope == "procedures"


def test_may_exceed_one_hundred_or_be_negative() -> None:
    over, under = benefit_of(0.5, 0.9, 0.7).benefit, benefit_of(0.5, 0.3, 0.9).benefit
    assert over is not None and over.low > 150
    assert under is not None and under.high < -30


@pytest.mark.parametrize(("reference", "reason"), [(0.5, "may be zero"), (0.3, "below no pretraining")])
def test_undefined_without_a_reference_gain(reference: float, reason: str) -> None:
    result = benefit_of(0.5, 0.7, reference)
    assert result.benefit is None
    assert reason in result.reason and "undefined" in str(result)
    assert result.gain.low > 0.1  # the gain itself is still told


def test_gain_is_that_of_the_two_sided_comparison() -> None:
    """The same seed draws the same examples."""
    result = benefit_of(0.5, 0.7, 0.9, seed=3)
    pair = multibootstrap(
        (make_runs(0.5, 0), make_runs(0.7, 1)), np.ones(400, dtype=int), "accuracy",
        base_seeds=SEEDS, expt_seeds=SEEDS, paired=False, seed=3,
    )  # fmt: skip
    assert dataclasses.astuple(result.gain) == pytest.approx(dataclasses.astuple(pair.delta), abs=1e-12)


@pytest.mark.parametrize("num_seeds", [(6, 6, 6), (3, 4, 6), (2, 2, 2)])
def test_fieller_by_hand(num_seeds: tuple[int, int, int]) -> None:
    """Inside of the ends the contrast is within t standard errors of 0, outside it is not."""
    sides = [
        make_runs(accuracy, seed)[:count]
        for seed, (accuracy, count) in enumerate(zip((0.4, 0.6, 0.8), num_seeds, strict=True))
    ]
    seeds = dict(zip(("none_seeds", "expt_seeds", "reference_seeds"), map(np.arange, num_seeds), strict=True))
    result = compute_benefit(*sides, np.ones(400, dtype=int), "accuracy", seed=5, **seeds)
    draws = [
        multibootstrap(
            (sides[0], side), np.ones(400, dtype=int), "accuracy", base_seeds=seeds["none_seeds"],
            expt_seeds=np.arange(len(side)), paired=False, seed=5,
        ).samples for side in sides[1:]
    ]  # fmt: skip
    none, expt, reference = (side.mean() for side in sides)

    def measure(theta: float) -> float:
        """The contrast in units of its critical value."""
        factors = np.array([theta - 1, 1, -theta])
        parts = [
            factor**2 * side.mean(axis=1).var(ddof=1) / len(side) for factor, side in zip(factors, sides, strict=True)
        ]
        replicates = factors @ np.stack([draws[0].base, draws[0].expt, draws[1].expt])
        parts.append(replicates.var(ddof=1))
        df = sum(parts) ** 2 / sum(part**2 / (size - 1) for part, size in zip(parts, (*num_seeds, 400), strict=True))
        contrast = expt - none - theta * (reference - none)
        return float(abs(contrast) / (stats.t.ppf(0.975, df) * np.sqrt(sum(parts))))

    assert result.benefit is not None
    low, high = result.benefit.low / 100, result.benefit.high / 100
    assert measure(low) == pytest.approx(1, abs=1e-6) and measure(high) == pytest.approx(1, abs=1e-6)
    assert measure((low + high) / 2) < 1
    assert low < result.benefit.point / 100 < high


def test_one_seed_leaves_the_examples() -> None:
    """Of whatever side: the interval then holds for these checkpoints."""
    result = benefit_of(0.5, 0.7, 0.9, expt_seeds=[0] * 6)
    assert result.scope == "checkpoints" and result.benefit is not None
    assert any("one pretraining seed for expt" in note for note in result.notes)
    all_seeds = benefit_of(0.5, 0.7, 0.9)
    assert all_seeds.benefit is not None
    assert result.benefit.high - result.benefit.low < all_seeds.benefit.high - all_seeds.benefit.low


def test_no_variance_gives_a_point() -> None:
    labels = np.arange(40) % 2
    wrong, right = np.tile(1 - labels, (3, 1)), np.tile(labels, (3, 1))
    seeds = {f"{side}_seeds": [0, 1, 2] for side in ("none", "expt", "reference")}
    found = compute_benefit(wrong, right, right, labels, "accuracy", **seeds).benefit
    assert found is not None
    assert (found.low, found.point, found.high) == pytest.approx((100, 100, 100), abs=1e-6)


def test_refuses_a_single_example() -> None:
    seeds = {f"{side}_seeds": [0, 1] for side in ("none", "expt", "reference")}
    with pytest.raises(ValueError, match="at least 2 examples"):
        compute_benefit([[0], [0]], [[1], [1]], [[1], [1]], [1], "accuracy", **seeds)


def test_refuses_ids_that_do_not_align() -> None:
    ids = list(range(400))
    with pytest.raises(ValueError, match="reference: sort both by id"):
        benefit_of(0.5, 0.7, 0.9, none_ids=ids, expt_ids=ids, reference_ids=ids[::-1])
    with pytest.raises(ValueError, match="not for reference"):
        benefit_of(0.5, 0.7, 0.9, none_ids=ids, expt_ids=ids)
