"""ELECTRA's examples: where documents are cut, where A ends, how many are single or short."""

from __future__ import annotations

import numpy as np
import pytest

from selfpretrain.config import PretrainConfig, UserError
from selfpretrain.pretext.blocks import SpecialIds
from selfpretrain.pretext.packing import BLOCK_BUILDERS
from selfpretrain.pretext.segments import Marks, SegmentBlocks, choose_first_segment, find_end_after
from tests.pretext.conftest import split_row

PAD, UNK, CLS, SEP, MASK, STOP = range(6)
VOCAB = 1_000_000  # ordinary tokens name their place in the stream
IDS = SpecialIds(CLS, SEP, MASK, PAD, UNK, (0, 1, 2, 3, 4), VOCAB)
MARKS = Marks(np.arange(VOCAB) == STOP, np.zeros(VOCAB, bool))
BASE = 100


def make(lengths, seq_len=32, sentence=7, seed=0, **settings):
    """Documents of these many tokens whose every ``sentence``-th token ends a sentence."""
    documents, start = [], BASE
    for length in lengths:
        places = np.arange(start, start + length)
        documents += [np.where(np.arange(1, length + 1) % sentence == 0, STOP, places), [SEP]]
        start += length + 1
    tokens = np.concatenate(documents).astype(np.int32)
    config = PretrainConfig(seq_len=seq_len, **settings)
    return SegmentBlocks(tokens, np.array(lengths, np.int32) + 1, IDS, MARKS, config, seed)


def read(blocks, pieces, seed=0):
    """A and B of every example, as lists, with what the layout says of them checked."""
    rows = blocks.build(np.asarray(pieces), np.random.default_rng(seed))
    examples = []
    for ids, types, mask in zip(rows.ids.tolist(), rows.types.tolist(), rows.mask.tolist(), strict=True):
        first, second = split_row(ids, types, mask, CLS, SEP, PAD)
        examples.append((first, second))
    return examples


def test_documents_do_not_run_into_one_another():
    lengths = np.random.default_rng(0).integers(1, 200, 300)
    blocks = make(lengths)
    ends = BASE + np.cumsum(lengths + 1) - 1
    for first, second in read(blocks, np.arange(blocks.num_blocks + blocks.num_held_out)):
        places = np.array([token for token in first + second if token != STOP])
        assert len(np.unique(np.searchsorted(ends, places))) <= 1
        assert (np.diff(places) > 0).all()


def test_nearly_all_text_is_read_and_none_twice_in_an_epoch():
    lengths = np.random.default_rng(1).integers(1, 200, 300)
    blocks = make(lengths, sentence=11)
    examples = read(blocks, blocks.get_starts(0, blocks.num_blocks))
    seen = [token for first, second in examples for token in first + second if token != STOP]
    assert len(set(seen)) == len(seen)
    document, place, _ = blocks._locate(np.array([blocks.num_blocks]))
    border = BASE + int(blocks.offsets[document[0]] + place[0])
    total = sum(BASE <= token < border for token in blocks.tokens.tolist())
    assert 0.85 * total < len(seen) <= total  # short examples and cuts leave a little out
    assert max(seen) < border
    held_out = {token for first, second in read(blocks, blocks.get_held_out_starts()) for token in first + second}
    assert min(held_out - {STOP}) >= border


def test_examples_of_a_long_document_begin_at_sentences():
    blocks = make([100_000])
    begins = [first[0] for first, _ in read(blocks, np.arange(1, 3000))]
    assert all((begin - BASE) % 7 == 0 for begin in begins)
    unmarked = make([100_000], sentence=1_000)  # no end in reach: the cut stays where it is
    assert np.mean([(first[0] - BASE) % 29 == 0 for first, _ in read(unmarked, np.arange(1, 3000))]) > 0.95


def test_shares_of_single_segments_and_of_short_examples():
    blocks = make([200_000], seq_len=64)
    examples = read(blocks, np.arange(3000))
    single = np.array([not second for _, second in examples])
    lengths = np.array([len(first) + len(second) for first, second in examples])
    full = lengths >= 61 - 6
    # a random target of 5 .. 64 gives a shorter example than this in 45 of 60 cases, and some of those have no B
    assert 1 - full.mean() == pytest.approx(0.05 * 0.82, abs=0.015)
    assert single[full].mean() == pytest.approx(0.1, abs=0.02)
    assert lengths[~full].min() <= 14 and len(set(lengths[~full].tolist())) > 5


