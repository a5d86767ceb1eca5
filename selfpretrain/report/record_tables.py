"""The detail tables of a report: its charts' numbers that no other table has, and what became of each run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from itertools import groupby

from selfpretrain.numbers import format_duration, format_score
from selfpretrain.report.columns import (
    NA,
    NOT_APPLICABLE,
    PANEL,
    Cell,
    Table,
    build_table,
    fill_number,
    fill_panel,
    name_interval,
    write_number,
)
from selfpretrain.report.findings import TOKENS, Summary
from selfpretrain.report.records import COURSES, Records, RunRecord
from selfpretrain.runs.results import ABSENT, MISSING, RUNNING

JOULES_PER_KWH = 3.6e6
SETTINGS = "settings"  # the table's name


def build_chart_tables(summary: Summary) -> list[Table]:
    """Every run's score, the curves by tokens and the bins of reliability, where the study has them."""
    tables = [_build_single_table(summary)]
    if any(curve.name == TOKENS for curve in summary.curves):
        tables.append(_build_token_table(summary))
    if summary.calibrations:
        tables.append(_build_bin_table(summary))
    return [_as_detail(table) for table in tables if table.rows]


def build_record_tables(records: Records, summary: Summary) -> list[Table]:
    """Gaps, leakage, courses and settings, and, differing between equal studies, cost, origins and runs."""
    lasting = [_build_gap_table(records, summary), _build_held_table(records), _build_course_table(records)]
    lasting.append(_build_setting_table(records))
    letters = _name_origins(records.runs)
    differing = [_build_cost_table(records), _build_origin_table(records.runs, letters)]
    differing.append(_build_run_table(records.runs, letters))
    return [
        *(_as_detail(table) for table in lasting if table.rows),
        *(dataclasses.replace(_as_detail(table), differs=True) for table in differing if table.rows),
    ]


def _as_detail(table: Table) -> Table:
    return dataclasses.replace(table, is_detail=True)


def _same(text: object) -> Cell:
    return str(text), str(text)


# the charts' numbers


def _build_single_table(summary: Summary) -> Table:
    columns = {**PANEL, "condition": ("condition",), "pretraining seed": ("pretrain_seed",)}
    columns |= {"fine-tuning seed": ("finetune_seed",), "score": ("score",)}
    rows: list[list[Cell]] = [
        [
            *fill_panel(panel), _same(entry.condition), _same(run["pretrain_seed"]), _same(run["finetune_seed"]),
            (format_score(run["score"]), repr(run["score"])),
        ]
        for panel in summary.panels
        for entry in panel.entries
        for run in entry.run_scores
    ]  # fmt: skip
    return build_table("single_runs", "The score of each run", columns, rows, (3, 2))


def _build_token_table(summary: Summary) -> Table:
    columns = {**PANEL, "condition": ("condition",), "tokens": ("tokens",), "score": name_interval("score")}
    rows: list[list[Cell]] = [
        [
            _same(curve.model), (f"{curve.task} ({curve.metric})", curve.task, curve.metric), _same(condition),
            (f"{point.x:,.0f}", repr(point.x)), fill_number(point.score),
        ]
        for curve in summary.curves
        if curve.name == TOKENS
        for condition, points in curve.lines.items()
        for point in points
    ]  # fmt: skip
    return build_table(
        "token_scores", "Validation scores of the first seed by tokens of pretraining", columns, rows, (3, 2)
    )


def _build_bin_table(summary: Summary) -> Table:
    columns = {**PANEL, "condition": ("condition",), "probabilities": ("probabilities",), "bin": ("low", "high")}
    columns |= {"share": ("share",), "confidence": ("confidence",), "right": ("right",)}
    rows: list[list[Cell]] = [
        [
            *fill_panel(found), _same(found.condition), _same(words),
            (f"{format_score(each.low, 2)} to {format_score(each.high, 2)}", repr(each.low), repr(each.high)),
            *((format_score(value), repr(value)) for value in (each.share, each.confidence, each.right)),
        ]
        for found in summary.calibrations
        for words, side in (("as trained", found.plain), ("scaled", found.scaled))
        for each in side.bins
    ]  # fmt: skip
    return build_table("reliability_bins", "Share right by confidence", columns, rows, (4, 2))


# what became of the runs

_EXPLANATION = (
    "Of a task's own text, noted when it was cut into tokens (exact: but for case and white space; near: of a Jaccard similarity "
    "of at least .8 over runs of five words; n-grams: examples of which that share of runs of 13 words stands in the text). "
    "Other texts of the study: selfpretrain corpus audit with the same settings; what a released checkpoint read is unknown."
)
_REASONS = {
    MISSING: "not begun: the same study command goes on",
    RUNNING: "not ended: the same study command goes on",
}
_RUN = {"stage": ("stage",), "model": ("model",), "of": ("of", "task"), "condition": ("condition",)}


