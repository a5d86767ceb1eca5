"""The tables of a summary as rows; every output gives them its form."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from itertools import chain

from selfpretrain.files import to_stem
from selfpretrain.numbers import format_p, format_score, format_signed
from selfpretrain.report.comparisons import Difference, Interval
from selfpretrain.report.findings import (
    LABELS,
    PARTIAL,
    Average,
    Calibration,
    Cross,
    CrossCell,
    Ensemble,
    Entry,
    Panel,
    Summary,
)
from selfpretrain.study.conditions import OWN, START

NOT_APPLICABLE = "-"
NA = "NA"  # likewise in CSV
WITHOUT_OVERLAP = "without overlapping test examples"


@dataclass(frozen=True)
class Table:
    """Formatted cells, and the same rows as bare numbers for CSV."""

    name: str  # stem of the files
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    num_text_columns: int  # from the left: text; the others are right-aligned
    num_group_columns: int  # from the left: equal cells here make one group in the terminal
    csv_header: tuple[str, ...]
    csv_rows: tuple[tuple[str, ...], ...]
    remark: str = ""  # of the title's end, what parts of the table that stand by themselves have to say, too


def build_tables(summary: Summary) -> list[Table]:
    """All tables of a study: the scores, what is the start's, own against the reference, the cross-task matrices; then
    all of them without overlapping test examples, where the study asks for that.
    """
    tables = [build_score_table(summary)]
    if any(panel.has_control for panel in summary.panels):
        tables.append(build_start_table(summary))
    if any(panel.find(OWN) and panel.find(summary.reference) for panel in summary.panels) and summary.reference != OWN:
        tables.append(build_reference_table(summary))
    if any(curve.name == LABELS for curve in summary.curves):
        tables.append(build_label_table(summary))
    tables += [build_cross_table(cross, summary) for cross in summary.crosses]
    tables += [build_average_table(average) for average in summary.averages]
    if summary.transfers:
        tables.append(build_transfer_table(summary))
    if summary.ensembles:
        tables.append(build_ensemble_table(summary))
    if summary.calibrations:
        tables.append(build_calibration_table(summary))
    if summary.without_overlap:
        tables += [
            dataclasses.replace(
                again,
                name=f"{again.name}_without_overlap",
                title=f"{again.title}, {WITHOUT_OVERLAP}",
                remark=WITHOUT_OVERLAP,
            )
            for again in build_tables(summary.without_overlap)
        ]
    return tables


# one column's text, then its values in the columns of the CSV file that it is made of
_Cell = tuple[str, ...]


def _build(
    name: str, title: str, columns: dict[str, _Cell], rows: list[list[_Cell]], num_columns: tuple[int, int]
) -> Table:
    """A table of columns, each given with its columns in the CSV file; how many hold text, and how many make a group."""
    texts = tuple(tuple(cell[0] for cell in row) for row in rows)
    values = tuple(tuple(chain.from_iterable(cell[1:] for cell in row)) for row in rows)
    return Table(name, title, tuple(columns), texts, *num_columns, tuple(chain.from_iterable(columns.values())), values)


# the tables


def build_score_table(summary: Summary) -> Table:
    """One row per model, task and condition; conditions own_of:<task> stand in the matrix instead."""
    columns = {
        **_PANEL,
        **_CONDITION,
        "score": _name_interval("score"),
        f"gain over {summary.baseline}": _name_interval("gain"),
        **_P,
        **_BENEFIT,
        "seeds": ("seeds", "seeds_planned", "runs", "runs_planned"),
    }
    rows = [
        [
            *_fill_panel(panel),
            (f"{e.condition} (this checkpoint)" if e.about.from_released else e.condition, e.condition, e.state),
            _fill_score(e),
            *_fill_difference(e.gain),
            _fill_benefit(e, summary),
            _fill_seeds(e),
        ]
        for panel in summary.panels
        for e in panel.entries
        if e.about.text_of is None
    ]
    return _build("scores", "Scores", columns, rows, (3, 2))


def build_start_table(summary: Summary) -> Table:
    """The gain over the baseline in two parts, the start's and what pretraining adds to it, per pretrained condition."""
    added = _name_interval("added")
    columns = {**_PANEL, **_CONDITION, "gain": ("gain",), "start": ("start_gain",), "added": added, **_P}
    rows = [
        [
            *_fill_panel(panel),
            (entry.condition, entry.condition, entry.state),
            _fill_point_gain(entry),
            _fill_point_gain(start),
            *_fill_difference(entry.added),
        ]
        for panel in summary.panels
        if panel.has_control and (start := panel.find(START))
        for entry in panel.entries
        if entry.about.corpus
    ]
    title = f"What pretraining adds to its own start (gain over {summary.baseline} = start + added)"
    return _build("start", title, columns, rows, (3, 1))


