"""Tokenising in several processes, here or on a cluster, with results in the order of the documents."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from selfpretrain.children import ChildEnded, map_in_children
from selfpretrain.cluster import map_on_cluster
from selfpretrain.config import UserError
from selfpretrain.data.tokenizer import Tokenizer

CHUNK_CHARACTERS = 1_000_000  # documents sent to a process at once
SERIAL_CHUNKS = 4  # a smaller corpus is done before a process has started


@dataclass(frozen=True)
class EncodedChunk:
    """Some consecutive documents; those without any token are left out and counted."""

    sizes: npt.NDArray[np.int32]  # [documents] tokens with the separator
    tokens: npt.NDArray[Any]  # [sum of sizes]
    num_empty: int
    num_bytes: int  # of UTF-8 text


def encode_chunk(tokenizer: Tokenizer, documents: list[str], dtype: npt.DTypeLike) -> EncodedChunk:
    """Ids of each document followed by the separator."""
    written = [document for document in documents if not document.isspace()]  # BPE has tokens for spaces
    encoded = [ids for ids in tokenizer.encode_batch(written) if len(ids)]
    separator = np.array([tokenizer.sep_id], np.int32)
    sizes = np.array([len(ids) + 1 for ids in encoded], np.int32)
    parts = [part for ids in encoded for part in (ids, separator)]
    tokens = np.concatenate(parts).astype(dtype) if parts else np.empty(0, dtype)
    num_bytes = sum(len(document) if document.isascii() else len(document.encode()) for document in documents)
    return EncodedChunk(sizes, tokens, len(documents) - len(encoded), num_bytes)


def iter_encoded(
    tokenizer: Tokenizer,
    tokenizer_folder: Path,
    documents: Iterable[str],
    dtype: npt.DTypeLike,
    num_workers: int,
    engine: str = "local",
) -> Generator[EncodedChunk]:
    """Encode a stream of documents; the result depends neither on ``num_workers`` nor on ``engine``.

    ``engine=ray`` needs a connection (:func:`selfpretrain.cluster.connected`), and no disk that the machines share: the
    text goes out from here and the tokens come back. Close the iterator (``contextlib.closing``) to end the processes at
    once.
    """
    chunks = _iter_chunks(documents)
    if engine == "ray":
        yield from map_on_cluster(functools.partial(encode_chunk, tokenizer, dtype=dtype), chunks)
        return
    first = list(itertools.islice(chunks, SERIAL_CHUNKS))
    every = itertools.chain(first, chunks)
    if num_workers <= 1 or len(first) < SERIAL_CHUNKS:
        for chunk in every:
            yield encode_chunk(tokenizer, chunk, dtype)
        return
    arguments = [str(tokenizer_folder.resolve()), np.dtype(dtype).name]
    try:
        with closing(map_in_children(f"{__name__}:encode_in_child", arguments, num_workers, every)) as encoded:
            yield from encoded
    except ChildEnded as ended:
        raise UserError(
            f"a tokenising process ended with exit code {ended}; if memory ran out, set runtime.num_workers=1"
        ) from None


_load_once = functools.cache(Tokenizer.load)


def encode_in_child(documents: list[str], tokenizer_folder: str, dtype: str) -> EncodedChunk:
    """:func:`encode_chunk` of a tokenizer on the disk, which is read once."""
    return encode_chunk(_load_once(tokenizer_folder), documents, dtype)


def _iter_chunks(documents: Iterable[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    characters = 0
    for document in documents:
        chunk.append(document)
        characters += len(document)
        if characters >= CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk
