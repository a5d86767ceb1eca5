"""Examples that belong together: read from a column, never on two sides of a cut, kept, counted; each way it can be wrong."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os

import numpy as np
import pytest

from selfpretrain.cards import load_task_card
from selfpretrain.config import TaskConfig, UserError
from selfpretrain.sources import cache, tasks
from selfpretrain.sources.evaluation import load_test_set
from selfpretrain.sources.tasks import load_task, read_task
from selfpretrain.stats.estimates import estimate_score
from selfpretrain.stats.statistics import build_mean

needs_mirror = pytest.mark.skipif(not os.environ.get("SELFPRETRAIN_DATA"), reason="SELFPRETRAIN_DATA is not set")


def make_rows(num_documents=60, size=7):
    """Sentences of documents, two classes in each."""
    return [
        {"text": f"sentence {n} of {d}", "label": "ab"[(n + d) % 2], "document": f"d{d}"}
        for d in range(num_documents)
        for n in range(1 + (d * 5) % size)
    ]


@pytest.fixture
def write(tmp_path):
    """``write(rows)``: a task of a JSONL file of these rows."""

    def give(rows, name="x.jsonl", **changes):
        path = tmp_path / name
        path.write_text("\n".join(map(json.dumps, rows)))
        card = TaskConfig(name="local", loader="local", path=str(path), text=["text"], label=["label"])
        return dataclasses.replace(card, **{"group": "document", **changes})

    return give


def list_documents(data):
    return {name: {texts[0].split()[-1] for texts in split.texts} for name, split in data.splits.items()}


def test_no_document_is_on_two_sides(write):
    rows = make_rows()
    whole, alone = load_task(write(rows), "runs"), load_task(write(rows, group=None), "runs")
    sides = list_documents(whole)
    assert not (
        sides["train"] & sides["test"] or sides["train"] & sides["validation"] or sides["test"] & sides["validation"]
    )
    assert list_documents(alone)["train"] & list_documents(alone)["test"]
    sizes = {name: len(split.ids) for name, split in whole.splits.items()}
    assert sizes["test"] == pytest.approx(0.2 * len(rows), abs=4) and sum(sizes.values()) == len(rows)
    for name, split in whole.splits.items():
        assert split.groups.dtype == np.uint64 and len(split.groups) == len(split.ids)
        assert len(np.unique(split.groups)) == len(sides[name])
    assert alone.splits["test"].groups is None
    counts = ", ".join(
        f"{name} {len(sides[name])} of {sizes[name]} examples" for name in ("train", "validation", "test")
    )
    assert f"groups (equal 'document'): {counts}; intervals take the examples group by group" in whole.notes
    assert any(note.endswith("training examples cut off by content hash, whole groups") for note in whole.notes)


def test_the_order_of_the_file_changes_nothing(write):
    rows = make_rows()
    first = load_task(write(rows), "runs")
    second = load_task(write([rows[place] for place in np.random.default_rng(0).permutation(len(rows))]), "runs")
    assert first.fingerprint == second.fingerprint
    for name, split in first.splits.items():
        np.testing.assert_array_equal(split.groups, second.splits[name].groups)


def test_equal_texts_join_their_documents(write):
    """A text that two documents share draws both to one side: it would lie on two otherwise."""
    rows = make_rows(size=2)
    for d in range(0, 60, 2):
        rows += [{"text": f"shared by {d}", "label": "a", "document": f"d{d + extra}"} for extra in (0, 1)]
    data = load_task(write(rows), "runs")
    assert not data.overlap
    pairs = {name: {int(number) // 2 for number in found} for name, found in list_documents(data).items()}
    assert not (pairs["train"] & pairs["test"] or pairs["train"] & pairs["validation"])


def test_large_documents_leave_two_to_each_side(write):
    """Ten of 12 rows: more than validation's share, and nothing could be resampled of one."""
    rows = [{"text": f"sentence {n} of {d}", "label": "ab"[n % 2], "document": d} for d in range(10) for n in range(12)]
    found = {name: len(documents) for name, documents in list_documents(load_task(write(rows), "runs")).items()}
    assert found == {"train": 6, "validation": 2, "test": 2}


def test_where_groups_join_nothing_the_cut_is_as_without(write):
    rows = [{**row, "document": str(n)} for n, row in enumerate(make_rows())]
    assert load_task(write(rows), "runs").fingerprint == load_task(write(rows, group=None), "runs").fingerprint