def _fill_run(run: RunRecord) -> list[Cell]:
    of = (run.name, run.name, ", ".join(run.tasks))
    return [_same(run.stage), _same(run.model), of, _same(", ".join(run.conditions))]


def _build_gap_table(records: Records, summary: Summary) -> Table:
    """A row for each reason why runs have no result."""
    columns = {**_RUN, "status": ("status",), "seeds": ("seeds",), "reason": ("reason",), "runs": ("runs",)}
    rows: list[list[Cell]] = []

    def name(run: RunRecord) -> tuple[object, ...]:
        return run.stage, run.model, run.name, run.tasks, run.conditions, run.status, run.note

    for _, group in groupby(sorted((run for run in records.runs if run.status != "done"), key=name), key=name):
        several = list(group)
        first = several[0]
        seeds = ", ".join(str(run.pretrain_seed) + _add_seed(run) for run in several)
        reason = first.note.partition("\n")[0] or _REASONS.get(first.status, NOT_APPLICABLE)
        rows.append([*_fill_run(first), _same(first.status), _same(seeds), (reason, first.note), _same(len(several))])
    for entry in summary.entries:
        if entry.state == ABSENT:
            reason, of = entry.notes[0], (entry.task, entry.task, entry.task)
            row = [_same("finetune"), _same(entry.model), of, _same(entry.condition)]
            rows.append([*row, _same(ABSENT), _same(NOT_APPLICABLE), _same(reason), _same(entry.num_runs_planned)])
    title = "Failed, diverged, blocked and missing runs (seeds: pretraining.fine-tuning)"
    return build_table("gaps", title, columns, rows, (7, 1))


def _add_seed(run: RunRecord) -> str:
    return "" if run.finetune_seed is None else f".{run.finetune_seed}"


def _build_held_table(records: Records) -> Table:
    measures = list(dict.fromkeys(measure for held in records.held for measure in held.counts)) or ["examples", "exact"]
    columns: dict[str, Cell] = {"text": ("text",), "task": ("task",), "split": ("split",)}
    columns |= {name: (name,) for name in measures}
    rows: list[list[Cell]] = [
        [_same(held.text), _same(held.task), _same(held.split)]
        + [(f"{held.counts[name]:,}", str(held.counts[name])) if held.counts else ("unknown", NA) for name in measures]
        for held in records.held
    ]
    table = build_table("leakage", "Evaluation examples that texts hold", columns, rows, (3, 1))
    return dataclasses.replace(table, notes=(_EXPLANATION,))


def _build_course_table(records: Records) -> Table:
    """The first and the last point of each curve."""
    columns = {**_RUN, "measure": ("measure",), "runs": ("runs",), "steps": ("steps",)}
    columns |= {"first": ("first_low", "first_high"), "last": ("last_low", "last_high")}
    rows: list[list[Cell]] = [
        [
            _same(course.stage), _same(course.model), (course.name, course.name, ", ".join(course.tasks)),
            _same(", ".join(course.conditions)), _same(course.measure), _same(course.num_runs), (f"{course.steps[-1]:,.0f}", repr(course.steps[-1])),
            *(_fill_ends(line[place] for line in course.lines) for place in (0, -1)),
        ]
        for course in records.courses
    ]  # fmt: skip
    table = build_table("courses", "Begin and end of each curve of a training", columns, rows, (5, 1))
    return dataclasses.replace(table, notes=(f"first, last: lowest to highest run. {COURSES}",))


def _fill_ends(values: Iterable[float | None]) -> Cell:
    known = [value for value in values if value is not None]
    if not known:
        return NOT_APPLICABLE, NA, NA
    low, high = min(known), max(known)
    text = f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
    return text, repr(low), repr(high)


def _build_setting_table(records: Records) -> Table:
    columns: dict[str, Cell] = {"setting": ("setting",), "value": ("value",)}
    rows: list[list[Cell]] = [[_same(key), _same(value)] for key, value in records.settings.items()]
    return build_table(SETTINGS, "Settings that are not at their defaults", columns, rows, (2, 0))


# what differs between equal studies


