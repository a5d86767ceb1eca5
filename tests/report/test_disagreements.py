"""How far apart two procedures are on an example, by hand for each form of labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from selfpretrain.kinds import ANSWERS, CLASSES, KINDS, SETS, TAGS, VALUES, LabelForm
from selfpretrain.report.disagreements import count_apart, count_right, find_measure, rank, take_stance
from selfpretrain.runs.results import AlignedRuns, CellResult

IDS = ["c", "b", "a"]


def take(form, labels, outputs, condition="own", seeds=None):
    outputs = np.asarray(outputs, np.float32)
    cells = [
        CellResult("tiny", condition, "topics", seed, number, "done", f"{seed}.{number}", "", Path())
        for number, seed in enumerate(seeds or range(len(outputs)))
    ]
    runs = AlignedRuns(IDS, np.asarray(labels), outputs, tuple(cells))
    return take_stance(condition, runs, find_measure(form))


def to_outputs(probabilities):
    return np.log(np.asarray(probabilities))


def test_classes_by_half_the_sum_of_differences():
    measure, labels = find_measure(CLASSES), np.array([0, 1, 2])
    first = take(CLASSES, labels, [to_outputs([[0.6, 0.2, 0.2], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]])] * 2)
    second = take(CLASSES, labels, [to_outputs([[0.1, 0.7, 0.2], [0.1, 0.8, 0.1], [0.2, 0.7, 0.1]])])
    assert rank(first, second, IDS, measure) == [(2, 0, 0.5), (0, 0, 0.5)]  # equal: by id, "a" before "c"
    assert count_apart(first, second, measure) == 2
    of_label, chosen, of_chosen = measure.view(second.values[0], labels[0], 0)
    assert (of_label, chosen, of_chosen) == (pytest.approx(0.1), 1, pytest.approx(0.7))
    assert [count_right(first, row, 0) for row in range(3)] == [2, 2, 2]
    assert [count_right(second, row, 0) for row in range(3)] == [0, 1, 0]


def test_means_are_over_seeds_and_of_a_seed_over_its_runs():
    sure, unsure = [[0.9, 0.1]] * 3, [[0.5, 0.5]] * 3
    stance = take(CLASSES, [0, 0, 1], [to_outputs(p) for p in (sure, sure, sure, unsure)], seeds=[0, 0, 0, 1])
    assert stance.values[0].tolist() == pytest.approx([0.7, 0.3])
    assert (stance.num_runs, count_right(stance, 0, 0), count_right(stance, 2, 0)) == (4, 4, 0)


def test_sets_by_the_label_that_differs_most():
    measure, labels = find_measure(SETS), np.array([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    first = take(SETS, labels, [[[2.0, -2.0], [0.0, 0.0], [3.0, 1.0]]])
    second = take(SETS, labels, [[[2.0, 2.0], [0.0, 0.0], [-3.0, 1.0]]])
    (row, column, distance), (other, label, _) = rank(first, second, IDS, measure)
    assert (row, column, other, label) == (2, 0, 0, 1)
    assert distance == pytest.approx(1 / (1 + np.exp(-3)) - 1 / (1 + np.exp(3)), abs=1e-6)
    of_label, chosen, of_chosen = measure.view(second.values[0], labels[0], 1)
    assert (of_label, chosen, of_chosen) == (pytest.approx(0.1192, abs=1e-4), 1, pytest.approx(0.8808, abs=1e-4))
    assert (count_right(first, 0, 1), count_right(second, 0, 1)) == (1, 0)
    assert count_apart(first, second, measure) is None


def test_values_by_the_difference_of_the_means():
    measure, labels = find_measure(VALUES), np.array([3.0, 1.0, 2.0])
    first, second = take(VALUES, labels, [[[4], [1], [2]], [[5], [1], [2]]]), take(VALUES, labels, [[[1.5], [1], [2]]])
    assert rank(first, second, IDS, measure) == [(0, 0, 3.0)]
    assert measure.view(first.values[0], labels[0], 0) == (1.5, None, None)
    assert count_right(first, 0, 0) is None


def test_answers_and_tags_by_their_scores():
    sums = np.ones((3, 2))
    first = take(ANSWERS, sums, [[[1, 1], [0, 1], [0, 0]], [[1, 1], [1, 1], [0, 0.5]]])
    second = take(ANSWERS, sums, [[[0, 0.5], [1, 1], [0, 0.25]]])
    assert rank(first, second, IDS, find_measure(ANSWERS)) == [(0, 0, 0.5)]
    assert [count_right(first, row, 0) for row in range(3)] == [2, 1, 0]  # by exact match, not by F1
    perfect = np.array([[1, 1, 1, 4, 3, 4]] * 3)
    tagged = [[1, 1, 1, 4, 3, 4], [0, 1, 1, 2, 3, 4], [0, 0, 1, 3, 3, 4]]
    stance, other = take(TAGS, perfect, [tagged]), take(TAGS, perfect, [perfect])
    assert rank(stance, other, IDS, find_measure(TAGS)) == [(1, 0, 0.5), (2, 0, 0.25)]
    assert [count_right(stance, row, 0) for row in range(3)] == [1, 0, 0]


def test_every_kind_of_ours_has_a_measure_and_another_none():
    assert all(find_measure(kind.form) for kind in KINDS.values())
    assert find_measure(LabelForm(np.object_, 2)) is None
