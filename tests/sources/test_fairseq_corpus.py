"""Token files of fairseq-preprocess come out as the text that went in, and damaged ones are refused in one line."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

import selfpretrain.interop
from selfpretrain.config import CorpusConfig, Settings, TokenizerConfig, UserError
from selfpretrain.data.store import TokenFile, TokenWriter
from selfpretrain.data.tokenizer import Tokenizer, train_tokenizer
from selfpretrain.sources import documents
from selfpretrain.sources.fairseq_corpus import iter_fairseq_text
from selfpretrain.sources.fairseq_files import write_bpe
from selfpretrain.stages.corpus import build_corpus

LINES = [
    "The quick brown fox jumps over the lazy dog.", "It sleeps, all 12 of it.", "", "Café menus 🙂 are read; 東京 naïve dogs.", "",
    "", "One  more\tline, with <s> and </s> spelled out.",
]  # fmt: skip
DOCUMENTS = [f"{LINES[0]}\n{LINES[1]}", LINES[3], LINES[6]]
SHIM = Path(selfpretrain.interop.__file__).with_name("fairseq_shim.py")
PYTHON = Path(__file__).parents[2] / ".fairseq" / "bin" / "python"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(TokenizerConfig(kind="bpe", vocab_size=330), iter(LINES * 5))


def write_corpus(folder: Path, tokenizer: Tokenizer, lines, dtype="uint16") -> Path:
    """As fairseq-preprocess leaves it: a line is a sequence with </s> after it, an empty one </s> alone."""
    folder.mkdir()
    with TokenWriter(folder, dtype) as writer:
        for ids in tokenizer.encode_batch(lines):
            row = np.append(ids, tokenizer.sep_id).astype(dtype)
            writer.append(np.array([len(row)], np.int32), row)
    write_bpe(folder, tokenizer.get_tokens(), tokenizer.get_merges())
    return folder


@pytest.mark.parametrize("dtype", ["uint16", "int32"])
def test_the_text_comes_back(tokenizer, tmp_path, dtype):
    folder = write_corpus(tmp_path / "data-bin", tokenizer, LINES, dtype)
    assert list(iter_fairseq_text(str(folder))) == DOCUMENTS


def test_shards_follow_each_other_with_the_first_one_s_dictionary(tokenizer, tmp_path):
    first, second = (write_corpus(tmp_path / name, tokenizer, LINES) for name in ("one", "two"))
    (second / "dict.txt").unlink()
    assert list(iter_fairseq_text(f"{first}:{second}")) == DOCUMENTS * 2


def test_what_the_dictionary_lacked_is_marked(tokenizer, tmp_path):
    folder = write_corpus(tmp_path / "data-bin", tokenizer, ["dog"])
    tokens = np.array([3, *tokenizer.encode_batch(["dog"])[0], 0, 2], np.uint16)
    with TokenWriter(folder, "uint16") as writer:
        writer.append(np.array([len(tokens)], np.int32), tokens)
    assert list(iter_fairseq_text(str(folder))) == ["\ufffddog"]


def test_it_is_a_corpus_like_any(tokenizer, tmp_path):
    folder = write_corpus(tmp_path / "data-bin", tokenizer, LINES)
    settings = Settings(corpus=CorpusConfig(source="fairseq", path=str(folder)))
    settings.runtime.runs_dir = str(tmp_path / "runs")
    settings.runtime.num_workers = 1
    settings.tokenizer = TokenizerConfig(kind="bpe", path=str(folder))
    built = TokenFile.open(build_corpus(settings))
    expected = [[*tokenizer.encode_batch([text])[0], tokenizer.sep_id] for text in DOCUMENTS]
    assert built.tokens.tolist() == [token for document in expected for token in document]
    before = documents.compute_fingerprint(settings.corpus, None, settings.runtime.runs_dir)
    with TokenWriter(folder, "uint16") as writer:
        writer.append(np.array([3], np.int32), np.array([40, 41, 2], np.uint16))
    assert documents.compute_fingerprint(settings.corpus, None, settings.runtime.runs_dir) != before


def cut(folder):
    data = (folder / "train.bin").read_bytes()
    (folder / "train.bin").write_bytes(data[:-2])


def change_code(folder):
    data = bytearray((folder / "train.idx").read_bytes())
    data[17] = 6
    (folder / "train.idx").write_bytes(bytes(data))


def shorten_dictionary(folder):
    lines = (folder / "dict.txt").read_text().splitlines()
    (folder / "dict.txt").write_text("\n".join(lines[:10]) + "\n")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (cut, r"train\.bin is damaged \(its length differs from train\.idx\); run fairseq-preprocess again"),
        (change_code, r"train\.idx is damaged \(its code of the tokens' type is 6; known: 8, 4\)"),
        (lambda folder: (folder / "train.idx").write_bytes(b"TNTIDX\0\0" * 20), "not an index of fairseq's memory-mapped format"),
        (shorten_dictionary, r"train\.bin has the token \d+, its dict\.txt makes 15; give the dictionary it was made with"),
        (lambda folder: (folder / "train.bin").unlink(), r"has no train\.bin; give folders of fairseq-preprocess"),
        (lambda folder: (folder / "encoder.json").unlink(), r"has no encoder\.json; give"),
        (lambda folder: (folder / "encoder.json").write_text("[]["), r"encoder\.json is damaged; copy GPT-2's"),
    ],
)  # fmt: skip
def test_damage_is_one_line(tokenizer, tmp_path, damage, said):
    folder = write_corpus(tmp_path / "data-bin", tokenizer, LINES)
    damage(folder)
    with pytest.raises(UserError, match=said) as error:
        list(iter_fairseq_text(str(folder)))
    assert "\n" not in str(error.value)


def test_a_missing_shard_is_named(tokenizer, tmp_path):
    folder = write_corpus(tmp_path / "one", tokenizer, LINES)
    with pytest.raises(UserError, match=r"two has no train\.bin; give folders"):
        list(iter_fairseq_text(f"{folder}:{tmp_path / 'two'}"))


def test_the_command(command, tiny, tokenizer, tmp_path):
    folder = write_corpus(tmp_path / "data-bin", tokenizer, LINES * 30)
    outcome = command("pretrain", *tiny, "corpus=fairseq", f"corpus.path={folder}", f"tokenizer.path={folder}")
    assert outcome.code == 0, outcome.err
    for overrides in (["corpus=fairseq"], [f"corpus.path={folder}"]):
        outcome = command("corpus", *tiny, *overrides)
        assert outcome.code == 2
        assert "a folder of fairseq's is corpus=fairseq corpus.path=<folder>" in outcome.err


@pytest.mark.skipif(
    not (PYTHON.parents[1] / "installed").is_file(), reason="no fairseq in .fairseq; launch/fairseq_env.sh builds it"
)
def test_what_fairseq_preprocess_made(tokenizer, tmp_path):
    write_bpe(tmp_path, tokenizer.get_tokens(), tokenizer.get_merges())
    pieces = [" ".join(str(number) for number in ids) for ids in tokenizer.encode_batch(LINES)]
    (tmp_path / "lines.bpe").write_text("".join(f"{line}\n" for line in pieces))
    words = [
        SHIM, "preprocess", "--only-source", "--srcdict", "dict.txt", "--trainpref", "lines.bpe", "--destdir", "data-bin",
        "--workers", "1",
    ]  # fmt: skip
    found = subprocess.run([PYTHON, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr[-2000:]
    for name in ("encoder.json", "vocab.bpe"):
        (tmp_path / "data-bin" / name).write_bytes((tmp_path / name).read_bytes())
    assert list(iter_fairseq_text(str(tmp_path / "data-bin"))) == DOCUMENTS
