"""Tagged sentences in columns: a word with its tag a line, a blank line after each sentence, as the tasks of CoNLL had them.

Columns are parted by tabs, or else by spaces: the first is the word, the last its tag. A line that begins with -DOCSTART-,
#begin document or #end document is none of a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from selfpretrain.config import UserError
from selfpretrain.sources.formats import Content

SUFFIXES = (".conll",)
_BETWEEN = re.compile(r"-DOCSTART-|#(?:begin|end) document")


def is_conll(suffixes: Sequence[str]) -> bool:
    """By the name alone: a table without a header may hold the same."""
    return any(suffix.lower() in SUFFIXES for suffix in suffixes)


def read(text: str, given: str) -> Content:
    """A row for each sentence, a list of its words' entries in each column: ``tokens`` is the first, ``ner_tags`` the last,
    ``2``, ``3`` and so on are between. UserError, with its line, for another number of columns than the first line has.
    """
    sentences: list[list[list[str]]] = [[]]
    width = 0
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.rstrip("\r")
        if not line.strip() or _BETWEEN.match(line):
            sentences.append([])
            continue
        entries = line.split("\t") if "\t" in line else line.strip(" ").split()
        width = width or len(entries)
        if len(entries) != width or width < 2:
            raise UserError(
                f"{given}, line {number} has {len(entries)} columns, the first line {width}; each line is a word, its tag last, "
                f"with a tab or spaces between, and a blank line follows a sentence"
            )
        sentences[-1].append(entries)
    rows = [list(zip(*sentence, strict=True)) for sentence in sentences if sentence]
    names = ["tokens", *map(str, range(2, width)), "ner_tags"]
    columns = [[list(row[column]) for row in rows] for column in range(width)]
    return Content(names, columns or [[], []], len(rows), "CoNLL, a sentence a row")
