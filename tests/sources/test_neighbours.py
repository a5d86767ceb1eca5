"""Whether rows next to each other in a file are alike, against all orders and as it is said of a file."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from selfpretrain.config import TaskConfig
from selfpretrain.sources.description import compute_neighbours, describe_neighbours
from selfpretrain.sources.tasks import load_task


@pytest.mark.parametrize("counts", [(3, 4), (2, 2, 3), (1, 5), (4, 2, 1)])
def test_mean_and_variance_are_those_over_all_orders(counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    orders = np.array(list(itertools.permutations(labels)))
    equal = (orders[:, 1:] == orders[:, :-1]).sum(axis=1)
    share, mean, p = compute_neighbours(labels)
    assert share == (len(labels) - len(counts)) / (len(labels) - 1)
    assert mean * (len(labels) - 1) == pytest.approx(equal.mean())
    z = (len(labels) - len(counts) - equal.mean()) / equal.std()
    assert p == pytest.approx(math.erfc(z / math.sqrt(2)) / 2)


def test_shuffled_rows_have_small_p_seldom():
    draw = np.random.default_rng(0)
    for labels in (draw.integers(0, 5, (200, 300)), draw.random((200, 300))):
        small = [compute_neighbours(draw.permutation(row))[2] < 0.1 for row in labels]
        assert 0.04 < np.mean(small) < 0.17


def test_a_difference_that_is_nothing_is_no_warning():
    labels = np.tile([0, 0, 1, 1], 10**6)
    labels[: 4 * 10**4] = 0
    share, expected, p = compute_neighbours(labels)
    assert p < 1e-5 and share - expected < 0.01
    assert describe_neighbours({"train": labels}).startswith("labels of")


def test_p_of_millions_of_rows():
    labels = np.random.default_rng(2).integers(0, 2, 4_000_000)  # the cubes of two millions have more than 63 bits
    share, expected, p = compute_neighbours(labels)
    z = (share - expected) * 2 * math.sqrt(len(labels))
    assert abs(z) < 3 and p == pytest.approx(math.erfc(z / math.sqrt(2)) / 2, rel=0.01)


def test_forms_of_labels():
    scores = np.sin(np.arange(100) / 5)
    assert compute_neighbours(scores)[2] < 1e-9
    pairs = np.array([[0, 1], [0, 1], [1, 0], [1, 1], [1, 1]] * 10, dtype=np.float32)
    assert compute_neighbours(pairs) == compute_neighbours(np.array([0, 0, 1, 2, 2] * 10))
    assert compute_neighbours(np.zeros(9, dtype=np.int64)) == (1, 1, 1)


def test_scores_of_two_values_are_told_apart_whichever_is_more_frequent():
    for scores in ([0.0] * 40 + [4.0] * 60, [0.0] * 60 + [4.0] * 40):
        equal, expected, p = compute_neighbours(np.array(scores))
        assert (equal, p < 1e-9) == (pytest.approx(98 / 99), True)
        assert expected == pytest.approx((0.4 * 39 + 0.6 * 59) / 99)


def read_notes(tmp_path, topics, name):
    rows = [f"text {number} of {name},{topic}\n" for number, topic in enumerate(topics)]
    (tmp_path / f"{name}.csv").write_text("text,label\n" + "".join(rows))
    path = str(tmp_path / f"{name}.csv")
    task = TaskConfig(name="mine", loader="local", path=path, text=["text"], label=["label"])
    return load_task(task, str(tmp_path / "runs"))


def test_a_sorted_file_is_the_same_task_and_is_warned_of(tmp_path):
    shuffled = np.random.default_rng(1).permutation(list("ab" * 60)).tolist()
    (line,) = [note for note in read_notes(tmp_path, shuffled, "x").notes if "neighbouring" in note]
    assert line.startswith("labels of neighbouring rows: train ") and "49.6% by chance (p = " in line
    (line,) = [note for note in read_notes(tmp_path, sorted(shuffled), "x").notes if "neighbouring" in note]
    assert line.startswith(
        "warning: labels of neighbouring rows: train 99.2% equal, 49.6% by chance (p < .001); the file may be sorted"
    )


def test_every_split_is_told_apart():
    sorted_labels, mixed = np.repeat([0, 1], 50), np.tile([0, 1], 50)
    assert describe_neighbours({"train": mixed}).startswith("labels of")
    line = describe_neighbours({"train": mixed, "test": sorted_labels})
    assert "train 0.0% equal, 49.5% by chance (p = 1.000), test 99.0% equal, 49.5% by chance (p < .001)" in line
