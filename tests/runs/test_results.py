"""Predictions are read as they were written, brought into one order, and refused where they do not fit together."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selfpretrain.config import TaskConfig, UserError
from selfpretrain.kinds import KINDS
from selfpretrain.runs.predictions import Unreadable, load_predictions, write_predictions
from selfpretrain.runs.results import CellResult, read_runs

TOPICS = TaskConfig(name="topics", label_kind="class", metric="accuracy")
IDS = ["a", "b", "c"]
LABELS = np.array([0, 1, 1])
LOGITS = np.array([[2.0, 1.0], [0.0, 3.0], [5.0, 4.0]], np.float32)


def make_cell(folder, seed=0, status="done"):
    return CellResult("tiny", "own", "topics", seed, 0, status, f"run{seed}", "", folder / f"run{seed}")


def write(cell, ids=IDS, labels=LABELS, outputs=LOGITS):
    write_predictions(cell.folder / "predictions" / "test.parquet", ids, labels, outputs)
    return cell


def test_round_trip_of_every_kind(tmp_path):
    path = tmp_path / "test.parquet"
    write_predictions(path, IDS, LABELS, LOGITS)
    loaded = load_predictions(path)
    assert loaded.ids == IDS
    assert loaded.labels.tolist() == [0, 1, 1] and loaded.labels.dtype.kind == "i"
    np.testing.assert_array_equal(loaded.outputs, LOGITS)
    write_predictions(path, IDS, np.array([0.5, 1.5, 2.5]), LOGITS[:, :1])
    assert load_predictions(path).labels.tolist() == [0.5, 1.5, 2.5]
    write_predictions(path, IDS, np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32))
    np.testing.assert_array_equal(load_predictions(path).labels, np.eye(3))


def test_what_the_metric_sees():
    assert KINDS["class"].decode(LOGITS).tolist() == [0, 1, 0]
    assert KINDS["score"].decode(LOGITS[:, :1]).tolist() == [2.0, 0.0, 5.0]
    assert KINDS["multilabel"].decode(LOGITS) is LOGITS


def test_rows_are_brought_into_the_order_of_the_first_run(tmp_path):
    first = write(make_cell(tmp_path, 0))
    order = [2, 0, 1]
    second = write(make_cell(tmp_path, 1), [IDS[i] for i in order], LABELS[order], LOGITS[order])
    runs, problems = read_runs([first, second], TOPICS)
    assert problems == {}
    assert runs.ids == IDS
    assert runs.predictions.tolist() == [[0, 1, 0], [0, 1, 0]]
    assert [cell.run_id for cell in runs.cells] == ["run0", "run1"]


def test_other_examples_are_refused(tmp_path):
    first = write(make_cell(tmp_path, 0))
    second = write(make_cell(tmp_path, 1), ["a", "b", "z"])
    with pytest.raises(UserError, match=r"example c is not in .*run1.*runtime\.runs_dir"):
        read_runs([first, second], TOPICS)
    fewer = write(make_cell(tmp_path, 2), ["a", "b"], LABELS[:2], LOGITS[:2])
    with pytest.raises(UserError, match=r"example c is not in .*run2"):
        read_runs([first, fewer], TOPICS)
    with pytest.raises(UserError, match=r"example c is not in .*run2"):
        read_runs([fewer, first], TOPICS)


def test_other_labels_are_refused(tmp_path):
    first = write(make_cell(tmp_path, 0))
    second = write(make_cell(tmp_path, 1), labels=np.array([0, 0, 1]))
    with pytest.raises(UserError, match="example b has another label"):
        read_runs([first, second], TOPICS)


def test_another_number_of_classes_is_refused(tmp_path):
    task = TaskConfig(name="topics", label_kind="multilabel", metric="micro_auc")
    first = write(make_cell(tmp_path, 0), labels=np.eye(3), outputs=np.eye(3, dtype=np.float32))
    second = write(make_cell(tmp_path, 1), labels=np.eye(3), outputs=np.eye(3, 4, dtype=np.float32))
    with pytest.raises(UserError, match="differ in their number of classes"):
        read_runs([first, second], task)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: pq.write_table(pa.table({"example_id": ["a"], "outputs": [[0.5]]}), path), "no column label"),
        (lambda path: write_predictions(path, ["a", "a", "c"], LABELS, LOGITS), "names an example twice"),
        (lambda path: write_predictions(path, IDS, LABELS, LOGITS * np.nan), "NaN or infinite outputs.*example a"),
        (lambda path: write_predictions(path, [], LABELS[:0], LOGITS[:0]), "no examples"),
        (lambda path: write_predictions(path, IDS, np.eye(3), LOGITS), "several labels or sums per example"),
    ],
)
def test_an_unusable_file_is_a_problem_of_its_run_alone(tmp_path, spoil, reason):
    good, bad = write(make_cell(tmp_path, 0)), write(make_cell(tmp_path, 1))
    spoil(bad.folder / "predictions" / "test.parquet")
    runs, problems = read_runs([bad, good], TOPICS)
    assert [cell.run_id for cell in runs.cells] == ["run0"]
    assert list(problems) == ["run1"]
    assert "\n" not in problems["run1"]
    assert re.search(reason, problems["run1"])


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.unlink(), "it is missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:100]), "magic bytes"),
        (lambda path: path.write_bytes(path.read_bytes()[:-2]), "magic bytes"),
        (lambda path: path.write_bytes(b""), "size is 0 bytes"),
    ],
)
def test_a_damaged_file_is_refused_with_what_to_delete(tmp_path, spoil, reason):
    good, bad = write(make_cell(tmp_path, 0)), write(make_cell(tmp_path, 1))
    spoil(bad.folder / "predictions" / "test.parquet")
    cure = rf"delete {bad.folder / 'status'} and run the command again"
    with pytest.raises(UserError, match=rf"test\.parquet is damaged \(.*{reason}.*\); {cure}") as refused:
        read_runs([good, bad], TOPICS)
    assert "\n" not in str(refused.value)


def test_lists_of_unequal_length_are_unreadable(tmp_path):
    path = tmp_path / "test.parquet"
    pq.write_table(pa.table({"example_id": ["a", "b"], "label": [0, 1], "outputs": [[0.5, 1.0], [0.5]]}), path)
    with pytest.raises(Unreadable, match="not all of one length"):
        load_predictions(path)


def test_a_label_that_is_missing_or_no_number_is_unreadable(tmp_path):
    path = tmp_path / "test.parquet"
    for labels, reason in (([0, None], "column label has empty values"), (["x", "y"], "label must hold numbers")):
        pq.write_table(pa.table({"example_id": ["a", "b"], "label": labels, "outputs": [[0.5], [1.0]]}), path)
        with pytest.raises(Unreadable, match=reason):
            load_predictions(path)


def test_reading_imports_no_pandas(tmp_path):
    cell = write(make_cell(tmp_path, 0))
    code = f"""import sys; from pathlib import Path; from selfpretrain.runs.predictions import load_predictions
load_predictions(Path({str(cell.folder / "predictions" / "test.parquet")!r})); sys.exit("pandas" in sys.modules)"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_no_usable_run(tmp_path):
    cell = write(make_cell(tmp_path), outputs=LOGITS * np.nan)
    runs, problems = read_runs([cell], TOPICS)
    assert runs is None
    assert len(problems) == 1
