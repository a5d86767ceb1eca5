"""Crossed seeds: mean squares by hand, what bounds them, and how often their intervals hold the truth."""

from __future__ import annotations

import numpy as np
import pytest

from selfpretrain.config import UserError
from selfpretrain.stats import Levels, compute_benefit, multibootstrap
from selfpretrain.stats.crossed import arrange_seeds, compute_crossed_variance
from selfpretrain.stats.estimates import estimate_score
from selfpretrain.stats.means import estimate_mean_score
from selfpretrain.stats.variance import compute_difference_variance, compute_score_variance, measure_mean

# rows 2, 5 about 3.5: MS_A = 3 (1.5^2 + 1.5^2) / 1; columns 2, 3, 5.5: MS_B = 2 (1.5^2 + .5^2 + 2^2) / 2; of the whole
# sum of squares, 29.5, that leaves MS_AB = 3 / 2
GRID = np.array([[1.0, 2.0, 3.0], [3.0, 4.0, 8.0]])
SEEDS = [Levels((row, column)) for row in range(2) for column in range(3)]


def test_two_factors_by_hand():
    variance, df = compute_crossed_variance(GRID)
    assert variance == pytest.approx((13.5 + 6.5 - 1.5) / 6)
    assert df == pytest.approx(18.5**2 / (13.5**2 / 1 + 6.5**2 / 2 + 1.5**2 / 2))
    assert measure_mean(GRID) == (variance, df + 1)


def test_a_mean_square_bounds_what_subtracting_leaves():
    # the rows and columns are equal: all of it is what the two do together, MS_AB = 1
    variance, df = compute_crossed_variance(np.eye(2))
    assert (variance, df) == pytest.approx((1 / 4, 1))


def test_a_gap_counts_every_factor_by_itself():
    gap = GRID.copy()
    gap[1, 2] = np.nan
    # off the mean, 2.6, the rows' sums are -1.8 and 1.8, the columns' -1.2, .8 and .4
    variance, df = compute_crossed_variance(gap)
    assert variance == pytest.approx((2 * 2 * 1.8**2 + 1.5 * (1.2**2 + 0.8**2 + 0.4**2)) / 5**2)
    assert df == 1


def test_one_level_or_no_variation():
    assert measure_mean(GRID[:1]) == (0.0, 1)
    assert measure_mean(np.full((2, 3), 0.1) + 1e-15 * GRID) == (0.0, 6)
    assert compute_difference_variance(GRID[:1], GRID, 0.25, False, 9).sizes == (1, 1, 9)


def test_three_factors_are_unbiased():
    """The estimate's mean over many grids is the variance of the mean, here of (3, 4, 2) levels."""
    generator, shape = np.random.default_rng(0), (3, 4, 2)
    spreads = {(0,): 2.0, (1,): 1.5, (2,): 1.2, (0, 1): 0.5, (1, 2): 0.3, (0, 1, 2): 0.4}
    grids = np.zeros((2000, *shape))
    truth = 0.0
    for axes, spread in spreads.items():
        of_axes = [size if axis in axes else 1 for axis, size in enumerate(shape)]
        grids = grids + generator.normal(0, spread, (2000, *of_axes))
        truth += spread**2 / np.prod(of_axes)
    found = [compute_crossed_variance(grid)[0] for grid in grids]
    assert np.mean(found) == pytest.approx(truth, rel=0.1)


@pytest.mark.parametrize("spreads", [(1.0, 1.0, 0.5), (1.0, 0.0, 0.3), (0.0, 0.0, 1.0)])
def test_intervals_hold_the_truth_where_independent_runs_do_not(spreads):
    generator, number = np.random.default_rng(1), 400
    shape = (number, 2, 3, 3)
    grids = generator.normal(0, spreads[0], (number, 2, 3, 1)) + generator.normal(0, spreads[1], (number, 2, 1, 3))
    grids = grids + generator.normal(0, spreads[2], shape)
    held = {"single": 0, "difference": 0, "as independent": 0}
    for base, expt in grids:
        held["single"] += abs(expt.mean()) <= compute_score_variance(expt, 0.0, 100).compute_half_width(0.95)
        apart = abs(expt.mean() - base.mean())
        held["difference"] += apart <= compute_difference_variance(base, expt, 0.0, False, 100).compute_half_width(0.95)
        flat = compute_difference_variance(base.ravel(), expt.ravel(), 0.0, False, 100)
        held["as independent"] += apart <= flat.compute_half_width(0.95)
    error = 2 * np.sqrt(0.95 * 0.05 / number)
    assert held["single"] / number >= 0.95 - error and held["difference"] / number >= 0.95 - error
    assert max(spreads[:2]) == 0 or held["as independent"] / number < 0.85


