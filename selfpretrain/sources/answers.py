"""Answers that are parts of a context: how a cell gives them, where they stand, and every way they can be wrong.

A label is JSON text, a list of [answer, number of its first character in the context], as it is kept, hashed and sorted.
What is held apart, cut and audited is the context: all questions of one are on one side.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from selfpretrain.config import TaskConfig, UserError
from selfpretrain.kinds import ANSWERS, Texts, get_kind
from selfpretrain.sources.columns import format_rows, get_columns, is_missing, parse_value
from selfpretrain.sources.tables import Table

MAX_CONTEXT = 100_000  # characters, about 20,000 words: each of its questions is read with all of it
FORM = '{"text": ["an answer"], "answer_start": [12]}'


class Answer(NamedTuple):
    text: str
    start: int  # the character of the context that it begins with


def has_passages(task: TaskConfig) -> bool:
    """Whether an example is a question about a passage that others may be about, too."""
    return task.label_kind is not None and get_kind(task.label_kind).form is ANSWERS


def choose_subject(task: TaskConfig, texts: Texts) -> Texts:
    """The texts that must not be on both sides of a cut: the passage alone where there is one."""
    return texts[-1:] if has_passages(task) else texts


def load_answers(label: str) -> list[Answer]:
    """The accepted answers of an example, in the order they were given."""
    return [Answer(*entry) for entry in json.loads(label)]


def check_columns(task: TaskConfig, columns: Sequence[str]) -> None:
    """Refuse texts that are not a question and its context."""
    if has_passages(task) and (len(columns) != 2 or task.join_text or task.unordered_pair):
        raise UserError(
            f"task.label_kind={task.label_kind} is of questions and their contexts: set task.text=[question,context], "
            f"task.join_text=false and task.unordered_pair=false"
        )


def gather_passages(texts: Iterable[Texts]) -> list[str]:
    """A document for each passage, the last text: it, and what is asked about it in the order of the examples, a line each."""
    asked: dict[str, list[str]] = {}
    for *questions, passage in texts:
        asked.setdefault(passage, []).extend(questions)
    return ["\n".join([passage, *dict.fromkeys(questions)]) for passage, questions in asked.items()]


def parse(task: TaskConfig, table: Table, split: str, notes: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Labels, object [N], and which rows have one, bool [N].

    Rows without an answer, and answers that are not in their context, are refused in a user's file, by row; a data set of
    the hub may withhold the answers, and what is wrong with its training rows is left out with a note.
    """
    (column,), context_column = get_columns(task.label), get_columns(task.text)[-1]
    cells, contexts = table.get(column, "task.label"), table.get(context_column, "task.text")
    labels, usable = np.full(table.num_rows, "[]", dtype=object), np.zeros(table.num_rows, dtype=bool)
    wrong: dict[int, str] = {}
    num_searched = 0
    for row, (cell, context) in enumerate(zip(cells, contexts, strict=True)):
        try:
            given = [] if is_missing(cell) else list_answers(cell)
            answers = [find_answer(text, start, "" if is_missing(context) else str(context)) for text, start in given]
        except UserError as error:
            wrong[row] = str(error)
            continue
        labels[row], usable[row] = json.dumps(answers), bool(answers)
        num_searched += any(start is None for _, start in given)
    missing = [row for row in np.flatnonzero(~usable).tolist() if row not in wrong]
    if missing and task.loader == "local":
        raise UserError(
            f"{table.name}, {format_rows(missing)}: no answer in column {column!r}; give one that stands in the context, or "
            f"remove the row"
        )
    if wrong:
        row, message = next(iter(wrong.items()))
        if task.loader == "local" or split != "train":
            raise UserError(f"{table.name}, row {row + 1}: {message}")
        notes.append(f"{split}: {len(wrong)} rows count as without a label, the first row {row + 1}: {message}")
    if num_searched:
        notes.append(f"{split}: {num_searched:,} rows say no place of an answer: where it first stands in the context")
    return labels, usable


def list_answers(cell: Any) -> list[tuple[Any, Any]]:
    """Each answer with its place, or None where none is said.

    A cell is what the hub has, ``{"text": [...], "answer_start": [...]}``, a list of such or of texts, JSON text of these,
    or one plain text.
    """
    if isinstance(cell, str):
        parsed = parse_value(cell) if cell.lstrip()[:1] in ("{", "[") else None
        is_list = isinstance(parsed, list) and all(isinstance(part, (dict, str)) for part in parsed)
        return list_answers(parsed) if is_list or isinstance(parsed, dict) else [(cell, None)]
    if isinstance(cell, (list, tuple)):
        return [answer for part in cell for answer in list_answers(part)]
    if not isinstance(cell, dict) or "text" not in cell:
        raise UserError(f"the answer {str(cell)[:60]} is neither text nor of the form {FORM}; write it so")
    texts = _list(cell["text"])
    starts = [None] * len(texts) if cell.get("answer_start") is None else _list(cell["answer_start"])
    if len(texts) != len(starts):
        raise UserError(f"{len(texts)} answers and {len(starts)} places in answer_start; give each answer its own")
    return list(zip(texts, starts, strict=True))


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def find_answer(text: Any, start: Any, context: str) -> Answer:
    """The answer at its place; without one where it first stands. UserError where it does not stand there."""
    if len(context) > MAX_CONTEXT:
        raise UserError(
            f"the context has {len(context):,} characters, and {MAX_CONTEXT:,} are the most; cut it into passages, each with "
            f"its own questions"
        )
    if not isinstance(text, str) or not text.strip():
        raise UserError(f"the answer {text!r} is no text; write what stands in the context, or remove the row")
    if start is None:
        found = context.find(text)
        if found < 0:
            raise UserError(f"the answer {text[:60]!r} is not in the context; {_advise(text, context)}")
        return Answer(text, found)
    if isinstance(start, bool) or not isinstance(start, int) or not 0 <= start < len(context):
        raise UserError(
            f"answer_start is {start!r}; it is the number of a character of the context, a whole one from 0 to "
            f"{len(context) - 1}"
        )
    if not context.startswith(text, start):
        there = context[start : start + len(text)][:60]
        raise UserError(
            f"the answer {text[:60]!r} is not at character {start} of the context, where {there!r} stands; "
            f"{_advise(text, context)}"
        )
    return Answer(text, start)


def _advise(text: str, context: str) -> str:
    """What may have been meant: the same at another place, or in other case or white space."""
    found = context.find(text)
    if found >= 0:
        return f"it stands at {found}: count characters from 0, not bytes"
    near = re.search(r"\s+".join(map(re.escape, text.split())), context, re.IGNORECASE)
    if near:
        return f"write it as the context has it at {near.start()}: {near.group()[:60]!r}"
    return "correct it, or remove the row"
