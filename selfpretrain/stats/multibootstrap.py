"""Compare two pretraining procedures over seeds and test examples (Sellam et al. 2022, arXiv 2106.16163)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from selfpretrain.config import UserError
from selfpretrain.stats.inputs import (
    check_ids,
    check_labels,
    check_metric,
    check_paired,
    check_procedure,
    check_settings,
)
from selfpretrain.stats.resampling import Drawing, compute_replicates
from selfpretrain.stats.statistics import AnyArray, FloatArray, Metric

_ROUNDING = 1e-12  # a difference this small is a tie; without it p would hang on the order of summation


@dataclass(frozen=True)
class Estimate:
    """A score, or a difference of scores."""

    mean: float  # over the replicates
    low: float  # ends of the percentile interval
    high: float
    point: float  # plug-in: all seeds and examples, each once


@dataclass(frozen=True)
class Samples:
    """The replicates, aligned: element i of each array comes from the same draw."""

    base: FloatArray
    expt: FloatArray
    delta: FloatArray


@dataclass(frozen=True)
class BootstrapResult:
    """What ``multibootstrap`` found. `p` is one-sided and never below 1/replicates; `p_is_floor` says it is there."""

    base: Estimate
    expt: Estimate
    delta: Estimate  # expt - base
    p: float
    p_is_floor: bool
    alternative: str  # greater | less
    metric: str
    paired: bool
    confidence: float
    num_base_seeds: int
    num_expt_seeds: int
    num_base_runs: int
    num_expt_runs: int
    num_examples: int
    num_replicates: int  # asked for
    num_dropped: int  # of these, left out because the metric is undefined in them
    base_run_scores: FloatArray  # [runs], on all examples
    expt_run_scores: FloatArray
    samples: Samples
    notes: tuple[str, ...]  # what a reader must know before trusting the numbers

    def __str__(self) -> str:
        delta, sign = self.delta, "<=" if self.p_is_floor else "="
        interval = f"{self.confidence:.0%} interval {delta.low:+.4f} to {delta.high:+.4f}"
        seeds = f"{self.num_base_seeds} and {self.num_expt_seeds} seeds"
        scores = f"{self.metric} {self.base.point:.4f} -> {self.expt.point:.4f}"
        return f"{scores}: {delta.point:+.4f} ({interval}, p {sign} {self.p:.3g}; {seeds})"


def multibootstrap(
    predictions: tuple[Any, Any],
    labels: Any,
    metric: Metric,
    *,
    base_seeds: Sequence[Any] | AnyArray,
    expt_seeds: Sequence[Any] | AnyArray,
    paired: bool,
    num_replicates: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
    resample_seeds: bool = True,
    resample_examples: bool = True,
    alternative: str = "greater",
    base_ids: Sequence[Any] | AnyArray | None = None,
    expt_ids: Sequence[Any] | AnyArray | None = None,
    draw_order: str = "fast",
) -> BootstrapResult:
    """Multi-Bootstrap over pretraining seeds and test examples.

    Args:
        predictions: (base, expt), each [runs, examples]: class numbers for accuracy, macro_f1, f1 (of class 1)
            and mcc, values for pearson and spearman, [runs, examples, classes] scores for micro_auc.
        labels: [examples]; [examples, classes] of 0 and 1 for micro_auc. Rows of both sides follow their order.
        metric: a name in ``METRICS`` or a function (y_true, y_pred) -> float. A function is called once per run
            and replicate, which is slow; it must not depend on the order of the examples. NaN means undefined.
        base_seeds, expt_seeds: the pretraining seed of each run. Runs of one seed are fine-tunings of it: they are
            averaged within the seed and not resampled.
        paired: True if a seed stands for the same pretraining on both sides (continued pretraining, another
            fine-tuning): both sides then use one draw of seeds. False for independent pretrainings.
        num_replicates: 1000 in the paper.
        seed: of the random draws.
        confidence: of the percentile intervals.
        resample_seeds, resample_examples: False keeps each once. p is then over-confident.
        alternative: "greater" tests expt > base, p = share of delta <= 0; "less" tests expt < base.
        base_ids, expt_ids: example ids of the columns; refused unless they are the same in the same order.
        draw_order: "reference" reproduces the published code's draws from RandomState(seed), seeds sorted.

    Returns:
        Estimates for base, expt and delta, p, and notes.

    A replicate can leave a metric undefined. Matthews correlation and F1 are 0 there (scikit-learn's convention);
    replicates in which a correlation, an AUC or a function's value is undefined are left out. Notes count both.

    Raises:
        UserError: a ValueError, for input that does not fit together, and for a metric that is undefined on all
            the examples of some run or in at least half of the replicates.
    """
    name = check_metric(metric)
    check_settings(num_replicates, seed, confidence)
    if alternative not in ("greater", "less"):
        raise UserError(f"alternative={alternative!r} is unknown: allowed are 'greater' and 'less'")
    if len(predictions) != 2:
        raise UserError(f"predictions holds {len(predictions)} arrays: give the pair (base, expt)")
    label_array = check_labels(labels, metric)
    base = check_procedure("base", predictions[0], base_seeds, label_array, metric)
    expt = check_procedure("expt", predictions[1], expt_seeds, label_array, metric)
    check_ids([("base", base_ids), ("expt", expt_ids)], len(label_array))
    if paired:
        check_paired(base, expt)
    drawing = Drawing(num_replicates, seed, paired, resample_seeds, resample_examples, draw_order)
    replicates = compute_replicates([base, expt], label_array, metric, drawing)

    base_samples, expt_samples = replicates.scores
    delta_samples = expt_samples - base_samples
    p, p_is_floor = compute_p(delta_samples, alternative)
    notes = list(replicates.notes)
    if p_is_floor:
        notes.append(
            f"p is at its floor of 1/{len(delta_samples)}: no replicate went the other way, read it as at most"
        )
    if len(label_array) in (base.num_runs, expt.num_runs):
        notes.append("as many runs as examples: make sure that rows are runs, swapped axes cannot be seen here")
    base_point, expt_point = replicates.points
    return BootstrapResult(
        base=compute_estimate(base_samples, base_point, confidence),
        expt=compute_estimate(expt_samples, expt_point, confidence),
        delta=compute_estimate(delta_samples, expt_point - base_point, confidence),
        p=p,
        p_is_floor=p_is_floor,
        alternative=alternative,
        metric=name,
        paired=paired,
        confidence=confidence,
        num_base_seeds=base.num_seeds,
        num_expt_seeds=expt.num_seeds,
        num_base_runs=base.num_runs,
        num_expt_runs=expt.num_runs,
        num_examples=len(label_array),
        num_replicates=num_replicates,
        num_dropped=num_replicates - len(delta_samples),
        base_run_scores=replicates.run_scores[0],
        expt_run_scores=replicates.run_scores[1],
        samples=Samples(base_samples, expt_samples, delta_samples),
        notes=tuple(notes),
    )


def compute_estimate(samples: FloatArray, point: float, confidence: float) -> Estimate:
    """Mean and percentile interval of the replicates."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(samples, [tail, 1 - tail])
    return Estimate(float(samples.mean()), float(low), float(high), float(point))


def compute_p(delta: FloatArray, alternative: str) -> tuple[float, bool]:
    """One-sided p: the share of replicates that do not go the claimed way, ties included; floored at 1/replicates."""
    against = delta <= _ROUNDING if alternative == "greater" else delta >= -_ROUNDING
    share = float(against.mean())
    return (share, False) if share > 0 else (1 / len(delta), True)
