"""One procedure against another over many tasks: on how many it is better, and what chance would give.

The tasks are the sample: what is said is of tasks drawn like these, each counting once, however large its difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from selfpretrain.config import UserError
from selfpretrain.stats.statistics import FloatArray
from selfpretrain.stats.variance import Estimate


def compute_benjamini_hochberg(p_values: Sequence[float]) -> FloatArray:
    """P-values adjusted so that of the claims below alpha a share of at most alpha is expected to be false, in the given
    order [Benjamini and Hochberg 1995]; the tests independent, or depending positively.

    Raises UserError for values outside 0 to 1, NaN included.
    """
    from scipy.stats import false_discovery_control

    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not np.all((p >= 0) & (p <= 1)):
        raise UserError(f"p_values={p_values!r}: a list of numbers from 0 to 1 is needed")
    return np.asarray(false_discovery_control(p) if len(p) else p)


@dataclass(frozen=True)
class Tally:
    """Of N differences, one for each task."""

    higher: int
    lower: int  # the others are equal
    share: Estimate  # higher of those that differ, with Clopper and Pearson's interval
    p_sign: float  # two-sided; 1 where none differ
    p_wilcoxon: float  # of the signed ranks, by the differences' sizes; likewise


def count_signs(differences: Sequence[float], confidence: float = 0.95) -> Tally:
    """Sign test and Wilcoxon's signed-rank test [Demsar 2006, over data sets], equal ones left out.

    Raises UserError without differences, and for one that is no finite number.
    """
    from scipy.stats import binomtest, wilcoxon

    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not np.all(np.isfinite(values)):
        raise UserError(f"differences={differences!r}: a list of finite numbers is needed")
    higher, lower = int((values > 0).sum()), int((values < 0).sum())
    if not higher + lower:
        return Tally(0, 0, _make_estimate(0.5, 0.0, 1.0), 1.0, 1.0)
    test = binomtest(higher, higher + lower)
    low, high = test.proportion_ci(confidence)
    share = _make_estimate(float(test.statistic), float(low), float(high))
    # rounded: differences that are equal but for their last bits share a rank
    p_wilcoxon = wilcoxon(np.round(values, 12), zero_method="wilcox").pvalue
    return Tally(higher, lower, share, float(test.pvalue), float(p_wilcoxon))


def compute_improvement(sides: Sequence[tuple[Sequence[float], Sequence[float]]], confidence: float = 0.95) -> Estimate:
    """The probability that a run of the first beats one of the second, ties counting half, mean over tasks [Agarwal et al.
    2021]; ``sides`` has the scores of the runs of both, task by task.

    The interval is t's over tasks, cut to 0 to 1; of tasks that agree exactly it is Clopper and Pearson's, as of tasks won and
    lost, since no spread is no proof; of one task there is none (0 to 1). Raises UserError without tasks or
    runs, and for a score that is no finite number.
    """
    from scipy.stats import binomtest, t

    by_task = []
    for first, second in sides:
        a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
        if not len(a) or not len(b) or not np.all(np.isfinite(a)) or not np.all(np.isfinite(b)):
            raise UserError("every task needs finite scores of both sides: leave out those that have none")
        by_task.append(float(((a[:, None] > b) + 0.5 * (a[:, None] == b)).mean()))
    if not by_task:
        raise UserError("no task has scores of both sides: give a task that both were scored on")
    mean, count = float(np.mean(by_task)), len(by_task)
    if count < 2:
        return _make_estimate(mean, 0.0, 1.0)
    if max(by_task) == min(by_task):
        low, high = binomtest(round(mean * count), count).proportion_ci(confidence)
        return _make_estimate(mean, float(low), float(high))
    half = float(t.ppf((1 + confidence) / 2, count - 1) * np.std(by_task, ddof=1) / count**0.5)
    return _make_estimate(mean, mean - half, mean + half)


def _make_estimate(share: float, low: float, high: float) -> Estimate:
    return Estimate(share, max(0.0, low), min(1.0, high), share)