def test_splits_of_their_own_keep_their_examples_and_say_what_they_share(write, tmp_path):
    rows = make_rows()
    files = {
        f"{name}_path": write(rows[place::5], f"{name}.jsonl").path for place, name in enumerate(("validation", "test"))
    }
    train = [row for place, row in enumerate(rows) if place % 5 > 1]
    grouped, alone = (load_task(write(train, group=group, **files), "runs") for group in ("document", None))
    assert grouped.fingerprint == alone.fingerprint  # so the runs are the same
    (note,) = [note for note in grouped.notes if "groups (equal" in note]
    assert note.startswith("warning: ") and "in training, too: " in note


def test_groups_are_kept_beside_the_runs(write, tmp_path, monkeypatch):
    monkeypatch.setattr(tasks, "_read", {})
    task, runs_dir = write(make_rows()), str(tmp_path / "runs")
    first = read_task(task, runs_dir)
    tasks._read.clear()
    monkeypatch.setattr(tasks, "_load_whole", lambda *given: pytest.fail("read anew"))
    again = read_task(task, runs_dir)
    for name, split in load_splits(first, again):
        np.testing.assert_array_equal(split.groups, again.splits[name].groups)
    assert cache.keep_task(runs_dir, task, tasks.list_sources(task), lambda: pytest.fail("read anew"))


def load_splits(first, again):
    assert first.splits.keys() == again.splits.keys()
    return first.splits.items()


@pytest.mark.parametrize(
    ("edit", "changes", "message"),
    [
        ({}, {"group": "paragraph"}, r"has no column 'paragraph'; its columns are .*: set task.group=<column>"),
        ({"document": " "}, {}, r"rows? 1, 2, 3, 4, 5 and 5 more: no group in column 'document' \(10 of 200 rows\)"),
        ({"document": None}, {}, "no group in column 'document'"),
        ({"document": "\ud800"}, {}, r"row 1: the text has a lone surrogate"),
    ],
)
def test_a_column_that_names_no_groups_is_refused(write, edit, changes, message):
    rows = make_rows()[:200]
    rows[:10] = [{**row, **edit} for row in rows[:10]]
    with pytest.raises(UserError, match=message) as caught:
        load_task(write(rows, **changes), "runs")
    assert "\n" not in str(caught.value)


def test_one_group_cannot_be_resampled(write):
    rows = make_rows()
    test = write([{**row, "document": "d0"} for row in rows[:60]], "test.jsonl").path
    with pytest.raises(
        UserError, match=r"all 60 test examples are of one group in column 'document', .* task.group=null"
    ):
        load_task(write(rows[60:], test_path=test), "runs")
    with pytest.raises(UserError, match=r"no test split can be cut from .* in 1 groups"):
        load_task(write([{**row, "document": "d0"} for row in rows]), "runs")


def test_docs_have_no_columns():
    card = dataclasses.replace(load_task_card("docs_topic"), group="module")
    with pytest.raises(UserError, match=r"task\.group=module names a column, and task=docs_topic has none"):
        load_task(card, "runs")


def test_a_test_set_has_groups_too(tmp_path, monkeypatch):
    rows = [{"text": f"text {n}", "label": n % 2, "pair": n // 4} for n in range(80)]
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "test.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    monkeypatch.setenv("SELFPRETRAIN_DATA", str(tmp_path))
    card = TaskConfig(name="toy", mirror="toy", splits={"test": "test"}, text=["text"], label=["label"],
                      label_kind="class", label_names=["no", "yes"], group="pair")  # fmt: skip
    data = load_test_set(card)
    assert len(np.unique(data.splits["test"].groups)) == 20
    assert "groups (equal 'pair'): test 20 of 80 examples; intervals take the examples group by group" in data.notes


@needs_mirror
def test_the_questions_of_a_passage_of_squad():
    card = load_task_card("squad")
    data = load_task(card, "runs")
    test = data.splits["test"]
    assert len(np.unique(test.groups)) == 2067
    for name in ("train", "validation", "test"):
        split = data.splits[name]
        contexts = np.unique([texts[-1] for texts in split.texts], return_inverse=True)[1]
        assert len(set(zip(contexts.tolist(), split.groups.tolist(), strict=True))) == contexts.max() + 1
    # answers that are right or wrong much as their passage is easy: a simulated run on the passages that there are
    draw = np.random.default_rng(0)
    numbers = np.unique(test.groups, return_inverse=True)[1]
    right = draw.normal(size=numbers.max() + 1)[numbers] + draw.normal(size=(1, len(numbers))) > -1
    alone, grouped = (
        estimate_score(build_mean(right), [0], len(numbers), groups=given, num_replicates=200)[0]
        for given in (None, test.groups)
    )
    assert grouped.high - grouped.low > 1.2 * (alone.high - alone.low)
    # its runs keep their ids: the cut went by passage before
    assert data.fingerprint == load_task(dataclasses.replace(card, group=None), "runs").fingerprint
