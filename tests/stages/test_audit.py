"""A text is looked through once for all tasks; what was found is stored by content."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import pytest

from selfpretrain.config import CorpusConfig, RuntimeConfig, TaskConfig
from selfpretrain.sources import documents
from selfpretrain.sources.tasks import read_task
from selfpretrain.stages import audit
from selfpretrain.stages.audit import SplitAudit, audit_text, count_split


def make_task(folder: Path, name: str) -> TaskConfig:
    """120 rows of 20 words, test and validation cut off."""
    path = folder / f"{name}.csv"
    with open(path, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["body", "topic"])
        rows.writerows([" ".join(f"{name}{row}w{word}" for word in range(20)), "ab"[row % 2]] for row in range(120))
    return TaskConfig(name=name, loader="local", path=str(path), text=["body"], label=["topic"])


@pytest.fixture
def source(monkeypatch):
    """The text of every corpus, and how often it was read."""
    made = type("Source", (), {"texts": [], "reads": 0})()

    def iter_documents(*_):
        made.reads += 1
        return iter(made.texts)

    monkeypatch.setattr(documents, "iter_documents", iter_documents)
    monkeypatch.setattr(documents, "compute_fingerprint", lambda *_: "\n".join(made.texts))
    return made


def test_every_task_is_looked_for_in_one_pass_and_what_was_found_is_stored(tmp_path, source):
    first, second = (make_task(tmp_path, name) for name in ("first", "second"))
    runtime = RuntimeConfig(runs_dir=str(tmp_path / "runs"), progress=False)
    test = read_task(first, runtime.runs_dir).splits["test"]
    validation = read_task(second, runtime.runs_dir).splits["validation"]
    words = [text.split() for (text,) in test.texts]
    source.texts = [
        "something else",
        f"a line before\n{test.texts[0][0].upper()}",
        " ".join(["x", *words[1][1:]]),  # 15 of 17 shingles alike
        f"much before {' '.join(words[2][:17])} {'and much more after it ' * 9}",  # 5 of 8 n-grams
        f"much before {validation.texts[3][0]} {'and much more after it ' * 9}",
    ]
    found = audit_text(CorpusConfig(), first, [first, second], runtime)
    assert source.reads == 1
    assert found[0]["test"] == SplitAudit(
        len(test.ids), [test.ids[0]], [test.ids[1]], {test.ids[0]: 1, test.ids[1]: 0.875, test.ids[2]: 0.625}
    )
    assert found[1]["validation"].list_held() == [validation.ids[3]]
    assert (found[0]["validation"].list_held(), found[1]["test"].shares) == ([], {})
    again = audit_text(CorpusConfig(), None, [second, dataclasses.replace(first, max_train_examples=30)], runtime)
    assert (again, source.reads) == (found[::-1], 1)
    audit_text(CorpusConfig(), None, [second, make_task(tmp_path, "third")], runtime)
    assert source.reads == 2
    source.texts.append("one more")  # another corpus
    audit_text(CorpusConfig(), None, [second], runtime)
    assert source.reads == 3
    kept = list((tmp_path / "runs" / "audits").glob("*.json"))
    whole = [file.read_bytes() for file in kept]
    for file in kept:  # cut short
        file.write_bytes(file.read_bytes()[:-20])
    audit_text(CorpusConfig(), None, [second], runtime)
    assert source.reads == 4
    assert sum(file.read_bytes() == data for file, data in zip(kept, whole, strict=True)) == 1
    assert len(list((tmp_path / "runs" / "audits").glob("*.json"))) == 4


def test_a_folder_that_cannot_be_written_is_no_end(tmp_path, source, monkeypatch):
    task, source.texts = make_task(tmp_path, "first"), ["one"]
    runtime = RuntimeConfig(runs_dir=str(tmp_path / "runs"), progress=False)

    def refuse(path, value):
        raise audit.CannotWrite(f"cannot write {path}")

    monkeypatch.setattr(audit, "write_json", refuse)
    assert audit_text(CorpusConfig(), None, [task], runtime) == audit_text(CorpusConfig(), None, [task], runtime)
    assert source.reads == 2


def test_what_is_held_and_counted():
    found = SplitAudit(9, ["a"], ["c", "b"], {"a": 1.0, "d": 0.8, "e": 0.79, "f": 0.5, "g": 0.1})
    assert found.list_held() == ["a", "b", "c", "d"]
    assert list(count_split(found).values()) == [9, 1, 2, 5, 4, 2]
