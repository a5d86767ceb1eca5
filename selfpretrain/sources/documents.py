"""The documents an encoder is pretrained on: a task's own text, another task's, a collection, or a mix, cut to size.

A slice is spread over the whole collection: documents are taken in the order of a hash of their position, so
that a smaller slice is part of a larger one, and no part of the collection is preferred. It takes two passes
and constant memory: the first adds up sizes per hash value, the second yields what lies under the threshold.

A task's text comes in the order of a content hash (``selfpretrain.sources.tasks``). A collection, and a slice of it, keeps its own
order, since to sort it would mean to hold it: what is held out of it is its end.

In a mix every text keeps its order, and is spread evenly over the whole: a stretch of it, the end that is held out, too,
holds each text by its share.
"""

from __future__ import annotations

import functools
import hashlib
import heapq
import json
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from selfpretrain.cards import load_task_card, load_text_card
from selfpretrain.config import CorpusConfig, TaskConfig, UserError
from selfpretrain.door import read_parts
from selfpretrain.sources import tasks, texts
from selfpretrain.sources.cache import remember
from selfpretrain.sources.fairseq_corpus import compute_fairseq_fingerprint, iter_fairseq_text
from selfpretrain.sources.labelled import pause_collector

NUM_BUCKETS = 1 << 16
MIN_PIECE_BYTES = 1_000
PIECES_PER_SLICE = 100  # a slice is made of at least about this many pieces
RULE_VERSION = 1
MIX, FAIRSEQ = "mix", "fairseq"  # as in corpus.source


def iter_documents(corpus: CorpusConfig, task: TaskConfig | None, runs_dir: str) -> Iterator[str]:
    """The documents of a corpus in a fixed order, cut to ``corpus.size_as`` or ``corpus.max_mb``.

    ``task`` is needed for ``source=own`` and ``size_as=own``. A slice ends within one paragraph of its size;
    a collection smaller than that is given whole. Raises UserError for settings that do not go together.
    """
    budget = _compute_budget(corpus, task, runs_dir)
    owner = find_owner(corpus, task)

    def open_source() -> Iterator[str]:
        if corpus.source == MIX:
            parts = read_parts(corpus, task)
            return iter_mixed([functools.partial(iter_documents, *part, runs_dir) for part in parts])
        if corpus.source == FAIRSEQ:
            return iter_fairseq_text(str(corpus.path))
        if owner is None:
            return texts.iter_text(load_text_card(str(corpus.card)), runs_dir)
        return tasks.iter_own_text(owner, runs_dir)

    yield from open_source() if budget is None else iter_slice(open_source, budget)


def compute_fingerprint(corpus: CorpusConfig, task: TaskConfig | None, runs_dir: str) -> str:
    """SHA-256 (hex) of what determines the documents: their source's content, the size and the slice rule."""
    owner = find_owner(corpus, task)
    source: str | list[str]
    if corpus.source == MIX:  # whatever the order in which its texts are named
        source = sorted(compute_fingerprint(*part, runs_dir) for part in read_parts(corpus, task))
    elif corpus.source == FAIRSEQ:
        source = compute_fairseq_fingerprint(str(corpus.path), runs_dir)
    elif owner is None:
        source = texts.compute_text_fingerprint(load_text_card(str(corpus.card)), runs_dir)
    else:
        source = _describe_text(owner, runs_dir)[0]
    budget = _compute_budget(corpus, task, runs_dir)
    return hashlib.sha256(json.dumps([source, budget, RULE_VERSION]).encode()).hexdigest()


def find_owner(corpus: CorpusConfig, task: TaskConfig | None) -> TaskConfig | None:
    """The task whose own text a corpus is; None for a collection, and for a mix as a whole."""
    if corpus.source in ("card", MIX, FAIRSEQ):
        return None
    if corpus.source == "own_of":
        return load_task_card(str(corpus.task))
    if task is None:
        raise UserError("corpus.source=own needs a task: task=<name>")
    return task


