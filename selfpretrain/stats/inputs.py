"""Checks of what a comparison is given: each refusal is one line that names the side and the fix."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np

from selfpretrain.config import UserError
from selfpretrain.stats.crossed import Levels, check_levels
from selfpretrain.stats.metrics import ANYTHING, CLASS_NUMBERS, COLUMNS, METRICS, SUMS
from selfpretrain.stats.statistics import AnyArray, IntArray, Metric

_WIDE = {COLUMNS: "[examples, classes] of 0 and 1", SUMS: "an example's sums, [examples, sums]"}
FEWEST_REPLICATES = 200  # with fewer, a variance over replicates is off by more than 10 % (its error is sqrt(2 / R))
Sides = dict[str, tuple[Any, Any, Any]]  # by name: predictions, the seed of each run, the example ids or None
ALTERNATIVES = {"t": ("two-sided", "greater", "less"), "percentile": ("greater", "less")}  # the first is the default


@dataclass(frozen=True)
class Procedure:
    """The runs of one way of making a model."""

    name: str
    predictions: AnyArray  # [runs, examples] or [runs, examples, classes]
    seeds: tuple[Hashable, ...]  # distinct pretraining seeds, sorted
    seed_of_run: IntArray  # [runs]: index into seeds

    @property
    def num_seeds(self) -> int:
        return len(self.seeds)

    @property
    def num_levels(self) -> int:
        """Seeds; of crossed factors the levels of the one that has the fewest."""
        is_crossed = isinstance(self.seeds[0], Levels)
        return min(len(set(column)) for column in zip(*self.seeds, strict=True)) if is_crossed else self.num_seeds

    @property
    def num_runs(self) -> int:
        return len(self.seed_of_run)


def check_comparison(
    sides: Sides, labels: Any, metric: Metric, num_replicates: int, seed: int, confidence: float
) -> tuple[str, AnyArray, list[Procedure]]:
    """The metric's name, the labels, and each side as a procedure."""
    name = check_metric(metric)
    whole = isinstance(num_replicates, int | np.integer) and not isinstance(num_replicates, bool)
    if not whole or num_replicates < FEWEST_REPLICATES:
        fix = f"a whole number of at least {FEWEST_REPLICATES} is needed, e.g. num_replicates=1000"
        raise UserError(f"num_replicates={num_replicates!r}: {fix}")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        raise UserError(f"seed={seed!r}: a whole number from 0 to 2^32 - 1 is needed")
    if not 0 < confidence < 1:
        raise UserError(f"confidence={confidence!r}: a number between 0 and 1 is needed, e.g. 0.95")
    array = check_labels(labels, metric)
    procedures = [
        check_procedure(side, predictions, seeds, array, metric) for side, (predictions, seeds, _) in sides.items()
    ]
    check_ids({side: ids for side, (_, _, ids) in sides.items()}, len(array))
    return name, array, procedures


def check_metric(metric: Metric) -> str:
    """The metric's name; refuses an unknown one."""
    if callable(metric):
        return str(getattr(metric, "__name__", "function"))
    METRICS[metric]  # refuses an unknown one
    return metric


def check_labels(labels: Any, metric: Metric) -> AnyArray:
    """Labels as an array [examples] or [examples, classes], of a kind the metric can use."""
    array = _as_array("labels", labels)
    if array.ndim == 0 or array.size == 0:
        raise UserError("labels are empty: at least one labelled example is needed")
    if callable(metric):
        return array
    takes = METRICS[metric].takes
    if takes == ANYTHING:
        METRICS[metric].compute(array, array)  # refuses a function that gives no score, before anything is trained
        return array
    if array.ndim > 1 + (takes in _WIDE):
        wanted = _WIDE.get(takes, "one label per example, [examples]")
        raise UserError(f"labels have shape {array.shape}: {metric} wants {wanted}")
    check = _check_binary if takes == COLUMNS else _check_values
    check("labels", array, metric)
    if takes == SUMS:
        _check_sums(array, metric)
    if METRICS[metric].needs_two_labels and len(np.unique(array)) < 2:
        raise UserError(f"all labels equal {array.flat[0]}: {metric} needs at least two different labels")
    if METRICS[metric].is_of_class_1 and not (array == 1).any():
        raise UserError(f"no label is 1: {metric} scores class 1, so it needs an example of it")
    return array


