"""Splits depend on the content only: not on order, never the same text on two sides, classes in their shares."""

from collections import Counter

import numpy as np
import pytest

from selfpretrain.sources import arrays, splits


def make_keys(num_rows: int) -> list[str]:
    return [f"text number {row}" for row in range(num_rows)]


def test_normalise_and_pairs():
    assert splits.normalise("  A\tb\n C ") == "a b c"
    assert splits.normalise("A\u00a0b  C\u2009") == splits.normalise(" A b C ") == "a b c"
    assert splits.compute_key(("A b", "c")) == splits.compute_key((" a  B", "C"))
    assert splits.compute_key(("a", "b c")) != splits.compute_key(("a b", "c"))
    assert splits.compute_key(("x", "y"), unordered=True) == splits.compute_key(("y", "x"), unordered=True)
    assert splits.compute_key(("x", "y")) != splits.compute_key(("y", "x"))


def test_hash_is_stable():
    # stored: a change would move examples between splits without a new rule version
    assert splits.compute_hash("test", "a text") == STORED_HASH


def test_many_hashes_are_those_of_each_and_order_the_rows():
    keys = [f"text {row % 70}" for row in range(100)]
    hashes = splits.compute_hashes("test", keys)
    assert hashes.tolist() == [splits.compute_hash("test", key) for key in keys]
    ties = [-row for row in range(100)]
    assert splits.sort_rows("test", keys, ties.__getitem__).tolist() == sorted(
        range(100), key=lambda row: (hashes[row], ties[row])
    )
    assert splits.sort_rows("test", keys).tolist() == sorted(range(100), key=lambda row: hashes[row])
    assert splits.sort_rows("test", []).tolist() == []


def test_rows_sorted_in_parts_are_those_sorted_at_once(monkeypatch):
    keys = [f"text {row % 300}" for row in range(1000)]
    strata, ids = np.arange(1000) % 3, [f"id {row}" for row in range(1000)]

    def work_out():
        names = splits.name_by_content([(key,) for key in keys])
        held, order = splits.cut(keys, strata, 90, "test"), splits.compute_order([(key,) for key in keys], strata, ids)
        return list(names), held.tolist(), order.tolist(), splits.sort_rows("test", []).tolist()

    at_once, sizes = work_out(), []
    monkeypatch.setattr(splits, "PART_ROWS", 100)
    monkeypatch.setattr(arrays, "BLOCK_VALUES", 70)
    assert work_out() == at_once
    hashes = splits.compute_hashes("test", keys)
    for rows, ends in splits._iter_sorted(hashes):
        sizes.append(len(rows))
        assert ends[-1] == len(rows) and len(ends) == len(np.unique(hashes[rows]))
    assert len(sizes) == 11 and max(sizes) < 250


def test_hashes_that_two_sides_share_and_keys_that_are_repeated(monkeypatch):
    for part_rows in (10, 1000):
        monkeypatch.setattr(splits, "PART_ROWS", part_rows)
        one, other = (splits.compute_hashes("test", map(str, keys)) for keys in (range(90, 110), range(100)))
        assert splits.find_common(one, other).tolist() == list(range(10))
        assert splits.find_common(one, other[:0]).tolist() == []
        keys = [*map(str, range(50)), "7", "3", "7"]
        assert splits.find_repeated(keys) == (50, 7) and splits.find_repeated(keys[:50]) is None
        monkeypatch.setattr(splits, "compute_hashes", lambda _, keys: np.zeros(len(keys), np.uint64))  # all collide
        assert splits.find_repeated(keys) == (50, 7) and splits.find_repeated(keys[:50]) is None
        monkeypatch.undo()


STORED_HASH = 0x9D10952CCDCEC50


@pytest.mark.parametrize(
    ("num_rows", "test", "validation"),
    [(50, 10, 10), (500, 100, 50), (2000, 400, 200), (3000, 400, 300), (25000, 2500, 2000), (120000, 12000, 2000)],
)
def test_sizes(num_rows, test, validation):
    assert splits.compute_size("test", num_rows) == test
    assert splits.compute_size("validation", num_rows) == validation


def test_a_fraction_takes_the_place_of_the_rule():
    assert [splits.compute_size(split, 500, 0.3) for split in ("test", "validation")] == [150, 150]


def test_quotas_are_exact_and_proportional():
    assert splits.compute_quotas({0: 70, 1: 20, 2: 10}, 10) == {0: 7, 1: 2, 2: 1}
    for size in range(101):
        quotas = splits.compute_quotas({0: 33, 1: 33, 2: 34}, size)
        assert sum(quotas.values()) == size
        assert max(quotas.values()) - min(quotas.values()) <= 2


def test_cut_keeps_shares_and_does_not_depend_on_order():
    keys = make_keys(1000)
    strata = np.array([0] * 700 + [1] * 250 + [2] * 50)
    held = splits.cut(keys, strata, 100, "test")
    assert Counter(strata[held].tolist()) == {0: 70, 1: 25, 2: 5}
    order = np.random.default_rng(0).permutation(1000)
    shuffled = splits.cut([keys[row] for row in order], strata[order], 100, "test")
    assert {keys[row] for row in order[shuffled]} == {keys[row] for row in np.flatnonzero(held)}


def test_purposes_are_independent():
    keys, strata = make_keys(2000), np.zeros(2000, dtype=np.int64)
    both = splits.cut(keys, strata, 200, "test") & splits.cut(keys, strata, 200, "validation")
    assert 5 <= both.sum() <= 40  # 20 expected


def test_duplicates_stay_together_even_with_different_labels():
    keys = [f"text {row % 100}" for row in range(400)]
    strata = np.array([row % 3 for row in range(400)])
    held = splits.cut(keys, strata, 60, "test")
    assert held.sum() > 30
    assert not {keys[r] for r in np.flatnonzero(held)} & {keys[r] for r in np.flatnonzero(~held)}


def test_no_class_leaves_train():
    strata = np.array([0] * 96 + [1] * 2 + [2] + [3])
    held = splits.cut(make_keys(100), strata, 50, "test")
    assert set(strata[~held].tolist()) == {0, 1, 2, 3}


def test_subsample_is_stratified_and_nested_in_content():
    keys, strata = make_keys(1000), np.array([0] * 900 + [1] * 97 + [2] * 3)
    small, large = splits.subsample(keys, strata, 50), splits.subsample(keys, strata, 500)
    assert len(small) == 50 and len(large) == 500
    assert set(strata[small].tolist()) == {0, 1, 2}
    assert set(small.tolist()) <= set(large.tolist())
    order = np.random.default_rng(1).permutation(1000)
    again = splits.subsample([keys[row] for row in order], strata[order], 50)
    assert {keys[row] for row in order[again]} == {keys[row] for row in small}


def test_strata():
    assert splits.compute_strata(np.array([2, 0])).tolist() == [2, 0]
    assert splits.compute_strata(np.array([0.5, 2.0], dtype=np.float32)).tolist() == [0, 0]
    assert splits.compute_strata(np.array([[0, 0], [0, 1]], dtype=np.float32)).tolist() == [0, 1]
