"""How much of the evaluation text is in the pretraining text: word for word, nearly, and by its n-grams.

Near-duplicates are found by MinHash over shingles of five words with banded look-up (Broder 1997; Leskovec,
Rajaraman and Ullman, Mining of Massive Datasets, ch. 3): 16 bands of 4 find a pair of Jaccard similarity 0.8
with probability 0.9998. A text is signed only if 40 % of its shingles stand in the evaluation text at all: one that
similar shares 80 %.

The n-grams are those of the contamination analysis of GPT-3 (Brown et al. 2020, appendix C, as EleutherAI's
lm-evaluation-harness describes it: n between 8 and 13 words by the length of the texts): here 13 words, of a text with
fewer all of them, but never fewer than 8; a text that is shorter yet counts where it is a whole document.

The pretraining text is streamed; only the evaluation text is held in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from selfpretrain.kinds import Array
from selfpretrain.sources.splits import normalise

RULE_VERSION = 1  # raised when the same texts would be judged otherwise
SHINGLE_WORDS = 5
MIN_GRAM_WORDS, MAX_GRAM_WORDS = 8, 13
NUM_BANDS = 16
ROWS_PER_BAND = 4
NUM_HASHES = NUM_BANDS * ROWS_PER_BAND
THRESHOLD = 0.8  # of the share of equal hashes, which estimates the Jaccard similarity, and of that of n-grams
BATCH_CHARACTERS = 1_000_000
MAX_PAIRS = 100_000  # candidate pairs compared at once
MIN_KNOWN = THRESHOLD / 2  # share of a text's shingles that the evaluation text has, below which it is not signed
MAX_TABLE_BITS = 26


@dataclass(frozen=True)
class Overlap:
    """What a text holds of N evaluation texts."""

    num_documents: int  # of the text
    exact: Array  # bool [N]: equal to a document, or to a line of one
    near: Array  # bool [N]: not exact, but of an estimated Jaccard similarity of at least 0.8 to one
    share: Array  # float [N]: of its n-grams, those that stand somewhere in the text


def compute_overlap(documents: Iterable[str], evaluation_texts: Sequence[str]) -> Overlap:
    """Look for each evaluation text in the pretraining text.

    A document is compared as a whole and, where it has several lines, by line. Texts are equal after lower-casing and
    with white space collapsed; shingles and n-grams are of words without punctuation, and n-grams may go over lines. An
    evaluation text without anything but white space is found nowhere.
    """
    normalised = [normalise(text) for text in evaluation_texts]
    unique = list(dict.fromkeys(filter(None, normalised)))
    number = {text: place for place, text in enumerate(unique)}
    rows = np.array([number.get(text, -1) for text in normalised], dtype=np.int64)
    index = _Index(unique)
    num_documents = 0
    for batch in _iter_batches(documents):
        num_documents += len(batch)
        if unique:
            index.look_up(batch, number)

    def spread(found: Array) -> Array:
        return np.where(rows >= 0, found[rows], found.dtype.type(0)) if unique else np.zeros(len(rows), found.dtype)

    return Overlap(num_documents, *map(spread, (index.exact, index.near & ~index.exact, index.compute_share())))


def _iter_batches(documents: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    characters = 0
    for document in documents:
        batch.append(document)
        characters += len(document)
        if characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


class _Index:
    """The evaluation texts, all different and normalised: what is looked for, and what of it was found."""

    def __init__(self, texts: list[str]) -> None:
        self.exact, self.near = np.zeros(len(texts), dtype=bool), np.zeros(len(texts), dtype=bool)
        words, lengths = hash_words(texts)
        self.rows = np.flatnonzero(lengths)  # those with words; the others can only be equal
        lengths = lengths[self.rows]
        shingles, counts = hash_runs(words, lengths, SHINGLE_WORDS)
        self.shingles = _Keys(shingles)
        self.signatures = sign(shingles, counts)
        bands = _compute_bands(self.signatures)
        self.order = np.argsort(bands)
        self.bands = bands[self.order]
        sizes = np.clip(lengths, MIN_GRAM_WORDS, MAX_GRAM_WORDS)
        grams, self.num_grams = hash_runs(words, lengths, sizes)
        self.sizes = np.unique(sizes).tolist()
        self.grams = _Keys(grams)
        self.gram_places = np.searchsorted(self.grams.keys, grams)
        self.has_gram = np.zeros(len(self.grams.keys), dtype=bool)

    def look_up(self, documents: list[str], number: dict[str, int]) -> None:
        """Mark what these documents hold; ``number`` has the place of each evaluation text."""
        split = [[line for line in map(normalise, document.split("\n")) if line] for document in documents]
        split = [lines for lines in split if lines]
        if not split:
            return
        lines = [line for document in split for line in document]
        wholes = [" ".join(document) for document in split if len(document) > 1]
        self.exact[[number[text] for text in (*lines, *wholes) if text in number]] = True
        words, of_lines = hash_words(lines)
        num_lines = np.array(list(map(len, split)))
        of_documents = np.add.reduceat(of_lines, np.cumsum(num_lines) - num_lines)
        of_lines, of_documents = of_lines[of_lines > 0], of_documents[of_documents > 0]
        if not len(of_lines):
            return
        for size in self.sizes:
            self.has_gram[self.grams.find(hash_runs(words, of_documents, size)[0])[1]] = True
        for lengths in (of_lines, of_documents) if wholes else (of_lines,):
            self._mark_near(*hash_runs(words, lengths, SHINGLE_WORDS))

    def compute_share(self) -> Array:
        """Of each text's n-grams, those that were found; float [N]."""
        share = np.zeros(len(self.exact))
        if len(self.rows):
            found = self.has_gram[self.gram_places].astype(float)
            share[self.rows] = np.add.reduceat(found, np.cumsum(self.num_grams) - self.num_grams) / self.num_grams
        return share

    def _mark_near(self, shingles: Array, counts: Array) -> None:
        """Set ``near`` for each evaluation text that resembles one of the texts with these shingles."""
        known = np.zeros(len(shingles), dtype=bool)
        known[self.shingles.find(shingles)[0]] = True
        is_candidate = np.add.reduceat(known, np.cumsum(counts) - counts, dtype=np.int64) >= MIN_KNOWN * counts
        if not is_candidate.any():
            return
        signatures = sign(shingles[np.repeat(is_candidate, counts)], counts[is_candidate])
        bands = _compute_bands(signatures)
        left = np.searchsorted(self.bands, bands, side="left")
        sizes = np.searchsorted(self.bands, bands, side="right") - left
        hits = np.flatnonzero(sizes)
        # groups of hits of at most MAX_PAIRS pairs, so that boilerplate cannot fill the memory
        groups = np.cumsum(sizes[hits]) // MAX_PAIRS
        for group in np.unique(groups):
            rows = hits[groups == group]
            train = np.repeat(rows, sizes[rows]) // NUM_BANDS
            steps = np.arange(len(train)) - np.repeat(np.cumsum(sizes[rows]) - sizes[rows], sizes[rows])
            candidates = self.order[np.repeat(left[rows], sizes[rows]) + steps] // NUM_BANDS
            open_pairs = ~(self.exact | self.near)[self.rows[candidates]]
            train, candidates = train[open_pairs], candidates[open_pairs]
            same = (signatures[train] == self.signatures[candidates]).mean(axis=1)
            self.near[self.rows[candidates[same >= THRESHOLD]]] = True


