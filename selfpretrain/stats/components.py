"""Where the variance of scores lies: components by source, by the method of moments, each with an interval.

A run differs from another by the kinds of its pretraining's chance (factors: one seed for all, or first weights, order of
the text and masks, crossed) and by its fine-tuning, which is nested in a pretraining. Every run is scored on every test
example, so examples are crossed with all of that. The model is that of random effects: the observed mean squares are
set equal to their expectations, which are sums of components [Searle, Casella and McCulloch 1992]; an estimate may come
out negative, and counts as 0. Of one factor with missing runs the expectations take the usual n0 in place of the number
of runs of a level, which is then the average that is good for one comparison of variances and no exact rule.

Intervals are generalized ones [Weerahandi 1993]: mean squares are independent and each its expectation times a
chi-square over its degrees of freedom, so the components that could have given those seen are drawn.

What a run and an example do together is a component as well, of a single score's variance as much as its own over the
number of examples. Where examples are given the components of runs are without it: what endlessly many examples would show.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np

from selfpretrain.config import UserError
from selfpretrain.stats.inputs import number_groups
from selfpretrain.stats.metrics import METRICS, build_scorer
from selfpretrain.stats.resampling import count_units, iter_example_counts, note_replicates
from selfpretrain.stats.statistics import AnyArray, FloatArray, IntArray, Metric

FINETUNING, EXAMPLES = "fine-tuning", "examples"
NUM_DRAWS = 4000  # behind each interval
Levels = Sequence[Mapping[str, int]]  # of each run: the level of each factor
_Source = tuple[str, ...]  # the factors that an effect is of; () is the mean's


@dataclass(frozen=True)
class Component:
    """The variance of one source's effects, in squared units of the metric: of a run's score, or of one example's value."""

    source: str
    estimate: float  # by the moments; negative ones say that there is too little to see
    low: float  # ends of the interval, at least 0
    high: float
    df: float  # of the mean square that it is told by

    @property
    def variance(self) -> float:
        return max(0.0, self.estimate)

    @property
    def sd(self) -> float:
        return math.sqrt(self.variance)


@dataclass(frozen=True)
class Components:
    """All that could be estimated."""

    parts: tuple[Component, ...]
    confidence: float
    holds_finetuning: str = ""  # the source whose part holds that of fine-tuning, where each pretraining has one

    def find(self, source: str) -> Component | None:
        return next((part for part in self.parts if part.source == source), None)

    def get_variance(self, source: str) -> float:
        """0 where it is not estimated."""
        part = self.find(source)
        return part.variance if part else 0.0


@dataclass(frozen=True)
class RunValues:
    """Runs on the same examples: their scores, and how these hang on the examples."""

    scores: FloatArray  # [runs]
    # [runs, columns], each run's mean 0: what an example adds, or, for metrics that are no means, what a bootstrap draw of
    # the examples adds, times the root of their number
    deviations: FloatArray
    num_examples: int
    levels: Levels

    def select(self, rows: Sequence[int]) -> RunValues:
        """Some of the runs."""
        kept = list(rows)
        return RunValues(
            self.scores[kept], self.deviations[kept], self.num_examples, [self.levels[row] for row in kept]
        )


def estimate_components(scores: FloatArray, factors: Sequence[str], confidence: float = 0.95) -> Components:
    """Of scores of a balanced design.

    Args:
        scores: [levels of factor 1, ..., levels of the last, fine-tunings of each pretraining].
        factors: their names; crossed. With one alone, as "seed", the design is nested.

    Returns:
        a component for each factor, each interaction of them ("init x data") and fine-tuning. Those of a factor with one
        level are left out; with one fine-tuning its part is in the interaction of all (``holds_finetuning``).

    Raises:
        UserError: axes and names that do not fit, a value that is no finite number, and runs of which none differ.
    """
    array = _check_array(scores, factors, 1)
    layout = _Layout(_list_levels(array.shape[:-1], factors, array.shape[-1]))
    return _estimate(layout, array.reshape(-1), None, 0, confidence)


def estimate_example_components(values: FloatArray, factors: Sequence[str], confidence: float = 0.95) -> Components:
    """Of what each example adds to a metric that is a mean over the examples (right or wrong, for accuracy).

    As :func:`estimate_components`, with the examples as one axis more.

    Args:
        values: [levels of factor 1, ..., fine-tunings of each pretraining, examples].

    Returns:
        also "examples" and what each source does together with them ("seed x examples"), of one example's value.
    """
    array = _check_array(values, factors, 2)
    levels = _list_levels(array.shape[:-2], factors, array.shape[-2])
    rows = array.reshape(-1, array.shape[-1])
    return estimate_run_components(_center(rows.mean(axis=1), rows, levels), confidence)


