"""From a study's plan and its run folders to StudyResults."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import shlex
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfpretrain.data.vocabulary import describe_vocabulary, is_own
from selfpretrain.files import to_stem
from selfpretrain.overrides import to_typed
from selfpretrain.pretext import schedules
from selfpretrain.pretext.schedules import OF_RULE
from selfpretrain.runs import budget
from selfpretrain.runs.folder import read_starts
from selfpretrain.runs.results import (
    ABSENT,
    DIVERGED,
    FAILED,
    MISSING,
    CellResult,
    Groups,
    StudyResults,
    TransferResult,
)
from selfpretrain.sources.labelled import TaskData
from selfpretrain.study.audit import audit_study, list_held
from selfpretrain.study.chance import choose_levels, describe_chance
from selfpretrain.study.citations import list_citations
from selfpretrain.study.conditions import find_condition
from selfpretrain.study.cost import compare_pretraining, count_pretrain_flops
from selfpretrain.study.facts import describe_conditions, describe_data
from selfpretrain.study.pairs import list_comparisons
from selfpretrain.study.released import list_seeds

if TYPE_CHECKING:
    from selfpretrain.study.plan import Cell, Gap, StudyPlan

# what starts note, by its name in the report; the first of the keys that says something
_ORIGINS = {"machine": ["machine"], "commit": ["commit"], "selfpretrain version": ["selfpretrain"], "torch": ["torch"]}
_MIXABLE = {  # may move a result
    "device": ["gpu", "device"],
    "precision": ["precision"],
    "number of processes": ["world_size"],
    **{key: [key] for key in ("selfpretrain", "commit", "torch", "numpy", "tokenizers")},
}

# overrides that say how a study is carried out, not what it computes
OPERATIONAL = (
    "runtime.",
    "tracking",
    "study.cell",
    "study.seeds_per_process",
    "study.cells_per_job",
    "hydra",
    "+hydra",
    "++hydra",
    "~",
)


def collect_results(plan: StudyPlan, overrides: Sequence[str]) -> StudyResults:
    """Every fine-tuning cell with the state it is in now. A cell whose pretraining failed has failed with it."""
    cells = [_collect_cell(plan, cell, group.condition) for group in plan.groups for cell in group.choose_cells()]
    cells += [cell for gap in plan.gaps for cell in _collect_gap(plan, gap)]
    order = itertools.product(plan.init_schemes, plan.cards, plan.conditions)
    places = {key: place for place, key in enumerate(order)}
    cells.sort(key=lambda cell: places[cell.model, cell.task.partition("@")[0], cell.condition])
    study = dataclasses.replace(plan.study, general=plan.general, conditions=list(plan.conditions))
    tasks = plan.cards | {name: data.task for name, data in plan.data.items()}
    facts = collect_facts(plan, overrides)
    overlaps = {name: data.overlap for name, data in plan.data.items()}
    num_labels = {name: len(data.splits["train"].ids) for name, data in plan.data.items()}
    curve = _collect_curve(plan)
    checkpoints = _collect_checkpoints(plan)
    is_log = OF_RULE in study.checkpoints and schedules.is_log(plan.settings.pretrain.checkpoint_schedule)
    held: dict[str, dict[str, list[str]]] = {}
    if study.exclude_overlap:
        held = {name: list_held(audits) for name, audits in audit_study(plan).items()}
    flops = count_pretrain_flops(plan) if list_comparisons(study.pairs, study.conditions) else {}
    groups = {name: _collect_groups(data) for name, data in plan.data.items()}
    return StudyResults(
        study, tasks, cells, facts, plan.init_schemes, overlaps, num_labels, curve, checkpoints, is_log,
        describe_chance(plan.settings), _collect_transfers(plan), held, pretrain_flops=flops, groups=groups,
        citations=list_citations(plan),
    )  # fmt: skip


def _collect_checkpoints(plan: StudyPlan) -> list[tuple[int, CellResult]]:
    """All seeds' fine-tunings from the snapshots of their pretrainings and from the end, of conditions that have any."""
    found: list[tuple[int, CellResult]] = []
    for group in plan.groups if plan.study.checkpoints and not plan.is_provisional else []:
        if cells := plan.list_checkpoints(group):
            ends = group.choose_cells()
            config = plan.pretrainings[ends[0].settings.start.run_id or ""].settings.pretrain
            found += [
                (step, _collect_checkpoint(plan, cell, group.condition))
                for step, at_step in {**cells, config.total_steps: ends}.items()
                for cell in at_step
            ]
    return found