class _Keys:
    """A set of uint64, in order, with a table that turns away most of what is not in it."""

    def __init__(self, keys: Array) -> None:
        self.keys = np.unique(keys)
        self.shift = np.uint64(64 - min(len(self.keys).bit_length() + 4, MAX_TABLE_BITS))
        self.table = np.zeros(1 << int(64 - self.shift), dtype=bool)
        self.table[self.keys >> self.shift] = True

    def find(self, keys: Array) -> tuple[Array, Array]:
        """Which of ``keys`` are in the set, and the place of each there; int64 [found]."""
        which = np.flatnonzero(self.table[keys >> self.shift])
        places = np.searchsorted(self.keys, keys[which])
        places[places == len(self.keys)] = 0
        is_there = self.keys[places] == keys[which]
        return which[is_there], places[is_there]


class _Runs:
    """Of a sequence, the key of any run: a polynomial in its members modulo 2^64, from running sums, without a loop."""

    def __init__(self, members: Array) -> None:
        powers, inverses = (np.full(len(members) + 1, base, dtype=np.uint64) for base in (_BASE, _INVERSE))
        powers[0] = inverses[0] = 1
        self.inverses = np.multiply.accumulate(inverses)
        self.sums = np.zeros(len(members) + 1, dtype=np.uint64)
        np.cumsum(members * np.multiply.accumulate(powers)[:-1], out=self.sums[1:])

    def hash(self, first: Array, stop: Array) -> Array:
        """The keys of the runs from ``first`` up to ``stop``, uint64 [runs]."""
        return _mix((self.sums[stop] - self.sums[first]) * self.inverses[first])


