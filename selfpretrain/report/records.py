"""What the run folders of a study tell beside its results: how each run went, where and with what, and what it cost.

A page shows it. Commits, machines and times differ between equal studies, so none of it is in the summary.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from selfpretrain.config import iter_settings
from selfpretrain.data.store import read_manifest
from selfpretrain.report.collect import OPERATIONAL, measure_seconds
from selfpretrain.runs.folder import read_starts
from selfpretrain.runs.results import DIVERGED
from selfpretrain.study.conditions import find_condition
from selfpretrain.study.cost import Costs

if TYPE_CHECKING:
    from selfpretrain.study.cells import Cell
    from selfpretrain.study.plan import StudyPlan

BLOCKED = "blocked"  # what it stands on failed or diverged
MOST_POINTS, FEWEST_POINTS = 40, 12  # of a line
MOST_VALUES = 50_000  # of all lines together, about: a page has to stay small
MOST_RUNS = 6  # lines of a curve; of more runs their lowest, median and highest
MANY_RUNS = 300  # from which on that is so of fewer, too
LOSS = "loss"
_ORIGIN = ("selfpretrain", "commit", "machine", "device", "gpu", "precision", "world_size", "python")
_MEASURES = ("eval_loss", "eval_score")  # beside the loss


@dataclass(frozen=True)
class RunRecord:
    """One run, and whose it is: a pretraining may serve several tasks and conditions."""

    stage: str  # pretrain | finetune | evaluate
    name: str  # of a pretraining its text, else its task, with the checkpoint or the test set
    model: str
    tasks: tuple[str, ...]
    conditions: tuple[str, ...]
    pretrain_seed: int
    finetune_seed: int | None
    id: str
    status: str  # as in a run folder, or blocked
    note: str
    flops: float | None = None  # of all it computes, by formula; None: not known
    seconds: float | None = None  # of a finished run, its share where several were trained together
    started: str = ""
    origin: tuple[tuple[str, str], ...] = ()  # code, versions, machine and device of its last start, by name


@dataclass(frozen=True)
class Course:
    """A measure of the runs of one model, stage and condition (and task) by steps: a line each, or the range of all."""

    stage: str
    name: str
    model: str
    tasks: tuple[str, ...]
    conditions: tuple[str, ...]
    measure: str
    num_runs: int
    steps: list[float]
    lines: list[list[float | None]]  # [runs, steps], or [lowest median highest, steps]
    is_range: bool


@dataclass(frozen=True)
class Held:
    """What a text holds of a split of a task's evaluation examples, as its corpus noted it; of a released checkpoint's nothing
    is known.
    """

    text: str
    task: str
    split: str
    counts: dict[str, int]  # by measure; empty: not known


@dataclass(frozen=True)
class Records:
    """All of it."""

    runs: list[RunRecord]
    courses: list[Course] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)  # that have another value than their default
    watts: float | None = None  # report.watts


def collect_records(plan: StudyPlan) -> Records:
    """Every run of a plan that is not a corpus, in the order of its waves."""
    serves = _find_served(plan)
    cells = list({cell.key: cell for _, wave in plan.iter_waves() for cell in wave if cell.stage != "corpus"}.values())
    costs = Costs(plan)
    runs = [_record(cell, costs, *serves.get(cell.id, ((cell.task,), (cell.condition,)))) for cell in cells]
    ends = {cell.id for group in plan.groups for cell in group.choose_cells()}
    followed = [
        (cell, run) for cell, run in zip(cells, runs, strict=True) if cell.stage == "pretrain" or cell.id in ends
    ]
    return Records(
        runs, list(_iter_courses(followed)), list(_iter_held(plan)), _list_settings(plan), plan.settings.report.watts
    )


def _find_served(plan: StudyPlan) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """By run, the tasks and the conditions that it is of, or whose runs stand on it."""
    tasks: dict[str, dict[str, None]] = {}
    conditions: dict[str, dict[str, None]] = {}
    for group in plan.groups:
        for cell in group.choose_cells():
            for run_id in (cell.id, *cell.stands_on):
                tasks.setdefault(run_id, {})[group.task] = None
                conditions.setdefault(run_id, {})[group.condition] = None
    return {run_id: (tuple(tasks[run_id]), tuple(conditions[run_id])) for run_id in tasks}


def _record(cell: Cell, costs: Costs, tasks: tuple[str, ...], conditions: tuple[str, ...]) -> RunRecord:
    run, starts, work = cell.run, read_starts(cell.run.path), costs.compute_work(cell)
    status, note, last = run.status, run.note, starts[-1] if starts else {}
    if status not in ("done", DIVERGED) and (blocker := cell.blocker):
        blocking = costs.plan.pretrainings.get(blocker)
        why = f"pretraining {blocking.status}: {blocking.run.note}" if blocking else f"fine-tuning {blocker} failed"
        status, note = BLOCKED, f"its {why}"
    step = cell.settings.start.step
    suffix = f" after {step:,} steps" if step else f" on {cell.settings.task.name}" if cell.stage == "evaluate" else ""
    return RunRecord(
        cell.stage, cell.condition if cell.stage == "pretrain" else cell.task + suffix, cell.model, tasks, conditions,
        cell.pretrain_seed, None if cell.stage == "pretrain" else cell.finetune_seed, cell.id, status, note,
        work.flops, measure_seconds(cell.run.path, last) if last else None, str(last.get("started", "")),
        _describe_origin(last),
    )  # fmt: skip


def _describe_origin(start: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    noted = {name: str(start[name]) for name in _ORIGIN if start.get(name) not in (None, "")}
    return tuple({**noted, **{str(k): str(v) for k, v in start.get("versions", {}).items()}}.items())


# training curves


COURSES = (
    f"Of more than {MOST_POINTS} steps (of {FEWEST_POINTS} in studies of many runs) a point is the mean over a stretch of steps "
    "that ends there. Of runs that ended early what comes later has none: lowest, median and highest are of those that have a value."
)


def _iter_courses(runs: Sequence[tuple[Cell, RunRecord]]) -> Iterator[Course]:
    groups: dict[tuple[Any, ...], list[list[tuple[float, float]]]] = {}
    for cell, run in runs:
        file, key = cell.run.path / "metrics.jsonl", (run.stage, run.name, run.model, run.tasks, run.conditions)
        rows = list(_iter_rows(file)) if file.is_file() else []
        for measure in (LOSS, *_MEASURES):
            values = [(row["step"], row[measure]) for row in rows if math.isfinite(row.get(measure, math.nan))]
            if values:
                groups.setdefault((*key, measure), []).append(values)
    most = MOST_RUNS if len(runs) < MANY_RUNS else 3
    num_lines = sum(len(series) if len(series) <= most else 3 for series in groups.values())
    num_points = max(FEWEST_POINTS, min(MOST_POINTS, MOST_VALUES // max(1, num_lines)))
    for whose, series in groups.items():
        steps, lines = summarize_lines(series, num_points)
        is_range = len(lines) > most
        shown = [list(map(_round, line)) for line in (_find_range(lines) if is_range else lines)]
        stage, name, model, tasks, conditions, measure = whose
        yield Course(stage, name, model, tasks, conditions, measure, len(series), steps, shown, is_range)


def _iter_rows(file: Path) -> Iterator[dict[str, Any]]:
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:  # the line that a kill cut short is the last
            return


def summarize_lines(
    series: Sequence[Sequence[tuple[float, float]]], num_points: int = MOST_POINTS
) -> tuple[list[float], list[list[float | None]]]:
    """Lines of (step, value) on common steps, at most ``num_points``: means over equal stretches where there are more.

    Returns the steps (of a stretch its end), and [lines, steps] values, None where a line has none.
    """
    every = sorted({step for line in series for step, _ in line})
    ends = every
    if len(every) > num_points:
        ends = [every[-1] * (place + 1) / num_points for place in range(num_points)]
    lines = []
    for line in series:
        values: list[list[float]] = [[] for _ in ends]
        place = 0
        for step, value in sorted(line):
            while step > ends[place] and place < len(ends) - 1:
                place += 1
            values[place].append(value)
        lines.append([fmean(found) if found else None for found in values])
    kept = [place for place in range(len(ends)) if any(line[place] is not None for line in lines)]
    return [round(ends[place]) for place in kept], [[line[place] for place in kept] for line in lines]


def _find_range(lines: Sequence[Sequence[float | None]]) -> list[list[float | None]]:
    """Lowest, median and highest of the lines at each place."""
    at = [[value for value in values if value is not None] for values in zip(*lines, strict=True)]
    measures: tuple[Callable[[list[float]], float], ...] = (min, median, max)
    return [[measure(values) for values in at] for measure in measures]


def _round(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


# what is known of the texts and the settings


def _iter_held(plan: StudyPlan) -> Iterator[Held]:
    """By the manifests of the corpora that are built; that of a mix has it by part."""
    yield from (Held(key, "all", "all", {}) for key in plan.conditions if find_condition(key).is_of_others)
    for cell in plan.corpora.values():
        if cell.status != "done":
            continue
        manifest = read_manifest(cell.folder)
        for part in [{**manifest, **manifest["source"]}, *manifest["source"].get("parts", [])]:
            for split, counts in (part["audit"] or {}).items():
                yield Held(cell.condition, part["task"]["name"], split, counts)


def _list_settings(plan: StudyPlan) -> dict[str, str]:
    """Those that decide results, as the study has them before a model's or a task's own are taken."""
    defaults = {key: value for key, _, value in iter_settings(type(plan.settings)())}
    return {
        key: json.dumps(value, default=str, ensure_ascii=False)
        for key, _, value in iter_settings(plan.settings)
        if value != defaults[key] and not key.startswith((*OPERATIONAL, "tracking."))
    }
