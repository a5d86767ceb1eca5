"""The charts of a page as plain data: by kind, panels with what they hold, in the words of the tables.

Every panel names its ``model`` and ``task``, every line or row its ``condition`` (and ``model``, where a panel has
several), so that a reader can choose among them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from selfpretrain.numbers import format_p, format_score
from selfpretrain.report.comparisons import UNITS, Interval
from selfpretrain.report.cross import MEAN_COLUMN
from selfpretrain.report.findings import LABELS, TOKENS, Calibration, Cross, CrossCell, Curve, Dynamics, Panel, Summary
from selfpretrain.report.records import COURSES, Course, Records
from selfpretrain.study.conditions import OWN, find_condition

DIGITS = 5  # of a number that is drawn


def describe_scores(summary: Summary) -> dict[str, Any]:
    """A forest plot for each task: scores with intervals, single runs, the score without reading the text."""
    panels: dict[str, dict[str, Any]] = {}
    for panel in summary.panels:
        shown = panels.setdefault(panel.task, {"task": panel.task, "x": panel.metric, "blind": None, "rows": []})
        rows = shown["rows"]
        if shown["blind"] is None:  # of a model without a finished run it is not known
            shown["blind"] = _trim(panel.blind_score)
        entries = [entry for entry in panel.entries if entry.about.text_of is None] or panel.entries
        for entry in entries:
            row: dict[str, Any] = {"model": panel.model, "condition": entry.condition, "state": entry.state_text}
            if entry.score:
                row |= {"interval": _list(entry.score), "singles": [_trim(score) for score in entry.singles]}
            rows.append(row)
    note = f"Lines: {summary.confidence:.0%} intervals. Small dots: single runs. Dashed: the score without reading the text."
    return {"kind": "forest", "note": note, "panels": list(panels.values())}


def describe_seeds(summary: Summary) -> dict[str, Any]:
    """Every run's score by its pretraining seed, a panel for each task and model."""
    panels = [
        {
            "model": panel.model, "task": panel.task, "y": panel.metric,
            "rows": [
                {"condition": entry.condition, "seed": run["pretrain_seed"], "score": _trim(run["score"])}
                for entry in panel.entries
                for run in entry.run_scores
            ],
        }
        for panel in summary.panels
    ]  # fmt: skip
    note = "A row of dots for each pretraining seed, from the first downwards; bars: means of a seed's fine-tunings."
    return {"kind": "seeds", "note": note, "panels": [panel for panel in panels if panel["rows"]]}


def describe_curves(summary: Summary, name: str) -> dict[str, Any]:
    """Scores with intervals by labelled examples, or by tokens of pretraining."""
    curves = [curve for curve in summary.curves if curve.name == name]
    x = "labelled examples" if name == LABELS else "tokens of pretraining"
    panels = [_describe_curve(curve, x) for curve in curves]
    of_one = " Of the first seed alone: what other seeds would give is not in them." if name == TOKENS else ""
    note = f"Bars: {summary.confidence:.0%} intervals.{of_one}"
    return {"kind": "lines", "note": note, "is_log": name == LABELS, "panels": panels}


def _describe_curve(curve: Curve, x: str) -> dict[str, Any]:
    lines = [
        {"condition": condition, "points": [[point.x, *_list(point.score)] for point in points]}
        for condition, points in curve.lines.items()
    ]
    return {"model": curve.model, "task": curve.task, "x": x, "y": curve.metric, "lines": lines}


def describe_dynamics(summary: Summary) -> dict[str, Any]:
    """Scores by steps of pretraining, and beside them the differences, with the step from which on two are apart."""
    panels = []
    for found in summary.dynamics:
        common = {"model": found.model, "task": found.task, "x": "steps of pretraining", "is_log": found.is_log}
        panels.append({**common, "y": found.metric, "lines": _list_scores(found, summary.baseline)})
        panels.append({**common, "y": "difference", "zero": True, "lines": _list_differences(found)})
    note = f"Bands: {summary.confidence:.0%} intervals that hold together for all steps of a line. Ring: from here on the two are apart."
    return {"kind": "lines", "note": note, "is_band": True, "panels": panels}


