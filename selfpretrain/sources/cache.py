"""What was worked out once, kept beside the runs, so that the next process need not do it again.

    <runs_dir>/fingerprints/<key>    a fingerprint, as text
    <runs_dir>/tasks/<key>/          a task as it was read, checked and split: task.json  <split>.arrow (ids and texts)
                                     <split>.npy (labels; as text <split>.labels.arrow)  own.arrow (all its training text)

A key is of the settings and of the files' paths, sizes and times. It also holds the code of this package, so that a rule
that was changed is never answered from memory. Where nothing can be written everything is worked out anew.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from selfpretrain.config import TaskConfig
from selfpretrain.door import to_dataclass
from selfpretrain.files import CannotWrite, build_folder, make_folder, read_json, write_json, write_text
from selfpretrain.hashing import to_plain
from selfpretrain.sources.labelled import SPLITS, Split, TaskData

Documents = list[tuple[str, ...]]  # the text of all training rows, in the columns of the corpus


def remember(runs_dir: str, parts: Sequence[Any], paths: Sequence[Path] | None, compute: Callable[[], str]) -> str:
    """What ``compute`` gives, from memory where it was asked for before with these settings (``parts``) and files; where
    the files (``paths``) are not known, it is never remembered.
    """
    key = _compute_key(parts, paths)
    if key is None:
        return compute()
    file = Path(runs_dir) / "fingerprints" / key
    if file.is_file():
        return file.read_text(encoding="utf-8")
    value = compute()
    with suppress(CannotWrite):
        make_folder(file.parent)
        write_text(file, value)
    return value


def _compute_key(parts: Sequence[Any], paths: Sequence[Path] | None) -> str | None:
    """By which something is known that hangs on these settings and files; None where the files are not known."""
    if paths is None or not all(path.is_file() for path in paths):
        return None
    states = [[str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns] for path in paths]
    key = json.dumps([_hash_code(), [to_plain(part) for part in parts], states], sort_keys=True)
    return hashlib.sha256(key.encode()).hexdigest()[:24]


@cache
def _hash_code() -> str:
    code = b"".join(file.read_bytes() for file in sorted(Path(__file__).parent.glob("*.py")))
    return hashlib.sha256(code).hexdigest()


def keep_task(
    runs_dir: str, task: TaskConfig, paths: Sequence[Path] | None, load: Callable[[], tuple[TaskData, Documents]]
) -> Path | None:
    """The folder that has what ``load`` gives, made now if need be; None where its files are not known, or no folder can
    be written.
    """
    key = _compute_key(["task", task], paths)
    if key is None:
        return None
    try:
        return build_folder(Path(runs_dir) / "tasks" / key, lambda new: _save_task(*load(), new))
    except CannotWrite:
        return None


def _save_task(data: TaskData, documents: Documents, folder: Path) -> None:
    for name, split in data.splits.items():
        _write_columns(folder / f"{name}.arrow", [split.ids, *zip(*split.texts, strict=True)])
        if split.labels.dtype == object:
            _write_columns(folder / f"{name}.labels.arrow", [split.labels.tolist()])
        else:
            np.save(folder / f"{name}.npy", split.labels, allow_pickle=False)
    _write_columns(folder / "own.arrow", list(zip(*documents, strict=True)))
    facts = {"fingerprint": data.fingerprint, "notes": data.notes, "overlap": data.overlap}
    write_json(folder / "task.json", {"task": dataclasses.asdict(data.task), **facts})


def load_task(folder: Path) -> TaskData:
    """The task in a folder of :func:`keep_task`."""
    facts = read_json(folder / "task.json")
    task = to_dataclass(facts["task"], TaskConfig)
    splits = {}
    for name in SPLITS:
        ids, *texts = _read_columns(folder / f"{name}.arrow")
        labels = _load_labels(folder, name)
        splits[name] = Split(ids, list(zip(*texts, strict=True)), labels)
    return TaskData(task, splits, facts["fingerprint"], facts["notes"], tuple(facts["overlap"]))


def _load_labels(folder: Path, split: str) -> np.ndarray:
    written = folder / f"{split}.labels.arrow"
    if written.is_file():
        return np.array(_read_columns(written)[0], dtype=object)
    return np.asarray(np.load(folder / f"{split}.npy", allow_pickle=False))


def load_documents(folder: Path) -> Documents:
    """The text of all its training rows."""
    return list(zip(*_read_columns(folder / "own.arrow"), strict=True))


def _write_columns(path: Path, columns: Sequence[Sequence[str]]) -> None:
    table = pa.table([pa.array(column, pa.large_string()) for column in columns], [str(i) for i in range(len(columns))])
    with pa.ipc.new_file(path, table.schema) as file:
        file.write_table(table)


def _read_columns(path: Path) -> list[list[str]]:
    with pa.memory_map(str(path)) as source:
        return [column.to_pylist() for column in pa.ipc.open_file(source).read_all().columns]
