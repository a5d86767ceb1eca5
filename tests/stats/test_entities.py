"""Entities of tagged sentences: what seqeval 1.2.2 gave for the same tags, broken ones too."""

from __future__ import annotations

import numpy as np
import pytest

from selfpretrain.stats.entities import SCHEMES, count_sums, find_entities, find_scheme, list_foreign
from selfpretrain.stats.metrics import METRICS

# seqeval.metrics.sequence_labeling.get_entities: type, first and last word; a type that is not there is "_"
ENTITIES = [
    ("B-PER I-PER O B-LOC", "PER:0-1 LOC:3-3"),
    ("I-PER I-PER O I-LOC", "PER:0-1 LOC:3-3"),
    ("I-PER B-PER I-PER", "PER:0-0 PER:1-2"),
    ("B-PER I-LOC", "PER:0-0 LOC:1-1"),
    ("B-PER I-LOC I-PER", "PER:0-0 LOC:1-1 PER:2-2"),
    ("B-PER I-PER I-LOC I-LOC", "PER:0-1 LOC:2-3"),
    ("O I-PER O", "PER:1-1"),
    ("I-PER", "PER:0-0"),
    ("B-PER B-PER", "PER:0-0 PER:1-1"),
    ("B-PER B-LOC I-LOC", "PER:0-0 LOC:1-2"),
    ("B-PER O I-PER", "PER:0-0 PER:2-2"),
    ("I-PER I-LOC I-PER", "PER:0-0 LOC:1-1 PER:2-2"),
    ("B-PER I-PER B-LOC I-PER", "PER:0-1 LOC:2-2 PER:3-3"),
    ("B-PER E-PER S-LOC", "PER:0-1 LOC:2-2"),
    ("E-PER", "PER:0-0"),
    ("E-PER E-PER", "PER:0-0 PER:1-1"),
    ("O E-PER I-PER", "PER:1-1 PER:2-2"),
    ("B-PER I-LOC E-PER", "PER:0-0 LOC:1-1 PER:2-2"),
    ("S-PER S-PER", "PER:0-0 PER:1-1"),
    ("S-PER I-PER", "PER:0-0 PER:1-1"),
    ("S-PER E-PER", "PER:0-0 PER:1-1"),
    ("B-PER S-PER I-PER", "PER:0-0 PER:1-1 PER:2-2"),
    ("I-PER E-PER I-PER E-PER", "PER:0-1 PER:2-3"),
    ("B-PER I-PER", "PER:0-1"),
    ("I-PER S-LOC B-LOC", "PER:0-0 LOC:1-1 LOC:2-2"),
    ("O O O", ""),
    ("B I O I", "_:0-1 _:3-3"),
    ("B-work-of-art I-work-of-art I-work", "work-of-art:0-1 work:2-2"),
]
# seqeval.metrics.f1_score (mode None, zero_division as 0); | stands between sentences
SCORES = [
    ("B-PER I-PER O", "B-PER I-PER O", 1),
    ("B-PER I-PER O", "I-PER I-PER O", 1),
    ("B-PER I-PER O", "B-PER O O", 0),
    ("B-PER I-PER I-PER", "B-PER I-PER O", 0),
    ("B-PER I-PER", "B-PER B-PER", 0),
    ("B-PER B-PER", "B-PER I-PER", 0),
    ("B-PER I-PER", "B-LOC I-LOC", 0),
    ("B-PER I-PER", "B-PER I-LOC", 0),
    ("O O", "O O", 0),
    ("O O", "B-PER O", 0),
    ("B-PER O", "O O", 0),
    ("B-PER O B-PER", "B-PER O B-LOC", 1 / 2),
    ("B-PER I-PER O B-LOC | O B-LOC", "B-PER I-PER O O | B-LOC B-LOC", 2 / 3),
    ("I-PER I-PER B-PER", "B-PER I-PER B-PER", 1),
    ("B-PER I-PER | I-PER O", "B-PER I-PER | B-PER O", 1),
    ("B-PER E-PER S-LOC", "B-PER I-PER B-LOC", 1),
    ("B-PER I-PER E-PER", "B-PER E-PER E-PER", 0),
    ("O | B-LOC", "O | I-LOC", 1),
    ("B-PER | B-PER", "B-PER | O", 2 / 3),
    ("B-LOC I-LOC I-LOC I-LOC", "B-LOC I-LOC B-LOC I-LOC", 0),
]


def spell(tags: str, scheme: str = "iobes") -> str:
    found = find_entities(tags.split(), scheme)
    return " ".join(f"{kind or '_'}:{start}-{end - 1}" for kind, start, end in found)


@pytest.mark.parametrize(("tags", "entities"), ENTITIES)
def test_entities_are_those_of_seqeval(tags, entities):
    assert spell(tags) == entities


@pytest.mark.parametrize(("tags", "predicted", "score"), SCORES)
def test_scores_are_those_of_seqeval(tags, predicted, score):
    sums = count_sums(tags.split(" | "), predicted.split(" | "), "iobes")
    perfect = count_sums(tags.split(" | "), tags.split(" | "), "iobes")
    assert METRICS["entity_f1"].compute(perfect, sums) == pytest.approx(score, abs=1e-12)


def test_last_and_unit_are_end_and_single():
    assert spell("B-PER L-PER U-LOC O I-PER L-PER U-PER", "bilou") == spell("B-PER E-PER S-LOC O I-PER E-PER S-PER")


def test_plain_tags_last_as_long_as_they_stay_the_same():
    assert spell("PER PER LOC O LOC LOC PER", "plain") == "PER:0-1 LOC:2-2 LOC:4-5 PER:6-6"
    assert spell("B-PER I-PER", "plain") == "B-PER:0-0 I-PER:1-1"


def test_sums_by_hand():
    sums = count_sums(["B-PER O O", "O B-LOC"], ["B-PER B-LOC O", "O O"], "iob")
    # found, predicted, there; words right, tagged O, all
    assert sums.tolist() == [[1, 2, 1, 2, 2, 3], [0, 0, 1, 1, 1, 2]]
    assert count_sums([], [], "iob").shape == (0, 6)
    perfect = count_sums(["B-PER O O", "O B-LOC"], ["B-PER O O", "O B-LOC"], "iob")
    np.testing.assert_array_equal(perfect, [[1, 1, 1, 3, 2, 3], [1, 1, 1, 2, 1, 2]])


@pytest.mark.parametrize(("tags", "scheme"), [
    ("O B-PER I-PER", "iob"), ("O I-PER", "iob"), ("O B I", "iob"), ("O B-PER I-PER E-PER S-PER", "iobes"), ("O I-PER E-PER", "iobes"),
    ("O B-PER L-PER U-LOC", "bilou"), ("PER LOC O", "plain"), ("NOUN VERB X", "plain"), ("O", "plain"), ("PER ORG-X", "plain"), ("B C D", "plain"),
    ("O B-PER LOC", None), ("O B-PER E-PER U-PER", None), ("O B_PER I_PER", None), ("O PER-B PER-I", None), ("0 B-PER", None),
])  # fmt: skip
def test_the_scheme_is_seen(tags, scheme):
    assert find_scheme(tags.split()) == scheme


def test_tags_that_a_scheme_has_not():
    assert list_foreign(["O", "B-PER", "E-PER", "PER"], "iob") == ["E-PER", "PER"]
    assert [list_foreign(["O", "B-PER", "E-PER", "x"], scheme) for scheme in SCHEMES][3] == []
