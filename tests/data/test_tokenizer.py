"""Vocabularies are laid out as the released ones, the same on every run, and encode as the library does."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import models

from selfpretrain.config import TokenizerConfig, UserError
from selfpretrain.data import tokenizer as module
from selfpretrain.data.tokenizer import Tokenizer, train_tokenizer

KINDS = ("wordpiece", "bpe")
TEXT = "the tokenizer's café naïve Unbelievable re-entry don't 1984 x_y, [MASK] </s> “quoted” 東京 Straße"
WORDS = TEXT.split()


def make_documents(count: int = 300) -> list[str]:
    rng = random.Random(0)
    made = ["".join(rng.choices("abcdefghijklmnop", k=rng.randint(1, 9))) for _ in range(400)]
    return [" ".join(rng.choices(WORDS + made, k=40)) + ".\nA second line!" for _ in range(count)]


def train(kind: str, vocab_size: int = 600) -> Tokenizer:
    return train_tokenizer(TokenizerConfig(kind=kind, vocab_size=vocab_size), iter(make_documents()))


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return train(request.param)


def test_wordpiece_layout():
    made = train("wordpiece")
    assert made.get_tokens()[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert (made.pad_id, made.unk_id, made.cls_id, made.sep_id, made.mask_id) == (0, 1, 2, 3, 4)
    assert made.special_ids == {0, 1, 2, 3, 4}
    assert made.vocab_size == 600


def test_bpe_layout_is_robertas():
    made = train("bpe")
    assert made.get_tokens()[:4] == ["<s>", "<pad>", "</s>", "<unk>"]
    assert (made.cls_id, made.pad_id, made.sep_id, made.unk_id, made.mask_id) == (0, 1, 2, 3, 599)
    assert made.special_ids == {0, 1, 2, 3, 599}
    assert made.vocab_size == 600
    added = json.loads(made._backend.to_str())["added_tokens"]
    assert {entry["content"]: entry["lstrip"] for entry in added}["<mask>"] is True


TRAIN_SCRIPT = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("texts", sys.argv[1])
texts = importlib.util.module_from_spec(spec)
spec.loader.exec_module(texts)
print(texts.train(sys.argv[2]).fingerprint)
"""


@pytest.mark.parametrize("kind", KINDS)
def test_training_is_the_same_in_every_process(kind):
    seen = {train(kind).fingerprint}
    for seed, threads in (("1", "1"), ("2", "2")):
        environment = {
            **os.environ,
            "PYTHONHASHSEED": seed,
            "RAYON_NUM_THREADS": threads,
            "TOKENIZERS_PARALLELISM": "true",
        }
        root = Path(module.__file__).parents[2]
        shown = subprocess.run(
            [sys.executable, "-c", TRAIN_SCRIPT, __file__, kind],
            env=environment, cwd=root, capture_output=True, text=True, check=True,
        )  # fmt: skip
        seen.add(shown.stdout.strip())
    assert len(seen) == 1


def make_odd_texts() -> list[str]:
    alphabet = [
        *" \t\n\r  ", "\x0b", "\x1c", "\x1f", "\x85", "\xa0", "\u2003", "\u2028", "\u200b", "\ufeff", "\x00", "\ufffd",
        *"aAzZ09_'-!.[]<>", "'s", "'re", "'ll", "don't", "é", "e\u0301", "\u0301", "İ", "Σ", "ß", "ﬁ", "½", "Ⅷ", "²",
        "東", "京", "한", "я", "—", "“", "’", "😀", "👩\u200d💻", "[MASK]", "</s>", "<mask>", "[SEP]", "##a", "Ġ",
    ]  # fmt: skip
    rng = random.Random(1)
    odd = ["".join(rng.choices(alphabet, k=rng.randint(0, 30))) for _ in range(3000)]
    every_character = [f"a{chr(code)}b {chr(code)}'s{chr(code)}{chr(code)} 1" for code in range(0xD800)]
    return ["", " ", "\n\n", "x" * 300, *odd, *every_character, *make_documents(20)]


