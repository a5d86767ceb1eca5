"""Power: the noncentral t where one part is all, simulated studies through the product's own test, and designs."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.special import nctdtr, stdtrit

from benchmarks import coverage
from benchmarks.simulation import World
from selfpretrain.config import UserError
from selfpretrain.stats.components import estimate_components
from selfpretrain.stats.power import (
    MOST_SEEDS,
    Chance,
    Contrast,
    Design,
    Expectation,
    Prices,
    _find_half_widths,
    compute_detectable,
    compute_power,
    count_needed_examples,
    expect_variance,
    find_cheapest,
    pool_chances,
)
from selfpretrain.stats.variance import Variance

CONTRAST = Contrast(Chance(0.01, 0.005, 0.1, 0.2), Chance(0.012, 0.004, 0.1, 0.2), 0.3)
PAIRED = Contrast(None, Chance(0.01, 0.004), 0.2)


@pytest.mark.parametrize(
    ("num_seeds", "num_examples", "doubt", "paired", "num_finetunings", "effect"),
    [(3, 150, "seeds", False, 1, 0.12), (4, 150, "examples", True, 1, 0.08), (5, 150, "seeds", False, 2, 0.06)],
)
def test_power_is_that_of_the_test(
    num_seeds: int, num_examples: int, doubt: str, paired: bool, num_finetunings: int, effect: float
) -> None:
    """Within 5 points of how often ``multibootstrap`` by t finds the difference; an error of .02 is the simulation's."""
    world = World(
        "accuracy", num_seeds, num_examples, paired, **coverage.DOUBTS[doubt], num_finetunings=num_finetunings
    )
    predicted, found = coverage.simulate_power(world, effect, 400, 200, coverage.make_generator("power", world))
    assert 0.3 < predicted < 0.95
    assert found == pytest.approx(predicted, abs=0.05)


@pytest.mark.parametrize("difference", [0.0, 0.01, 0.02, 0.03])
def test_one_part_alone_is_the_noncentral_t(difference: float) -> None:
    seeds_alone = expect_variance(Contrast(None, Chance(0.01), 0.0), Design(4, 1, 500))
    ratio, quantile = difference / 0.005, -stdtrit(3, 0.025)
    expected = 1 - nctdtr(3, ratio, quantile) + nctdtr(3, ratio, -quantile)
    assert compute_power(seeds_alone, difference) == pytest.approx(expected, abs=0.003)


def test_many_seeds_are_the_normal_distribution() -> None:
    expected = expect_variance(Contrast(Chance(0.01), Chance(0.01), 0.2), Design(1000, 1, 10_000))
    from scipy.stats import norm

    ratio = 0.006 / math.sqrt(2 * 1e-4 / 1000 + 0.04 / 10_000)
    assert compute_power(expected, 0.006) == pytest.approx(norm.cdf(ratio - 1.96) + norm.cdf(-ratio - 1.96), abs=0.005)


