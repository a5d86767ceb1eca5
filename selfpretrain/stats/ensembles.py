"""Two runs together: their probabilities averaged, what that gains, and how differently the two err."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from selfpretrain.stats.estimates import estimate_score
from selfpretrain.stats.multibootstrap import BootstrapResult, multibootstrap
from selfpretrain.stats.statistics import AnyArray, BoolArray, FloatArray, Metric, build_mean
from selfpretrain.stats.variance import Estimate

Key = tuple[Any, Any]  # of a run: its seed, what its chance comes from, and which of that seed's runs it is
Pair = tuple[int, int, Hashable]  # the two runs, and the seed it goes by; pairs of one seed are averaged within it


def pair_within(keys: Sequence[Key]) -> list[Pair]:
    """Disjoint pairs of seeds, in their order: the first with the second, the third with the fourth; an odd one is left.

    Two pairs that shared a seed would not be independent.
    """
    rows = {key: row for row, key in enumerate(keys)}
    seeds = sorted({seed for seed, _ in keys})
    return [
        (row, rows[second, which], first)
        for first, second in zip(seeds[::2], seeds[1::2], strict=False)
        for (seed, which), row in sorted(rows.items())
        if seed == first and (second, which) in rows
    ]


def pair_across(first: Sequence[Key], second: Sequence[Key]) -> list[Pair]:
    """The runs of two procedures that have the same key; other runs are left."""
    rows = {key: row for row, key in enumerate(second)}
    return [(row, rows[key], key[0]) for key, row in sorted(zip(first, range(len(first)), strict=True)) if key in rows]


def average_probabilities(first: FloatArray, second: FloatArray) -> FloatArray:
    """[..., classes], each weighing the same."""
    return np.asarray((first + second) / 2)


def compute_inconsistency(first: AnyArray, second: AnyArray, labels: AnyArray) -> BoolArray:
    """Whether exactly one of two predictions is right; class numbers [..., examples]."""
    return np.asarray((first == labels) != (second == labels))


@dataclass(frozen=True)
class EnsembleResult:
    """What ``compare_ensembles`` found."""

    gain: BootstrapResult  # base: the single runs; expt: the ensembles; delta: expt - base
    inconsistency: Estimate  # share of examples on which exactly one of the two is right


def compare_ensembles(
    first: FloatArray,
    second: FloatArray,
    labels: AnyArray,
    metric: Metric,
    seeds: Sequence[Hashable],
    *,
    num_replicates: int = 1000,
    confidence: float = 0.95,
    groups: Sequence[Any] | AnyArray | None = None,
) -> EnsembleResult:
    """Ensembles of two runs against the mean of the same runs alone.

    Args:
        first, second: [pairs, examples, classes], probabilities of the one run of each pair, and of the other.
        labels: [examples], class numbers.
        metric: of class numbers.
        seeds: [pairs]; pairs of different seeds must not share a run. With one seed the intervals are over the
            examples alone, and p is None.
        groups: [examples], as ``multibootstrap`` has them.

    Raises:
        UserError: as ``multibootstrap``.
    """
    one, other = first.argmax(axis=-1), second.argmax(axis=-1)
    together = average_probabilities(first, second).argmax(axis=-1)
    sampling: dict[str, Any] = {"num_replicates": num_replicates, "confidence": confidence, "groups": groups}
    gain = multibootstrap(
        (np.concatenate([one, other]), together), labels, metric,
        base_seeds=[*seeds, *seeds], expt_seeds=list(seeds), paired=True, **sampling,
    )  # fmt: skip
    differing = build_mean(compute_inconsistency(one, other, labels))
    inconsistency, _ = estimate_score(differing, seeds, len(labels), bounds=(0.0, 1.0), **sampling)
    return EnsembleResult(gain, inconsistency)
