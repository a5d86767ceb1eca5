"""The tables of a summary as rows; every output gives them its form."""

from __future__ import annotations

import dataclasses

from selfpretrain.files import to_stem
from selfpretrain.numbers import format_p, format_score
from selfpretrain.report.columns import (
    BENEFIT,
    CONDITION,
    NA,
    NOT_APPLICABLE,
    P_VALUE,
    PANEL,
    Cell,
    Table,
    build_table,
    count_examples,
    fill_benefit,
    fill_counted,
    fill_cross,
    fill_difference,
    fill_number,
    fill_panel,
    fill_point,
    fill_point_gain,
    fill_score,
    fill_seeds,
    measure_alone,
    name_interval,
)
from selfpretrain.report.dynamics_tables import build_dynamics_tables
from selfpretrain.report.findings import LABELS, Average, Cross, Summary
from selfpretrain.report.procedure_table import build_procedure_table
from selfpretrain.report.variance import build_variance_table, has_sources
from selfpretrain.study.conditions import OWN, START

WITHOUT_OVERLAP = "without overlapping test examples"


def build_tables(summary: Summary) -> list[Table]:
    """All tables of a study: the scores, what is the start's, own against the reference, procedures, the cross-task
    matrices, ..., where the variance lies; then all of them without overlapping test examples, where the study asks for that.
    """
    tables = [build_score_table(summary)]
    if any(panel.has_control for panel in summary.panels):
        tables.append(build_start_table(summary))
    if any(panel.find(OWN) and panel.find(summary.reference) for panel in summary.panels) and summary.reference != OWN:
        tables.append(build_reference_table(summary))
    if summary.procedures:
        tables.append(build_procedure_table(summary))
    if any(curve.name == LABELS for curve in summary.curves):
        tables.append(build_label_table(summary))
    tables += build_dynamics_tables(summary)
    tables += [build_cross_table(cross, summary) for cross in summary.crosses]
    tables += [build_average_table(average, summary) for average in summary.averages]
    if summary.tallies:
        tables.append(build_tally_table(summary))
    if summary.transfers:
        tables.append(build_transfer_table(summary))
    if summary.published:
        tables.append(build_published_table(summary))
    if summary.ensembles:
        tables.append(build_ensemble_table(summary))
    if summary.calibrations:
        tables.append(build_calibration_table(summary))
    if has_sources(summary):
        tables.append(build_variance_table(summary))
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


def build_score_table(summary: Summary) -> Table:
    """One row per model, task and condition; conditions own_of:<task> stand in the matrix instead."""
    columns = {
        **PANEL,
        **CONDITION,
        "score": name_interval("score"),
        f"gain over {summary.baseline}": name_interval("gain"),
        **P_VALUE,
        **BENEFIT,
        "seeds": ("seeds", "seeds_planned", "runs", "runs_planned"),
    }
    rows = [
        [
            *fill_panel(panel),
            (f"{e.condition} (this checkpoint)" if e.about.from_released else e.condition, e.condition, e.state),
            fill_score(e, panel.num_examples),
            *fill_difference(e.gain, panel.num_examples),
            fill_benefit(e, summary),
            fill_seeds(e),
        ]
        for panel in summary.panels
        for e in panel.entries
        if e.about.text_of is None
    ]
    return build_table("scores", "Scores", columns, rows, (3, 2))


def build_start_table(summary: Summary) -> Table:
    """The gain over the baseline in two parts, the start's and what pretraining adds to it, per pretrained condition."""
    added = name_interval("added")
    columns = {**PANEL, **CONDITION, "gain": ("gain",), "start": ("start_gain",), "added": added, **P_VALUE}
    rows = [
        [
            *fill_panel(panel),
            (entry.condition, entry.condition, entry.state),
            fill_point_gain(entry, panel.num_examples),
            fill_point_gain(start, panel.num_examples),
            *fill_difference(entry.added, panel.num_examples),
        ]
        for panel in summary.panels
        if panel.has_control and (start := panel.find(START))
        for entry in panel.entries
        if entry.about.corpus
    ]
    title = f"What pretraining adds to its own start (gain over {summary.baseline} = start + added)"
    return build_table("start", title, columns, rows, (3, 1))


def build_reference_table(summary: Summary) -> Table:
    """Own text against the reference, per model and task."""
    name, difference = summary.reference, name_interval("difference")
    columns = {**PANEL, OWN: (OWN,), name: (name,), f"{OWN} - {name}": difference, **P_VALUE, **BENEFIT}
    rows = [
        [
            *fill_panel(panel),
            fill_point(own, panel.num_examples),
            fill_point(reference, panel.num_examples),
            *fill_difference(panel.versus_reference, panel.num_examples),
            fill_benefit(own, summary),
        ]
        for panel in summary.panels
        if (own := panel.find(OWN)) and (reference := panel.find(name))
    ]
    return build_table("reference", f"Own text against {summary.reference_name}", columns, rows, (2, 1))


