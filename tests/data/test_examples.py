"""Labelled examples as batches; how much of them is cut: by tokens as they are laid out, by words as a lower bound."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from selfpretrain.data.examples import (
    MAX_TEXTS,
    EncodedSplit,
    FinetuneBatches,
    cut_pair,
    describe_cut,
    encode_split,
    iter_by_length,
    join,
    measure_cut,
    pack,
    pad,
)

PAD = 0


class Words:
    """A tokenizer whose tokens are the numbers written in the text."""

    def __init__(self, kind):
        self.kind, self.cls_id, self.sep_id, self.pad_id = kind, 101, 102, PAD

    def encode_batch(self, texts):
        return [np.array([int(word) for word in text.split()], np.int32) for text in texts]


def cut_token_by_token(first, second, room):
    """BERT's truncate_seq_pair: while too long, drop a token of the longer one, of equal ones the second."""
    while first + second > room:
        if first > second:
            first -= 1
        else:
            second -= 1
    return first, second


def test_longest_first_is_what_dropping_token_by_token_gives():
    for first in range(13):
        for second in range(13):
            for room in range(27):
                assert cut_pair(first, second, room) == cut_token_by_token(first, second, room), (first, second, room)


@pytest.mark.parametrize(
    ("kind", "pair"), [("wordpiece", [101, 1, 2, 3, 102, 7, 8, 102]), ("bpe", [101, 1, 2, 3, 102, 102, 7, 8, 102])]
)
def test_layout_of_one_text_and_of_a_pair(kind, pair):
    tokenizer = Words(kind)
    one, two = tokenizer.encode_batch(["1 2 3", "7 8"])
    assert join(tokenizer, [one], 10)[0].tolist() == [101, 1, 2, 3, 102]
    ids, start = join(tokenizer, [one, two], 10)
    assert ids.tolist() == pair
    assert ids[start:].tolist() == [7, 8, 102]
    assert ids.dtype == np.int32


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
@pytest.mark.parametrize("seq_len", [8, 9, 10, 11])
def test_cut_examples_keep_their_special_tokens(kind, seq_len):
    tokenizer = Words(kind)
    texts = tokenizer.encode_batch(["1 2 3 4 5 6 7 8 9", "11 12 13 14 15"])
    single, _ = join(tokenizer, texts[:1], seq_len)
    assert single.tolist() == [101, *range(1, seq_len - 1), 102]
    ids, start = join(tokenizer, texts, seq_len)
    separators = 2 if kind == "bpe" else 1
    first, second = cut_token_by_token(9, 5, seq_len - 2 - separators)
    assert ids.tolist() == [101, *range(1, first + 1), *[102] * separators, *range(11, 11 + second), 102]
    assert len(ids) == seq_len
    assert ids[start] == 11


def make_split(count=50, seed=0):
    rng = np.random.default_rng(seed)
    tokens = [np.r_[101, rng.integers(1000, 9999, rng.integers(0, 30)), 102].astype(np.int32) for _ in range(count)]
    return EncodedSplit([f"e{i}" for i in range(count)], tokens, np.array([len(t) for t in tokens]), np.arange(count))


def get_mask(arrays):
    """A batch without padding has no mask."""
    mask = arrays.get("attention_mask", np.ones_like(arrays["input_ids"], bool))
    assert "attention_mask" not in arrays or not mask.all()
    return mask


def read_examples(arrays):
    """The examples of a padded or a packed batch, as (tokens, label)."""
    if "lengths" in arrays:
        texts = np.split(arrays["input_ids"][0], np.cumsum(arrays["lengths"])[:-1])
        return [(tuple(text.tolist()), int(label)) for text, label in zip(texts, arrays["labels"], strict=True)]
    rows = zip(arrays["input_ids"], get_mask(arrays), arrays["labels"], strict=True)
    return [(tuple(ids[mask].tolist()), int(label)) for ids, mask, label in rows]


