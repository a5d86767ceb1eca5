"""The ways there are of cutting a corpus into sequences, by the name that ``pretrain.packing`` has for them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from selfpretrain.config import PretrainConfig
from selfpretrain.pretext.blocks import BlockBuilder, Blocks, Epoch, PackedBlocks, SpecialIds, Tokens
from selfpretrain.pretext.segments import Marks, SegmentBlocks, count_segment_epoch


def count_full_epoch(sizes: Tokens, seq_len: int) -> Epoch:
    """Text tokens over ``seq_len``, the special tokens of blocks being few."""
    total = float(sizes.sum(dtype=np.int64))
    return Epoch(total / seq_len, total)


BLOCK_BUILDERS: dict[str, BlockBuilder] = {
    "segments": BlockBuilder(
        lambda tokens, sizes, ids, entries, *rest: SegmentBlocks(tokens, sizes, ids, Marks.find(entries), *rest),
        count_segment_epoch,
        num_segments=2,
    ),
    "full": BlockBuilder(lambda tokens, sizes, ids, entries, *rest: PackedBlocks(tokens, ids, *rest), count_full_epoch),
}


def build_blocks(
    tokens: Tokens, sizes: Tokens, ids: SpecialIds, entries: Sequence[str], config: PretrainConfig, data_seed: int
) -> Blocks:
    """The sequences of documents that lie one after the other; the arguments are those of :class:`BlockBuilder`."""
    return BLOCK_BUILDERS[config.packing].build(tokens, sizes, ids, entries, config, data_seed)


def count_epoch(sizes: Tokens, config: PretrainConfig) -> Epoch:
    """One pass over documents of ``sizes`` tokens [num_docs], each with its separator."""
    return BLOCK_BUILDERS[config.packing].count_epoch(sizes, config.seq_len)
