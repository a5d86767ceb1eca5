"""CSV and its kin: which delimiter a file has, and its rows.

With tabs, quotes are characters and a cell never spans lines, unless every name of the header is in quotes. With
other delimiters quotes are those of RFC 4180, and a quoted cell may hold line breaks.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from selfpretrain.config import UserError
from selfpretrain.sources.formats import Content

NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "pipes"}
WORDS = {"comma": ",", "semicolon": ";", "tab": "\t", "\\t": "\t", "pipe": "|", "space": " "}
PEEK_ROWS = 200  # looked at to choose a delimiter, of as many characters at most
PEEK_CHARACTERS = 1 << 20
MAX_OTHER_LABELS = 0.5  # of the rows; a column with more different cells says nothing about a swallowed line


def read(text: str, given: str, delimiter: str | None, suffixes: Sequence[str]) -> Content:
    """The table in ``text``; ``delimiter`` is ``task.delimiter``, None where it is to be seen."""
    # a field may be a whole article; the module's limit is 128 KiB
    csv.field_size_limit(2**31 - 1)
    said = re.match(r"\s*\"?sep=([^\"\r\n])\"?[ \t]*\r?\n", text)
    skipped = 0
    if said:  # how Excel marks the delimiter
        text, skipped = text[said.end() :], 1
    chosen = _resolve(delimiter) or (said and said[1]) or _see(text, suffixes)
    header, rows, lines = _split(text, given, chosen, skipped)
    if chosen != "\t":
        _refuse_swallowed(header, rows, lines, given, chosen)
    elif all(_is_quoted(name) for name in header):
        header, rows = _unquote(header), list(map(_unquote, rows))
    names = [name.strip() for name in header]
    _refuse_repeated_header(names, rows, given)
    form = f"{'TSV' if chosen == chr(9) else 'CSV'}, {_name(chosen)}"
    return Content(names, list(zip(*rows, strict=True)) or [()] * len(names), len(rows), form)


def _resolve(delimiter: str | None) -> str | None:
    if delimiter is None:
        return None
    chosen = WORDS.get(delimiter.lower(), delimiter)
    if len(chosen) != 1 or chosen in '"\r\n':
        raise UserError(f"task.delimiter={delimiter} is not one character; allowed: {', '.join(WORDS)}, or a character")
    return chosen


def _name(delimiter: str) -> str:
    return NAMES.get(delimiter, f"delimiter {delimiter!r}")


def _see(text: str, suffixes: Sequence[str]) -> str:
    """The delimiter with which the first rows have the header's width most often; then the wider header."""
    usual = "\t" if any(suffix.lower() in (".tsv", ".tab") for suffix in suffixes) else ","
    head = text[:PEEK_CHARACTERS]
    best, chosen = (0.0, 0, False), usual
    for delimiter in NAMES:
        rows = [fields for fields, _ in itertools.islice(_iter_rows(head, delimiter, strict=False), PEEK_ROWS)]
        if len(rows) > 1 and len(head) < len(text):
            rows.pop()  # the last may be cut
        width = len(rows[0]) if rows else 0
        if width > 1:
            share = sum(_fit(row, width) is not None for row in rows) / len(rows)
            best, chosen = max((best, chosen), ((share, width, delimiter == usual), delimiter))
    return chosen


def _iter_rows(text: str, delimiter: str, strict: bool = True) -> Iterator[tuple[list[str], int]]:
    """The rows that are not blank, each with the number of its last line."""
    # newline="" leaves line breaks inside quoted fields as they are
    stream = io.StringIO(text, newline="")
    if delimiter == "\t":
        reader = csv.reader(stream, delimiter=delimiter, quoting=csv.QUOTE_NONE, strict=strict)
    else:
        reader = csv.reader(stream, delimiter=delimiter, strict=strict)
    for fields in reader:
        if fields:
            yield fields, reader.line_num


def _fit(row: list[str], width: int) -> list[str] | None:
    """The row in the header's width; what a delimiter too many at its end adds is empty and left out."""
    if len(row) == width:
        return row
    return row[:width] if len(row) > width and not any(row[width:]) else None


