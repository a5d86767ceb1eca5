"""Holm's adjustment by hand; equivalence by t; decisions in their order, each with its rule and margin."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from selfpretrain.stats import (
    Decision,
    Variance,
    compute_equivalence,
    compute_holm,
    compute_noninferiority,
    compute_superiority,
    decide,
    multibootstrap,
)
from selfpretrain.stats.variance import compute_t_estimate, compute_t_p


def test_holm_by_hand() -> None:
    # sorted .005 .01 .03 .04 times 4 3 2 1 = .02 .03 .06 .04, then never below the one before
    np.testing.assert_allclose(compute_holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02], atol=1e-15)
    np.testing.assert_allclose(compute_holm([0.6, 0.9]), [1.0, 1.0])
    np.testing.assert_allclose(compute_holm([0.02]), [0.02])
    assert len(compute_holm([])) == 0


@pytest.mark.parametrize("bad", [[-0.1], [1.1], [float("nan")], 0.5])
def test_holm_refuses(bad: Any) -> None:
    with pytest.raises(ValueError, match="p_values"):
        compute_holm(bad)


def test_equivalence_by_hand() -> None:
    within = compute_equivalence((0.002, 0.004, 12.0), margin=0.01)
    assert within.p == pytest.approx(stats.t.sf((0.01 - 0.002) / 0.004, 12))
    assert within.equivalent and -0.01 < within.low < within.high < 0.01
    assert within.statement.startswith("equivalent within 0.01 (90% interval")
    below = compute_equivalence((-0.002, 0.004, 12.0), margin=0.01)
    assert below.p == within.p and below.high == -within.low
    wide = compute_equivalence((0.002, 0.004, 12.0), margin=0.005)
    assert not wide.equivalent and "not shown" in wide.statement
    assert (wide.p < 0.05) == (wide.low > -0.005 and wide.high < 0.005)


def test_equivalence_without_variance() -> None:
    assert compute_equivalence((0.0, 0.0, math.inf), margin=0.01).p == 0.0
    assert not compute_equivalence((0.02, 0.0, math.inf), margin=0.01).equivalent


def test_equivalence_of_a_comparison() -> None:
    rng = np.random.default_rng(0)
    runs = (rng.random((6, 400)) < 0.7).astype(int)
    seeds = {"base_seeds": [0, 1, 2], "expt_seeds": [0, 1, 2], "paired": False}
    result = multibootstrap((runs[:3], runs[3:]), np.ones(400, dtype=int), "accuracy", **seeds)
    assert result.variance is not None
    by_hand = compute_equivalence((result.delta.point, result.variance.standard_error, result.variance.df), margin=0.1)
    found = compute_equivalence(result, margin=0.1)
    assert found.statement == by_hand.statement
    assert (found.low, found.high, found.p) == pytest.approx((by_hand.low, by_hand.high, by_hand.p))
    one = multibootstrap((runs[:1], runs[3:]), np.ones(400, dtype=int), "accuracy", **{**seeds, "base_seeds": [0]})
    assert "these checkpoints only" in compute_equivalence(one, margin=0.1).statement
    shares = multibootstrap((runs[:3], runs[3:]), np.ones(400, dtype=int), "accuracy", method="percentile", **seeds)
    with pytest.raises(ValueError, match="use method='t'"):
        compute_equivalence(shares, margin=0.1)


@pytest.mark.parametrize("settings", [{"margin": 0.0}, {"margin": -1.0}, {"margin": 0.01, "alpha": 0.5}])
def test_equivalence_refuses(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"margin|alpha"):
        compute_equivalence((0.0, 0.1, 5.0), **settings)
    with pytest.raises(ValueError, match="standard error"):
        compute_equivalence((math.nan, 0.1, 5.0), margin=0.01)


def test_one_sided_tests_by_hand() -> None:
    better = compute_superiority((0.02, 0.008, 9.0))
    assert better.p == pytest.approx(stats.t.sf(0.02 / 0.008, 9)) and better.shown
    assert better.low == pytest.approx(0.02 - stats.t.ppf(0.95, 9) * 0.008) and better.bound == 0
    assert better.statement.startswith("better (at least +0.0053 with confidence 95%, p = ")
    no_worse = compute_noninferiority((-0.004, 0.008, 9.0), margin=0.02)
    assert no_worse.p == pytest.approx(stats.t.sf((-0.004 + 0.02) / 0.008, 9)) and no_worse.shown
    assert no_worse.low > no_worse.bound == -0.02
    open_ = compute_noninferiority((-0.004, 0.008, 9.0), margin=0.01)
    assert not open_.shown and open_.low < -0.01
    assert open_.statement.startswith("not shown to be not worse by 0.01 (at least -0.0187")
    # both sides within the margin is equivalence
    equal, other = (compute_noninferiority((sign * 0.002, 0.004, 12.0), margin=0.01) for sign in (1, -1))
    assert compute_equivalence((0.002, 0.004, 12.0), margin=0.01).p == pytest.approx(max(equal.p, other.p))


def test_tests_of_two_sets_of_scores_are_welch_s() -> None:
    """With examples that add nothing the variance is that of Welch's test of the seeds' scores."""
    rng = np.random.default_rng(0)
    base, expt = rng.normal(0.70, 0.01, 5), rng.normal(0.72, 0.02, 4)
    point, variance = expt.mean() - base.mean(), Variance(base.var(ddof=1) / 5, expt.var(ddof=1) / 4, 0.0, (5, 4, 100))
    greater = stats.ttest_ind(expt, base, equal_var=False, alternative="greater").pvalue
    assert compute_superiority((point, variance)).p == pytest.approx(greater)
    lower = stats.ttest_ind(expt + 0.05, base, equal_var=False, alternative="greater").pvalue
    upper = stats.ttest_ind(expt - 0.05, base, equal_var=False, alternative="less").pvalue
    assert compute_equivalence((point, variance), margin=0.05).p == pytest.approx(max(lower, upper))
    assert compute_noninferiority((point, variance), margin=0.05).p == pytest.approx(lower)


@pytest.mark.parametrize("margin", [0.0, -0.01, math.nan, math.inf])
def test_a_margin_is_positive(margin: float) -> None:
    for test in (compute_noninferiority, compute_equivalence):
        with pytest.raises(ValueError, match="a positive difference in the metric's unit is needed"):
            test((0.0, 0.01, 9.0), margin)
    with pytest.raises(ValueError, match=r"alpha=0\.6"):
        compute_superiority((0.0, 0.01, 9.0), alpha=0.6)


def test_one_sided_tests_of_a_comparison_know_its_scope() -> None:
    runs = (np.random.default_rng(0).random((4, 300)) < 0.7).astype(int)
    one = multibootstrap(
        (runs[:1], runs[1:]), np.ones(300, dtype=int), "accuracy", base_seeds=[0], expt_seeds=[0, 1, 2], paired=False
    )
    assert compute_superiority(one).statement.endswith(", these checkpoints only)")
    percentiles = multibootstrap(
        (runs[:2], runs[2:]), np.ones(300, dtype=int), "accuracy", base_seeds=[0, 1], expt_seeds=[0, 1], paired=True,
        method="percentile",
    )  # fmt: skip
    with pytest.raises(ValueError, match="use method='t'"):
        compute_noninferiority(percentiles, margin=0.01)


def judge(point: float, parts: tuple[float, float, float], *, factor: float = 1.0, **changes: Any) -> Decision:
    """3 seeds a side, 1,000 examples, margin .01; p times factor stands for the correction."""
    variance = Variance(*parts, sizes=(3, 3, 1000))
    p: float | None = min(1.0, factor * compute_t_p(point, variance, "two-sided"))
    settings = {"margin": 0.01, "alpha": 0.05, **changes}
    return decide(compute_t_estimate(point, variance, 0.95), variance, settings.pop("p", p), **settings)


NARROW, WIDE = (1e-6, 1e-6, 1e-6), (1e-4, 1e-4, 2e-5)


@pytest.mark.parametrize(
    ("point", "parts", "outcome", "clear", "rule"),
    [
        (0.05, NARROW, "better", True, "corrected p < 0.05, and above 0"),
        (0.001, NARROW, "not worse", False, "lower end is at least -0.01"),
        (-0.0056, NARROW, "not worse", True, "lower end is at least -0.01"),  # clearly lower, but within the margin
        (-0.05, NARROW, "worse", True, "corrected p < 0.05, and below 0"),
        (0.0, WIDE, "undecided", False, "lower end is below -0.01"),
        (0.03, (4e-4, 4e-4, 2e-5), "undecided", False, "not clear (corrected p >= 0.05)"),
    ],
)
def test_the_order_of_decisions(
    point: float, parts: tuple[float, float, float], outcome: str, clear: bool, rule: str
) -> None:
    found = judge(point, parts)
    assert (found.outcome, found.clear, found.margin) == (outcome, clear, 0.01)
    assert rule in found.rule


def test_the_correction_counts() -> None:
    parts = (1e-4, 1e-4, 1e-5)
    assert judge(0.045, parts).outcome == "better"
    corrected = judge(0.045, parts, factor=8)  # not clear any more; its interval still excludes a loss
    assert (corrected.outcome, corrected.clear) == ("not worse", False)
    assert judge(-0.045, parts).outcome == "worse"
    assert judge(-0.045, parts, factor=8).outcome == "undecided"


def test_nothing_is_decided_about_procedures_from_checkpoints() -> None:
    found = judge(0.05, NARROW, p=None)
    assert found.outcome == "checkpoints only" and not found.clear
    assert found.needed_seeds is None and "at least 2" in found.rule


def test_margin_is_refused() -> None:
    with pytest.raises(ValueError, match="margin=0"):
        judge(0.0, NARROW, margin=0.0)


def test_so_many_seeds_would_decide_it() -> None:
    """The number found decides, one less does not: by the same rules, on variances scaled by hand."""
    point, parts = 0.02, (1e-4, 1e-4, 2e-5)
    found = judge(point, parts)
    assert found.outcome == "undecided" and found.needed_seeds is not None and found.needed_examples is None

    def judge_at(seeds: int) -> str:
        scaled = (parts[0] * 3 / seeds, parts[1] * 3 / seeds, parts[2])
        variance = Variance(*scaled, sizes=(seeds, seeds, 1000))
        p = compute_t_p(point, variance, "two-sided")
        return decide(compute_t_estimate(point, variance, 0.95), variance, p, margin=0.01, alpha=0.05).outcome

    assert judge_at(found.needed_seeds) == "not worse"
    assert judge_at(found.needed_seeds - 1) == "undecided"


def test_the_correction_asks_for_more_seeds() -> None:
    point, parts = -0.04, (3e-4, 3e-4, 2e-5)
    alone, together = judge(point, parts), judge(point, parts, factor=8, num_claims=8)
    assert alone.needed_seeds is not None and together.needed_seeds is not None
    assert together.needed_seeds > alone.needed_seeds


def test_examples_where_seeds_would_not_do() -> None:
    found = judge(0.0, (1e-7, 1e-7, 1e-4))
    assert found.needed_seeds is None and found.needed_examples is not None
    # 1.96 standard errors have to fit into the margin: 1e-4 * 1000 / n = (.01 / 1.96)^2
    assert found.needed_examples == pytest.approx(1e-4 * 1000 / (0.01 / 1.96) ** 2, rel=0.03)


def test_both_together_where_neither_would_do() -> None:
    found = judge(0.0, (1e-4, 1e-4, 1e-4))
    assert found.needed_seeds is not None and found.needed_examples is not None
    assert found.needed_examples / 1000 == pytest.approx(found.needed_seeds / 3, rel=0.1)


def test_some_differences_are_out_of_reach() -> None:
    found = judge(0.0, (1.0, 1.0, 1.0))
    assert (found.outcome, found.needed_seeds, found.needed_examples) == ("undecided", None, None)


def test_a_side_with_more_seeds_keeps_them() -> None:
    parts = (1e-4, 1e-6, 2e-6)
    variance = Variance(*parts, sizes=(3, 25, 1000))
    found = decide(compute_t_estimate(0.0, variance, 0.95), variance, 1.0, margin=0.01, alpha=0.05)
    assert found.needed_seeds is not None and 3 < found.needed_seeds < 25


def test_pairs_that_would_decide_it() -> None:
    """One axis of seeds stays one: the number found decides, one less does not."""
    variance = Variance(0.0, 1e-4, 1e-5, sizes=(1, 3, 1000))
    found = decide(compute_t_estimate(0.0, variance, 0.95), variance, 1.0, margin=0.01, alpha=0.05)
    assert found.outcome == "undecided" and found.needed_seeds is not None and found.needed_examples is None
    halves = [
        Variance(0.0, 3e-4 / seeds, 1e-5, sizes=(1, seeds, 1000)).compute_half_width(0.95)
        for seeds in (found.needed_seeds, found.needed_seeds - 1)
    ]
    assert halves[0] <= 0.01 < halves[1]
