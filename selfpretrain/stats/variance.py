"""The crossed variance of a score or a difference, and the t distribution's interval and p for it.

Pretraining seeds and test examples are crossed: every seed is scored on every example. A mean over both varies by
the choice of seeds (the variance of the seeds' scores over their number) and by the choice of examples (the variance
over bootstrap replicates of the examples alone, every seed kept once). What seeds and examples do together stands in
both parts, so where examples make much of the doubt the interval is somewhat too wide
(``benchmarks/results/coverage.md`` has how much).

Two independent sets of seeds: one t quantile, with the degrees of freedom of Satterthwaite 1946. One set (a single
score, paired seeds): each part has a quantile of its own, ``sqrt(sum t(df_i)^2 V_i)``, measured to be on the safe side.
Satterthwaite's would hang on one estimate there: few seeds that happen to lie close make the variance small and the
degrees many at once, and far out in the tail, where corrections for several claims look, p is then much too small.

Seeds that are levels of crossed factors have a variance of their own (:mod:`selfpretrain.stats.crossed`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from selfpretrain.stats.crossed import arrange_seeds, compute_crossed_variance
from selfpretrain.stats.inputs import Procedure
from selfpretrain.stats.statistics import FloatArray

ROUNDING = 1e-12  # a difference this small is a tie; without it p would hang on the order of summation
_HALVINGS = 100  # of the bracket of a tail on a scale of logarithms: down to rounding
_SMALLEST = 1e-300  # tail; smaller ones count as this
_MOST_DF = 1e9  # a normal distribution for all that matters; SciPy's older versions know no infinite df


@dataclass(frozen=True)
class Estimate:
    """A score, or a difference of scores."""

    point: float  # plug-in: all seeds and examples, each once
    low: float  # ends of the interval
    high: float
    mean: float  # over the replicates for percentiles; the point itself for t


@dataclass(frozen=True)
class Variance:
    """Where the doubt about a mean comes from, in squared units of the metric.

    Where seeds are one axis (a single score, paired seeds), their part stands under `expt`, and `base` is 0.
    """

    base: float  # by the choice of base's pretraining seeds
    expt: float  # by the choice of expt's
    examples: float  # by the choice of test examples
    sizes: tuple[float, float, float]  # of how many values each is the variance; 1 where there is nothing to vary

    @property
    def parts(self) -> tuple[float, float, float]:
        return self.base, self.expt, self.examples

    @property
    def total(self) -> float:
        return sum(self.parts)

    @property
    def standard_error(self) -> float:
        return math.sqrt(self.total)

    @property
    def df(self) -> float:
        """Satterthwaite's; infinite where there is no variance at all."""
        return compute_df(self.parts, self.sizes)

    def find_largest(self) -> str:
        """What more of would narrow the interval most: "base seeds", "expt seeds" or "examples"."""
        parts = {"base seeds": self.base, "expt seeds": self.expt, "examples": self.examples}
        return max(parts, key=lambda name: parts[name])

    def compute_half_width(self, confidence: float) -> float:
        """Of the interval around the mean at this confidence."""
        return self._compute_distance((1 - confidence) / 2)

    def compute_tail(self, distance: float) -> float:
        """The chance that the mean exceeds its expectation by this, which may be negative; needs some variance."""
        if distance < 0:
            return 1 - self.compute_tail(-distance)
        ratio = distance / self.standard_error
        if self._has_two_sets:
            return compute_t_tail(ratio, self.df)
        dfs = [size - 1 for _, size in self._varying]
        low, high = compute_t_tail(ratio, max(dfs)), compute_t_tail(ratio, min(dfs))  # equal if there is one part
        for _ in range(_HALVINGS if low < high else 0):
            middle = math.sqrt(max(low, _SMALLEST) * high)
            low, high = (middle, high) if self._compute_distance(middle) > distance else (low, middle)
        return high

    def _compute_distance(self, tail: float) -> float:
        """How far above its expectation the mean is with this chance."""
        if self._has_two_sets:
            return -compute_t_quantile(tail, self.df) * self.standard_error
        return math.sqrt(sum(compute_t_quantile(tail, size - 1) ** 2 * part for part, size in self._varying))

    @property
    def _has_two_sets(self) -> bool:
        return min(self.sizes[:2]) > 1

    @property
    def _varying(self) -> list[tuple[float, float]]:
        return [(part, size) for part, size in zip(self.parts, self.sizes, strict=True) if part > 0]