def estimate_run_components(runs: RunValues, confidence: float = 0.95) -> Components:
    """Of runs given one by one; runs of one factor may be missing, of several none.

    Raises:
        UserError: for a crossed design with missing runs, and for runs of which none differ.
    """
    return _estimate(_Layout(runs.levels), runs.scores, runs.deviations, runs.num_examples, confidence)


def compute_run_values(
    predictions: AnyArray, labels: AnyArray, metric: Metric, levels: Levels, num_replicates: int = 1000, seed: int = 0,
    groups: Any = None,
) -> RunValues:  # fmt: skip
    """Scores of runs by any metric, and how they hang on the examples, by the draws of ``multibootstrap`` with this seed.

    Args:
        predictions: [runs, examples] or [runs, examples, classes], as the metric takes them.
        labels: [examples] or [examples, classes].
        levels: of each run, the level of each factor.
        groups: [examples], equal where examples belong together: a group then counts as an example does.

    A score that is undefined counts as in comparisons: 0 for a metric that has a value then, else its draw is left out.
    UserError for a run that has no score on all the examples, and where no more than half of the draws have one.
    """
    scorer, num_examples = build_scorer(metric, labels, predictions), len(labels)
    numbered = number_groups(groups, num_examples)
    num_units = count_units(num_examples, numbered)
    named = METRICS[metric] if isinstance(metric, str) else None
    zero = named is not None and (named.is_zero_where_undefined or named.compute_or_zero is not None)

    def score(counts: IntArray) -> FloatArray:
        found = scorer(counts, np.ones((len(counts), len(predictions)), dtype=bool))
        return np.nan_to_num(found) if zero else found

    scores = score(np.ones((1, num_examples), dtype=np.int32))[0]
    if np.isnan(scores).any():
        raise UserError(
            f"the metric is undefined for run {np.isnan(scores).argmax()}, are its predictions constant? Score all runs by another"
        )
    drawn = iter_example_counts(num_examples, num_replicates, seed, numbered)
    draws = np.concatenate([score(counts) for counts in drawn])
    is_defined = ~np.isnan(draws).any(axis=1)
    note_replicates(int((~is_defined).sum()), 0, num_replicates)  # refuses too few
    return _center(scores, draws[is_defined].T * math.sqrt(num_units), levels, num_units)


def average_runs(runs: RunValues) -> FloatArray:
    """The deviations of the mean of the runs, [columns]; those of one pretraining are averaged within it."""
    return np.asarray(_Layout(runs.levels).weights @ runs.deviations)


def sum_interactions(runs: RunValues, components: Components) -> float:
    """The variance that what these runs do together with one example gives their mean, averaged as in ``average_runs``.

    Over the number of examples it is what both the seeds' and the examples' part of a comparison hold.
    """
    layout = _Layout(runs.levels)
    shares = {source: np.bincount(group, layout.weights) for source, group in layout.groups.items()}
    named = {" x ".join(source): share for source, share in shares.items() if source} | {FINETUNING: layout.weights}
    return sum(components.get_variance(f"{name} x {EXAMPLES}") * float(share @ share) for name, share in named.items())


def _center(scores: FloatArray, rows: FloatArray, levels: Levels, num_examples: int | None = None) -> RunValues:
    deviations = rows - rows.mean(axis=1, keepdims=True)
    return RunValues(scores, deviations, rows.shape[1] if num_examples is None else num_examples, levels)