def _check_sums(array: AnyArray, metric: str) -> None:
    named = METRICS[metric]
    if named.sums and array.shape[1:] != (len(named.sums),):
        raise UserError(
            f"labels have shape {array.shape}: {metric} wants {len(named.sums)} sums, {', '.join(named.sums)}"
        )
    best = named.compute(array, array)
    if best < named.high:
        raise UserError(f"nothing to find in the labels: even perfect answers score {best:g} by {metric}")


def check_procedure(name: str, predictions: Any, seeds: Any, labels: AnyArray, metric: Metric) -> Procedure:
    """One side of a comparison; refuses swapped axes, NaN, wrong types and seeds that do not fit the runs."""
    array = _as_array(name, predictions)
    if array.ndim < 2 or array.size == 0:
        raise UserError(f"{name} has shape {array.shape}: predictions are [runs, examples], at least one of each")
    if array.shape[1] != len(labels):
        swapped = array.shape[0] == len(labels)
        hint = f"the axes seem swapped, pass {name}.T" if swapped else "rows are runs, columns are examples"
        raise UserError(
            f"{name} holds {array.shape[0]} runs x {array.shape[1]} examples for {len(labels)} labels: {hint}"
        )
    if callable(metric) or METRICS[metric].takes == ANYTHING:  # a function knows itself what it takes
        if array.dtype.kind in "fc":
            _check_finite(name, array)
    else:
        if array.shape[1:] != labels.shape:
            hint = "; pass outputs.argmax(-1)" if METRICS[metric].takes == CLASS_NUMBERS else ""
            raise UserError(f"{name} has {array.shape[1:]} values per run, labels have {labels.shape} ({metric}){hint}")
        _check_values(name, array, metric)
    distinct, seed_of_run = _number_seeds(name, seeds, len(array))
    return Procedure(name, array, distinct, seed_of_run)


def _as_array(name: str, values: Any) -> AnyArray:
    try:
        return np.asarray(values)
    except ValueError as error:
        raise UserError(f"{name} is not a rectangular array ({error}): every run needs every example") from error


def _check_values(name: str, array: AnyArray, metric: str) -> None:
    if array.dtype.kind not in "biuf":
        raise UserError(f"{name} of type {array.dtype} given: {metric} wants numbers")
    if array.dtype.kind == "f":
        _check_finite(name, array)
    if METRICS[metric].takes != CLASS_NUMBERS:
        return
    if array.dtype.kind == "f":
        fix = "pass class numbers, e.g. outputs.argmax(-1) or .astype(int)"
        raise UserError(f"{name} of type {array.dtype} given: {metric} compares whole class numbers; {fix}")
    if array.dtype.kind == "i" and array.min() < 0:
        raise UserError(f"{array.min()} found in {name}: classes are 0, 1, ...; leave unlabelled examples out")
    if METRICS[metric].is_of_class_1:
        _check_binary(name, array, metric)


def _check_finite(name: str, array: AnyArray) -> None:
    wrong = ~np.isfinite(array)
    if wrong.any():
        where = np.argwhere(wrong)[0]
        place = f"example {where[0]}" if name == "labels" else f"run {where[0]}, example {where[1]}"
        fix = "leave such examples out" if name == "labels" else "that run diverged, train it anew"
        raise UserError(f"{int(wrong.sum())} NaN or infinite values in {name}, the first at {place}: {fix}")


def _check_binary(name: str, array: AnyArray, metric: str) -> None:
    other = np.setdiff1d(array, [0, 1])
    if other.size:
        fix = "use macro_f1 for more classes" if METRICS[metric].is_of_class_1 else "one 0/1 column per class"
        raise UserError(f"{other[0]} found in {name}: {metric} wants 0 and 1 only; {fix}")


