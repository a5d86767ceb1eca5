"""Windows cover a context, hold its answers where they say, and what is chosen of them is the best span of all."""

from __future__ import annotations

import random

import numpy as np
import pytest

from selfpretrain.config import TokenizerConfig
from selfpretrain.data.tokenizer import train_tokenizer
from selfpretrain.data.windows import (
    MAX_ANSWER_TOKENS,
    MAX_QUESTION_TOKENS,
    choose_spans,
    encode_windows,
    find_tokens,
    iter_windows,
)

WORDS = [
    "the", "Broncos'", "caf\u00e9", "na\u00efve", "Unbelievable", "re-entry", "1984", "\u201cquoted\u201d",
    "\u6771\u4eac", "\U0001f600", "e\u0301t\u0301", "x_y", "don't",
]  # fmt: skip


@pytest.fixture(scope="module", params=["wordpiece", "bpe"])
def tokenizer(request):
    rng = random.Random(0)
    text = [" ".join(rng.choices(WORDS, k=30)) for _ in range(50)]
    return train_tokenizer(TokenizerConfig(kind=request.param, vocab_size=400), text)


def make_context(seed, count=120):
    rng = random.Random(seed)
    return "".join(word + rng.choice([" ", "  ", "\n", "\u00a0"]) for word in rng.choices(WORDS, k=count))


