"""From a study's plan and its run folders to StudyResults."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfpretrain.files import read_json
from selfpretrain.study import budget
from selfpretrain.study.cost import compare_pretraining
from selfpretrain.study.facts import describe_lengths
from selfpretrain.study.results import DIVERGED, FAILED, CellResult, StudyResults

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
    pretraining = plan.pretrainings.get(cell.settings.init.removeprefix("run:"))
    if pretraining is not None and status != "done" and pretraining.status in (FAILED, DIVERGED):
        status, note = pretraining.status, f"its pretraining {pretraining.status}: {pretraining.run.note}"
    return CellResult(
        cell.model, condition, cell.task, cell.pretrain_seed, cell.finetune_seed, status, cell.id, note, run.path
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
    provenances = [(cell, read_json(file)) for cell in runs if (file := cell.run.path / "provenance.json").is_file()]
    facts = {"command": " ".join(["selfpretrain study", *kept])}
    for key, name in (("machine", "machine"), ("commit", "commit"), ("selfpretrain", "selfpretrain version")):
        values = sorted({str(provenance.get(key) or "") for _, provenance in provenances} - {""})
        if values:
            facts[name] = ", ".join(values)
    torch_versions = {str(provenance.get("versions", {}).get("torch", "")) for _, provenance in provenances} - {""}
    if torch_versions:
        facts["torch"] = ", ".join(sorted(torch_versions))
    if any(condition.startswith("bookwiki") for condition in plan.conditions):
        facts["general text"] = plan.general + ("" if plan.general == "bookwiki" else ", in the place of BookWiki")
    if length := budget.describe(plan.settings.pretrain):
        facts["budget"] = length
    if plan.pretrainings:
        facts["FLOPs of a pretraining"] = compare_pretraining(plan)
    lengths = describe_lengths(plan)
    for name, data in plan.data.items():
        cut = [line for task, line in lengths if task == name]
        facts[f"data of {name}"] = "; ".join([*data.notes, *cut])
    seconds = [spent for cell, provenance in provenances if (spent := _measure_seconds(cell, provenance)) is not None]
    if seconds:
        total = _format_duration(sum(seconds))
        facts["time"] = f"{total} over {len(seconds)} runs (of an interrupted run, its last part)"
    return facts


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