def build_label_table(summary: Summary) -> Table:
    """Scores by the number of labelled examples, and own against the baseline at each."""
    curves = {(curve.model, curve.task): curve for curve in summary.curves if curve.name == LABELS}
    conditions = list(dict.fromkeys(condition for curve in curves.values() for condition in curve.lines))
    columns = {
        **PANEL, "labels": ("labels",), **{condition: (condition,) for condition in conditions},
        f"{OWN} - {summary.baseline}": name_interval("gain"), **P_VALUE,
    }  # fmt: skip
    rows = []
    for curve in curves:
        panels = [panel for panel in summary.panels if (panel.model, panel.card) == curve]
        for panel in sorted(panels, key=lambda panel: panel.num_labels):
            own, labels, size = panel.find(OWN), str(panel.num_labels), panel.num_examples
            rows.append([
                (panel.model, panel.model), (f"{panel.card} ({panel.metric})", panel.card, panel.metric),
                (f"{panel.num_labels:,}", labels),
                *(fill_point(entry, size) if (entry := panel.find(c)) else (NOT_APPLICABLE, NA) for c in conditions),
                *fill_difference(own.gain if own else None, size),
            ])  # fmt: skip
    return build_table("labels", "By the number of labelled examples", columns, rows, (2, 2))


def build_cross_table(cross: Cross, summary: Summary) -> Table:
    """Rows: pretraining text; columns: fine-tuning task. In the CSV file a row per cell."""
    unit = {
        "benefit": f"Benefit % (gain of {summary.reference_name} = 100)",
        "gain": f"gain over {summary.baseline}",
        "score": "score",
    }[cross.unit]
    title = f"Pretrained on one task's text (rows), fine-tuned on another (columns): {cross.model}, {unit}"
    csv_header = ("model", "unit", "pretrained_on", "task", "value", "low", "high", "p_holm")
    rows, values, sizes = [], [], count_examples(summary)
    for text, cells in zip(cross.texts, cross.cells, strict=True):
        columns = zip(cross.tasks, cells, strict=True)
        filled = [fill_cross(cell, cross.unit, sizes.get((cross.model, task))) for task, cell in columns]
        rows.append((text, *(cell[0] for cell in filled)))
        values += [(cross.model, cross.unit, text, task, *c[1:]) for task, c in zip(cross.tasks, filled, strict=True)]
    header = ("pretrained on", *cross.tasks)
    return Table(
        to_stem(f"cross_{cross.model}_{cross.unit}"), title, header, tuple(rows), 1, 0, csv_header, tuple(values)
    )


def build_average_table(average: Average, summary: Summary) -> Table:
    """Rows: conditions; columns: the benchmark's tasks and their mean. In the CSV file a row per cell."""
    without = f", without {', '.join(average.missing)}" if average.missing else ""
    title = f"{average.benchmark}{without}: {average.model}"
    columns = {**average.tasks, "mean": NA}
    header = ("condition", *(f"{task} ({metric})" for task, metric in average.tasks.items()), "mean")
    csv_header = ("model", "benchmark", "condition", "task", "metric", "score", "low", "high")
    rows, values, sizes = [], [], count_examples(summary)
    for row in average.rows:
        cells = zip(columns, [*row.scores, row.mean], [*row.texts, row.reason], strict=True)
        filled = [
            fill_number(number, sizes.get((average.model, task))) if number else (text, text, NA, NA)
            for task, number, text in cells
        ]
        rows.append((row.condition, *(cell[0] for cell in filled)))
        first = (average.model, average.benchmark, row.condition)
        values += [(*first, *column, *cell[1:]) for column, cell in zip(columns.items(), filled, strict=True)]
    name = to_stem(f"{average.benchmark}_{average.model}")
    return Table(name, title, header, tuple(rows), 1, 0, csv_header, tuple(values))


def build_tally_table(summary: Summary) -> Table:
    """One row per model and pair of conditions: on how many tasks the one is above the other."""
    columns = {
        "model": ("model",),
        "condition": ("condition",),
        "against": ("against",),
        "above": ("higher", "lower", "tasks"),
        "share": name_interval("share"),
        "sign p": ("p_sign",),
        "Wilcoxon p": ("p_wilcoxon",),
        "a run beats one of the other": name_interval("improvement"),
        "clearly above, below": ("clearly_higher", "clearly_lower"),
        "likewise, BH": ("discovered_higher", "discovered_lower"),
        "equivalent": ("equivalent", "tested_equivalent"),
    }
    rows: list[list[Cell]] = [
        [
            (tally.model,) * 2,
            (tally.condition,) * 2,
            (tally.against,) * 2,
            (f"{tally.higher} of {tally.num_tasks}", *map(str, (tally.higher, tally.lower, tally.num_tasks))),
            fill_number(tally.share, tally.num_tasks),
            (format_p(tally.p_sign), repr(tally.p_sign)),
            (format_p(tally.p_wilcoxon), repr(tally.p_wilcoxon)),
            fill_number(tally.improvement),
            *((f"{above}, {below}", str(above), str(below)) for above, below in (tally.clear, tally.discovered)),
            fill_counted(tally.equivalent),
        ]
        for tally in summary.tallies
    ]
    return build_table("over_tasks", "Over the tasks, each counting once", columns, rows, (3, 1))


