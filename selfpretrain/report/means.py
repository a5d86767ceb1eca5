"""Means over tasks of one condition's entries, each with its interval (:mod:`selfpretrain.stats.means`)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from selfpretrain.report.comparisons import Interval, to_interval
from selfpretrain.report.findings import Entry, Panel
from selfpretrain.stats import METRICS
from selfpretrain.stats.crossed import arrange_seeds
from selfpretrain.stats.means import estimate_mean_benefit, estimate_mean_difference, estimate_mean_score
from selfpretrain.stats.statistics import FloatArray


def choose_largest(panels: Iterable[Panel]) -> list[Panel]:
    """One panel of each task: of several numbers of labels, which share their test set, the largest."""
    chosen: dict[str, Panel] = {}
    for panel in panels:
        if panel.card not in chosen or panel.num_labels > chosen[panel.card].num_labels:
            chosen[panel.card] = panel
    return list(chosen.values())


def have_equal_seeds(entries: Iterable[Entry]) -> bool:
    """Whether the scores of these entries, one for each task, are of the same seeds."""
    return len({frozenset(_average_seeds(entry)) for entry in entries}) < 2


def compute_mean_score(entries: Sequence[Entry], panels: Sequence[Panel], confidence: float) -> Interval:
    """The mean score of one condition over tasks, each with its score and the same seeds."""
    metrics = [METRICS[panel.metric] for panel in panels]
    bounds = math.fsum(m.low for m in metrics) / len(metrics), math.fsum(m.high for m in metrics) / len(metrics)
    by_examples = np.array([entry.examples_variance for entry in entries])
    return to_interval(estimate_mean_score(_stack(entries), by_examples, _count(panels), confidence, bounds))


def compute_mean_gain(
    entries: Sequence[Entry], baselines: Sequence[Entry], panels: Sequence[Panel], confidence: float
) -> Interval:
    """The mean gain over the baseline; every entry has one."""
    by_examples = np.array([entry.gain.variance.examples for entry in entries if entry.gain])
    sides = _stack(baselines), _stack(entries)
    return to_interval(estimate_mean_difference(*sides, by_examples, _count(panels), confidence))


def compute_mean_benefit(
    entries: Sequence[Entry],
    baselines: Sequence[Entry],
    references: Sequence[Entry],
    panels: Sequence[Panel],
    confidence: float,
) -> Interval | None:
    """The mean gain as a share of the reference's; None where that is not clear. Every entry has covariances."""
    by_examples = np.array([entry.covariances for entry in entries])
    sides = _stack(baselines), _stack(entries), _stack(references)
    found, _ = estimate_mean_benefit(*sides, by_examples, _count(panels), confidence)
    return None if found is None else to_interval(found)


def _average_seeds(entry: Entry) -> dict[tuple[int, ...], float]:
    """The entry's score by seed."""
    scores: dict[tuple[int, ...], list[float]] = {}
    for seed, run in zip(entry.seeds, entry.run_scores, strict=True):
        scores.setdefault(seed, []).append(run["score"])
    return {seed: float(np.mean(values)) for seed, values in scores.items()}


def _stack(entries: Sequence[Entry]) -> FloatArray:
    """Scores [tasks, seeds], or of crossed factors [tasks, levels, levels, ...]."""
    by_task = [_average_seeds(entry) for entry in entries]
    seeds = list(by_task[0])
    return arrange_seeds(np.array([[scores[seed] for seed in seeds] for scores in by_task]), seeds)


def _count(panels: Sequence[Panel]) -> list[int]:
    return [panel.num_units for panel in panels]