def _collect_checkpoint(plan: StudyPlan, cell: Cell, condition: str) -> CellResult:
    """As any cell; of one that can never be run since its pretraining has ended without keeping its start, why."""
    found, step = _collect_cell(plan, cell, condition), cell.settings.start.step
    if found.status != MISSING or step is None or plan.has_start(cell):
        return found
    return dataclasses.replace(found, note=f"its finished pretraining kept no encoder after {step} steps")


def _collect_groups(data: TaskData | None) -> Groups:
    """Of the examples that are scored. A run is named by its data, so that those hold for every finished one."""
    return {
        name: dict(zip(split.ids, split.groups.tolist(), strict=True))
        for name, split in (data.splits if data else {}).items()
        if split.groups is not None and name != "train"
    }


def _collect_curve(plan: StudyPlan) -> list[tuple[float, CellResult]]:
    """The first seed's fine-tunings from snapshots and from the end, beside the baseline's."""
    found: list[tuple[float, CellResult]] = []
    for group in plan.groups if plan.study.curve else []:
        end = group.choose_cells()[0]
        if cells := plan.list_curve(group):
            config = plan.pretrainings[end.settings.start.run_id or ""].settings.pretrain
            steps = {**cells, config.total_steps: end}
            amounts = {step * config.batch_size * config.seq_len: cell for step, cell in steps.items()}
        else:
            amounts = {0: end} if group.condition == plan.study.baseline else {}
        found += [(tokens, _collect_cell(plan, cell, group.condition)) for tokens, cell in amounts.items()]
    return found


def _collect_transfers(plan: StudyPlan) -> list[TransferResult]:
    """Every task's other test sets; an evaluation whose fine-tuning failed has failed with it."""
    found = []
    for key, task in plan.tasks.items():
        groups = [group for group in plan.groups if group.task == key]
        for transfer in plan.transfers.get(task.name, []):
            results = []
            for group in groups:
                trained = group.choose_cells()
                for before, cell in zip(trained, transfer.list_cells(trained), strict=bool(transfer.data)):
                    results.append(_collect_evaluation(_collect_cell(plan, before, group.condition), cell))
            groups_of = _collect_groups(transfer.data)
            found.append(TransferResult(key, transfer.task, transfer.problem, results, groups_of))
    return found


def _collect_evaluation(trained: CellResult, cell: Cell) -> CellResult:
    if trained.status in (FAILED, DIVERGED):
        note = f"its fine-tuning {trained.status}: {trained.note}"
        return dataclasses.replace(trained, run_id=cell.id, folder=cell.run.path, note=note)
    run = cell.run
    return dataclasses.replace(trained, run_id=cell.id, folder=run.path, status=run.status, note=run.note)


def _collect_cell(plan: StudyPlan, cell: Cell, condition: str) -> CellResult:
    run = cell.run
    status, note = run.status, run.note
    blocker = None if status == "done" else plan.pretrainings.get(cell.blocker or "")
    if blocker is not None:
        which = f" {blocker.condition}" if cell.before else ""  # of several
        status, note = blocker.status, f"its pretraining{which} {blocker.status}: {blocker.run.note}"
    scheme = "" if find_condition(condition).is_of_others else cell.settings.model.init_scheme
    seeds = (cell.pretrain_seed, cell.finetune_seed)
    levels = choose_levels(plan.study, find_condition(condition), cell.pretrain_seed)
    return CellResult(cell.model, condition, cell.task, *seeds, status, cell.id, note, run.path, scheme, levels)


def _collect_gap(plan: StudyPlan, gap: Gap) -> list[CellResult]:
    """The runs that there would be."""
    about = find_condition(gap.condition)
    return [
        CellResult(
            gap.model, gap.condition, gap.task, number, finetune_seed, ABSENT, "", gap.why, Path(), "",
            choose_levels(plan.study, about, number),
        )
        for number in list_seeds(plan.study, gap.condition)
        for finetune_seed in range(plan.study.finetune_seeds)
    ]  # fmt: skip


