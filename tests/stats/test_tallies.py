"""Over tasks: signs, ranks and chances that can be counted by hand, and what cannot be counted."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from selfpretrain.config import UserError
from selfpretrain.stats.tallies import compute_benjamini_hochberg, compute_improvement, count_signs


def test_signs_are_counted_and_tested_by_the_binomial():
    tally = count_signs([0.1] * 7 + [-0.1] * 3 + [0.0] * 2)
    assert (tally.higher, tally.lower, tally.share.point) == (7, 3, 0.7)
    by_hand = 2 * sum(math.comb(10, k) for k in range(7, 11)) / 2**10
    assert tally.p_sign == pytest.approx(by_hand)
    # Clopper and Pearson's 95 % for 7 of 10, as printed in tables
    assert (tally.share.low, tally.share.high) == (pytest.approx(0.3475, abs=1e-4), pytest.approx(0.9333, abs=1e-4))


def test_ranks_are_tested_by_all_their_signs():
    differences = [0.05, -0.01, 0.03, 0.08, 0.02, 0.04]
    ranks = np.argsort(np.argsort(np.abs(differences))) + 1
    observed = ranks[np.array(differences) > 0].sum()
    sums = np.array([sum(ranks[list(chosen)]) for n in range(7) for chosen in itertools.combinations(range(6), n)])
    by_hand = min(1.0, 2 * min((sums >= observed).mean(), (sums <= observed).mean()))
    assert count_signs(differences).p_wilcoxon == pytest.approx(by_hand)
    assert count_signs([0.2, 0.1, 0.3, 0.4, 0.5]).p_wilcoxon == pytest.approx(2 / 2**5)


def test_equal_ones_say_nothing():
    tally = count_signs([0.0, 0.0])
    assert (tally.higher, tally.lower, tally.p_sign, tally.p_wilcoxon) == (0, 0, 1.0, 1.0)
    assert (tally.share.low, tally.share.high) == (0.0, 1.0)


@pytest.mark.parametrize("differences", [[], [0.1, math.nan], [0.1, math.inf]])
def test_what_is_no_difference_is_refused(differences):
    with pytest.raises(UserError, match="a list of finite numbers is needed"):
        count_signs(differences)


def test_false_discoveries_are_stepped_up():
    # Benjamini and Hochberg 1995, section 3.2: of these fifteen, the four smallest are discovered at .05
    p = [.0001, .0004, .0019, .0095, .0201, .0278, .0298, .0344, .0459, .3240, .4262, .5719, .6528, .7590, 1.0]  # fmt: skip
    adjusted = compute_benjamini_hochberg(p)
    assert (adjusted < 0.05).sum() == 4
    assert adjusted[0] == pytest.approx(0.0001 * 15) and adjusted[3] == pytest.approx(0.0095 * 15 / 4)
    shuffled = [p[i] for i in (14, 3, 0)]
    assert compute_benjamini_hochberg(shuffled).tolist() == pytest.approx([1.0, 0.0095 * 3 / 2, 0.0003])
    assert compute_benjamini_hochberg([]).tolist() == []
    with pytest.raises(UserError, match="from 0 to 1"):
        compute_benjamini_hochberg([0.5, math.nan])


def test_a_run_beats_another_as_often_as_their_pairs_say():
    sides = [([1.0, 2.0], [0.0, 1.0]), ([1.0], [2.0, 1.0])]
    found = compute_improvement(sides)
    assert found.point == pytest.approx((3.5 / 4 + 0.5 / 2) / 2)
    assert 0.0 <= found.low < found.point < found.high <= 1.0
    assert compute_improvement(sides[:1]).low == 0.0
    always = compute_improvement([([2.0], [1.0])] * 6)  # which five more tasks need not bear out
    assert (always.point, always.low, always.high) == (1.0, pytest.approx(0.025 ** (1 / 6)), 1.0)
    for wrong in ([], [([], [1.0])], [([math.nan], [1.0])]):
        with pytest.raises(UserError):
            compute_improvement(wrong)


def test_the_interval_of_an_improvement_covers_tasks_drawn_alike():
    chance = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        shifts = chance.normal(0.3, 0.4, 8)
        sides = [(chance.normal(shift, 1, 6).tolist(), chance.normal(0, 1, 6).tolist()) for shift in shifts]
        found = compute_improvement(sides)
        truth = 0.5 * (1 + math.erf(0.3 / math.sqrt(2 + 0.4**2) / math.sqrt(2)))
        covered += found.low <= truth <= found.high
    assert 0.9 < covered / 300 <= 1
