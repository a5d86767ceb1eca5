"""The user's own files: ``task=local task.path=... task.text=... task.label=...``, or several as tasks of a study.

A path is relative to the folder in which the command is started, wherever it is written down.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from pathlib import Path

from selfpretrain.config import TaskConfig, UserError
from selfpretrain.sources.columns import format_rows, get_columns, is_missing
from selfpretrain.sources.splits import MIN_ROWS, find_repeated
from selfpretrain.sources.strings import gather
from selfpretrain.sources.tables import FORMATS, Table, read_table

CARD = "local"  # its name, and that of a file that was given no other


def read_files(task: TaskConfig) -> tuple[dict[str, Table], list[str]]:
    """The tables of the files given, by split: always ``train``, the other two where their paths are set; no notes."""
    tables = {"train": read_rows(task)}
    for split, path in (("validation", task.validation_path), ("test", task.test_path)):
        if path is not None:
            tables[split] = read_table(Path(path), f"task.{split}_path", task.delimiter, task.encoding)
    train = tables["train"]
    if train.num_rows < MIN_ROWS:
        raise UserError(
            f"{train.name} has {train.num_rows} rows; a study needs at least {MIN_ROWS} to train and test on: "
            f"give a larger file with task.path=<file>"
        )
    return tables, []


def read_rows(task: TaskConfig) -> Table:
    """The file ``task.path``, however many rows it has; UserError where it, its text or its label is not named."""
    if task.path is None:
        raise UserError(
            f"task={task.name} needs task.path=<file>, a {', '.join(FORMATS)} file with one example per row"
        )
    table = read_table(Path(task.path), "task.path", task.delimiter, task.encoding)
    for setting, value in (("task.text", task.text), ("task.label", task.label)):
        if not get_columns(value):
            raise UserError(
                f"task={task.name} needs {setting}=<column>; the columns of {table.name} are {table.list_names()}"
            )
    return table


def check_texts(table: Table, columns: Sequence[str], setting: str, optional: Container[str] = ()) -> None:
    """Refuse rows whose text is empty (but in ``optional`` columns), only white space or no text at all."""
    for column in columns:
        cells = table.get(column, setting)
        blank = [row for row, value in enumerate(cells) if is_missing(value)]
        if blank and column not in optional:
            raise UserError(
                f"{table.name}, {format_rows(blank)}: empty or whitespace text in column {column!r} "
                f"({len(blank)} of {table.num_rows} rows); remove these rows or set {setting} to another column"
            )
        odd = sorted({row for row, value in enumerate(cells) if not isinstance(value, (str, int, float))} - set(blank))
        if odd:
            kind = type(cells[odd[0]]).__name__
            raise UserError(
                f"{table.name}, {format_rows(odd)}: column {column!r} holds a {kind}, not text; set {setting}=<column>"
            )


def read_ids(task: TaskConfig, table: Table) -> Sequence[str] | None:
    """The ids in column ``task.id``, all different, by row; None where none is named."""
    if task.id is None:
        return None
    ids = gather(map(str, table.get(task.id, "task.id")))
    if repeated := find_repeated(ids):
        row, first = repeated
        raise UserError(
            f"{table.name}, row {row + 1}: id {ids[row]!r} in column {task.id!r} is that of row "
            f"{first + 1} too; make ids unique, or have them made from the text: task.id=null"
        )
    return ids
