"""The statistics of a report: each number from ``selfpretrain.stats``, in a form that can be stored as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from selfpretrain.config import StudyConfig
from selfpretrain.numbers import format_score, format_signed, format_whole
from selfpretrain.runs.results import AlignedRuns, CellResult
from selfpretrain.stats import (
    METRICS,
    BootstrapResult,
    Levels,
    Variance,
    compute_benefit,
    compute_contrast,
    compute_holm,
    multibootstrap,
)
from selfpretrain.stats.variance import compute_spread
from selfpretrain.study.chance import list_levels
from selfpretrain.study.conditions import find_condition

# what a number of a report is: a score, a difference of scores, a share of a gain in percent
UNITS = {"score": format_score, "gain": format_signed, "benefit": format_whole}
FEW_DISTINCT = 20  # examples off the most frequent output; with fewer, resamples with a constant output are common


@dataclass(frozen=True)
class Interval:
    """A number on all examples and seeds, and its interval."""

    point: float
    low: float
    high: float

    def format(self, unit: str, sign: str = "") -> str:
        """score: .842 [.830, .851]; gain: +.031 [.010, .050]; benefit: 67 [50, 80], or with its sign 67 % [50, 80]"""
        end = format_whole if unit == "benefit" else format_score
        return f"{UNITS[unit](self.point)}{sign} [{end(self.low)}, {end(self.high)}]"


@dataclass
class Source:
    """What one source of chance does to the scores of an entry."""

    name: str  # seed | fine-tuning | examples | <one> x examples
    sd: Interval  # of a score, by it alone
    is_negative: bool  # the estimated variance was below 0


@dataclass
class Difference:
    """One procedure minus another."""

    delta: Interval
    p: float | None  # two-sided; None: one seed on a side, so nothing is said of procedures
    num_seeds: tuple[int, int]  # pretraining seeds behind the first and the second
    variance: Variance  # of delta, by source: `expt` is the first's, `base` the second's
    is_conditional: bool = False  # a side is one released checkpoint, its fine-tunings the seeds
    p_holm: float | None = None  # Holm-corrected over its family; set by correct
    detectable: float | None = (
        None  # what the study finds with a chance of 80 %; None where nothing is said of procedures
    )

    @property
    def is_of_checkpoints(self) -> bool:
        return self.p is None

    def is_clear(self, alpha: float) -> bool:
        return self.p_holm is not None and self.p_holm < alpha


class Score(NamedTuple):
    """Of a procedure."""

    interval: Interval
    singles: list[float]  # of each run
    notes: list[str]
    examples_variance: float  # the part of the interval's variance that is the choice of test examples


def get_seeds(runs: AlignedRuns) -> list[tuple[int, ...]]:
    """What each run's chance comes from (:func:`get_seed`)."""
    return list_seeds(runs.cells)


def list_seeds(cells: Iterable[CellResult]) -> list[tuple[int, ...]]:
    """:func:`get_seeds` of runs that may not have ended."""
    return [get_seed(cell.condition, cell.pretrain_seed, cell.finetune_seed, cell.levels) for cell in cells]


def get_seed(condition: str, pretrain_seed: int, finetune_seed: int, levels: Mapping[str, int]) -> tuple[int, ...]:
    """The pretraining seed, or its level of the factor that is varied, or of each crossed one; for a released checkpoint,
    each fine-tuning by itself.
    """
    if len(levels) > 1:
        return Levels(levels.values())
    number = next(iter(levels.values()), pretrain_seed)
    return number, finetune_seed if find_condition(condition).is_released else 0


def _choose_metric(name: str, *sides: AlignedRuns) -> Any:
    """The metric, or for a correlation with a constant model its version that scores such a model 0.

    A model that says the same of every example has no correlation. Leaving its run out would flatter the procedure.
    """
    counted = METRICS[name].compute_or_zero
    if counted is None:
        return name
    most_frequent = [np.unique(run, return_counts=True)[1].max() for side in sides for run in side.predictions]
    return counted if len(sides[0].ids) - max(most_frequent) < FEW_DISTINCT else name


def compute_score(runs: AlignedRuns, metric: str, study: StudyConfig) -> Score:
    """The procedure's score, over seeds and test examples. Raises UserError where it is undefined."""
    result = _compare(runs, runs, metric, study)
    singles = [float(score) for score in result.base_run_scores]
    by_examples = compute_spread(result.samples.base)  # with t the replicates vary the examples alone
    return Score(to_interval(result.base), singles, _name_sides(result.notes, metric), by_examples)


def _name_sides(notes: Sequence[str], metric: str) -> list[str]:
    """The notes on a procedure compared with itself, each once; that it has one seed only is said for the whole report."""
    constant = "predict one value only"
    counted = f"{constant}: counted as a correlation of 0" if METRICS[metric].compute_or_zero else constant
    named = (note.replace(" of base", "").replace(" of expt", "") for note in notes)
    kept = [note for note in dict.fromkeys(named) if not note.startswith("one pretraining seed for ")]
    return [note.replace(constant, counted) for note in kept]


