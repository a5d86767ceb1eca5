"""Which columns of a user's file are likely its text and its label: what ``selfpretrain init`` proposes, with the reasons.

A study itself never guesses. Names count first, then what the cells are: a text has many words, a label recurs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from selfpretrain.config import TaskConfig, UserError
from selfpretrain.sources.columns import PLAIN, get_columns, is_missing, to_text
from selfpretrain.sources.labels import BINARY, MAX_CLASSES
from selfpretrain.sources.tables import Table

LOOKED_AT = 20_000  # rows, evenly over the file
MAX_LABEL_WORDS = 5  # on average; a column of longer cells is text
MIN_TEXT_WORDS = 2  # on average, for a column that is not named as a text is
TEXTS = (
    "text",
    "body",
    "sentence",
    "review",
    "content",
    "comment",
    "tweet",
    "document",
    "message",
    "utterance",
    "question",
)
PAIRS = (
    ("premise", "hypothesis"), ("sentence1", "sentence2"), ("sentence_1", "sentence_2"), ("question1", "question2"), ("text1", "text2"),
    ("text_1", "text_2"), ("text_a", "text_b"), ("sentence_a", "sentence_b"), ("question", "sentence"), ("query", "passage"),
    ("query", "document"), ("question", "answer"),
)  # fmt: skip
LABELS = (
    "label", "labels", "class", "target", "category", "topic", "sentiment", "intent", "emotion", "stars", "rating", "score",
    "gold_label", "polarity", "answer", "y",
)  # fmt: skip
TAGS = ("ner_tags", "pos_tags", "tags", "labels")
WORDS = ("tokens", "words")
OTHERS = {  # columns that recur, or are long, and say something else
    "id", "idx", "index", "split", "fold", "set", "lang", "language", "source", "date", "time", "timestamp", "year", "month",
    "day", "user", "author", "url", "link", "file", "version", "hash", "guid", "uuid",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Column:
    """What is seen of a column."""

    name: str
    kind: str  # text | number | list | object
    num_words: float  # of a cell, on average; of a list entries
    values: frozenset[str]  # the different ones
    num_rows: int  # looked at

    @property
    def simple(self) -> str:
        return self.name.strip().casefold().replace(" ", "_").replace("-", "_")

    @property
    def says_otherwise(self) -> bool:
        return not OTHERS.isdisjoint(self.simple.split("_"))

    @property
    def recurs(self) -> bool:
        """Whether these may be classes: several, each of several rows on average, and short."""
        most = min(max(MAX_CLASSES, self.num_rows // 10), self.num_rows // 2)
        return self.kind in ("text", "number") and 2 <= len(self.values) <= most and self.num_words <= MAX_LABEL_WORDS


def guess_columns(task: TaskConfig, table: Table) -> tuple[TaskConfig, dict[str, str]]:
    """The task with the likeliest columns where none are named, and the reason of each setting that was chosen.

    Raises UserError where the file has but one column, or none that looks like a text, or like a label.
    """
    if len(table.columns) < 2 and table.twice:
        raise UserError(
            f"{table.name} has two columns named {min(table.twice)!r}; rename one of them: every column needs a name of its own"
        )
    if len(table.columns) < 2:
        split = (
            ", or set task.delimiter=<character> if it holds several" if table.form.startswith(("CSV", "TSV")) else ""
        )
        raise UserError(
            f"{table.name} has one column only, {table.list_names()}; a task needs a text and a label: add a column{split}"
        )
    columns = [_look_at(name, cells) for name, cells in table.columns.items()]
    task, reasons = _guess_by_names(task, {column.simple: column for column in columns})
    given = {
        *get_columns(task.text),
        *get_columns(task.label),
        *get_columns(task.options),
        *filter(None, (task.id, task.group)),
    }
    left = [column for column in columns if column.name not in given]
    if not get_columns(task.text):
        chosen, reasons["text"] = _choose_text(left, table)
        task = dataclasses.replace(task, text=[chosen.name])
        left.remove(chosen)
    if not get_columns(task.label):
        names, reasons["label"] = _choose_label(left, table)
        task = dataclasses.replace(task, label=names)
    return task, reasons


def _look_at(name: str, cells: Sequence[Any]) -> Column:
    seen = [cell for cell in cells[:: -(-len(cells) // LOOKED_AT)] if not is_missing(cell)]
    if any(isinstance(cell, (list, tuple, dict)) for cell in seen):
        is_list = all(isinstance(cell, (list, tuple)) for cell in seen)
        sizes = [len(cell) for cell in seen] if is_list else [0]
        return Column(name, "list" if is_list else "object", float(np.mean(sizes)), frozenset(), len(seen))
    texts = [to_text(cell) for cell in seen]
    kind = "number" if texts and all(map(PLAIN.fullmatch, texts)) else "text"
    words = float(np.mean([len(text.split()) for text in texts])) if texts else 0.0
    return Column(name, kind, words, frozenset(texts), len(texts))


def _guess_by_names(task: TaskConfig, columns: dict[str, Column]) -> tuple[TaskConfig, dict[str, str]]:
    """Pairs, questions with their contexts, and tagged words are known by the names of their columns together."""
    if get_columns(task.text) or task.options is not None:
        return task, {}

    def choose(why: str, texts: Sequence[str], label: str | None = None, kind: str | None = None) -> Any:
        text = [columns[name].name for name in texts]
        named = task.label if label is None or get_columns(task.label) else [columns[label].name]
        reasons = {"text": why} | ({"label": why} if label is not None and named is not task.label else {})
        return dataclasses.replace(task, text=text, label=named, label_kind=task.label_kind or kind), reasons

    answers = next((name for name in ("answers", "answer") if name in columns), None)
    if answers and {"question", "context"} <= columns.keys() and task.label_kind in (None, "span"):
        return choose("named as questions that a part of the context answers", ("question", "context"), answers, "span")
    words = next((name for name in WORDS if name in columns and columns[name].kind == "list"), None)
    tags = next((name for name in TAGS if name in columns and columns[name].kind == "list"), None)
    if words and (tags or get_columns(task.label)):
        return choose("named as words and their tags", (words,), tags)
    for pair in PAIRS:
        if columns.keys() >= set(pair) and all(columns[name].kind == "text" for name in pair):
            if pair[1] == "answer" and columns["answer"].recurs:  # yes and no are the label
                continue
            return choose("named as a pair", pair)
    return task, {}


def _choose_text(columns: Sequence[Column], table: Table) -> tuple[Column, str]:
    texts = [column for column in columns if column.kind == "text" and not column.says_otherwise]
    named = [c for name in TEXTS for c in texts if c.simple == name and c.num_words >= MIN_TEXT_WORDS and not c.recurs]
    texts = [c for c in texts if c.num_words >= MIN_TEXT_WORDS and not (c.simple in LABELS and c.recurs)]
    if not texts:
        raise UserError(
            f"{table.name}: no column looks like a text, of two words or more; name it: task.text=<column> of {table.list_names()}"
        )
    if named:
        return named[0], f"named as texts are; {named[0].num_words:.3g} words on average"
    chosen = max(texts, key=lambda column: column.num_words)
    others = ", ".join(f"{column.name} {column.num_words:.3g}" for column in texts if column is not chosen)
    return chosen, f"{chosen.num_words:.3g} words on average" + (
        f", the most of the text columns ({others})" if others else ""
    )


def _choose_label(columns: Sequence[Column], table: Table) -> tuple[list[str], str]:
    named = [column for name in LABELS for column in columns if column.simple == name and len(column.values) != 1]
    named = [c for c in named if c.kind in ("number", "list") or c.recurs]
    if named:
        return [named[0].name], "named as labels are"
    likely = [column for column in columns if column.recurs and not column.says_otherwise]
    binary = [column for column in likely if {value.lower() for value in column.values} <= BINARY.keys()]
    if len(binary) > 1 and len(binary) == len(likely):
        return [column.name for column in binary], f"{len(binary)} columns of 0 and 1: several labels at once"
    if not likely:
        raise UserError(
            f"{table.name}: no column looks like a label, of a few values that recur; name it: task.label=<column> of "
            f"{table.list_names()}"
        )
    chosen = min(reversed(likely), key=lambda column: len(column.values))  # of equal ones the last
    others = ", ".join(f"{column.name} {len(column.values)}" for column in likely if column is not chosen)
    why = f"{len(chosen.values)} different values in {chosen.num_rows:,} rows"
    return [chosen.name], why + (
        f", the fewest of the columns that recur ({others})" if others else ", the only column that recurs"
    )
