"""On which test examples two procedures disagree most: how that is measured for each form of labels, and what is kept of it.

What a procedure says of an example is the mean over its pretraining seeds (of a seed's fine-tunings first). Its distance from
what another says is, by the form of the labels:

    classes   half the sum of the absolute differences of the probabilities, 0 to 1 (total variation)
    sets      that of the label they differ most on: the absolute difference of its probabilities, 0 to 1
    values    the absolute difference of the predicted values, in the unit of the label
    answers   the absolute difference of the F1 of the words
    tags      the absolute difference of the share of words that are tagged rightly

Probabilities are as trained, without a temperature. Of answers and tags scores are stored, and no probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from selfpretrain.kinds import ANSWERS, CLASSES, SETS, TAGS, VALUES, Array, LabelForm
from selfpretrain.report.comparisons import get_seeds
from selfpretrain.runs.results import AlignedRuns
from selfpretrain.stats.calibration import compute_probabilities

DIGITS = 6  # of a distance, as outputs are stored with seven: rounding must not decide which example is shown


@dataclass(frozen=True)
class View:
    """What the runs of one condition say of one example."""

    condition: str
    of_label: float  # mean: of the true label its probability, F1, ... (Measure.of_label)
    chosen: str  # by the mean; of answers and tags what most runs say
    of_chosen: float | None  # mean probability of that; None where there are no probabilities
    num_right: int | None  # runs that are right; None where a prediction is not right or wrong
    num_runs: int


@dataclass(frozen=True)
class Example:
    """One test example."""

    id: str
    texts: tuple[str, ...]  # cut
    label: str
    distance: float
    views: tuple[View, ...]  # of the pair first, then of the other conditions


@dataclass(frozen=True)
class ExampleList:
    """Of one model on one task, the test examples on which two conditions are furthest apart."""

    model: str
    task: str
    metric: str
    pair: tuple[str, str]  # conditions
    of_label: str  # what stands beside the true label, in words
    distance: str  # how far apart the two are, in words
    num_examples: int  # of the test split
    num_apart: int | None  # those on which the two choose differently; None where nothing is chosen
    examples: tuple[Example, ...]  # the furthest first


def leave_out_texts(fields: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """The fields of a part of a summary as they are stored: without the lists of examples."""
    return {name: value for name, value in fields if name != "disagreements"}


@dataclass(frozen=True)
class Stance:
    """What the runs of one condition say of N test examples."""

    condition: str
    values: Array  # [N, K] probabilities of classes or labels; [N, 1] a value, F1 or share: mean over seeds
    num_right: Array  # int [N], of sets [N, K]: runs that are right; of values empty
    num_runs: int


@dataclass(frozen=True)
class Measure:
    """What is said and compared of the labels of one form."""

    of_label: str
    distance: str
    # outputs [N, K] of a run -> what is averaged, [N, K] or [N, 1]
    read: Callable[[Array], Array]
    # outputs and labels -> whether a run is right, bool [N], of sets [N, K]; None: it is not right or wrong
    judge: Callable[[Array, Array], Array] | None
    # the means of two -> their distance by column, [N, columns]
    compare: Callable[[Array, Array], Array]
    # the means [K] of an example, its label, the column -> of_label, the number of what is chosen, of_chosen
    view: Callable[[Array, Array, int], tuple[float, int | None, float | None]]
    has_choice: bool = False  # the number of what is chosen is that of a class


def _read_rates(outputs: Array) -> Array:
    """Of labels that may apply together: each by itself [the loss of heads, a sigmoid]."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * outputs.astype(np.float64))))


def _view_class(values: Array, label: Array, column: int) -> tuple[float, int, float]:
    chosen = int(values.argmax())
    return float(values[int(label)]), chosen, float(values[chosen])


def _view_rate(values: Array, label: Array, column: int) -> tuple[float, int, float]:
    rate, applies = float(values[column]), bool(label[column])
    return rate if applies else 1 - rate, int(rate >= 0.5), max(rate, 1 - rate)


