"""Texts by the million: a column of strings lies in two buffers, as Arrow lays it out, and not as an object for each.

    <name>.utf8    the UTF-8 of all strings, one after the other
    <name>.npy     int64 [N + 1], where each begins, in bytes, and where the last one ends

A column in memory takes the bytes of its text and eight more for each string; one on the disk is mapped, and so is a large one
while it is read, from a file without a name (in ``$TMPDIR``). Choosing and ordering rows copies no text.
"""

from __future__ import annotations

import mmap
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any, SupportsIndex, TypeVar, overload

import numpy as np
import numpy.typing as npt

from selfpretrain.config import UserError
from selfpretrain.files import WRITE_ERRORS

BLOCK_ROWS = 1_000  # strings made, or cells gathered, at once
HELD_BYTES = 2 << 20  # of a column that is gathered, in memory; what comes before is in a file

T = TypeVar("T")
Ints = npt.NDArray[np.int64]


class _Columnar(Sequence[T]):
    """A sequence of which rows are chosen without a copy; equal to any sequence of equal items."""

    def take(self, rows: Ints) -> _Columnar[T]:
        raise NotImplementedError

    def get(self, row: int) -> T:
        raise NotImplementedError

    @overload
    def __getitem__(self, place: SupportsIndex) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> _Columnar[T]: ...
    def __getitem__(self, place: SupportsIndex | slice) -> T | _Columnar[T]:
        if isinstance(place, slice):
            return self.take(np.arange(len(self))[place])
        return self.get(range(len(self))[place])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]


class Strings(_Columnar[str]):
    """N strings; ``starts`` int64 [M + 1] are the places in ``data`` of M of which ``rows`` [N] are chosen, else all."""

    def __init__(self, data: bytes | bytearray | mmap.mmap, starts: Ints, rows: Ints | None = None):
        self._data, self._starts, self._rows = data, starts, rows

    def __len__(self) -> int:
        return len(self._starts) - 1 if self._rows is None else len(self._rows)

    def __iter__(self) -> Iterator[str]:
        data = self._data
        for first in range(0, len(self), BLOCK_ROWS):
            last = min(first + BLOCK_ROWS, len(self))
            rows = np.arange(first, last) if self._rows is None else self._rows[first:last]
            for begin, end in zip(self._starts[rows].tolist(), self._starts[rows + 1].tolist(), strict=True):
                yield data[begin:end].decode()

    def get(self, row: int) -> str:
        place = row if self._rows is None else self._rows[row]
        return self._data[self._starts[place] : self._starts[place + 1]].decode()

    def take(self, rows: Ints) -> Strings:
        """The strings in these rows, in their order; they share the buffers."""
        return Strings(self._data, self._starts, rows if self._rows is None else self._rows[rows])

    @classmethod
    def load(cls, stem: Path) -> Strings:
        """What :func:`write_strings` wrote, mapped, not read."""
        starts = np.load(f"{stem}.npy", mmap_mode="r", allow_pickle=False)
        with open(f"{stem}.utf8", "rb") as file:
            # an empty file cannot be mapped
            return cls(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if starts[-1] else b"", starts)


class TextRows(_Columnar[tuple[str, ...]]):
    """The texts of N examples, column by column; the first ``num_joined`` columns make one text, a line of it each."""

    def __init__(self, columns: Sequence[Strings], num_joined: int = 0):
        self.columns, self.num_joined = columns, num_joined

    def __len__(self) -> int:
        return len(self.columns[0])

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        rows = zip(*self.columns, strict=True)
        return map(self._join, rows) if self.num_joined else rows

    def get(self, row: int) -> tuple[str, ...]:
        return self._join(tuple(column.get(row) for column in self.columns))

    def take(self, rows: Ints) -> TextRows:
        """The texts in these rows, in their order."""
        return TextRows([column.take(rows) for column in self.columns], self.num_joined)

    def _join(self, texts: tuple[str, ...]) -> tuple[str, ...]:
        if not self.num_joined:
            return texts
        return "\n".join(filter(str.strip, texts[: self.num_joined])), *texts[self.num_joined :]


class Gatherer:
    """Takes the cells of a column, some at a time, and gives them as :class:`Strings` where all are text, else as a list."""

    def __init__(self, num_missing: int = 0):
        self._data = bytearray()
        self._file: IO[bytes] | None = None
        self._sizes = [np.zeros(1, np.int64)]
        self._cells: list[Any] | None = [None] * num_missing if num_missing else None

    def extend(self, cells: Sequence[Any]) -> None:
        encoded = _encode(cells) if self._cells is None else None
        if encoded is not None:
            self._data += b"".join(encoded)
            self._sizes.append(np.fromiter(map(len, encoded), np.int64, len(encoded)))
            if len(self._data) > HELD_BYTES:
                self._spill()
            return
        if self._cells is None:
            self._cells = list(self._finish_strings())
        self._cells.extend(cells)

    def finish(self) -> Sequence[Any]:
        return self._finish_strings() if self._cells is None else self._cells

    def _spill(self) -> None:
        """Move what is in memory to a file without a name, which is gone with the gatherer and the strings it gave.

        UserError where the disk is full.
        """
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115  closed with the gatherer; a map outlives it
                weakref.finalize(self, self._file.close)
            self._file.write(self._data)
            self._file.flush()
        except OSError as error:
            if error.errno not in WRITE_ERRORS:
                raise
            given = f"{tempfile.gettempdir()} cannot be written ({error.strerror})"
            raise UserError(f"{given}; free some space there, or set TMPDIR to a folder on another disk") from error
        self._data = bytearray()

    def _finish_strings(self) -> Strings:
        starts, self._sizes = np.cumsum(np.concatenate(self._sizes)), []
        if self._file is None:
            return Strings(self._data, starts)
        self._spill()
        return Strings(mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ), starts)


def _encode(cells: Sequence[Any]) -> list[bytes] | None:
    """The cells in UTF-8; None where one is no string, or holds half of a surrogate pair, which JSON alone can write."""
    try:
        return [cell.encode() for cell in cells] if all(isinstance(cell, str) for cell in cells) else None
    except UnicodeEncodeError:
        return None


def gather(cells: Iterable[Any]) -> Sequence[Any]:
    """The cells as :class:`Strings` where all are text, else as a list."""
    gatherer, cells = Gatherer(), iter(cells)
    while block := list(islice(cells, BLOCK_ROWS)):
        gatherer.extend(block)
    return gatherer.finish()


def hold(strings: Iterable[str]) -> Strings:
    """The strings, all of which UTF-8 can write, column-wise."""
    held = gather(strings)
    assert isinstance(held, Strings) or not held
    return held if isinstance(held, Strings) else Strings(b"", np.zeros(1, np.int64))


def write_strings(stem: Path, strings: Iterable[str]) -> None:
    """Write ``<stem>.utf8`` and ``<stem>.npy``; in memory are sizes alone."""
    with open(f"{stem}.utf8", "wb") as file:
        sizes = np.fromiter((file.write(string.encode()) for string in strings), np.int64)
    np.save(f"{stem}.npy", np.cumsum(np.append(0, sizes)), allow_pickle=False)


def take(items: Sequence[T], rows: Ints) -> Sequence[T]:
    """The items in these rows, in their order."""
    return items.take(rows) if isinstance(items, _Columnar) else [items[row] for row in rows.tolist()]
