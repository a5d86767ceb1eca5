"""From raw label columns to arrays: what kind of labels they are, and every way they can be wrong."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from corpora.tables import Table
from selfpretrain.config import TaskConfig, UserError

METRICS = {
    "class": ("accuracy", "macro_f1", "f1", "mcc"),
    "score": ("pearson", "spearman"),
    "multilabel": ("micro_auc",),
}
MAX_NUMERIC_CLASSES = 80  # more distinct numbers than this are taken for a score
MOSTLY = 0.9  # of the labels are numbers: then all should be
MISSING = ("", "nan", "null", "<na>")  # "none" and "na" may well be the names of classes
BINARY = {"0": 0.0, "1": 1.0, "false": 0.0, "true": 1.0}


def get_columns(value: Any) -> list[str]:
    """``task.text``, ``task.label`` and the like as a list: they may be one name or several."""
    if value is None:
        return []
    return [value] if isinstance(value, str) else [str(name) for name in value]


def format_rows(rows: Sequence[int]) -> str:
    """``rows 3, 8, 9 and 4 more``, counted from 1 as the user sees them."""
    shown = ", ".join(str(row + 1) for row in rows[:5])
    more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
    return f"row{'s' if len(rows) > 1 else ''} {shown}{more}"


def is_missing(value: Any) -> bool:
    """No label: None, NaN, an empty cell."""
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (isinstance(value, str) and value.strip().lower() in MISSING)


def to_number(value: Any) -> float | None:
    """The value as a finite number, or None where it is not one."""
    if isinstance(value, bool):
        return float(value)
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def to_class_value(value: Any) -> str:
    """A label as text; 1, 1.0 and "1.0" are the class "1"."""
    if isinstance(value, (bool, np.bool_)):
        return str(int(value))
    number = to_number(value)
    if number is not None and number.is_integer():
        return str(int(number))
    return str(value).strip()


def resolve(task: TaskConfig, train: Table) -> TaskConfig:
    """The task with label_kind, label_names and metric filled in, for a file from its training labels."""
    columns = get_columns(task.label)
    if task.label_kind is not None and task.label_kind not in METRICS:
        raise UserError(f"task.label_kind={task.label_kind} is not known; allowed: {', '.join(METRICS)}")
    kind = task.label_kind or _infer_kind(columns, train)
    if kind != "multilabel" and len(columns) > 1:
        raise UserError(
            f"task.label={columns} names {len(columns)} columns; label_kind={kind} has one: task.label=<column>"
        )
    values, names = task.label_values, task.label_names
    if kind == "multilabel":
        names = names or columns
    elif kind == "class" and not values and (task.loader == "local" or not names):
        values = _list_classes(columns[0], train)
    if kind == "class" and not names:
        names = [str(value) for value in values]
    if kind == "class" and values and len(values) != len(names):
        raise UserError(
            f"task.label_names has {len(names)} names for {len(values)} classes of {train.name}; "
            f"name them in this order: {', '.join(map(str, values[:10]))}"
        )
    metric = task.metric or METRICS[kind][0]
    if metric not in METRICS[kind]:
        raise UserError(f"task.metric={metric} does not fit labels of kind {kind}; allowed: {', '.join(METRICS[kind])}")
    if metric == "f1" and len(names) != 2:
        raise UserError(f"task.metric=f1 needs two classes, {train.name} has {len(names)}; use task.metric=macro_f1")
    return dataclasses.replace(task, label_kind=kind, label_names=list(names), label_values=list(values), metric=metric)


def _infer_kind(columns: list[str], train: Table) -> str:
    if len(columns) > 1:
        return "multilabel"
    present = [value for value in train.get(columns[0], "task.label") if not is_missing(value)]
    numbers = [number for number in map(to_number, present) if number is not None]
    # a few odd values do not make classes of scores: they are refused by row when the scores are read
    if not numbers or len(numbers) < MOSTLY * len(present):
        return "class"
    distinct = set(numbers)
    whole = all(number.is_integer() for number in distinct)
    return "class" if whole and len(distinct) <= MAX_NUMERIC_CLASSES else "score"


def _list_classes(column: str, train: Table) -> list[str]:
    cells = train.get(column, "task.label")
    distinct = {to_class_value(value) for value in cells if not is_missing(value)}
    if len(distinct) > max(MAX_NUMERIC_CLASSES, train.num_rows // 10) or len(distinct) == train.num_rows > 1:
        raise UserError(
            f"{train.name}: column {column!r} has {len(distinct)} different labels in {train.num_rows} rows, too many "
            f"for classes; set task.label to the label column, or task.label_kind=score if they are numbers"
        )
    if len(distinct) == 1:
        raise UserError(
            f"{train.name}: column {column!r} has one class only ({distinct.pop()!r}) and needs two or more; "
            f"add examples of another class or set task.label to another column"
        )
    if all(to_number(value) is not None for value in distinct):
        return sorted(distinct, key=float)
    return sorted(distinct)


def parse(task: TaskConfig, table: Table) -> tuple[np.ndarray, np.ndarray]:
    """Labels of a resolved task and which rows have one.

    Returns labels (class: int64 [N]; score: float32 [N]; multilabel: float32 [N, K]; any value where there is
    none) and a bool [N]. Rows without a label are refused in a user's file; a data set of the hub withholds
    them as -1, and they are never scored on.
    """
    columns = get_columns(task.label)
    cells = [table.get(column, "task.label") for column in columns]
    labelled = np.ones(table.num_rows, dtype=bool)
    for column, values in zip(columns, cells, strict=True):
        missing = [row for row, value in enumerate(values) if is_missing(value)]
        if missing and task.loader == "local":
            raise UserError(
                f"{table.name}, {format_rows(missing)}: no label in column {column!r}; "
                f"fill in the label or remove the row, or set task.label to another column"
            )
        labelled[missing] = False
        if task.loader != "local":
            labelled[[row for row, value in enumerate(values) if value in (-1, "-1")]] = False
    if task.label_kind == "multilabel":
        parsed = [_parse_binary(values, labelled, table, name) for name, values in zip(columns, cells, strict=True)]
        return np.stack(parsed, axis=1), labelled
    if task.label_kind == "score":
        return _parse_scores(task, cells[0], labelled, table), labelled
    return _parse_classes(task, cells[0], labelled, table), labelled


def _parse_binary(values: Sequence[Any], labelled: np.ndarray, table: Table, column: str) -> np.ndarray:
    labels = np.zeros(table.num_rows, dtype=np.float32)
    for row, value in enumerate(values):
        if not labelled[row]:
            continue
        number = BINARY.get(to_class_value(value).lower())
        if number is None:
            raise UserError(
                f"{table.name}, row {row + 1}: {value!r} in column {column!r}; a column of a multi-label task holds "
                f"0 or 1; for one label per example name one column: task.label=<column>"
            )
        labels[row] = number
    return labels


def _parse_scores(task: TaskConfig, values: Sequence[Any], labelled: np.ndarray, table: Table) -> np.ndarray:
    labels = np.zeros(table.num_rows, dtype=np.float32)
    low, high = task.score_range or (-math.inf, math.inf)
    for row, value in enumerate(values):
        if not labelled[row]:
            continue
        number = to_number(value)
        if number is None:
            raise UserError(
                f"{table.name}, row {row + 1}: the score {value!r} is not a finite number; "
                f"correct it, or set task.label_kind=class if the labels are names"
            )
        if not low <= number <= high or (task.label_values and number not in task.label_values):
            allowed = task.label_values or task.score_range
            raise UserError(
                f"{table.name}, row {row + 1}: the score {value!r} is not among {list(allowed)}; "
                f"correct it, or change task.{'label_values' if task.label_values else 'score_range'}"
            )
        labels[row] = number
    return labels


def _parse_classes(task: TaskConfig, values: Sequence[Any], labelled: np.ndarray, table: Table) -> np.ndarray:
    raw = task.label_values or range(len(task.label_names))
    index = {to_class_value(value): number for number, value in enumerate(raw)}
    labels = np.zeros(table.num_rows, dtype=np.int64)
    for row, value in enumerate(values):
        if not labelled[row]:
            continue
        number = index.get(to_class_value(value))
        if number is None:
            known = ", ".join(list(index)[:10])
            fix = (
                "add training examples of that class or remove the row"
                if task.loader == "local"
                else "set task.label_names or task.label_values to all classes"
            )
            raise UserError(
                f"{table.name}, row {row + 1}: the label {value!r} never occurs in training; known: {known}; {fix}"
            )
        labels[row] = number
    return labels


def check_variety(task: TaskConfig, labels: np.ndarray, name: str) -> None:
    """Refuse labels [N] or [N, K] that are all the same: nothing to learn, and no correlation or AUC to compute."""
    if len(labels) and labels.min() == labels.max():
        what = "one class only" if task.label_kind == "class" else f"one value only ({labels.flat[0]:g})"
        raise UserError(
            f"{name}: the labels in {', '.join(get_columns(task.label))} hold {what} and need at least two; "
            f"add examples with other labels or set task.label to another column"
        )
