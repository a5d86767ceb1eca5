"""How large a difference a study can find, and how many seeds, fine-tunings and test examples it takes.

The test is that of ``multibootstrap`` by t (``variance``). Over studies the difference is normal, and the parts of the
variance that the test estimates are their expectations times a chi-square over its degrees of freedom, independent of
it. Power is the chance that the difference exceeds the half-width that the estimated parts give, averaged over
them: where one part is all there is, the noncentral t distribution. With few seeds the degrees of freedom are estimated
as well, and a noncentral t with their expectation would promise tens of points too much at 2 or 3 seeds a side.

What a run and an example do together stands in two parts, that of the seeds and that of the examples, and is in the
difference once: the test is more careful than it need be, and its power is counted as it is.
"""

from __future__ import annotations

import functools
import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from selfpretrain.config import UserError
from selfpretrain.stats.components import EXAMPLES, FINETUNING, Components, RunValues, average_runs, sum_interactions
from selfpretrain.stats.statistics import FloatArray
from selfpretrain.stats.variance import Variance

POWER = 0.8  # the usual one
MOST_SEEDS, MOST_FINETUNINGS = 100, 10  # designs that are looked at
_NUM_NODES = 32  # of each estimated variance: power is right to .002
_HALVINGS = 50  # of the bracket of a difference: down to rounding
_FACTORS = np.geomspace(1, 1000, 701)[1:]  # times the present examples


@dataclass(frozen=True)
class Chance:
    """Standard deviations of the scores of one side, by source, in the metric's unit."""

    seeds: float  # of a score by the pretraining seed
    finetuning: float = 0.0  # of a fine-tuning's score around its pretraining's
    seeds_x_examples: float = 0.0  # of one example's value by the pretraining seed, beyond what both do alone
    finetuning_x_examples: float = 0.0  # the same of a fine-tuning


@dataclass(frozen=True)
class Contrast:
    """What a difference of two procedures varies by."""

    base: Chance | None  # None where seeds are paired: ``expt`` is then that of the differences seed by seed
    expt: Chance
    examples: float  # sd of one example's difference between the two, each the mean of endlessly many runs


@dataclass(frozen=True)
class Design:
    """The size of a comparison."""

    seeds: int  # pretraining seeds of each side
    finetunings: int  # of each seed
    examples: int  # test examples

    def __post_init__(self) -> None:
        if self.seeds < 2 or self.finetunings < 1 or self.examples < 2:
            raise UserError(
                f"{self} tells nothing of procedures: at least 2 seeds, 1 fine-tuning, 2 examples are needed"
            )


@dataclass(frozen=True)
class Expectation:
    """What a test of a difference will see."""

    variance: Variance  # its parts as the test estimates them, in expectation
    truth: float  # the variance that the difference has


@dataclass(frozen=True)
class Prices:
    """Of what a design takes, in any one unit."""

    pretraining: float  # of one seed, all sides together
    finetuning: float  # of one fine-tuning of one seed, likewise
    example: float = math.inf  # of a test example more than there are; infinite: none can be had

    def add_up(self, design: Design, num_examples: int) -> float:
        more = design.examples - num_examples
        further = more * self.example if more > 0 else 0.0
        return design.seeds * (self.pretraining + design.finetunings * self.finetuning) + further


def pool_chances(several: Sequence[Components]) -> Chance:
    """The chance of a side that is like these procedures in the mean, by variance; all kinds of pretraining's together.

    Where each pretraining has one fine-tuning, its part is in that of the seeds.
    """

    def average(is_meant: Callable[[str], bool]) -> float:
        estimates = [sum(part.estimate for part in each.parts if is_meant(part.source)) for each in several]
        return math.sqrt(max(0.0, sum(estimates) / len(estimates)))

    ends = f" x {EXAMPLES}"
    return Chance(
        average(lambda source: source not in (FINETUNING, EXAMPLES) and not source.endswith(ends)),
        average(lambda source: source == FINETUNING),
        average(lambda source: source.endswith(ends) and source != FINETUNING + ends),
        average(lambda source: source == FINETUNING + ends),
    )


def estimate_example_difference(sides: Sequence[tuple[RunValues, Components]]) -> float:
    """The variance over examples of the difference of two procedures, each the mean of endlessly many runs.

    Both sides are on the same examples or draws of them. It is what the means of these runs differ by, without what runs
    and examples do together, and may come out negative.
    """
    base, expt = (average_runs(runs) for runs, _ in sides)
    return float(np.var(expt - base, ddof=1)) - sum(sum_interactions(*side) for side in sides)


def expect_variance(contrast: Contrast, design: Design) -> Expectation:
    """The variance of the difference in such a study, and that which the test will estimate."""
    seeds, finetunings, examples = design.seeds, design.finetunings, design.examples
    parts, together = [], 0.0
    for side in (contrast.base, contrast.expt):
        if side is None:
            parts.append(0.0)
            continue
        interaction = (side.seeds_x_examples**2 + side.finetuning_x_examples**2 / finetunings) / examples
        parts.append((side.seeds**2 + side.finetuning**2 / finetunings + interaction) / seeds)
        together += interaction / seeds
    by_examples = contrast.examples**2 / examples
    sizes = (1 if contrast.base is None else seeds, seeds, examples)
    base, expt = parts
    return Expectation(Variance(base, expt, by_examples + together, sizes), base + expt + by_examples)


