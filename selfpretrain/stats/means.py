"""The mean of procedures over several tasks, by t: scores, differences and Benefit %.

The tasks are taken as given, so a mean varies by the choice of seeds and of test examples alone. Seeds are shared: an
encoder is fine-tuned on every task, and where it is a lucky one it may be so on all of them. The seeds' part is
therefore the variance between the seeds' means over the tasks, which holds what the tasks have in common. Test sets are
independent, so their parts add up, over the squared number of tasks.

Scores are [tasks, seeds], a column for each pretraining, or of crossed factors [tasks, levels, levels, ...].
``by_examples`` is each task's part by the choice of its examples, ``num_examples`` how many those, or their groups, are; the
fewest give the degrees of freedom.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from selfpretrain.stats.benefit import Means
from selfpretrain.stats.statistics import FloatArray
from selfpretrain.stats.variance import (
    Estimate,
    compute_difference_variance,
    compute_score_variance,
    compute_t_estimate,
)


def estimate_mean_score(
    scores: FloatArray,
    by_examples: FloatArray,
    num_examples: Sequence[int],
    confidence: float,
    bounds: tuple[float, float],
) -> Estimate:
    """One procedure's mean score; ``by_examples`` [tasks] variances. The interval ends at ``bounds``."""
    seeds = scores.mean(axis=0)
    variance = compute_score_variance(seeds, float(_average(by_examples)), min(num_examples))
    return compute_t_estimate(_average_all(seeds), variance, confidence, bounds)


def estimate_mean_difference(
    base: FloatArray, expt: FloatArray, by_examples: FloatArray, num_examples: Sequence[int], confidence: float
) -> Estimate:
    """expt - base, of independent pretrainings; ``by_examples`` [tasks] variances of the difference."""
    sides = base.mean(axis=0), expt.mean(axis=0)
    variance = compute_difference_variance(*sides, float(_average(by_examples)), False, min(num_examples))
    return compute_t_estimate(_average_all(sides[1]) - _average_all(sides[0]), variance, confidence)


def estimate_mean_benefit(
    none: FloatArray,
    expt: FloatArray,
    reference: FloatArray,
    by_examples: FloatArray,
    num_examples: Sequence[int],
    confidence: float,
) -> tuple[Estimate | None, str]:
    """The share in percent of the reference's mean gain that expt's mean gain is, with Fieller's interval.

    It is a ratio of means and no mean of ratios, which one task with a small gain of the reference would rule.

    Args:
        by_examples: [tasks, 3, 3] covariances of the scores of none, expt and reference (``Means.by_examples``).

    Returns:
        the share; None with the reason where the reference's mean gain is not clear.
    """
    seeds = tuple(scores.mean(axis=0) for scores in (none, expt, reference))
    points = tuple(map(_average_all, seeds))
    return Means(points, seeds, _average(by_examples), min(num_examples)).estimate_benefit(confidence)


def _average_all(seeds: FloatArray) -> float:
    """The mean over seeds, of a grid over those there are."""
    return float(np.nanmean(seeds))


def _average(by_examples: FloatArray) -> FloatArray:
    """What independent test sets leave of their parts in a mean over them."""
    return np.asarray(by_examples.sum(axis=0) / len(by_examples) ** 2)
