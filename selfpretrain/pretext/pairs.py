"""BERT's pretraining examples: [CLS] A [SEP] B [SEP], where B follows A or is of another document; padded to ``seq_len``.

As google-research/bert's create_pretraining_data.py makes them: a document is walked sentence by sentence, and what
reaches the target length, or the document's end, is a chunk. A random number of its sentences is A. Half of the time, and
always where the chunk has one sentence, B is drawn from another document, and the sentences that A left go into the next
chunk; else they are B. One document in ten has a random target length. What is too long is cut from the longer text,
each token at its front or its back by the toss of a coin. A batch says what B is: 0 it follows, 1 it does not.

What stays different: documents are walked anew every epoch, not written once, and an epoch has as many examples as the
first walk gave: of a longer one the last are left out, of a shorter one some come twice. A sentence is what ends in
. ! or ?, which token ids can tell, not a line of the text, and one longer than an example is cut. B is never of A's own
document, where the original tries ten times. Held-out examples draw theirs from held-out documents.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from selfpretrain.config import PretrainConfig, UserError
from selfpretrain.pretext.blocks import Epoch, Ints, Rows, SpecialIds, Tokens, count_held_out
from selfpretrain.pretext.segments import SPECIAL_TOKENS, Marks
from selfpretrain.seeds import make_generator

MIN_TARGET = 2  # tokens, of a random target length [BERT create_pretraining_data.py]
NEXT_PROB = 0.5  # that B follows, where it can [BERT create_pretraining_data.py]
MIN_DOCUMENTS = 4  # two to train on and two held out: each side draws from others of its own
STEP = 2**24  # tokens looked at together for the ends of sentences
USUAL_SENTENCE = 25  # tokens of an English one, for counting epochs without reading text
TABLE = 10_000  # sentences of a document, up to which its expected examples are added up


@dataclass(frozen=True)
class Sentences:
    """The sentences of a corpus as places in its tokens, in order, [S] each, and the first one of each document [D + 1]."""

    begins: Ints
    ends: Ints
    first: Ints

    @classmethod
    def find(cls, tokens: Tokens, offsets: Ints, lengths: Ints, marks: Marks, longest: int) -> Sentences:
        """In documents that begin at ``offsets`` and have ``lengths`` tokens, one or more; none has above ``longest``."""
        last, found = offsets + lengths - 1, []
        for begin in range(0, len(tokens), STEP):
            low = max(begin - 1, 0)  # an end shows in the tokens around it
            part = tokens[low : begin + STEP + 1]
            is_end = marks.find_ends(part[None])[0]
            is_end[last[np.searchsorted(last, low) : np.searchsorted(last, low + len(part))] - low] = True
            places = np.flatnonzero(is_end) + low
            found.append(places[(places >= begin) & (places < begin + STEP)])
        ends = np.concatenate(found) + 1
        first = np.searchsorted(ends, offsets, side="right")
        begins = np.concatenate([ends[:1], ends[:-1]])
        begins[first] = offsets
        pieces = -(-(ends - begins) // longest)
        before = np.concatenate([[0], np.cumsum(pieces)])
        begins = np.repeat(begins, pieces) + longest * (np.arange(before[-1]) - np.repeat(before[:-1], pieces))
        return cls(begins, np.minimum(begins + longest, np.repeat(ends, pieces)), before[np.append(first, len(ends))])

    def find_reaching(self, begin: Ints, target: Ints, stop: Ints) -> Ints:
        """Behind the sentence with which the text from sentence ``begin`` on has ``target`` tokens; ``stop`` at most."""
        return np.minimum(np.searchsorted(self.ends, self.begins[begin] + target) + 1, stop)


@dataclass(frozen=True)
class Pairs:
    """N examples: where A and B begin and end in the tokens, [N, 4], and whether B was drawn, [N]."""

    spans: Ints
    drawn: npt.NDArray[np.bool_]


def draw_pairs(text: Sentences, documents: range, config: PretrainConfig, rng: np.random.Generator) -> Pairs:
    """The examples of one walk through these documents, in no order that means anything."""
    content, first = config.seq_len - SPECIAL_TOKENS, text.first
    numbers, stops = np.arange(documents.start, documents.stop), first[documents.start + 1 : documents.stop + 1]
    is_short = rng.random(len(numbers)) < config.short_seq_prob
    targets = np.where(is_short, rng.integers(MIN_TARGET, content + 1, len(numbers)), content)
    at, walking, chunks = first[documents.start : documents.stop].copy(), np.arange(len(numbers)), []
    while len(walking):  # a chunk of every document that has not ended
        begin, target, stop = at[walking], targets[walking], stops[walking]
        end = text.find_reaching(begin, target, stop)
        share, coin = rng.random((2, len(walking)))
        split = begin + 1 + (share * (end - begin - 1)).astype(np.int64)
        drawn = (end == begin + 1) | (coin >= NEXT_PROB)
        chunks.append((numbers[walking], target, begin, split, end, drawn))
        at[walking] = np.where(drawn, split, end)
        walking = walking[at[walking] < stop]
    own, target, begin, split, end, drawn = (np.concatenate(column) for column in zip(*chunks, strict=True))
    a_begin, a_end = text.begins[begin], text.ends[split - 1]
    left = np.maximum(target - (a_end - a_begin), 1)[drawn]  # one sentence at least
    other = rng.integers(documents.start, documents.stop - 1, len(left))
    other += other >= own[drawn]
    start = first[other] + (rng.random(len(left)) * (first[other + 1] - first[other])).astype(np.int64)
    split[drawn], end[drawn] = start, text.find_reaching(start, left, first[other + 1])
    return Pairs(np.stack([a_begin, a_end, text.begins[split], text.ends[end - 1]], axis=1), drawn)


class PairBlocks:
    """The examples of a corpus, in a new order every epoch; the last documents are held out.

    ``tokens`` [total_tokens]: all documents, each ended by the separator; ``sizes`` [num_docs] with it. A start is the
    number of a sample, counted over all epochs, or -1, -2, ... for the held-out ones. Kept are two places for each
    sentence, and of two epochs at most four for each example.
    """

    def __init__(
        self, tokens: Tokens, sizes: Tokens, ids: SpecialIds, marks: Marks, config: PretrainConfig, data_seed: int
    ):
        self.tokens, self.ids, self.config, self.seq_len, self.seed = tokens, ids, config, config.seq_len, data_seed
        self.content = self.seq_len - SPECIAL_TOKENS
        has_text = sizes > 1
        offsets, lengths = (np.cumsum(sizes, dtype=np.int64) - sizes)[has_text], sizes[has_text].astype(np.int64) - 1
        count = len(lengths)
        if count < MIN_DOCUMENTS:
            raise UserError(
                f"the corpus has {count} documents with text, pretrain.packing=pairs needs {MIN_DOCUMENTS}: half of its "
                "second texts are of another document; add documents, or set objective.name=mlm pretrain.packing=segments"
            )
        expected = expect_pairs(lengths, self.seq_len)[0]
        wanted = count_held_out(int(expected.sum()), len(tokens), config)
        held_out = max(2, 1 + int(np.searchsorted(np.cumsum(expected[::-1]), wanted)))  # documents
        self.num_train = max(2, count - held_out)
        self.text = Sentences.find(tokens, offsets, lengths, marks, self.content)
        self.train_tokens = int(offsets[self.num_train])
        rng = make_generator(data_seed, "segments", 0)
        self.held_out = draw_pairs(self.text, range(self.num_train, count), config, rng)
        self.num_held_out = min(wanted, len(self.held_out.drawn))
        self.num_blocks = len(self._draw_epoch(0).drawn)

    def get_starts(self, first: int, count: int) -> Ints:
        return np.arange(first, first + count)

    def get_held_out_starts(self) -> Ints:
        return -1 - np.arange(self.num_held_out)

    def build(self, starts: Ints, rng: np.random.Generator) -> Rows:
        """The examples [N, seq_len] at ``starts``; where they are cut to what fits is drawn from ``rng``."""
        spans, drawn = np.empty((len(starts), 4), np.int64), np.empty(len(starts), np.bool_)
        epochs, places = np.divmod(starts, self.num_blocks)
        epochs, places = np.where(starts < 0, -1, epochs), np.where(starts < 0, -1 - starts, places)
        for epoch in np.unique(epochs).tolist():
            rows, pairs = epochs == epoch, self.held_out if epoch < 0 else self._draw_epoch(epoch)
            spans[rows], drawn[rows] = pairs.spans[places[rows]], pairs.drawn[places[rows]]
        return self._lay_out(spans, drawn, rng)

    @lru_cache(maxsize=2)  # noqa: B019 - one object lives as long as its run
    def _draw_epoch(self, epoch: int) -> Pairs:
        rng = make_generator(self.seed, "segments", epoch + 1)
        pairs = draw_pairs(self.text, range(self.num_train), self.config, rng)
        found = len(pairs.drawn)
        order = np.resize(rng.permutation(found), found if epoch == 0 else self.num_blocks)
        return Pairs(pairs.spans[order], pairs.drawn[order])

    def _lay_out(self, spans: Ints, drawn: npt.NDArray[np.bool_], rng: np.random.Generator) -> Rows:
        """Token ids, segment ids, mask and labels of pairs at ``spans`` [N, 4], cut to what fits."""
        lengths = spans[:, 1::2] - spans[:, ::2]
        kept = truncate_pairs(lengths, self.content)
        begins = spans[:, ::2] + rng.binomial(lengths - kept, 0.5)  # of what is cut as much at the front
        (begin_a, begin_b), (a, b) = begins.T[..., None], kept.T[..., None]
        places = np.arange(self.seq_len)
        second, real = places > a + 1, places < a + b + SPECIAL_TOKENS
        source = np.where(second, begin_b + places - a - 2, begin_a + places - 1)
        ids = self.tokens[np.clip(source, 0, len(self.tokens) - 1)].astype(np.int64)
        ids[:, 0] = self.ids.cls_id
        ids[(places == a + 1) | (places == a + b + 2)] = self.ids.sep_id
        ids[~real] = self.ids.pad_id
        return Rows(ids, (second & real).astype(np.int64), real, drawn.astype(np.int64))


def truncate_pairs(lengths: Ints, longest: int) -> Ints:
    """What is left of A and B, [N, 2], when the longer of the two (of equal ones B) loses tokens until both fit."""
    most = np.array([-(-longest // 2), longest // 2])
    return np.minimum(lengths, np.maximum(longest - lengths[:, ::-1], most))


def expect_pairs(lengths: Ints, seq_len: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Examples that one walk makes on average of documents of these tokens, and those whose B is drawn, [num_docs] each.

    As if every sentence had ``USUAL_SENTENCE`` tokens and no target length were drawn.
    """
    sentences = np.maximum(1, np.round(lengths / USUAL_SENTENCE)).astype(np.int64)
    most = -(-(seq_len - SPECIAL_TOKENS) // USUAL_SENTENCE)  # sentences of a chunk
    size = min(TABLE, int(sentences.max(initial=1)))
    expected, sums = np.zeros((size + 1, 2)), np.zeros((size + 1, 2))  # of a document of so many sentences; up to it
    for count in range(1, size + 1):
        chunk = min(count, most)
        if chunk == 1:
            expected[count] = 1 + expected[count - 1]
        else:
            rest = (sums[count - 1] - sums[count - chunk]) / (chunk - 1)  # behind an A of 1 to chunk - 1 sentences
            own, drawn = NEXT_PROB, 1 - NEXT_PROB
            expected[count] = [1, drawn] + own * expected[count - chunk] + drawn * rest
        sums[count] = sums[count - 1] + expected[count]
    slope = (expected[size] - expected[size // 2]) / (size - size // 2)  # of longer ones
    beyond = np.maximum(sentences - size, 0)[:, None] * slope
    found = expected[np.minimum(sentences, size)] + beyond
    return found[:, 0], found[:, 1]


def count_pair_epoch(sizes: Tokens, seq_len: int) -> Epoch:
    """The examples that one walk through documents of ``sizes`` [num_docs] makes on average, by :func:`expect_pairs`."""
    lengths = sizes[sizes > 1].astype(np.int64) - 1
    if not len(lengths):
        return Epoch(0.0, 0.0)
    content, (expected, drawn) = seq_len - SPECIAL_TOKENS, expect_pairs(lengths, seq_len)
    # a drawn B goes from some sentence of its document to the end, or fills what A leaves, about half
    most, half = lengths + USUAL_SENTENCE, content / 2
    second = np.where(most < half, most / 2, half - half**2 / (2 * most)).mean()
    text = min(float(lengths.sum() + second * drawn.sum()), float(expected.sum()) * content)
    return Epoch(float(expected.sum()), text + SPECIAL_TOKENS * float(expected.sum()))
