"""From raw label columns to arrays: what kind of labels they are, and every way they can be wrong."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from selfpretrain.config import TaskConfig, UserError
from selfpretrain.kinds import ANSWERS, CLASSES, SETS, TAGS, VALUES, LabelForm, get_kind
from selfpretrain.sources import answers, options, tagging
from selfpretrain.sources.arrays import collect_items, make_zeros
from selfpretrain.sources.columns import (
    INTEGER,
    MAX_DIGITS,
    find_separator,
    format_rows,
    get_columns,
    infer_kind,
    is_missing,
    read_list,
    to_number,
    to_text,
)
from selfpretrain.sources.tables import Table
from selfpretrain.stats import METRICS
from selfpretrain.stats.entities import count_sums
from selfpretrain.stats.functions import is_own
from selfpretrain.stats.inputs import check_labels

MAX_CLASSES = 80  # in a small file; a tenth of the rows in a larger one
BINARY = {"0": 0.0, "1": 1.0, "0.0": 0.0, "1.0": 1.0, "false": 0.0, "true": 1.0}


def resolve(task: TaskConfig, train: Table) -> TaskConfig:
    """The task with label_kind, label_names and metric filled in, for a file from its training labels."""
    columns = get_columns(task.label)
    if not answers.has_passages(task):
        _refuse_objects(train, columns)
    name = task.label_kind
    if name is None:
        name = "choice" if get_columns(task.options) else infer_kind(columns, train)
    kind = get_kind(name)
    form, metrics = kind.form, kind.metrics
    if form is not SETS and len(columns) > 1:
        raise UserError(
            f"task.label={columns} names {len(columns)} columns; label_kind={name} has one: task.label=<column>"
        )
    values, names = task.label_values, task.label_names
    if form is SETS and not names:
        names = list_labels(train, columns[0]) if holds_lists(train, columns) else columns
    elif kind.has_options:
        num_options = options.count(task, train)
        names = names or list(map(str, range(num_options)))
    elif form is TAGS:
        names = names or tagging.list_tags(train, columns[0])
    elif form is CLASSES and not values and (task.loader == "local" or not names):
        values = _list_classes(columns[0], train, task.label_kind is None)
    if form is CLASSES and not names:
        names = [to_text(value) for value in values]
        if all(re.fullmatch(r"-?[0-9]+\.0", name) for name in names):  # whole numbers that a float column wrote
            names = [name.removesuffix(".0") for name in names]
    if form in (CLASSES, TAGS) and values and len(values) != len(names):
        raise UserError(
            f"task.label_names has {len(names)} names for {len(values)} classes of {train.name}; "
            f"name them in this order: {', '.join(map(str, values[:10]))}"
        )
    metric = task.metric or metrics[0]
    if metric not in metrics and (kind.of_tokens or not is_own(metric)):
        own = "" if kind.of_tokens else ", or one of your own: <module>:<function>"
        raise UserError(f"task.metric={metric} does not fit labels of kind {name}; allowed: {', '.join(metrics)}{own}")
    if METRICS[metric].is_of_class_1 and len(names) != 2:
        raise UserError(
            f"task.metric={metric} needs two classes, {train.name} has {len(names)}; use task.metric=macro_f1"
        )
    scheme = tagging.choose_scheme(task, names) if form is TAGS else task.tag_scheme
    return dataclasses.replace(
        task, label_kind=name, label_names=list(names), label_values=list(values), tag_scheme=scheme, metric=metric
    )


def _refuse_objects(table: Table, columns: Sequence[str]) -> None:
    for column in columns:
        cells = table.get(column, "task.label")
        if any(issubclass(kind, (dict, bytes)) for kind in set(map(type, cells))):
            row, value = next((row, value) for row, value in enumerate(cells) if isinstance(value, (dict, bytes)))
            kind = "an object" if isinstance(value, dict) else "bytes"
            raise UserError(
                f"{table.name}, row {row + 1}: the label in column {column!r} is {kind}, {str(value)[:60]}; write it as text "
                f"in a column of its own and set task.label to that, or task.label_kind=span if it is an answer in a context"
            )


def holds_lists(table: Table, columns: Sequence[str]) -> bool:
    """Whether the labels of a multi-label task are lists in one column, not a column of 0 and 1 for each."""
    cells = table.get(columns[0], "task.label") if len(columns) == 1 else ()
    return any(not is_missing(value) and to_text(value).lower() not in BINARY for value in cells)


def list_labels(train: Table, column: str) -> list[str]:
    """Every label that occurs in the lists of a column."""
    cells = train.get(column, "task.label")
    read = partial(_read_labels, column, find_separator(cells))
    found = set(chain.from_iterable(_read_cells(train, cells, read)))
    if len(found) < 2:
        raise UserError(
            f"{train.name}: column {column!r} has {len(found)} different labels and needs two or more; add examples with others "
            f"or set task.label to another column"
        )
    return _sort(found)


def _read_labels(column: str, separator: str | None, value: Any) -> list[str]:
    labels = read_list(value, separator)
    if labels is None:
        raise UserError(
            f"{value!r} in column {column!r} is no list of labels; "
            f'write it as JSON, ["a", "b"], or with one separator, a|b'
        )
    if len(set(labels)) < len(labels):  # as a row of 0 and 1 does
        raise UserError(
            f"{value!r} in column {column!r} names a label twice; a list holds names; "
            f"0 and 1 for every label have a column each: task.label=[a,b,c]"
        )
    return labels


def _list_classes(column: str, train: Table, inferred: bool) -> list[str]:
    cells = train.get(column, "task.label")
    distinct = set(_read_cells(train, cells, _read_name)) - {""}
    many = len(distinct) > max(MAX_CLASSES, train.num_rows // 10) and inferred
    if many or len(distinct) == train.num_rows > 1:
        cure = "task.label_kind=class if these are classes" if many else "task.label_kind=score if they are numbers"
        raise UserError(
            f"{train.name}: column {column!r} has {len(distinct)} different labels in {train.num_rows} rows, too many "
            f"for classes; set task.label to the label column, or {cure}"
        )
    if len(distinct) == 1:
        raise UserError(
            f"{train.name}: column {column!r} has one class only ({distinct.pop()!r}) and needs two or more; "
            f"add examples of another class or set task.label to another column"
        )
    return _sort(distinct)


def _read_name(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        raise UserError(f"the label {value!r} is a list; set task.label_kind=multilabel, or write one label per row")
    return "" if is_missing(value) else to_text(value)


def _sort(labels: Iterable[str]) -> list[str]:
    """Whole numbers by size, anything else as text."""
    listed = sorted(labels)
    return sorted(listed, key=int) if all(INTEGER.fullmatch(label) for label in listed) else listed


def parse(task: TaskConfig, table: Table, split: str, notes: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Labels of a resolved task and which rows have one; ``notes`` get what is to be said of the split.

    Returns labels (class: int64 [N]; score: float32 [N]; multilabel: float32 [N, K]; of answers and tags text, object [N]; any value
    where there is none) and a bool [N]. Rows without a label are refused in a user's file; a data set of the hub withholds
    them as -1, and they are never scored on.
    """
    columns, form = get_columns(task.label), get_kind(task.label_kind).form
    if form is ANSWERS:
        return answers.parse(task, table, split, notes)
    _refuse_objects(table, columns)
    cells = [table.get(column, "task.label") for column in columns]
    if form is SETS and list(task.label_names) != columns and len(columns) == 1:
        index = {name: number for number, name in enumerate(task.label_names)}
        read: Callable[[Any], Any] = partial(_read_set, index, columns[0], find_separator(cells[0], index))
        labels = make_zeros(table.num_rows, form.dtype, (len(index),))
        for row, found in enumerate(_read_cells(table, cells[0], read)):
            labels[row, found] = 1
        return labels, np.ones(table.num_rows, dtype=bool)
    labelled = np.ones(table.num_rows, dtype=bool)
    withheld = () if task.loader == "local" else (-1, "-1")
    for column, values in zip(columns, cells, strict=True):
        missing = [row for row, value in enumerate(values) if is_missing(value) or value in withheld]
        if missing and task.loader == "local":
            raise UserError(
                f"{table.name}, {format_rows(missing)}: no label in column {column!r}; "
                f"fill in the label or remove the row, or set task.label to another column"
            )
        labelled[missing] = False
    if form is SETS:
        reads = [partial(_read_binary, column) for column in columns]
        labels = make_zeros(table.num_rows, form.dtype, (len(columns),))
        for number, (values, read) in enumerate(zip(cells, reads, strict=True)):
            labels[:, number] = collect_items(_read_cells(table, values, read, labelled), form.dtype)
        return labels, labelled
    if form is VALUES:
        read = partial(_read_score, task)
    elif form is TAGS:
        read = partial(_read_tags, task, index_classes(task))
    else:
        assert form is CLASSES, task.label_kind
        read = partial(_read_class, task, index_classes(task))
    return collect_items(_read_cells(table, cells[0], read, labelled), form.dtype), labelled


