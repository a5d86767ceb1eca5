"""fairseq's dictionary and GPT-2's files give its ids, and what would give others is refused in one line."""

from __future__ import annotations

import json

import pytest

from selfpretrain.config import TokenizerConfig, UserError
from selfpretrain.data.tokenizer import Tokenizer, train_tokenizer
from selfpretrain.sources.fairseq_files import FIRST, find_checkpoint, find_dictionary, read_dictionary, write_bpe

TEXTS = ["The quick brown fox jumps over the lazy dog.", "Café menus are read, 12 of 100; naïve dogs sleep."] * 5


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(TokenizerConfig(kind="bpe", vocab_size=300), iter(TEXTS))


@pytest.fixture
def folder(tokenizer, tmp_path):
    write_bpe(tmp_path, tokenizer.get_tokens(), tokenizer.get_merges())
    return tmp_path


def test_what_is_written_reads_as_the_same_vocabulary(tokenizer, folder):
    for path in (folder, folder / "dict.txt"):
        read = Tokenizer.load(path)
        assert (read.get_tokens(), read.fingerprint) == (tokenizer.get_tokens(), tokenizer.fingerprint)


def test_entries_are_numbers_of_gpt2_s_or_the_pieces_themselves(tokenizer, folder):
    pieces = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
    moved = {
        piece: 3 * number + 50 for piece, number in pieces.items()
    }  # GPT-2's own numbers are others than fairseq's
    (folder / "encoder.json").write_text(json.dumps(moved), encoding="utf-8")
    (folder / "dict.txt").write_text("".join(f"{moved[piece]} 7\n" for piece in pieces))
    assert Tokenizer.load(folder).fingerprint == tokenizer.fingerprint
    (folder / "dict.txt").write_text("".join(f"{piece} 7\n" for piece in pieces), encoding="utf-8")
    assert Tokenizer.load(folder).fingerprint == tokenizer.fingerprint


def test_special_entries_have_fairseq_s_places(tmp_path):
    file = tmp_path / "dict.txt"
    file.write_text("262 5\n13 4\nmadeupword0000 0\n")
    assert read_dictionary(file) == [*FIRST, "262", "13", "madeupword0000", "<mask>"]
    file.write_text("262 5\n<mask> 0\n13 4\n")
    assert read_dictionary(file) == [*FIRST, "262", "<mask>", "13"]


def test_entries_without_a_piece_keep_their_ids(tokenizer, folder):
    with open(folder / "dict.txt", "a") as file:
        file.write("madeupword0000 0\nmadeupword0001 0\n")
    read = Tokenizer.load(folder)
    assert read.vocab_size == tokenizer.vocab_size + 2
    assert read.mask_id == read.vocab_size - 1
    assert read.get_tokens()[:-3] == tokenizer.get_tokens()[:-1]
    assert (read.encode_batch(TEXTS)[0] == tokenizer.encode_batch(TEXTS)[0]).all()


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("262 5\nhello\n", r"line 2: 'hello' is not an entry and its count"),
        ("262 5\n262 4\n", r"the entry '262' stands there twice"),
        ("262 5\n<s> 4\n", r"the entry '<s>' stands there twice"),
        ("262 5\n", r"lacks \d+ pieces of vocab.bpe, .* among them"),
    ],
)
def test_other_dictionaries_are_refused(folder, lines, said):
    (folder / "dict.txt").write_text(lines)
    with pytest.raises(UserError, match=said) as error:
        Tokenizer.load(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["encoder.json", "vocab.bpe"])
def test_a_missing_or_damaged_file_is_named(folder, name):
    (folder / name).write_text("[1")
    with pytest.raises(UserError, match=r"damaged|lacks \d+ pieces"):
        Tokenizer.load(folder)
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"holds dict.txt without {name}; copy GPT-2's"):
        Tokenizer.load(folder)


def test_the_dictionary_is_no_text(folder):
    (folder / "dict.txt").write_bytes(b"\xff\xfe 1\n")
    with pytest.raises(UserError, match=r"dict\.txt is missing or no text"):
        Tokenizer.load(folder)


def test_which_file_is_the_checkpoint(tmp_path):
    with pytest.raises(
        UserError, match=r"holds no checkpoint; give a file, or a folder with model\.pt or checkpoint_best\.pt"
    ):
        find_checkpoint(str(tmp_path))
    for name in ("checkpoint_last.pt", "checkpoint_best.pt", "model.pt"):
        (tmp_path / name).touch()
        assert find_checkpoint(str(tmp_path)).name == name
    assert find_checkpoint(str(tmp_path / "checkpoint_last.pt")).name == "checkpoint_last.pt"
    assert find_dictionary(str(tmp_path)) == tmp_path / "dict.txt"
    with pytest.raises(UserError, match="holds no checkpoint"):
        find_checkpoint(str(tmp_path / "gone.pt"))
