"""From estimates to statements: several tests at once, superiority, non-inferiority and equivalence by t, and what may be
said of a difference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from selfpretrain.config import UserError
from selfpretrain.stats.multibootstrap import BootstrapResult
from selfpretrain.stats.statistics import FloatArray
from selfpretrain.stats.variance import Estimate, Variance, compute_t_estimate, compute_t_p

MOST_SEEDS = 1000  # per side, up to which a decision by more seeds is looked for
# a comparison by t, or (point, standard error, degrees of freedom), or (point, Variance)
Compared = BootstrapResult | tuple[float, float, float] | tuple[float, Variance]
_FACTORS = np.geomspace(1, 1000, 701)[1:]  # times the present examples, likewise: in steps of 1 %


def compute_holm(p_values: Sequence[float]) -> FloatArray:
    """P-values adjusted for being several (Holm 1979), in the given order.

    Comparing each adjusted value with alpha keeps the chance of any false claim among them at most alpha, whatever
    the dependence of the tests.

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
    p: float  # the larger of the two one-sided p-values
    low: float  # interval at confidence 1 - 2 alpha, the one that must lie inside the margin
    high: float
    margin: float
    alpha: float
    statement: str


def compute_equivalence(difference: Compared, margin: float, alpha: float = 0.05) -> Equivalence:
    """Two one-sided tests (Schuirmann 1987) of a difference, by t.

    Args:
        difference: what ``multibootstrap`` gave with method "t", or (point, standard error, degrees of freedom), or
            (point, Variance).
        margin: the largest difference, in the metric's unit, that still counts as none. Fix it before looking.
        alpha: level of each of the two tests.

    Raises:
        UserError: for a margin that is not positive, alpha outside 0 to 0.5, or a difference without these numbers.
    """
    check_margin(margin)
    _check_alpha(alpha)
    point, variance = _unpack(difference)
    half = variance.compute_half_width(1 - 2 * alpha)
    low, high = point - half, point + half
    inside = margin - abs(point)  # the nearer end decides
    p = variance.compute_tail(inside) if variance.total > 0 else float(inside <= 0)
    verdict = "equivalent" if p < alpha else "not shown to be equivalent"
    interval = f"{1 - 2 * alpha:.0%} interval {low:+.4f} to {high:+.4f}"
    statement = f"{verdict} within {margin:g} ({interval}, p = {p:.3g}{_name_scope(difference)})"
    return Equivalence(p < alpha, p, low, high, margin, alpha, statement)


@dataclass(frozen=True)
class OneSided:
    """Outcome of one test that a difference lies above a bound. Not shown does not mean that it lies below."""

    shown: bool
    p: float  # one-sided
    low: float  # lower end of the one-sided interval at confidence 1 - alpha, which must lie above the bound
    bound: float  # 0 for superiority, -margin for non-inferiority
    alpha: float
    statement: str


def compute_superiority(difference: Compared, alpha: float = 0.05) -> OneSided:
    """One-sided test by t that expt is better than base.

    Args and errors as in ``compute_equivalence``.
    """
    return _test_above(difference, 0.0, alpha, "better")


def compute_noninferiority(difference: Compared, margin: float, alpha: float = 0.05) -> OneSided:
    """One-sided test by t that expt is not worse than base by the margin or more.

    Args:
        margin: the loss, in the metric's unit, that no longer counts as none. Fix it before looking.
        The rest, and errors, as in ``compute_equivalence``.
    """
    check_margin(margin)
    return _test_above(difference, -margin, alpha, f"not worse by {margin:g}")


def _test_above(difference: Compared, bound: float, alpha: float, claim: str) -> OneSided:
    _check_alpha(alpha)
    point, variance = _unpack(difference)
    low = point - variance.compute_half_width(1 - 2 * alpha)
    p = compute_t_p(point - bound, variance, "greater")
    verdict = claim if p < alpha else f"not shown to be {claim}"
    interval = f"at least {low:+.4f} with confidence {1 - alpha:.0%}"
    return OneSided(p < alpha, p, low, bound, alpha, f"{verdict} ({interval}, p = {p:.3g}{_name_scope(difference)})")


def _name_scope(difference: Compared) -> str:
    conditional = isinstance(difference, BootstrapResult) and difference.scope == "checkpoints"
    return ", these checkpoints only" if conditional else ""


def _check_alpha(alpha: float) -> None:
    if not 0 < alpha < 0.5:
        raise UserError(f"alpha={alpha!r}: a number between 0 and 0.5 is needed, e.g. 0.05")