def _list_scores(found: Dynamics, baseline: str) -> list[dict[str, Any]]:
    lines = []
    for name in dict.fromkeys([*found.conditions, baseline]):
        entries = zip(found.steps, (panel.find(name) for panel in found.panels), strict=True)
        points = [[step, *_list(entry.score)] for step, entry in entries if entry and entry.score]
        lines.append({"condition": name, "points": points})
    return lines


def _list_differences(found: Dynamics) -> list[dict[str, Any]]:
    return [
        {
            "condition": each.conditions[0], "name": " - ".join(each.conditions), "ring": each.step,
            "is_dashed": each.conditions[1] == found.reference,
            "points": [[step, *_list(difference.delta)] for step, difference in each.differences.items() if difference],
        }
        for each in found.separations
    ]  # fmt: skip


def describe_reliability(summary: Summary) -> dict[str, Any]:
    """Share right by confidence, as trained and scaled: a panel each for every task and model."""
    panels: dict[tuple[str, str], list[Calibration]] = {}
    for found in summary.calibrations:
        panels.setdefault((found.task, found.model), []).append(found)
    return {
        "kind": "reliability",
        "note": "All seeds together. Larger dots: more test examples. Dashed: as often right as sure.",
        "panels": [
            {
                "model": model, "task": task, "part": words,
                "lines": [
                    {
                        "condition": found.condition,
                        "points": [
                            [_trim(bin.confidence), _trim(bin.right), _trim(bin.share)] for bin in getattr(found, side).bins
                        ],
                    }
                    for found in several
                ],
            }
            for (task, model), several in panels.items()
            for side, words in (("plain", "as trained"), ("scaled", "with a temperature"))
        ],
    }  # fmt: skip


def describe_variance(summary: Summary) -> dict[str, Any]:
    """What each source of chance does to a score, a panel for each task and model."""
    return {
        "kind": "variance",
        "note": f"Standard deviations with {summary.confidence:.0%} intervals; an arrow: the interval goes on beyond the frame. "
        "An estimate below 0 stands at 0.",
        "panels": [_describe_sources(p) for p in summary.panels if any(e.sources for e in p.entries)],
    }


def _describe_sources(panel: Panel) -> dict[str, Any]:
    rows = [
        {
            "condition": entry.condition,
            "source": source.name,
            "interval": _list(source.sd),
            "is_negative": source.is_negative,
        }
        for entry in panel.entries
        for source in entry.sources
    ]
    return {"model": panel.model, "task": panel.task, "x": f"standard deviation of {panel.metric}", "rows": rows}


def describe_courses(records: Records) -> dict[str, Any]:
    """The measures of training by steps: a panel for each stage, measure, model and task (of a pretraining, model)."""
    panels: dict[tuple[str, ...], dict[str, Any]] = {}
    axes: dict[tuple[float, ...], int] = {}  # most lines share their steps
    for course in records.courses:
        is_pretraining = course.stage == "pretrain"
        key = (course.stage, course.measure, course.model, "" if is_pretraining else course.name)
        start = {
            "model": course.model, "part": f"{_STAGES[course.stage]}: {_MEASURES[course.measure]}", "x": "steps",
            "y": _MEASURES[course.measure], "lines": [],
        } | ({} if is_pretraining else {"task": course.name})  # fmt: skip
        panels.setdefault(key, start)["lines"].append({
            "condition": OWN if OWN in course.conditions else next(iter(course.conditions), ""), "conditions": course.conditions,
            "tasks": course.tasks, "name": _name_course(course), "runs": course.num_runs,
            "axis": axes.setdefault(tuple(course.steps), len(axes)), "range" if course.is_range else "each": course.lines,
        })  # fmt: skip
    for panel in panels.values():
        names = [line["name"] for line in panel["lines"]]
        for line in panel["lines"]:  # texts of one rule for several tasks
            line["name"] += f" of {', '.join(line['tasks'])}" if names.count(line["name"]) > 1 else ""
    note = f"A line for each run; of many runs a band from the lowest to the highest about the median, which is no interval. {COURSES}"
    return {"kind": "courses", "note": note, "axes": list(map(list, axes)), "panels": list(panels.values())}


