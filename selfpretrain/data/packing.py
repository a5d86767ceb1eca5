"""Batches for pretraining: sequences of exactly ``seq_len`` tokens with a fixed number of slots for chosen positions.

Every number is a pure function of (seed, purpose, step or epoch): nothing has to be saved to resume, and a batch
does not depend on how many processes share it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import numpy.typing as npt

from selfpretrain.config import ObjectiveConfig, UserError
from selfpretrain.seeds import make_generator

Ints = npt.NDArray[np.int64]

HELD_OUT_SHARE = 0.02  # of the blocks, kept for the held-out loss
HELD_OUT_BLOCKS = 256  # never more than this


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
    """N sequences: token ids [N, seq_len]; segment ids and, where something is padding, what is none, both [N, seq_len]."""

    ids: Ints
    types: Ints | None = None
    mask: npt.NDArray[np.bool_] | None = None


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


def count_held_out(total_blocks: int) -> int:
    return max(1, min(HELD_OUT_BLOCKS, int(total_blocks * HELD_OUT_SHARE)))


class Blocks(Protocol):
    """Where a batch's sequences come from."""

    ids: SpecialIds
    seq_len: int
    num_blocks: int  # in an epoch
    num_held_out: int

    def get_starts(self, first: int, count: int) -> Ints: ...

    def get_held_out_starts(self) -> Ints: ...

    def build(self, starts: Ints, rng: np.random.Generator) -> Rows: ...