def _split(text: str, given: str, delimiter: str, skipped: int) -> tuple[list[str], list[list[str]], list[int]]:
    """The header, the rows and the number of each one's last line; ``skipped`` lines stood before the header."""
    rows: list[list[str]] = []
    lines: list[int] = []
    header: list[str] = []
    line = skipped
    try:
        for fields, end in _iter_rows(text, delimiter):
            line = end + skipped
            if not header:
                header = fields
                named = max((i + 1 for i, name in enumerate(header) if name.strip()), default=0)
                continue
            if named <= len(fields) < len(header):
                fields = fields + [""] * (len(header) - len(fields))  # only columns without a name are lacking
            row = _fit(fields, len(header))
            if row is None:
                raise UserError(_explain_width(given, len(rows) + 1, line, len(fields), len(header), delimiter))
            rows.append(row)
            lines.append(line)
    except csv.Error as error:
        raise UserError(
            f"{given}, row {len(rows) + 1} (from line {line + 1}): {error}; a quote inside a quoted cell is written twice, "
            f"and a quoted cell ends with a quote"
        ) from error
    return header, rows, lines


def _explain_width(given: str, row: int, line: int, found: int, wanted: int, delimiter: str) -> str:
    cure = f"put cells that hold {_name(delimiter)} in quotes, or name another delimiter: task.delimiter=<character>"
    if delimiter == "\t":
        cure = "in a file with tabs a cell holds no tab and no line break; save it as CSV if cells do"
    return f"{given}, row {row} (line {line}) has {found} fields, the header has {wanted}, split at {_name(delimiter)}; {cure}"


def _refuse_swallowed(header: list[str], rows: list[list[str]], lines: list[int], given: str, delimiter: str) -> None:
    """Refuse a quote that swallowed rows: lines inside one cell that end as other rows do.

    A cell may hold line breaks. But where a line of it, split by itself, has the right width and its other cells
    are those of other rows (labels recur), it was a row.
    """
    spanning = [number for number, row in enumerate(rows) if any("\n" in cell for cell in row)]
    if not spanning:
        return
    recurring = [_list_recurring(rows, column) for column in range(len(header))]
    for number in spanning:
        for column, cell in enumerate(rows[number]):
            swallowed = _find_row(cell, column, delimiter, recurring)
            if swallowed is not None:
                raise UserError(
                    f"{given}, row {number + 1} (to line {lines[number]}): a quote opens a cell that runs over several "
                    f"rows, such as {swallowed[:60]!r}; remove the quote, or write it twice inside a quoted cell"
                )


def _find_row(cell: str, column: int, delimiter: str, recurring: list[set[str]]) -> str | None:
    """A line of the cell that reads like a row, or like what is left of one before or after the quotes."""
    pieces = cell.split("\n")
    width = len(recurring)
    spans = [(column, width), *[(0, width)] * (len(pieces) - 2), (0, column + 1)]
    for (begin, end), piece in zip(spans, pieces, strict=False):
        fields = piece.rstrip("\r").split(delimiter)
        if len(pieces) > 1 and len(fields) == end - begin > 1:
            others = zip(fields, recurring[begin:end], strict=True)
            if any(field.strip() in known for field, known in others if field.strip()):
                return piece
    return None


def _list_recurring(rows: list[list[str]], column: int) -> set[str]:
    """The cells of a column that occur in several rows, where most do: labels, not texts."""
    counts = Counter(row[column].strip() for row in rows)
    most = len(counts) <= MAX_OTHER_LABELS * len(rows)
    return {cell for cell, count in counts.items() if most and count > 1}


def _is_quoted(cell: str) -> bool:
    return len(cell) > 1 and cell.startswith('"') and cell.endswith('"')


def _unquote(cells: list[str]) -> list[str]:
    return [cell[1:-1].replace('""', '"') if _is_quoted(cell) else cell for cell in cells]


def _refuse_repeated_header(names: list[str], rows: list[list[str]], given: str) -> None:
    for number, row in enumerate(rows if len(names) > 1 else []):
        cells = zip(row, names, strict=True)
        if all(len(cell) < 2 * len(name) + 10 and cell.strip().casefold() == name.casefold() for cell, name in cells):
            raise UserError(
                f"{given}, row {number + 1} repeats the header; remove that line (files joined with their headers?)"
            )