def check_margin(margin: float) -> None:
    if not (np.isfinite(margin) and margin > 0):
        raise UserError(f"margin={margin!r}: a positive difference in the metric's unit is needed, e.g. 0.01")


def _unpack(difference: Compared) -> tuple[float, Variance]:
    if not isinstance(difference, BootstrapResult):
        if len(difference) == 2:
            return difference
        point, standard_error, df = difference
        if not (math.isfinite(point) and 0 <= standard_error < math.inf and df > 0):
            wanted = "(point, standard error, degrees of freedom) are a number, one of at least 0, a positive one"
            raise UserError(f"difference={difference!r}: {wanted}")
        return point, Variance(0.0, 0.0, standard_error**2, (1, 1, df + 1))
    if difference.variance is None:
        raise UserError("difference was compared by percentiles, which give no standard error: use method='t'")
    return difference.delta.point, difference.variance


@dataclass(frozen=True)
class Decision:
    """What may be said of expt - base, and by which rule."""

    outcome: str  # better | not worse | worse | undecided | checkpoints only
    rule: str  # the rule in words, with its margin
    margin: float
    clear: bool  # p < alpha
    needed_seeds: int | None = None  # per side, if undecided: so many would decide it
    needed_examples: int | None = None  # where seeds alone would not: examples; with needed_seeds: both together


def decide(
    delta: Estimate, variance: Variance, p: float | None, *, margin: float, alpha: float, num_claims: int = 1
) -> Decision:
    """The first of these that holds: better, not worse by more than the margin, worse, undecided.

    Args:
        delta: expt - base; `low` must be the end of its interval at confidence 1 - alpha.
        variance: of delta, whose `sizes` say how many seeds and examples there are.
        p: two-sided, corrected for the number of claims; None if nothing can be said about procedures. Then the
            outcome is "checkpoints only", whatever the numbers.
        margin: the largest loss that does not count, in the metric's unit. Fix it before looking.
        num_claims: in whose number p is corrected; how many seeds are needed is counted with alpha / num_claims.

    What is needed supposes that point and variances stay as they are, each falling with the number of its kind.

    Raises:
        UserError: for a margin that is not positive.
    """
    check_margin(margin)
    clear = p is not None and p < alpha
    outcome = "checkpoints only" if p is None else _judge(delta.point, delta.low, clear, margin)
    rule = _RULES[outcome].format(alpha=alpha, margin=margin)
    undecided = outcome == "undecided"
    needed = _find_needed(delta.point, variance, margin, alpha, num_claims) if undecided else (None, None)
    return Decision(outcome, rule, margin, clear, *needed)


_RULES = {
    "better": "clear: corrected p < {alpha:g}, and above 0",
    "not worse": "non-inferiority: the interval's lower end is at least -{margin:g}",
    "worse": "clear: corrected p < {alpha:g}, and below 0",
    "undecided": "not clear (corrected p >= {alpha:g}), and the interval's lower end is below -{margin:g}",
    "checkpoints only": (
        "one pretraining seed on a side: nothing follows for pretraining again, at least 2 a side are needed"
    ),
}


def _judge(point: float, low: float, clear: bool, margin: float) -> str:
    if clear and point > 0:
        return "better"
    if low >= -margin:
        return "not worse"
    return "worse" if clear else "undecided"


def _find_needed(
    point: float, variance: Variance, margin: float, alpha: float, num_claims: int
) -> tuple[int | None, int | None]:
    """Seeds per side that would decide it; else examples that would; else both, raised by one factor."""
    base, expt, now = variance.sizes
    fewest = min(size for size in (base, expt) if size > 1)

    def is_decided(seeds: float, examples: float) -> bool:
        """With at least so many seeds on each side that varies, and so many examples."""
        sizes = (max(base, seeds) if base > 1 else base, max(expt, seeds), examples)
        parts = zip(variance.parts, variance.sizes, sizes, strict=True)
        by_base, by_expt, by_examples = (part * old / new for part, old, new in parts)
        raised = Variance(by_base, by_expt, by_examples, sizes)
        low = compute_t_estimate(point, raised, 1 - alpha).low
        clear = compute_t_p(point, raised, "two-sided") * num_claims < alpha
        return _judge(point, low, clear, margin) != "undecided"

    for seeds in range(int(fewest) + 1, MOST_SEEDS + 1):
        if is_decided(seeds, now):
            return seeds, None
    for factor in _FACTORS:
        if is_decided(0, examples := math.ceil(now * factor)):
            return None, examples
    for factor in _FACTORS:
        if is_decided(seeds := math.ceil(fewest * factor), examples := math.ceil(now * factor)):
            return seeds, examples
    return None, None