def build_reference_table(summary: Summary) -> Table:
    """Own text against the reference, per model and task."""
    name, difference = summary.reference, _name_interval("difference")
    columns = {**_PANEL, OWN: (OWN,), name: (name,), f"{OWN} - {name}": difference, **_P, **_BENEFIT}
    rows = [
        [
            *_fill_panel(panel),
            _fill_point(own),
            _fill_point(reference),
            *_fill_difference(panel.versus_reference),
            _fill_benefit(own, summary),
        ]
        for panel in summary.panels
        if (own := panel.find(OWN)) and (reference := panel.find(name))
    ]
    return _build("reference", f"Own text against {summary.reference_name}", columns, rows, (2, 1))


def build_label_table(summary: Summary) -> Table:
    """Scores by the number of labelled examples, and own against the baseline at each."""
    curves = {(curve.model, curve.task): curve for curve in summary.curves if curve.name == LABELS}
    conditions = list(dict.fromkeys(condition for curve in curves.values() for condition in curve.lines))
    columns = {
        **_PANEL, "labels": ("labels",), **{condition: (condition,) for condition in conditions},
        f"{OWN} - {summary.baseline}": _name_interval("gain"), **_P,
    }  # fmt: skip
    rows = []
    for curve in curves:
        panels = [panel for panel in summary.panels if (panel.model, panel.card) == curve]
        for panel in sorted(panels, key=lambda panel: panel.num_labels):
            own, labels = panel.find(OWN), str(panel.num_labels)
            rows.append([
                (panel.model, panel.model), (f"{panel.card} ({panel.metric})", panel.card, panel.metric),
                (f"{panel.num_labels:,}", labels),
                *(_fill_point(entry) if (entry := panel.find(c)) else (NOT_APPLICABLE, NA) for c in conditions),
                *_fill_difference(own.gain if own else None),
            ])  # fmt: skip
    return _build("labels", "By the number of labelled examples", columns, rows, (2, 2))


def build_cross_table(cross: Cross, summary: Summary) -> Table:
    """Rows: pretraining text; columns: fine-tuning task. In the CSV file a row per cell."""
    unit = {
        "benefit": f"Benefit % (gain of {summary.reference_name} = 100)",
        "gain": f"gain over {summary.baseline}",
        "score": "score",
    }[cross.unit]
    title = f"Pretrained on one task's text (rows), fine-tuned on another (columns): {cross.model}, {unit}"
    csv_header = ("model", "unit", "pretrained_on", "task", "value", "low", "high", "p_holm")
    rows, values = [], []
    for text, cells in zip(cross.texts, cross.cells, strict=True):
        filled = [_fill_cross(cell, cross.unit) for cell in cells]
        rows.append((text, *(cell[0] for cell in filled)))
        values += [(cross.model, cross.unit, text, task, *c[1:]) for task, c in zip(cross.tasks, filled, strict=True)]
    header = ("pretrained on", *cross.tasks)
    return Table(
        to_stem(f"cross_{cross.model}_{cross.unit}"), title, header, tuple(rows), 1, 0, csv_header, tuple(values)
    )