def test_encode_split_and_padding_of_pairs():
    tokenizer = Words("wordpiece")
    split = encode_split(tokenizer, ["a", "b"], [("1 2", "3"), ("4", "5 6 7")], np.array([1, 0]), 16)
    batch = pad(split, [1, 0], PAD, has_segments=True)
    assert batch["input_ids"].tolist() == [[101, 4, 102, 5, 6, 7, 102], [101, 1, 2, 102, 3, 102, PAD]]
    assert batch["attention_mask"].tolist() == [[True] * 7, [True] * 6 + [False]]
    assert batch["token_type_ids"].tolist() == [[0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1, 0]]
    assert batch["labels"].tolist() == [0, 1]
    assert int(batch["num_tokens"]) == 13
    assert "token_type_ids" not in pad(split, [0], PAD, has_segments=False)
    single = pad(encode_split(tokenizer, ["a"], [("1 2",)], np.array([1]), 16), [0], PAD, has_segments=True)
    assert not single["token_type_ids"].any()


def test_packed_pairs():
    tokenizer = Words("wordpiece")
    split = encode_split(tokenizer, ["a", "b"], [("1 2", "3"), ("4", "5 6 7")], np.array([1, 0]), 16)
    batch = pack(split, [1, 0], has_segments=True)
    assert batch["input_ids"].tolist() == [[101, 4, 102, 5, 6, 7, 102, 101, 1, 2, 102, 3, 102]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5]]
    assert batch["token_type_ids"].tolist() == [[0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1]]
    assert batch["lengths"].tolist() == [7, 6] and batch["labels"].tolist() == [0, 1]
    assert int(batch["num_tokens"]) == 13
    assert "token_type_ids" not in pack(split, [0], has_segments=False)


def test_sequences_of_one_example_stay_together():
    texts = [("1", "2"), ("1", "3 4"), ("5", "6 7"), ("5", "8"), ("9", "9 9 9"), ("9", "9")]
    split = encode_split(Words("wordpiece"), ["a", "b", "c"], texts, np.array([1, 0, 1]), 16)
    assert split.num_sequences == 2 and len(split) == 3
    assert split.longest.tolist() == [6, 6, 7]
    packed = pack(split, [2, 0], has_segments=True)
    assert packed["lengths"].tolist() == [7, 5, 5, 6] and packed["labels"].tolist() == [1, 1]
    wanted = [101, 9, 102, 9, 9, 9, 102, 101, 9, 102, 9, 102, 101, 1, 102, 2, 102, 101, 1, 102, 3, 4, 102]
    assert packed["input_ids"].tolist() == [wanted] and int(packed["num_tokens"]) == len(wanted)
    padded = pad(split, [2, 0], PAD, has_segments=True)
    assert padded["input_ids"].shape == (4, 7) and padded["labels"].tolist() == [1, 1]
    assert padded["input_ids"][padded["attention_mask"]].tolist() == wanted
    assert padded["token_type_ids"][padded["attention_mask"]].tolist() == packed["token_type_ids"][0].tolist()
    for batches in (FinetuneBatches(split, 3, 1, 0, PAD, True, packed) for packed in (False, True)):
        parts = batches[0]
        assert [share for share, _ in parts] == [1 / 3] * 3 and sum(len(arrays["labels"]) for _, arrays in parts) == 3
        assert sum(int(arrays["num_tokens"]) for _, arrays in parts) == split.lengths.sum()
    rows = [row.tolist() for row, arrays in iter_by_length(split, 2, PAD, True)]
    assert rows == [[0, 1], [2]]


@pytest.mark.parametrize("packed", [False, True])
def test_micro_batches_hold_exactly_the_batch(packed):
    split = make_split(50)
    whole, parts = (FinetuneBatches(split, 16, size, 3, PAD, False, packed) for size in (16, 4))
    for step in range(2 * whole.steps_per_epoch):
        [(weight, together)] = whole[step]
        assert weight == 1
        micro = parts[step]
        examples = [example for _, arrays in micro for example in read_examples(arrays)]
        assert Counter(examples) == Counter(read_examples(together))
        assert all(tokens == tuple(split.tokens[label].tolist()) for tokens, label in examples)
        assert sum(share for share, _ in micro) == pytest.approx(1)
        total = sum(len(arrays["labels"]) for _, arrays in micro)
        assert [share for share, _ in micro] == [pytest.approx(len(arrays["labels"]) / total) for _, arrays in micro]


