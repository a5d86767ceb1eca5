"""Predictions on disk: one Parquet file per split, one row per example."""

from __future__ import annotations

import io
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from selfpretrain.files import Damaged, make_folder, write_bytes
from selfpretrain.kinds import Array

COLUMNS = ("example_id", "label", "outputs")


def write_predictions(
    path: Path, ids: list[str], labels: Array, outputs: Array, answers: list[str] | None = None
) -> None:
    """``example_id``, ``label`` (integer, float or list of floats), ``outputs`` (float32: logits, the score, or what the
    metric adds up), and ``answer``, in words, where there are such.
    """
    columns = {
        "example_id": pa.array(ids, pa.string()),
        "label": pa.array(labels.tolist()),
        "outputs": pa.array(list(outputs), pa.list_(pa.float32())),
    }
    table = pa.table(columns if answers is None else {**columns, "answer": pa.array(answers, pa.string())})
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    make_folder(path.parent)
    write_bytes(path, buffer.getvalue())


@dataclass(frozen=True)
class Predictions:
    """One run on one split."""

    ids: list[str]
    labels: Array  # int64 [examples], float64 [examples], or float64 [examples, classes]
    outputs: Array  # float32 [examples, outputs]


class Unreadable(ValueError):
    """A predictions file that is not there, or not one of ours; the message is one line."""


def load_predictions(path: Path) -> Predictions:
    """Read one predictions file.

    Raises:
        Damaged: for one that was cut short, with what to delete so that the run makes it anew.
        Unreadable: for one that is missing or cannot be used, with the file and the reason in one line.
    """
    table = _read_table(path)
    lacking = [name for name in COLUMNS if name not in table.column_names]
    if lacking:
        raise Unreadable(f"{path} has no column {lacking[0]}; needed: {', '.join(COLUMNS)}")
    ids = [str(value) for value in table.column("example_id").to_pylist()]
    if not ids:
        raise Unreadable(f"{path} holds no examples")
    if len(set(ids)) < len(ids):
        raise Unreadable(f"{path} names an example twice")
    outputs = _to_matrix(path, "outputs", table.column("outputs"), np.float32)
    if not np.isfinite(outputs).all():
        row = int(np.argwhere(~np.isfinite(outputs))[0][0])
        raise Unreadable(f"{path} has NaN or infinite outputs, the first for example {ids[row]}")
    label = table.column("label")
    if pa.types.is_list(label.type):
        labels: Array = _to_matrix(path, "label", label, np.float64)
    else:
        labels = _to_numpy(path, "label", label.combine_chunks())
    return Predictions(ids, labels, outputs)


def load_answers(path: Path, ids: Container[str]) -> dict[str, str]:
    """By example, what was answered in words to those of ``ids``; none where no words were stored. Damaged and Unreadable as above."""
    table = _read_table(path)
    if "answer" not in table.column_names or "example_id" not in table.column_names:
        return {}
    rows = zip(table.column("example_id").to_pylist(), table.column("answer").to_pylist(), strict=True)
    return {str(example): str(answer) for example, answer in rows if str(example) in ids}


def _read_table(path: Path) -> pa.Table:
    try:
        # not read_table, which imports pandas; and without Arrow's threads, which may abort the interpreter at its exit
        with pq.ParquetFile(path) as file:
            return file.read(use_threads=False)
    except FileNotFoundError:
        raise Unreadable(f"{path} is missing although the run says done") from None
    except (pa.ArrowException, OSError) as error:
        raise Damaged(path, path.parents[1] / "status", str(error).splitlines()[0]) from None


def _to_matrix(path: Path, name: str, column: pa.ChunkedArray, dtype: Any) -> Array:
    """A column of equally long lists as [rows, length], without a Python loop over the rows."""
    if not pa.types.is_list(column.type):
        raise Unreadable(f"{path}: column {name} must hold lists of numbers, it holds {column.type}")
    lists = column.combine_chunks()
    lengths = _to_numpy(path, name, lists.value_lengths())
    if len(lengths) == 0 or (lengths != lengths[0]).any() or lengths[0] == 0:
        raise Unreadable(f"{path}: the lists of column {name} are empty or not all of one length")
    return _to_numpy(path, name, lists.flatten()).astype(dtype).reshape(len(lists), int(lengths[0]))


def _to_numpy(path: Path, name: str, array: pa.Array) -> Array:
    """Arrow's own to_numpy would import pandas, which takes longer than a report."""
    if array.null_count:
        raise Unreadable(f"{path}: column {name} has empty values")
    if not (pa.types.is_integer(array.type) or pa.types.is_floating(array.type)):
        raise Unreadable(f"{path}: column {name} must hold numbers, it holds {array.type}")
    return np.from_dlpack(array).copy()