def _name_course(course: Course) -> str:
    return course.name if course.stage == "pretrain" else ", ".join(course.conditions)


_STAGES = {"pretrain": "pretraining", "finetune": "fine-tuning"}
_MEASURES = {"loss": "training loss", "eval_loss": "held-out loss", "eval_score": "validation score"}


def describe_cross(cross: Cross, summary: Summary) -> dict[str, Any]:
    """The cross-task matrix: of each cell its text, what it means, and its place between the ends of the colours."""
    low, high = find_ends(cross)
    cells = [[_describe_cell(cell, cross.unit, low, high, summary) for cell in row] for row in cross.cells]
    return {
        "kind": "matrix", "model": cross.model, "unit": name_unit(cross.unit, summary.baseline), "is_diverging": cross.unit != "score",
        "texts": cross.texts, "tasks": cross.tasks, "cells": cells, "ends": [UNITS[cross.unit](end) for end in (low, high)],
        "star": explain_star(summary) + ". Means are over all tasks and texts, whatever is chosen" * (MEAN_COLUMN in cross.tasks),
    }  # fmt: skip


def explain_star(summary: Summary) -> str:
    return f"* the gain over {summary.baseline} differs from 0, corrected p < {format_score(summary.alpha, 2)}"


def name_unit(unit: str, baseline: str) -> str:
    """Of a matrix."""
    return {"benefit": "Benefit %", "gain": f"gain over {baseline}", "score": "score"}[unit]


def find_ends(cross: Cross) -> tuple[float, float]:
    """Of the colours: gains and Benefit diverge from zero; scores only rise."""
    values = [value for row in cross.cells for cell in row if (value := get_value(cell, cross.unit)) is not None]
    if cross.unit == "score":
        return min(values, default=0.0), max(values, default=1.0)
    reach = max((abs(value) for value in values), default=1.0) or 1.0
    return -reach, reach


def get_value(cell: CrossCell, unit: str) -> float | None:
    """None where there is none; the reference has its own gain's 100 %."""
    if cell.value is not None:
        return cell.value.point
    return 100.0 if unit == "benefit" and not cell.text else None


def _describe_cell(cell: CrossCell, unit: str, low: float, high: float, summary: Summary) -> dict[str, Any]:
    value = get_value(cell, unit)
    if value is None:
        return {"text": cell.text.partition(":")[0], "words": cell.text}
    star = "*" if cell.p_holm is not None and cell.p_holm < summary.alpha else ""
    words = cell.value.format(unit) if cell.value else "100, the reference itself"
    words += "" if cell.p_holm is None else f", corrected p {format_p(cell.p_holm)}"
    return {"text": UNITS[unit](value) + star, "words": words, "place": (value - low) / ((high - low) or 1.0)}


def list_colours(names: Iterable[str]) -> dict[str, str]:
    """By condition."""
    return {name: find_condition(name).colour for name in names}


def list_names(data: Mapping[str, Any]) -> tuple[list[str], list[str], list[str]]:
    """The models, tasks and conditions that a chart has."""
    panels = data.get("panels", [data])
    rows = [row for panel in panels for row in (*panel.get("rows", ()), *panel.get("lines", ()))]
    models = [each["model"] for each in (*panels, *rows) if "model" in each]
    tasks = [panel["task"] for panel in panels if "task" in panel]
    return models, tasks, [row["condition"] for row in rows if row.get("condition")]


def _list(interval: Interval) -> list[float | None]:
    """Point, low, high."""
    return [_trim(value) for value in (interval.point, interval.low, interval.high)]


def _trim(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.{DIGITS}g}")
