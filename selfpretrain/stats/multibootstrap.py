"""Compare two pretraining procedures over seeds and test examples (Sellam et al. 2022, arXiv 2106.16163)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from selfpretrain.config import UserError
from selfpretrain.stats.crossed import Levels
from selfpretrain.stats.inputs import (
    Procedure,
    check_comparison,
    check_paired,
    check_two_examples,
    choose_alternative,
    number_groups,
)
from selfpretrain.stats.metrics import METRICS
from selfpretrain.stats.resampling import Drawing, Replicates, compute_replicates, count_units, note_scope
from selfpretrain.stats.statistics import AnyArray, FloatArray, Metric
from selfpretrain.stats.variance import (
    ROUNDING,
    Estimate,
    Variance,
    are_several,
    average_seeds,
    compute_difference_variance,
    compute_percentile_estimate,
    compute_score_variance,
    compute_spread,
    compute_t_estimate,
    compute_t_p,
)


@dataclass(frozen=True)
class Samples:
    """The replicates, aligned: element i of each array comes from the same draw."""

    base: FloatArray
    expt: FloatArray
    delta: FloatArray


@dataclass(frozen=True)
class BootstrapResult:
    """What ``multibootstrap`` found.

    `scope` is "procedures", or "checkpoints" where a side has one seed: the numbers then hold for the models at hand,
    not for pretraining them again. `p` with percentiles is never below 1/replicates; `p_is_floor` says it is there.
    """

    base: Estimate
    expt: Estimate
    delta: Estimate  # expt - base
    p: float | None  # None with t if the scope is checkpoints: nothing can be said about procedures
    p_is_floor: bool  # never with t
    variance: Variance | None  # of delta; None with percentiles
    scope: str  # procedures | checkpoints
    method: str  # t | percentile
    alternative: str  # two-sided | greater | less
    metric: str
    paired: bool
    confidence: float
    num_base_seeds: int
    num_expt_seeds: int
    num_examples: int
    num_groups: int | None  # that the examples were drawn in; None: one by one
    num_replicates: int  # asked for
    num_dropped: int  # of these, left out because the metric is undefined in them
    base_run_scores: FloatArray  # [runs], on all examples
    expt_run_scores: FloatArray
    samples: Samples  # with t those of the examples alone
    notes: tuple[str, ...]  # what a reader must know before trusting the numbers

    def __str__(self) -> str:
        delta, sign = self.delta, "<=" if self.p_is_floor else "="
        interval = f"{self.confidence:.0%} interval {delta.low:+.4f} to {delta.high:+.4f}"
        p = "these checkpoints only" if self.p is None else f"p {sign} {self.p:.3g}"
        seeds = f"{self.num_base_seeds} and {self.num_expt_seeds} seeds"
        scores = f"{self.metric} {self.base.point:.4f} -> {self.expt.point:.4f}"
        return f"{scores}: {delta.point:+.4f} ({interval}, {p}; {seeds})"


def multibootstrap(
    predictions: tuple[Any, Any],
    labels: Any,
    metric: Metric,
    *,
    base_seeds: Sequence[Any] | AnyArray,
    expt_seeds: Sequence[Any] | AnyArray,
    paired: bool,
    method: str = "t",
    num_replicates: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
    resample_seeds: bool = True,
    resample_examples: bool = True,
    alternative: str | None = None,
    base_ids: Sequence[Any] | AnyArray | None = None,
    expt_ids: Sequence[Any] | AnyArray | None = None,
    groups: Sequence[Any] | AnyArray | None = None,
    draw_order: str = "fast",
) -> BootstrapResult:
    """Difference of two procedures, with its chance over pretraining seeds and test examples.

    Args:
        predictions: (base, expt), each [runs, examples]: class numbers for accuracy, macro_f1, f1 (of class 1)
            and mcc, values for pearson and spearman, [runs, examples, classes] scores for micro_auc.
        labels: [examples]; [examples, classes] of 0 and 1 for micro_auc. Rows of both sides follow their order.
        metric: a name in ``METRICS`` or a function (y_true, y_pred) -> float. A function is called once per run
            and replicate, which is slow; it must not depend on the order of the examples. NaN means undefined.
        base_seeds, expt_seeds: what varies from run to run: the pretraining seed, or, if the claim is about one
            released checkpoint, its fine-tunings. Runs of one seed are averaged within it. With one seed on a side
            nothing can be said about procedures: the interval is over examples only and p is None. Seeds of crossed
            factors are ``Levels``, e.g. Levels((initialisation, data order)), with method "t".
        paired: True if a seed stands for the same pretraining on both sides (continued pretraining, another
            fine-tuning): its two scores are then compared. False for independent pretrainings.
        method: "t" adds the variance by seeds to that by examples (``variance``); "percentile" is the published
            procedure, whose intervals are too narrow where few seeds make most of the doubt.
        num_replicates: 1000 in the paper, at least 200.
        seed: of the random draws.
        confidence: of the intervals.
        resample_seeds, resample_examples: False leaves that source of chance out. p is then over-confident, and
            None with t without the seeds.
        alternative: "greater" tests expt > base, "less" expt < base, "two-sided", with t only, both. By default
            two-sided with t, greater with percentiles.
        base_ids, expt_ids: example ids of the columns; refused unless they are the same in the same order.
        groups: [examples], equal where examples belong together and are no independent draws (the questions of one
            passage): whole groups are then drawn, and their number gives the degrees of freedom.
        draw_order: "reference" reproduces the published code's draws from RandomState(seed), seeds sorted.

    Returns:
        Estimates for base, expt and delta, p, the parts of delta's variance, and notes. Intervals of base and expt
        end where the metric does.

    A replicate can leave a metric undefined. Matthews correlation and F1 are 0 there (scikit-learn's convention);
    replicates in which a correlation, an AUC or a function's value is undefined are left out. Notes count both.

    Raises:
        UserError: a ValueError, for input that does not fit together, and for a metric that is undefined on all
            the examples of some run or in at least half of the replicates; with t also for a single example.
    """
    alternative = choose_alternative(method, alternative)
    if len(predictions) != 2:
        raise UserError(f"predictions holds {len(predictions)} arrays: give the pair (base, expt)")
    sides = {"base": (predictions[0], base_seeds, base_ids), "expt": (predictions[1], expt_seeds, expt_ids)}
    name, label_array, (base, expt) = check_comparison(sides, labels, metric, num_replicates, seed, confidence)
    if paired:
        check_paired(base, expt)
    numbered = number_groups(groups, len(label_array))
    drawing = Drawing(num_replicates, seed, paired, resample_seeds, resample_examples, draw_order, numbered)
    compare = _compare_by_t if method == "t" else _compare_by_percentiles
    replicates, found, own_note = compare([base, expt], label_array, metric, drawing, confidence, alternative)

    notes = [*replicates.notes, *note_scope([base, expt], method, resample_seeds, resample_examples), *own_note]
    if len(label_array) in (base.num_runs, expt.num_runs):
        notes.append("as many runs as examples: make sure that rows are runs, swapped axes cannot be seen here")
    base_samples, expt_samples = replicates.scores
    return BootstrapResult(
        **found,
        scope="procedures" if resample_seeds and min(base.num_levels, expt.num_levels) > 1 else "checkpoints",
        method=method,
        alternative=alternative,
        metric=name,
        paired=paired,
        confidence=confidence,
        num_base_seeds=base.num_seeds,
        num_expt_seeds=expt.num_seeds,
        num_examples=len(label_array),
        num_groups=None if numbered is None else count_units(len(label_array), numbered),
        num_replicates=num_replicates,
        num_dropped=num_replicates - len(base_samples),
        base_run_scores=replicates.run_scores[0],
        expt_run_scores=replicates.run_scores[1],
        samples=Samples(base_samples, expt_samples, expt_samples - base_samples),
        notes=tuple(notes),
    )


# the replicates; base, expt, delta, p, p_is_floor and variance of the result; and a note, if any
_Found = tuple[Replicates, dict[str, Any], list[str]]


def _compare_by_percentiles(
    procedures: list[Procedure], labels: AnyArray, metric: Metric, drawing: Drawing, confidence: float, alternative: str
) -> _Found:
    """The published procedure."""
    if any(isinstance(seed, Levels) for procedure in procedures for seed in procedure.seeds):
        raise UserError("seeds are levels of crossed factors: a percentile draws each by itself; use method='t'")
    replicates = compute_replicates(procedures, labels, metric, drawing)
    (base, expt), (base_point, expt_point) = replicates.scores, replicates.points
    sides = {"base": (base, base_point), "expt": (expt, expt_point), "delta": (expt - base, expt_point - base_point)}
    found = {name: compute_percentile_estimate(*side, confidence) for name, side in sides.items()}
    p, p_is_floor = compute_percentile_p(expt - base, alternative)
    floor = f"p is at its floor of 1/{len(base)}: no replicate went the other way, read it as at most"
    return replicates, {**found, "p": p, "p_is_floor": p_is_floor, "variance": None}, [floor] if p_is_floor else []


def _compare_by_t(
    procedures: list[Procedure], labels: AnyArray, metric: Metric, drawing: Drawing, confidence: float, alternative: str
) -> _Found:
    """Crossed variance: that of the seeds' scores, and that over replicates of the examples alone."""
    check_two_examples(len(labels))
    alone = replace(drawing, resample_seeds=False, resample_examples=True)
    replicates = compute_replicates(procedures, labels, metric, alone)
    if not drawing.resample_examples:
        kept = np.repeat(np.array(replicates.points)[:, None], replicates.scores.shape[1], axis=1)
        replicates = replace(replicates, scores=kept)
    base, expt = (
        average_seeds(scores, procedure)[: None if drawing.resample_seeds else 1]  # one seed: as if only it existed
        for scores, procedure in zip(replicates.run_scores, procedures, strict=True)
    )
    base_samples, expt_samples = replicates.scores
    by_examples = compute_spread(expt_samples - base_samples)
    num_units = count_units(len(labels), drawing.groups)
    variance = compute_difference_variance(base, expt, by_examples, drawing.shared_seeds, num_units)
    base_point, expt_point = replicates.points
    point = expt_point - base_point
    bounds = (METRICS[metric].low, METRICS[metric].high) if isinstance(metric, str) else None
    p = compute_t_p(point, variance, alternative) if are_several(base) and are_several(expt) else None
    base_variance = compute_score_variance(base, compute_spread(base_samples), num_units)
    expt_variance = compute_score_variance(expt, compute_spread(expt_samples), num_units)
    found = {
        "base": compute_t_estimate(base_point, base_variance, confidence, bounds),
        "expt": compute_t_estimate(expt_point, expt_variance, confidence, bounds),
        "delta": compute_t_estimate(point, variance, confidence),
        "p": p,
        "p_is_floor": False,
        "variance": variance,
    }
    sure = "no variation among seeds or examples: p = 0 and an interval without width are no certainty"
    return replicates, found, [sure] if variance.total == 0 and p == 0 else []


def compute_percentile_p(delta: FloatArray, alternative: str) -> tuple[float, bool]:
    """One-sided p: the share of replicates that do not go the claimed way, ties included; floored at 1/replicates."""
    against = delta <= ROUNDING if alternative == "greater" else delta >= -ROUNDING
    share = float(against.mean())
    return (share, False) if share > 0 else (1 / len(delta), True)
