"""What was worked out once, kept beside the runs, so that the next process need not do it again.

    <runs_dir>/fingerprints/<key>    a fingerprint, as text, and on a second line its SHA-256
    <runs_dir>/tasks/<key>/          a task as it was read, checked and split: task.json  <split>-labels.npy  <split>-groups.npy; and as columns
                                     (selfpretrain.sources.strings) <split>-ids  <split>-<number> (texts)  own (its own text),
                                     and labels that are text; task.json holds the sizes of the others

A key is of the settings and of the files' paths, sizes and times, or the commit of the hub. It also holds the code of this package, so that a rule
that was changed is never answered from memory. What was cut short is made anew; where nothing can be written everything is.
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

from selfpretrain.config import TaskConfig
from selfpretrain.door import to_dataclass
from selfpretrain.files import CannotWrite, Damaged, build_folder, make_folder, read_json, write_json, write_text
from selfpretrain.hashing import to_plain
from selfpretrain.sources.arrays import save_array
from selfpretrain.sources.labelled import SPLITS, Split, TaskData
from selfpretrain.sources.strings import Strings, TextRows, write_strings

FACTS = "task.json"  # written last

Sources = Sequence[Path | str]  # files, and what is known by its name as it never changes, such as a commit


def remember(runs_dir: str, parts: Sequence[Any], sources: Sources | None, compute: Callable[[], str]) -> str:
    """What ``compute`` gives, from memory where it was asked for before with these settings (``parts``) and sources; where
    these are not known, it is never remembered.
    """
    key = _compute_key(parts, sources)
    if key is None:
        return compute()
    file = Path(runs_dir) / "fingerprints" / key
    if file.is_file():
        value, _, digest = file.read_text(encoding="utf-8").partition("\n")
        if digest == _digest(value):
            return value
    value = compute()
    with suppress(CannotWrite):
        make_folder(file.parent)
        write_text(file, f"{value}\n{_digest(value)}")
    return value


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


def _compute_key(parts: Sequence[Any], sources: Sources | None) -> str | None:
    """By which something is known that hangs on these settings and sources; None where these are not known."""
    if sources is None or not all(isinstance(source, str) or source.is_file() for source in sources):
        return None
    states = [source if isinstance(source, str) else _get_state(source) for source in sources]
    key = json.dumps([_hash_code(), [to_plain(part) for part in parts], states], sort_keys=True)
    return hashlib.sha256(key.encode()).hexdigest()[:24]


def _get_state(path: Path) -> list[Any]:
    return [str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns]


@cache
def _hash_code() -> str:
    code = b"".join(file.read_bytes() for file in sorted(Path(__file__).parent.glob("*.py")))
    return hashlib.sha256(code).hexdigest()


def keep_task(
    runs_dir: str, task: TaskConfig, sources: Sources | None, load: Callable[[], tuple[TaskData, TextRows | None]]
) -> Path | None:
    """The folder that has what ``load`` gives, made now if need be; None where its sources are not known, or no folder can
    be written.
    """
    key = _compute_key(["task", task], sources)
    if key is None:
        return None
    try:
        return build_folder(Path(runs_dir) / "tasks" / key, lambda new: _save_task(*load(), new), is_whole=_is_whole)
    except CannotWrite:
        return None


def _is_whole(folder: Path) -> bool:
    """Whether each file of a task has the size with which it was written."""
    try:
        sizes = read_json(folder / FACTS)["sizes"]
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, Damaged):  # also where a file stands in the folder's place
        return False


def _save_task(data: TaskData, documents: TextRows | None, folder: Path) -> None:
    num_texts = 0
    for name, split in data.splits.items():
        num_texts = len(split.texts[0])
        write_strings(folder / f"{name}-ids", split.ids)
        for number in range(num_texts):
            write_strings(folder / f"{name}-{number}", (texts[number] for texts in split.texts))
        _save_labels(folder / f"{name}-labels", split.labels)
        if split.groups is not None:
            save_array(folder / f"{name}-groups.npy", split.groups)
    if documents is not None:
        write_strings(folder / "own", (text for (text,) in documents))
    facts = {"fingerprint": data.fingerprint, "notes": data.notes, "overlap": data.overlap, "num_texts": num_texts}
    sizes = {file.name: file.stat().st_size for file in folder.iterdir()}
    write_json(folder / FACTS, {"task": dataclasses.asdict(data.task), "sizes": sizes, **facts})


def load_task(folder: Path) -> TaskData:
    """The task in a folder of :func:`keep_task`, its texts and ids mapped."""
    facts = read_json(folder / FACTS)
    task = to_dataclass(facts["task"], TaskConfig)
    splits = {}
    for name in SPLITS:
        texts = TextRows([Strings.load(folder / f"{name}-{number}") for number in range(facts["num_texts"])])
        labels = _load_labels(folder / f"{name}-labels")
        groups = None if task.group is None else np.load(folder / f"{name}-groups.npy", allow_pickle=False)
        splits[name] = Split(Strings.load(folder / f"{name}-ids"), texts, labels, groups)
    return TaskData(task, splits, facts["fingerprint"], facts["notes"], tuple(facts["overlap"]))


def _save_labels(stem: Path, labels: np.ndarray) -> None:
    if labels.dtype == object:
        write_strings(stem, labels)
    else:
        save_array(Path(f"{stem}.npy"), labels)


def _load_labels(stem: Path) -> np.ndarray:
    if Path(f"{stem}.utf8").is_file():
        return np.array([*Strings.load(stem)], dtype=object)
    return np.asarray(np.load(f"{stem}.npy", mmap_mode="c", allow_pickle=False))  # mapped, and still to be written to


def load_documents(folder: Path) -> TextRows:
    """The own text of the task in a folder, mapped."""
    return TextRows([Strings.load(folder / "own")])
