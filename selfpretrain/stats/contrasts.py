"""Weighted sums of procedures' scores, paired by seed: a - b, or a difference of differences (a - b) - (c - d).

A seed number stands for the same chance (first weights, order of the text, masks) in every procedure, so the sum is taken
within each seed. What the seeds have in common leaves it, and its variance between seeds is that of the sum, in which the
covariances of the procedures are contained; test examples are drawn alike for all. With the weights (1, -1) it is
``multibootstrap(paired=True)`` with the first as ``expt``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from selfpretrain.config import UserError
from selfpretrain.stats.inputs import Sides, check_comparison, check_paired, check_two_examples, number_groups
from selfpretrain.stats.resampling import Drawing, compute_replicates, count_units
from selfpretrain.stats.statistics import AnyArray, FloatArray, Metric
from selfpretrain.stats.variance import (
    Estimate,
    Variance,
    are_several,
    average_seeds,
    compute_score_variance,
    compute_spread,
    compute_t_estimate,
    compute_t_p,
)


@dataclass(frozen=True)
class ContrastResult:
    """What ``compute_contrast`` found."""

    contrast: Estimate
    p: float | None  # two-sided, of no contrast; None with one seed: nothing can be said about procedures
    variance: Variance  # of the contrast
    scores: tuple[float, ...]  # of each procedure, on all seeds and examples
    seed_contrasts: FloatArray  # [seeds], in the order of the sorted seeds; of crossed factors [levels, levels, ...]


def compute_contrast(
    predictions: Sequence[Any],
    seeds: Sequence[Sequence[Any] | AnyArray],
    weights: Sequence[float],
    labels: Any,
    metric: Metric,
    *,
    num_replicates: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
    groups: Any = None,
) -> ContrastResult:
    """The weighted sum of scores of procedures whose seeds are the same, with a t interval over seeds and examples.

    Args:
        predictions: of each procedure, [runs, examples] as ``multibootstrap`` wants them.
        seeds: of each procedure, the pretraining seed of each run; runs of one seed are averaged within it.
        weights: of each procedure's score, e.g. (1, -1, -1, 1).
        num_replicates, seed, confidence, groups: as for ``multibootstrap``; the examples alone are drawn.

    Raises:
        UserError: for what does not fit together, seeds that one procedure has and another has not among it.
    """
    if not len(predictions) == len(seeds) == len(weights) >= 2:
        counts = f"{len(predictions)} predictions, {len(seeds)} seeds and {len(weights)} weights"
        raise UserError(f"{counts} given: a contrast needs one of each for every procedure, of two or more")
    sides: Sides = {f"procedure {i}": (*pair, None) for i, pair in enumerate(zip(predictions, seeds, strict=True))}
    _, label_array, procedures = check_comparison(sides, labels, metric, num_replicates, seed, confidence)
    check_two_examples(len(label_array))
    for procedure in procedures[1:]:
        check_paired(procedures[0], procedure)
    numbered = number_groups(groups, len(label_array))
    drawing = Drawing(num_replicates, seed, shared_seeds=True, resample_seeds=False, groups=numbered)
    replicates = compute_replicates(procedures, label_array, metric, drawing)
    factors = np.asarray(weights, dtype=np.float64)
    by_seed = [average_seeds(*side) for side in zip(replicates.run_scores, procedures, strict=True)]
    seed_contrasts: FloatArray = np.tensordot(factors, np.stack(by_seed), axes=1)
    by_examples = compute_spread(factors @ replicates.scores)
    variance = compute_score_variance(seed_contrasts, by_examples, count_units(len(label_array), numbered))
    point = float(factors @ np.array(replicates.points))
    p = compute_t_p(point, variance, "two-sided") if are_several(seed_contrasts) else None
    estimate = compute_t_estimate(point, variance, confidence)
    return ContrastResult(estimate, p, variance, replicates.points, seed_contrasts)
