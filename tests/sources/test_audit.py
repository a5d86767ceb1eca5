"""The audit finds copies, near-copies and n-grams, and nothing else."""

import random

import numpy as np
import pytest

from selfpretrain.sources import audit
from selfpretrain.sources.audit import SHINGLE_WORDS, compute_overlap, compute_signatures

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


def list_found(found) -> tuple[list[int], list[int]]:
    """The places of exact and of near copies."""
    return np.flatnonzero(found.exact).tolist(), np.flatnonzero(found.near).tolist()


def test_exact_copies_after_normalisation():
    train = make_texts(500)
    evaluation = [*make_texts(5, seed=1), train[7].upper() + "  ", "\t" + train[8].replace(" ", "\n")]
    found = compute_overlap(iter(train), evaluation)
    assert (found.num_documents, len(found.exact)) == (500, 7)
    assert list_found(found) == ([5, 6], [])
    assert found.share.tolist() == [0, 0, 0, 0, 0, 1, 1]


def test_near_copies():
    train = make_texts(3000, length=60)
    changed = [text + " and more" for text in train[:30]]  # 56 of 58 shingles shared
    assert min(map(compute_jaccard, train, changed)) > 0.95
    half = [
        " ".join(text.split()[:30]) + " " + other
        for text, other in zip(train[40:70], make_texts(30, 30, 2), strict=True)
    ]
    assert max(map(compute_jaccard, train[40:70], half)) < 0.5
    assert list_found(compute_overlap(train, [*half, *changed])) == ([], list(range(30, 60)))


def test_lines_of_a_long_document():
    sentences = make_texts(200, length=12)
    found = compute_overlap(["\n".join(sentences)], [sentences[3], "\n".join(sentences[5:7]), sentences[9] + " end"])
    assert list_found(found) == ([0], [2])
    assert found.share.tolist() == [1, 1, 0]  # n-grams go over lines; the third is one of 13 words


def test_pair_equals_its_joined_columns():
    assert compute_overlap(["one two\nthree four"], ["One two\nthree  four"]).exact.all()


def test_short_repeated_and_empty_texts():
    found = compute_overlap(
        ["yes", "no", "", "yes", "! ?", "***"], ["yes", "Yes", " ", "maybe", "y", "! ?", "?!", "no!"]
    )
    assert list_found(found) == ([0, 1, 5], [7])  # no! has the words of no
    assert found.share.tolist() == [1, 1, 0, 0, 0, 0, 0, 1]
    assert not compute_overlap([], ["a"]).exact.any()
    assert compute_overlap(["a"], []).share.shape == (0,)
    assert compute_overlap(["a"], [" "]).share.tolist() == [0]


def test_a_tokenised_copy_has_the_same_words():
    plain = "It's a (rather) long sentence, isn't it: “quoted”, dashed – and all; twenty-one words or so…"
    tokenised = "it ' s a ( rather ) long sentence , isn ' t it : \" quoted \" , dashed - and all ; twenty - one words or so ..."
    found = compute_overlap([f"before. {tokenised} after."], [plain])
    assert (list_found(found), found.share.tolist()) == (([], [0]), [1.0])


def count_grams(words: list[str], size: int) -> list[str]:
    return [" ".join(words[start : start + size]) for start in range(max(1, len(words) - size + 1))]


@pytest.mark.parametrize("batch", [1, 300, 10**6])
def test_shares_are_those_of_a_loop(batch, monkeypatch):
    monkeypatch.setattr(audit, "BATCH_CHARACTERS", batch)
    draw = random.Random(3)
    train, texts = ([" ".join(draw.choices("ab", k=draw.randint(1, 30))) for _ in range(count)] for count in (40, 300))
    wanted = []
    for text in texts:
        size = min(max(len(text.split()), 8), 13)
        held = {gram for document in train for gram in count_grams(document.split(), size)}
        grams = count_grams(text.split(), size)
        wanted.append(sum(gram in held for gram in grams) / len(grams))
    found = compute_overlap(iter(train), texts)
    assert found.share.tolist() == pytest.approx(wanted)
    assert 0.05 < np.mean(found.share) < 0.95
    assert found.exact.tolist() == [text in train for text in texts]


def test_signature_estimates_jaccard():
    words = make_texts(1, length=2000)[0].split()
    left, right = " ".join(words[:1500]), " ".join(words[500:])
    signatures = compute_signatures([left, right])
    estimate = (signatures[0] == signatures[1]).mean()
    # 64 hashes: a standard deviation of 0.06 about 0.5
    assert estimate == pytest.approx(compute_jaccard(left, right), abs=0.2)


def test_signatures_do_not_depend_on_neighbours():
    texts = [*make_texts(20, length=7), "a", "b c", "one two three four five", "ein zwölf 東京 𝔘 x"]
    together = compute_signatures(texts)
    for number, text in enumerate(texts):
        assert np.array_equal(compute_signatures([text])[0], together[number])


def test_boilerplate_in_thousands_stays_small():
    template = " ".join(WORDS[:40])
    train = [f"{template} {number}" for number in range(2000)]
    found = compute_overlap(train, [f"{template} x{number}" for number in range(1000)])
    assert found.near.all()
