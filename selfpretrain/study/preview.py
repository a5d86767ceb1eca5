"""``selfpretrain plan``: what a study will take, printed; nothing is run."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Column, Table

from selfpretrain.config import UserError
from selfpretrain.numbers import format_counted, format_score
from selfpretrain.runs.folder import describe_machine
from selfpretrain.stages.work import DISK_KINDS
from selfpretrain.study.cells import FINISHED, Cell, make_jobs
from selfpretrain.study.cost import Costs, list_once, measure_bytes
from selfpretrain.study.facts import list_conditions, list_data
from selfpretrain.study.plan import StudyPlan
from selfpretrain.study.power import Outlook, find_known, list_explanations, look_ahead
from selfpretrain.study.probe import LIMIT_SECONDS, Estimate, estimate_seconds
from selfpretrain.study.sweep import describe_choices

UNKNOWN = "unknown"
LIMIT_FACTOR = 2  # nodes differ, and a job that reaches its limit is queued again


def print_preview(plan: StudyPlan, console: Console) -> None:
    """Print the runs by wave with their FLOPs and hours, the disk they need, and how to read both; with ``power`` also what
    the study can find and what it would take.

    Raises UserError where nothing says what scores vary by, before anything is timed.
    """
    settings = plan.settings
    if settings.power is None and settings.components is not None:
        raise UserError("components says what scores vary by, for power; set power=.8, too, or leave it out")
    if settings.power is None and settings.detect != type(settings).detect:
        raise UserError("detect is the difference that power is for; set power=.8, too, or leave it out")
    known = find_known(plan) if settings.power is not None else {}
    costs, waves = Costs(plan), list_once(dict(plan.iter_waves()))
    estimate = estimate_seconds(plan, costs)
    console.print(build_work_table(plan, costs, waves, estimate))
    console.print(build_disk_table(costs, waves))
    lines = list_remarks(plan, waves, estimate)
    if known:
        is_new = not any(cell.status in FINISHED for cells in waves.values() for cell in cells)
        rows = look_ahead(plan, known, (estimate if is_new else estimate_seconds(plan, costs, anew=True)).cells)
        console.print(build_power_table(plan, rows))
        lines += list_explanations(plan, known, rows)
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def build_power_table(plan: StudyPlan, rows: Sequence[Outlook]) -> Table:
    """A row per model and task: what it can find as planned, and the cheapest seeds and fine-tunings for ``detect``."""
    settings = plan.settings
    title = f"to find a difference of {format_score(settings.detect)} with a chance of {settings.power:.0%}"
    columns = ("examples", "planned", "detectable", "alone", "cheapest", "hours")
    table = _build_table(title, "task, model", *columns)
    for row in rows:
        hours = UNKNOWN if row.seconds is None else f"{row.seconds / 3600:.2f}"
        sizes = [f"{design.seeds} x {design.finetunings}" if design else "-" for design in (row.planned, row.cheapest)]
        found = ["-" if value is None else format_score(value) for value in (row.detectable, row.alone)]
        name = ", ".join(filter(None, reversed(row.name)))
        examples = f"{row.num_examples:,}" if row.num_examples else ""
        table.add_row(name, examples, sizes[0], *found, sizes[1], hours if row.cheapest else "-")
    return table


def build_work_table(plan: StudyPlan, costs: Costs, waves: dict[str, list[Cell]], estimate: Estimate) -> Table:
    """A row per wave; a run that two waves share stands in the first. ``jobs``: what is left, as processes are asked to do it."""
    columns = ("cells", "done", "jobs", "FLOPs", "FLOPs left", "hours left")
    table = _build_table(f"plan of study {plan.study.name}", "wave", *columns)
    left = {name: [cell for cell in cells if cell.status not in FINISHED] for name, cells in waves.items()}
    jobs = {name: len(make_jobs(plan.study, cells)) for name, cells in left.items()}
    for name, cells in waves.items():
        seconds, unknown = estimate.seconds[name], estimate.unknown[name]
        table.add_row(*_build_row(costs, name, cells, left[name], jobs[name], seconds, unknown))
    table.add_section()
    every, open_cells = ([cell for cells in each.values() for cell in cells] for each in (waves, left))
    unknown = sum(estimate.unknown.values())
    table.add_row(*_build_row(costs, "all", every, open_cells, sum(jobs.values()), estimate.total, unknown))
    return table


def _build_row(
    costs: Costs, name: str, cells: list[Cell], left: list[Cell], jobs: int, seconds: float, num_unknown: int
) -> tuple[str, ...]:
    hours = _format_sum(f"{seconds / 3600:.2f}", num_unknown, num_unknown < len(left)) if left else "-"
    counts = (str(len(cells)), str(len(cells) - len(left)), str(jobs) if left else "-")
    return (name, *counts, _sum_flops(costs, cells), _sum_flops(costs, left), hours)


def _build_table(title: str, first: str, *others: str) -> Table:
    numbers = [Column(name, justify="right", no_wrap=True) for name in others]
    return Table(first, *numbers, title=title, title_justify="left")


def _sum_flops(costs: Costs, cells: Sequence[Cell]) -> str:
    flops = [costs.compute_work(cell).flops for cell in cells if cell.stage != "corpus"]
    known = [value for value in flops if value is not None]
    if not flops:
        return "-"
    return _format_sum(f"{sum(known):.2e}".replace("+", ""), flops.count(None), bool(known))


def _format_sum(known: str, num_unknown: int, has_known: bool) -> str:
    """A sum in which some terms may be unknown."""
    if num_unknown == 0:
        return known
    return f"over {known}" if has_known else UNKNOWN


def build_disk_table(costs: Costs, waves: dict[str, list[Cell]]) -> Table:
    """What the study's folders hold now, and what the unfinished runs will add."""
    there: Counter[str] = Counter()
    added: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    for cell in (cell for cells in waves.values() for cell in cells):
        held = measure_bytes(cell)
        there.update(held)
        if cell.status not in FINISHED:
            wanted = costs.compute_work(cell).disk
            unknown["corpora"] += not wanted
            added.update({kind: max(0, size - held.get(kind, 0)) for kind, size in wanted.items()})
    table = _build_table("disk, MB", "", "there", "to come")
    for sizes in (there, added, unknown):
        sizes["all"] = sizes.total()
    for kind in (*DISK_KINDS, "all"):
        to_come = _format_sum(f"{added[kind] / 1e6:,.1f}", unknown[kind], bool(added[kind]))
        table.add_row(kind, f"{there[kind] / 1e6:,.1f}", to_come, end_section=kind == DISK_KINDS[-1])
    return table


