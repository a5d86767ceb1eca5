"""Carrying a study out: what there is to do, and one job of it."""

from __future__ import annotations

import dataclasses
import sys
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Column, Table

from selfpretrain.config import Settings, UserError
from selfpretrain.door import compose_settings, open_config
from selfpretrain.endings import FAILED, Terminal, explain
from selfpretrain.overrides import to_typed
from selfpretrain.runs import budget
from selfpretrain.runs.folder import Busy
from selfpretrain.study import ranks
from selfpretrain.study.cells import FINISHED, Cell, Job
from selfpretrain.study.conditions import find_condition
from selfpretrain.study.crew import Crew
from selfpretrain.study.dispatch import carry_out
from selfpretrain.study.facts import describe_lengths, list_conditions, list_data
from selfpretrain.study.flow import Flow
from selfpretrain.study.plan import StudyPlan
from selfpretrain.study.released import list_seeds
from selfpretrain.study.watch import Watch

if TYPE_CHECKING:
    from selfpretrain.stages.finetune import Finetuning
    from selfpretrain.stages.pretrain import Pretraining
    from selfpretrain.study.probe import Estimate


def build_plan(settings: Settings, overrides: Sequence[str]) -> StudyPlan:
    """The plan of the study these command-line overrides describe.

    UserError for a setting of a task where a preset or a file names the tasks, none of which it would be of.
    """
    idle = next((to_typed(o) for o in overrides if o.startswith(("task=", "task."))), None)
    if settings.study.tasks and idle and not any(o.startswith("study.tasks=") for o in overrides):
        raise UserError(
            f"{idle} would change nothing: this study names its tasks with their settings in study.tasks; change them there, "
            "or give study.tasks=[...]"
        )
    chosen = [o for o in overrides if not o.startswith("model=")]
    study = settings.study
    # several tasks on a command line have no common name
    study = dataclasses.replace(study, name=study.name or "unnamed", models=study.models or [settings.model.preset])
    settings = dataclasses.replace(settings, study=study)
    return StudyPlan(settings, lambda model: compose_settings("study", [*chosen, f"model={model}"]))


def run_study(config: Any, overrides: list[str], crew: Crew) -> StudyPlan:
    """Run what is missing; returns the plan, for the report."""
    settings = open_config(config, overrides)
    if settings.study.cell is not None:
        raise UserError(f"study.cell={settings.study.cell} is set by the study itself; leave it out")
    plan = build_plan(settings, overrides)
    watch = Watch(plan, describe(plan))
    is_new = any(cell.status not in FINISHED for cell in plan.corpora.values())
    carry_out(Flow.of_corpora(plan), crew, watch)
    if plan.is_provisional:
        plan = build_plan(settings, overrides)
        watch = Watch(plan, describe(plan))
    if is_new:  # their tokenizers now say how much of the texts fits
        print("\n".join(f"data of {task}: {line}" for task, cut in describe_lengths(plan).items() for line in cut))
    carry_out(Flow.of_runs(plan), crew, watch)
    return plan


def end_study(plan: StudyPlan) -> None:
    """Say how many cells are not done and whose data are missing, if any, and exit with 1 then."""
    every = [cell for _, cells in plan.iter_waves() for cell in cells]
    failed = sum(cell.status not in FINISHED and not cell.is_blocked for cell in every)
    if failed:
        print(f"{failed} cells are not done; the same command tries them again", file=sys.stderr)
    if plan.missing:
        names = ", ".join(plan.missing)
        print(f"missing: the data of {names}; the same command goes on with them once they are here", file=sys.stderr)
    if failed or plan.missing:
        raise SystemExit(FAILED)  # Hydra drops what a sweep returns


def run_job(job: Job) -> str:
    """Carry out a job's cells; returns each one's status, joined by +."""
    return "+".join(status for group in job.groups for status in _run_group(group, job.study))


def _run_group(cells: Sequence[Cell], study: str) -> list[str]:
    """What cannot be done together, for whatever reason, is then done alone."""
    if len(cells) > 1:
        from selfpretrain.train.engine import carry_out_together

        try:
            carry_out_together([build_training(cell, study) for cell in cells])
        except Exception as error:  # noqa: BLE001 - of all cells; each one's own follows
            names = ", ".join(cell.name for cell in cells)
            print(f"{names} failed together, now one by one: {type(error).__name__}: {error}", file=sys.stderr)
    return [cell.status if cell.status in FINISHED else run_cell(cell, study) for cell in cells]