def test_micro_batches_are_sorted_by_length_and_padded_by_little():
    parts = FinetuneBatches(make_split(200), 32, 4, 3, PAD, False)
    padding = {}
    for size in (4, 32):
        parts.micro_batch_size = size
        padding[size] = sum((~get_mask(arrays)).sum() for step in range(6) for _, arrays in parts[step])
        for step in range(6):
            lengths = np.concatenate([get_mask(arrays).sum(1) for _, arrays in parts[step]])
            assert (np.diff(lengths) >= 0).all()
    assert padding[4] < padding[32] / 3


def test_every_example_once_per_epoch_in_a_new_order():
    batches = FinetuneBatches(make_split(50), 16, 4, 3, PAD, False)
    assert batches.steps_per_epoch == 4
    epochs = []
    for epoch in range(3):
        steps = [
            [label for _, arrays in batches[epoch * 4 + i] for label in arrays["labels"].tolist()] for i in range(4)
        ]
        assert [len(step) for step in steps] == [16, 16, 16, 2]
        epochs.append([frozenset(step) for step in steps])
        assert sorted(label for step in steps for label in step) == list(range(50))
    assert epochs[0] != epochs[1] != epochs[2]
    other = FinetuneBatches(make_split(50), 16, 4, 4, PAD, False)
    assert {label for _, arrays in other[0] for label in arrays["labels"].tolist()} != epochs[0][0]


def test_a_step_does_not_depend_on_those_before():
    first, second = (FinetuneBatches(make_split(50), 16, 4, 3, PAD, True) for _ in range(2))
    straight = [first[step] for step in range(9)]
    for step in (8, 2, 5):
        for (share, arrays), (expected_share, expected) in zip(second[step], straight[step], strict=True):
            assert share == expected_share
            assert all((arrays[name] == expected[name]).all() for name in expected)


def test_a_batch_larger_than_the_split_is_the_split():
    batches = FinetuneBatches(make_split(5), 32, 8, 0, PAD, False)
    assert batches.steps_per_epoch == 1
    assert sorted(batches[7][0][1]["labels"].tolist()) == [0, 1, 2, 3, 4]


def test_evaluation_reads_every_row_once():
    split = make_split(50)
    seen = []
    for rows, arrays in iter_by_length(split, 8, PAD, False):
        assert arrays["labels"].tolist() == rows.tolist()
        assert [tokens for tokens, _ in read_examples(arrays)] == [tuple(split.tokens[row].tolist()) for row in rows]
        seen += rows.tolist()
    assert sorted(seen) == list(range(50))
    assert seen != list(range(50))


class Characters:
    """A tokenizer whose tokens are characters."""

    cls_id, sep_id = 1, 2

    def __init__(self, kind):
        self.kind = kind

    def encode_batch(self, texts):
        return [np.arange(len(text), dtype=np.int32) for text in texts]


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
@pytest.mark.parametrize("columns", [1, 2])
def test_tokens_never_seen_are_those_the_layout_cuts(kind, columns):
    texts = [("x" * (3 * n), "y" * n)[:columns] for n in range(1, 40)]
    tokenizer = Characters(kind)
    encoded = encode_split(tokenizer, ["e"] * len(texts), texts, np.zeros(len(texts)), 32)
    special = {1: 2, 2: 3 if kind == "wordpiece" else 4}[columns]
    total = sum(len(part) for parts in texts for part in parts)
    kept = sum(len(tokens) - special for tokens in encoded.tokens)
    cut = np.mean([sum(map(len, parts)) + special > 32 for parts in texts])
    line = describe_cut(texts, 32, tokenizer)
    assert line.startswith(
        f"{cut:.0%} of the training texts are cut and {1 - kept / total:.0%} of the tokens never seen"
    )
    assert line.endswith("at finetune.seq_len=32")


def test_words_are_a_lower_bound():
    texts = [("a bc " * 20,)] * MAX_TEXTS + [("short",)] * MAX_TEXTS
    assert describe_cut(texts, 32, None) == (
        "at least 50% of 1,000 training texts are cut and 24% of the words never seen at finetune.seq_len=32 "
        "(a word is a token or more)"
    )


def test_nothing_cut():
    assert measure_cut(np.array([3, 5]), 5) == (0, 0)
    assert measure_cut(np.array([0]), 5) == (0, 0)