def _read_cells(
    table: Table, cells: Sequence[Any], read: Callable[[Any], Any], labelled: np.ndarray | None = None
) -> Iterator[Any]:
    """What ``read`` makes of the cells, 0 where there is no label; what it refuses is told with the row."""
    for row, value in enumerate(cells):
        try:
            yield read(value) if labelled is None or labelled[row] else 0
        except UserError as error:
            raise UserError(f"{table.name}, row {row + 1}: {error}") from None


def _read_binary(column: str, value: Any) -> float:
    number = BINARY.get(to_text(value).lower())
    if number is None:
        raise UserError(
            f"{value!r} in column {column!r}; a column of a multi-label task holds 0 or 1; for one label per example "
            f"name one column: task.label=<column>"
        )
    return number


def _read_score(task: TaskConfig, value: Any) -> float:
    number = to_number(value)
    if number is None:
        raise UserError(
            f"the score {value!r} is not a finite number of at most {MAX_DIGITS} digits; "
            f"write it plainly, as 1234.5, or set task.label_kind=class if the labels are names"
        )
    low, high = task.score_range or (-math.inf, math.inf)
    if not low <= number <= high or (task.label_values and number not in task.label_values):
        setting = "label_values" if task.label_values else "score_range"
        raise UserError(
            f"the score {value!r} is not among {list(getattr(task, setting))}; correct it, or change task.{setting}"
        )
    return number


