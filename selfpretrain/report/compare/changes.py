"""What changed between two studies of the same cells: scores, what was decided, and how they were made.

Two studies that share seed numbers and test examples are not independent: the same luck is in both. An interval of a
difference and its p are therefore made of the predictions alone, within seeds and on the same examples
(:mod:`selfpretrain.stats.contrasts`). Where these are not here there are two intervals, and nothing is said of chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from selfpretrain.config import StudyConfig, TaskConfig, UserError
from selfpretrain.files import Damaged
from selfpretrain.kinds import KINDS
from selfpretrain.numbers import format_counted
from selfpretrain.report.compare.stored import Key, StoredCell, StoredReport, is_known
from selfpretrain.report.comparisons import Difference, compute_paired, correct, list_shared_seeds
from selfpretrain.runs.folder import open_run
from selfpretrain.runs.results import DONE, AlignedRuns, CellResult, read_runs
from selfpretrain.study.chance import choose_levels
from selfpretrain.study.conditions import find_condition

NAMES = ("A", "B")  # of the two studies
# what a difference rests on, where it is not on predictions
NOTHING, INTERVALS, EQUAL, SAME = "nothing", "two intervals", "two intervals, equal run by run", "the same runs"


@dataclass
class CellChange:
    """One cell of both studies."""

    key: Key
    cells: tuple[StoredCell, StoredCell]
    rests_on: str = ""  # what the difference rests on, in words
    reason: str = ""  # why on no more than that
    delta: float | None = None  # B - A
    difference: Difference | None = None  # the same with an interval, where the predictions of both are here

    @property
    def metric(self) -> str:
        return " / ".join(dict.fromkeys(str(cell.panel["metric"]) for cell in self.cells))


@dataclass(frozen=True)
class Change:
    """Something that was said or decided otherwise."""

    model: str
    task: str
    what: str
    before: str  # in A
    after: str  # in B


@dataclass(frozen=True)
class Comparison:
    """Of two studies, A and B."""

    reports: tuple[StoredReport, StoredReport]
    cells: list[CellChange]
    changes: list[Change]
    num_answers: int  # models and tasks of both
    alone: tuple[list[Key], list[Key]]  # cells that only A, and only B, has


def compare(reports: tuple[StoredReport, StoredReport], runs_dir: str) -> Comparison:
    """All that differs between two reports that have cells in common; ``runs_dir`` has the runs of a report that lies elsewhere
    than a study writes it.
    """
    first, second = reports
    common = [key for key in first.cells if key in second.cells]
    cells = [compare_cell(key, reports, runs_dir) for key in common]
    correct(cell.difference for cell in cells)
    places = [place for place in first.panels if place in second.panels]
    alone = (
        [key for key in first.cells if key not in second.cells],
        [key for key in second.cells if key not in first.cells],
    )
    return Comparison(reports, cells, list_changes(reports, places, common), len(places), alone)


# scores


def compare_cell(key: Key, reports: tuple[StoredReport, StoredReport], runs_dir: str) -> CellChange:
    """Scores of both and their difference, with an interval where their predictions are here."""
    first, second = (report.cells[key] for report in reports)
    found = CellChange(key, (first, second))
    scores = first.score, second.score
    if scores[0] is None or scores[1] is None:
        found.rests_on, lacking = NOTHING, [name for name, score in zip(NAMES, scores, strict=True) if score is None]
        found.reason = f"{' and '.join(lacking)} {'have' if len(lacking) > 1 else 'has'} no score"
        return found
    if first.panel["metric"] != second.panel["metric"]:
        found.rests_on, found.reason = NOTHING, "they are scored by two metrics"
        return found
    found.delta = scores[1].point - scores[0].point
    try:
        _pair(found, reports, runs_dir)
    except NotPaired as reason:
        is_equal = first.scores_by_run == second.scores_by_run
        found.rests_on, found.reason = EQUAL if is_equal else INTERVALS, str(reason)
    return found


class NotPaired(Exception):
    """Why a difference has no interval, in words."""


def _pair(found: CellChange, reports: tuple[StoredReport, StoredReport], runs_dir: str) -> None:
    """Fill in the difference paired by seed and example. Raises NotPaired."""
    settings = [choose_study(report) for report in reports]
    if settings[0].seed_factors != settings[1].seed_factors:
        raise NotPaired("other kinds of chance vary between the seeds")
    if any(cell.panel.get("num_groups") is not None for cell in found.cells):
        raise NotPaired("which test examples belong together is not stored with a report")
    if not is_known(found.key.condition):
        raise NotPaired("this version does not know the condition")
    task = choose_task(found)
    sides = [
        _list_cells(found.key, cell, report.runs_dir or Path(runs_dir), name, settings[0])
        for name, cell, report in zip(NAMES, found.cells, reports, strict=True)
    ]
    shared = set.intersection(*({cell.pretrain_seed for cell in side} for side in sides))
    if not shared:
        raise NotPaired("no seed number is in both")
    same = {cell.run_id for cell in sides[0]} & {cell.run_id for cell in sides[1]}
    if all(cell.run_id in same for side in sides for cell in side if cell.pretrain_seed in shared):
        has_more = any({cell.pretrain_seed for cell in side} != shared for side in sides)
        found.rests_on = f"{SAME}, but one has more of them" if has_more else SAME
        return
    runs, problems = _read(sides, task)
    if problems:
        raise NotPaired(problems)
    wider = max(settings, key=lambda study: study.confidence)
    paired = compute_paired(runs[::-1], (1, -1), str(task.metric), wider)
    assert paired is not None and shared == list_shared_seeds(runs)
    found.difference, found.delta = paired.difference, paired.difference.delta.point
    counts = [len({cell.pretrain_seed for cell in side}) for side in sides]
    of = "" if set(counts) == {len(shared)} else f" (of {counts[0]} and {counts[1]})"
    reused = f"; {len(same)} runs are the same" if same else ""
    found.rests_on = f"predictions, within {format_counted(len(shared), 'seed')}{of}{reused}"


def choose_study(report: StoredReport) -> StudyConfig:
    """How the report made its intervals."""
    factors = report.summary.get("seed_factors") or None
    seeds = {"seed_factors": factors, "pretrain_seeds": prod(factors.values())} if factors else {}
    numbers = {name: report.summary[name] for name in ("num_replicates", "confidence")}
    return StudyConfig(**numbers, **seeds)


def choose_task(found: CellChange) -> TaskConfig:
    """As far as reading predictions needs it: those of one metric are decoded alike, whatever the kind."""
    metric = str(found.cells[0].panel["metric"])
    kind = next((name for name, kind in KINDS.items() if metric in kind.metrics), None)
    if kind is None:
        raise NotPaired(f"how predictions are read for {metric} is not stored with a report")
    return TaskConfig(name=str(found.cells[0].panel["card"]), label_kind=kind, metric=metric)


def _list_cells(key: Key, cell: StoredCell, runs_dir: Path, name: str, study: StudyConfig) -> list[CellResult]:
    """The runs of one side, where they are. Raises NotPaired."""
    results = []
    for run in cell.runs:
        if not run.get("run_id"):
            raise NotPaired(f"the report of {name} does not name its runs (selfpretrain report writes it again)")
        folder = open_run(runs_dir, "finetune", run["run_id"])
        if folder.status != DONE:
            raise NotPaired(f"the runs of {name} are not here")
        seeds = int(run["pretrain_seed"]), int(run["finetune_seed"])
        levels = choose_levels(study, find_condition(key.condition), seeds[0])
        results.append(
            CellResult(key.model, key.condition, key.task, *seeds, DONE, run["run_id"], "", folder.path, levels=levels)
        )
    return results


def _read(sides: Sequence[Sequence[CellResult]], task: TaskConfig) -> tuple[list[AlignedRuns], str]:
    """The runs of both on the same examples in one order; or why that cannot be."""
    num_first = len(sides[0])
    try:
        aligned, problems = read_runs([*sides[0], *sides[1]], task)
    except Damaged as error:
        return [], f"predictions cannot be read: {error}"
    except UserError:
        return [], "the test examples are not the same"
    if aligned is None or problems:
        return [], "predictions cannot be read: " + next(iter(problems.values()))
    is_first = [place < num_first for place in range(len(aligned.cells))]
    return [aligned.keep(is_first), aligned.keep([not each for each in is_first])], ""


# what was said and decided


def list_changes(
    reports: tuple[StoredReport, StoredReport], places: Sequence[tuple[str, str]], common: Sequence[Key]
) -> list[Change]:
    """By model and task: the sentence, the decision behind it, states and effects of conditions, pairs compared by seed."""
    first, second = reports
    changes = []
    for place in places:
        panels = first.panels[place], second.panels[place]
        changes += _compare_words(place, "the sentence", [_get_answer(panel) for panel in panels])
        outcomes = [(panel.get("decision") or {}).get("outcome", "") for panel in panels]
        references = [str(report.summary["reference"]) for report in reports]
        against = references[0] if references[0] == references[1] else "the reference"
        changes += _compare_words(place, f"own against {against}", outcomes)
        for key in (key for key in common if key[:2] == place):
            cells = first.cells[key], second.cells[key]
            changes += _compare_words(place, f"state of {key.condition}", [cell.state for cell in cells])
            if first.summary["baseline"] == second.summary["baseline"]:
                what = f"{key.condition} against {first.summary['baseline']}"
                changes += _compare_words(place, what, [cell.effect for cell in cells])
        pairs = [_list_pairs(report, place) for report in reports]
        for name in (name for name in pairs[0] if name in pairs[1]):
            changes += _compare_words(place, f"{name}, by seed", [found[name] for found in pairs])
    return changes


def _compare_words(place: tuple[str, str], what: str, words: Sequence[str]) -> list[Change]:
    before, after = (word or "-" for word in words)
    return [Change(*place, what, before, after)] if before != after else []


def _get_answer(panel: Mapping[str, Any]) -> str:
    """The sentence behind the names of task and model."""
    return str(panel["verdict"]).partition(": ")[2]


def _list_pairs(report: StoredReport, place: tuple[str, str]) -> dict[str, str]:
    """The outcomes of what was compared seed by seed, by its name."""
    found = [each for each in report.summary.get("procedures", []) if (each["model"], each["task"]) == place]
    return {f"{each['first']} - {each['second']}": str(each["outcome"]) for each in found}
