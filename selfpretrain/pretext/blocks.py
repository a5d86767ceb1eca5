"""Sequences of exactly ``seq_len`` tokens for pretraining: what every way of cutting them has, and the plain one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import numpy.typing as npt

from selfpretrain.config import PretrainConfig, UserError
from selfpretrain.seeds import make_generator

Ints = npt.NDArray[np.int64]
Tokens = npt.NDArray[np.integer]


@dataclass(frozen=True)
class SpecialIds:
    cls_id: int
    sep_id: int
    mask_id: int
    pad_id: int
    unk_id: int
    special_ids: tuple[int, ...]  # all of them; never put in as a random token
    vocab_size: int

    @property
    def never_chosen(self) -> tuple[int, ...]:
        """All but the unknown token, which stands for text [ELECTRA pretrain_helpers.py, fairseq]."""
        return tuple(special for special in self.special_ids if special != self.unk_id)


@dataclass(frozen=True)
class Rows:
    """N sequences: token ids [N, seq_len]; segment ids and, where something is padding, what is none, both [N, seq_len].

    Of pairs also whether the second text follows the first (0) or is of another document (1) [BERT], [N].
    """

    ids: Ints
    types: Ints | None = None
    mask: npt.NDArray[np.bool_] | None = None
    next_labels: Ints | None = None


class Epochs:
    """The numbers 0 .. size - 1, in a new order every epoch."""

    def __init__(self, size: int, data_seed: int):
        self.size, self.seed = size, data_seed

    @lru_cache(maxsize=2)  # noqa: B019 - one object lives as long as its run
    def _order(self, epoch: int) -> Ints:
        return make_generator(self.seed, "order", epoch).permutation(self.size)

    def draw(self, first: int, count: int) -> tuple[Ints, Ints]:
        """Epochs [count] and numbers [count] of samples first .. first + count - 1, counted over all epochs."""
        epochs, places = np.divmod(np.arange(first, first + count), self.size)
        numbers = [self._order(epoch)[place] for epoch, place in zip(epochs.tolist(), places.tolist(), strict=True)]
        return epochs, np.array(numbers, np.int64)


def count_held_out(total_blocks: int, num_tokens: int, config: PretrainConfig) -> int:
    """Of a corpus's sequences, those kept for the held-out loss; UserError where nothing would be left."""
    if total_blocks < 2:
        raise UserError(
            f"the corpus has {num_tokens} tokens, too few for two blocks of {config.seq_len}; "
            "set pretrain.seq_len lower or add text"
        )
    return max(1, min(config.max_held_out, int(total_blocks * config.held_out_fraction)))


class Blocks(Protocol):
    """Where a batch's sequences come from; each has a start, whatever that is a number of."""

    ids: SpecialIds
    seq_len: int
    num_blocks: int  # in an epoch
    train_tokens: int  # of the corpus, in front of those held out
    num_held_out: int

    def get_starts(self, first: int, count: int) -> Ints:
        """Of samples first .. first + count - 1 of the training text, counted over all epochs."""

    def get_held_out_starts(self) -> Ints:
        """Of the text that is never trained on, [num_held_out]."""

    def build(self, starts: Ints, rng: np.random.Generator) -> Rows:
        """The sequences at ``starts`` [N]; what is left to chance is drawn from ``rng``."""


@dataclass(frozen=True)
class Epoch:
    """One pass over a corpus: how many sequences it makes, and the tokens that are not padding, special ones included."""

    sequences: float
    tokens: float


@dataclass(frozen=True)
class BlockBuilder:
    """A way of cutting documents into sequences; ``pretrain.packing`` names one of ``BLOCK_BUILDERS``.

    ``build(tokens, sizes, ids, entries, config, data_seed)`` gets all documents one after the other, each ended by the
    separator [total_tokens], their lengths with it [num_docs], and the vocabulary in the order of its ids; UserError
    where the text is too short.
    """

    build: Callable[[Tokens, Tokens, SpecialIds, Sequence[str], PretrainConfig, int], Blocks]
    count_epoch: Callable[[Tokens, int], Epoch]  # of sizes [num_docs] and seq_len, without building anything
    num_segments: int = 1  # segment ids in its rows, which the model must know
    has_next: bool = False  # its rows have ``next_labels``


class PackedBlocks:
    """[CLS] text [SEP]: blocks of a flat token stream, in a new order and with a new offset every epoch [RoBERTa].

    ``tokens``: all documents, each ended by the separator [total_tokens]. The stream's tail is held out.
    """

    def __init__(self, tokens: npt.NDArray[np.integer], ids: SpecialIds, config: PretrainConfig, data_seed: int):
        self.tokens, self.ids, self.seq_len, self.seed = tokens, ids, config.seq_len, data_seed
        self.content = self.seq_len - 2
        total_blocks = len(tokens) // self.content
        self.num_held_out = count_held_out(total_blocks, len(tokens), config)
        self.train_tokens = (total_blocks - self.num_held_out) * self.content
        # a random offset shifts the blocks' borders every epoch, which costs one block
        self.num_blocks = max(1, self.train_tokens // self.content - 1)
        self.epochs = Epochs(self.num_blocks, data_seed)

    def get_starts(self, first: int, count: int) -> Ints:
        """Start positions in the stream of samples first .. first + count - 1, counted over all epochs."""
        epochs, numbers = self.epochs.draw(first, count)
        drawn, which = np.unique(epochs, return_inverse=True)
        spare = self.train_tokens - self.num_blocks * self.content
        offsets = [make_generator(self.seed, "offset", epoch).integers(0, spare + 1) for epoch in drawn.tolist()]
        return numbers * self.content + np.array(offsets)[which]

    def get_held_out_starts(self) -> Ints:
        return self.train_tokens + np.arange(self.num_held_out) * self.content

    def build(self, starts: Ints, rng: np.random.Generator) -> Rows:
        """The blocks at ``starts`` [N]; nothing is drawn."""
        ids = np.empty((len(starts), self.seq_len), np.int64)
        ids[:, 1:-1] = self.tokens[starts[:, None] + np.arange(self.content)]
        ids[:, 0], ids[:, -1] = self.ids.cls_id, self.ids.sep_id
        return Rows(ids)
