"""The audit finds copies and near-copies, and nothing else."""

import random

import numpy as np
import pytest

from selfpretrain.sources.audit import SHINGLE_WORDS, THRESHOLD, compute_overlap, compute_signatures

WORDS = [f"word{number}" for number in range(5000)]


def make_texts(count: int, length: int = 40, seed: int = 0) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=length)) for _ in range(count)]


def compute_jaccard(left: str, right: str) -> float:
    sets = []
    for text in (left, right):
        words = text.split()
        sets.append({tuple(words[i : i + SHINGLE_WORDS]) for i in range(max(1, len(words) - SHINGLE_WORDS + 1))})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def test_exact_copies_after_normalisation():
    train = make_texts(500)
    evaluation = [*make_texts(5, seed=1), train[7].upper() + "  ", "\t" + train[8].replace(" ", "\n")]
    found = compute_overlap(iter(train), iter(evaluation))
    assert (found["train_texts"], found["evaluation_texts"]) == (500, 7)
    assert (found["exact"], found["exact_ids"]) == (2, [5, 6])
    assert (found["near"], found["near_ids"]) == (0, [])


def test_near_copies():
    train = make_texts(3000, length=60)
    changed = [text + " and more" for text in train[:30]]  # 56 of 58 shingles shared
    assert min(map(compute_jaccard, train, changed)) > 0.95
    half = [
        " ".join(text.split()[:30]) + " " + other
        for text, other in zip(train[40:70], make_texts(30, 30, 2), strict=True)
    ]
    assert max(map(compute_jaccard, train[40:70], half)) < 0.5
    found = compute_overlap(train, [*half, *changed])
    assert found["exact"] == 0
    assert found["near"] == 30
    assert found["near_ids"] == list(range(30, 50))  # at most twenty are named


def test_lines_of_a_long_document():
    sentences = make_texts(200, length=12)
    found = compute_overlap(["\n".join(sentences)], [sentences[3], "\n".join(sentences[5:7]), sentences[9] + " end"])
    assert found["exact_ids"] == [0]
    assert found["near_ids"] == [2]


def test_pair_equals_its_joined_columns():
    assert compute_overlap(["one two\nthree four"], ["One two\nthree  four"])["exact"] == 1


def test_short_repeated_and_empty_texts():
    found = compute_overlap(["yes", "no", "", "yes"], ["yes", "Yes", " ", "maybe", "y"])
    assert found["evaluation_texts"] == 4  # the empty one is no text
    assert found["exact_ids"] == [0, 1]
    assert found["near"] == 0
    assert compute_overlap([], ["a"])["exact"] == 0
    assert compute_overlap(["a"], [])["exact"] == 0


def test_signature_estimates_jaccard():
    words = make_texts(1, length=2000)[0].split()
    left, right = " ".join(words[:1500]), " ".join(words[500:])
    signatures = compute_signatures([left, right])
    estimate = (signatures[0] == signatures[1]).mean()
    # 64 hashes: a standard deviation of 0.06 about 0.5
    assert estimate == pytest.approx(compute_jaccard(left, right), abs=0.2)


def test_signatures_do_not_depend_on_neighbours():
    texts = [*make_texts(20, length=7), "a", "b c", "one two three four five"]
    together = compute_signatures(texts)
    for number, text in enumerate(texts):
        assert np.array_equal(compute_signatures([text])[0], together[number])


def test_boilerplate_in_thousands_stays_small():
    template = " ".join(WORDS[:40])
    train = [f"{template} {number}" for number in range(2000)]
    found = compute_overlap(train, [f"{template} x{number}" for number in range(1000)])
    assert found["near"] == 1000
    assert found["threshold"] == THRESHOLD