def build_transfer_table(summary: Summary) -> Table:
    """The runs of a task on other test sets: scores, and the gain over the baseline there."""
    columns = {
        "model": ("model",),
        "task": ("task",),
        "test set": ("test_set", "metric"),
        **CONDITION,
        "score": name_interval("score"),
        f"gain over {summary.baseline}": name_interval("gain"),
        **P_VALUE,
        "seeds": ("seeds", "seeds_planned", "runs", "runs_planned"),
    }
    rows: list[list[Cell]] = []
    for transfer in summary.transfers:
        for panel in transfer.panels:
            first = [
                (panel.model,) * 2,
                (panel.task,) * 2,
                (f"{panel.card} ({panel.metric})", panel.card, panel.metric),
            ]
            for e in panel.entries:
                size = panel.num_examples
                found = [fill_score(e, size), *fill_difference(e.gain, size), fill_seeds(e)]
                rows.append([*first, (e.condition, e.condition, e.state), *found])
        if not transfer.panels:
            first = [(NOT_APPLICABLE, NA), (transfer.task,) * 2, (transfer.test_set, transfer.test_set, NA)]
            gap = [("missing", "missing", NA, NA), *fill_difference(None), (NOT_APPLICABLE, NA, NA, NA, NA)]
            rows.append([*first, (NOT_APPLICABLE, NA, "missing"), *gap])
    return build_table("transfer", "The same runs on other test sets", columns, rows, (4, 3))


def build_published_table(summary: Summary) -> Table:
    """Scores that others printed beside the study's."""
    columns = {
        **PANEL,
        "condition": ("condition",),
        "score": name_interval("score"),
        "test examples": ("num_examples", "num_official"),
        "published": ("published",),
        "of": ("name", "source"),
    }
    rows: list[list[Cell]] = []
    for found in summary.published:
        counts = (found.num_examples, found.num_official)
        of = f"{counts[0]:,} of {counts[1]:,}" if counts[0] != counts[1] else f"{counts[0]:,}"
        rows.append([
            *fill_panel(found), (found.condition,) * 2, fill_number(found.score, found.num_examples), (of, *map(str, counts)),
            (format_score(found.published), repr(found.published)),
            (f"{found.name} ({found.source})", found.name, found.source),
        ])  # fmt: skip
    return build_table("published", "Beside published scores", columns, rows, (3, 2))


def build_ensemble_table(summary: Summary) -> Table:
    """Two runs averaged against the same runs alone, per model, task and pair of conditions."""
    columns = {
        **PANEL,
        "conditions": ("first_condition", "second_condition"),
        "single runs": name_interval("single"),
        "ensemble": name_interval("ensemble"),
        "gain": name_interval("gain"),
        "inconsistency": name_interval("inconsistency"),
        "pairs": ("pairs",),
    }
    sizes = count_examples(summary)
    rows = [
        [
            *fill_panel(found),
            (" + ".join(found.conditions), *found.conditions),
            *(fill_number(score, sizes[found.model, found.task]) for score in (found.singles, found.together)),
            fill_number(found.gain, sizes[found.model, found.task], "gain"),
            fill_number(found.inconsistency, sizes[found.model, found.task]),
            (str(found.num_pairs), str(found.num_pairs)),
        ]
        for found in summary.ensembles
    ]
    return build_table("ensembles", "Two runs together", columns, rows, (3, 2))


def build_calibration_table(summary: Summary) -> Table:
    """How right probabilities are, as trained and with a temperature, per model, task and condition."""
    columns = {
        **PANEL,
        "condition": ("condition",),
        "temperature": name_interval("temperature"),
        "score": ("score",),
        "ECE": name_interval("ece"),
        "debiased": name_interval("debiased"),
        "Brier": name_interval("brier"),
        "seeds": ("seeds",),
    }
    sizes = count_examples(summary)
    rows = [
        [
            *fill_panel(found),
            (found.condition, found.condition),
            temperature,
            (
                measure_alone(found.score.point, found.score, "score", sizes[found.model, found.task]),
                repr(found.score.point),
            ),
            *map(fill_number, (reliability.ece, reliability.debiased, reliability.brier)),
            (str(found.num_seeds), str(found.num_seeds)),
        ]
        for found in summary.calibrations
        for temperature, reliability in (
            (("as trained", "1", NA, NA), found.plain),
            (fill_number(found.temperature), found.scaled),
        )
    ]
    return build_table("calibration", "How right the probabilities are", columns, rows, (3, 2))
