"""In what two studies were made differently: facts of their reports, sizes, and settings stored with their runs."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfpretrain.config import Settings, UserError, iter_settings
from selfpretrain.door import load_yaml
from selfpretrain.numbers import format_counted
from selfpretrain.report.compare.changes import CellChange, Comparison
from selfpretrain.report.compare.stored import StoredReport
from selfpretrain.runs.folder import open_run

NOTHING = "-"
ALL = "all"  # of the cells that both studies have
# sections that make a fine-tuning, and a pretraining; what stands in the others is not read by it
_OF_FINETUNING, _OF_PRETRAINING = ("model", "tokenizer", "task", "finetune"), ("objective", "pretrain", "corpus")
_NAMES = ("finetune.given", "finetune.recipe")  # how a value came in, not what it is
_MOST_NAMED = 3


@dataclass(frozen=True)
class Made:
    """One thing in which they differ."""

    name: str
    before: str  # in A
    after: str  # in B
    where: str = ""  # of which cells, where it is not the study's


def list_made(comparison: Comparison, runs_dir: str) -> tuple[list[Made], list[str]]:
    """All of it, and a note on what could not be read."""
    reports, cells = comparison.reports, comparison.cells
    settings, notes = _compare_settings(cells, reports, runs_dir)
    return [*_compare_studies(reports), *_compare_sizes(cells), *settings, *_compare_facts(reports)], notes


def _compare_studies(reports: Sequence[StoredReport]) -> list[Made]:
    names = ("baseline", "reference", "confidence", "num_replicates", "chance", "seed_factors")
    found = {name: [_write(report.summary.get(name)) for report in reports] for name in names}
    for place, name in enumerate(("models", "tasks", "conditions")):
        found[name] = [", ".join(dict.fromkeys(key[place] for key in report.cells)) for report in reports]
    return [Made(name, *values) for name, values in found.items() if values[0] != values[1]]


def _compare_sizes(cells: Sequence[CellChange]) -> list[Made]:
    """Seeds and runs behind the scores, and examples, with the cells that they are of."""
    sizes = {
        "pretraining seeds": lambda cell: cell.entry["num_seeds"],
        "runs": lambda cell: cell.entry["num_runs"],
        "test examples": lambda cell: cell.panel["num_examples"],
        "labelled examples": lambda cell: cell.panel["num_labels"],
        "metric": lambda cell: cell.panel["metric"],
    }
    differing: dict[tuple[str, str, str], list[CellChange]] = {}
    for name, count in sizes.items():
        for cell in cells:
            before, after = (_write(count(side)) for side in cell.cells)
            if before != after:
                differing.setdefault((name, before, after), []).append(cell)
    return [Made(*key, _name_cells(where, len(cells))) for key, where in differing.items()]


def _name_cells(cells: Sequence[CellChange], number: int) -> str:
    if len(cells) == number:
        return ALL
    named = [", ".join((cell.key.task, cell.key.model, cell.key.condition)) for cell in cells]
    more = f"; and {format_counted(len(named) - _MOST_NAMED, 'cell')} more" if len(named) > _MOST_NAMED else ""
    return "; ".join(named[:_MOST_NAMED]) + more


def _compare_facts(reports: Sequence[StoredReport]) -> list[Made]:
    """Of facts the clauses, and of a command the words, that the other has not."""
    first, second = (report.summary["facts"] for report in reports)
    tasks = [{key.task for key in report.cells} for report in reports]
    found = []
    for name in dict.fromkeys([*first, *second]):
        before, after = str(first.get(name, "")), str(second.get(name, ""))
        is_of_one = name.removeprefix("data of ") in tasks[0] ^ tasks[1]  # which task only one has is said elsewhere
        if before == after or is_of_one:
            continue
        split, join = (shlex.split, shlex.join) if name == "command" else (_split_clauses, "; ".join)
        sides = split(before), split(after)
        before, after = (join([part for part in one if part not in other]) for one, other in (sides, sides[::-1]))
        if before or after:  # else their order alone
            found.append(Made(name, before or NOTHING, after or NOTHING))
    return found


def _split_clauses(fact: str) -> list[str]:
    return fact.split("; ")


# settings stored with runs


def _compare_settings(
    cells: Sequence[CellChange], reports: Sequence[StoredReport], runs_dir: str
) -> tuple[list[Made], list[str]]:
    """By the first run of each cell on either side; equal runs have equal settings and are not read."""
    differing: dict[tuple[str, str, str], list[CellChange]] = {}
    unread = 0
    cache: dict[Path, dict[str, str] | None] = {}
    for cell in cells:
        ids = [next((run.get("run_id") for run in side.runs), None) for side in cell.cells]
        if not all(ids) or ids[0] == ids[1]:
            continue
        folders = [report.runs_dir or Path(runs_dir) for report in reports]
        sides = [_read_run(folder, str(run_id), cache) for folder, run_id in zip(folders, ids, strict=True)]
        if sides[0] is None or sides[1] is None:
            unread += 1
            continue
        for name in dict.fromkeys([*sides[0], *sides[1]]):
            before, after = (side.get(name, NOTHING) for side in sides if side is not None)
            if before != after:
                differing.setdefault((name, before, after), []).append(cell)
    made = [Made(*key, _name_cells(where, len(cells))) for key, where in differing.items()]
    notes = []
    if unread:
        notes.append(
            f"the stored settings of {format_counted(unread, 'cell')} are not here or cannot be read by this version"
        )
    return made, notes


def _read_run(runs_dir: Path, run_id: str, cache: dict[Path, dict[str, str] | None]) -> dict[str, str] | None:
    """The settings of a fine-tuning and of the pretraining that it starts from; None where they cannot be read."""
    path = open_run(runs_dir, "finetune", run_id).path / "config.yaml"
    if path not in cache:
        cache[path] = _load(path, runs_dir)
    return cache[path]


def _load(path: Path, runs_dir: Path) -> dict[str, str] | None:
    try:
        settings = load_yaml(path, Settings)
        found = _flatten(settings, _OF_FINETUNING)
        if settings.start.run_id is not None:
            before = load_yaml(open_run(runs_dir, "pretrain", settings.start.run_id).path / "config.yaml", Settings)
            found |= _flatten(before, _OF_PRETRAINING)
        return found
    except (UserError, OSError):
        return None


def _flatten(settings: Settings, sections: Iterable[str]) -> dict[str, str]:
    return {
        key: _write(value)
        for key, _, value in iter_settings(settings)
        if key.partition(".")[0] in sections and key not in _NAMES
    }


def _write(value: Any) -> str:
    if value is None or value == {}:
        return NOTHING
    return value if isinstance(value, str) else json.dumps(value)