@pytest.mark.parametrize("contrast", [CONTRAST, PAIRED])
def test_half_widths_are_those_of_the_variance(contrast: Contrast, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the expected parts themselves: one rule."""
    expected = expect_variance(contrast, Design(3, 2, 400))
    monkeypatch.setattr("selfpretrain.stats.power._spread_out", lambda df: np.ones(1))
    for num_claims in (1, 6):
        half = expected.variance.compute_half_width(1 - 0.05 / num_claims)
        assert _find_half_widths(expected, 0.05, num_claims) == pytest.approx([half], rel=1e-6)


def test_the_parts_of_a_difference_by_hand() -> None:
    found = expect_variance(CONTRAST, Design(4, 2, 100))
    interaction = (0.1**2 + 0.2**2 / 2) / 100
    base, expt = (0.01**2 + 0.005**2 / 2 + interaction) / 4, (0.012**2 + 0.004**2 / 2 + interaction) / 4
    assert found.variance.parts == pytest.approx((base, expt, 0.09 / 100 + 2 * interaction / 4))
    assert found.truth == pytest.approx(base + expt + 0.09 / 100)
    assert found.variance.sizes == (4, 4, 100)
    assert expect_variance(PAIRED, Design(4, 2, 100)).variance.sizes == (1, 4, 100)


@pytest.mark.parametrize(("contrast", "num_claims"), [(CONTRAST, 1), (PAIRED, 1), (CONTRAST, 6)])
@pytest.mark.parametrize("power", [0.5, 0.8, 0.95])
def test_the_detectable_difference_inverts_power(contrast: Contrast, num_claims: int, power: float) -> None:
    expected = expect_variance(contrast, Design(3, 1, 1000))
    difference = compute_detectable(expected, power, num_claims=num_claims)
    assert compute_power(expected, difference, num_claims=num_claims) == pytest.approx(power, abs=1e-6)
    assert compute_power(expected, 0.9 * difference, num_claims=num_claims) < power


def test_holm_asks_for_more() -> None:
    expected = expect_variance(CONTRAST, Design(5, 1, 1000))
    assert compute_detectable(expected, num_claims=12) > 1.2 * compute_detectable(expected)


def test_no_variance() -> None:
    nothing = Expectation(Variance(0.0, 0.0, 0.0, (3, 3, 100)), 0.0)
    assert compute_detectable(nothing) == 0.0
    assert (compute_power(nothing, 0.0), compute_power(nothing, 0.01)) == (0.0, 1.0)


@pytest.mark.parametrize("prices", [Prices(10, 1), Prices(1, 1), Prices(1, 30)])
@pytest.mark.parametrize(("difference", "power"), [(0.02, 0.8), (0.03, 0.9)])
def test_the_cheapest_design_by_brute_force(
    prices: Prices, difference: float, power: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selfpretrain.stats.power.MOST_SEEDS", 60)
    designs = [Design(*sizes, 2000) for sizes in itertools.product(range(2, 61), range(1, 4))]
    enough = [d for d in designs if compute_power(expect_variance(CONTRAST, d), difference) >= power]
    cheapest = min(enough, key=lambda design: (prices.add_up(design, 2000), design.seeds))
    assert find_cheapest([(CONTRAST, 2000)], difference, power, prices, most_finetunings=3) == cheapest


def test_further_examples_are_bought_where_they_are_cheap() -> None:
    cheap, dear = (find_cheapest([(CONTRAST, 500)], 0.02, 0.8, Prices(10, 1, each)) for each in (0.01, 10))
    assert cheap is not None and (dear is None or dear.examples < cheap.examples)
    assert cheap.examples > 500
    assert compute_power(expect_variance(CONTRAST, cheap), 0.02) >= 0.8
    assert Prices(10, 1, 0.5).add_up(Design(3, 2, 510), 500) == 3 * 12 + 5
    assert Prices(10, 1).add_up(Design(3, 2, 400), 500) == 3 * 12


def test_every_claim_must_be_found() -> None:
    hard = Contrast(Chance(0.02), Chance(0.02), 0.3)
    both = find_cheapest([(CONTRAST, 5000), (hard, 8000)], 0.03, 0.8, Prices(1, 1))
    assert both == Design(find_cheapest([(hard, 8000)], 0.03, 0.8, Prices(1, 1)).seeds, 1, 5000)


def test_where_the_examples_are_too_few() -> None:
    assert find_cheapest([(CONTRAST, 500)], 0.005, 0.8, Prices(1, 1)) is None
    most = Design(MOST_SEEDS, 10, 500)
    needed = count_needed_examples(CONTRAST, most, 0.005, 0.8)
    assert needed is not None
    for factor, is_enough in ((1.0, True), (0.97, False)):
        design = Design(MOST_SEEDS, 10, int(needed * factor))
        assert (compute_power(expect_variance(CONTRAST, design), 0.005) >= 0.8) == is_enough
    assert count_needed_examples(CONTRAST, Design(2, 1, 500), 1e-4, 0.8) is None


def test_a_side_like_several() -> None:
    """Variances are averaged before any counts as 0."""
    low, high = ([[0.0, 2.0], [0.0, 2.0]], [[0.0, 0.0], [4.0, 4.0]])
    found = pool_chances([estimate_components(np.array(scores), ["seed"]) for scores in (low, high)])
    assert found.seeds == pytest.approx(math.sqrt((-1 + 8) / 2)) and found.finetuning == pytest.approx(1.0)


@pytest.mark.parametrize("sizes", [(1, 1, 100), (3, 0, 100), (3, 1, 1)])
def test_designs_that_tell_nothing_are_refused(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(UserError, match="at least 2 seeds, 1 fine-tuning, 2 examples"):
        Design(*sizes)


def test_a_power_that_chance_alone_has_is_refused() -> None:
    with pytest.raises(UserError, match=r"between alpha=0\.05 and 1"):
        compute_detectable(expect_variance(CONTRAST, Design(3, 1, 100)), 0.04)