def _describe_text(owner: TaskConfig, runs_dir: str) -> tuple[str, int]:
    """SHA-256 (hex) and bytes of a task's own text; worked out once."""

    @pause_collector()
    def compute() -> str:
        digest, size = hashlib.sha256(), 0
        for document in tasks.iter_own_text(owner, runs_dir):
            ended = document.encode() + b"\0"
            digest.update(ended)
            size += len(ended)  # count_bytes(document)
        return f"{digest.hexdigest()} {size}"

    fingerprint, size = remember(runs_dir, ["text", owner], tasks.list_sources(owner), compute).split()
    return fingerprint, int(size)


def estimate_bytes(corpus: CorpusConfig, task: TaskConfig | None, runs_dir: str) -> int | None:
    """The size of a corpus's text, at most: a collection is not read for it. None where nothing limits one."""
    budget, owner = _compute_budget(corpus, task, runs_dir), find_owner(corpus, task)
    if corpus.source == MIX:
        sizes = [estimate_bytes(*part, runs_dir) for part in read_parts(corpus, task)]
        known = [size for size in sizes if size is not None]
        size = sum(known) if len(known) == len(sizes) else None
    else:
        size = None if owner is None else _describe_text(owner, runs_dir)[1]
    return min((limit for limit in (size, budget) if limit is not None), default=None)


def count_bytes(document: str) -> int:
    """The size of a document: its UTF-8 bytes and one for the line break after it."""
    return len(document.encode()) + 1


def iter_mixed(sources: Sequence[Callable[[], Iterator[str]]]) -> Iterator[str]:
    """The documents of several texts, each text in its order and at an even pace; every one is read twice.

    A document stands where its middle lies in its text, as a share of that text's bytes, so that nothing is held in memory
    and the order of the sources says nothing.
    """

    def place(open_source: Callable[[], Iterator[str]]) -> Iterator[tuple[float, str]]:
        total, before = sum(map(count_bytes, open_source())), 0
        for document in open_source():
            size = count_bytes(document)
            yield (before + size / 2) / total, document
            before += size

    return (document for _, document in heapq.merge(*map(place, sources)))


def iter_slice(open_source: Callable[[], Iterator[str]], budget: int) -> Iterator[str]:
    """Documents of about ``budget`` bytes in all, spread over the source, which is read twice."""
    piece_bytes = min(max(budget // PIECES_PER_SLICE, MIN_PIECE_BYTES), texts.MAX_DOCUMENT_BYTES)

    def iter_pieces() -> Iterator[tuple[int, str]]:
        pieces = (piece for document in open_source() for piece in texts.cut_document(document, piece_bytes))
        for index, piece in enumerate(pieces):
            digest = hashlib.blake2b(index.to_bytes(8, "little"), digest_size=2, person=b"slice").digest()
            yield int.from_bytes(digest, "little"), piece

    sizes = np.zeros(NUM_BUCKETS, dtype=np.int64)
    for bucket, piece in iter_pieces():
        sizes[bucket] += count_bytes(piece)
    cumulated = np.cumsum(sizes)
    threshold = int(np.searchsorted(cumulated, budget))  # the bucket in which the budget runs out
    left = budget - int(cumulated[:threshold].max(initial=0))
    for bucket, piece in iter_pieces():
        if bucket < threshold:
            yield piece
        elif bucket == threshold and left > 0:
            left -= count_bytes(piece)
            yield piece


def _compute_budget(corpus: CorpusConfig, task: TaskConfig | None, runs_dir: str) -> int | None:
    """Bytes to cut to; None: all of it. With both limits set the smaller holds."""
    budgets = []
    if corpus.max_mb is not None:
        budgets.append(int(corpus.max_mb * 2**20))
    if corpus.size_as is not None:
        if task is None:
            raise UserError("corpus.size_as=own needs the task whose text sets the size: task=<name>")
        if corpus.source == "own":
            raise UserError("corpus.size_as=own cuts another source; with corpus.source=own set corpus.size_as=null")
        budgets.append(_describe_text(task, runs_dir)[1])
    return min(budgets) if budgets else None
