"""A task is read once for as long as its files stay what they are."""

from __future__ import annotations

import os

import numpy as np
import pytest

from selfpretrain.config import CorpusConfig, TaskConfig
from selfpretrain.sources import cache, documents, tables, tasks
from selfpretrain.sources.tasks import load_task, read_task

CORPUS = CorpusConfig()
ROWS = [f"{['red', 'blue', 'green'][i % 3]} things, number {i}" for i in range(90)]


@pytest.fixture
def task(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("text,label\n" + "".join(f'"{row}",{row[:3]}\n' for row in ROWS))
    return TaskConfig(name="local", loader="local", path=str(path), text=["text"], label=["label"])


@pytest.fixture
def reads(monkeypatch):
    """The files that are read, and no memory of the process."""
    names, read = [], tables.read_table

    def note(path, *given):
        names.append(path.name)
        return read(path, *given)

    monkeypatch.setattr("selfpretrain.sources.local.read_table", note)
    return names


def forget():
    tasks._read.clear()


def test_what_is_kept_is_what_was_read(task, tmp_path):
    whole, again = load_task(task, str(tmp_path)), None
    for _ in range(2):
        forget()
        again = read_task(task, str(tmp_path))
    assert again.task == whole.task and again.fingerprint == whole.fingerprint
    assert (again.notes, again.overlap) == (whole.notes, whole.overlap)
    for name, split in whole.splits.items():
        assert (split.ids, split.texts) == (again.splits[name].ids, again.splits[name].texts)
        np.testing.assert_array_equal(split.labels, again.splits[name].labels)
        assert split.labels.dtype == again.splits[name].labels.dtype


def test_a_file_is_read_once_and_again_when_it_changes(task, tmp_path, reads):
    first = read_task(task, str(tmp_path)).fingerprint
    text = documents.compute_fingerprint(CORPUS, task, str(tmp_path))
    assert reads == ["x.csv"]
    forget()
    assert read_task(task, str(tmp_path)).fingerprint == first
    assert documents.compute_fingerprint(CORPUS, task, str(tmp_path)) == text
    assert reads == ["x.csv"]
    path = tmp_path / "x.csv"
    path.write_text(path.read_text().replace('number 7"', 'number seven"'))
    forget()
    assert read_task(task, str(tmp_path)).fingerprint != first
    assert documents.compute_fingerprint(CORPUS, task, str(tmp_path)) != text
    assert reads == ["x.csv", "x.csv"]
    os.utime(path, ns=(0, 0))  # of the same size, at another time
    forget()
    read_task(task, str(tmp_path))
    assert len(reads) == 3


def test_other_rules_are_not_answered_from_memory(tmp_path, monkeypatch):
    file = tmp_path / "a.txt"
    file.write_text("a")
    assert cache.remember(str(tmp_path), ["x"], [file], lambda: "old") == "old"
    assert cache.remember(str(tmp_path), ["x"], [file], lambda: "new") == "old"
    assert cache.remember(str(tmp_path), ["y"], [file], lambda: "new") == "new"
    assert cache.remember(str(tmp_path), ["x"], None, lambda: "new") == "new"
    monkeypatch.setattr(cache, "_hash_code", lambda: "another")
    assert cache.remember(str(tmp_path), ["x"], [file], lambda: "new") == "new"


def test_where_nothing_can_be_written_it_is_read_anew(task, tmp_path, reads):
    for name in ("tasks", "fingerprints"):
        (tmp_path / name).write_text("a file where the folder would be")
    found = []
    for _ in range(2):
        forget()
        found.append(
            (read_task(task, str(tmp_path)).fingerprint, documents.compute_fingerprint(CORPUS, task, str(tmp_path)))
        )
    assert found[0] == found[1]
    assert len(reads) == 4


def list_kept(tmp_path):
    return sorted(path for path in (tmp_path / "tasks").glob("*/*") if path.suffix in (".npy", ".utf8", ".json"))


def test_what_was_cut_short_is_made_anew(task, tmp_path, reads, capsys):
    whole = read_task(task, str(tmp_path)).fingerprint
    kept = {path: path.read_bytes() for path in list_kept(tmp_path)}
    assert len(kept) > 10
    for count, (path, data) in enumerate(kept.items(), start=2):
        path.write_bytes(data[: -1 - len(data) // 3])
        forget()
        assert read_task(task, str(tmp_path)).fingerprint == whole
        assert path.read_bytes() == data and len(reads) == count
        assert capsys.readouterr().err == f"selfpretrain: {path.parent} is damaged and made anew\n"


def test_a_fingerprint_that_was_cut_short_is_computed_anew(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("a")
    assert cache.remember(str(tmp_path), ["x"], [file], lambda: "old") == "old"
    (kept,) = (tmp_path / "fingerprints").iterdir()
    data = kept.read_bytes()
    for size in range(len(data)):
        kept.write_bytes(data[:size])
        assert cache.remember(str(tmp_path), ["x"], [file], lambda: "new") == "new"