# where they are compared


def make_runs(seed: int, level: float) -> np.ndarray:
    generator = np.random.default_rng(seed)
    chances = level + 0.1 * np.array([levels[0] for levels in SEEDS]) + 0.05 * np.array([s[1] for s in SEEDS])
    return (generator.random((6, 200)) < chances[:, None]).astype(int)


LABELS = np.ones(200, dtype=int)
BASE, EXPT = make_runs(0, 0.4), make_runs(1, 0.6)


def compare(**changes):
    settings = {"base_seeds": SEEDS, "expt_seeds": SEEDS, "paired": False, "num_replicates": 200, **changes}
    return multibootstrap((BASE, EXPT), LABELS, "accuracy", **settings)


def test_a_comparison_has_the_variance_of_each_side_s_grid():
    found, base, expt = compare(), BASE.mean(axis=1).reshape(2, 3), EXPT.mean(axis=1).reshape(2, 3)
    (of_base, base_df), (of_expt, expt_df) = compute_crossed_variance(base), compute_crossed_variance(expt)
    assert (found.variance.base, found.variance.expt) == pytest.approx((of_base, of_expt))
    assert found.variance.sizes[:2] == pytest.approx((base_df + 1, expt_df + 1))
    assert found.p is not None and found.scope == "procedures" and found.num_expt_seeds == 6
    paired = compare(paired=True)
    assert paired.variance.expt == pytest.approx(compute_crossed_variance(expt - base)[0])
    # in whatever order the runs come
    order = np.random.default_rng(2).permutation(6)
    shuffled = multibootstrap(
        (BASE, EXPT[order]), LABELS, "accuracy", base_seeds=SEEDS, expt_seeds=[SEEDS[i] for i in order],
        paired=False, num_replicates=200,
    )  # fmt: skip
    assert shuffled.variance.expt == pytest.approx(of_expt)


def test_one_side_may_be_crossed_alone():
    found = multibootstrap(
        (BASE[:3], EXPT), LABELS, "accuracy", base_seeds=[0, 1, 2], expt_seeds=SEEDS, paired=False, num_replicates=200
    )
    assert found.variance.base == pytest.approx(np.var(BASE[:3].mean(axis=1), ddof=1) / 3)
    assert found.variance.expt == pytest.approx(compute_crossed_variance(EXPT.mean(axis=1).reshape(2, 3))[0])


def test_one_level_of_a_factor_says_nothing_of_procedures():
    found = multibootstrap(
        (BASE[:3], EXPT), LABELS, "accuracy", base_seeds=SEEDS[:3], expt_seeds=SEEDS, paired=False, num_replicates=200
    )
    assert found.p is None and found.scope == "checkpoints"
    assert any("one pretraining seed for base" in note for note in found.notes)


def test_what_cannot_be_is_refused():
    with pytest.raises(UserError, match="use method='t'"):
        compare(method="percentile")
    with pytest.raises(UserError, match="base has seeds with"):
        compare(base_seeds=[*SEEDS[:5], (1, 9)])
    with pytest.raises(UserError, match="are levels, those of the other are not"):
        compare(base_seeds=[tuple(seed) for seed in SEEDS], paired=True)


def test_benefit_estimates_and_means_take_them():
    seeds = {"none_seeds": SEEDS, "expt_seeds": SEEDS, "reference_seeds": SEEDS}
    found = compute_benefit(BASE, EXPT, make_runs(3, 0.65), LABELS, "accuracy", **seeds, num_replicates=200)
    assert found.scope == "procedures"
    assert found.gain.high - found.gain.low == pytest.approx(compare().delta.high - compare().delta.low, rel=0.05)
    estimate, _ = estimate_score(lambda counts, drawn: counts @ EXPT.T / 200, SEEDS, 200, num_replicates=200)
    assert (estimate.low, estimate.high) == pytest.approx((compare().expt.low, compare().expt.high), abs=1e-9)
    scores = np.stack([EXPT.mean(axis=1), BASE.mean(axis=1)])
    grids = arrange_seeds(scores, SEEDS)
    assert grids.shape == (2, 2, 3)
    mean = estimate_mean_score(grids, np.zeros(2), [200, 200], 0.95, (0, 1))
    variance, _ = compute_crossed_variance(grids.mean(axis=0))
    assert mean.point == pytest.approx(scores.mean())
    assert mean.high - mean.low <= 2 * 12.8 * np.sqrt(variance)  # t of one degree of freedom, clipped to the metric
