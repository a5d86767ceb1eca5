"""Tables read from a user's file or from the mirror: CSV and its kin, JSON, Parquet and CoNLL's columns, packed or not.

What a file is, is seen from its content and kept in ``Table.form``. Every mistake in a file is refused in one
line that names the file and the row. Rows are counted from 1, without the header: row 1 is the first example.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfpretrain.config import UserError
from selfpretrain.sources import conll, delimited, formats, jsons
from selfpretrain.sources.strings import BLOCK_ROWS, Gatherer, gather

FORMATS = (".csv", ".tsv", ".jsonl", ".json", ".parquet", ".conll")
MAX_NAMES = 20  # columns named in a message


@dataclass(frozen=True)
class Table:
    """Columns of equal length; ``name`` is how messages call it."""

    name: str
    columns: dict[str, Sequence[Any]]
    num_rows: int
    form: str = ""  # what was recognised: "CSV, semicolons, UTF-8"
    twice: frozenset[str] = frozenset()  # names of several columns; none of them is in columns

    def get(self, column: str, setting: str) -> Sequence[Any]:
        """The column, or a UserError that lists the columns there are."""
        if column in self.twice:
            raise UserError(f"{self.name} has two columns named {column!r}; rename one of them, then set {setting}")
        if column not in self.columns:
            one = len(self.columns) == 1 and self.form.startswith(("CSV", "TSV"))
            split = ", or task.delimiter=<character> if these are several" if one else ""
            raise UserError(
                f"{self.name} has no column {column!r}; its columns are {self.list_names()}: set {setting}=<column>{split}"
            )
        return self.columns[column]

    def list_names(self) -> str:
        """The columns, for messages."""
        names = [repr(name if len(name) <= 60 else f"{name[:60]}...") for name in self.columns]
        more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
        return ", ".join(names[:MAX_NAMES]) + more


def read_table(path: Path, setting: str, delimiter: str | None = None, encoding: str | None = None) -> Table:
    """Read one file, whatever its extension says.

    ``setting`` is the override that names the file (``task.path``), for messages; ``delimiter`` and ``encoding``
    replace what would be recognised. Raises UserError for a file that is missing, empty or not to be read.
    """
    given = f"{setting}={path}"
    if path.is_dir() or not path.exists():
        wrong = "is a folder" if path.is_dir() else "does not exist"
        raise UserError(f"{given} {wrong}; give the path of a {', '.join(FORMATS)} file")
    try:
        found, packing = _read_streaming(path, given) if delimiter is None and encoding is None else (None, [])
    except OSError as error:
        raise UserError(f"{given} cannot be read: {error}; see that you may read it, or copy it again") from error
    if found is None:
        found, packing = _read_whole(path, given, delimiter, encoding)
    if found.num_rows == 0:
        raise UserError(f"{given} has a header but no rows; it needs at least 50 rows")
    counts = Counter(found.names)
    columns = {
        name: column for name, column in zip(found.names, found.columns, strict=True) if name and counts[name] == 1
    }
    twice = frozenset(name for name, count in counts.items() if name and count > 1)
    return Table(str(path), columns, found.num_rows, ", ".join([found.form, *packing]), twice)


def _read_streaming(path: Path, given: str) -> tuple[formats.Content | None, list[str]]:
    """What a file of a kind that is read row by row holds, with its encoding and packing; None for any other file."""
    import pyarrow

    lines, packing = formats.open_unpacked(path)
    with lines:
        if not packing and lines.read(len(formats.PARQUET)) == formats.PARQUET:
            return _read_parquet(pyarrow.OSFile(str(path)), given), []
        lines.seek(0)
        return jsons.read_lines(lines), ["UTF-8", *packing]


def _read_whole(
    path: Path, given: str, delimiter: str | None, encoding: str | None
) -> tuple[formats.Content, list[str]]:
    """The same of any file, which is held in memory."""
    import pyarrow

    content, packing = formats.unpack(path.read_bytes(), given)
    if not content.strip():
        raise UserError(f"{given} is empty; it needs a header and at least 50 rows")
    formats.refuse_foreign(content, given)
    if content.startswith(formats.PARQUET):
        return _read_parquet(pyarrow.BufferReader(content), given), packing
    text, name = formats.decode(content, given, encoding)
    if delimiter is None and conll.is_conll(path.suffixes):
        found = conll.read(text, given)
    elif delimiter is None and jsons.is_json(text, path.suffixes):
        found = jsons.read(text, given)
    else:
        found = delimited.read(text, given, delimiter, path.suffixes)
    return found._replace(columns=list(map(gather, found.columns))), [name, *packing]


def _read_parquet(source: Any, given: str) -> formats.Content:
    """Without Arrow's threads: one that lives at the interpreter's exit aborts the process."""
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(source, buffer_size=1 << 20, pre_buffer=False)
        names = file.schema_arrow.names
        columns = [Gatherer() for _ in names]
        for batch in file.iter_batches(BLOCK_ROWS, use_threads=False):
            for column, cells in zip(columns, batch.columns, strict=True):
                column.extend(cells.to_pylist())
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{given} cannot be read as Parquet: {reason}; it is damaged, copy the file again") from error
    return formats.Content(names, [column.finish() for column in columns], file.metadata.num_rows, "Parquet")
