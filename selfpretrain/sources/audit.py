"""How much of the evaluation text is in the pretraining text, word for word or nearly.

Near-duplicates are found by MinHash over shingles of five words with banded look-up (Broder 1997; Leskovec,
Rajaraman and Ullman, Mining of Massive Datasets, ch. 3): 16 bands of 4 find a pair of Jaccard similarity 0.8
with probability 0.9998. The pretraining text is streamed; only the evaluation text is held in memory.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from typing import Any

import numpy as np

from selfpretrain.sources.splits import compute_hash, normalise

SHINGLE_WORDS = 5
NUM_BANDS = 16
ROWS_PER_BAND = 4
NUM_HASHES = NUM_BANDS * ROWS_PER_BAND
THRESHOLD = 0.8  # of the share of equal hashes, which estimates the Jaccard similarity
BATCH_TEXTS = 2000
MAX_PAIRS = 100_000  # candidate pairs compared at once
MAX_EXAMPLES = 20
MAX_WORDS = 1_000_000  # whose hashes are remembered


def compute_overlap(train_texts: Iterable[str], evaluation_texts: Iterable[str]) -> dict[str, Any]:
    """Count evaluation texts that the pretraining text holds.

    A pretraining document is compared as a whole and, where it has several lines, by line. Texts are equal
    after lower-casing and with white space collapsed. Returns ``train_texts``, ``evaluation_texts``, ``exact``,
    ``near`` (estimated Jaccard similarity >= 0.8, not exact), and in ``exact_ids`` and ``near_ids`` the positions
    (from 0) of up to 20 such evaluation texts.
    """
    positions: dict[str, list[int]] = {}
    for position, text in enumerate(evaluation_texts):
        positions.setdefault(normalise(text), []).append(position)
    positions.pop("", None)
    unique = list(positions)
    exact = np.zeros(len(unique), dtype=bool)
    near = np.zeros(len(unique), dtype=bool)
    hash_word = lru_cache(MAX_WORDS)(_hash_word)
    index = _Index(unique, hash_word)
    lookup = {text: number for number, text in enumerate(unique)}
    # a text with this many words more shares less than the threshold with any of them
    max_words = max((text.count(" ") + 1 for text in unique), default=0) / THRESHOLD + SHINGLE_WORDS
    num_train = 0
    documents = iter(train_texts)
    while batch := list(itertools.islice(documents, BATCH_TEXTS)):
        num_train += len(batch)
        units = [unit for unit in dict.fromkeys(_iter_units(batch)) if unit.count(" ") < max_words]
        if not unique or not units:
            continue
        exact[[lookup[unit] for unit in units if unit in lookup]] = True
        index.mark_near(compute_signatures(units, hash_word), near, exact)
    exact_ids, near_ids = (
        sorted(itertools.chain.from_iterable(positions[unique[number]] for number in np.flatnonzero(chosen)))
        for chosen in (exact, near & ~exact)
    )
    return {
        "train_texts": num_train,
        "evaluation_texts": sum(map(len, positions.values())),
        "exact": len(exact_ids),
        "near": len(near_ids),
        "exact_ids": exact_ids[:MAX_EXAMPLES],
        "near_ids": near_ids[:MAX_EXAMPLES],
        "threshold": THRESHOLD,
    }


def _iter_units(documents: list[str]) -> Iterator[str]:
    for document in documents:
        lines = document.split("\n")
        yield from filter(None, map(normalise, [document, *lines] if len(lines) > 1 else lines))


_hash_word = partial(compute_hash, "word")


def compute_signatures(texts: list[str], hash_word: Callable[[str], int] = _hash_word) -> np.ndarray:
    """MinHash signatures, uint32 [N, 64], of normalised texts that are not empty."""
    split = [text.split(" ") for text in texts]
    lengths = np.array([len(parts) for parts in split], dtype=np.int64)
    flat = np.fromiter((hash_word(word) for parts in split for word in parts), np.uint64, int(lengths.sum()))
    # shingles never cross a text: each text gives length - 4 of them, one if it is shorter
    counts = np.maximum(lengths - SHINGLE_WORDS + 1, 1)
    word_starts = np.cumsum(lengths) - lengths
    starts = np.cumsum(counts) - counts
    first = np.arange(counts.sum()) - np.repeat(starts - word_starts, counts)
    ends = np.repeat(word_starts + lengths, counts)
    shingles = np.zeros(len(first), dtype=np.uint64)
    for offset in range(SHINGLE_WORDS):
        inside = first + offset < ends
        value = np.where(inside, flat[np.minimum(first + offset, len(flat) - 1)], np.uint64(0))
        shingles = _mix(shingles * np.uint64(0x9E3779B97F4A7C15) + value)
    signatures = np.empty((len(texts), NUM_HASHES), dtype=np.uint32)
    for number in range(NUM_HASHES):
        # multiply-shift (Dietzfelbinger et al. 1997) is enough here: the shingles are already mixed
        hashed = ((shingles * _MULTIPLIERS[number]) >> np.uint64(32)).astype(np.uint32)
        signatures[:, number] = np.minimum.reduceat(hashed, starts)
    return signatures


def _mix(values: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser (Steele, Lea and Flood 2014): every input bit moves every output bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(values ^ (values >> np.uint64(31)), dtype=np.uint64)


_MULTIPLIERS = _mix(np.arange(1, NUM_HASHES + 1, dtype=np.uint64)) | np.uint64(1)


def _compute_bands(signatures: np.ndarray) -> np.ndarray:
    """A key for each text and band, uint64 [N * 16], text by text; other bands have other keys."""
    rows = signatures.reshape(len(signatures), NUM_BANDS, ROWS_PER_BAND).astype(np.uint64)
    keys = np.tile(np.arange(NUM_BANDS, dtype=np.uint64), (len(rows), 1))
    for row in range(ROWS_PER_BAND):
        keys = _mix(keys * np.uint64(0x9E3779B97F4A7C15) + rows[:, :, row])
    return keys.ravel()


class _Index:
    """The evaluation texts' signatures, and their bands sorted by key."""

    def __init__(self, texts: list[str], hash_word: Callable[[str], int]) -> None:
        batches = [texts[start : start + BATCH_TEXTS] for start in range(0, len(texts), BATCH_TEXTS)]
        none = np.zeros((0, NUM_HASHES), dtype=np.uint32)
        self.signatures = np.concatenate([none, *(compute_signatures(batch, hash_word) for batch in batches)])
        keys = _compute_bands(self.signatures)
        self.order = np.argsort(keys)
        self.keys = keys[self.order]

    def mark_near(self, signatures: np.ndarray, near: np.ndarray, exact: np.ndarray) -> None:
        """Set ``near`` for each evaluation text that resembles one of ``signatures`` and is not ``exact``."""
        keys = _compute_bands(signatures)
        left = np.searchsorted(self.keys, keys, side="left")
        counts = np.searchsorted(self.keys, keys, side="right") - left
        hits = np.flatnonzero(counts)
        # groups of hits of at most MAX_PAIRS pairs, so that boilerplate cannot fill the memory
        groups = np.cumsum(counts[hits]) // MAX_PAIRS
        for group in np.unique(groups):
            rows = hits[groups == group]
            train = np.repeat(rows, counts[rows]) // NUM_BANDS
            steps = np.arange(len(train)) - np.repeat(np.cumsum(counts[rows]) - counts[rows], counts[rows])
            candidates = self.order[np.repeat(left[rows], counts[rows]) + steps] // NUM_BANDS
            open_pairs = ~(exact | near)[candidates]
            train, candidates = train[open_pairs], candidates[open_pairs]
            same = (signatures[train] == self.signatures[candidates]).mean(axis=1)
            near[candidates[same >= THRESHOLD]] = True
