"""SQuAD's scores of an answer, by hand from the rules of the official script, and as metrics of many."""

from __future__ import annotations

import numpy as np
import pytest

from selfpretrain.stats import METRICS, multibootstrap
from selfpretrain.stats.answers import normalise_answer, score_answer
from selfpretrain.stats.metrics import build_scorer
from selfpretrain.tasks.scores import compute_metric

CASES = {  # given, accepted, exact match, F1
    "the same": ("Denver Broncos", ["Denver Broncos"], 1, 1),
    "case": ("DENVER broncos", ["Denver Broncos"], 1, 1),
    "an article before": ("the Denver Broncos", ["Denver Broncos"], 1, 1),
    "articles within": ("a cat and an owl", ["cat and the owl"], 1, 1),
    "an article is a whole word": ("theory", ["ory"], 0, 0),
    "an article is found after the punctuation is gone": ("t.h.e cat", ["cat"], 1, 1),
    "and one that a hyphen joins is none": ("a-ok", ["ok"], 0, 0),
    "ASCII punctuation": ("U.S.A.!", ["USA"], 1, 1),
    "punctuation joins words": ("well-known", ["well known"], 0, 0),
    "other dashes stay": ("24\u201310", ["24-10"], 0, 0),
    "curly quotes stay": ("\u201cgolden\u201d", ["golden"], 0, 0),
    "a currency sign that is ASCII goes": ("$5", ["5"], 1, 1),
    "one that is not stays": ("\u20ac5", ["5"], 0, 0),
    "white space within": ("Levi's\u00a0 \n Stadium", ["Levis Stadium"], 1, 1),
    "white space at the ends": ("  gold \t", ["gold"], 1, 1),
    "accents count": ("cafe", ["caf\u00e9"], 0, 0),
    "composition counts": ("cafe\u0301", ["caf\u00e9"], 0, 0),
    "case of other alphabets": ("\u00c9COLE", ["\u00e9cole"], 1, 1),
    "one accepted answer is enough": ("gold", ["the golden anniversary", "gold"], 1, 1),
    "the best F1 need not be of one that is first": ("Santa Clara", ["California", "Santa Clara, California"], 0, 0.8),
    "too long": ("at Levi's Stadium in Santa Clara", ["Levi's Stadium"], 0, 0.5),
    "too short": ("Bowl", ["Super Bowl L"], 0, 0.5),
    "no word in common": ("Carolina", ["Denver"], 0, 0),
    "a word counts as often as it stands": ("no no no", ["no"], 0, 0.5),
    "on both sides": ("ha ha yes", ["ha ha"], 0, 0.8),
    "order makes no difference to F1": ("Broncos Denver", ["Denver Broncos"], 0, 1),
    "an empty answer": ("", ["gold"], 0, 0),
    "nothing but an article": ("the", ["gold"], 0, 0),
    "nothing left of both": ("the", ["a"], 1, 0),
    "nothing left of an accepted one": ("!", ["...", "gold"], 1, 0),
    "an article between digits": ("1 a 2", ["1 2"], 1, 1),
    "accepted twice": ("gold", ["gold", "gold"], 1, 1),
}


@pytest.mark.parametrize("name", CASES)
def test_an_answer_is_scored_as_the_official_script_does(name):
    given, accepted, exact, f1 = CASES[name]
    assert score_answer(given, accepted) == (exact, pytest.approx(f1, rel=1e-15))


def test_what_is_left_of_an_answer():
    assert normalise_answer(" The  Cat's\tan A\u00d1O, (a.k.a. \u201cit\u201d) ") == "cats a\u00f1o aka \u201cit\u201d"


@pytest.fixture(scope="module")
def sums():
    """[runs, examples, 2]: the answers above, and two other orders of them."""
    one = np.array([score_answer(given, accepted) for given, accepted, _, _ in CASES.values()], np.float32)
    return np.stack([one, np.roll(one, 5, axis=0), one * (np.arange(len(one)) % 3 > 0)[:, None]])


@pytest.mark.parametrize(("metric", "column"), [("exact_match", 0), ("answer_f1", 1)])
def test_the_score_of_all_is_the_mean_of_what_each_adds(sums, metric, column):
    perfect = np.ones_like(sums[0])
    expected = [run[:, column].astype(float).mean() for run in sums]
    assert [compute_metric(metric, perfect, run) for run in sums] == pytest.approx(expected, rel=1e-14)
    if metric == "exact_match":
        assert expected[0] == np.mean([case[2] for case in CASES.values()])
    scorer = build_scorer(metric, perfect, sums)
    once = np.ones((1, len(CASES)), np.int32)
    np.testing.assert_allclose(scorer(once, np.ones((1, 3), bool))[0], expected, rtol=1e-14)
    counts = np.random.default_rng(0).multinomial(len(CASES), np.full(len(CASES), 1 / len(CASES)), size=4)
    written_out = [np.repeat(np.arange(len(CASES)), row) for row in counts]
    by_hand = [[run[rows, column].astype(float).mean() for run in sums] for rows in written_out]
    np.testing.assert_allclose(scorer(counts, np.ones((4, 3), bool)), by_hand, rtol=1e-14)


def test_intervals_are_those_of_a_mean(sums):
    perfect, sides = np.ones_like(sums[0]), (sums[::-1], sums)
    found = multibootstrap(sides, perfect, "answer_f1", base_seeds=[0, 1, 2], expt_seeds=[0, 1, 2], paired=True)
    alone = tuple(side[..., 1].astype(float) for side in sides)
    given = multibootstrap(
        alone, perfect[:, 1], lambda labels, values: float(values.mean()), base_seeds=[0, 1, 2], expt_seeds=[0, 1, 2],
        paired=True,
    )  # fmt: skip
    assert (found.delta.point, found.delta.low, found.delta.high) == pytest.approx(
        (given.delta.point, given.delta.low, given.delta.high), abs=1e-6
    )


def test_nothing_is_gained_without_reading():
    assert METRICS["exact_match"].compute_blind(np.ones((3, 2))) == (0.0, "an empty answer")
