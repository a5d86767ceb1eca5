"""The index of fairseq's memory-mapped token files: how long each sequence is, and how wide a token.

    b"MMIDIDX\\0\\0", version (uint64), element code (uint8), number of sequences (uint64),
    tokens per sequence (int32 each), byte offset per sequence (int64 each)

[fairseq 0.12.2, data/indexed_dataset.py, MMapIndexedDataset]
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

MAGIC = b"MMIDIDX\x00\x00"
INDEX_VERSION = 1
HEADER = struct.Struct("<9sQBQ")  # magic, version, element code, number of sequences
CODES: dict[int, type[np.uint16] | type[np.int32]] = {8: np.uint16, 4: np.int32}


def write_index(file: Path, sizes: npt.NDArray[np.int32], dtype: npt.DTypeLike) -> None:
    """The index of sequences of ``sizes`` [N] tokens that follow each other from the beginning of a token file."""
    code = next(code for code, kind in CODES.items() if kind == np.dtype(dtype))
    starts = (np.cumsum(sizes, dtype=np.int64) - sizes) * np.dtype(dtype).itemsize
    with open(file, "wb") as index:
        index.write(HEADER.pack(MAGIC, INDEX_VERSION, code, len(sizes)))
        index.write(sizes.astype("<i4").tobytes())
        index.write(starts.astype("<i8").tobytes())


def read_index(file: Path) -> tuple[npt.NDArray[np.int32], type[np.uint16] | type[np.int32]]:
    """Tokens per sequence, mapped, and the type of a token; ValueError, saying what is wrong, for another file."""
    with open(file, "rb") as index:
        header = index.read(HEADER.size)
    if len(header) < HEADER.size:
        raise ValueError("too short")
    magic, version, code, count = HEADER.unpack(header)
    if magic != MAGIC or version != INDEX_VERSION:
        raise ValueError("not an index of fairseq's memory-mapped format")
    if code not in CODES:
        raise ValueError(f"its code of the tokens' type is {code}; known: {', '.join(map(str, CODES))}")
    if file.stat().st_size != HEADER.size + 12 * count or count == 0:
        raise ValueError(f"the length does not fit {count} documents")
    return np.memmap(file, dtype="<i4", mode="r", offset=HEADER.size, shape=(count,)), CODES[code]