def compute_difference(base: AlignedRuns, expt: AlignedRuns, metric: str, study: StudyConfig) -> Difference:
    """expt - base, for independent pretrainings."""
    result = _compare(base, expt, metric, study)
    assert result.variance is not None
    seeds = (result.num_expt_seeds, result.num_base_seeds)
    is_conditional = any(find_condition(side.cells[0].condition).from_released for side in (base, expt))
    return Difference(to_interval(result.delta), result.p, seeds, result.variance, is_conditional)


class Paired(NamedTuple):
    """A weighted sum of procedures' scores, paired by seed."""

    difference: Difference
    scores: tuple[float, ...]  # of each procedure, by the seeds that all have


def compute_paired(
    sides: Sequence[AlignedRuns], weights: Sequence[float], metric: str, study: StudyConfig
) -> Paired | None:
    """Over the pretraining seeds that all sides have; None where there is none."""
    kept = list_shared_seeds(sides)
    if not kept:
        return None
    sides = [side.keep([cell.pretrain_seed in kept for cell in side.cells]) for side in sides]
    result = compute_contrast(
        [side.predictions for side in sides], [_list_pretrainings(side, study) for side in sides], weights, sides[0].labels,
        _choose_metric(metric, *sides), num_replicates=study.num_replicates, confidence=study.confidence,
        groups=sides[0].groups,
    )  # fmt: skip
    is_conditional = any(find_condition(side.cells[0].condition).from_released for side in sides)
    seeds = len(kept), len(kept)
    found = Difference(to_interval(result.contrast), result.p, seeds, result.variance, is_conditional)
    return Paired(found, result.scores)


def _list_pretrainings(runs: AlignedRuns, study: StudyConfig) -> list[Any]:
    """The pretraining of each run: its seed's number, or the levels of crossed factors that this stands for.

    Those of the study, also for a run that has not all of the factors: what is paired has one grid, and the runs of one
    initialisation are no independent seeds.
    """
    numbers = [cell.pretrain_seed for cell in runs.cells]
    if len(study.seed_factors or {}) < 2:
        return numbers
    levels = list_levels(study)
    return [Levels(levels[number].values()) for number in numbers]


def list_shared_seeds(sides: Iterable[AlignedRuns]) -> set[int]:
    """The pretraining seeds of which every side has a run."""
    return set.intersection(*({cell.pretrain_seed for cell in side.cells} for side in sides))


def _compare(base: AlignedRuns, expt: AlignedRuns, metric: str, study: StudyConfig) -> BootstrapResult:
    settings = _settle(metric, study, base=base, expt=expt)
    return multibootstrap((base.predictions, expt.predictions), base.labels, paired=False, **settings)


class Share(NamedTuple):
    """Benefit %: a procedure's share of the reference's gain."""

    interval: Interval | None  # None where that gain may be zero
    reason: str  # why there is none
    covariances: list[
        list[float]
    ]  # [3, 3] by the choice of test examples: of the baseline's score, its and the reference's


def compute_share(
    none: AlignedRuns, expt: AlignedRuns, reference: AlignedRuns, metric: str, study: StudyConfig
) -> Share:
    """Benefit %: expt's share of the reference's gain."""
    settings = _settle(metric, study, none=none, expt=expt, reference=reference)
    result = compute_benefit(none.predictions, expt.predictions, reference.predictions, none.labels, **settings)
    interval = None if result.benefit is None else to_interval(result.benefit)
    return Share(interval, result.reason, result.means.by_examples.tolist())


def _settle(metric: str, study: StudyConfig, **sides: AlignedRuns) -> dict[str, Any]:
    """The metric, the seeds and example ids of each side, their groups, and how intervals are made, as the statistics name
    them.
    """
    seeds = {f"{name}_seeds": get_seeds(side) for name, side in sides.items()}
    ids = {f"{name}_ids": side.ids for name, side in sides.items()}
    sampling = {"num_replicates": study.num_replicates, "confidence": study.confidence}
    groups = next(iter(sides.values())).groups
    return {"metric": _choose_metric(metric, *sides.values()), **seeds, **ids, **sampling, "groups": groups}


def correct(family: Iterable[Difference | None]) -> None:
    """Give each difference its Holm-corrected p; those of checkpoints only make no claim and do not count."""
    claims = [(found, found.p) for found in family if found is not None and found.p is not None]
    for (found, _), p_holm in zip(claims, compute_holm([p for _, p in claims]), strict=True):
        found.p_holm = float(p_holm)


def to_interval(estimate: Any) -> Interval:
    """Of an estimate of ``selfpretrain.stats``."""
    return Interval(estimate.point, estimate.low, estimate.high)
