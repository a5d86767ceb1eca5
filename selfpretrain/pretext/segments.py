"""ELECTRA's pretraining examples: [CLS] A [SEP] or [CLS] A [SEP] B [SEP], cut at sentence ends, padded to ``seq_len``.

As google-research/electra's build_pretraining_dataset.py makes them: no example crosses the border of a document; one
in ten is a single segment; in the others A ends at the last sentence end before half the target length or at the first
one after it, by the toss of a coin; one in twenty has a random target length; B has segment id 1.

What stays different: examples are drawn anew every epoch, not written once. A sentence is what ends in . ! or ?, which
token ids can tell, not a line of the text. A document is cut every ``seq_len - 3`` tokens, and each cut moves back to
the nearest sentence end within a quarter of that, where the reference adds sentences up and drops what is too much;
a little text is dropped here, too, where an example got longer than fits. Of a short example the rest of the piece is
left out until it is drawn again. A short sentence never goes back to A once B has begun.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from selfpretrain.config import PretrainConfig
from selfpretrain.pretext.blocks import Epoch, Epochs, Ints, Rows, SpecialIds, count_held_out

MIN_TARGET = 5  # tokens, of a random target length [ELECTRA build_pretraining_dataset.py]
SPECIAL_TOKENS = 3  # [CLS] and two [SEP]
TERMINALS = re.compile("Ġ?[.!?\N{HORIZONTAL ELLIPSIS}\N{IDEOGRAPHIC FULL STOP}]+")
# what may follow them; byte-level BPE spells the curly quotes in three bytes
CLOSERS = re.compile(r"""(["')\]\N{RIGHT DOUBLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}]|âĢ[ĿĻ])+\Z""")


@dataclass(frozen=True)
class Marks:
    """Which tokens end a sentence, and which may follow the end and belong to it; bool [vocab_size]."""

    terminal: npt.NDArray[np.bool_]
    closing: npt.NDArray[np.bool_]

    @classmethod
    def find(cls, tokens: Sequence[str]) -> Marks:
        """From a vocabulary's entries, of WordPiece or byte-level BPE, in the order of their ids."""
        stems = [CLOSERS.sub("", token.removeprefix("##")) for token in tokens]
        terminal = [TERMINALS.fullmatch(stem) is not None for stem in stems]
        closing = [not stem and bool(token) for stem, token in zip(stems, tokens, strict=True)]
        return cls(np.array(terminal), np.array(closing))

    def find_ends(self, tokens: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
        """Whether a sentence ends behind each token, bool [N, L], of runs of text [N, L]; never behind the last."""
        terminal, closing = self.terminal[tokens], self.closing[tokens]
        ends = terminal.copy()
        ends[:, 1:] |= closing[:, 1:] & terminal[:, :-1]
        ends[:, :-1] &= ~(terminal | closing)[:, 1:]
        ends[:, -1] = False
        return ends


def count_pieces(sizes: npt.NDArray[np.integer], seq_len: int) -> Ints:
    """Examples per document, int64 [num_docs]; ``sizes`` count each document's tokens and its separator."""
    content = seq_len - SPECIAL_TOKENS
    return -(-(sizes.astype(np.int64) - 1) // content)


def count_segment_epoch(sizes: npt.NDArray[np.integer], seq_len: int) -> Epoch:
    """The examples of documents of ``sizes`` [num_docs], as if none were short and every one had two segments."""
    sequences = int(count_pieces(sizes, seq_len).sum())
    return Epoch(sequences, float(sizes.sum(dtype=np.int64)) - len(sizes) + SPECIAL_TOKENS * sequences)


class SegmentBlocks:
    """The examples of a corpus, in a new order every epoch; the last documents are held out.

    ``tokens`` [total_tokens]: all documents, each ended by the separator; ``sizes`` [num_docs] with it.
    """

    def __init__(
        self, tokens: npt.NDArray[np.integer], sizes: npt.NDArray[np.integer], ids: SpecialIds, marks: Marks,
        config: PretrainConfig, data_seed: int,
    ):  # fmt: skip
        self.tokens, self.ids, self.marks, self.config, self.seq_len = tokens, ids, marks, config, config.seq_len
        self.content = self.seq_len - SPECIAL_TOKENS
        self.window = max(1, self.content // 4)
        self.lengths = sizes.astype(np.int64) - 1
        self.offsets = np.cumsum(sizes, dtype=np.int64) - sizes
        self.piece_ends = np.cumsum(count_pieces(sizes, self.seq_len))
        total = int(self.piece_ends[-1])
        self.num_held_out = count_held_out(total, len(tokens), config)
        self.num_blocks = total - self.num_held_out
        self.epochs = Epochs(self.num_blocks, data_seed)
        document, begin, _ = self._locate(np.array([self.num_blocks]))
        self.train_tokens = int(self.offsets[document[0]] + begin[0])

    def get_starts(self, first: int, count: int) -> Ints:
        """Numbers of the pieces that are samples first .. first + count - 1, counted over all epochs."""
        return self.epochs.draw(first, count)[1]

    def get_held_out_starts(self) -> Ints:
        return self.num_blocks + np.arange(self.num_held_out)

    def build(self, pieces: Ints, rng: np.random.Generator) -> Rows:
        """The examples [N, seq_len] of these pieces; where they end and are divided is drawn from ``rng``."""
        document, begin, end = self._locate(pieces)
        places = (self.offsets[document] + begin)[:, None] + np.arange(self.content)
        # behind the end of the corpus any token will do: it is not read
        text = self.tokens[np.minimum(places, len(self.tokens) - 1)].astype(np.int64)
        ends = self.marks.find_ends(text)
        lengths = np.minimum(end - begin, self.content)
        target = np.where(
            rng.random(len(pieces)) < self.config.short_seq_prob,
            rng.integers(MIN_TARGET, self.seq_len + 1, len(pieces)), self.seq_len,
        )  # fmt: skip
        lengths = find_end_after(ends, target, lengths)
        first = choose_first_segment(ends, target, lengths, self.config.single_segment_prob, rng)
        return self._lay_out(text, lengths, first)

    def _locate(self, pieces: Ints) -> tuple[Ints, Ints, Ints]:
        """Document, begin and end in it, [N] each."""
        document = np.searchsorted(self.piece_ends, pieces, side="right")
        before = np.where(document > 0, self.piece_ends[document - 1], 0)
        begin = (pieces - before) * self.content
        return document, self._move_back(document, begin), self._move_back(document, begin + self.content)

    def _move_back(self, document: Ints, cut: Ints) -> Ints:
        """The last sentence end at most ``window`` tokens before each cut; the cut itself where there is none."""
        inside = (cut > 0) & (cut < self.lengths[document])
        places = (self.offsets[document] + cut)[:, None] + np.arange(-self.window, 1)
        text = self.tokens[np.clip(places, 0, len(self.tokens) - 1)]
        ends = self.marks.find_ends(text)[:, :-1]
        back = np.argmax(ends[:, ::-1], axis=1)  # tokens between the end and the cut
        return np.minimum(np.where(inside & ends.any(1), cut - back, cut), self.lengths[document])

    def _lay_out(self, text: Ints, lengths: Ints, first: Ints) -> Rows:
        """Token ids, segment ids and mask: ``first`` [N] tokens in A, the rest of ``lengths`` [N] in B if there are."""
        places, lengths, first = np.arange(self.seq_len), lengths[:, None], first[:, None]
        two = first < lengths
        second = (places > first + 1) & two
        real = places < lengths + 2 + two
        source = np.clip(places - 1 - second, 0, text.shape[1] - 1)
        ids = np.take_along_axis(text, source, axis=1)
        ids[:, 0] = self.ids.cls_id
        ids[(places == first + 1) | (places == lengths + 1 + two)] = self.ids.sep_id
        ids[~real] = self.ids.pad_id
        return Rows(ids, (second & real).astype(np.int64), real)


def find_end_after(ends: npt.NDArray[np.bool_], target: Ints, lengths: Ints) -> Ints:
    """The number of tokens [N] up to the first sentence end at or after ``target``; ``lengths`` where none comes."""
    counts = np.arange(1, ends.shape[1] + 1)
    late = ends & (counts >= target[:, None]) & (counts < lengths[:, None])
    return np.where(late.any(1), np.argmax(late, axis=1) + 1, lengths)


def choose_first_segment(
    ends: npt.NDArray[np.bool_], target: Ints, lengths: Ints, single_segment_prob: float, rng: np.random.Generator
) -> Ints:
    """How many of its tokens each example has in A, [N]: all of them in a single segment."""
    half = (target - SPECIAL_TOKENS) // 2
    counts = np.arange(1, ends.shape[1] + 1)
    early = ends & (counts < np.minimum(half, lengths)[:, None])
    below = np.where(early.any(1), ends.shape[1] - np.argmax(early[:, ::-1], axis=1), 0)
    above = find_end_after(ends, half, lengths)
    single, over = rng.random((2, len(ends)))
    # the first sentence goes to A however long it is; a text shorter than half the target does so as a whole
    first = np.where((below == 0) | (over < 0.5) | (lengths < half), above, below)
    return np.where(single < single_segment_prob, lengths, first)
