"""Tagged sentences: the words and tags of a row, from lists to text, and every way they can be wrong.

As text, words and tags with single spaces between, they are an example's text and its label: cuts, ids, overlaps and the own
text treat them as any other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from itertools import chain
from typing import Any

from selfpretrain.config import TaskConfig, UserError
from selfpretrain.kinds import TAGS, get_kind
from selfpretrain.sources.columns import INTEGER, find_list, get_columns, is_missing
from selfpretrain.sources.tables import Table
from selfpretrain.stats.entities import OUTSIDE, SCHEMES, find_scheme, list_foreign

MAX_TAGS = 1000
AS_LISTS = 'write lists, ["New", "York"], or one text with spaces between'


def has_tags(task: TaskConfig) -> bool:
    """Whether every word of an example has a tag."""
    return task.label_kind is not None and get_kind(task.label_kind).form is TAGS


def see_kind(task: TaskConfig, train: Table) -> TaskConfig:
    """The task, of the kind of tagged words where none is set and its text is lists: no other kind has such."""
    columns = get_columns(task.text)
    if task.label_kind is not None or len(columns) != 1:
        return task
    cells = train.get(columns[0], "task.text")
    if not any(isinstance(cell, (list, tuple)) for cell in cells):
        return task
    seen = dataclasses.replace(task, label_kind="token")
    check_columns(seen, columns)
    return seen


def check_columns(task: TaskConfig, columns: Sequence[str]) -> None:
    """Refuse texts that are not one column of words, and several columns of tags."""
    if has_tags(task) and (len(columns) > 1 or len(get_columns(task.label)) > 1 or task.join_text):
        raise UserError(
            f"task.label_kind={task.label_kind} is of one column of words and one of their tags: set task.text=<column>, "
            f"task.label=<column> and task.join_text=false"
        )


def join(task: TaskConfig, table: Table) -> Table:
    """The table with words and tags as text, if the task has tags; UserError, by row, where they are not one for one."""
    if not has_tags(task):
        return table
    (text,), (label,) = get_columns(task.text), get_columns(task.label)
    words: list[str] = []
    tags: list[str] = []
    cells = zip(table.get(text, "task.text"), table.get(label, "task.label"), strict=True)
    for row, (sentence, tagged) in enumerate(cells):
        try:
            parts, own = _read_parts(sentence, text, "word"), _read_parts(tagged, label, "tag")
            if own and len(parts) != len(own):
                raise UserError(
                    f"{len(parts)} words in column {text!r} and {len(own)} tags in column {label!r}; give every word a tag, "
                    f"or remove the row"
                )
        except UserError as error:
            raise UserError(f"{table.name}, row {row + 1}: {error}") from None
        withheld = task.loader != "local" and set(own) == {"-1"}
        words.append(" ".join(parts))
        tags.append("" if withheld else " ".join(own))
    return dataclasses.replace(table, columns={**table.columns, text: words, label: tags})


def _read_parts(cell: Any, column: str, what: str) -> list[str]:
    """The words, or tags, of a cell: a list, text that is one, or text cut at white space; none where it is empty."""
    if is_missing(cell):
        return []
    if isinstance(cell, str):
        found = find_list(cell)
        if found is None or (what == "word" and not all(isinstance(part, str) for part in found)):
            return cell.split()  # [1] is a word
        cell = found
    if not isinstance(cell, (list, tuple)):
        raise UserError(f"{str(cell)[:60]!r} in column {column!r} is no list of {what}s; {AS_LISTS}")
    parts = []
    for number, part in enumerate(cell, start=1):
        if isinstance(part, (list, tuple)):
            raise UserError(f"{what} {number} in column {column!r} is a list; a row is one sentence: give each a row")
        if isinstance(part, bool) or not isinstance(part, (str, int)):
            raise UserError(f"{what} {number} in column {column!r} is {part!r} and no text; {AS_LISTS}")
        word = str(part)
        if not word or any(map(str.isspace, word)):
            wrong = f"{word!r}, with white space" if word else "empty"
            raise UserError(
                f"{what} {number} in column {column!r} is {wrong}; a {what} has at least one character and no white space: "
                f"make it several, each with a tag of its own, or replace the white space"
            )
        parts.append(word)
    return parts


def list_tags(train: Table, column: str) -> list[str]:
    """Every tag that occurs in a column that :func:`join` made."""
    found = set(chain.from_iterable(cell.split(" ") for cell in train.get(column, "task.label") if cell))
    if found and all(map(INTEGER.fullmatch, found)):
        raise UserError(
            f"{train.name}: the tags in column {column!r} are numbers; name them in their order: "
            f"task.label_names=[{OUTSIDE},B-PER,I-PER,...]"
        )
    if len(found) > MAX_TAGS:
        raise UserError(
            f"{train.name}: column {column!r} has {len(found):,} different tags, above {MAX_TAGS:,}; set task.label"
        )
    return sorted(found)


def choose_scheme(task: TaskConfig, names: Collection[str]) -> str:
    """``task.tag_scheme``, or the one these tags are of; UserError for tags that it has not, or where it is not clear."""
    spaced = [name for name in names if not name or any(map(str.isspace, name))]
    if spaced:
        raise UserError(f"task.label_names has {spaced[0]!r}; a tag has at least one character and no white space")
    if task.tag_scheme is None:
        scheme = find_scheme(names)
        if scheme is None:
            raise UserError(
                f"the tags of {task.name} are of no scheme: {', '.join(sorted(names)[:10])}; write them as B-PER, I-PER and "
                f"{OUTSIDE}, or set task.tag_scheme=plain if each is the name of a type"
            )
        return scheme
    if foreign := list_foreign(names, task.tag_scheme):
        raise UserError(
            f"task.tag_scheme={task.tag_scheme} has no tag {foreign[0]!r}; its tags are {OUTSIDE} and "
            f"{', '.join(f'{prefix}-<type>' for prefix in SCHEMES[task.tag_scheme])}; correct it, or choose another: "
            f"{', '.join(SCHEMES)}"
        )
    return task.tag_scheme
