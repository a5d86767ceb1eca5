"""BERT's pairs: by the rules of create_pretraining_data.py, counted against the original's loop."""

from __future__ import annotations

import random

import numpy as np
import pytest

from selfpretrain.config import ObjectiveConfig, PretrainConfig, UserError
from selfpretrain.pretext import pairs
from selfpretrain.pretext.batches import PretrainBatches
from selfpretrain.pretext.blocks import SpecialIds
from selfpretrain.pretext.packing import BLOCK_BUILDERS
from selfpretrain.pretext.pairs import PairBlocks, Sentences, draw_pairs, truncate_pairs
from selfpretrain.pretext.segments import Marks
from tests.pretext.conftest import split_row

PAD, UNK, CLS, SEP, MASK, STOP = range(6)
VOCAB = 1_000_000  # ordinary tokens name their place in the stream
IDS = SpecialIds(CLS, SEP, MASK, PAD, UNK, (0, 1, 2, 3, 4), 5000)  # of which random tokens are the first
MARKS = Marks(np.arange(VOCAB) == STOP, np.zeros(VOCAB, bool))
BASE = 100
OBJECTIVE = ObjectiveConfig(name="mlm_nsp", mask_token_prob=0.8, random_token_prob=0.1)


def make_text(documents):
    """Token stream and sizes of documents, each a list of its sentences' lengths; all but their ends name their place."""
    tokens, sizes = [], []
    for sentences in documents:
        for length in sentences:
            place = BASE + len(tokens)
            tokens += [*range(place, place + length - 1), STOP]
        tokens.append(SEP)
        sizes.append(sum(sentences) + 1)
    return np.array(tokens, np.int32), np.array(sizes, np.int32)


def make(documents, seq_len=64, seed=0, **settings):
    config = PretrainConfig(seq_len=seq_len, **{"short_seq_prob": 0.1, **settings})
    return PairBlocks(*make_text(documents), IDS, MARKS, config, seed)


def draw_documents(seed, count, sentences, lengths):
    rng = np.random.default_rng(seed)
    return [rng.integers(*lengths, rng.integers(*sentences)).tolist() for _ in range(count)]


def read(blocks, starts, seed=0):
    """A, B and the label of every example, with what the layout says of them checked."""
    rows = blocks.build(np.asarray(starts), np.random.default_rng(seed))
    examples = []
    for ids, types, mask, label in zip(*(v.tolist() for v in (rows.ids, rows.types, rows.mask, rows.next_labels)), strict=True):  # fmt: skip
        first, second = split_row(ids, types, mask, CLS, SEP, PAD)
        assert first and second
        examples.append((first, second, label))
    return examples


def walk_as_original(documents, seq_len, short_seq_prob, rng):
    """create_instances_from_document and truncate_seq_pair, over lengths: rows of (A, B, label)."""
    rows, longest = [], seq_len - 3
    for number, document in enumerate(documents):
        target = rng.randint(2, longest) if rng.random() < short_seq_prob else longest
        chunk, place = [], 0
        while place < len(document):
            chunk.append(document[place])
            if place == len(document) - 1 or sum(chunk) >= target:
                split = rng.randint(1, len(chunk) - 1) if len(chunk) > 1 else 1
                a, b, label = sum(chunk[:split]), sum(chunk[split:]), 0
                if len(chunk) == 1 or rng.random() < 0.5:
                    other = number
                    while other == number:
                        other = rng.randint(0, len(documents) - 1)
                    b, label = 0, 1
                    for length in documents[other][rng.randint(0, len(documents[other]) - 1) :]:
                        b += length
                        if b >= target - a:
                            break
                    place -= len(chunk) - split
                while a + b > longest:
                    a, b = (a - 1, b) if a > b else (a, b - 1)
                rows.append((a, b, label))
                chunk = []
            place += 1
    return np.array(rows)


@pytest.mark.parametrize("sentences", [(1, 4), (1, 12), (20, 40)])
def test_counts_are_those_of_the_original(sentences):
    documents = draw_documents(0, 1500, sentences, (3, 40))
    blocks = make(documents)
    expected = walk_as_original(documents[: blocks.num_train], 64, 0.1, random.Random(0))
    rows = blocks.build(blocks.get_starts(0, blocks.num_blocks), np.random.default_rng(0))
    b = rows.types.sum(1) - 1
    a = rows.mask.sum(1) - b - 3
    assert blocks.num_blocks == pytest.approx(len(expected), rel=0.02)
    assert rows.next_labels.mean() == pytest.approx(expected[:, 2].mean(), abs=0.03)
    for label in (0, 1):
        for own, known in ((a, expected[:, 0]), (b, expected[:, 1])):
            own, known = own[rows.next_labels == label], known[expected[:, 2] == label]
            assert own.mean() == pytest.approx(known.mean(), rel=0.05)
            shares = [np.quantile(lengths, [0.1, 0.3, 0.5, 0.7, 0.9]) for lengths in (own, known)]
            np.testing.assert_allclose(*shares, atol=3)