@pytest.mark.parametrize("room", [1, 2, 7, 50])
@pytest.mark.parametrize("doc_stride", [1, 5, 128])
def test_windows_leave_nothing_out(room, doc_stride):
    for num_tokens in [0, 1, room, room + 1, 3 * room + 2]:
        windows = list(iter_windows(num_tokens, room, doc_stride))
        assert {place for start, end in windows for place in range(start, end)} == set(range(num_tokens))
        assert all(end - start <= room for start, end in windows)
        assert num_tokens > room or windows == [(0, num_tokens)]
        # a stretch of half of a window, and one more token, stands whole in one
        for first in range(num_tokens - room // 2):
            assert any(start <= first and first + room // 2 < end for start, end in windows)
        assert windows[-1][1] == num_tokens and all(end < num_tokens for _, end in windows[:-1])


def test_a_long_context_takes_the_stride():
    assert list(iter_windows(1000, 369, 128)) == [(s, min(s + 369, 1000)) for s in range(0, 641, 128)]
    assert [start for start, _ in iter_windows(300, 61, 128)][:3] == [
        0,
        30,
        60,
    ]  # else 67 tokens of 128 would be skipped


def test_offsets_are_of_the_ids_of_the_fast_path(tokenizer):
    texts = [make_context(seed) for seed in range(5)] + ["", " ", "\u200b", "x" * 200]
    for text, ids, (found, offsets) in zip(
        texts, tokenizer.encode_batch(texts), tokenizer.iter_offsets(texts), strict=True
    ):
        assert found.tolist() == ids.tolist() and offsets.shape == (len(ids), 2)
        assert (np.diff(offsets, axis=0) >= 0).all()  # find_tokens looks them up as sorted
        covered = {place for start, end in offsets.tolist() for place in range(start, end)}
        assert all(place in covered for place, c in enumerate(text) if c.isalnum() and c.isascii())


def test_an_answer_is_found_in_every_window_that_holds_it(tokenizer):
    context = make_context(3)
    _, offsets = next(tokenizer.iter_offsets([context]))
    words = [(place, place + 4) for place in range(len(context)) if context.startswith("1984", place)]
    assert len(words) > 3
    for answer in words:
        split = encode_windows(tokenizer, ["e"], ["which year is it"], [context], [answer], 48, 128)
        assert len(split) > 5 and set(split.ids) == {"e"} and split.lengths.max() == 48
        first, last = find_tokens(offsets, answer)
        num_held = 0
        for window, (start, end) in enumerate(split.labels.tolist()):
            begin, stop = split.get_context(window)
            held = range(int(split.firsts[window]), int(split.firsts[window]) + stop - begin)
            if first not in held or last not in held:
                assert (start, end) == (0, 0)  # cut by the window's edge, or outside of it
                continue
            num_held += 1
            assert begin <= start <= end < stop
            places = split.offsets[0][split.firsts[window] + start - begin : split.firsts[window] + end - begin + 1]
            assert context[places[0, 0] : places[-1, 1]].strip() == "1984"
        assert num_held


def test_an_answer_at_the_windows_edges(tokenizer):
    context = "one two three four five six seven eight nine ten " * 4
    ids, offsets = next(tokenizer.iter_offsets([context]))
    first = encode_windows(tokenizer, ["e"], ["q"], [context], [(0, 3)], 40, 128)
    assert first.labels[0, 0] == first.second_starts[0] and not first.labels[1:].any()
    begin, stop = first.get_context(0)
    last = stop - begin - 1  # the last token of the first window
    split = encode_windows(tokenizer, ["e"], ["q"], [context], [tuple(offsets[last])], 40, 128)
    assert split.labels[0].tolist() == [stop - 1, stop - 1]
    beyond = encode_windows(tokenizer, ["e"], ["q"], [context], [(offsets[last, 0], offsets[last + 1, 1])], 40, 128)
    assert beyond.labels[0].tolist() == [0, 0] and beyond.labels[1:].any()
    everything = encode_windows(tokenizer, ["e"], ["q"], [context], [(0, len(context))], 40, 128)
    assert not everything.labels.any() and len(ids) > 40


def test_a_long_question_leaves_room(tokenizer):
    question = " ".join(WORDS * 20)
    for seq_len, most in [(256, MAX_QUESTION_TOKENS), (32, 14)]:
        split = encode_windows(tokenizer, ["e"], [question], [make_context(1)], [(0, 1)], seq_len, 128)
        special = 3 if tokenizer.kind == "wordpiece" else 4
        assert split.lengths[0] == seq_len and split.second_starts[0] == most + special - 1


def test_a_part_of_a_word_that_is_one_token():
    offsets = np.array([[0, 4], [4, 5], [6, 6], [7, 12], [7, 12]], np.int32)  # two tokens of one character, too
    assert find_tokens(offsets, (2, 3)) == (0, 0)
    assert find_tokens(offsets, (4, 8)) == (1, 4)
    first, last = find_tokens(offsets, (12, 14))  # no token there
    assert last < first
    first, last = find_tokens(offsets, (5, 6))
    assert last < first


# what is chosen


def choose_slowly(split, outputs):
    """Every span of every window, one after the other."""
    spans = [(-np.inf, (0, 0))] * len(split.offsets)
    for window, logits in enumerate(outputs):
        begin, stop = split.get_context(window)
        for first in range(begin, stop):
            for last in range(first, min(stop, first + MAX_ANSWER_TOKENS)):
                value, example = logits[first, 0] + logits[last, 1], split.examples[window]
                if value > spans[example][0]:
                    place, offsets = split.firsts[window] - begin, split.offsets[example]
                    spans[example] = value, (int(offsets[place + first, 0]), int(offsets[place + last, 1]))
    return [span for _, span in spans]


def test_the_best_span_of_all_windows(tokenizer):
    contexts = [make_context(seed, count) for seed, count in enumerate([3, 40, 120, 1])]
    split = encode_windows(tokenizer, list("abcd"), ["who is it"] * 4, contexts, [(0, 1)] * 4, 64, 128)
    rng = np.random.default_rng(0)
    for _ in range(5):
        outputs = [rng.normal(size=(length, 2)).astype(np.float32) for length in split.lengths]
        for logits in outputs:
            logits[0] += 50  # nothing but the context is an answer
        chosen = choose_spans(split, outputs)
        assert chosen == choose_slowly(split, outputs)
        assert all(start < end <= len(context) for (start, end), context in zip(chosen, contexts, strict=True))


def test_the_labels_are_the_best_outputs(tokenizer):
    context = make_context(5)
    answers = [(place, place + 7) for place in range(len(context)) if context.startswith("Broncos", place)]
    ids = [str(number) for number in range(len(answers))]
    split = encode_windows(tokenizer, ids, ["who"] * len(ids), [context] * len(ids), answers, 48, 128)
    outputs = []
    for length, label in zip(split.lengths, split.labels, strict=True):
        logits = np.zeros((length, 2), np.float32)
        logits[label, [0, 1]] = 1
        outputs.append(logits)
    chosen = choose_spans(split, outputs)
    assert {context[start:end].strip() for start, end in chosen} == {"Broncos"}
    assert [end for _, end in chosen] == [end for _, end in answers]


def test_a_context_without_tokens_has_an_empty_answer(tokenizer):
    split = encode_windows(tokenizer, ["e"], ["who"], [""], [(0, 0)], 16, 128)
    assert len(split) == 1 and not split.labels.any()
    assert choose_spans(split, [np.ones((split.lengths[0], 2), np.float32)]) == [(0, 0)]
