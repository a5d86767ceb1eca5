"""The statistics of a report: each number from ``selfpretrain.stats``, in a form that can be stored as JSON."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from selfpretrain.stats import BootstrapResult, compute_benefit, compute_holm, multibootstrap
from selfpretrain.stats.multibootstrap import compute_percentile_p
from selfpretrain.study.results import AlignedRuns, Array
from selfpretrain.tasks.metrics import compute_metric

CORRELATIONS = ("pearson", "spearman")
FEW_DISTINCT = 20  # examples off the most frequent output; with fewer, resamples with a constant output are common
SHARED_CHECKPOINT = "offshelf"  # its runs are fine-tunings of one released pretraining, whatever their seed


@dataclass(frozen=True)
class Interval:
    """A number on all examples and seeds, and its percentile interval."""

    point: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """One procedure minus another."""

    delta: Interval
    p: float  # two-sided: twice the smaller one-sided share, at least 2 / replicates
    p_is_bound: bool  # p is at that floor
    num_seeds: tuple[int, int]  # pretraining seeds behind the first and the second
    p_holm: float = math.inf  # Holm-corrected over its table; set by correct

    def is_clear(self, alpha: float) -> bool:
        return self.p_holm < alpha


@dataclass(frozen=True)
class Sampling:
    """How intervals are drawn; named as the bootstrap names them."""

    num_replicates: int
    confidence: float
    seed: int = 0


def get_seeds(runs: AlignedRuns) -> list[int]:
    """The pretraining seed of each run; one for all that start from the same released checkpoint."""
    return [0 if cell.condition == SHARED_CHECKPOINT else cell.pretrain_seed for cell in runs.cells]


def choose_metric(name: str, *sides: AlignedRuns) -> Any:
    """The metric, or for a correlation with a constant model its version that scores such a model 0.

    A model that says the same of every example has no correlation. Leaving its run out would flatter the procedure.
    """
    if name in CORRELATIONS and any(_is_nearly_constant(run) for side in sides for run in side.predictions):
        return _correlate_pearson if name == "pearson" else _correlate_spearman
    return name


def _is_nearly_constant(outputs: Array) -> bool:
    _, counts = np.unique(outputs, return_counts=True)
    return bool(len(outputs) - counts.max() < FEW_DISTINCT)


def _correlate_pearson(labels: Array, outputs: Array) -> float:
    if np.ptp(labels) == 0:
        return math.nan
    return 0.0 if np.ptp(outputs) == 0 else float(np.corrcoef(labels, outputs)[0, 1])


def _correlate_spearman(labels: Array, outputs: Array) -> float:
    from scipy.stats import rankdata

    return _correlate_pearson(rankdata(labels), rankdata(outputs))


def _bootstrap(
    base: AlignedRuns, expt: AlignedRuns, metric: str, sampling: Sampling, **options: Any
) -> BootstrapResult:
    return multibootstrap(
        (base.predictions, expt.predictions),
        base.labels,
        choose_metric(metric, base, expt),
        base_seeds=get_seeds(base),
        expt_seeds=get_seeds(expt),
        base_ids=base.ids,
        expt_ids=expt.ids,
        **{"paired": False, "method": "percentile", **asdict(sampling), **options},
    )


def compute_score(runs: AlignedRuns, metric: str, sampling: Sampling) -> tuple[Interval, list[float]]:
    """The procedure's score with its interval, and each run's score. Raises UserError where the metric is undefined."""
    result = _bootstrap(runs, runs, metric, sampling, paired=True)
    return _to_interval(result.base), [float(score) for score in result.base_run_scores]


def compute_difference(base: AlignedRuns, expt: AlignedRuns, metric: str, sampling: Sampling) -> Difference:
    """expt - base, for independent pretrainings."""
    result = _bootstrap(base, expt, metric, sampling)
    greater = compute_percentile_p(result.samples.delta, "greater")
    less = compute_percentile_p(result.samples.delta, "less")
    p, is_floor = min(greater, less)
    num_seeds = (result.num_expt_seeds, result.num_base_seeds)
    return Difference(_to_interval(result.delta), min(1.0, 2 * p), is_floor, num_seeds)


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


def find_weakest_link(base: AlignedRuns, expt: AlignedRuns, metric: str, sampling: Sampling) -> str:
    """What widens the interval of expt - base most: "seeds" or "examples".

    Each is resampled alone. Resampling S seeds understates their variance by (S-1)/S, which is made up for here.
    """
    fewest = min(len(set(get_seeds(side))) for side in (base, expt))
    if fewest == 1:
        return "seeds"
    seeds_only = _bootstrap(base, expt, metric, sampling, resample_examples=False).delta
    examples_only = _bootstrap(base, expt, metric, sampling, resample_seeds=False).delta
    seed_width = (seeds_only.high - seeds_only.low) * math.sqrt(fewest / (fewest - 1))
    return "seeds" if seed_width >= examples_only.high - examples_only.low else "examples"


def correct(p_values: list[float]) -> list[float]:
    """Holm-corrected p-values of one table."""
    return [float(p) for p in compute_holm(p_values)] if p_values else []


def compute_blind_score(metric: str, labels: Array) -> tuple[float, str]:
    """What a model reaches that never looks at the text, and how."""
    shares = np.unique(labels, return_counts=True)[1] / len(labels) if labels.ndim == 1 else np.empty(0)
    if metric == "accuracy":
        return float(shares.max()), "always the most frequent class"
    if metric == "macro_f1":
        top = float(shares.max())
        always_top = 2 * top / (1 + top) / len(shares)
        return max(always_top, 1 / len(shares)), "guessing by the classes' frequencies"
    if metric == "f1":
        positive = float((labels == 1).mean())
        return 2 * positive / (1 + positive), "always class 1"
    if metric == "micro_auc" and labels.ndim == 2:
        frequencies = np.broadcast_to(labels.mean(axis=0), labels.shape)
        return compute_metric(metric, labels, frequencies), "the classes' frequencies alone"
    return (0.5 if metric == "micro_auc" else 0.0), "guessing"


def _to_interval(estimate: Any) -> Interval:
    return Interval(estimate.point, estimate.low, estimate.high)