def test_encoding_equals_the_library(tokenizer):
    texts = make_odd_texts()
    backend = Backend.from_str(tokenizer._backend.to_str())
    backend.encode_special_tokens = True
    expected = backend.encode_batch(texts, add_special_tokens=False)
    assert tokenizer._find_pieces is not None  # else the comparison would be of the library with itself
    for text, ids, encoding in zip(texts, tokenizer.encode_batch(texts), expected, strict=True):
        assert ids.dtype == np.int32
        assert ids.tolist() == encoding.ids, repr(text)


def test_texts_cannot_write_special_tokens(tokenizer):
    spelt = tokenizer.encode_batch(["[CLS] [MASK] <s> </s> <mask>"])[0]
    assert not set(spelt.tolist()) & {tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id}


def test_a_full_memory_changes_nothing(tokenizer, monkeypatch):
    texts = make_documents(30)
    expected = [ids.tolist() for ids in tokenizer.encode_batch(texts)]
    monkeypatch.setattr(module, "MAX_CACHED_CHARACTERS", 20)
    for _ in range(3):
        assert [ids.tolist() for ids in tokenizer.encode_batch(texts)] == expected
        assert tokenizer._cached_characters <= 20


def test_save_and_load_in_every_form(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "all")
    text = make_documents(5)
    expected = [ids.tolist() for ids in tokenizer.encode_batch(text)]
    old = tmp_path / "old"
    old.mkdir()
    for file in (tmp_path / "all").iterdir():
        if file.name != "tokenizer.json":
            (old / file.name).write_bytes(file.read_bytes())
    for path in (tmp_path / "all", tmp_path / "all" / "tokenizer.json", old, str(old)):
        loaded = Tokenizer.load(path)
        assert loaded.fingerprint == tokenizer.fingerprint
        assert (loaded.kind, loaded.vocab_size, loaded.special_ids) == (
            tokenizer.kind, tokenizer.vocab_size, tokenizer.special_ids
        )  # fmt: skip
        assert [ids.tolist() for ids in loaded.encode_batch(text)] == expected


def test_cased_vocabulary_stays_cased(tmp_path):
    lines = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "Hello", "hello", *"abcdefghij"]
    (tmp_path / "vocab.txt").write_text("\n".join(lines) + "\n")
    assert Tokenizer.load(tmp_path / "vocab.txt").encode_batch(["Hello"])[0].tolist() == [6]
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert Tokenizer.load(tmp_path).encode_batch(["Hello"])[0].tolist() == [5]