def choose_folder(plan: StudyPlan) -> Path:
    """<runs_dir>/reports/<study>-<id>, the id from the study's runs, so that two studies never share a folder."""
    ids = sorted(cell.id for group in plan.groups for cells in group.cells.values() for cell in cells.values())
    digest = hashlib.sha256("\n".join([*ids, str(plan.study.baseline), str(plan.study.reference)]).encode()).hexdigest()
    return Path(plan.settings.runtime.runs_dir) / "reports" / f"{to_stem(plan.study.name)}-{digest[:8]}"


def collect_facts(plan: StudyPlan, overrides: Sequence[str]) -> dict[str, str]:
    """What a reader needs to repeat the study: command, versions, machine, data; and how long it ran."""
    kept = [override for override in overrides if not override.startswith(OPERATIONAL)]
    runs = [*plan.pretrainings.values(), *(cell for group in plan.groups for cell in group.choose_cells())]
    started = {cell.run.path: read_starts(cell.run.path) for cell in runs}
    starts = [start for found in started.values() for start in found]
    stand_in = "" if plan.general == "bookwiki" else ", in the place of BookWiki"
    is_general = any(find_condition(condition).is_general for condition in plan.conditions)
    measured = [measure_seconds(path, found[-1]) for path, found in started.items() if found]
    facts = {
        "command": shlex.join(["selfpretrain", "study", *map(to_typed, kept)]),
        **{name: ", ".join(_list_values(starts, keys)) for name, keys in _ORIGINS.items()},
        "mixed": describe_mixture(starts),
        "vocabulary": describe_vocabularies(plan),
        "general text": plan.general + stand_in if is_general else "",
        **describe_conditions(plan),
        "budget": budget.describe(plan.settings.pretrain),
        "FLOPs of a pretraining": compare_pretraining(plan) if plan.pretrainings else "",
        **{f"data of {name}": "; ".join(facts) for name, facts in describe_data(plan).items()},
        "time": _describe_time([seconds for seconds in measured if seconds is not None]),
    }
    return {name: fact for name, fact in facts.items() if fact}


def describe_mixture(starts: Sequence[dict[str, Any]]) -> str:
    """In what the machines and versions of a study's runs differ, with which values; empty where they do not."""
    values = {name: _list_values(starts, keys) for name, keys in _MIXABLE.items()}
    differing = [f"{name} ({'; '.join(several)})" for name, several in values.items() if len(several) > 1]
    return f"the runs differ in {', '.join(differing)}" if differing else ""


def _list_values(starts: Sequence[dict[str, Any]], keys: Sequence[str]) -> list[str]:
    """The different values, each start's by itself or among its versions."""
    noted = ({**start.get("versions", {}), **start} for start in starts)
    return sorted({str(next(filter(None, map(start.get, keys)), "")) for start in noted} - {""})


def describe_vocabularies(plan: StudyPlan) -> str:
    """By model, whether its conditions share a vocabulary, and which."""
    cells = [group.choose_cells()[0] for group in plan.groups]
    words = {cell.model: "each released start its own" for cell in cells}
    for cell in cells:
        if not find_condition(cell.condition).released:
            c = cell.settings.tokenizer
            words[cell.model] = "each corpus its own" if is_own(c) else describe_vocabulary(c)
    return "; ".join(map(": ".join, words.items()))


def measure_seconds(folder: Path, provenance: dict[str, Any]) -> float | None:
    """From the start written down to the result file, by the runs that shared it; None while there is no result, and where
    the clock was set back meanwhile.
    """
    file = folder / "result.json"
    if not file.is_file() or "started" not in provenance:
        return None
    started = datetime.strptime(provenance["started"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    spent = file.stat().st_mtime - started.timestamp()
    return None if spent < 0 else spent / int(provenance.get("seeds_together", 1))


def _describe_time(seconds: Sequence[float]) -> str:
    total = sum(seconds)
    text = f"{total / 60:.0f} min" if total < 5400 else f"{total / 3600:.1f} h"
    text = f"{total:.0f} s" if total < 90 else text
    return f"{text} over {len(seconds)} runs (of an interrupted run, its last part)" if seconds else ""
