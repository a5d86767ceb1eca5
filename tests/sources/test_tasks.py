"""From a user's file to three labelled splits; and each way the file can be wrong."""

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selfpretrain.config import TaskConfig, UserError
from selfpretrain.sources.tasks import iter_own_text, load_task


def make_rows(count: int = 200, classes: int = 2) -> list[dict[str, Any]]:
    return [
        {"text": f"this is text {row}", "second": f"other {row}", "label": f"c{row % classes}"} for row in range(count)
    ]


def write_csv(path: Path, rows: list[dict[str, Any]]) -> str:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def make_task(path: str, **changes: Any) -> TaskConfig:
    return dataclasses.replace(
        TaskConfig(name="local", loader="local", path=path, text="text", label="label"), **changes
    )


def load(tmp_path: Path, rows: list[dict[str, Any]], **changes: Any):
    path = write_csv(tmp_path / "x.csv", rows)
    return load_task(dataclasses.replace(make_task(path), **changes), "runs")


def refuse(tmp_path: Path, rows: list[dict[str, Any]], **changes: Any) -> str:
    with pytest.raises(UserError) as error:
        load(tmp_path, rows, **changes)
    message = str(error.value)
    assert "\n" not in message
    return message


def test_splits_of_a_csv(tmp_path):
    data = load(tmp_path, make_rows(500))
    assert {name: len(split.ids) for name, split in data.splits.items()} == {
        "train": 350,
        "validation": 50,
        "test": 100,
    }
    ids = [example for split in data.splits.values() for example in split.ids]
    assert len(set(ids)) == 500
    assert data.task.label_kind == "class"
    assert data.task.metric == "accuracy"
    assert data.task.label_names == ["c0", "c1"]
    for split in data.splits.values():
        assert split.labels.dtype == np.int64
        assert abs(split.labels.mean() - 0.5) < 0.01
        for texts, label in zip(split.texts, split.labels, strict=True):
            assert int(texts[0].split()[-1]) % 2 == label
    assert len(data.fingerprint) == 64


def test_the_shares_that_are_cut_off_are_settings(tmp_path):
    usual, other = (
        load(tmp_path, make_rows(500), **shares) for shares in ({}, {"test_fraction": 0.4, "validation_fraction": 0.5})
    )
    assert [len(other.splits[name].ids) for name in ("train", "validation", "test")] == [150, 150, 200]
    assert other.fingerprint != usual.fingerprint


def test_splits_do_not_depend_on_row_order_or_format(tmp_path):
    rows = make_rows(120)
    first = load(tmp_path, rows)
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in reversed(rows)), encoding="utf-8")
    second = load_task(make_task(str(path)), "runs")
    for name in first.splits:
        assert set(first.splits[name].texts) == set(second.splits[name].texts)


@pytest.mark.parametrize("changes", [{}, {"max_train_examples": 60}, {"label": "score"}, {"id": "key"}])
def test_a_sorted_file_and_a_shuffled_one_are_the_same_task(tmp_path, changes):
    rows = make_rows(300)
    for number, row in enumerate(rows):
        row |= {"key": f"k{number}", "score": number / 7}
    # rows that occur twice, with the same label, another, or other capitals
    rows += [{**row, "key": row["key"] + "x"} for row in rows[:50]]
    rows += [{**row, "key": row["key"] + "y", "label": "c1", "score": 0.5} for row in rows[:50]]
    rows += [{**row, "key": row["key"] + "z", "text": row["text"].upper()} for row in rows[:50]]
    shuffled = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    tasks = [
        make_task(write_csv(tmp_path / name, copy), **changes)
        for name, copy in (("a.csv", sorted(rows, key=lambda row: row["label"])), ("b.csv", shuffled))
    ]
    first, second = (load_task(task, "runs") for task in tasks)
    assert first.fingerprint == second.fingerprint
    for name, split in first.splits.items():
        other = second.splits[name]
        assert (split.ids, split.texts) == (other.ids, other.texts)
        assert (split.labels == other.labels).all()
        assert len(set(split.ids)) == len(split.ids)
    assert list(iter_own_text(tasks[0], "runs")) == list(iter_own_text(tasks[1], "runs"))


def test_any_part_of_the_own_text_holds_every_label(tmp_path):
    rows = sorted(make_rows(1000), key=lambda row: row["label"])
    task = make_task(write_csv(tmp_path / "x.csv", rows))
    labels = np.array([int(text.split()[-1]) % 2 for text in iter_own_text(task, "runs")])
    shares = [part.mean() for part in np.array_split(labels, 10)]  # 70 of two classes alike: sd .06
    assert all(0.25 < share < 0.75 for share in shares), shares


