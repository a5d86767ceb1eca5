"""Batches for pretraining: packed blocks of exactly ``seq_len`` tokens with a fixed number of chosen positions.

Every number is a pure function of (seed, purpose, step or epoch): nothing has to be saved to resume, and a batch
does not depend on how many processes share it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from selfpretrain.config import ObjectiveConfig, UserError
from selfpretrain.seeds import make_generator

Ints = npt.NDArray[np.int64]

HELD_OUT_SHARE = 0.02  # of the blocks, kept for the held-out loss
HELD_OUT_BLOCKS = 256  # never more than this
SINGLE_SEGMENT_PROB = 0.1  # share of blocks that are one segment [ELECTRA build_pretraining_dataset.py]


@dataclass(frozen=True)
class SpecialIds:
    cls_id: int
    sep_id: int
    mask_id: int
    special_ids: tuple[int, ...]  # all of them; never chosen for prediction
    vocab_size: int


class PackedBlocks:
    """Blocks of a flat token stream, in a new order and with a new offset every epoch.

    ``tokens``: all documents, each ended by the separator [total_tokens]. ``packing``: ``full`` is
    [CLS] text [SEP]; ``segments`` is [CLS] A [SEP] B [SEP] with segment ids [ELECTRA, without its 5 % short
    examples: those need padding]. The stream's tail is held out.
    """

    def __init__(self, tokens: npt.NDArray[np.integer], ids: SpecialIds, seq_len: int, packing: str, data_seed: int):
        self.tokens, self.ids, self.seq_len, self.packing, self.seed = tokens, ids, seq_len, packing, data_seed
        self.content = seq_len - (3 if packing == "segments" else 2)
        total_blocks = len(tokens) // self.content
        if total_blocks < 2:
            raise UserError(
                f"the corpus has {len(tokens)} tokens, too few for two blocks of {seq_len}; "
                "set pretrain.seq_len lower or add text"
            )
        self.num_held_out = max(1, min(HELD_OUT_BLOCKS, int(total_blocks * HELD_OUT_SHARE)))
        self.train_tokens = (total_blocks - self.num_held_out) * self.content
        # a random offset shifts the blocks' borders every epoch, which costs one block
        self.num_blocks = max(1, self.train_tokens // self.content - 1)

    @lru_cache(maxsize=2)  # noqa: B019 - one object lives as long as its run
    def _epoch(self, epoch: int) -> tuple[Ints, int]:
        spare = self.train_tokens - self.num_blocks * self.content
        offset = int(make_generator(self.seed, "offset", epoch).integers(0, spare + 1))
        return make_generator(self.seed, "order", epoch).permutation(self.num_blocks), offset

    def get_starts(self, first: int, count: int) -> Ints:
        """Start positions in the stream of samples first .. first + count - 1, counted over all epochs."""
        starts = np.empty(count, np.int64)
        for i, sample in enumerate(range(first, first + count)):
            epoch, place = divmod(sample, self.num_blocks)
            order, offset = self._epoch(epoch)
            starts[i] = order[place] * self.content + offset
        return starts

    def get_held_out_starts(self) -> Ints:
        return self.train_tokens + np.arange(self.num_held_out) * self.content

    def build(self, starts: Ints, rng: np.random.Generator) -> tuple[Ints, Ints | None]:
        """Token ids [N, seq_len] and segment ids [N, seq_len] (None for ``full``) of the blocks at ``starts``."""
        text = self.tokens[starts[:, None] + np.arange(self.content)].astype(np.int64)
        count = len(starts)
        ids = np.empty((count, self.seq_len), np.int64)
        ids[:, 0] = self.ids.cls_id
        ids[:, -1] = self.ids.sep_id
        if self.packing == "full":
            ids[:, 1:-1] = text
            return ids, None
        half = (self.seq_len - 3) // 2
        ids[:, 1 : half + 1] = text[:, :half]
        ids[:, half + 1] = self.ids.sep_id
        ids[:, half + 2 : -1] = text[:, half:]
        types = np.zeros_like(ids)
        types[:, half + 2 :] = 1
        types[rng.random(count) < SINGLE_SEGMENT_PROB] = 0
        return ids, types


def count_slots(objective: ObjectiveConfig, seq_len: int) -> int:
    """Chosen positions per sequence, M = round(p L); [ELECTRA: at most its int((p + .005) L) slots]."""
    wanted = round(objective.mask_prob * seq_len)
    if objective.name == "rtd":
        wanted = min(wanted, int((objective.mask_prob + 0.005) * seq_len))
    return max(1, wanted)


def choose_positions(
    ids: Ints, special_ids: tuple[int, ...], slots: int, with_replacement: bool, rng: np.random.Generator
) -> Ints:
    """``slots`` ordinary positions per row, [N, M]: ELECTRA draws with replacement, RoBERTa without."""
    ordinary = ~np.isin(ids, special_ids)
    counts = ordinary.sum(1)
    if (counts == 0).any():
        raise UserError("a block of the corpus holds special tokens only; remove empty texts from it")
    if with_replacement or (counts < slots).any():
        ranks = (rng.random((len(ids), slots)) * counts[:, None]).astype(np.int64)
        order = np.argsort(~ordinary, axis=1, kind="stable")  # ordinary positions first
        return np.sort(np.take_along_axis(order, ranks, axis=1), axis=1)
    noise = np.where(ordinary, rng.random(ids.shape), 2.0)
    return np.sort(np.argpartition(noise, slots - 1, axis=1)[:, :slots], axis=1)


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

    def __init__(self, blocks: PackedBlocks, objective: ObjectiveConfig, batch_size: int, mask_seed: int):
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
        ids, types = self.blocks.build(starts, rng)
        special = self.blocks.ids
        rtd = self.objective.name == "rtd"
        positions = choose_positions(ids, special.special_ids, self.slots, rtd, rng)
        batch: dict[str, npt.NDArray[np.generic]] = {
            "input_ids": apply_masks(ids, positions, self.objective, special, rng),
            "original_ids": ids,
            "masked_positions": positions,
        }
        if types is not None:
            batch["token_type_ids"] = types
        if rtd:
            uniforms = make_generator(self.seed, "sample", step + 1).random(positions.shape, dtype=np.float32)
            batch["sample_uniforms"] = repeat_first(uniforms, positions)
        return batch
