"""The statistics of a report: each number from ``selfpretrain.stats``, in a form that can be stored as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from selfpretrain.runs.results import AlignedRuns, Array
from selfpretrain.stats import METRICS, BootstrapResult, Variance, compute_benefit, compute_holm, multibootstrap
from selfpretrain.study.conditions import find_condition

FEW_DISTINCT = 20  # examples off the most frequent output; with fewer, resamples with a constant output are common


@dataclass(frozen=True)
class Interval:
    """A number on all examples and seeds, and its interval."""

    point: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """One procedure minus another."""

    delta: Interval
    p: float | None  # two-sided; None: one seed on a side, so nothing is said of procedures
    num_seeds: tuple[int, int]  # pretraining seeds behind the first and the second
    variance: Variance  # of delta, by source: `expt` is the first's, `base` the second's
    is_conditional: bool = False  # a side is one released checkpoint, its fine-tunings the seeds
    p_holm: float | None = None  # Holm-corrected over its family; set by correct

    @property
    def is_of_checkpoints(self) -> bool:
        """Whether it holds for these checkpoints only."""
        return self.p is None

    def is_clear(self, alpha: float) -> bool:
        return self.p_holm is not None and self.p_holm < alpha


@dataclass(frozen=True)
class Sampling:
    """How intervals are made; named as the bootstrap names it."""

    num_replicates: int
    confidence: float
    seed: int = 0


def get_seeds(runs: AlignedRuns) -> list[tuple[int, int]]:
    """What each run's chance comes from: its pretraining seed; for a released checkpoint, each fine-tuning by itself."""
    return [
        (cell.pretrain_seed, cell.finetune_seed if find_condition(cell.condition).is_released else 0)
        for cell in runs.cells
    ]


def is_conditional(*sides: AlignedRuns) -> bool:
    return any(find_condition(side.cells[0].condition).is_released for side in sides)


def choose_metric(name: str, *sides: AlignedRuns) -> Any:
    """The metric, or for a correlation with a constant model its version that scores such a model 0.

    A model that says the same of every example has no correlation. Leaving its run out would flatter the procedure.
    """
    counted = METRICS[name].compute_or_zero
    if counted is not None and any(_is_nearly_constant(run) for side in sides for run in side.predictions):
        return counted
    return name


def _is_nearly_constant(outputs: Array) -> bool:
    _, counts = np.unique(outputs, return_counts=True)
    return bool(len(outputs) - counts.max() < FEW_DISTINCT)


def compute_score(runs: AlignedRuns, metric: str, sampling: Sampling) -> tuple[Interval, list[float], list[str]]:
    """The procedure's score with its interval, each run's score, and notes. Raises UserError where it is undefined."""
    result = _compare(runs, runs, metric, sampling)
    return (
        _to_interval(result.base),
        [float(score) for score in result.base_run_scores],
        _name_sides(result.notes, metric),
    )


def _name_sides(notes: Sequence[str], metric: str) -> list[str]:
    """The notes on a procedure compared with itself, each once; that it has one seed only is said for the whole report."""
    counted = (
        "predict one value only: counted as a correlation of 0"
        if METRICS[metric].compute_or_zero
        else "predict one value only"
    )
    named = (note.replace(" of base", "").replace(" of expt", "") for note in notes)
    kept = [note for note in dict.fromkeys(named) if not note.startswith("one pretraining seed for ")]
    return [note.replace("predict one value only", counted) for note in kept]


def compute_difference(base: AlignedRuns, expt: AlignedRuns, metric: str, sampling: Sampling) -> Difference:
    """expt - base, for independent pretrainings."""
    result = _compare(base, expt, metric, sampling)
    assert result.variance is not None
    return Difference(
        _to_interval(result.delta),
        result.p,
        (result.num_expt_seeds, result.num_base_seeds),
        result.variance,
        is_conditional(base, expt),
    )


def _compare(base: AlignedRuns, expt: AlignedRuns, metric: str, sampling: Sampling) -> BootstrapResult:
    return multibootstrap(
        (base.predictions, expt.predictions),
        base.labels,
        choose_metric(metric, base, expt),
        base_seeds=get_seeds(base),
        expt_seeds=get_seeds(expt),
        base_ids=base.ids,
        expt_ids=expt.ids,
        paired=False,
        **asdict(sampling),
    )


def compute_share(
    none: AlignedRuns, expt: AlignedRuns, reference: AlignedRuns, metric: str, sampling: Sampling
) -> tuple[Interval | None, str]:
    """Benefit %: expt's share of the reference's gain; None with the reason where that gain may be zero."""
    result = compute_benefit(
        none.predictions,
        expt.predictions,
        reference.predictions,
        none.labels,
        choose_metric(metric, none, expt, reference),
        none_seeds=get_seeds(none),
        expt_seeds=get_seeds(expt),
        reference_seeds=get_seeds(reference),
        none_ids=none.ids,
        expt_ids=expt.ids,
        reference_ids=reference.ids,
        **asdict(sampling),
    )
    return (None, result.reason) if result.benefit is None else (_to_interval(result.benefit), "")


def correct(family: list[Difference]) -> list[Difference]:
    """The differences with Holm-corrected p; those of checkpoints only make no claim and do not count."""
    claims = [difference.p for difference in family if difference.p is not None]
    corrected = iter(compute_holm(claims) if claims else ())
    return [
        difference if difference.p is None else dataclasses.replace(difference, p_holm=float(next(corrected)))
        for difference in family
    ]


def _to_interval(estimate: Any) -> Interval:
    return Interval(estimate.point, estimate.low, estimate.high)
