"""Tokenising in several processes, with results in the order of the documents.

The processes are plain children that read documents from their standard input and write ids to their standard
output: no fork of a process that has threads, no re-import of the caller's script, and a child ends by itself
when its parent is gone, even by kill -9, because its input ends.
"""

from __future__ import annotations

import itertools
import os
import queue
import signal
import struct
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from selfpretrain.config import UserError
from selfpretrain.data.tokenizer import Tokenizer, encode_utf8

CHUNK_CHARACTERS = 1_000_000  # documents sent to a process at once
SERIAL_CHUNKS = 4  # a smaller corpus is done before a process has started
PREFETCH = 2  # chunks per process, waiting or in work; bounds the memory
LENGTH = struct.Struct("<q")
COMMAND = "from selfpretrain.data.workers import serve; serve()"


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
    tokenizer: Tokenizer, tokenizer_folder: Path, documents: Iterable[str], dtype: npt.DTypeLike, num_workers: int
) -> Generator[EncodedChunk]:
    """Encode a stream of documents; the result does not depend on ``num_workers``.

    Close the iterator (``contextlib.closing``) to end the processes at once.
    """
    chunks = _iter_chunks(documents)
    first = list(itertools.islice(chunks, SERIAL_CHUNKS))
    every = itertools.chain(first, chunks)
    if num_workers <= 1 or len(first) < SERIAL_CHUNKS:
        for chunk in every:
            yield encode_chunk(tokenizer, chunk, dtype)
        return
    del first
    with _Pool(tokenizer_folder, dtype, num_workers) as pool:
        yield from pool.map(every)


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


class _Pool:
    """``num_workers`` processes, each with a thread that talks to it."""

    def __init__(self, tokenizer_folder: Path, dtype: npt.DTypeLike, num_workers: int):
        self.dtype, self.num_workers = np.dtype(dtype), num_workers
        root = str(Path(__file__).resolve().parents[2])
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])),
            # one process per core; the library's own threads would only compete (and gave nothing on two cores)
            "TOKENIZERS_PARALLELISM": "false",
            "RAYON_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-c", COMMAND, str(tokenizer_folder.resolve()), self.dtype.name]
        self.own = threading.local()  # each thread talks to one process, so a dead one blocks nobody else
        self.free: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()
        self.processes: list[subprocess.Popen[bytes]] = []
        for _ in range(num_workers):
            # in its own session, so that Ctrl-C reaches the parent alone, which then ends the children
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, start_new_session=True
            )
            self.processes.append(process)
            self.free.put(process)
        self.threads = ThreadPoolExecutor(num_workers, "tokenise", initializer=self._take_process)

    def _take_process(self) -> None:
        self.own.process = self.free.get_nowait()

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()  # they hold nothing: results come back whole or not at all
        self.threads.shutdown(wait=True, cancel_futures=True)
        for process in self.processes:
            process.wait()
            for stream in (process.stdin, process.stdout):
                assert stream is not None
                try:
                    stream.close()
                except BrokenPipeError:  # a chunk that the killed process never read
                    continue

    def map(self, chunks: Iterator[list[str]]) -> Iterator[EncodedChunk]:
        waiting: deque[Future[EncodedChunk]] = deque()
        for chunk in chunks:
            waiting.append(self.threads.submit(self._encode, chunk))
            if len(waiting) >= PREFETCH * self.num_workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _encode(self, chunk: list[str]) -> EncodedChunk:
        blobs = [encode_utf8(document) for document in chunk]
        process: subprocess.Popen[bytes] = self.own.process
        assert process.stdin is not None and process.stdout is not None
        try:
            _write_frame(process.stdin, np.array([len(blob) for blob in blobs], np.int64).tobytes())
            _write_frame(process.stdin, b"".join(blobs))
            sizes, tokens, counts = (_read_frame(process.stdout) for _ in range(3))
        except (BrokenPipeError, EOFError, ValueError):
            raise UserError(
                f"a tokenising process ended with exit code {process.wait()}; "
                "if memory ran out, set runtime.num_workers=1"
            ) from None
        num_empty, num_bytes = np.frombuffer(counts, np.int64).tolist()
        return EncodedChunk(np.frombuffer(sizes, np.int32), np.frombuffer(tokens, self.dtype), num_empty, num_bytes)


def _write_frame(stream: IO[bytes], data: bytes) -> None:
    stream.write(LENGTH.pack(len(data)))
    stream.write(data)
    stream.flush()


def _read_frame(stream: IO[bytes]) -> bytes:
    header = stream.read(LENGTH.size)
    if len(header) < LENGTH.size:
        raise EOFError
    data = stream.read(LENGTH.unpack(header)[0])
    if len(data) < LENGTH.unpack(header)[0]:
        raise EOFError
    return data


def serve() -> None:
    """What a child runs: encode chunks from standard input until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nothing printed may get between the answers
    tokenizer, dtype = Tokenizer.load(sys.argv[1]), np.dtype(sys.argv[2])
    while True:
        try:
            lengths = np.frombuffer(_read_frame(sys.stdin.buffer), np.int64)
            blob = _read_frame(sys.stdin.buffer)
        except EOFError:
            return
        ends = np.cumsum(lengths)
        documents = [blob[end - length : end].decode() for end, length in zip(ends, lengths, strict=True)]
        chunk = encode_chunk(tokenizer, documents, dtype)
        counts = np.array([chunk.num_empty, chunk.num_bytes], np.int64)
        try:
            for part in (chunk.sizes, chunk.tokens, counts):
                _write_frame(answers, part.tobytes())
        except BrokenPipeError:  # the parent is gone
            os._exit(1)
