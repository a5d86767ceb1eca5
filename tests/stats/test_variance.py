"""Intervals and p by t: the rule by hand, what one seed or one value leaves, and what the notes say."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import optimize, stats

from selfpretrain.stats import BootstrapResult, Variance, multibootstrap
from selfpretrain.stats.variance import compute_df, compute_t_estimate, compute_t_p

NUM_EXAMPLES = 80


def make_runs(accuracies: list[float], seed: int) -> Any:
    rng = np.random.default_rng(seed)
    return np.stack([rng.random(NUM_EXAMPLES) < accuracy for accuracy in accuracies]).astype(int)


LABELS = np.ones(NUM_EXAMPLES, dtype=int)
BASE, EXPT = make_runs([0.55, 0.6, 0.7, 0.5], 0), make_runs([0.6, 0.75, 0.8, 0.7, 0.65, 0.7], 1)
BASE_SEEDS, EXPT_SEEDS = [0, 1, 2, 2], [0, 0, 1, 1, 2, 2]


def compare(base: Any = BASE, expt: Any = EXPT, **changes: Any) -> BootstrapResult:
    settings = {"base_seeds": BASE_SEEDS, "expt_seeds": EXPT_SEEDS, "paired": False, "num_replicates": 300, **changes}
    labels, metric = settings.pop("labels", LABELS), settings.pop("metric", "accuracy")
    return multibootstrap((base, expt), labels, metric, **settings)


def widen(p: float, of_seeds: float, of_examples: float) -> float:
    """Half of the interval at confidence 1 - p where three seeds are one axis."""
    quantiles = stats.t.ppf(1 - p / 2, [2, NUM_EXAMPLES - 1])
    return math.sqrt(quantiles**2 @ [of_seeds, of_examples])


@pytest.mark.parametrize("paired", [True, False])
def test_the_rule_by_hand(paired: bool) -> None:
    result = compare(paired=paired)
    base = np.array([BASE[0].mean(), BASE[1].mean(), BASE[2:].mean()])
    expt = np.array([EXPT[:2].mean(), EXPT[2:4].mean(), EXPT[4:].mean()])
    of_base, of_expt = (
        (0.0, np.var(expt - base, ddof=1) / 3) if paired else (np.var(base, ddof=1) / 3, np.var(expt, ddof=1) / 3)
    )
    alone = compare(paired=paired, method="percentile", resample_seeds=False)  # the same draws of examples
    of_examples = np.var(alone.samples.delta, ddof=1)
    total = of_base + of_expt + of_examples
    assert result.variance is not None
    assert result.variance.base == pytest.approx(of_base, rel=1e-12)
    assert result.variance.expt == pytest.approx(of_expt, rel=1e-12)
    assert result.variance.examples == pytest.approx(of_examples, rel=1e-12)
    point = expt.mean() - base.mean()
    if paired:
        half = widen(0.05, of_expt, of_examples)
        p = optimize.brentq(lambda p: widen(p, of_expt, of_examples) - abs(point), 1e-9, 1, xtol=1e-13)
    else:
        df = total**2 / (of_base**2 / 2 + of_expt**2 / 2 + of_examples**2 / (NUM_EXAMPLES - 1))
        half = stats.t.ppf(0.975, df) * math.sqrt(total)
        p = 2 * stats.t.sf(abs(point) / math.sqrt(total), df)
    low, high = point - half, point + half
    assert (result.delta.point, result.delta.mean) == pytest.approx((point, point), abs=1e-12)
    assert (result.delta.low, result.delta.high) == pytest.approx((low, high), abs=1e-9)
    assert result.p == pytest.approx(p, abs=1e-9)
    assert (result.scope, result.method, result.alternative) == ("procedures", "t", "two-sided")


def test_a_single_score_has_its_own_seeds_and_examples() -> None:
    result = compare()
    expt = np.array([EXPT[:2].mean(), EXPT[2:4].mean(), EXPT[4:].mean()])
    of_seeds, of_examples = np.var(expt, ddof=1) / 3, np.var(result.samples.expt, ddof=1)
    half = widen(0.05, of_seeds, of_examples)
    low, high = expt.mean() - half, expt.mean() + half
    assert (result.expt.low, result.expt.high) == pytest.approx((low, high), abs=1e-9)


def test_one_sided_alternatives() -> None:
    greater, less, both = (compare(alternative=alternative) for alternative in ("greater", "less", "two-sided"))
    assert greater.p is not None and less.p is not None and both.p is not None
    assert greater.p < 0.5 < less.p
    assert greater.p + less.p == pytest.approx(1)
    assert both.p == pytest.approx(2 * greater.p)


def test_a_small_p_has_no_floor() -> None:
    result = compare(make_runs([0.1] * 4, 2), make_runs([0.9] * 6, 3))
    assert result.p is not None and 0 < result.p < 1e-4 and not result.p_is_floor


def test_single_scores_end_where_the_metric_does() -> None:
    near_one = make_runs([1.0, 0.98, 0.9, 0.9], 4)
    result = compare(near_one)
    assert result.base.high == 1.0 and result.base.low > 0.7
    free = compare(near_one, metric=lambda y_true, y_pred: float(np.mean(y_true == y_pred)))
    assert free.base.high > 1.0 and free.base.low == pytest.approx(result.base.low, abs=1e-12)
    labels = np.arange(NUM_EXAMPLES) % 2
    opposite = np.where(make_runs([0.97, 1.0, 0.9, 0.9], 5), 1 - labels, labels)
    assert compare(opposite, labels=labels, metric="mcc").base.low == -1.0


@pytest.mark.parametrize("seeds", [([0] * 4, EXPT_SEEDS), (BASE_SEEDS, [7] * 6), ([0] * 4, [0] * 6)])
def test_one_seed_on_a_side_says_nothing_about_procedures(seeds: tuple[list[int], list[int]]) -> None:
    result = compare(base_seeds=seeds[0], expt_seeds=seeds[1])
    assert result.p is None and result.scope == "checkpoints"
    assert result.variance is not None
    assert (result.variance.base, result.variance.expt, result.variance.df) == (0, 0, NUM_EXAMPLES - 1)
    assert "these checkpoints only" in str(result)
    assert any("leaves out the chance of pretraining" in note for note in result.notes)


def test_without_seeds_or_without_examples() -> None:
    no_seeds, no_examples = compare(resample_seeds=False), compare(resample_examples=False)
    assert no_seeds.p is None and no_seeds.scope == "checkpoints"
    assert no_examples.variance is not None and no_examples.variance.examples == 0
    assert no_examples.p is not None and any("this test set only" in note for note in no_examples.notes)
    with pytest.raises(ValueError, match="nothing to resample"):
        compare(resample_seeds=False, resample_examples=False)


def test_no_difference_and_no_variance() -> None:
    ones = np.ones((4, NUM_EXAMPLES), dtype=int)
    settings = {"base_seeds": [0, 1, 2, 2], "expt_seeds": [0, 1, 2, 2]}
    same = compare(ones, ones, **settings)
    assert same.p == 1.0 and (same.delta.low, same.delta.high) == (0.0, 0.0)
    apart = compare(1 - ones, ones, **settings)
    assert apart.p == 0.0 and (apart.delta.low, apart.delta.high) == (1.0, 1.0)
    assert any("no certainty" in note for note in apart.notes)
    assert any(note.startswith("4 of 4 runs of base predict one value only") for note in apart.notes)
    identical = compare(BASE, BASE, expt_seeds=BASE_SEEDS, paired=True)
    assert identical.p == 1.0 and identical.variance == Variance(0.0, 0.0, 0.0, sizes=(1, 3, NUM_EXAMPLES))


def test_rounding_is_no_variance() -> None:
    """Three seeds of equal score whose means differ in the last bit."""
    runs = np.stack([np.roll(BASE[0], shift) for shift in range(4)])
    result = compare(runs, runs, base_seeds=[0, 1, 1, 1], expt_seeds=[0, 1, 1, 1])
    assert result.variance is not None and result.variance.base == result.variance.expt == 0.0


def test_notes_on_seeds_and_replicates() -> None:
    unknown = compare(base_seeds=[None] * 4)
    assert unknown.scope == "checkpoints"
    assert any(note.startswith("the seeds of base are all None") for note in unknown.notes)
    labels = np.arange(NUM_EXAMPLES) // (NUM_EXAMPLES - 1)  # one example of class 1
    scores = np.random.default_rng(0).random((6, NUM_EXAMPLES))
    dropped = compare(scores[:4], scores, labels=labels, metric="micro_auc")
    assert dropped.num_dropped > 50
    assert any(note.startswith(f"{dropped.num_dropped} of 300 replicates left out") for note in dropped.notes)
    assert not any("understates" in note for note in compare().notes)  # t makes up for few seeds


def test_nobody_is_told_to_leave_a_run_out() -> None:
    bad = np.where(EXPT == 1, np.nan, 0.5)
    for metric, runs in (("pearson", bad), ("pearson", np.zeros_like(bad))):
        with pytest.raises(ValueError) as caught:
            compare(expt=runs, labels=np.arange(NUM_EXAMPLES), metric=metric)
        assert "leave" not in str(caught.value).lower()


def test_the_largest_part_is_named() -> None:
    assert Variance(3.0, 2.0, 1.0, sizes=(3, 3, 100)).find_largest() == "base seeds"
    assert Variance(0.0, 2.0, 1.0, sizes=(3, 3, 100)).find_largest() == "expt seeds"
    assert Variance(0.0, 2.0, 2.5, sizes=(3, 3, 100)).find_largest() == "examples"
    assert Variance(0.5, 0.25, 0.25, sizes=(3, 3, 100)).standard_error == 1.0


def test_degrees_of_freedom() -> None:
    assert compute_df((1.0, 1.0, 0.0), (3, 3, 100)) == 4.0  # Welch with equal variances: 2 (S - 1)
    assert compute_df((0.0, 0.0, 2.0), (1, 1, 100)) == pytest.approx(99)
    assert compute_df((0.0, 0.0, 0.0), (3, 3, 100)) == math.inf


def test_two_sets_of_seeds_share_their_degrees() -> None:
    variance = Variance(0.02, 0.01, 0.01, sizes=(3, 4, 50))
    estimate = compute_t_estimate(0.1, variance, 0.9)
    assert (estimate.low, estimate.high) == pytest.approx(stats.t.interval(0.9, variance.df, 0.1, 0.2))
    assert compute_t_p(0.1, variance, "less") == pytest.approx(stats.t.cdf(0.5, variance.df))
    assert compute_t_p(1e-13, variance, "two-sided") == 1.0


@pytest.mark.parametrize("sizes", [(3, 4, 50), (1, 3, 50), (1, 1, 50)])
@pytest.mark.parametrize("confidence", [1e-9, 0.1, 0.9, 0.95, 0.999999])
def test_interval_and_tail_are_one_rule(sizes: tuple[int, int, int], confidence: float) -> None:
    variance = Variance(
        *(part if size > 1 else 0.0 for part, size in zip((2e-4, 1e-4, 3e-5), sizes, strict=True)), sizes
    )
    half = variance.compute_half_width(confidence)
    assert 2 * variance.compute_tail(half) == pytest.approx(1 - confidence, rel=1e-6)
    assert variance.compute_tail(-half) == pytest.approx(1 - variance.compute_tail(half))


def test_tails_far_out() -> None:
    """Where the seeds' two degrees of freedom rule, and where no number is small enough any more."""
    of_seeds = Variance(0.0, 1.0, 0.0, sizes=(1, 3, 50))
    assert of_seeds.compute_tail(1e4) == pytest.approx(stats.t.sf(1e4, 2))
    both = Variance(0.0, 1.0, 1.0, sizes=(1, 3, 5000))
    assert stats.t.sf(1e4, 2) < both.compute_tail(1e4) < 1.1 * stats.t.sf(1e4, 2)
    assert 0 <= Variance(0.0, 1e-9, 1e-9, sizes=(1, 30, 5000)).compute_tail(1e9) < 1e-100
