"""Texts by the million: a column of strings lies in two buffers, as Arrow lays it out, and not as an object for each; one of
numbers in an array.

    <name>.utf8    the UTF-8 of all strings, one after the other
    <name>.npy     int64 [N + 1], where each begins, in bytes, and where the last one ends

One on the disk is mapped, and so is a large one while it is read (:mod:`selfpretrain.sources.arrays`). Choosing and ordering
rows copies no text.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, SupportsIndex, TypeVar, overload

import numpy as np

from selfpretrain.sources.arrays import Ints, Spool, choose, collect, iter_slices, save_array

BLOCK_ROWS = 1_000  # strings made, or cells gathered, at once

T = TypeVar("T")


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
        return take_together([self], rows)[0]

    @classmethod
    def load(cls, stem: Path) -> Strings:
        """What :func:`write_strings` wrote, mapped, not read."""
        starts = np.load(f"{stem}.npy", mmap_mode="r", allow_pickle=False)
        with open(f"{stem}.utf8", "rb") as file:
            # an empty file cannot be mapped
            return cls(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if starts[-1] else b"", starts)


def take_together(columns: Sequence[Strings], rows: Ints) -> list[Strings]:
    """The strings in these rows of each column; columns whose rows were one array have one again."""
    before = {id(column._rows): column._rows for column in columns}
    after = {key: rows if chosen is None else choose(chosen, rows) for key, chosen in before.items()}
    return [Strings(column._data, column._starts, after[id(column._rows)]) for column in columns]


class Numbers(_Columnar[Any]):
    """N numbers, all of them ``int`` or all ``float``."""

    def __init__(self, values: np.ndarray):
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[Any]:
        return chain.from_iterable(self._values[rows].tolist() for rows in iter_slices(len(self)))

    def get(self, row: int) -> Any:
        return self._values[row].item()

    def take(self, rows: Ints) -> Numbers:
        """The numbers in these rows, in their order."""
        return Numbers(choose(self._values, rows))


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
        return TextRows(take_together(self.columns, rows), self.num_joined)

    def _join(self, texts: tuple[str, ...]) -> tuple[str, ...]:
        if not self.num_joined:
            return texts
        return "\n".join(filter(str.strip, texts[: self.num_joined])), *texts[self.num_joined :]


class Gatherer:
    """Takes the cells of a column, some at a time, and gives them packed where all are text, or all numbers of one type, else as
    a list.
    """

    def __init__(self, num_missing: int = 0):
        self._packer: _TextPacker | _NumberPacker | None = None
        self._cells: list[Any] | None = [None] * num_missing if num_missing else None

    def extend(self, cells: Sequence[Any]) -> None:
        if self._cells is None and len(cells):
            kind = type(cells[0])
            self._packer = self._packer or (_NumberPacker(kind) if kind in (int, float) else _TextPacker())
            if self._packer.add(cells):
                return
            self._cells = list(self.finish())
        if self._cells is not None:
            self._cells.extend(cells)

    def finish(self) -> Sequence[Any]:
        return (self._packer or _TextPacker()).finish() if self._cells is None else self._cells


class _TextPacker:
    """Takes the cells of a column of text."""

    def __init__(self) -> None:
        self._data, self._starts, self._end = Spool(), Spool(), 0
        self._starts.add(bytes(8))

    def add(self, cells: Sequence[Any]) -> bool:
        """Whether the cells were taken: all, or none."""
        encoded = _encode(cells)
        if encoded is None:
            return False
        self._data.add(b"".join(encoded))
        ends = _find_ends(encoded, self._end)
        self._starts.add(ends.tobytes())
        self._end = int(ends[-1])
        return True

    def finish(self) -> Strings:
        return Strings(self._data.finish(), np.frombuffer(self._starts.finish(), np.int64))


class _NumberPacker:
    """Takes the cells of a column of numbers that are all of one type."""

    def __init__(self, kind: type):
        self._kind, self._dtype, self._values = kind, np.int64 if kind is int else np.float64, Spool()

    def add(self, cells: Sequence[Any]) -> bool:
        """Whether the cells were taken: all, or none."""
        if not all(type(cell) is self._kind for cell in cells):
            return False
        try:
            self._values.add(np.array(cells, self._dtype).tobytes())
        except OverflowError:  # a whole number of more than 64 bits
            return False
        return True

    def finish(self) -> Numbers:
        return Numbers(np.frombuffer(self._values.finish(), self._dtype))


def _find_ends(encoded: Sequence[bytes], begin: int) -> Ints:
    """Where each ends of strings that stand one after the other from ``begin`` on."""
    return begin + np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)))


def _encode(cells: Sequence[Any]) -> list[bytes] | None:
    """The cells in UTF-8; None where one is no string, or holds half of a surrogate pair, which JSON alone can write."""
    try:
        return [cell.encode() for cell in cells] if all(isinstance(cell, str) for cell in cells) else None
    except UnicodeEncodeError:
        return None


def gather(cells: Iterable[Any]) -> Sequence[Any]:
    """The cells packed where all are text, or all numbers of one type, else as a list."""
    gatherer = Gatherer()
    for block in _iter_blocks(cells):
        gatherer.extend(block)
    return gatherer.finish()


def hold(strings: Iterable[str]) -> Strings:
    """The strings, all of which UTF-8 can write, column-wise."""
    held = gather(strings)
    assert isinstance(held, Strings)
    return held


def write_strings(stem: Path, strings: Iterable[str]) -> None:
    """Write ``<stem>.utf8`` and ``<stem>.npy``."""
    with open(f"{stem}.utf8", "wb") as file:
        starts = collect(_iter_written(file, strings), np.int64)
    save_array(Path(f"{stem}.npy"), starts)


def _iter_written(file: IO[bytes], strings: Iterable[str]) -> Iterator[Ints]:
    """Write the strings, one after the other, and say where each begins and the last one ends, some at a time."""
    ends = np.zeros(1, np.int64)
    yield ends
    for block in _iter_blocks(strings):
        encoded = [string.encode() for string in block]
        file.write(b"".join(encoded))
        ends = _find_ends(encoded, int(ends[-1]))
        yield ends


def _iter_blocks(items: Iterable[T]) -> Iterator[list[T]]:
    items = iter(items)
    return iter(lambda: list(islice(items, BLOCK_ROWS)), [])


def take(items: Sequence[T], rows: Ints) -> Sequence[T]:
    """The items in these rows, in their order."""
    return items.take(rows) if isinstance(items, _Columnar) else [items[row] for row in rows.tolist()]
