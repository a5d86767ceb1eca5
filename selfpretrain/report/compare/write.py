"""A comparison of two studies as blocks, on disk and in the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock
from rich.console import Console
from rich.text import Text

from selfpretrain.config import Settings
from selfpretrain.files import explain_write_errors, make_folder, replace_files, to_stem
from selfpretrain.numbers import format_counted, format_score, format_signed
from selfpretrain.report.blocks import Block, Notes, Sentence, Table, Title
from selfpretrain.report.columns import (
    NA,
    NOT_APPLICABLE,
    P_VALUE,
    Cell,
    build_table,
    fill_difference,
    list_interval,
    name_interval,
)
from selfpretrain.report.compare.changes import INTERVALS, NAMES, SAME, CellChange, Comparison, compare
from selfpretrain.report.compare.made import Made, list_made
from selfpretrain.report.compare.stored import PREFIX, StoredCell, read_reports
from selfpretrain.report.terminal import print_report
from selfpretrain.report.write import format_files


def write_comparison(settings: Settings, console: Console) -> Path:
    """Compare the two reports that ``report.compare`` names, save what differs and print it; returns the folder."""
    runs_dir = settings.runtime.runs_dir
    reports = read_reports(str(settings.report.compare), runs_dir)
    comparison = compare(reports, runs_dir)
    blocks = build_blocks(comparison, *list_made(comparison, runs_dir))
    folder = Path(runs_dir) / "reports" / to_stem(f"{PREFIX}{reports[0].name}_{reports[1].name}")
    content = format_files(blocks)
    make_folder(folder)
    with explain_write_errors(folder), FileLock(f"{folder}.lock"):
        replace_files(folder, content)
    print_report(blocks, console)
    console.print(Text(f"written to {folder}: {', '.join(content)}"), soft_wrap=True)
    return folder


def build_blocks(comparison: Comparison, made: Sequence[Made], notes: Sequence[str]) -> list[Block]:
    """What changed in one sentence, the tables, and how to read them."""
    tables = [build_score_table(comparison.cells)]
    if comparison.changes:
        tables.append(build_change_table(comparison))
    if any(comparison.alone):
        tables.append(build_alone_table(comparison))
    if made:
        tables.append(build_made_table(made))
    names = [f"{name} = {report.name}" for name, report in zip(NAMES, comparison.reports, strict=True)]
    return [
        Title(f"Comparison: {', '.join(names)}"),
        Sentence(_compose(comparison), tuple(_list_evidence(comparison))),
        *tables,
        Notes(tuple(_explain(comparison)), (*_list_reasons(comparison.cells), *notes)),
    ]


def _compose(comparison: Comparison) -> str:
    changed = sum(change.what == "the sentence" for change in comparison.changes)
    number = len(comparison.cells)
    return (
        f"{format_counted(number, 'cell')} in both studies; "
        f"{changed or 'none'} of {format_counted(comparison.num_answers, 'sentence')} changed."
    )


def _list_evidence(comparison: Comparison) -> list[str]:
    lines = [
        f"{name}: {report.folder}, study {report.summary['name']}, {format_counted(len(report.cells), 'cell')}"
        for name, report in zip(NAMES, comparison.reports, strict=True)
    ]
    alpha = 1 - _find_confidence(comparison)
    paired = [cell for cell in comparison.cells if cell.difference]
    clear = [cell for cell in paired if cell.difference and cell.difference.is_clear(alpha)]
    if paired:
        lines.append(
            f"differences with an interval, by predictions: {len(paired)} of {len(comparison.cells)}, clear "
            f"(Holm-corrected p below {format_score(alpha, 2)}) {len(clear)}"
        )
    same = sum(cell.rests_on.startswith(SAME) for cell in comparison.cells)
    if same:
        lines.append(f"the same runs in both: {format_counted(same, 'cell')}")
    return lines


def _find_confidence(comparison: Comparison) -> float:
    """Of the differences: the larger of the two."""
    return max(float(report.summary["confidence"]) for report in comparison.reports)


def _list_reasons(cells: Sequence[CellChange]) -> list[str]:
    """Why a difference has no interval, each reason once with the number of cells."""
    counts = Counter((cell.rests_on, cell.reason) for cell in cells if cell.reason)
    return [f"{rests_on}, {format_counted(number, 'cell')}: {reason}" for (rests_on, reason), number in counts.items()]


# tables


def build_score_table(cells: Sequence[CellChange]) -> Table:
    """One row per cell that both have."""
    sides = {name: (f"state_{name}", *(f"{part}_{name}" for part in name_interval("score"))) for name in NAMES}
    columns = {
        "model": ("model",), "task": ("task", "metric"), "condition": ("condition",), "rests on": ("rests_on",), **sides,
        "B - A": name_interval("difference"), **P_VALUE,
    }  # fmt: skip
    rows = []
    for cell in cells:
        model, task, condition = cell.key
        difference, p = fill_difference(cell.difference)
        if cell.difference is None and cell.delta is not None:
            difference = (format_signed(cell.delta), repr(cell.delta), NA, NA)
        rows.append([
            (model, model), (f"{task} ({cell.metric})", task, cell.metric), (condition, condition),
            (cell.rests_on, cell.rests_on), *map(_fill_side, cell.cells), difference, p,
        ])  # fmt: skip
    return build_table("scores", "Scores of both studies, and B minus A", columns, rows, (4, 2))


def _fill_side(cell: StoredCell) -> tuple[str, ...]:
    if cell.score is None:
        return cell.state, cell.state, NA, NA, NA
    return cell.score.format("score"), cell.state, *list_interval(cell.score)


def build_change_table(comparison: Comparison) -> Table:
    """One row for each thing that was said or decided otherwise."""
    columns: dict[str, Cell] = {name: (name,) for name in ("model", "task", "what", *NAMES)}
    rows: list[list[Cell]] = [
        [(text, text) for text in (each.model, each.task, each.what, each.before, each.after)]
        for each in comparison.changes
    ]
    return build_table("changes", "What was said and decided otherwise", columns, rows, (5, 2))


def build_alone_table(comparison: Comparison) -> Table:
    """One row for each cell that one of them lacks."""
    columns = {
        "model": ("model",), "task": ("task",), "condition": ("condition",), "only in": ("only_in",),
        "score": ("state", *name_interval("score")),
    }  # fmt: skip
    rows = []
    for name, report, keys in zip(NAMES, comparison.reports, comparison.alone, strict=True):
        for key in keys:
            rows.append([*((part, part) for part in key), (name, name), _fill_side(report.cells[key])])
    return build_table("alone", "Cells that one study lacks", columns, rows, (4, 2))


def build_made_table(made: Sequence[Made]) -> Table:
    """One row for each thing in which the studies were made differently."""
    columns: dict[str, Cell] = {name: (name,) for name in ("what", *NAMES, "cells")}
    rows: list[list[Cell]] = [
        [(each.name, each.name), (each.before, each.before), (each.after, each.after), (each.where or NOT_APPLICABLE, each.where)]
        for each in made
    ]  # fmt: skip
    return build_table("made", "How they were made differently", columns, rows, (4, 0))


def _explain(comparison: Comparison) -> list[str]:
    first = comparison.reports[0].summary
    lines = [
        f"Brackets behind scores: {first['confidence']:.0%} intervals as each report has them."
        if first["confidence"] == comparison.reports[1].summary["confidence"]
        else "Brackets behind scores: intervals as each report has them, of two confidences.",
    ]
    if any(cell.difference for cell in comparison.cells):
        lines.append(
            "Differences that rest on predictions: both studies' runs are compared by the seed numbers that both have and on "
            "the same test examples, so that what these share leaves the difference; intervals are "
            f"{_find_confidence(comparison):.0%} t intervals between "
            "the differences within seeds, with the chance of the test examples added, and p is Holm-corrected over all "
            "rows of the table. A seed number stands for the same draws (first weights, order of text, masks) as far as both "
            "studies make them alike; where they do not the interval is none the less right, only no narrower."
        )
    if any(cell.rests_on.startswith(INTERVALS) for cell in comparison.cells):
        lines.append(
            "Differences that rest on two intervals have none of their own, and no p: the studies may share seeds, and are scored "
            "on the same test examples where these are the same, so that they are not independent. That the two intervals "
            "overlap, or do not, is no test of the difference."
        )
    if any(cell.rests_on.startswith(SAME) for cell in comparison.cells):
        lines.append(
            "The same runs: by the seed numbers that both have, the very runs are the same, and there is nothing to test."
        )
    if comparison.changes:
        lines.append(
            "Said and decided otherwise: better, worse and not clear are against the baseline, by the p that each study corrected "
            "over its own comparisons. That one study finds something clear and the other does not is no sign that they "
            "differ: the differences above say that."
        )
    return lines