def _number_seeds(name: str, seeds: Any, num_runs: int) -> tuple[tuple[Hashable, ...], IntArray]:
    given = seeds.tolist() if isinstance(seeds, np.ndarray) else list(seeds)
    if len(given) != num_runs:
        raise UserError(f"{name} has {num_runs} runs but {len(given)} seeds: give each run its pretraining seed")
    try:
        distinct = tuple(sorted(set(given)))  # sorted: a set of strings has another order in every process
    except TypeError as error:
        raise UserError(f"{name} seeds mix types ({error}): use numbers only or text only") from error
    if any(isinstance(seed, float) and math.isnan(seed) for seed in distinct):
        raise UserError(f"{name} seeds hold NaN: give each run its pretraining seed")
    check_levels(name, distinct)
    index = {seed: position for position, seed in enumerate(distinct)}
    return distinct, np.array([index[seed] for seed in given], dtype=np.intp)


def check_paired(base: Procedure, expt: Procedure) -> None:
    """Refuses a seed that only one side has (the reference code drops it with a warning)."""
    for one, other in ((base, expt), (expt, base)):
        missing = [seed for seed in one.seeds if seed not in other.seeds]
        if missing:
            fix = "leave its runs out or use paired=False"
            raise UserError(f"seed {missing[0]!r} is in {one.name} but not in {other.name}: paired needs both; {fix}")
    if isinstance(base.seeds[0], Levels) != isinstance(expt.seeds[0], Levels):
        raise UserError(
            f"the seeds of {base.name} or of {expt.name} are levels, those of the other are not: paired needs both"
        )


def check_ids(named_ids: dict[str, Any], num_examples: int) -> None:
    """Refuses example ids that are not the same, in the same order, on every side."""
    given = {name: list(ids) for name, ids in named_ids.items() if ids is not None}
    if not given:
        return
    first_name, first = next(iter(given.items()))
    if len(given) < len(named_ids):
        lacking = next(name for name in named_ids if name not in given)
        raise UserError(f"example ids are given for {first_name} but not for {lacking}: give both or neither")
    for name, listed in given.items():
        if len(listed) != num_examples:
            raise UserError(f"{name} has {len(listed)} example ids for {num_examples} examples: give one per example")
        if len(set(listed)) != len(listed):
            raise UserError(f"{name} has duplicate example ids: each example may appear once")
        for place, (left, right) in enumerate(zip(first, listed, strict=True)):
            if left != right:
                fix = "sort both by id first" if set(first) == set(listed) else "the sides hold different examples"
                raise UserError(f"example {place} is {left!r} in {first_name} but {right!r} in {name}: {fix}")


def number_groups(groups: Any, num_examples: int) -> IntArray | None:
    """The group of each example, numbered from 0 in the order of the examples; None where none are given.

    Refuses one that is missing, and a single group, of which nothing else could have been drawn.
    """
    if groups is None:
        return None
    given = groups.tolist() if isinstance(groups, np.ndarray) else list(groups)
    if len(given) != num_examples:
        raise UserError(f"{len(given)} groups given for {num_examples} examples: give one per example")
    for place, group in enumerate(given):
        if group is None or group == "" or group != group:  # NaN is not equal to itself
            raise UserError(f"example {place} has no group ({group!r}): give every example one")
    numbers = {group: number for number, group in enumerate(dict.fromkeys(given))}
    if len(numbers) < 2:
        raise UserError(
            f"all {num_examples} examples are of one group ({given[0]!r}): how far a score hangs on it cannot be told, give at "
            f"least 2 groups, or groups=None"
        )
    return np.array([numbers[group] for group in given], dtype=np.intp)


def check_two_examples(num_examples: int) -> None:
    """Refuses a single example: nothing can then be said about the chance of having drawn it."""
    if num_examples < 2:
        raise UserError("1 test example given: how far a score hangs on it cannot be told, give at least 2 examples")


def choose_alternative(method: str, alternative: str | None) -> str:
    """What p tests; refuses a method or an alternative that is unknown."""
    if method not in ALTERNATIVES:
        raise UserError(f"method={method!r} is unknown: allowed are {' and '.join(ALTERNATIVES)}")
    allowed = ALTERNATIVES[method]
    if alternative is not None and alternative not in allowed:
        raise UserError(f"alternative={alternative!r}: method={method} allows {', '.join(allowed)}")
    return alternative or allowed[0]