def list_remarks(plan: StudyPlan, waves: dict[str, list[Cell]], estimate: Estimate) -> list[str]:
    """What is compared, how the numbers were made, and what they cannot know yet."""
    lines = [
        describe_choices(plan),
        *list_conditions(plan),
        *list_data(plan),
        f"FLOPs: by formula, 2 per multiply-add, held-out passes included. Hours: one process on this machine "
        f"({describe_machine()}), from timing at most about {LIMIT_SECONDS:.0f} s of real steps. Disk: without logs.",
    ]
    corpora = [cell for cell in waves["corpora"] if cell.status not in FINISHED]
    if corpora:
        lines.append(
            f"{format_counted(len(corpora), 'corpus', 'corpora')} not built: until then the vocabulary is taken to be "
            "as large as asked for, four bytes of text to be a token, and a text cut to a size to have that size"
        )
    if waves["choosing rates and starts"]:
        lines.append(
            "the first runs of each learning rate and start are counted where they are chosen, not again as fine-tuning"
        )
    if limits := list_limits(plan, waves, estimate):
        lines.append(
            f"limits of Slurm's jobs on machines like this one, {LIMIT_FACTOR} times the longest: {' '.join(limits)}"
        )
    if estimate.caveat:
        lines.append(f"hours: {estimate.caveat}")
    unknown = [text for text, applies in (
        ("epochs of a collection without a limit on its size, until it is built",
         plan.settings.pretrain.budget == "epochs" and estimate.unknown["pretraining"] > 0),
        ("FLOPs of budgets in seconds, until their runs have begun", plan.settings.pretrain.budget == "seconds"),
        ("corpora without a limit on their size, until they are built", estimate.unknown["corpora"] > 0),
    ) if applies]  # fmt: skip
    if unknown:
        lines.append(f"{UNKNOWN}: {'; '.join(unknown)}")
    counts = Counter(cell.status for cells in waves.values() for cell in cells)
    for status, remark in (("failed", "tried again"), ("diverged", "counted as done"), ("running", "continued")):
        if counts[status]:
            lines.append(f"{format_counted(counts[status], 'run')} {status}: {remark}")
    return lines


def list_limits(plan: StudyPlan, waves: dict[str, list[Cell]], estimate: Estimate) -> list[str]:
    """By stage the launcher's setting of a job's minutes, from the longest job that is left and whose time is known."""
    longest: dict[str, float] = {}
    for cells in waves.values():
        for job in make_jobs(plan.study, [cell for cell in cells if cell.status not in FINISHED]):
            seconds = [estimate.cells.get((cell.stage, cell.name)) for cell in job.cells]
            stage, total = job.cells[0].stage, sum(filter(None, seconds))
            if None not in seconds:
                longest[stage] = max(longest.get(stage, 0.0), total)
    minutes = {stage: math.ceil(LIMIT_FACTOR * seconds / 60) for stage, seconds in longest.items()}
    return [f"hydra.sweeper.resources.{stage}.timeout_min={value}" for stage, value in minutes.items()]
