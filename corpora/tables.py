"""Tables read from a user's file or from the mirror: CSV, TSV, JSONL and Parquet, each also as ``.gz``.

Every mistake in a file is refused in one line that names the file and the row. Rows are counted from 1,
without the header: row 1 is the first example.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfpretrain.config import UserError

FORMATS = (".csv", ".tsv", ".jsonl", ".parquet")


@dataclass(frozen=True)
class Table:
    """Columns of equal length; ``name`` is how messages call it."""

    name: str
    columns: dict[str, Sequence[Any]]
    num_rows: int

    def get(self, column: str, setting: str) -> Sequence[Any]:
        """The column, or a UserError that lists the columns there are."""
        if column not in self.columns:
            names = ", ".join(repr(name) for name in self.columns)
            raise UserError(f"{self.name} has no column {column!r}; its columns are {names}: set {setting}=<column>")
        return self.columns[column]


def read_table(path: Path, setting: str) -> Table:
    """Read one file; the extension says the format.

    ``setting`` is the override that names the file (``task.path``), for messages. Raises UserError for a file
    that is missing, empty, not UTF-8, of an unknown extension or not of the format its extension says.
    """
    if not path.exists():
        raise UserError(f"{setting}={path} does not exist; give the path of a {', '.join(FORMATS)} file")
    if path.is_dir():
        raise UserError(f"{setting}={path} is a folder; give the path of a {', '.join(FORMATS)} file")
    suffix = _get_format(path, setting)
    try:
        content = path.read_bytes()
        if path.suffix.lower() == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{setting}={path} cannot be read: {error}") from error
    if not content.strip():
        raise UserError(f"{setting}={path} is empty; it needs a header and at least 50 rows")
    if suffix == ".parquet":
        table = _read_parquet(content, path, setting)
    elif suffix == ".jsonl":
        table = _read_jsonl(_decode(content, path, setting), path)
    else:
        table = _read_delimited(_decode(content, path, setting), path, setting, tabs=suffix == ".tsv")
    if table.num_rows == 0:
        raise UserError(f"{setting}={path} has a header but no rows; it needs at least 50 rows")
    return table


def _get_format(path: Path, setting: str) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    suffix = suffixes[-1] if suffixes else ""
    if suffix not in FORMATS:
        raise UserError(f"{setting}={path}: extension {suffix or '(none)'} is not known; allowed: {', '.join(FORMATS)}")
    return suffix


def _decode(content: bytes, path: Path, setting: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{setting}={path} is not UTF-8: byte {error.start} (line {line}) is 0x{content[error.start]:02x}; "
            f"save the file as UTF-8, or convert it: iconv -f latin1 -t utf-8"
        ) from error


def _read_delimited(text: str, path: Path, setting: str, tabs: bool) -> Table:
    """CSV, or TSV: whose quotes are quotes where that reads without an error, and plain characters otherwise."""
    # a field may be a whole article; the module's limit is 128 KiB
    csv.field_size_limit(2**31 - 1)
    delimiter = "\t" if tabs else ","
    try:
        return _split_rows(text, path, setting, delimiter, csv.QUOTE_MINIMAL)
    except UserError:
        if not tabs:
            raise
        return _split_rows(text, path, setting, delimiter, csv.QUOTE_NONE)


def _split_rows(text: str, path: Path, setting: str, delimiter: str, quoting: int) -> Table:
    # newline="" leaves line breaks inside quoted fields as they are
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting, strict=True)  # type: ignore[arg-type]
    rows: list[list[str]] = []
    header: list[str] = []
    try:
        for fields in reader:
            if not fields:
                continue
            if not header:
                header = [name.strip() for name in fields]
                continue
            rows.append(fields)
            if len(fields) != len(header):
                raise UserError(
                    f"{setting}={path}, row {len(rows)} (line {reader.line_num}) has {len(fields)} fields, the header "
                    f"has {len(header)}; put fields that hold {'tabs' if delimiter == chr(9) else 'commas'} in quotes"
                )
    except csv.Error as error:
        raise UserError(f"{setting}={path}, row {len(rows) + 1} (line {reader.line_num}): {error}") from error
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise UserError(f"{setting}={path} has two columns named {twice[0]!r}; rename one of them")
    columns = zip(*rows, strict=True) if rows else [()] * len(header)
    return Table(str(path), dict(zip(header, columns, strict=True)), len(rows))


def _read_jsonl(text: str, path: Path) -> Table:
    rows: list[dict[str, Any]] = []
    # not splitlines(): it would also break at characters such as U+2028 inside a string
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{path}, line {number} is not JSON: {error}; write one object per line") from error
        if not isinstance(row, dict):
            raise UserError(f"{path}, line {number} is not a JSON object; write one object per line")
        rows.append(row)
    names: dict[str, None] = {}
    for row in rows:
        names.update(dict.fromkeys(row))
    return Table(str(path), {name: [row.get(name) for row in rows] for name in names}, len(rows))


def _read_parquet(content: bytes, path: Path, setting: str) -> Table:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(io.BytesIO(content))
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{setting}={path} cannot be read as Parquet: {reason}; the extension must say the format"
        ) from error
    return Table(str(path), {name: table.column(name).to_pylist() for name in table.column_names}, table.num_rows)