def test_cutting_and_padding_of_a_released_file_are_off(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    backend = Backend.from_file(str(tmp_path / "tokenizer.json"))
    backend.enable_truncation(4)
    backend.enable_padding(length=9)
    backend.save(str(tmp_path / "tokenizer.json"))
    loaded = Tokenizer.load(tmp_path)
    text = make_documents(1)
    assert loaded.encode_batch(text)[0].tolist() == tokenizer.encode_batch(text)[0].tolist()
    assert loaded.fingerprint == tokenizer.fingerprint


def test_the_fingerprint_follows_the_ids():
    seen = {train(kind, size).fingerprint for kind in KINDS for size in (500, 501)}
    assert len(seen) == 4


@pytest.mark.parametrize("kind", KINDS)
def test_a_small_text_gives_a_small_vocabulary(kind):
    made = train_tokenizer(TokenizerConfig(kind=kind, vocab_size=5000), iter(make_documents(3)))
    assert 20 < made.vocab_size < 5000


def test_a_large_alphabet_never_exceeds_the_vocabulary():
    texts = ["".join(chr(0x1000 + (i * 7 + j) % 3000) for j in range(6)) + " abc" for i in range(3000)]
    made = train_tokenizer(TokenizerConfig(kind="wordpiece", vocab_size=400), iter(texts))
    assert 200 < made.vocab_size <= 400  # of 3,000 characters
    assert made.unk_id not in made.encode_batch(["abc"])[0]


def test_training_reads_no_more_than_asked():
    read = 0

    def iter_documents():
        nonlocal read
        for document in make_documents(1000):
            read += len(document.encode())
            yield document

    train_tokenizer(TokenizerConfig(vocab_size=500, train_mb=0.05), iter_documents())
    assert 0.9 * 0.05 * 2**20 < read < 0.05 * 2**20 + 1000


def test_text_that_is_no_text_is_refused(tokenizer):
    with pytest.raises(UserError, match="lone surrogate"):
        tokenizer.encode_batch(["fine", "broken \ud800"])
    with pytest.raises(UserError, match="lone surrogate"):
        train_tokenizer(TokenizerConfig(kind=tokenizer.kind, vocab_size=500), iter(["broken \ud800"]))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (TokenizerConfig(kind="bpe", vocab_size=200), "tokenizer.vocab_size=200"),
        (TokenizerConfig(vocab_size=20), "tokenizer.vocab_size=20"),
    ],
)
def test_settings_that_cannot_work_are_refused(config, words):
    with pytest.raises(UserError, match=words) as caught:
        train_tokenizer(config, iter(make_documents(5)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_how_often_a_pair_was_seen_and_the_alphabet_decide(kind):
    def train(**settings):
        return train_tokenizer(TokenizerConfig(kind=kind, vocab_size=5000, **settings), iter(make_documents(30)))

    usual, rare = train(), train(min_frequency=30)
    assert rare.vocab_size < usual.vocab_size
    assert (train(limit_alphabet=10).get_tokens() == usual.get_tokens()) == (kind == "bpe")  # bytes have no alphabet


@pytest.mark.parametrize("texts", [[], ["   "], ["a a b"]])
def test_too_little_text_is_refused(texts):
    with pytest.raises(UserError, match="text"):
        train_tokenizer(TokenizerConfig(vocab_size=500), iter(texts))


def write_backend(file: Path, backend: Backend) -> None:
    file.write_text(backend.to_str())


def make_broken(folder: Path) -> dict[str, Path]:
    names = ("missing", "empty", "broken", "five", "special", "unigram", "twice", "merges", "short", "binary", "folder")
    paths = {name: folder / name for name in names}
    for path in paths.values():
        path.mkdir()
    paths["missing"].rmdir()
    (paths["broken"] / "tokenizer.json").write_text('{"version": "1.0", "model"')
    (paths["five"] / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n")
    (paths["special"] / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n" + "\n".join("abcdefghijklmn"))
    write_backend(paths["unigram"] / "tokenizer.json", Backend(models.Unigram([("a", 0.0)], unk_id=0)))
    (paths["twice"] / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\na\n")
    (paths["merges"] / "vocab.json").write_text("{}")
    (paths["short"] / "vocab.json").write_text('{"a": 0}')
    (paths["short"] / "merges.txt").write_text("#version: 0.2\nab\n")
    (paths["binary"] / "vocab.txt").write_bytes(b"\xff\xfe\x00")
    (paths["folder"] / "tokenizer.json").mkdir()
    return paths


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing", "does not exist"),
        ("empty", "holds no tokenizer.json"),
        ("broken", "cannot be read"),
        ("five", "0 entries besides the special tokens"),
        ("special", r"lacks \[MASK\]"),
        ("unigram", "Unigram"),
        ("twice", "'a' stands on two lines"),
        ("merges", "without merges.txt"),
        ("short", "two tokens"),
        ("binary", "cannot be read"),
        ("folder", "holds no tokenizer.json"),
    ],
)
def test_what_is_no_tokenizer_is_refused_in_one_line(name, words, tmp_path):
    path = make_broken(tmp_path)[name]
    with pytest.raises(UserError, match=words) as caught:
        Tokenizer.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
