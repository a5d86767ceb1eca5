"""Blocks of one run of text: what is covered, and what is held out."""

from __future__ import annotations

import numpy as np
import pytest

from selfpretrain.config import PretrainConfig, UserError
from selfpretrain.pretext.blocks import PackedBlocks, SpecialIds

CLS, SEP, MASK = 2, 3, 4


def make_blocks(count=4000, seed=0, **settings):
    # every token names its own place in the stream, so that blocks can be traced back
    return PackedBlocks(
        np.arange(count, dtype=np.int32) + 1000,
        SpecialIds(CLS, SEP, MASK, 0, 1, (0, 1, 2, 3, 4), 2000),
        PretrainConfig(seq_len=16, **settings),
        seed,
    )


def test_every_token_of_the_training_text_is_read_and_no_other():
    blocks = make_blocks(count=1000)
    read = set()
    for epoch in range(150):  # the offset leaves a block's worth out of each epoch
        starts = blocks.get_starts(epoch * blocks.num_blocks, blocks.num_blocks)
        ids = blocks.build(starts, np.random.default_rng(0)).ids
        places = ids[ids >= 1000] - 1000
        assert len(set(places.tolist())) == len(places)  # once per epoch
        assert len(places) >= blocks.train_tokens - blocks.content
        read |= set(places.tolist())
    assert read == set(range(blocks.train_tokens))
    held_out = blocks.build(blocks.get_held_out_starts(), np.random.default_rng(0)).ids
    kept = set((held_out[held_out >= 1000] - 1000).tolist())
    assert len(kept) == blocks.num_held_out * blocks.content
    assert not kept & read


def test_epochs_differ_in_order_and_offset():
    blocks = make_blocks()
    epochs = [blocks.get_starts(epoch * blocks.num_blocks, blocks.num_blocks) for epoch in range(8)]
    offsets = {int(starts.min()) for starts in epochs}
    orders = {tuple((starts - starts.min()).tolist()) for starts in epochs}
    assert len(orders) == 8
    assert len(offsets) > 3
    assert (np.diff(epochs[0]) != blocks.content).mean() > 0.9  # shuffled


def test_order_depends_on_the_data_seed():
    first, again, other = (make_blocks(seed=seed).get_starts(0, 50) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_starts_do_not_depend_on_how_they_are_asked_for():
    blocks = make_blocks(count=500)
    whole = blocks.get_starts(0, 5 * blocks.num_blocks)  # over the borders of epochs
    assert (np.concatenate([make_blocks(count=500).get_starts(i, 1) for i in range(len(whole))]) == whole).all()


def test_layout_of_a_full_block():
    blocks = make_blocks()
    rows = blocks.build(np.array([100, 7]), np.random.default_rng(0))
    ids = rows.ids
    assert rows.types is None and rows.mask is None
    assert ids[0].tolist() == [CLS, *range(1100, 1114), SEP]
    assert ids[1].tolist() == [CLS, *range(1007, 1021), SEP]


@pytest.mark.parametrize(("tokens", "held_out"), [(28, 1), (14 * 100, 2), (14 * 1000, 20), (14 * 50_000, 256)])
def test_size_of_the_held_out_part(tokens, held_out):
    blocks = make_blocks(count=tokens)
    assert blocks.num_held_out == held_out
    assert blocks.get_held_out_starts()[-1] + blocks.content <= tokens
    assert blocks.num_blocks >= 1


def test_the_held_out_part_is_a_setting():
    assert make_blocks(14 * 1000, held_out_fraction=0.1).num_held_out == 100
    assert make_blocks(14 * 1000, held_out_fraction=0.1, max_held_out=7).num_held_out == 7
    assert make_blocks(14 * 1000, held_out_fraction=0.0).num_held_out == 1


def test_too_little_text_is_one_line():
    with pytest.raises(
        UserError, match=r"27 tokens, too few for two blocks of 16; set pretrain\.seq_len lower"
    ) as error:
        make_blocks(count=27)
    assert "\n" not in str(error.value)