def _build_cost_table(records: Records) -> Table:
    """Runs, FLOPs and time, by stage, model and condition (of a pretraining, by text), and all together."""
    columns = {"stage": ("stage",), "model": ("model",), "condition": ("condition",), "runs": ("runs", "finished")}
    columns |= {"FLOPs": ("flops",), "time": ("seconds",)} | ({"energy": ("kwh",)} if records.watts else {})

    def name(run: RunRecord) -> tuple[str, str, str]:
        return run.stage, run.model, run.name if run.stage == "pretrain" else ", ".join(run.conditions)

    groups: dict[tuple[str, str, str], list[RunRecord]] = {}
    for run in records.runs:
        groups.setdefault(name(run), []).append(run)
    groups |= {("all", NOT_APPLICABLE, NOT_APPLICABLE): records.runs} if len(groups) > 1 else {}
    rows: list[list[Cell]] = []
    for key, runs in groups.items():
        done = [run for run in runs if run.status == "done"]
        timed = [run.seconds for run in done if run.seconds is not None]
        known = [run.flops for run in done if run.flops is not None]
        count = f"{len(done)} of {len(runs)}" if len(done) < len(runs) else str(len(done))
        row = [*map(_same, key), (count, str(len(runs)), str(len(done)))]
        row.append(_fill_sum(known, f"{sum(known):.3g}", len(done)))
        row.append(_fill_sum(timed, format_duration(sum(timed)), len(done)))
        if records.watts:
            energies = [records.watts * seconds / JOULES_PER_KWH for seconds in timed]
            row.append(_fill_sum(energies, f"{sum(energies):.3g} kWh", len(done)))
        rows.append(row)
    table = build_table("cost", "What the finished runs took", columns, rows, (3, 1))
    return dataclasses.replace(table, notes=tuple(explain_cost(records)))


def _fill_sum(values: Sequence[float], text: str, number: int) -> Cell:
    """With of how many runs it is, where some do not know theirs."""
    if not values:
        return NOT_APPLICABLE, NA
    return text + f" (of {len(values)})" * (len(values) < number), repr(sum(values))


def explain_cost(records: Records) -> list[str]:
    """How to read the table of costs."""
    energy = (
        f"Energy: {records.watts:g} W (report.watts, as given by who made the report) x the time; nothing was measured."
        if records.watts
        else "Energy: not known, since no power was measured; report.watts=<mean power of a run's device> tells it as watts x time."
    )
    return [
        "FLOPs: by formula, of training and of scoring validation and test; multiply and add count as two. time: from the "
        "last start of a run to its result, the share of a run where several were trained together, summed over runs "
        "(runs at the same time count each). (of n): what is known of n of the finished runs alone.",
        energy,
    ]


def _name_origins(runs: Sequence[RunRecord]) -> dict[tuple[tuple[str, str], ...], str]:
    """1, 2, ... by what runs were made with."""
    origins = dict.fromkeys(run.origin for run in runs if run.origin)
    return {origin: str(place) for place, origin in enumerate(origins, 1)}


def _build_origin_table(runs: Sequence[RunRecord], letters: dict[tuple[tuple[str, str], ...], str]) -> Table:
    names = list(dict.fromkeys(name for origin in letters for name, _ in origin))
    columns: dict[str, Cell] = {"made with": ("made_with",), **{name: (name,) for name in names}, "runs": ("runs",)}
    rows: list[list[Cell]] = [
        [
            _same(letter),
            *(_same(dict(origin).get(name, NOT_APPLICABLE)) for name in names),
            _same(sum(run.origin == origin for run in runs)),
        ]
        for origin, letter in letters.items()
    ]
    return build_table("origins", "Code, versions and machines", columns, rows, (len(columns) - 1, 0))


def _build_run_table(runs: Sequence[RunRecord], letters: dict[tuple[tuple[str, str], ...], str]) -> Table:
    columns = {**_RUN, "seeds": ("pretrain_seed", "finetune_seed"), "status": ("status",), "run": ("run",)}
    columns |= {"started": ("started",), "made with": ("made_with",), "FLOPs": ("flops",), "time": ("seconds",)}
    rows: list[list[Cell]] = [
        [
            *_fill_run(run),
            (f"{run.pretrain_seed}{_add_seed(run)}", str(run.pretrain_seed), NA if run.finetune_seed is None else str(run.finetune_seed)),
            _same(run.status), _same(run.id), _same(run.started or NOT_APPLICABLE),
            _same(letters.get(run.origin, NOT_APPLICABLE)),
            (NOT_APPLICABLE if run.flops is None else f"{run.flops:.3g}", write_number(run.flops)),
            (NOT_APPLICABLE if run.seconds is None else format_duration(run.seconds), write_number(run.seconds)),
        ]
        for run in runs
    ]  # fmt: skip
    return build_table("runs", "Every run", columns, rows, (9, 1))
