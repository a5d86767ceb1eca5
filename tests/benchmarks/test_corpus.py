"""Both sides of the corpus benchmark turn the same text into the same number of tokens."""

from __future__ import annotations

import json

import pytest

from benchmarks.corpus import (
    MIRROR_VARIABLE,
    SEQ_LEN,
    MappedCorpus,
    Options,
    OwnCorpus,
    group_texts,
    prepare_text,
    read_lines,
    run,
    write_toy_mirror,
)
from selfpretrain.cards import load_text_card
from selfpretrain.config import UserError

TOY = Options(toy=True, repeats=1, processes=False)


@pytest.fixture
def text(tmp_path):
    return prepare_text(tmp_path / "work", write_toy_mirror(tmp_path / "mirror"), None, TOY)


def test_both_sides_do_the_same_work(text):
    own, mapped, columns = OwnCorpus(text), MappedCorpus(text, ids_only=True), MappedCorpus(text, ids_only=False)
    assert all(side() > 0 for side in (own, mapped, columns))
    documents = len(text.documents.read_text().splitlines())
    ordinary = own.num_tokens - documents  # ours ends each document with a separator
    lost = text.workers * SEQ_LEN  # each of the peer's processes has one batch of texts, and loses its remainder
    assert ordinary - lost < mapped.num_tokens <= ordinary
    assert ordinary + 2 * documents - lost < columns.num_tokens <= ordinary + 2 * documents


def test_a_part_of_the_mirror_is_its_first_lines(tmp_path):
    mirror = write_toy_mirror(tmp_path / "mirror")
    whole = prepare_text(tmp_path / "whole", mirror, None, TOY)
    part = prepare_text(tmp_path / "part", mirror, 0.1, TOY)
    assert part.num_bytes == pytest.approx(1e5, rel=0.05)
    for name in load_text_card("bookwiki").mirror:
        kept = list(read_lines(part.mirror / name))
        assert kept == list(read_lines(whole.mirror / name))[: len(kept)]
    assert (part.tokenizer / "tokenizer.json").read_text() == (whole.tokenizer / "tokenizer.json").read_text()
    assert (
        sum(len(json.loads(line)["text"].encode()) for line in part.documents.read_text().splitlines())
        == part.num_bytes
    )


def test_texts_are_joined_and_cut_into_blocks():
    ids = list(range(SEQ_LEN + 10))
    found = group_texts(
        {"input_ids": [ids[:100], ids[100:], [7] * SEQ_LEN], "mask": [[1] * 100, [1] * 38, [0] * SEQ_LEN]}
    )
    assert found["input_ids"] == [ids[:SEQ_LEN], ids[SEQ_LEN:] + [7] * (SEQ_LEN - 10)]
    assert found["mask"][1] == [1] * 10 + [0] * (SEQ_LEN - 10)


def test_rows_at_toy_size(monkeypatch):
    monkeypatch.setattr("benchmarks.corpus.interleave", lambda sides, repeats: {name: [1.0] for name in sides})
    rows = list(run(TOY))
    assert [row.peer for row in rows] == [
        "datasets.map + group_texts (run_mlm)", "datasets.map + group_texts (run_mlm)", "datasets.map + group_texts, ids only"
    ]  # fmt: skip
    assert rows[0].work.startswith("made text, 0.1 MB") and rows[1].work == rows[2].work


def test_without_a_mirror_the_row_says_what_to_do(monkeypatch):
    monkeypatch.delenv(MIRROR_VARIABLE, raising=False)
    (row,) = run(Options())
    assert "SELFPRETRAIN_DATA=<mirror>" in row.skipped


@pytest.mark.parametrize("wrong", [{"peer": "x"}, {"kind": "x"}, {"device": "cuda"}])
def test_unknown_names_are_refused(wrong):
    with pytest.raises(UserError, match=r"=x is not known|device=cuda"):
        next(iter(run(Options(**wrong))))
