"""Benefit %: which share of the reference pretraining's gain another procedure reaches.

The interval is Fieller's (1954): the share may be any theta for which
``(expt - none) - theta (reference - none)`` is not told from 0 by the t rule of ``variance``. It needs no ratio of
replicates, which has neither mean nor variance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from selfpretrain.stats.inputs import check_comparison, check_two_examples, number_groups
from selfpretrain.stats.resampling import Drawing, compute_replicates, count_units, note_scope
from selfpretrain.stats.statistics import AnyArray, FloatArray, Metric
from selfpretrain.stats.variance import (
    Estimate,
    are_several,
    average_seeds,
    compute_df,
    compute_difference_variance,
    compute_t_estimate,
    compute_t_quantile,
    measure_mean,
)

_ROUNDING_SHARE = 1e-13  # of the variances that a sum of them may be off by
_TRIES = 60  # doublings of a step of one standard error: beyond is as good as infinite; then halvings, down to rounding


@dataclass(frozen=True)
class BenefitResult:
    """100 x (expt - none) / (reference - none), in percent; 100 is the reference's gain, more is possible.

    `benefit` is None where the reference's gain is not clearly above zero: a ratio to it then says nothing, and
    `reason` says so. The gains themselves are always given.
    """

    benefit: Estimate | None
    reason: str  # empty if benefit is given
    gain: Estimate  # expt - none
    reference_gain: Estimate  # reference - none
    means: Means
    metric: str
    confidence: float
    num_seeds: tuple[int, int, int]  # none, expt, reference
    num_examples: int
    num_replicates: int
    num_dropped: int
    scope: str  # procedures, or checkpoints if one of the three has one seed: examples are then all that varies
    notes: tuple[str, ...]

    def __str__(self) -> str:
        if self.benefit is None:
            return f"Benefit undefined: {self.reason}"
        low, high = self.benefit.low, self.benefit.high
        return f"Benefit {self.benefit.point:.0f} % ({self.confidence:.0%} interval {low:.0f} to {high:.0f})"


def compute_benefit(
    none: Any,
    expt: Any,
    reference: Any,
    labels: Any,
    metric: Metric,
    *,
    none_seeds: Sequence[Any] | AnyArray,
    expt_seeds: Sequence[Any] | AnyArray,
    reference_seeds: Sequence[Any] | AnyArray,
    none_ids: Sequence[Any] | AnyArray | None = None,
    expt_ids: Sequence[Any] | AnyArray | None = None,
    reference_ids: Sequence[Any] | AnyArray | None = None,
    groups: Sequence[Any] | AnyArray | None = None,
    num_replicates: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> BenefitResult:
    """Benefit % with Fieller's interval: seeds vary per procedure, the same examples for all three.

    Args:
        none, expt, reference: predictions [runs, examples] (or [runs, examples, classes]) without pretraining, of
            the procedure in question, and of the one whose gain is 100 %.
        The rest is as in ``multibootstrap`` with method "t"; the three sets of pretrainings count as independent.

    Returns:
        BenefitResult; its `benefit` is None, with the reason, unless the interval of the reference's gain lies above
        zero.

    Raises:
        UserError: as ``multibootstrap``.
    """
    sides = {
        "none": (none, none_seeds, none_ids),
        "expt": (expt, expt_seeds, expt_ids),
        "reference": (reference, reference_seeds, reference_ids),
    }
    name, label_array, procedures = check_comparison(sides, labels, metric, num_replicates, seed, confidence)
    check_two_examples(len(label_array))
    numbered = number_groups(groups, len(label_array))
    drawing = Drawing(num_replicates, seed, shared_seeds=False, resample_seeds=False, groups=numbered)
    replicates = compute_replicates(procedures, label_array, metric, drawing)
    seed_scores = [average_seeds(*pair) for pair in zip(replicates.run_scores, procedures, strict=True)]
    num_units = count_units(len(label_array), numbered)
    means = Means(replicates.points, tuple(seed_scores), np.cov(replicates.scores), num_units)
    benefit, reason = means.estimate_benefit(confidence)
    return BenefitResult(
        benefit=benefit,
        reason=reason,
        gain=means.estimate_difference(1, confidence),
        reference_gain=means.estimate_difference(2, confidence),
        means=means,
        metric=name,
        confidence=confidence,
        num_seeds=(procedures[0].num_seeds, procedures[1].num_seeds, procedures[2].num_seeds),
        num_examples=len(label_array),
        num_replicates=num_replicates,
        num_dropped=num_replicates - replicates.scores.shape[1],
        scope=means.scope,
        notes=(*replicates.notes, *note_scope(procedures, "t")),
    )


@dataclass(frozen=True)
class Means:
    """What is known of the mean scores of none, expt and reference, in this order."""

    points: tuple[float, ...]
    seed_scores: tuple[FloatArray, ...]  # [seeds] of each, or a grid
    by_examples: FloatArray  # [3, 3] covariance of the scores, the examples resampled alone
    num_examples: int  # or groups of them

    @property
    def scope(self) -> str:
        return "procedures" if all(map(are_several, self.seed_scores)) else "checkpoints"

    def estimate_difference(self, side: int, confidence: float) -> Estimate:
        """That procedure - none."""
        factors = np.zeros(3)
        factors[[0, side]] = -1, 1
        none, expt = self.seed_scores[0], self.seed_scores[side]
        variance = compute_difference_variance(none, expt, self._combine(factors), False, self.num_examples)
        return compute_t_estimate(self.points[side] - self.points[0], variance, confidence)

    def estimate_benefit(self, confidence: float) -> tuple[Estimate | None, str]:
        """The share of the reference's gain in percent; None with the reason where that gain is not clear."""
        reason = _explain_undefined(self.estimate_difference(2, confidence), confidence)
        return (None, reason) if reason else (self._estimate_share(confidence), "")

    def _combine(self, factors: FloatArray) -> float:
        """The variance by examples of the scores' sum with these factors; 0 where it is rounding alone."""
        variance = float(factors @ self.by_examples @ factors)
        return variance if variance > _ROUNDING_SHARE * float(np.trace(self.by_examples)) else 0.0

    def _estimate_share(self, confidence: float) -> Estimate:
        none, expt, reference = self.points
        point = (expt - none) / (reference - none)
        parts_of_seeds, counts = zip(*map(measure_mean, self.seed_scores), strict=True)
        by_seeds = parts_of_seeds if self.scope == "procedures" else np.zeros(3)
        sizes = [*counts, self.num_examples]

        def measure_excess(theta: float) -> float:
            """How far theta is from being possible; 0 or less inside of the interval."""
            factors = np.array([theta - 1, 1, -theta])
            parts = [*(factors**2 * by_seeds), self._combine(factors)]
            quantile = compute_t_quantile((1 + confidence) / 2, compute_df(parts, sizes))
            return abs(float(factors @ self.points)) - quantile * math.sqrt(sum(parts))

        step = max(1e-12, -measure_excess(point) / (reference - none))
        low, high = (100 * _find_end(measure_excess, point, sign * step) for sign in (-1, 1))
        return Estimate(100 * point, low, high, 100 * point)


def _find_end(measure_excess: Callable[[float], float], inside: float, step: float) -> float:
    """Where the excess turns positive on the way from inside: steps that double, then halving of the last one."""
    for _ in range(_TRIES):
        outside = inside + step
        if measure_excess(outside) > 0:
            break
        inside, step = outside, 2 * step
    else:
        return math.copysign(math.inf, step)
    for _ in range(_TRIES):
        middle = (inside + outside) / 2
        inside, outside = (inside, middle) if measure_excess(middle) > 0 else (middle, outside)
    return (inside + outside) / 2


def _explain_undefined(reference_gain: Estimate, confidence: float) -> str:
    if reference_gain.low > 0 and reference_gain.point > 0:
        return ""
    interval = f"{confidence:.0%} interval {reference_gain.low:+.4f} to {reference_gain.high:+.4f}"
    if reference_gain.high < 0:
        return f"the reference scores below no pretraining (gain {reference_gain.point:+.4f}, {interval})"
    return f"the reference's own gain may be zero (gain {reference_gain.point:+.4f}, {interval})"
