"""Benefit %: which share of the reference pretraining's gain another procedure reaches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from selfpretrain.stats.inputs import check_ids, check_labels, check_metric, check_procedure, check_settings
from selfpretrain.stats.multibootstrap import Estimate, compute_estimate
from selfpretrain.stats.resampling import Drawing, compute_replicates
from selfpretrain.stats.statistics import AnyArray, FloatArray, Metric


@dataclass(frozen=True)
class BenefitResult:
    """100 x (expt - none) / (reference - none), in percent; 100 is the reference's gain, more is possible.

    `benefit` is None where the reference's gain is not clearly above zero: a ratio to it then says nothing, and
    `reason` says so. The gains themselves are always given.
    """

    benefit: Estimate | None
    reason: str  # empty if benefit is given
    gain: Estimate  # expt - none
    reference_gain: Estimate  # reference - none
    metric: str
    confidence: float
    num_seeds: tuple[int, int, int]  # none, expt, reference
    num_examples: int
    num_replicates: int
    num_dropped: int
    samples: FloatArray  # benefit of each replicate, percent; empty where benefit is None
    notes: tuple[str, ...]

    def __str__(self) -> str:
        if self.benefit is None:
            return f"Benefit undefined: {self.reason}"
        low, high = self.benefit.low, self.benefit.high
        return f"Benefit {self.benefit.point:.0f} % ({self.confidence:.0%} interval {low:.0f} to {high:.0f})"


def compute_benefit(
    none: Any,
    expt: Any,
    reference: Any,
    labels: Any,
    metric: Metric,
    *,
    none_seeds: Sequence[Any] | AnyArray,
    expt_seeds: Sequence[Any] | AnyArray,
    reference_seeds: Sequence[Any] | AnyArray,
    none_ids: Sequence[Any] | AnyArray | None = None,
    expt_ids: Sequence[Any] | AnyArray | None = None,
    reference_ids: Sequence[Any] | AnyArray | None = None,
    num_replicates: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> BenefitResult:
    """Benefit % with an interval from joint resampling: seeds per procedure, the same examples for all three.

    Args:
        none, expt, reference: predictions [runs, examples] (or [runs, examples, classes]) without pretraining, of
            the procedure in question, and of the one whose gain is 100 %.
        The rest is as in ``multibootstrap``; the three sets of pretrainings count as independent.

    Returns:
        BenefitResult; its `benefit` is None, with the reason, unless the interval of the reference's gain lies above
        zero. The interval is that of the ratio's percentiles.

    Raises:
        UserError: as ``multibootstrap``.
    """
    name = check_metric(metric)
    check_settings(num_replicates, seed, confidence)
    label_array = check_labels(labels, metric)
    procedures = [
        check_procedure("none", none, none_seeds, label_array, metric),
        check_procedure("expt", expt, expt_seeds, label_array, metric),
        check_procedure("reference", reference, reference_seeds, label_array, metric),
    ]
    check_ids([("none", none_ids), ("expt", expt_ids), ("reference", reference_ids)], len(label_array))
    replicates = compute_replicates(procedures, label_array, metric, Drawing(num_replicates, seed, shared_seeds=False))

    none_point, expt_point, reference_point = replicates.points
    gains = replicates.scores[1] - replicates.scores[0]
    reference_gains = replicates.scores[2] - replicates.scores[0]
    gain = compute_estimate(gains, expt_point - none_point, confidence)
    reference_gain = compute_estimate(reference_gains, reference_point - none_point, confidence)
    notes = list(replicates.notes)
    reason = _explain_undefined(reference_gain, confidence)
    benefit: Estimate | None = None
    samples: FloatArray = np.empty(0)
    if not reason:
        kept = reference_gains > 0
        if not kept.all():
            notes.append(f"{int((~kept).sum())} replicates without a reference gain left out of the Benefit")
        samples = 100 * gains[kept] / reference_gains[kept]
        benefit = compute_estimate(samples, 100 * gain.point / reference_gain.point, confidence)
    return BenefitResult(
        benefit=benefit,
        reason=reason,
        gain=gain,
        reference_gain=reference_gain,
        metric=name,
        confidence=confidence,
        num_seeds=(procedures[0].num_seeds, procedures[1].num_seeds, procedures[2].num_seeds),
        num_examples=len(label_array),
        num_replicates=num_replicates,
        num_dropped=num_replicates - len(gains),
        samples=samples,
        notes=tuple(notes),
    )


def _explain_undefined(reference_gain: Estimate, confidence: float) -> str:
    if reference_gain.low > 0 and reference_gain.point > 0:
        return ""
    interval = f"{confidence:.0%} interval {reference_gain.low:+.4f} to {reference_gain.high:+.4f}"
    if reference_gain.high < 0:
        return f"the reference scores below no pretraining (gain {reference_gain.point:+.4f}, {interval})"
    return f"the reference's own gain may be zero (gain {reference_gain.point:+.4f}, {interval})"