def index_classes(task: TaskConfig) -> dict[str, int]:
    """From the text of a label to the number of its class: its value, or its name where that is no other's value."""
    raw = task.label_values or range(len(task.label_names))
    names = {name: number for number, name in enumerate(task.label_names)}
    return {**names, **{to_text(value): number for number, value in enumerate(raw)}}


def _read_class(task: TaskConfig, index: dict[str, int], value: Any) -> int:
    number = index.get(to_text(value))
    if number is None:
        known = ", ".join(map(str, (task.label_values or task.label_names)[:10]))
        if get_kind(task.label_kind).has_options:
            raise UserError(
                f"the label {value!r} is none of the options {known}; write the number of the right one, from 0 on, or "
                f"set task.label_values to what stands for each, in their order"
            )
        wrong, fix = (
            ("never occurs in training", "add training examples of that class or remove the row")
            if task.loader == "local"
            else ("is no class of the card", "set task.label_names or task.label_values to all classes")
        )
        raise UserError(f"the label {value!r} {wrong}; known: {known}; {fix}")
    return number


def _read_tags(task: TaskConfig, index: dict[str, int], value: str) -> str:
    """The names of a row's tags, with spaces between."""
    tags = value.split(" ")
    for number, tag in enumerate(tags, start=1):
        if tag not in index:
            wrong, fix = (
                ("never occurs in training", "add training rows with it or correct it")
                if task.loader == "local"
                else ("is no tag of the card", "set task.label_names to all tags, in the order of their numbers")
            )
            raise UserError(f"tag {number}, {tag!r}, {wrong}; known: {', '.join(list(index)[:10])}; {fix}")
    return " ".join(task.label_names[index[tag]] for tag in tags)


def _read_set(index: dict[str, int], column: str, separator: str | None, value: Any) -> list[int]:
    """The numbers of the labels listed; an empty list, or cell, is an example without any of the labels."""
    labels = _read_labels(column, separator, value)
    for label in labels:
        if label not in index:
            raise UserError(
                f"the label {label!r} never occurs in training; known: "
                f"{', '.join(list(index)[:10])}; add training examples with it or remove it"
            )
    return [index[label] for label in labels]


def check_variety(task: TaskConfig, labels: np.ndarray, name: str, is_scored: bool) -> None:
    """Refuse labels [N] or [N, K] that are all the same, or (where scored) on which the metric is undefined for
    every run, whatever it predicts.
    """
    columns, form = ", ".join(get_columns(task.label)), get_kind(task.label_kind).form
    if form is ANSWERS:  # an answer is scored for itself
        return
    if not is_scored:
        if what := _find_only(form, labels):
            raise UserError(
                f"{name}: the labels in {columns} hold {what} and need at least two; "
                f"add examples with other labels or set task.label to another column"
            )
        return
    if form is TAGS:
        labels = count_sums(labels, labels, str(task.tag_scheme))
    try:
        check_labels(labels, str(task.metric))
    except UserError as error:
        others = {CLASSES: "accuracy", TAGS: "token_accuracy"}
        other = f", or choose another metric: task.metric={others[form]}" if form in others else ""
        raise UserError(
            f"{name}: no run could be scored by task.metric={task.metric} on the labels in {columns}: "
            f"{error}; add examples with other labels{other}"
        ) from error


def _find_only(form: LabelForm, labels: np.ndarray) -> str:
    """The only label there is, in words; empty where there are several."""
    if form is TAGS:
        tags = {tag for label in labels for tag in label.split(" ")}
        return f"one tag only ({tags.pop()})" if len(tags) == 1 else ""
    if not len(labels) or labels.min() != labels.max():
        return ""
    return "one class only" if form is CLASSES else f"one value only ({labels.flat[0]:g})"