def test_half_of_the_pairs_are_drawn_and_all_of_single_sentences():
    long = [[8] * 200] * 40  # a chunk has eight sentences, the last of a document may have one
    labels = np.array([label for *_, label in read(make(long, short_seq_prob=0.0), np.arange(1500))])
    assert labels.mean() == pytest.approx(0.5, abs=0.04)
    assert {label for *_, label in read(make([[20]] * 100), np.arange(200))} == {1}
    # a chunk of two sentences: one pair that follows, or one drawn and then the second sentence's
    labels = [label for *_, label in read(make([[20, 20]] * 2000), np.arange(2900))]
    assert np.mean(labels) == pytest.approx(1 / 1.5, abs=0.03)


def test_what_follows_follows_and_what_is_drawn_is_of_another_document():
    documents = draw_documents(1, 300, (1, 30), (2, 30))
    blocks = make(documents, short_seq_prob=0.3)
    _, sizes = make_text(documents)
    ends = np.cumsum(sizes)
    found = draw_pairs(blocks.text, range(blocks.num_train), blocks.config, np.random.default_rng(0))
    a_begin, a_end, b_begin, b_end = found.spans.T
    first, second = np.searchsorted(ends, a_begin, side="right"), np.searchsorted(ends, b_begin, side="right")
    assert (b_begin[~found.drawn] == a_end[~found.drawn]).all()
    assert (first[~found.drawn] == second[~found.drawn]).all() and (first[found.drawn] != second[found.drawn]).all()
    assert (np.searchsorted(ends, a_end - 1, side="right") == first).all() and (a_end > a_begin).all()
    assert (np.searchsorted(ends, b_end - 1, side="right") == second).all() and (b_end > b_begin).all()
    assert set(second.tolist()) <= set(range(blocks.num_train)) and len(set(second[found.drawn].tolist())) > 250
    # every sentence is read once, as A or as what follows one: what A leaves of a chunk with a drawn B goes back
    read_ends = np.where(found.drawn, a_end, b_end)
    order = np.argsort(a_begin)
    text = np.concatenate([np.arange(*span) for span in zip(a_begin[order], read_ends[order], strict=True)])
    assert (text == np.flatnonzero(blocks.tokens[: blocks.train_tokens] != SEP)).all()


def test_rows_hold_the_text_of_their_spans():
    blocks = make(draw_documents(2, 200, (1, 20), (5, 20)))
    pairs_drawn = blocks._draw_epoch(0)
    for (first, second, label), span, drawn in zip(read(blocks, np.arange(200)), pairs_drawn.spans, pairs_drawn.drawn, strict=False):  # fmt: skip
        assert label == drawn
        a, b = blocks.tokens[slice(*span[:2])].tolist(), blocks.tokens[slice(*span[2:])].tolist()
        assert any(a[i : i + len(first)] == first for i in range(len(a)))
        assert any(b[i : i + len(second)] == second for i in range(len(b)))
        assert len(first) + len(second) == min(len(a) + len(b), 61)


def test_the_longer_text_is_cut_at_both_ends_alike():
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 60, (500, 2))
    for longest in (60, 61):
        for (a, b), kept in zip(lengths.tolist(), truncate_pairs(lengths, longest).tolist(), strict=True):
            while a + b > longest:
                a, b = (a - 1, b) if a > b else (a, b - 1)
            assert kept == [a, b]
    blocks = make([[50] * 20] * 50, short_seq_prob=0.0)  # two sentences make a chunk of 100, 39 too many
    fronts = [first[0] - BASE for first, *_ in read(blocks, np.arange(600)) if len(first) == 31]
    assert np.mean([front % 1001 % 50 for front in fronts]) == pytest.approx(19 / 2, abs=0.5)


def test_a_document_in_ten_has_a_random_target():
    documents = [[4] * 60] * 400
    lengths = {}
    for share in (0.0, 0.1, 1.0):
        rows = make(documents, short_seq_prob=share).build(np.arange(3000), np.random.default_rng(0))
        lengths[share] = rows.mask.sum(1)
    assert (lengths[0.0] < 50).mean() < 0.25  # the ends of documents
    assert (lengths[1.0] < 50).mean() > 0.75
    share = ((lengths[0.1] < 50).mean() - (lengths[0.0] < 50).mean()) / ((lengths[1.0] < 50).mean() - (lengths[0.0] < 50).mean())  # fmt: skip
    assert 0.1 < share < 0.35  # documents with a shorter target make more examples
    assert lengths[1.0].min() < 14


