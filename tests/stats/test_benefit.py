"""Benefit %: its formula, its interval, and its refusal to divide by nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

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
    assert len(result.samples) == 1000 and result.num_seeds == (6, 6, 6)


def test_may_exceed_one_hundred_or_be_negative() -> None:
    over, under = benefit_of(0.5, 0.9, 0.7).benefit, benefit_of(0.5, 0.3, 0.9).benefit
    assert over is not None and over.low > 150
    assert under is not None and under.high < -30


@pytest.mark.parametrize(("reference", "reason"), [(0.5, "may be zero"), (0.3, "below no pretraining")])
def test_undefined_without_a_reference_gain(reference: float, reason: str) -> None:
    result = benefit_of(0.5, 0.7, reference)
    assert result.benefit is None and len(result.samples) == 0
    assert reason in result.reason and "undefined" in str(result)
    assert result.gain.low > 0.1  # the gain itself is still told


def test_gain_agrees_with_the_two_sided_comparison() -> None:
    """The same seed draws the same examples, so gains differ by the draw of seeds only."""
    result = benefit_of(0.5, 0.7, 0.9, seed=3)
    pair = multibootstrap(
        (make_runs(0.5, 0), make_runs(0.7, 1)), np.ones(400, dtype=int), "accuracy",
        base_seeds=SEEDS, expt_seeds=SEEDS, paired=False, seed=3,
    )  # fmt: skip
    assert result.gain.point == pair.delta.point
    assert result.gain.low == pytest.approx(pair.delta.low, abs=0.006)
    assert result.gain.high == pytest.approx(pair.delta.high, abs=0.006)


def test_refuses_ids_that_do_not_align() -> None:
    ids = list(range(400))
    with pytest.raises(ValueError, match="reference: sort both by id"):
        benefit_of(0.5, 0.7, 0.9, none_ids=ids, expt_ids=ids, reference_ids=ids[::-1])
    with pytest.raises(ValueError, match="not for reference"):
        benefit_of(0.5, 0.7, 0.9, none_ids=ids, expt_ids=ids)
