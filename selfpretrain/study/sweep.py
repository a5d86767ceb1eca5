"""Carrying a study out: what there is to do, the waves, and one cell."""

from __future__ import annotations

import dataclasses
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from selfpretrain.config import Settings, StudyConfig, UserError
from selfpretrain.door import compose_settings, open_config
from selfpretrain.endings import Terminal, explain
from selfpretrain.runs import budget
from selfpretrain.runs.folder import Busy
from selfpretrain.study.cells import FINISHED, Cell, Job, group_seeds
from selfpretrain.study.facts import describe_data, describe_lengths
from selfpretrain.study.plan import StudyPlan

if TYPE_CHECKING:
    from selfpretrain.stages.finetune import Finetuning
    from selfpretrain.stages.pretrain import Pretraining

BUSY_WAIT_SECONDS = 2.0


def build_plan(settings: Settings, overrides: Sequence[str]) -> StudyPlan:
    """The plan of the study these command-line overrides describe."""
    chosen = [o for o in overrides if not o.startswith("model=")]

    def settings_of(model: str) -> Settings:
        return compose_settings("study", [*chosen, f"model={model}"])

    return StudyPlan(settings if settings.study.models else _with_models(settings), settings_of)


def _with_models(settings: Settings) -> Settings:
    return dataclasses.replace(settings, study=dataclasses.replace(settings.study, models=[settings.model.preset]))


def run_study(config: Any, overrides: list[str], launch: Callable[[list[str]], list[str]]) -> StudyPlan:
    """Run what is missing, wave by wave; returns the plan, for the report."""
    settings = open_config(config, overrides)
    if settings.study.cell is not None:
        raise UserError(f"study.cell={settings.study.cell} is set by the study itself; leave it out")
    console = Terminal()
    plan = build_plan(settings, overrides)
    describe(plan, console)
    if plan.is_provisional:
        run_wave("corpora", list(plan.corpora.values()), launch, console, plan.study, 1)
        plan = build_plan(settings, overrides)
        describe(plan, console)
    for name, cells in plan.iter_waves():
        open_cells = [cell for cell in cells if not cell.is_blocked]
        is_new = any(cell.status not in FINISHED for cell in open_cells)
        run_wave(name, open_cells, launch, console, plan.study, plan.study.seeds_per_process)
        if name == "corpora" and is_new:  # whose tokenizers now say how much of the texts fits
            print_lines(console, [f"data of {task}: {line}" for task, line in describe_lengths(plan)])
    return plan


def end_study(plan: StudyPlan) -> int:
    """Say how many cells are not done; returns the exit code."""
    failed = [
        c for cells in plan.count_cells().values() for c in cells if c.status not in FINISHED and not c.is_blocked
    ]
    if failed:
        print(f"{len(failed)} cells are not done; the same command tries them again", file=sys.stderr)
    return 1 if failed else 0


def run_wave(
    name: str,
    cells: list[Cell],
    launch: Callable[[list[str]], list[str]],
    console: Console,
    study: StudyConfig,
    seeds_per_process: int,
) -> None:
    """Launch the missing cells, each by its file; those another process is computing are asked for again until they
    are decided.
    """
    missing = [cell for cell in cells if cell.status not in FINISHED]
    if missing:
        console.print(f"[bold]{name}[/]: {len(missing)} of {len(cells)} cells to run", highlight=False)
    while missing:
        groups = group_seeds(missing, seeds_per_process)
        paths = [str(Job(study.name, tuple(group)).write()) for group in groups]
        statuses = [status for joined in launch(paths) for status in joined.split("+")]
        asked = [cell for group in groups for cell in group]
        missing = [cell for cell, status in zip(asked, statuses, strict=True) if status == "busy"]
        if missing:
            time.sleep(BUSY_WAIT_SECONDS)


def run_job(job: Job) -> str:
    """Carry out a job's cells; returns each one's status, joined by +.

    What cannot be done together, for whatever reason, is then done alone.
    """
    if len(job.cells) > 1:
        run_together(job.cells, job.study)
    return "+".join(cell.status if cell.status in FINISHED else run_cell(cell, job.study) for cell in job.cells)


