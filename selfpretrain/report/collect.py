"""From a study's plan and its run folders to StudyResults."""

from __future__ import annotations

import dataclasses
import hashlib
import shlex
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfpretrain.data.vocabulary import describe_vocabulary, is_own
from selfpretrain.overrides import to_typed
from selfpretrain.runs import budget
from selfpretrain.runs.provenance import read_starts
from selfpretrain.runs.results import DIVERGED, FAILED, CellResult, StudyResults
from selfpretrain.study.conditions import find_condition
from selfpretrain.study.cost import compare_pretraining
from selfpretrain.study.facts import describe_lengths

# what a start notes that may move a result, by its name in the report
MIXABLE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "device": lambda start: start.get("gpu") or start.get("device"),
    "precision": lambda start: start.get("precision"),
    "number of processes": lambda start: start.get("world_size"),
    "selfpretrain": lambda start: start.get("selfpretrain"),
    "commit": lambda start: start.get("commit"),
    "torch": lambda start: start.get("versions", {}).get("torch"),
    "numpy": lambda start: start.get("versions", {}).get("numpy"),
    "tokenizers": lambda start: start.get("versions", {}).get("tokenizers"),
}

if TYPE_CHECKING:
    from selfpretrain.study.plan import Cell, StudyPlan

# overrides that say how a study is carried out, not what it computes
_OPERATIONAL = ("runtime.", "tracking", "study.cell", "study.seeds_per_process", "hydra", "+hydra", "++hydra", "~")


def collect_results(plan: StudyPlan, overrides: Sequence[str]) -> StudyResults:
    """Every fine-tuning cell with the state it is in now. A cell whose pretraining failed has failed with it."""
    cells = [_collect_cell(plan, cell, group.condition) for group in plan.groups for cell in group.choose_cells()]
    study = dataclasses.replace(plan.study, general=plan.general, conditions=list(plan.conditions))
    tasks = {name: data.task for name, data in plan.data.items()}
    facts = collect_facts(plan, overrides)
    overlaps = {name: data.overlap for name, data in plan.data.items()}
    return StudyResults(plan.study.name, study, tasks, cells, facts, plan.init_schemes, overlaps)


def _collect_cell(plan: StudyPlan, cell: Cell, condition: str) -> CellResult:
    run = cell.run
    status, note = run.status, run.note
    pretraining = plan.pretrainings.get(cell.settings.start.run_id or "")
    if pretraining is not None and status != "done" and pretraining.status in (FAILED, DIVERGED):
        status, note = pretraining.status, f"its pretraining {pretraining.status}: {pretraining.run.note}"
    scheme = "" if find_condition(condition).is_released else cell.settings.model.init_scheme
    return CellResult(
        cell.model,
        condition,
        cell.task,
        cell.pretrain_seed,
        cell.finetune_seed,
        status,
        cell.id,
        note,
        run.path,
        scheme,
    )


def choose_folder(plan: StudyPlan) -> Path:
    """<runs_dir>/reports/<study>-<id>."""
    ids = sorted(cell.id for group in plan.groups for cells in group.cells.values() for cell in cells.values())
    digest = hashlib.sha256("\n".join([*ids, str(plan.study.baseline), str(plan.study.reference)]).encode()).hexdigest()
    name = "".join(character if character.isalnum() or character in "._-" else "_" for character in plan.study.name)
    return Path(plan.settings.runtime.runs_dir) / "reports" / f"{name}-{digest[:8]}"


def collect_facts(plan: StudyPlan, overrides: Sequence[str]) -> dict[str, str]:
    """What a reader needs to repeat the study: command, versions, machine, data; and how long it ran."""
    kept = [override for override in overrides if not override.startswith(_OPERATIONAL)]
    runs = [*plan.pretrainings.values(), *(cell for group in plan.groups for cell in group.choose_cells())]
    starts = {cell.run.path: (cell, read_starts(cell.run.path)) for cell in runs}
    provenances = [(cell, start) for cell, found in starts.values() for start in found]
    facts = {"command": shlex.join(["selfpretrain", "study", *map(to_typed, kept)])}
    for key, name in (("machine", "machine"), ("commit", "commit"), ("selfpretrain", "selfpretrain version")):
        values = sorted({str(provenance.get(key) or "") for _, provenance in provenances} - {""})
        if values:
            facts[name] = ", ".join(values)
    torch_versions = {str(provenance.get("versions", {}).get("torch", "")) for _, provenance in provenances} - {""}
    if torch_versions:
        facts["torch"] = ", ".join(sorted(torch_versions))
    if mixed := describe_mixture([provenance for _, provenance in provenances]):
        facts["mixed"] = mixed
    facts["vocabulary"] = describe_vocabularies(plan)
    if any(find_condition(condition).is_general for condition in plan.conditions):
        facts["general text"] = plan.general + ("" if plan.general == "bookwiki" else ", in the place of BookWiki")
    if length := budget.describe(plan.settings.pretrain):
        facts["budget"] = length
    if plan.pretrainings:
        facts["FLOPs of a pretraining"] = compare_pretraining(plan)
    lengths = describe_lengths(plan)
    for name, data in plan.data.items():
        cut = [line for task, line in lengths if task == name]
        facts[f"data of {name}"] = "; ".join([*data.notes, *cut])
    seconds = [
        spent for cell, found in starts.values() if found and (spent := _measure_seconds(cell, found[-1])) is not None
    ]
    if seconds:
        total = _format_duration(sum(seconds))
        facts["time"] = f"{total} over {len(seconds)} runs (of an interrupted run, its last part)"
    return facts


def describe_mixture(starts: Sequence[dict[str, Any]]) -> str:
    """In what the machines and versions of a study's runs differ, with which values; empty where they do not."""
    differing = []
    for name, get in MIXABLE.items():
        values = sorted({str(value) for start in starts if (value := get(start))})
        if len(values) > 1:
            differing.append(f"{name} ({'; '.join(values)})")
    return f"the runs differ in {', '.join(differing)}" if differing else ""


def describe_vocabularies(plan: StudyPlan) -> str:
    """By model, whether its conditions share a vocabulary, and which."""
    found: dict[str, str] = {}
    for group in plan.groups:
        cell = group.choose_cells()[0]
        config = cell.settings.tokenizer
        found[cell.model] = "each corpus its own" if is_own(config) else describe_vocabulary(config)
    return "; ".join(f"{model}: {text}" for model, text in found.items())


def _measure_seconds(cell: Cell, provenance: dict[str, Any]) -> float | None:
    """From the start written down to the result file, by the runs that shared it; None while there is no result."""
    file = cell.run.path / "result.json"
    if not file.is_file() or "started" not in provenance:
        return None
    started = datetime.strptime(provenance["started"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    return max(0.0, file.stat().st_mtime - started.timestamp()) / int(provenance.get("seeds_together", 1))


def _format_duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
