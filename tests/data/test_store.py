"""Token files are fairseq's format byte for byte, and damage is refused."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from selfpretrain.config import TokenizerConfig, UserError
from selfpretrain.data import store
from selfpretrain.data.store import TokenFile, TokenWriter, choose_dtype, write_dictionary, write_manifest
from selfpretrain.data.tokenizer import Tokenizer, train_tokenizer

TEXTS = [f"document {i} says that token files are read by other programs too, {i * i} times" for i in range(60)]


def read_as_fairseq(folder: Path) -> list[list[int]]:
    """An independent reader, from the layout of fairseq's MMapIndexedDataset.Index alone."""
    index, data = (folder / "train.idx").read_bytes(), (folder / "train.bin").read_bytes()
    assert index[:9] == b"MMIDIDX\x00\x00"
    assert struct.unpack("<Q", index[9:17]) == (1,)
    (code,) = struct.unpack("<B", index[17:18])
    width, letter = {4: (4, "i"), 8: (2, "H")}[code]
    (count,) = struct.unpack("<Q", index[18:26])
    sizes = struct.unpack(f"<{count}i", index[26 : 26 + 4 * count])
    pointers = struct.unpack(f"<{count}q", index[26 + 4 * count :])
    documents = [
        list(struct.unpack(f"<{size}{letter}", data[start : start + width * size]))
        for size, start in zip(sizes, pointers, strict=True)
    ]
    assert sum(sizes) * width == len(data)
    return documents


def write(folder: Path, documents: list[list[int]], dtype: type, fingerprint: str = "f" * 64) -> Path:
    folder.mkdir(exist_ok=True)
    with TokenWriter(folder, dtype) as writer:
        for part in (documents[:2], documents[2:]):
            sizes = np.array([len(document) for document in part], np.int32)
            writer.append(sizes, np.array([token for document in part for token in document], dtype))
    counted = {"documents": writer.written.documents, "tokens": writer.written.tokens}
    write_manifest(folder, {"tokenizer": {"fingerprint": fingerprint}, **counted})
    return folder


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write(tmp_path / "corpus", [[5, 6, 2], [7, 2], [65_000, 9, 10, 11, 2], [2]], np.uint16)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_round_trip_through_an_independent_reader(dtype, tmp_path):
    documents = [[i % 7, *range(i), 2] for i in range(10)]
    folder = write(tmp_path / "corpus", documents, dtype)
    assert read_as_fairseq(folder) == documents
    opened = TokenFile.open(folder)
    assert opened.tokens.dtype == dtype
    assert opened.sizes.tolist() == [len(document) for document in documents]
    assert [part.tolist() for part in np.split(opened.tokens, np.cumsum(opened.sizes)[:-1])] == documents
    assert sorted(file.name for file in folder.iterdir()) == ["manifest.json", "train.bin", "train.idx"]


def test_two_bytes_where_fairseq_takes_two():
    assert choose_dtype(65_499) is np.uint16
    assert choose_dtype(65_500) is np.int32


def test_one_flipped_bit_anywhere_is_refused(corpus):
    for file in sorted(corpus.iterdir()):
        good = file.read_bytes()
        for place in range(0, len(good), 7):
            file.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
            with pytest.raises(UserError) as caught:
                TokenFile.open(corpus)
            assert str(corpus) in str(caught.value)
            assert "delete the folder" in str(caught.value)
            assert "\n" not in str(caught.value)
        file.write_bytes(good)
    TokenFile.open(corpus)


@pytest.mark.parametrize("name", ["train.bin", "train.idx", "manifest.json"])
@pytest.mark.parametrize("verify", [True, False])
def test_a_file_cut_short_or_missing_is_refused(name, verify, corpus):
    file = corpus / name
    good = file.read_bytes()
    for part in (good[:-2], good[:10], b"", None):
        file.unlink() if part is None else file.write_bytes(part)
        with pytest.raises(UserError, match=name) as caught:
            TokenFile.open(corpus, verify=verify)
        assert "delete the folder" in str(caught.value)


@pytest.mark.parametrize(
    ("index", "data", "words"),
    [
        (b"MMIDIDX\x00\x00" + struct.pack("<QBQ", 1, 3, 1) + bytes(12), bytes(2), "code of the tokens' type is 3"),
        (b"TNTIDX\x00\x00\x00" + struct.pack("<QBQ", 1, 8, 1) + bytes(12), bytes(2), "not an index"),
        (b"MMIDIDX\x00\x00" + struct.pack("<QBQ", 1, 8, 2) + bytes(12), bytes(2), "does not fit 2 documents"),
        (b"MMIDIDX\x00\x00" + struct.pack("<QBQiq", 1, 8, 1, 4, 0), bytes(8), "counts differ"),
        (b"MMIDIDX\x00\x00" + struct.pack("<QBQiq", 1, 8, 1, 1, 0), bytes(3), "length differs"),
        (b"MMIDIDX", bytes(2), "too short"),
    ],
)
def test_an_index_that_lies_is_refused_even_with_right_checksums(index, data, words, tmp_path):
    (tmp_path / "train.idx").write_bytes(index)
    (tmp_path / "train.bin").write_bytes(data)
    write_manifest(tmp_path, {"tokenizer": {"fingerprint": "f"}, "documents": 1, "tokens": 1})
    with pytest.raises(UserError, match=words):
        TokenFile.open(tmp_path)


