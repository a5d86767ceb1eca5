"""Arrays with a value for each of millions of rows: worked on in blocks, and where they are long in files.

Such a file has no name (it is in ``$TMPDIR``) and is mapped: what the system can drop from memory at any time. It is gone with
the array.
"""

from __future__ import annotations

import mmap
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from selfpretrain.config import UserError
from selfpretrain.files import WRITE_ERRORS

BLOCK_VALUES = 1 << 16  # worked on at once
HELD_BYTES = 1 << 20  # of what is gathered, in memory; what comes before is in a file

MAX_FILES = 256  # of spools at once; those of further columns hold all in memory

Ints = npt.NDArray[np.int64]


class Spool:
    """Takes bytes, some at a time, and gives them as one buffer: in memory, or a mapped file where they are many."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._file: IO[bytes] | None = None

    def add(self, data: bytes) -> None:
        self._held += data
        if len(self._held) > HELD_BYTES and (self._file is not None or len(_with_files) < MAX_FILES):
            self._spill()

    def finish(self) -> bytearray | mmap.mmap:
        if self._file is None:
            return self._held
        self._spill()
        return mmap.mmap(self._file.fileno(), 0)

    def _spill(self) -> None:
        """Move what is in memory to a file without a name, which is gone with the spool and the buffer it gave.

        UserError where the disk is full.
        """
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115  closed with the spool; a map outlives it
                weakref.finalize(self, self._file.close)
                _with_files.add(self)
            self._file.write(self._held)
            self._file.flush()
        except OSError as error:
            if error.errno not in WRITE_ERRORS:
                raise
            given = f"{tempfile.gettempdir()} cannot be written ({error.strerror})"
            raise UserError(f"{given}; free some space there, or set TMPDIR to a folder on another disk") from error
        self._held = bytearray()


_with_files: weakref.WeakSet[Spool] = weakref.WeakSet()


def save_array(path: Path, values: np.ndarray) -> None:
    """``np.save``, which does not say why a file could not be written; no objects."""
    assert not values.dtype.hasobject
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(values))
        file.write(np.ascontiguousarray(values).data)


def iter_slices(size: int) -> Iterator[slice]:
    """The rows from 0 to ``size``, a block at a time."""
    return (slice(begin, min(begin + BLOCK_VALUES, size)) for begin in range(0, size, BLOCK_VALUES))


def collect(blocks: Iterable[npt.ArrayLike], dtype: npt.DTypeLike, shape: tuple[int, ...] = ()) -> np.ndarray:
    """The blocks, [n, *shape] each, one after the other: [N, *shape]."""
    spool = Spool()
    for block in blocks:
        spool.add(np.asarray(block, dtype).tobytes())
    return np.frombuffer(spool.finish(), dtype).reshape(-1, *shape)


def make_zeros(size: int, dtype: npt.DTypeLike, shape: tuple[int, ...] = ()) -> np.ndarray:
    """Zeros [size, *shape], to be filled."""
    blocks = (np.zeros((rows.stop - rows.start, *shape), dtype) for rows in iter_slices(size))
    return collect(blocks, dtype, shape)


def collect_items(items: Iterable[Any], dtype: npt.DTypeLike) -> np.ndarray:
    """The N items, numbers or (``object``) texts, as an array [N]."""
    if np.dtype(dtype) == object:
        return np.array(list(items), dtype)
    items = iter(items)
    return collect(iter(lambda: list[Any](islice(items, BLOCK_VALUES)), []), dtype)


def choose(values: np.ndarray, rows: Ints) -> np.ndarray:
    """``values[rows]``."""
    if values.dtype == object:
        return np.asarray(values[rows])
    return collect((values[rows[block]] for block in iter_slices(len(rows))), values.dtype, values.shape[1:])


def find(marks: np.ndarray) -> Ints:
    """Which of the marks, bool [N], are set: int64, ascending."""
    return collect((np.flatnonzero(marks[block]) + block.start for block in iter_slices(len(marks))), np.int64)