def hash_words(texts: list[str]) -> tuple[_Runs, Array]:
    """The words of all texts as one sequence, and how many each text has, int64 [N].

    A word is letters, digits and underscores: punctuation parts words and is none, so that a tokenised copy has the same.
    """
    codes = np.frombuffer("\n".join(texts).encode("utf-32-le", "surrogatepass"), "<u4")
    edges = np.flatnonzero(np.diff(_IS_WORD[np.minimum(codes, len(_IS_WORD) - 1)], prepend=False, append=False))
    starts, stops = edges[::2], edges[1::2]
    ends = np.cumsum([len(text) + 1 for text in texts])
    lengths = np.diff(np.searchsorted(starts, ends), prepend=0)
    return _Runs(_Runs(codes + np.uint64(1)).hash(starts, stops)), lengths


def hash_runs(words: _Runs, lengths: Array, size: int | Array) -> tuple[Array, Array]:
    """All runs of ``size`` words, uint64 [runs], and how many each text has, int64 [N]: at least one, the whole of a text
    that is shorter.

    ``lengths`` are those of the texts, none of them 0; ``size`` may be an array with one for each text, [N].
    """
    counts = np.maximum(lengths - size + 1, 1)
    before = np.cumsum(lengths) - lengths
    first = np.arange(counts.sum()) + np.repeat(before - (np.cumsum(counts) - counts), counts)
    return words.hash(first, first + np.repeat(np.minimum(lengths, size), counts)), counts


def compute_signatures(texts: list[str]) -> Array:
    """MinHash signatures, uint32 [N, 64], of normalised texts."""
    return sign(*hash_runs(*hash_words(texts), SHINGLE_WORDS))


def sign(shingles: Array, counts: Array) -> Array:
    """MinHash signatures, uint32 [N, 64], of texts with so many shingles each."""
    signatures = np.empty((len(counts), NUM_HASHES), dtype=np.uint32)
    starts = np.cumsum(counts) - counts
    for number in range(NUM_HASHES if len(counts) else 0):
        # multiply-shift (Dietzfelbinger et al. 1997) is enough here: the shingles are already mixed
        hashed = ((shingles * _MULTIPLIERS[number]) >> np.uint64(32)).astype(np.uint32)
        signatures[:, number] = np.minimum.reduceat(hashed, starts)
    return signatures


def _mix(values: Array) -> Array:
    """SplitMix64's finaliser (Steele, Lea and Flood 2014): every input bit moves every output bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(values ^ (values >> np.uint64(31)), dtype=np.uint64)


_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse
_INVERSE = pow(_BASE, -1, 1 << 64)
_IS_WORD = np.array([chr(code).isalnum() or chr(code) == "_" for code in range(1 << 16)])
_IS_WORD[-1] = True  # stands for all beyond
_MULTIPLIERS = _mix(np.arange(1, NUM_HASHES + 1, dtype=np.uint64)) | np.uint64(1)


def _compute_bands(signatures: Array) -> Array:
    """A key for each text and band, uint64 [N * 16], text by text; other bands have other keys."""
    rows = signatures.reshape(len(signatures), NUM_BANDS, ROWS_PER_BAND).astype(np.uint64)
    keys = np.tile(np.arange(NUM_BANDS, dtype=np.uint64), (len(rows), 1))
    for row in range(ROWS_PER_BAND):
        keys = _mix(keys * np.uint64(0x9E3779B97F4A7C15) + rows[:, :, row])
    return keys.ravel()
