"""From bootstrap samples to statements: several tests at once, and equivalence instead of absence of evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from selfpretrain.config import UserError
from selfpretrain.stats.statistics import FloatArray


def compute_holm(p_values: Sequence[float]) -> FloatArray:
    """P-values adjusted for being several (Holm 1979), in the given order.

    Comparing each adjusted value with alpha keeps the chance of any false claim among them at most alpha, whatever
    the dependence of the tests. A p at its floor of 1/replicates stays a bound: take more replicates when
    len(p_values) / replicates is not far below alpha.

    Raises:
        UserError: for values outside 0 to 1, NaN included.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not np.all((p >= 0) & (p <= 1)):
        raise UserError(f"p_values={p_values!r}: a list of numbers from 0 to 1 is needed")
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


@dataclass(frozen=True)
class Equivalence:
    """Outcome of two one-sided tests. Not equivalent does not mean different."""

    equivalent: bool
    p: float  # the larger of the two one-sided p-values, at least 1/replicates
    low: float  # interval at confidence 1 - 2 alpha, the one that must lie inside the margin
    high: float
    margin: float
    alpha: float
    statement: str


def compute_equivalence(delta: FloatArray, margin: float, alpha: float = 0.05) -> Equivalence:
    """Two one-sided tests (Schuirmann 1987) on the replicates of a difference.

    Args:
        delta: [replicates] differences of scores, e.g. ``multibootstrap(...).samples.delta``.
        margin: the largest difference, in the metric's unit, that still counts as none. Fix it before looking.
        alpha: level of each of the two tests.

    Raises:
        UserError: for a margin that is not positive, alpha outside 0 to 0.5, or empty or non-finite delta.
    """
    delta = np.asarray(delta, dtype=np.float64)
    if delta.ndim != 1 or delta.size == 0 or not np.isfinite(delta).all():
        raise UserError("delta must be a list of finite numbers, one per replicate")
    if not (np.isfinite(margin) and margin > 0):
        raise UserError(f"margin={margin!r}: a positive difference in the metric's unit is needed, e.g. 0.01")
    if not 0 < alpha < 0.5:
        raise UserError(f"alpha={alpha!r}: a number between 0 and 0.5 is needed, e.g. 0.05")
    p = max(float(np.mean(delta <= -margin)), float(np.mean(delta >= margin)), 1 / len(delta))
    low, high = (float(end) for end in np.quantile(delta, [alpha, 1 - alpha]))
    equivalent = p < alpha
    interval = f"{1 - 2 * alpha:.0%} interval {low:+.4f} to {high:+.4f}"
    verdict = "equivalent" if equivalent else "not shown to be equivalent"
    statement = f"{verdict} within {margin:g} ({interval}, p = {p:.3g})"
    return Equivalence(equivalent, p, low, high, margin, alpha, statement)