def build_average_table(average: Average) -> Table:
    """Rows: conditions; columns: the benchmark's tasks and their mean. In the CSV file a row per cell."""
    without = f", without {', '.join(average.missing)}" if average.missing else ""
    title = f"{average.benchmark}{without}: {average.model}"
    columns = {**average.tasks, "mean": NA}
    header = ("condition", *(f"{task} ({metric})" for task, metric in average.tasks.items()), "mean")
    csv_header = ("model", "benchmark", "condition", "task", "metric", "score", "low", "high")
    rows, values = [], []
    for row in average.rows:
        cells = zip([*row.scores, row.mean], [*row.texts, row.reason], strict=True)
        filled = [_fill_number(number) if number else (text, text, NA, NA) for number, text in cells]
        rows.append((row.condition, *(cell[0] for cell in filled)))
        first = (average.model, average.benchmark, row.condition)
        values += [(*first, *column, *cell[1:]) for column, cell in zip(columns.items(), filled, strict=True)]
    name = to_stem(f"{average.benchmark}_{average.model}")
    return Table(name, title, header, tuple(rows), 1, 0, csv_header, tuple(values))


def build_transfer_table(summary: Summary) -> Table:
    """The runs of a task on other test sets: scores, and the gain over the baseline there."""
    columns = {
        "model": ("model",),
        "task": ("task",),
        "test set": ("test_set", "metric"),
        **_CONDITION,
        "score": _name_interval("score"),
        f"gain over {summary.baseline}": _name_interval("gain"),
        **_P,
        "seeds": ("seeds", "seeds_planned", "runs", "runs_planned"),
    }
    rows: list[list[_Cell]] = []
    for transfer in summary.transfers:
        for panel in transfer.panels:
            first = [
                (panel.model,) * 2,
                (panel.task,) * 2,
                (f"{panel.card} ({panel.metric})", panel.card, panel.metric),
            ]
            for e in panel.entries:
                found = [_fill_score(e), *_fill_difference(e.gain), _fill_seeds(e)]
                rows.append([*first, (e.condition, e.condition, e.state), *found])
        if not transfer.panels:
            first = [(NOT_APPLICABLE, NA), (transfer.task,) * 2, (transfer.test_set, transfer.test_set, NA)]
            gap = [("missing", "missing", NA, NA), *_fill_difference(None), (NOT_APPLICABLE, NA, NA, NA, NA)]
            rows.append([*first, (NOT_APPLICABLE, NA, "missing"), *gap])
    return _build("transfer", "The same runs on other test sets", columns, rows, (4, 3))


def build_ensemble_table(summary: Summary) -> Table:
    """Two runs averaged against the same runs alone, per model, task and pair of conditions."""
    columns = {
        **_PANEL,
        "conditions": ("first_condition", "second_condition"),
        "single runs": _name_interval("single"),
        "ensemble": _name_interval("ensemble"),
        "gain": _name_interval("gain"),
        "inconsistency": _name_interval("inconsistency"),
        "pairs": ("pairs",),
    }
    rows = [
        [
            *_fill_panel(found),
            (" + ".join(found.conditions), *found.conditions),
            *map(_fill_number, (found.singles, found.together)),
            (found.gain.format("gain"), *_list(found.gain)),
            _fill_number(found.inconsistency),
            (str(found.num_pairs), str(found.num_pairs)),
        ]
        for found in summary.ensembles
    ]
    return _build("ensembles", "Two runs together", columns, rows, (3, 2))


def build_calibration_table(summary: Summary) -> Table:
    """How right probabilities are, as trained and with a temperature, per model, task and condition."""
    columns = {
        **_PANEL,
        "condition": ("condition",),
        "temperature": _name_interval("temperature"),
        "score": ("score",),
        "ECE": _name_interval("ece"),
        "debiased": _name_interval("debiased"),
        "Brier": _name_interval("brier"),
        "seeds": ("seeds",),
    }
    rows = [
        [
            *_fill_panel(found),
            (found.condition, found.condition),
            temperature,
            (format_score(found.score.point), repr(found.score.point)),
            *map(_fill_number, (reliability.ece, reliability.debiased, reliability.brier)),
            (str(found.num_seeds), str(found.num_seeds)),
        ]
        for found in summary.calibrations
        for temperature, reliability in (
            (("as trained", "1", NA, NA), found.plain),
            (_fill_number(found.temperature), found.scaled),
        )
    ]
    return _build("calibration", "How right the probabilities are", columns, rows, (3, 2))