def build_training(cell: Cell, group: str) -> Pretraining | Finetuning:
    """What a cell trains; UserError where it would be another run here than was planned."""
    from selfpretrain.stages.finetune import Finetuning
    from selfpretrain.stages.pretrain import Pretraining

    stage = Pretraining if cell.stage == "pretrain" else Finetuning
    training = stage(cell.settings, cell.describe(group))
    check_id(cell, training.run.id)
    return training


def check_id(cell: Cell, found: str) -> None:
    """UserError where a cell is another run here than was planned."""
    if found != cell.id:
        raise UserError(
            f"{cell.name} is run {found} here and was planned as {cell.id}: its data have changed, or this machine's precision "
            "is another; start the study again, or name pretrain.precision and finetune.precision"
        )


def run_cell(cell: Cell, group: str) -> str:
    """Carry one cell out and return its status: done, diverged, failed or busy.

    A corpus stops the study: everything stands on it. What is wrong with one training is that cell's failure, its
    input included; interruptions pass, and so does a folder that cannot be written, which the cell's status needs.
    """
    from selfpretrain.stages.corpus import prepare_corpus
    from selfpretrain.stages.evaluate import evaluate
    from selfpretrain.train import engine

    if cell.stage in ("pretrain", "finetune") and ranks.are_wanted(cell.settings.runtime):
        return ranks.run_cell(cell, group)
    try:
        if cell.stage == "corpus":
            prepare_corpus(cell.settings)
        elif cell.stage == "evaluate":
            check_id(cell, evaluate(cell.settings, wait=False, caption=cell.describe(group)).id)
        else:
            engine.carry_out(build_training(cell, group), wait=False)
    except Busy:
        return "busy"
    except Exception as error:
        if cell.stage == "corpus":
            raise
        explained = explain(error)
        note = explained[0] if explained else f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
        try:
            with cell.run.lock(wait=False):
                if cell.status not in FINISHED:  # it diverged, or another process has done it since
                    cell.run.set_status("failed", note)
        except Busy:
            return "busy"
    return cell.status


def describe(plan: StudyPlan) -> Estimate | None:
    """Print the cells, what is done, and the time the rest will take here, which is returned; None where nothing is left."""
    counts = [Column(name, justify="right") for name in ("cells", "done", "to run")]
    table = Table("wave", *counts, title=f"study {plan.study.name}", title_justify="left")
    left = 0
    for name, cells in plan.iter_waves():
        done = sum(cell.status in FINISHED for cell in cells)
        left += len(cells) - done
        table.add_row(name, *map(str, (len(cells), done, len(cells) - done)))
    Terminal().print(table)
    print("\n".join([describe_choices(plan), *list_conditions(plan), *list_data(plan)]))
    if not left:
        return None
    from selfpretrain.study.cost import Costs
    from selfpretrain.study.probe import estimate_seconds

    estimate = estimate_seconds(plan, Costs(plan))
    open_runs = sum(estimate.unknown.values())
    rest = f"; without {open_runs} runs whose size is unknown until the corpora are built" if open_runs else ""
    rest += f"; {estimate.caveat}" if estimate.caveat else ""
    print(f"estimated time on this machine: {estimate.total / 60:.0f} min (from a short probe{rest})")
    return estimate


def describe_choices(plan: StudyPlan) -> str:
    """What a study compares, in one line."""
    factors = " x ".join(f"{number} {name}" for name, number in (plan.study.seed_factors or {}).items())
    counts = {key: len(list_seeds(plan.study, key)) for key in plan.conditions if find_condition(key).released}
    own = [str(plan.study.pretrain_seeds)] if len(counts) < len(plan.conditions) else []
    pretrainings = ", ".join([*own, *(f"{count} of {key}" for key, count in counts.items())])
    pretraining = f"pretraining ({factors})" if factors else "pretraining"
    seeds = f"{pretrainings} {pretraining} x {plan.study.finetune_seeds} fine-tuning seeds"
    length = budget.describe(plan.settings.pretrain)
    tasks = [*plan.tasks, *(f"{name} (missing)" for name in plan.cards if name in plan.missing)]
    return (
        f"models {', '.join(plan.study.models)}; tasks {', '.join(tasks)}; conditions {', '.join(plan.conditions)}; "
        f"{seeds}; general text: {plan.general}" + (f"; budget: {length}" if length else "")
    )
