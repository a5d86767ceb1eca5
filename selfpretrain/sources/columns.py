"""What kind of labels a column holds: classes, scores or lists; where that is doubtful, it is refused with the ways
to say what is meant.

A label is the text it is: ``01`` is not ``1`` and ``1.10`` is not ``1.1``. White space at its ends is left out.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

from selfpretrain.config import UserError
from selfpretrain.sources.tables import Table

MAX_SURE_NUMBERS = 20  # more different whole numbers, or no more different fractions, may be classes or scores
RARE = 0.05  # of the rows; a class of fewer that is named as people name what is missing may be no class
MISSING_WORDS = ("nan", "na", "n/a", "#n/a", "null", "none", "<na>", "nil")
MOSTLY = 0.9  # of the labels are numbers: then all should be
SEPARATORS = "|;,"
INTEGER = re.compile(r"0|-?[1-9][0-9]*")
# as Python and JSON write one; with an exponent only where it has a sign, since 1E2 may be a code
PLAIN = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:e[+-][0-9]{2,})?")
NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
# 1,5 and 1.234,5 and 1,234.5 and 1 234 and 50 % and $ 5: numbers to people
_GROUPED = re.compile(
    r"[+-]?[$\u20ac\u00a3]?\s?[0-9]{1,3}(?:[,.' \u00a0\u202f\u2019]?[0-9]{3})*(?:[.,][0-9]+)?\s?[%$\u20ac\u00a3]?"
)
_WRITTEN = re.compile(r"[,' \u00a0\u202f\u2019%$\u20ac\u00a3]|\..*\.")  # what sets them apart from codes
_LIST = re.compile(r"\s*(?:\[.*\]|\{.*\}|\(.*,.*\))\s*", re.DOTALL)
_NUMPY_LIST = re.compile(r"['\"]\s+['\"]|[0-9]\s+[0-9]")
MAX_DIGITS = 15  # of a whole number that a float holds


def get_columns(value: Any) -> list[str]:
    """``task.text``, ``task.label`` and the like as a list: they may be one name or several."""
    if value is None:
        return []
    return [str(name) for name in value] if isinstance(value, (list, tuple)) else [str(value)]


def format_rows(rows: Sequence[int]) -> str:
    """``rows 3, 8, 9 and 4 more``, counted from 1 as the user sees them."""
    shown = ", ".join(str(row + 1) for row in rows[:5])
    more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
    return f"row{'s' if len(rows) > 1 else ''} {shown}{more}"


def is_missing(value: Any) -> bool:
    """No label: an empty cell, JSON's null, a number that is NaN. The words null, None, NA and nan are text."""
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (isinstance(value, str) and not value.strip())