def test_own_text_is_train_only(tmp_path):
    rows = make_rows(300)
    task = make_task(write_csv(tmp_path / "x.csv", rows), text=["text", "second"], max_train_examples=20)
    data = load_task(task, "runs")
    own = list(iter_own_text(task, "runs"))
    assert len(data.splits["train"].ids) == 20
    assert len(own) == 300 - len(data.splits["validation"].ids) - len(data.splits["test"].ids)
    assert {"\n".join(texts) for texts in data.splits["train"].texts} <= set(own)
    evaluated = {"\n".join(texts) for name in ("validation", "test") for texts in data.splits[name].texts}
    assert len(evaluated) == 108 and not evaluated & set(own)
    assert "20 of 192 labelled examples" in data.notes[-1]
    text_only = dataclasses.replace(task, corpus_columns=["second"])
    assert sorted(iter_own_text(text_only, "runs")) == sorted(text.split("\n")[1] for text in own)


def test_duplicates_are_on_one_side(tmp_path):
    rows = [
        {"text": f"Text  {row % 60}".upper() if row % 2 else f"text {row % 60}", "label": row % 2} for row in range(240)
    ]
    data = load(tmp_path, rows)
    seen = [{" ".join(texts[0].lower().split()) for texts in split.texts} for split in data.splits.values()]
    assert sum(map(len, seen)) == 60
    assert len(set.union(*seen)) == 60


def test_files_for_each_split_and_ids(tmp_path):
    train, test = make_rows(100), make_rows(10)
    for number, row in enumerate(train + test):
        row["key"] = f"k{number}"
    validation = write_csv(tmp_path / "validation.csv", test)
    data = load(tmp_path, train, id="key", test_path=write_csv(tmp_path / "test.csv", test), validation_path=validation)
    assert sorted(data.splits["test"].ids) == [f"k{number}" for number in range(100, 110)]
    for name, rows in (("train", train), ("test", test)):
        given = {(row["text"],): row["key"] for row in rows}
        assert data.splits[name].ids == [given[texts] for texts in data.splits[name].texts]
    assert data.notes[-1].endswith("validation 10 of 10, test 10 of 10; scores on them may be memory")
    assert data.overlap == tuple(data.splits["test"].ids)


@pytest.mark.parametrize(
    ("values", "changes", "kind", "names", "metric"),
    [
        (["1", "2", "3"], {}, "class", ["1", "2", "3"], "accuracy"),
        (["10", "9"], {}, "class", ["9", "10"], "accuracy"),
        (["1.0", "0.0"], {}, "class", ["0", "1"], "accuracy"),
        (["none", "NA"], {}, "class", ["NA", "none"], "accuracy"),
        (["no", "yes"], {"metric": "f1"}, "class", ["no", "yes"], "f1"),
        ([f"{n / 7:.2f}" for n in range(90)], {}, "score", [], "pearson"),
        (["0.5", "1", "2"], {}, "score", [], "pearson"),
        (["1", "2", "3"], {"label_kind": "score", "metric": "spearman"}, "score", [], "spearman"),
        (["0", "1"], {"label_names": ["bad", "good"]}, "class", ["bad", "good"], "accuracy"),
    ],
)
def test_label_kinds(tmp_path, values, changes, kind, names, metric):
    rows = [{"text": f"text {row}", "label": values[row % len(values)]} for row in range(180)]
    data = load(tmp_path, rows, **changes)
    assert (data.task.label_kind, data.task.label_names, data.task.metric) == (kind, names, metric)
    assert data.splits["test"].labels.dtype == (np.int64 if kind == "class" else np.float32)


def test_multilabel(tmp_path):
    rows = [{"text": f"text {row}", "a": row % 2, "b": int(row % 3 == 0), "c": "true"} for row in range(120)]
    data = load(tmp_path, rows, label=["a", "b", "c"])
    assert (data.task.label_kind, data.task.metric) == ("multilabel", "micro_auc")
    assert data.task.label_names == ["a", "b", "c"]
    assert data.splits["train"].labels.shape == (len(data.splits["train"].ids), 3)
    for (text,), labels in zip(data.splits["test"].texts, data.splits["test"].labels, strict=True):
        row = int(text.split()[-1])
        assert labels.tolist() == [row % 2, row % 3 == 0, 1]


def test_unordered_pairs_stay_together(tmp_path):
    rows = [
        {"text": (a, b)[row % 2], "second": (b, a)[row % 2], "label": row % 3 % 2}
        for row in range(300)
        for a, b in [(f"left {row // 2}", f"right {row // 2}")]
    ]
    data = load(tmp_path, rows, text=["text", "second"], unordered_pair=True)
    pairs = [{frozenset(texts) for texts in split.texts} for split in data.splits.values()]
    assert sum(map(len, pairs)) == len(set.union(*pairs)) == 150