def _check_array(values: Any, factors: Sequence[str], num_others: int) -> FloatArray:
    """As floats; ``num_others`` axes follow those of the factors."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != len(factors) + num_others or len(set(factors)) < len(factors):
        wanted = f"{len(factors) + num_others} axes: a factor each ({', '.join(factors)}), then fine-tunings"
        raise UserError(f"values have shape {array.shape}: {wanted}{', then examples' if num_others > 1 else ''}")
    if array.size == 0 or not np.isfinite(array).all():
        raise UserError(
            "values hold none, NaN or infinite ones: of a design with missing runs give estimate_run_components"
        )
    return array


def _list_levels(shape: Sequence[int], factors: Sequence[str], num_replicates: int) -> Levels:
    return [
        {name: int(level) for name, level in zip(factors, place, strict=True)}
        for place in np.ndindex(*shape)
        for _ in range(num_replicates)
    ]


class _Layout:
    """Which runs share a level of what, and what follows for sums of squares."""

    def __init__(self, levels: Levels):
        self.num_runs = len(levels)
        if self.num_runs < 2:
            raise UserError(f"{self.num_runs} run given: where its variance lies cannot be told, give at least 2")
        sizes = {name: len({run[name] for run in levels}) for name in levels[0]}
        names = [name for name, size in sizes.items() if size > 1]
        subsets = [subset for size in range(len(names) + 1) for subset in combinations(names, size)]
        # of the mean, the factors and their interactions: the level of each run, [runs]
        self.groups: dict[_Source, IntArray] = {
            source: _number([tuple(run[name] for name in source) for run in levels]) for source in subsets
        }
        self.full: _Source = tuple(names)  # the interaction of all: a pretraining
        self.cells = np.bincount(self.groups[self.full])
        num_cells = math.prod(sizes[name] for name in names)
        if len(names) > 1 and (len(self.cells) < num_cells or np.ptp(self.cells) > 0):
            raise UserError(
                f"{self.num_runs} runs of the {num_cells} combinations of {' x '.join(names)} are not equally many of "
                "each: components of a crossed design need all of its runs, finish those or leave out a level"
            )

    @property
    def weights(self) -> FloatArray:
        """Of each run in the mean over pretrainings, [runs]."""
        return np.asarray(1 / len(self.cells) / self.cells[self.groups[self.full]])

    @cached_property
    def dfs(self) -> FloatArray:
        """Of each source, the mean first, and of what is nested in pretrainings, which may be 0."""
        by_source = [math.prod(int(self.groups[name,].max()) for name in source) for source in self.groups]
        return np.array([*by_source, self.num_runs - len(self.cells)], dtype=np.float64)

    def iter_effects(self, values: FloatArray) -> Iterator[FloatArray]:
        """The effects [runs, columns] of each source, as in ``dfs``."""
        means = {}
        for source, group in self.groups.items():
            member = np.arange(group.max() + 1)[:, None] == group  # [levels, runs]
            means[source] = ((member / member.sum(axis=1, keepdims=True)) @ values)[group]
        for source in self.groups:
            parts = (subset for size in range(len(source) + 1) for subset in combinations(source, size))
            yield np.asarray(sum((-1) ** (len(source) - len(part)) * means[part] for part in parts))
        yield values - means[self.full]

    def build_expectations(self) -> FloatArray:
        """How often each component stands in each mean square, [mean squares, components], both as in ``dfs``."""
        number, num_sources = self.num_runs, len(self.groups) + 1
        found = np.zeros((num_sources, num_sources))
        found[:, -1] = 1.0
        for row, of in enumerate(self.groups):
            for column, source in enumerate(self.groups):
                if set(of) <= set(source):
                    found[row, column] = self._count_sharing(of, source) if source else number
        return found

    def _count_sharing(self, of: _Source, source: _Source) -> float:
        counts = np.bincount(self.groups[source])
        sharing = float((counts**2).sum() / self.num_runs)  # with how many runs one shares its level, itself included
        return sharing if not of else (self.num_runs - sharing) / (len(counts) - 1)  # the same, but for missing runs


def _number(given: Sequence[tuple[int, ...]]) -> IntArray:
    """Of each, which of the distinct ones it is."""
    numbers = {each: number for number, each in enumerate(sorted(set(given)))}
    return np.array([numbers[each] for each in given], dtype=np.intp)


def _estimate(
    layout: _Layout, scores: FloatArray, deviations: FloatArray | None, num_examples: int, confidence: float
) -> Components:
    kept = np.flatnonzero(layout.dfs > 0)
    names = [*(" x ".join(source) for source in layout.groups), FINETUNING]
    dfs, expectations = layout.dfs[kept], layout.build_expectations()[np.ix_(kept, kept)]
    squares = np.array([float((effect**2).sum()) for effect in layout.iter_effects(scores[:, None])])[kept]
    sources, to_runs = [names[place] for place in kept[1:]], np.linalg.inv(expectations[1:, 1:])
    dfs_all, squares_all, solve = dfs[1:], squares[1:], to_runs
    if deviations is not None:
        to_examples = np.linalg.inv(expectations)
        together = np.array([float((effect**2).sum()) for effect in layout.iter_effects(deviations)])[kept]
        num_free = min(deviations.shape[1], num_examples) - 1
        solve = np.block(
            [[to_runs, -to_examples[1:] / num_examples], [np.zeros((len(kept), len(kept) - 1)), to_examples]]
        )
        # columns may be more than the examples that they were made from
        squares_all = np.concatenate([squares[1:], together * num_free / (deviations.shape[1] - 1)])
        dfs_all = np.concatenate([dfs[1:], dfs * num_free])
        sources += [EXAMPLES, *(f"{source} x {EXAMPLES}" for source in sources)]
    estimates = solve @ (squares_all / dfs_all)
    chance = np.random.default_rng(0).chisquare(dfs_all, (NUM_DRAWS, len(dfs_all)))
    tail = (1 - confidence) / 2
    ends = np.maximum(0.0, np.quantile(solve @ (squares_all / chance).T, [tail, 1 - tail], axis=1))
    parts = [
        Component(source, float(estimate), float(low), float(high), float(df))
        for source, estimate, low, high, df in zip(sources, estimates, *ends, dfs_all, strict=True)
    ]
    pooled = "" if layout.dfs[-1] else " x ".join(layout.full)
    return Components(tuple(parts), confidence, pooled)
