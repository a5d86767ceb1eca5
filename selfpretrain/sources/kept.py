"""A task as it was read, checked and split, kept so that the next process need not do it again.

    <runs_dir>/tasks/<key>/    task.json  <split>.arrow (ids and texts)  <split>.npy (labels)  own.arrow (all its training text)

Known by the files it came from, as :mod:`selfpretrain.sources.memo` has it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from selfpretrain.config import TaskConfig
from selfpretrain.door import to_dataclass
from selfpretrain.files import lock_folder, new_folder, read_json, write_json
from selfpretrain.sources.labelled import SPLITS, Split, TaskData


def save_task(data: TaskData, documents: list[tuple[str, ...]], folder: Path) -> None:
    """A task and the text of its training rows. Of two processes at once one writes; nothing half-written stays."""
    with lock_folder(folder, progress=False):
        if folder.is_dir():
            return
        with new_folder(folder) as new:
            for name, split in data.splits.items():
                _write_columns(new / f"{name}.arrow", [split.ids, *zip(*split.texts, strict=True)])
                np.save(new / f"{name}.npy", split.labels, allow_pickle=False)
            _write_columns(new / "own.arrow", list(zip(*documents, strict=True)))
            facts = {"fingerprint": data.fingerprint, "notes": data.notes, "overlap": data.overlap}
            write_json(new / "task.json", {"task": dataclasses.asdict(data.task), **facts})


def load_task(folder: Path) -> TaskData:
    """What :func:`save_task` wrote."""
    facts = read_json(folder / "task.json")
    task = to_dataclass(facts["task"], TaskConfig)
    splits = {name: _load_split(folder, name) for name in SPLITS}
    return TaskData(task, splits, facts["fingerprint"], facts["notes"], tuple(facts["overlap"]))


def _load_split(folder: Path, name: str) -> Split:
    ids, *texts = _read_columns(folder / f"{name}.arrow")
    labels = np.load(folder / f"{name}.npy", allow_pickle=False)
    return Split(ids, list(zip(*texts, strict=True)), labels)


def load_documents(folder: Path) -> list[tuple[str, ...]]:
    """The text of all training rows."""
    return list(zip(*_read_columns(folder / "own.arrow"), strict=True))


def _write_columns(path: Path, columns: Sequence[Sequence[str]]) -> None:
    table = pa.table([pa.array(column, pa.large_string()) for column in columns], [str(i) for i in range(len(columns))])
    with pa.ipc.new_file(path, table.schema) as file:
        file.write_table(table)


def _read_columns(path: Path) -> list[list[str]]:
    with pa.memory_map(str(path)) as source:
        return [column.to_pylist() for column in pa.ipc.open_file(source).read_all().columns]
