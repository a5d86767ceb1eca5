"""The ways there are of cutting a corpus into sequences, by the name that ``pretrain.packing`` has for them."""

from __future__ import annotations

import numpy as np

from selfpretrain.pretext.blocks import BlockBuilder, Epoch, PackedBlocks, Tokens
from selfpretrain.pretext.pairs import PairBlocks, count_pair_epoch
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
    "pairs": BlockBuilder(
        lambda tokens, sizes, ids, entries, *rest: PairBlocks(tokens, sizes, ids, Marks.find(entries), *rest),
        count_pair_epoch,
        num_segments=2,
        has_next=True,
    ),
}