def _read_share(outputs: Array) -> Array:
    """Of a tagged sentence: its words right, over its words [stats.entities.SUMS]."""
    return np.asarray(outputs[:, 3:4] / outputs[:, 5:6])


def _spread(first: Array, second: Array) -> Array:
    return np.abs(first - second)


_MEASURES: tuple[tuple[LabelForm, Measure], ...] = (
    (CLASSES, Measure(
        "probability of the true label", "half the sum of the absolute differences of the mean probabilities",
        compute_probabilities, lambda outputs, labels: outputs.argmax(axis=1) == labels,
        lambda first, second: _spread(first, second).sum(axis=1, keepdims=True) / 2, _view_class, has_choice=True,
    )),
    (SETS, Measure(
        "probability of the truth of the label named", "the absolute difference of the mean probabilities of one label, the one that differs most",
        _read_rates, lambda outputs, labels: (outputs >= 0) == (labels > 0), _spread, _view_rate,
    )),
    (VALUES, Measure(
        "absolute error of the mean", "the absolute difference of the mean predictions",
        lambda outputs: outputs[:, :1].astype(np.float64), None, _spread,
        lambda values, label, column: (abs(float(values[0]) - float(label)), None, None),
    )),
    (ANSWERS, Measure(
        "F1 of the answer", "the absolute difference of the mean F1 of the answers",
        lambda sums: sums[:, 1:2].astype(np.float64), lambda sums, labels: sums[:, 0] == 1, _spread,
        lambda values, label, column: (float(values[0]), None, None),
    )),
    (TAGS, Measure(
        "share of words tagged rightly", "the absolute difference of the mean share of words tagged rightly",
        _read_share, lambda sums, labels: sums[:, 3] == sums[:, 5], _spread,
        lambda values, label, column: (float(values[0]), None, None),
    )),
)  # fmt: skip


def find_measure(form: LabelForm) -> Measure | None:
    """None for a form that has none."""
    return next((measure for known, measure in _MEASURES if known is form), None)


def take_stance(condition: str, runs: AlignedRuns, measure: Measure) -> Stance:
    """What the runs (outputs as stored) of one condition say, averaged as their score is: over seeds, within each over its
    runs.
    """
    seeds = get_seeds(runs)
    values = sum(
        measure.read(outputs) / (seeds.count(seed) * len(set(seeds)))
        for seed, outputs in zip(seeds, runs.predictions, strict=True)
    )
    num_right = np.zeros(0, np.int64)
    if measure.judge is not None:
        num_right = np.sum([measure.judge(outputs, runs.labels) for outputs in runs.predictions], axis=0)
    return Stance(condition, np.asarray(values), num_right, len(seeds))


def rank(first: Stance, second: Stance, ids: Sequence[str], measure: Measure) -> list[tuple[int, int, float]]:
    """Row, column and distance of every example on which the two differ, the furthest first and equal ones by their id."""
    distances = np.round(measure.compare(first.values, second.values), DIGITS)
    columns = distances.argmax(axis=1)
    furthest = distances[np.arange(len(distances)), columns]
    rows = sorted(np.flatnonzero(furthest > 0).tolist(), key=lambda row: (-furthest[row], ids[row]))
    return [(row, int(columns[row]), float(furthest[row])) for row in rows]


def count_apart(first: Stance, second: Stance, measure: Measure) -> int | None:
    """The examples on which the means choose another class."""
    if not measure.has_choice:
        return None
    return int((first.values.argmax(axis=1) != second.values.argmax(axis=1)).sum())


def count_right(stance: Stance, row: int, column: int) -> int | None:
    """Runs that are right about an example, of sets about one label of it."""
    if not stance.num_right.size:
        return None
    return int(stance.num_right[row] if stance.num_right.ndim == 1 else stance.num_right[row, column])
