"""JSON as a table: an object per line, objects one after the other, or an array of objects."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from selfpretrain.config import UserError
from selfpretrain.sources.formats import UNPACK_ERRORS, Content
from selfpretrain.sources.strings import BLOCK_ROWS, Gatherer

# an object, or an array that holds something; a CSV whose header begins with a bracket is none
_BEGINS_AS_JSON = re.compile(r"""\s*(?:\{\s*["'}]|\[\s*[\{\[\]"])""")
SUFFIXES = (".json", ".jsonl", ".ndjson")
WAYS = "write one object per line, or an array of objects"


def is_json(text: str, suffixes: Sequence[str]) -> bool:
    """Whether this is JSON, well-formed or not: by how it begins, or by the file's name where that says nothing."""
    return bool(_BEGINS_AS_JSON.match(text)) or any(suffix.lower() in SUFFIXES for suffix in suffixes)


def read(text: str, given: str) -> Content:
    """The rows of a JSON file; UserError, with its line, for what is no JSON or no table."""
    twice: set[str] = set()

    def build(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        row = dict(pairs)
        if len(row) < len(pairs):
            names = [name for name, _ in pairs]
            twice.update(name for name in row if names.count(name) > 1)
        return row

    values = list(_iter_values(text, given, json.JSONDecoder(object_pairs_hook=build)))
    rows, form = _find_rows([value for _, value in values], given)
    lines = [line for line, _ in values] if len(values) == len(rows) else []
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            place = f"line {lines[number]}" if lines else f"row {number + 1}"
            raise UserError(f"{given}, {place} is not a JSON object; {WAYS}")
    # a name that an object has twice stands twice here, too, also where the object was inside of a row
    names = [*dict.fromkeys(itertools.chain.from_iterable(rows)), *twice, *twice]
    return Content(names, [[row.get(name) for row in rows] for name in names], len(rows), form)


def read_lines(lines: Iterable[bytes]) -> Content | None:
    """The rows of a file of one object per line, held as columns alone; None for any other, which :func:`read` is to read or
    to refuse: whatever is not plain here, an encoding, a name that stands twice, a line that is no object.
    """

    def build(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        row = dict(pairs)
        if len(row) < len(pairs):
            raise ValueError("a name that stands twice")
        return row

    columns: dict[str, Gatherer] = {}
    num_rows = 0
    values = _iter_plain(lines, json.JSONDecoder(object_pairs_hook=build))
    try:
        while rows := list(itertools.islice(values, BLOCK_ROWS)):
            for name in dict.fromkeys(itertools.chain(columns, *rows)):
                columns.setdefault(name, Gatherer(num_rows)).extend([row.get(name) for row in rows])
            num_rows += len(rows)
    except (ValueError, *UNPACK_ERRORS):
        return None
    if num_rows < 2:  # one object may hold all rows
        return None
    return Content(list(columns), [column.finish() for column in columns.values()], num_rows, "JSON objects")


def _iter_plain(lines: Iterable[bytes], decoder: json.JSONDecoder) -> Iterator[dict[str, Any]]:
    for line in lines:
        text = line.decode()
        if "\0" in text:
            raise ValueError("a zero byte")
        if text.strip():
            value = _decode_line(text.removesuffix("\n"), decoder)
            if not isinstance(value, dict):
                raise ValueError("no object")
            yield value


def _decode_line(line: str, decoder: json.JSONDecoder) -> Any:
    """``decoder.decode(line)``, which a value from end to end does not need: it looks for white space with patterns."""
    text = line.strip(" \t\r")
    try:
        value, end = decoder.raw_decode(text)
    except json.JSONDecodeError:
        end = -1
    return value if end == len(text) else decoder.decode(line)


def _iter_values(text: str, given: str, decoder: json.JSONDecoder) -> Iterator[tuple[int, Any]]:
    """Each JSON value with the number of its first line, whether it has a line of its own or several."""
    # not splitlines(): it would also break at characters such as U+2028 inside a string
    lines = text.split("\n")
    first = next((line for line in lines if line.strip()), "")
    try:
        decoder.decode(first)
    except json.JSONDecodeError:
        yield from _iter_long_values(text, given, decoder)
        return
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield number, _decode_line(line, decoder)
            except json.JSONDecodeError as error:
                raise UserError(f"{given}, line {number} is not JSON: {error}{_advise(line)}; {WAYS}") from error


def _iter_long_values(text: str, given: str, decoder: json.JSONDecoder) -> Iterator[tuple[int, Any]]:
    blank = re.compile(r"\s*")
    place, line = 0, 1
    while True:
        begin = blank.match(text, place).end()  # type: ignore[union-attr]
        line += text.count("\n", place, begin)
        if begin == len(text):
            return
        try:
            value, place = decoder.raw_decode(text, begin)
        except json.JSONDecodeError as error:
            reason = f"{error}{_advise(text[begin : begin + 200])}"
            raise UserError(f"{given}, line {error.lineno} is not JSON: {reason}; {WAYS}") from error
        yield line, value
        line += text.count("\n", begin, place)


def _advise(text: str) -> str:
    return " (JSON has double quotes: write it with json.dumps)" if re.match(r"\s*[\[{]\s*'", text) else ""


def _find_rows(values: list[Any], given: str) -> tuple[list[Any], str]:
    """The objects, and what held them."""
    value = values[0] if len(values) == 1 else None
    if isinstance(value, list):
        return value, "a JSON array"
    if isinstance(value, dict):
        inside = [name for name, held in value.items() if isinstance(held, list) and held and isinstance(held[0], dict)]
        if len(inside) == 1:
            return value[inside[0]], f"the JSON array {inside[0]!r}"
        if any(isinstance(held, (list, dict)) for held in value.values()):
            raise UserError(
                f"{given} is one JSON object with the columns {', '.join(map(repr, list(value)[:10]))}; {WAYS} "
                f"(pandas: to_json(orient='records', lines=True))"
            )
    return values, "JSON objects"
