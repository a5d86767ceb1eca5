"""Which comparisons a study makes seed by seed."""

from __future__ import annotations

import pytest

from selfpretrain.config import UserError
from selfpretrain.study.pairs import list_comparisons

CONDITIONS = ["none", "own", "muon:own", "bookwiki", "muon:bookwiki", "half+muon:own", "offshelf"]


def test_procedures_against_their_text_then_pairs_then_interactions():
    found = list_comparisons([["own", "bookwiki"]], CONDITIONS)
    assert [each.name for each in found] == [
        "muon:own - own", "muon:bookwiki - bookwiki", "half+muon:own - own", "own - bookwiki", "muon on own - muon on bookwiki",
    ]  # fmt: skip
    assert found[-1].conditions == ("muon:own", "own", "muon:bookwiki", "bookwiki")
    assert [each.is_interaction for each in found] == [False] * 4 + [True]


def test_what_lacks_a_side_is_not_compared_by_itself():
    assert list_comparisons([], ["none", "muon:own", "muon:bookwiki", "bookwiki"])[0].name == "muon:bookwiki - bookwiki"
    assert len(list_comparisons([], ["none", "muon:own", "muon:bookwiki", "bookwiki"])) == 1
    assert list_comparisons([], ["none", "own", "bookwiki"]) == []


def test_pretrainings_that_others_released_are_paired_by_the_number_of_their_seed():
    names = ["released:2m", "released:1m"]
    assert [each.conditions for each in list_comparisons([names], names)] == [("released:2m", "released:1m")]
    assert len(list_comparisons([names], names, {"init": 3})) == 1
    with pytest.raises(UserError, match=r"has released:2m, whose seeds are numbers, and study\.seed_factors=.* levels"):
        list_comparisons([names], names, {"init": 3, "data": 2})


def test_a_pair_given_the_other_way_round_stays_so():
    found = list_comparisons([["own", "muon:own"]], ["own", "muon:own"])
    assert [each.conditions for each in found] == [("own", "muon:own")]


@pytest.mark.parametrize(("pairs", "said"), [
    (["own"], r"study\.pairs has 'own'; allowed: \[\[<condition>, <another condition>\], \.\.\.\]"),
    ([["own"]], r"study\.pairs has \['own'\]"),
    ([["own", "own"]], r"study\.pairs has \['own', 'own'\]"),
    ([["own", 3]], r"study\.pairs has \['own', 3\]"),
    ([["own", "half:own"]], "study.pairs has 'half:own', which is not among study.conditions="),
    ([["own", "offshelf"]], "study.pairs has offshelf, which is one pretraining whatever the seed"),
    ([["own", "none"], ["none", "own"]], "study.pairs compares none and own twice"),
])  # fmt: skip
def test_what_cannot_be_compared_is_one_line(pairs, said):
    with pytest.raises(UserError, match=said) as refusal:
        list_comparisons(pairs, CONDITIONS)
    assert "\n" not in str(refusal.value)
