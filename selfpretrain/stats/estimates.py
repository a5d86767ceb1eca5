"""One procedure's score by a scorer of one's own, with its interval over seeds and examples."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from selfpretrain.stats.crossed import arrange_seeds
from selfpretrain.stats.inputs import check_two_examples, number_groups
from selfpretrain.stats.resampling import count_units, iter_example_counts
from selfpretrain.stats.statistics import AnyArray, FloatArray, IntArray, Scorer
from selfpretrain.stats.variance import Estimate, compute_score_variance, compute_spread, compute_t_estimate


def estimate_score(
    scorer: Scorer,
    seeds: Sequence[Hashable],
    num_examples: int,
    *,
    num_replicates: int = 1000,
    confidence: float = 0.95,
    bounds: tuple[float, float] | None = None,
    seed: int = 0,
    groups: Sequence[Any] | AnyArray | None = None,
) -> tuple[Estimate, FloatArray]:
    """The mean score, as ``multibootstrap`` has it for a metric it knows: the same draws, the same crossed variance.

    Args:
        scorer: (counts [replicates, examples], drawn [replicates, runs]) -> scores [replicates, runs]; every run has a
            score in every replicate.
        seeds: [runs], what each run's chance comes from; runs of one seed are averaged within it. With one seed alone
            the interval is over examples only.
        bounds: of the score; the interval ends there.
        groups: [examples], as ``multibootstrap`` has them.

    Returns:
        the estimate, and each run's score on all examples, [runs].

    Raises:
        UserError: for a single example, or a single group.
    """
    check_two_examples(num_examples)
    numbered = number_groups(groups, num_examples)
    of_seed = np.array([[given == distinct for given in seeds] for distinct in dict.fromkeys(seeds)], dtype=np.float64)
    of_seed /= of_seed.sum(axis=1, keepdims=True)  # [seeds, runs]

    def score(counts: IntArray) -> FloatArray:
        return scorer(counts, np.ones((len(counts), len(seeds)), dtype=bool))

    run_scores = score(np.ones((1, num_examples), dtype=np.int32))[0]
    draws = iter_example_counts(num_examples, num_replicates, seed, numbered)
    replicates = np.concatenate([score(counts) @ of_seed.mean(axis=0) for counts in draws])
    num_units = count_units(num_examples, numbered)
    seed_scores = arrange_seeds(of_seed @ run_scores, list(dict.fromkeys(seeds)))
    variance = compute_score_variance(seed_scores, compute_spread(replicates), num_units)
    return compute_t_estimate(float(np.nanmean(seed_scores)), variance, confidence, bounds), run_scores
