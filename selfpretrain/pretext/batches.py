"""Batches for pretraining: the sequences of blocks with a fixed number of slots for chosen positions.

Every number is a pure function of (seed, purpose, step or epoch): nothing has to be saved to resume, and a batch
does not depend on how many processes share it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from selfpretrain.config import ObjectiveConfig, UserError
from selfpretrain.pretext.blocks import Blocks, Ints, SpecialIds
from selfpretrain.pretext.objectives import OBJECTIVES, count_slots
from selfpretrain.seeds import make_generator


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
    drawn = ordinary[(random_ids * len(ordinary)).astype(np.int64)]
    shares = np.cumsum([objective.mask_token_prob, objective.random_token_prob])
    replaced = np.select([choice < share for share in shares], [special.mask_id, drawn], chosen)
    masked = ids.copy()
    np.put_along_axis(masked, positions, replaced, axis=1)
    return masked


class PretrainBatches:
    """``batches[step]`` is the whole batch of an optimizer step as numpy arrays, for any step in any order.

    The first ``mlm_steps`` hold no number to sample by: their masked tokens are the encoder's own task.
    """

    def __init__(self, blocks: Blocks, objective: ObjectiveConfig, batch_size: int, mask_seed: int, mlm_steps: int = 0):
        self.blocks, self.objective, self.batch_size, self.seed = blocks, objective, batch_size, mask_seed
        self.mlm_steps = mlm_steps
        self.slots = count_slots(objective, blocks.seq_len)

    def __getitem__(self, step: int) -> dict[str, npt.NDArray[np.generic]]:
        return self._assemble(self.blocks.get_starts(step * self.batch_size, self.batch_size), step)

    def get_held_out(self) -> dict[str, npt.NDArray[np.generic]]:
        """All held-out blocks with one fixed draw of masks."""
        return self._assemble(self.blocks.get_held_out_starts(), -1)

    def _assemble(self, starts: Ints, step: int) -> dict[str, npt.NDArray[np.generic]]:
        rng = make_generator(self.seed, "mask", step + 1)
        rows, special, objective = self.blocks.build(starts, rng), self.blocks.ids, self.objective
        wanted = OBJECTIVES[objective.name]
        counts = None if rows.mask is None else count_chosen(rows.mask, objective.mask_prob, self.slots)
        positions = choose_positions(rows.ids, special.never_chosen, self.slots, wanted.with_replacement, rng, counts)
        batch: dict[str, npt.NDArray[np.generic]] = {
            "input_ids": apply_masks(rows.ids, positions, objective, special, rng),
            "original_ids": rows.ids,
            "masked_positions": positions,
        }
        if rows.types is not None:
            batch["token_type_ids"] = rows.types
        if rows.next_labels is not None:
            batch["next_labels"] = rows.next_labels
        if rows.mask is not None and counts is not None:
            batch |= weigh(rows.mask, np.arange(self.slots) < counts[:, None])
        if wanted.samples and not 0 <= step < self.mlm_steps:
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