def compute_score_variance(seed_scores: FloatArray, by_examples: float, num_examples: int) -> Variance:
    """Of one procedure's mean score; its seeds stand under `expt`.

    Args:
        seed_scores: [seeds] on all examples, or a grid of crossed factors (``arrange_seeds``); a single one adds nothing.
        by_examples: the spread of replicates of the mean score, the examples resampled alone.
        num_examples: what was resampled: examples, or groups of them.
    """
    by_seeds, size = measure_mean(seed_scores)
    return Variance(0.0, by_seeds, by_examples, (1, size, num_examples))


def compute_difference_variance(
    base: FloatArray, expt: FloatArray, by_examples: float, paired: bool, num_examples: int
) -> Variance:
    """Of expt - base; by the examples alone if a side has one seed.

    Args:
        base, expt: [seeds] scores on all examples, or grids of crossed factors; in the same order of seeds if they are
            paired.
        by_examples: the spread of replicates of the difference, the examples resampled alone.
        num_examples: what was resampled: examples, or groups of them.
    """
    if not (are_several(base) and are_several(expt)):
        return Variance(0.0, 0.0, by_examples, (1, 1, num_examples))
    if paired:
        return compute_score_variance(expt - base, by_examples, num_examples)
    (by_base, num_base), (by_expt, num_expt) = measure_mean(base), measure_mean(expt)
    return Variance(by_base, by_expt, by_examples, (num_base, num_expt, num_examples))


def measure_mean(seed_scores: FloatArray) -> tuple[float, float]:
    """The variance of the mean over seeds, and of how many independent values it is as good as: degrees of freedom and one.

    [seeds] are independent; the values of a grid share the chance of their levels. One value has no variance.
    """
    if seed_scores.ndim == 1:
        return compute_spread(seed_scores) / len(seed_scores), len(seed_scores)
    if not are_several(seed_scores):
        return 0.0, 1
    if np.nanmax(seed_scores) - np.nanmin(seed_scores) <= ROUNDING:
        return 0.0, seed_scores.size
    variance, df = compute_crossed_variance(seed_scores)
    return variance, df + 1


def are_several(seed_scores: FloatArray) -> bool:
    """Whether they tell how one seed differs from another; of crossed factors each needs two levels."""
    return min(seed_scores.shape) > 1


def compute_df(parts: Sequence[float], sizes: Sequence[float]) -> float:
    """Satterthwaite's degrees of freedom of a sum of variances, each from so many values; infinite if all are 0."""
    spread = sum(part**2 / (size - 1) for part, size in zip(parts, sizes, strict=True) if part > 0)
    return sum(parts) ** 2 / spread if spread > 0 else math.inf


def average_seeds(run_scores: FloatArray, procedure: Procedure) -> FloatArray:
    """Scores [runs] averaged within each pretraining seed, [seeds], or a grid where these are levels of crossed factors."""
    sums = np.bincount(procedure.seed_of_run, weights=run_scores, minlength=procedure.num_seeds)
    return arrange_seeds(sums / np.bincount(procedure.seed_of_run, minlength=procedure.num_seeds), procedure.seeds)


def compute_spread(values: FloatArray) -> float:
    """Their variance (ddof 1); 0 for a single value, and where they differ by rounding alone."""
    return 0.0 if np.ptp(values) <= ROUNDING else float(np.var(values, ddof=1))


def compute_t_quantile(probability: float, df: float) -> float:
    from scipy.special import stdtrit  # late: it takes longer to import than all of this package

    return float(stdtrit(min(df, _MOST_DF), probability))


def compute_t_tail(value: float, df: float) -> float:
    """The chance that a t distribution with df degrees of freedom exceeds value."""
    from scipy.special import stdtr

    return float(stdtr(min(df, _MOST_DF), -value))


def compute_t_estimate(
    point: float, variance: Variance, confidence: float, bounds: tuple[float, float] | None = None
) -> Estimate:
    """The point and the variance's interval around it, clipped to the metric's range if bounds are given."""
    half = variance.compute_half_width(confidence)
    low, high = bounds or (-math.inf, math.inf)
    return Estimate(point, max(low, point - half), min(high, point + half), point)


def compute_t_p(point: float, variance: Variance, alternative: str) -> float:
    """P of a difference this far from 0 if there were none; 1 for no difference, 0 for one without any variance."""
    if abs(point) <= ROUNDING:
        point = 0.0
    if variance.total == 0:
        against = {"two-sided": point == 0, "greater": point <= 0, "less": point >= 0}[alternative]
        return float(against)
    if alternative == "two-sided":
        return 2 * variance.compute_tail(abs(point))
    return variance.compute_tail(point if alternative == "greater" else -point)


def compute_percentile_estimate(samples: FloatArray, point: float, confidence: float) -> Estimate:
    """Mean and percentile interval of the replicates."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(samples, [tail, 1 - tail])
    return Estimate(float(point), float(low), float(high), float(samples.mean()))