def test_without_verification_content_is_not_read(corpus):
    (corpus / "train.bin").write_bytes(bytes((corpus / "train.bin").stat().st_size))
    assert not TokenFile.open(corpus, verify=False).tokens.any()


def test_another_format_is_refused(corpus, monkeypatch):
    monkeypatch.setattr(store, "FORMAT_VERSION", 2)
    with pytest.raises(UserError, match="has format 1, this version reads 2"):
        TokenFile.open(corpus)


def test_a_folder_that_is_no_corpus_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no manifest\.json"):
        TokenFile.open(tmp_path)
    (tmp_path / "manifest.json").write_text("[1]")
    with pytest.raises(UserError, match="checksum"):
        TokenFile.open(tmp_path)


def test_a_failed_writer_leaves_no_index(tmp_path):
    with pytest.raises(KeyError), TokenWriter(tmp_path, np.uint16) as writer:
        writer.append(np.array([1], np.int32), np.array([4], np.uint16))
        raise KeyError
    assert sorted(file.name for file in tmp_path.iterdir()) == ["sizes.bin", "train.bin"]


def test_a_writer_goes_on_after_the_last_shard_that_was_noted(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "SHARD_BYTES", 100)
    documents = [[5, 6, 2], [7, 2], [9, 10, 11, 2], [2]]

    def append(writer, document):
        writer.append(np.array([len(document)], np.int32), np.array(document, np.uint16), num_bytes=60, num_empty=1)

    with pytest.raises(KeyError), TokenWriter(tmp_path, np.uint16) as writer:
        for document in documents[:3]:
            append(writer, document)
        raise KeyError
    with TokenWriter(tmp_path, np.uint16) as writer:
        assert writer.written == store.Written(documents=2, tokens=5, text_bytes=120, empty_documents=2)
        for document in documents[2:]:
            append(writer, document)
    assert store.count_tokens(tmp_path, np.uint16, 12).tolist() == [0, 0, 4, 0, 0, 1, 1, 1, 0, 1, 1, 1]
    write_manifest(tmp_path, {"documents": 4, "tokens": 10})
    assert read_as_fairseq(tmp_path) == documents
    assert sorted(file.name for file in tmp_path.iterdir()) == ["manifest.json", "train.bin", "train.idx"]


def test_a_file_shorter_than_was_noted_is_refused(tmp_path):
    (tmp_path / "progress.json").write_text('{"documents": 1, "tokens": 3, "text_bytes": 9, "empty_documents": 0}')
    (tmp_path / "train.bin").write_bytes(bytes(4))
    with pytest.raises(UserError, match=r"train.bin is damaged \(4 bytes, not 6\)"), TokenWriter(tmp_path, np.uint16):
        pass


def train(kind: str, vocab_size: int) -> Tokenizer:
    return train_tokenizer(TokenizerConfig(kind=kind, vocab_size=vocab_size), iter(TEXTS))


def read_dictionary_as_fairseq(file: Path) -> dict[str, int]:
    """fairseq's Dictionary.load, and the <mask> that its masked_lm task adds."""
    symbols = ["<s>", "<pad>", "</s>", "<unk>"]
    for line in file.read_text(encoding="utf-8").split("\n")[:-1]:
        symbol, count = line.rstrip().rsplit(" ", 1)
        assert int(count) >= 0 and symbol not in symbols
        symbols.append(symbol)
    return {symbol: number for number, symbol in enumerate([*symbols, "<mask>"])}


def test_fairseqs_dictionary_has_our_ids(tmp_path):
    tokenizer = train("bpe", 300)
    counts = np.arange(tokenizer.vocab_size)
    assert write_dictionary(tmp_path, tokenizer, counts) == ""
    expected = {token: number for number, token in enumerate(tokenizer.get_tokens())}
    assert read_dictionary_as_fairseq(tmp_path / "dict.txt") == expected
    first = (tmp_path / "dict.txt").read_text(encoding="utf-8").split("\n")[0]
    assert first == f"{tokenizer.get_tokens()[4]} 4"


def test_wordpiece_has_no_dictionary_and_says_why(tmp_path):
    tokenizer = train("wordpiece", 200)
    assert "no dict.txt" in write_dictionary(tmp_path, tokenizer, np.zeros(tokenizer.vocab_size, np.int64))
    assert not list(tmp_path.iterdir())


def test_the_manifest_lists_every_file(corpus):
    manifest = json.loads((corpus / "manifest.json").read_text())
    assert set(manifest["files"]) == {"train.bin", "train.idx"}
    assert manifest["files"]["train.bin"]["bytes"] == 22
    assert manifest["format_version"] == store.FORMAT_VERSION