def test_sentences_do_not_depend_on_how_much_is_looked_at_together(monkeypatch):
    documents = draw_documents(3, 50, (1, 9), (2, 20))
    tokens, sizes = make_text(documents)
    offsets = np.cumsum(sizes) - sizes
    whole = Sentences.find(tokens, offsets, sizes - 1, MARKS, 61)
    assert (whole.ends - whole.begins).tolist() == np.concatenate(documents).tolist()
    assert np.diff(whole.first).tolist() == [len(document) for document in documents]
    monkeypatch.setattr(pairs, "STEP", 7)
    parts = Sentences.find(tokens, offsets, sizes - 1, MARKS, 61)
    assert all((getattr(parts, name) == getattr(whole, name)).all() for name in ("begins", "ends", "first"))
    cut = Sentences.find(*([np.arange(99)]), np.array([0, 50]), np.array([45, 48]), MARKS, 20)  # hardly an end in it
    assert list(zip(cut.begins.tolist(), cut.ends.tolist(), strict=True)) == [(0, 6), (6, 26), (26, 45), (50, 70), (70, 90), (90, 98)]  # fmt: skip


def test_a_batch_is_a_function_of_its_step_alone():
    def build(seed=1):
        return PretrainBatches(make(draw_documents(4, 60, (1, 9), (2, 20)), seed=seed), OBJECTIVE, 8, 2)

    batches, fresh = build(), build()
    straight = [batches[step] for step in range(60)]
    assert batches.blocks.num_blocks < 60 * 8 / 2  # several epochs
    fresh.get_held_out()
    for step in (59, 3, 17, 3, 0):
        again = fresh[step]
        assert again.keys() == straight[step].keys() >= {"next_labels", "slot_weights", "token_type_ids"}
        assert all((again[name] == straight[step][name]).all() for name in again)
    assert (build(seed=2)[0]["original_ids"] != straight[0]["original_ids"]).any()
    assert straight[0]["masked_positions"].shape == (8, round(0.15 * 64))


def test_an_epoch_shows_every_example_once_and_walks_anew():
    blocks = make(draw_documents(5, 80, (2, 9), (2, 20)))
    first, second = (blocks._draw_epoch(epoch) for epoch in (0, 1))
    assert len(first.drawn) == len(second.drawn) == blocks.num_blocks
    assert len(np.unique(first.spans[:, 0])) > 0.95 * len({*first.spans[:, 0].tolist(), *second.spans[:, 0].tolist()}) / 2  # fmt: skip
    assert len(np.unique(first.spans, axis=0)) == blocks.num_blocks
    assert {tuple(row) for row in first.spans.tolist()} != {tuple(row) for row in second.spans.tolist()}


def test_held_out_documents_are_never_trained_on():
    blocks = make(draw_documents(6, 300, (1, 9), (2, 20)), held_out_fraction=0.1)
    border = BASE + blocks.train_tokens
    trained = {token for first, second, _ in read(blocks, np.arange(2 * blocks.num_blocks)) for token in first + second}
    held_out = [token for first, second, _ in read(blocks, blocks.get_held_out_starts()) for token in first + second]
    assert max(trained) < border <= min(set(held_out) - {STOP})
    assert blocks.num_held_out == pytest.approx(0.1 * blocks.num_blocks, rel=0.3)


@pytest.mark.parametrize("sentences", [(1, 4), (5, 20), (40, 90)])
def test_an_epoch_is_counted_without_reading_text(sentences):
    documents = draw_documents(7, 400, sentences, (10, 41))
    blocks = make(documents, seq_len=128)
    epoch = BLOCK_BUILDERS["pairs"].count_epoch(make_text(documents)[1], 128)
    rows = blocks.build(np.arange(blocks.num_blocks), np.random.default_rng(0))
    per_document = blocks.num_blocks / blocks.num_train
    assert epoch.sequences / len(documents) == pytest.approx(per_document, rel=0.15)
    assert epoch.tokens / epoch.sequences == pytest.approx(rows.mask.sum(1).mean(), rel=0.12)
    assert BLOCK_BUILDERS["pairs"].count_epoch(np.zeros(0, np.int32), 128).sequences == 0


def test_a_document_beyond_the_table_is_counted_on(monkeypatch):
    sizes = np.array([100_000, 7_000])
    known = BLOCK_BUILDERS["pairs"].count_epoch(sizes, 128)
    monkeypatch.setattr(pairs, "TABLE", 200)
    assert BLOCK_BUILDERS["pairs"].count_epoch(sizes, 128).sequences == pytest.approx(known.sequences, rel=1e-3)


@pytest.mark.parametrize("count", [1, 3])
def test_few_documents_are_one_line(count):
    with pytest.raises(UserError, match=rf"has {count} documents with text, pretrain\.packing=pairs needs 4") as caught:
        make([[9] * 50] * count + [[]] * 3)
    assert "\n" not in str(caught.value)
