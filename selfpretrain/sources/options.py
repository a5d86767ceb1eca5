"""The options of a multiple-choice task: a column for each, or one column of lists, which is spread over columns.

As columns they are texts like any other: cuts, ids, overlaps and the own text treat them as such.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from selfpretrain.config import TaskConfig, UserError
from selfpretrain.kinds import KINDS, Texts, get_kind
from selfpretrain.sources.columns import format_rows, get_columns, parse_value
from selfpretrain.sources.splits import normalise
from selfpretrain.sources.tables import Table


def check_columns(task: TaskConfig, columns: Sequence[str]) -> None:
    """Refuse ``task.options`` that do not go with the kind, the texts (``columns``) or the label.

    Where no kind is set, options make the task a choice.
    """
    options = get_columns(task.options)
    if not options:
        if task.label_kind is not None and get_kind(task.label_kind).has_options:
            raise UserError(
                f"task.label_kind={task.label_kind} needs the options: task.options=[first,second,...], a column for "
                f"each, or task.options=<column of lists>"
            )
        return
    if task.label_kind is not None and not get_kind(task.label_kind).has_options:
        kinds = " or ".join(name for name, kind in KINDS.items() if kind.has_options)
        raise UserError(
            f"task.options={options} is not for task.label_kind={task.label_kind}; set task.label_kind={kinds}, or "
            f"task.options=null"
        )
    if task.unordered_pair:
        raise UserError("task.unordered_pair=true is for pairs, not for a choice; set task.unordered_pair=false")
    named = [*columns, *get_columns(task.label), *options]
    twice = [name for name in options if named.count(name) > 1]
    if twice:
        raise UserError(
            f"column {twice[0]!r} of task.options is in task.text, task.label or task.options a second time; name every "
            f"column once"
        )


def count(task: TaskConfig, train: Table) -> int:
    """How many options an example has: as many as there are columns, or as most lists of the training rows hold."""
    columns = get_columns(task.options)
    num_options = len(columns)
    if num_options == 1:
        lengths = Counter(map(len, _read_lists(train, columns[0])))
        num_options = min(lengths, key=lambda length: (-lengths[length], length))
    if num_options < 2:
        raise UserError(
            f"{train.name} has {num_options} option for an example and a choice needs two; set task.options to a "
            f"column of lists, or to a column for each option: task.options=[first,second,...]"
        )
    for setting, given in (("label_names", task.label_names), ("label_values", task.label_values)):
        if given and len(given) != num_options:
            raise UserError(
                f"task.{setting} names {len(given)} options, an example of {train.name} has {num_options}; name as "
                f"many, in their order"
            )
    return num_options


def list_columns(task: TaskConfig) -> list[str]:
    """The columns of the options, in their order, as :func:`spread` leaves them; none for a kind that has none."""
    columns = get_columns(task.options)
    return [f"{columns[0]}[{number}]" for number in range(len(task.label_names))] if len(columns) == 1 else columns


def expand(task: TaskConfig, columns: Sequence[str]) -> list[str]:
    """``columns``, the one of lists, if it is among them, replaced by those of the options."""
    lists = get_columns(task.options)
    return [name for column in columns for name in (list_columns(task) if [column] == lists else [column])]


def list_optional(task: TaskConfig) -> list[str]:
    """The text columns that may be blank: the second one of a choice, since an option may be a sentence of its own."""
    return get_columns(task.text)[1:] if get_kind(task.label_kind).has_options and not task.join_text else []


def spread(task: TaskConfig, table: Table) -> Table:
    """The table with a column for each option of a resolved task; UserError, by row, for lists of another length."""
    columns, names = get_columns(task.options), list_columns(task)
    for column in columns:
        table.get(column, "task.options")
    if len(columns) != 1:
        return table
    lists = _read_lists(table, columns[0])
    odd = [row for row, options in enumerate(lists) if len(options) != len(names)]
    if odd:
        raise UserError(
            f"{table.name}, {format_rows(odd)}: {len(lists[odd[0]])} options in column {columns[0]!r}, the task has "
            f"{len(names)}; give every example as many, or remove the row"
        )
    apart = {name: [options[number] for options in lists] for number, name in enumerate(names)}
    return dataclasses.replace(table, columns={**table.columns, **apart})


def _read_lists(table: Table, column: str) -> list[list[Any]]:
    lists = [_read_list(value) for value in table.get(column, "task.options")]
    odd = next((row for row, options in enumerate(lists) if options is None), None)
    if odd is not None:
        raise UserError(
            f"{table.name}, row {odd + 1}: {str(table.columns[column][odd])[:60]!r} in column {column!r} is no list of "
            f'options; write it as JSON, ["a", "b"], or give each option a column: task.options=[first,second,...]'
        )
    return [options for options in lists if options is not None]


def _read_list(value: Any) -> list[Any] | None:
    """A cell, a list or text that is one; None for anything else."""
    value = parse_value(value) if isinstance(value, str) else value
    return list(value) if isinstance(value, (list, tuple)) else None


def check_right(
    task: TaskConfig,
    split: str,
    name: str,
    texts: Sequence[Texts],
    labels: np.ndarray,
    rows: np.ndarray,
    notes: list[str],
) -> None:
    """Whether the right option is among the wrong ones, too, so that no choice is right: of a user's file refused, of a
    data set of the hub noted. Wrong options that are equal to one another do no harm.
    """
    unclear = []
    for row, parts, label in zip(rows.tolist(), texts, labels.tolist(), strict=True):
        options = [normalise(option) for option in parts[-len(task.label_names) :]]
        if options.count(options[label]) > 1:
            unclear.append(row)
    if not unclear:
        return
    said = f"{format_rows(unclear)}: the right option is among the wrong ones, too"
    if task.loader == "local":
        raise UserError(f"{name}, {said}; change one of the two or remove the row")
    notes.append(f"{split}: {said}")