class PackedBlocks:
    """[CLS] text [SEP]: blocks of a flat token stream, in a new order and with a new offset every epoch [RoBERTa].

    ``tokens``: all documents, each ended by the separator [total_tokens]. The stream's tail is held out.
    """

    def __init__(self, tokens: npt.NDArray[np.integer], ids: SpecialIds, seq_len: int, data_seed: int):
        self.tokens, self.ids, self.seq_len, self.seed = tokens, ids, seq_len, data_seed
        self.content = seq_len - 2
        total_blocks = len(tokens) // self.content
        if total_blocks < 2:
            raise UserError(
                f"the corpus has {len(tokens)} tokens, too few for two blocks of {seq_len}; "
                "set pretrain.seq_len lower or add text"
            )
        self.num_held_out = count_held_out(total_blocks)
        self.train_tokens = (total_blocks - self.num_held_out) * self.content
        # a random offset shifts the blocks' borders every epoch, which costs one block
        self.num_blocks = max(1, self.train_tokens // self.content - 1)
        self.epochs = Epochs(self.num_blocks, data_seed)

    def _draw_offset(self, epoch: int) -> int:
        spare = self.train_tokens - self.num_blocks * self.content
        return int(make_generator(self.seed, "offset", epoch).integers(0, spare + 1))

    def get_starts(self, first: int, count: int) -> Ints:
        """Start positions in the stream of samples first .. first + count - 1, counted over all epochs."""
        epochs, numbers = self.epochs.draw(first, count)
        drawn, which = np.unique(epochs, return_inverse=True)
        return numbers * self.content + np.array([self._draw_offset(epoch) for epoch in drawn.tolist()])[which]

    def get_held_out_starts(self) -> Ints:
        return self.train_tokens + np.arange(self.num_held_out) * self.content

    def build(self, starts: Ints, rng: np.random.Generator) -> Rows:
        """The blocks at ``starts`` [N]; nothing is drawn."""
        ids = np.empty((len(starts), self.seq_len), np.int64)
        ids[:, 1:-1] = self.tokens[starts[:, None] + np.arange(self.content)]
        ids[:, 0], ids[:, -1] = self.ids.cls_id, self.ids.sep_id
        return Rows(ids)


def count_slots(objective: ObjectiveConfig, seq_len: int) -> int:
    """Chosen positions per sequence, M = round(p L); [ELECTRA: at most its int((p + .005) L) slots]."""
    wanted = round(objective.mask_prob * seq_len)
    if objective.name == "rtd":
        wanted = min(wanted, int((objective.mask_prob + 0.005) * seq_len))
    return max(1, wanted)


def count_chosen(mask: npt.NDArray[np.bool_], mask_prob: float, slots: int) -> Ints:
    """Chosen positions per padded row, [N]: the share of its real tokens, at least 1, at most all slots [ELECTRA]."""
    return np.clip(np.round(mask.sum(1) * mask_prob), 1, slots).astype(np.int64)


def choose_positions(
    ids: Ints, special_ids: tuple[int, ...], slots: int, with_replacement: bool, rng: np.random.Generator,
    counts: Ints | None = None,
) -> Ints:  # fmt: skip
    """``slots`` ordinary positions per row, [N, M] ascending: ELECTRA draws with replacement, RoBERTa without.

    A row with fewer of them has each, and the first ones again. With ``counts`` [N] a row has as many positions; the
    slots behind repeat the last.
    """
    ordinary = ~np.isin(ids, special_ids)
    available = ordinary.sum(1)[:, None]
    if (available == 0).any():
        raise UserError("a block of the corpus holds special tokens only; remove empty texts from it")
    if with_replacement:
        ranks = (rng.random((len(ids), slots)) * available).astype(np.int64)
        chosen = _find_ranked(ordinary, ranks)
    else:
        noise = np.where(ordinary, rng.random(ids.shape), 2.0)
        chosen = np.argsort(noise, axis=1)[:, :slots]
        few = available[:, 0] < slots
        chosen[few] = _find_ranked(ordinary[few], np.arange(slots) % available[few])
    if counts is None:
        return np.sort(chosen, axis=1)
    used = np.arange(slots) < counts[:, None]
    chosen = np.sort(np.where(used, chosen, ids.shape[1]), axis=1)
    return np.where(used, chosen, np.take_along_axis(chosen, counts[:, None] - 1, axis=1))


def _find_ranked(ordinary: npt.NDArray[np.bool_], ranks: Ints) -> Ints:
    """The positions [N, M] of each row's ordinary tokens number ``ranks`` [N, M]."""
    order = np.argsort(~ordinary, axis=1, kind="stable")  # ordinary positions first
    return np.take_along_axis(order, ranks, axis=1)


def repeat_first(values: npt.NDArray[np.floating], positions: Ints) -> npt.NDArray[np.floating]:
    """Give a position drawn twice the values of its first draw (``positions`` sorted within rows)."""
    first = np.ones_like(positions, dtype=bool)
    first[:, 1:] = positions[:, 1:] != positions[:, :-1]
    places = np.maximum.accumulate(np.where(first, np.arange(positions.shape[1]), 0), axis=1)
    return np.take_along_axis(values, places, axis=1)


def apply_masks(
    ids: Ints, positions: Ints, objective: ObjectiveConfig, special: SpecialIds, rng: np.random.Generator
) -> Ints:
    """Replace chosen tokens: mask token, random token or unchanged, by the objective's shares."""
    choice = repeat_first(rng.random(positions.shape), positions)
    random_ids = repeat_first(rng.random(positions.shape), positions)
    chosen = np.take_along_axis(ids, positions, axis=1)
    ordinary = np.setdiff1d(np.arange(special.vocab_size), special.special_ids)
    replaced = np.where(choice < objective.mask_token_prob, special.mask_id, chosen)
    if objective.random_token_prob > 0:
        is_random = (choice >= objective.mask_token_prob) & (
            choice < objective.mask_token_prob + objective.random_token_prob
        )
        replaced = np.where(is_random, ordinary[(random_ids * len(ordinary)).astype(np.int64)], replaced)
    masked = ids.copy()
    np.put_along_axis(masked, positions, replaced, axis=1)
    return masked


class PretrainBatches:
    """``batches[step]`` is the whole batch of an optimizer step as numpy arrays, for any step in any order."""

    def __init__(self, blocks: Blocks, objective: ObjectiveConfig, batch_size: int, mask_seed: int):
        self.blocks, self.objective, self.batch_size, self.seed = blocks, objective, batch_size, mask_seed
        self.slots = count_slots(objective, blocks.seq_len)

    def __getitem__(self, step: int) -> dict[str, npt.NDArray[np.generic]]:
        starts = self.blocks.get_starts(step * self.batch_size, self.batch_size)
        return self._assemble(starts, step)

    def get_held_out(self) -> dict[str, npt.NDArray[np.generic]]:
        """All held-out blocks with one fixed draw of masks."""
        return self._assemble(self.blocks.get_held_out_starts(), -1)

    def _assemble(self, starts: Ints, step: int) -> dict[str, npt.NDArray[np.generic]]:
        rng = make_generator(self.seed, "mask", step + 1)
        rows, special, objective = self.blocks.build(starts, rng), self.blocks.ids, self.objective
        rtd = objective.name == "rtd"
        counts = None if rows.mask is None else count_chosen(rows.mask, objective.mask_prob, self.slots)
        positions = choose_positions(rows.ids, special.never_chosen, self.slots, rtd, rng, counts)
        batch: dict[str, npt.NDArray[np.generic]] = {
            "input_ids": apply_masks(rows.ids, positions, objective, special, rng),
            "original_ids": rows.ids,
            "masked_positions": positions,
        }
        if rows.types is not None:
            batch["token_type_ids"] = rows.types
        if rows.mask is not None and counts is not None:
            batch |= weigh(rows.mask, np.arange(self.slots) < counts[:, None])
        if rtd:
            uniforms = make_generator(self.seed, "sample", step + 1).random(positions.shape, dtype=np.float32)
            batch["sample_uniforms"] = repeat_first(uniforms, positions)
        return batch


def weigh(mask: npt.NDArray[np.bool_], used: npt.NDArray[np.bool_]) -> dict[str, npt.NDArray[np.generic]]:
    """What a padded batch has besides: the mask, its real tokens per row, and the weights of tokens and of slots.

    With them a sum over tokens over the number of rows, and a mean over slots, are the batch's mean over its real tokens
    and over its used slots, however the batch is divided among micro-batches and processes.
    """
    return {
        "attention_mask": mask,
        "num_tokens": mask.sum(1),
        "token_weights": (mask * (len(mask) / mask.sum())).astype(np.float32),
        "slot_weights": (used / used.mean()).astype(np.float32),
    }
