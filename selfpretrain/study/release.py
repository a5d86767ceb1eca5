"""``selfpretrain release``: a study's finished pretrainings, a folder of transformers for every seed and kept checkpoint.

A folder is called ``<prefix>-<model>-<text>-seed_<n>-step_<steps>``, of model and text what varies in the study, and of
the end without its steps, as ``google/multiberts-seed_0`` is beside ``google/multiberts-seed_0-step_900k`` [MultiBERTs].
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from filelock import FileLock

from selfpretrain.config import UserError
from selfpretrain.files import explain_write_errors, make_folder
from selfpretrain.runs import identity
from selfpretrain.stages.export import export_checkpoint
from selfpretrain.stages.lineage import Checkpoint, list_checkpoints
from selfpretrain.stages.manifest import (
    INDEX,
    MANIFEST,
    check_files,
    name_seeds,
    name_step,
    read_manifest,
    write_index,
    write_manifest,
)
from selfpretrain.study.cells import Cell
from selfpretrain.study.plan import StudyPlan


@dataclass(frozen=True)
class Entry:
    """A folder of a release."""

    name: str
    checkpoint: Checkpoint
    predecessor: str | None = None  # the name of what it was trained on from


def release(plan: StudyPlan) -> list[Path]:
    """Write what is finished into ``runtime.release_dir``; what is there already, and whole, stays.

    A folder is whole or not there at any time, so that the same command goes on where it was stopped. Raises UserError
    where nothing is finished, and for a folder that holds something else.
    """
    runtime = plan.settings.runtime
    entries, root = list_entries(plan, runtime.release_prefix), Path(runtime.release_dir)
    if not entries:
        raise UserError(f"study={plan.study.name} has no finished pretraining to release; run selfpretrain study first")
    _list_names(root)  # refuses the folder of a checkpoint before anything is written there
    whole = make_folder(root).resolve()  # which has a name, as "." has not
    with explain_write_errors(whole), FileLock(whole.with_name(f"{whole.name}.lock")):
        for entry in entries:
            write_entry(root, entry)
        names = [name for name in _list_names(root) if (root / name / MANIFEST).is_file()]
        write_index(root, sorted({*names, *(entry.name for entry in entries)}))
    return [root / entry.name for entry in entries]


def _list_names(root: Path) -> list[str]:
    """The checkpoints of the index, none where there is none yet; UserError where it is not that of a release."""
    return list(read_manifest(root, INDEX)["checkpoints"]) if (root / MANIFEST).exists() else []


def write_entry(root: Path, entry: Entry) -> None:
    """A checkpoint's folder, unless it is there."""
    folder, checkpoint = root / entry.name, entry.checkpoint
    if folder.exists():
        found = check_files(folder)
        if (found["run"], found["step"]) != (checkpoint.run.id, checkpoint.step):
            raise UserError(
                f"{folder} is run:{found['run']}@{found['step']}, not run:{checkpoint.run.id}@{checkpoint.step}; set another "
                "runtime.release_dir"
            )
        return
    before = root / entry.predecessor if entry.predecessor else None
    complete = partial(
        write_manifest, name=entry.name, checkpoint=checkpoint, predecessor=entry.predecessor, before=before
    )
    export_checkpoint(folder, checkpoint, entry.predecessor or "", complete)


def list_entries(plan: StudyPlan, prefix: str) -> list[Entry]:
    """Every checkpoint of every finished pretraining, each after those that it descends from."""
    if wrong := re.sub(r"[\w.-]", "", prefix, flags=re.ASCII) or not prefix:
        raise UserError(f"runtime.release_prefix={prefix} has {wrong!r}; allowed: letters, digits, _ . and -")
    entries: list[Entry] = []
    ends: dict[str, str] = {}  # the name of each run's last checkpoint
    for cell, stem in iter_stems(plan, prefix):
        if cell.status != "done":
            continue
        predecessor = ends.get(cell.settings.start.run_id or "")
        for checkpoint in list_checkpoints(cell.run):
            entries.append(Entry(stem + name_step(checkpoint.step, checkpoint.is_last), checkpoint, predecessor))
            predecessor = entries[-1].name
        ends[cell.id] = entries[-1].name
    return entries


def iter_stems(plan: StudyPlan, prefix: str) -> Iterator[tuple[Cell, str]]:
    """The study's pretrainings, each with its name but for the step; UserError where two would have one name."""
    cells = list(plan.pretrainings.values())
    texts = {cell.id: _name_text(cell, cells) for cell in cells}
    models = {cell.model for cell in cells}
    names: dict[str, str] = {}
    for cell in cells:
        model = cell.model if len(models) > 1 else ""
        text = texts[cell.id] if len(set(texts.values())) > 1 else ""
        seeds = name_seeds(identity.get_pretrain_seeds(cell.settings.seeds))
        stem = "-".join(filter(None, (prefix, model, text, seeds)))
        if (other := names.setdefault(stem, cell.id)) != cell.id:
            raise UserError(f"run:{other} and run:{cell.id} would both be released as {stem}; release them by export")
        yield cell, stem


def _name_text(cell: Cell, cells: list[Cell]) -> str:
    """What a pretraining has read, as a part of a file's name; with its task where that alone tells two apart."""
    tasks = {each.settings.task.name for each in cells if (each.model, each.condition) == (cell.model, cell.condition)}
    words = f"{cell.condition} of {cell.settings.task.name}" if len(tasks) > 1 else cell.condition
    return re.sub(r"[^\w.+]+", "_", words, flags=re.ASCII).strip("_")