def to_text(value: Any) -> str:
    """A label as text; of a number that is stored as one, 1.0 is 1."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return str(value)


def to_number(value: Any) -> float | None:
    """The value as a finite number, or None where it is not one or a float would change its digits."""
    text = to_text(value)
    if not NUMBER.fullmatch(text) or (INTEGER.fullmatch(text) and len(text.lstrip("-").rstrip("0")) > MAX_DIGITS):
        return None
    number = float(text)
    return number if math.isfinite(number) else None


def infer_kind(columns: list[str], train: Table) -> str:
    """class, score or multilabel. Raises UserError where the labels leave it open."""
    if len(columns) > 1:
        return "multilabel"
    first: dict[str, int] = {}  # the row of each text of a label, in the rows' order
    counts = Counter[str]()
    for row, value in enumerate(train.get(columns[0], "task.label")):
        if isinstance(value, (list, tuple)):
            return "multilabel"
        if not is_missing(value):
            text = to_text(value)
            first.setdefault(text, row)
            counts[text] += 1
    where = f"{train.name}: column {columns[0]!r}"
    _refuse_lists(where, first)
    plain = {text for text in counts if PLAIN.fullmatch(text)}
    if sum(counts[text] for text in plain) < MOSTLY * counts.total():
        _refuse_written_numbers(where, first, counts)
    elif _infer_from_numbers(where, plain) == "score":
        return "score"
    _refuse_missing_words(train.name, columns[0], first, counts)
    return "class"


def _infer_from_numbers(where: str, distinct: set[str]) -> str:
    # zeros that a number would lose, as in 1.10 beside 1.2: not a fixed count of digits behind the point
    digits = {len(text.partition(".")[2]) for text in distinct}
    loses = len(digits) > 1 and any(re.search(r"\.[0-9]+0$", text) for text in distinct)
    whole = not loses and all(float(text).is_integer() for text in distinct)
    few = len(distinct) <= MAX_SURE_NUMBERS
    if whole and few:
        return "class"
    # a scale of halves or quarters, as of stars, is no numbering of sections or versions
    scale = all((4 * float(text)).is_integer() for text in distinct)
    if not whole and (scale or not few) and not loses:
        return "score"
    shown = sorted(distinct, key=lambda text: (float(text), text))[:5] + ["..."] * (len(distinct) > 5)
    what = "whole numbers" if whole else "numbers"
    why = "; 1.1 and 1.10 would be one number" if loses else ""
    raise UserError(
        f"{where} has {len(distinct)} different {what} ({', '.join(shown)}), which may be classes or scores{why}; "
        f"set task.label_kind=class or task.label_kind=score"
    )


def _refuse_lists(where: str, first: Mapping[str, int]) -> None:
    """Refuse cells that look like several labels each; ``first`` has the first row of each different one, in their order."""
    listed = next(filter(_is_list, first), None)
    if listed is None:
        separator = _see_separator(first)
        listed = next((text for text in first if separator and separator in text), None)
    if listed is not None:
        raise UserError(
            f"{where}, row {first[listed] + 1}: {listed!r} may be several labels; set task.label_kind=multilabel "
            f"to read a list, or task.label_kind=class if it is the name of one class"
        )


def _is_list(text: str) -> bool:
    """[UNK] and (other) are names; ['a', 'b'] and, as numpy prints it, ['a' 'b'] are lists."""
    return bool(_LIST.fullmatch(text)) and (
        bool(_NUMPY_LIST.search(text)) or not isinstance(_parse_list(text), str | None)
    )


def _see_separator(texts: Iterable[str]) -> str | None:
    """The separator of lists such as ``joy|love``: its parts recur in other combinations, or alone."""
    distinct = set(texts)
    for separator in SEPARATORS:
        joined = [text for text in distinct if separator in text and not _GROUPED.fullmatch(text)]
        parts = Counter(part.strip() for text in joined for part in text.split(separator))
        alone = distinct - set(joined)
        shared = [part for part, count in parts.items() if count > 1 or part in alone]
        if len(joined) > 1 and len(shared) > 0.5 * len(parts):
            return separator
    return None


def _refuse_written_numbers(where: str, first: Mapping[str, int], counts: Counter[str]) -> None:
    """Refuse numbers written for people, 1,5 or 1,234 or 50 %: as text each would be a class of its own."""
    written = sum(counts[text] for text in first if _GROUPED.fullmatch(text) or PLAIN.fullmatch(text))
    odd = next((text for text in first if _WRITTEN.search(text) and _GROUPED.fullmatch(text)), None)
    if odd is not None and written >= MOSTLY * counts.total():
        raise UserError(
            f"{where}, row {first[odd] + 1}: {odd!r} may be a number or a name; write numbers plainly, as "
            f"1234.5, and set task.label_kind=score, or set task.label_kind=class if each is the name of a class"
        )


def _refuse_missing_words(name: str, column: str, first: Mapping[str, int], counts: Counter[str]) -> None:
    """Refuse a rare label called NaN or null: a class, or none at all."""
    for text, row in first.items():
        if text.casefold() in MISSING_WORDS and counts[text] < RARE * counts.total():
            raise UserError(
                f"{name}, row {row + 1}: no label in column {column!r}, or a class named {text!r} ({counts[text]} of "
                f"{counts.total()} rows); remove these rows, or set task.label_kind=class, or task.label to another column"
            )


def read_list(value: Any, separator: str | None) -> list[str] | None:
    """One cell as a list of labels: a list, text that is one, or text cut at ``separator``; None for anything else."""
    if is_missing(value):
        return []
    if isinstance(value, str):
        if not _LIST.fullmatch(value):
            return [part.strip() for part in value.split(separator)] if separator else [value.strip()]
        value = _parse_list(value)
    if not isinstance(value, (list, tuple, set)) or any(isinstance(part, (list, tuple, dict, set)) for part in value):
        return None
    return [to_text(part) for part in value if not is_missing(part)]


def find_list(text: str) -> list[Any] | None:
    """The list that a text writes in JSON or as Python does; None where it writes none, UserError for one as NumPy prints it."""
    if not (text.lstrip().startswith("[") and _LIST.fullmatch(text)):
        return None
    if _NUMPY_LIST.search(text):
        raise UserError(f"{text[:60]!r} is a list as NumPy prints it; write it as JSON: json.dumps(list(...))")
    found = parse_value(text)
    return found if isinstance(found, list) else None


def _parse_list(text: str) -> Any:
    return None if _NUMPY_LIST.search(text) else parse_value(text)  # Python would join 'a' 'b' to one


def parse_value(text: str) -> Any:
    """What the text writes in JSON or as Python does; None for anything else."""
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text)
        except (ValueError, SyntaxError):
            continue
    return None


def find_separator(values: Sequence[Any], known: Container[str] = ()) -> str | None:
    """The separator of lists written as ``joy|love`` in these cells: the one that cuts a cell into ``known`` labels,
    that recurs as one, or the only one there is.
    """
    texts = {to_text(value) for value in values if isinstance(value, str) and not _LIST.fullmatch(value)}
    for separator in SEPARATORS:
        parts = [[part.strip() for part in text.split(separator)] for text in texts if separator in text]
        if any(all(part in known for part in each) for each in parts):
            return separator
    used = [separator for separator in SEPARATORS if any(separator in text for text in texts)]
    return _see_separator(texts) or (used[0] if len(used) == 1 else None)