def compute_power(expected: Expectation, difference: float, alpha: float = 0.05, num_claims: int = 1) -> float:
    """The chance that a difference of this size is found: two-sided p below alpha.

    With ``num_claims`` tests in a family it is Holm's worst case, where none of the others is clear: below alpha over
    their number.
    """
    return _compute_power(_find_half_widths(expected, alpha, num_claims), expected.truth, difference)


def compute_detectable(expected: Expectation, power: float = POWER, alpha: float = 0.05, num_claims: int = 1) -> float:
    """The smallest difference that is found with this chance, in the metric's unit; infinite where none is."""
    if not alpha < power < 1:
        raise UserError(f"power={power!r}: a number between alpha={alpha:g} and 1 is needed, e.g. {POWER}")
    halves, scale = _find_half_widths(expected, alpha, num_claims), math.sqrt(expected.truth)
    if scale == 0:
        return 0.0
    low, high = 0.0, float(halves.max()) + 10 * scale
    if not math.isfinite(high):
        return math.inf
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if _compute_power(halves, expected.truth, middle) >= power else (middle, high)
    return high


def find_cheapest(
    claims: Sequence[tuple[Contrast, int]],
    difference: float,
    power: float,
    prices: Prices,
    *,
    alpha: float = 0.05,
    num_claims: int = 1,
    most_finetunings: int = MOST_FINETUNINGS,
) -> Design | None:
    """The cheapest seeds x fine-tunings x test examples that find a difference of this size with this chance in each claim.

    Args:
        claims: contrasts, each with the number of test examples that there are, which are free; more are looked at in steps
            of two fifths.
        most_finetunings: 1 where nothing is known of what fine-tuning adds.

    Returns:
        the design, of equally cheap ones that with the fewest seeds; its examples are those of the first claim, the others'
        as many times theirs. None where not even ``MOST_SEEDS`` seeds are enough.
    """
    first = claims[0][1]
    factors = [1.0, *(_FACTORS[34::35] if math.isfinite(prices.example) else [])]
    found: list[Design] = []
    for finetunings, factor in product(range(1, most_finetunings + 1), factors):

        def is_enough(seeds: int, finetunings: int = finetunings, factor: float = factor) -> bool:
            designs = ((one, Design(seeds, finetunings, math.ceil(number * factor))) for one, number in claims)
            expected = (expect_variance(contrast, design) for contrast, design in designs)
            return all(compute_power(each, difference, alpha, num_claims) >= power for each in expected)

        least = prices.add_up(Design(2, finetunings, math.ceil(first * factor)), first)
        if found and least > min(prices.add_up(design, first) for design in found):
            continue
        # power rises with the seeds, so that the fewest that are enough are found by halving
        seeds = 2 + bisect_left(range(2, MOST_SEEDS + 1), True, key=is_enough)
        if seeds <= MOST_SEEDS:
            found.append(Design(seeds, finetunings, math.ceil(first * factor)))
    return min(found, key=lambda design: (prices.add_up(design, first), design.seeds), default=None)


def count_needed_examples(
    contrast: Contrast, design: Design, difference: float, power: float, *, alpha: float = 0.05, num_claims: int = 1
) -> int | None:
    """Test examples with which such a design finds the difference; None where a thousand times as many do not."""

    def raise_examples(factor: float) -> Design:
        return replace(design, examples=math.ceil(design.examples * factor))

    def is_enough(factor: float) -> bool:
        expected = expect_variance(contrast, raise_examples(factor))
        return compute_power(expected, difference, alpha, num_claims) >= power

    place = bisect_left(_FACTORS, True, key=is_enough)
    return raise_examples(_FACTORS[place]).examples if place < len(_FACTORS) else None


def _compute_power(halves: FloatArray, truth: float, difference: float) -> float:
    """Averaged over the half-widths that the test may have, [nodes]."""
    from scipy.special import ndtr

    if truth == 0:
        return float(abs(difference) > 0)
    scale = math.sqrt(truth)
    return float(np.mean(ndtr((difference - halves) / scale) + ndtr((-difference - halves) / scale)))


def _find_half_widths(expected: Expectation, alpha: float, num_claims: int) -> FloatArray:
    """Half-widths of the interval whose edge decides, for equally likely estimates of the parts, [nodes]."""
    from scipy.special import stdtrit

    variance, tail = expected.variance, alpha / num_claims / 2
    base, expt, examples = (
        part * _spread_out(size - 1) for part, size in zip(variance.parts, variance.sizes, strict=True)
    )
    if min(variance.sizes[:2]) > 1:
        # the examples are many: their part is as good as known
        parts = np.broadcast_arrays(base[:, None], expt[None], variance.examples)
        total = parts[0] + parts[1] + parts[2]
        spread = sum(part**2 / (size - 1) for part, size in zip(parts, variance.sizes, strict=True))
        df = np.divide(total**2, spread, out=np.full(total.shape, 1e9), where=spread > 0)
        return np.asarray(-stdtrit(df, tail) * np.sqrt(total)).ravel()
    quantiles = [stdtrit(max(size - 1, 1), tail) ** 2 for size in variance.sizes[1:]]
    return np.asarray(np.sqrt(quantiles[0] * expt[:, None] + quantiles[1] * examples[None])).ravel()


@functools.cache
def _spread_out(df: float) -> FloatArray:
    """Equally likely values of a chi-square over its degrees of freedom, [nodes]; of none, 1."""
    from scipy.special import gammaincinv

    if df < 1:
        return np.ones(1)
    shares = (np.arange(_NUM_NODES) + 0.5) / _NUM_NODES
    return np.asarray(2 * gammaincinv(df / 2, shares) / df)