def build_training(cell: Cell, group: str) -> Pretraining | Finetuning:
    """What a cell trains; UserError where it would be another run here than was planned."""
    from selfpretrain.stages.finetune import Finetuning
    from selfpretrain.stages.pretrain import Pretraining

    stage = Pretraining if cell.stage == "pretrain" else Finetuning
    training = stage(cell.settings, group, cell.name)
    if training.run.id != cell.id:
        raise UserError(
            f"{cell.name} is run {training.run.id} here and was planned as {cell.id}: its data have changed, or this "
            "machine's precision is another (then name pretrain.precision and finetune.precision)"
        )
    return training


def run_together(cells: Sequence[Cell], group: str) -> None:
    from selfpretrain.train.jobs import carry_out_together

    try:
        carry_out_together([build_training(cell, group) for cell in cells])
    except Exception as error:  # noqa: BLE001 - of all cells; each one's own follows
        names = ", ".join(cell.name for cell in cells)
        print(f"{names} failed together, now one by one: {type(error).__name__}: {error}", file=sys.stderr)
    for cell in cells:
        if cell.status == "diverged":
            print(f"{cell.name} diverged: {cell.run.note}", file=sys.stderr)


def run_cell(cell: Cell, group: str) -> str:
    """Carry one cell out and return its status: done, diverged, failed or busy.

    A corpus stops the study: everything stands on it. What is wrong with one training is that cell's failure, its
    input included; interruptions pass, and so does a folder that cannot be written, which the cell's status needs.
    """
    from selfpretrain.stages.corpus import prepare_corpus
    from selfpretrain.train.jobs import carry_out
    from selfpretrain.train.trainer import Diverged

    try:
        if cell.stage == "corpus":
            prepare_corpus(cell.settings)
        else:
            carry_out(build_training(cell, group), wait=False)
    except Busy:
        return "busy"
    except Diverged as error:
        print(f"{cell.name} diverged: {error}", file=sys.stderr)
    except Exception as error:
        if cell.stage == "corpus":
            raise
        explained = explain(error)
        reason = explained[0] if explained else f"{type(error).__name__}: {error}"
        try:
            with cell.run.lock(wait=False):
                if cell.run.status != "done":  # by another process, since this one let go of the run
                    cell.run.set_status("failed", reason if explained else f"{reason}\n{traceback.format_exc()}")
        except Busy:
            return "busy"
        print(f"{cell.name} failed: {reason}", file=sys.stderr)
    return cell.status


def describe(plan: StudyPlan, console: Console) -> None:
    """Print the cells, what is done, and the time the rest will take here."""
    waves = plan.count_cells()
    table = Table(title=f"study {plan.study.name}", title_justify="left")
    for column in ("wave", "cells", "done", "to run"):
        table.add_column(column, justify="left" if column == "wave" else "right")
    left = 0
    for name, cells in waves.items():
        counts = Counter(cell.status in FINISHED for cell in cells)
        left += counts[False]
        table.add_row(name, str(len(cells)), str(counts[True]), str(counts[False]))
    console.print(table)
    print_lines(console, [describe_choices(plan), *list_data(plan)])
    if left:
        from selfpretrain.study.cost import Costs
        from selfpretrain.study.probe import estimate_seconds

        estimate = estimate_seconds(plan, Costs(plan))
        open_runs = sum(estimate.unknown.values())
        rest = f"; without {open_runs} runs whose size is unknown until the corpora are built" if open_runs else ""
        console.print(
            f"estimated time on this machine: {estimate.total / 60:.0f} min (from a short probe{rest})",
            highlight=False, soft_wrap=True,
        )  # fmt: skip


def print_lines(console: Console, lines: Sequence[str]) -> None:
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def list_data(plan: StudyPlan) -> list[str]:
    """What is known of each task's data, lengths included, one line each."""
    lengths = describe_lengths(plan)
    lines = []
    for name, data in plan.data.items():
        lines += [*describe_data(data), *(f"data of {name}: {line}" for task, line in lengths if task == name)]
    return lines


def describe_choices(plan: StudyPlan) -> str:
    """What a study compares, in one line."""
    seeds = f"{plan.study.pretrain_seeds} pretraining x {plan.study.finetune_seeds} fine-tuning seeds"
    length = budget.describe(plan.settings.pretrain)
    return (
        f"models {', '.join(plan.study.models)}; tasks {', '.join(plan.tasks)}; conditions {', '.join(plan.conditions)}; "
        f"{seeds}; general text: {plan.general}" + (f"; budget: {length}" if length else "")
    )
