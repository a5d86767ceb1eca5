"""The report as a run of the tracker: its tables, and its files as an artifact, without any text of the data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from selfpretrain.files import make_folder, write_text
from selfpretrain.report.blocks import Block, Facts, Figure, Notes, Sentence, Table, Title
from selfpretrain.report.columns import NA
from selfpretrain.report.findings import Summary
from selfpretrain.report.latex_tables import strip_part
from selfpretrain.report.record_tables import SETTINGS
from selfpretrain.tracking import Artifact, RunCard, build_tracker

if TYPE_CHECKING:
    from selfpretrain.study.plan import StudyPlan

LOCAL = "local"  # the loader of a file of the user's own
TOLD = (Title, Sentence, Table, Figure, Notes, Facts)  # kinds of block that hold numbers and names, no example's text


def mirror_report(
    plan: StudyPlan, summary: Summary, blocks: Sequence[Block], files: Sequence[Path],
    outputs: Mapping[str, Callable[[Sequence[Block]], str]],
) -> str:  # fmt: skip
    """Make a run of a report that is written, in the place of the one before; a line for the reader where something of it
    stays here, else empty.

    Args:
        files: what was written, in one folder.
        outputs: those of the files that hold the whole report, and how each is made of blocks.
    """
    if plan.settings.tracking.name == "none":
        return ""
    folder = files[0].parent
    config = {
        "stage": "report", "study": plan.study.name, "models": ", ".join(plan.study.models),
        "tasks": ", ".join(plan.tasks), "conditions": ", ".join(plan.conditions),
        "commit": summary.facts.get("commit", ""),
    }  # fmt: skip
    run_id = f"report-{folder.name.rpartition('-')[2]}"  # the same for the same cells
    tracker = build_tracker(
        plan.settings.tracking, RunCard(run_id, "report", plan.study.name, folder.name, config, folder)
    )
    own = {name for name, task in plan.tasks.items() if task.loader == LOCAL}
    told = [_leave_out_files(block, own) if own else block for block in blocks if isinstance(block, TOLD)]
    for table in told:
        if isinstance(table, Table) and not table.is_detail:
            tracker.add_table(table.name, table.csv_header, list_values(table))
    tracker.summarize(summarize_cells(summary))
    stored = choose_files(told, files, outputs)
    if own:
        stored.pop(f"{SETTINGS}.csv", None)
    left_out = ["the texts of examples"] if len(told) < len(blocks) else []
    left_out += [f"the command, the settings and the data of {', '.join(sorted(own))}"] if own else []
    if left_out:
        stored |= write_documents(told, make_folder(folder / "wandb" / "without_texts"), outputs)
    tracker.add_files(Artifact(folder.name, "report", stored))
    tracker.finish(0)
    return f"the tracker's report is without {' and '.join(left_out)}" if left_out else ""


def _leave_out_files(block: Block, own: Collection[str]) -> Block:
    """Without where files of the user's own lie, and what columns and classes they have."""
    if isinstance(block, Table) and block.name == SETTINGS:
        return replace(block, rows=(), csv_rows=())
    if not isinstance(block, Facts):
        return block
    names = {"command", *(f"data of {name}" for name in own)}
    facts, lasting = (
        {key: fact for key, fact in each.items() if key not in names} for each in (block.facts, block.lasting)
    )
    return replace(block, facts=facts, lasting=lasting)


def choose_files(blocks: Sequence[Block], files: Sequence[Path], outputs: Mapping[str, object]) -> dict[str, Path]:
    """Of a report's files the documents, and those of these tables and figures."""
    names = {block.name for block in blocks if isinstance(block, Table | Figure)}
    return {path.name: path for path in files if path.name in outputs or strip_part(path.stem) in names}


def write_documents(
    blocks: Sequence[Block], folder: Path, outputs: Mapping[str, Callable[[Sequence[Block]], str]]
) -> dict[str, Path]:
    """The documents made of these blocks alone."""
    for name, format_blocks in outputs.items():
        write_text(folder / name, format_blocks(blocks))
    return {name: folder / name for name in outputs}


def list_values(table: Table) -> list[list[str | float | None]]:
    """A table's rows; a column most of whose values are numbers has nothing else, so that it can be drawn."""
    columns = [_read_column(column) for column in zip(*table.csv_rows, strict=True)]
    return [list(row) for row in zip(*columns, strict=True)]


def _read_column(texts: Sequence[str]) -> list[str | float | None]:
    given = [text for text in texts if text not in (NA, "")]
    numbers = [_read_number(text) for text in texts]
    if 2 * sum(number is not None for number in numbers) > len(given):
        return [*numbers]
    return [None if text == NA else text for text in texts]


def _read_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def summarize_cells(summary: Summary) -> dict[str, int | float | str]:
    """Runs by their state, and what was decided of each task and model."""
    states: Counter[str] = Counter()
    for entry in summary.entries:
        states.update(entry.counts)
    found: dict[str, int | float | str] = {f"runs_{state}": count for state, count in states.items() if count}
    for panel in summary.panels:
        key = f"{panel.task}/{panel.model}"
        if panel.versus_reference:
            found[f"own_minus_reference/{key}"] = panel.versus_reference.delta.point
        if panel.decision:
            found[f"decision/{key}"] = panel.decision.outcome
    return found