def test_fingerprint_follows_content(tmp_path):
    rows = make_rows(100)
    first = load(tmp_path, rows).fingerprint
    assert load(tmp_path, rows).fingerprint == first
    assert load(tmp_path, rows, max_train_examples=30).fingerprint != first
    rows[5]["label"] = "c0"
    assert load(tmp_path, rows).fingerprint != first


def change(row: int, **values: Any) -> list[dict[str, Any]]:
    rows = make_rows(100)
    rows[row].update(values)
    return rows


@pytest.mark.parametrize(
    ("rows", "changes", "words"),
    [
        (make_rows(), {"text": "body"}, "no column 'body'; its columns are 'text', 'second', 'label'"),
        (make_rows(), {"label": "target"}, "no column 'target'"),
        (make_rows(), {"id": "key"}, "no column 'key'"),
        (make_rows(), {"text": None}, "needs task.text=<column>; the columns"),
        (make_rows(), {"label": None}, "needs task.label=<column>; the columns"),
        (make_rows(), {"path": None}, "needs task.path=<file>"),
        (make_rows(49), {}, "has 49 rows; a study needs at least 50"),
        (change(6, text=" \t "), {}, "row 7: empty or whitespace text in column 'text' (1 of 100 rows); remove"),
        (change(6, second=""), {"text": ["text", "second"]}, "column 'second'"),
        (change(2, label=""), {}, "row 3: no label in column 'label'"),
        (change(2, label="NaN"), {}, "row 3: no label in column 'label', or a class named 'NaN' (1 of 100 rows); remove"),
        (make_rows(100, classes=1), {}, "one class only ('c0')"),
        (make_rows(100, classes=100), {}, "too many for classes"),
        (make_rows(), {"label_kind": "score"}, "row 1: the score 'c0' is not a finite number"),
        (change(4, label=7), {"label": ["label", "second"]}, "column 'label'; a column of a multi-label task"),
        (make_rows(), {"label_kind": "classes"}, "allowed: class, score, multilabel"),
        (make_rows(), {"metric": "pearson"}, "does not fit labels of kind class; allowed: accuracy"),
        (make_rows(classes=3), {"metric": "f1"}, "task.metric=macro_f1"),
        (make_rows(), {"label_names": ["a", "b", "c"]}, "3 names for 2 classes"),
        (make_rows(), {"unordered_pair": True}, "task.text=[first,second] or task.unordered_pair=false"),
        (make_rows(), {"text": ["text", "text"]}, "one column or two different ones"),
        (make_rows(), {"text": ["text", "second", "label"]}, "one column or two different ones"),
        (make_rows(), {"text": ["text", "label"]}, "'label' is in task.text and in task.label"),
        (make_rows(), {"id": "label"}, "row 3: id 'c0' in column 'label' is that of row 1 too"),
        (make_rows(), {"max_train_examples": 1}, "set task.max_train_examples=2 or more"),
        ([{"text": "same", "label": row % 2} for row in range(60)], {}, "no test split can be cut"),
        ([{"text": f"t{row}", "label": 0.5} for row in range(60)], {}, "one value only (0.5)"),
        (make_rows(), {"loader": "web"}, "task.loader=web is not known"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(tmp_path, rows, changes, words):
    assert words in refuse(tmp_path, rows, **changes)


def test_label_in_test_never_seen_in_train(tmp_path):
    test = write_csv(tmp_path / "test.csv", [{"text": "a", "label": "c1"}, {"text": "b", "label": "c9"}])
    message = refuse(tmp_path, make_rows(), test_path=test)
    assert "test.csv, row 2: the label 'c9' never occurs in training; known: c0, c1" in message


def test_many_bad_rows_are_counted(tmp_path):
    rows = make_rows(100)
    for row in range(10, 20):
        rows[row]["text"] = ""
    assert "rows 11, 12, 13, 14, 15 and 5 more" in refuse(tmp_path, rows)


@pytest.mark.parametrize(
    ("value", "words"),
    [(None, "empty"), (float("nan"), "empty"), ({"a": 1}, "holds a dict"), ("\ud800", "lone surrogate")],
)
def test_values_that_are_no_text(tmp_path, value, words):
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in change(3, text=value)), encoding="utf-8")
    with pytest.raises(UserError, match=words) as error:
        load_task(make_task(str(path)), "runs")
    assert "row 4" in str(error.value)