# their columns


def _name_interval(name: str) -> tuple[str, str, str]:
    return name, f"{name}_low", f"{name}_high"


_PANEL = {"model": ("model",), "task": ("task", "metric")}
_CONDITION = {"condition": ("condition", "state")}
_P = {"p": ("p", "p_holm", "scope")}
_BENEFIT = {"Benefit %": ("benefit_percent", "benefit_low", "benefit_high")}


def _fill_panel(panel: Panel | Ensemble | Calibration) -> tuple[_Cell, _Cell]:
    return (panel.model, panel.model), (f"{panel.task} ({panel.metric})", panel.task, panel.metric)


def _fill_score(entry: Entry) -> _Cell:
    if entry.score is None:
        return entry.state_text, entry.state_text, NA, NA
    return entry.score.format("score"), *_list(entry.score)


def _fill_number(interval: Interval) -> _Cell:
    return interval.format("score"), *_list(interval)


def _fill_point(entry: Entry) -> _Cell:
    if entry.score is None:
        return entry.state_text, entry.state_text
    return format_score(entry.score.point), repr(entry.score.point)


def _fill_point_gain(entry: Entry) -> _Cell:
    if entry.gain is None:
        return NOT_APPLICABLE if entry.score else entry.state_text, NA
    return format_signed(entry.gain.delta.point), repr(entry.gain.delta.point)


def _fill_difference(difference: Difference | None) -> tuple[_Cell, _Cell]:
    """It, and its p."""
    if difference is None:
        return (NOT_APPLICABLE, NA, NA, NA), (NOT_APPLICABLE, NA, NA, NA)
    scope = "conditional on a checkpoint" if difference.is_conditional else "procedures"
    if difference.is_of_checkpoints:
        scope = "checkpoints"
    p = "these checkpoints only" if difference.p_holm is None else format_p(difference.p_holm)
    delta = (difference.delta.format("gain"), *_list(difference.delta))
    return delta, (p, _write(difference.p), _write(difference.p_holm), scope)


def _fill_benefit(entry: Entry, summary: Summary) -> _Cell:
    text = "undefined" if entry.benefit_undefined else NOT_APPLICABLE
    if entry.condition == summary.reference and entry.gain:
        text = "100" if entry.gain.delta.low > 0 else "undefined"
    elif entry.benefit:
        text = entry.benefit.format("benefit")
    return text, *_list(entry.benefit)


def _fill_seeds(entry: Entry) -> _Cell:
    """3; 2 of 3 where some are missing; 3 x 2 with two runs of each; 1 x 5 of one released checkpoint."""
    text = str(entry.num_seeds)
    if entry.num_seeds != entry.num_seeds_planned or entry.state == PARTIAL:
        text = f"{entry.num_seeds} of {entry.num_seeds_planned}"
    if entry.about.is_released:
        text = f"1 x {text}"
    elif entry.num_runs > entry.num_seeds:
        text += f" x {_count_each(entry)}"
    counts = (entry.num_seeds, entry.num_seeds_planned, entry.num_runs, entry.num_runs_planned)
    return text, *map(str, counts)


def _count_each(entry: Entry) -> str:
    """Runs per seed: 2, or 1-2 where some are missing."""
    counts = Counter(run["pretrain_seed"] for run in entry.run_scores).values()
    return "-".join(str(count) for count in sorted({min(counts), max(counts)})) if counts else str(entry.num_runs)


def _fill_cross(cell: CrossCell, unit: str) -> _Cell:
    if cell.value is None:
        return cell.text or "100", cell.text or "100", NA, NA, _write(cell.p_holm)
    return cell.value.format(unit), *_list(cell.value), _write(cell.p_holm)


def _list(interval: Interval | None) -> tuple[str, ...]:
    return (NA, NA, NA) if interval is None else tuple(map(repr, dataclasses.astuple(interval)))


def _write(number: float | None) -> str:
    return NA if number is None else repr(number)