def test_those_shares_are_settings():
    examples = read(make([200_000], seq_len=64, single_segment_prob=1.0, short_seq_prob=0.0), np.arange(1, 500))
    assert not any(second for _, second in examples) and min(len(first) for first, _ in examples) >= 61 - 6
    examples = read(make([200_000], seq_len=64, single_segment_prob=0.0, short_seq_prob=1.0), np.arange(500))
    assert np.mean([len(first + second) < 61 - 6 for first, second in examples]) == pytest.approx(45 / 60, abs=0.06)


def test_a_ends_around_half_the_target_at_a_sentence_end():
    blocks = make([200_000], seq_len=64)
    cuts = [len(first) for first, second in read(blocks, np.arange(1, 3000)) if second and len(first + second) > 54]
    assert np.isin(cuts, [28, 35]).mean() > 0.97  # half of 61 is 30; a random target may lie near the longest
    assert np.mean(np.array(cuts) == 28) == pytest.approx(0.5, abs=0.04)
    _, second = next(example for example in read(blocks, np.arange(20)) if example[1])
    assert (second[0] - BASE) % 7 == 0  # and B begins with a sentence


@pytest.mark.parametrize(
    ("sentence_ends", "length", "shares"),
    [
        ([10, 20, 40], 61, {20: 0.45, 40: 0.45, 61: 0.1}),
        ([50], 61, {50: 0.9, 61: 0.1}),  # the first sentence goes to A however long it is
        ([], 61, {61: 1}),  # a text without an end in it is one segment
        ([10], 20, {20: 1}),  # shorter than half the target: A as a whole
        ([10], 40, {10: 0.45, 40: 0.55}),
        ([29, 31], 61, {29: 0.45, 31: 0.45, 61: 0.1}),  # half of the 61 is 30: the second sentence puts A over
        ([30, 31], 61, {30: 0.9, 61: 0.1}),
    ],
)
def test_first_segment_by_hand(sentence_ends, length, shares):
    ends = np.zeros((4000, 61), bool)
    ends[:, np.array(sentence_ends, int) - 1] = True
    target, lengths = np.full(4000, 64), np.full(4000, length)
    drawn = choose_first_segment(ends, target, lengths, 0.1, np.random.default_rng(0))
    cuts, counts = np.unique(drawn, return_counts=True)
    assert dict(zip(cuts.tolist(), counts / 4000, strict=True)) == pytest.approx(shares, abs=0.04)
    assert find_end_after(ends[:1], np.array([62]), lengths[:1]).tolist() == [length]


def test_ends_of_sentences_in_both_kinds_of_vocabulary():
    entries = [".", "!", '"', ")", "Ġ.", '."', 'Ġ"', "a", "##.", "...", "U.S.", "âĢĿ", "", "Ġ", "Ġ?)"]
    marks = Marks.find(entries)
    assert [e for e, yes in zip(entries, marks.terminal, strict=True) if yes] == [".", "!", "Ġ.", '."', "##.", "...", "Ġ?)"]  # fmt: skip
    assert [e for e, yes in zip(entries, marks.closing, strict=True) if yes] == ['"', ")", "âĢĿ"]
    a, stop, quote = 7, 0, 2
    text = np.array([[a, stop, a, stop, quote, a, quote, a, stop, stop, a, stop]])
    assert np.flatnonzero(marks.find_ends(text)[0]).tolist() == [1, 4, 9]  # behind the last token nobody can tell


def test_epochs_differ_in_order_and_the_seed_decides():
    blocks = make([50] * 200)
    orders = [tuple(blocks.get_starts(epoch * blocks.num_blocks, blocks.num_blocks).tolist()) for epoch in range(3)]
    assert len(set(orders)) == 3 and {frozenset(order) for order in orders} == {frozenset(range(blocks.num_blocks))}
    assert (make([50] * 200, seed=1).get_starts(0, 50) != blocks.get_starts(0, 50)).any()


def test_an_epoch_counts_what_is_padded():
    sizes = np.array([30, 31, 60], np.int32)  # 29, 30 and 59 tokens at 29 a piece
    segments, full = (BLOCK_BUILDERS[name].count_epoch(sizes, 32) for name in ("segments", "full"))
    assert (segments.sequences, full.sequences) == (6, 121 / 32)
    assert (segments.tokens, full.tokens) == (118 + 6 * 3, 121)


def test_too_little_text_is_one_line():
    with pytest.raises(UserError, match=r"11 tokens, too few for two blocks of 32; set pretrain\.seq_len lower"):
        make([10])
