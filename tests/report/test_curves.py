"""Scores along the number of labels and the length of pretraining: points, the last gain, what is said and drawn."""

from __future__ import annotations

import pytest

from selfpretrain.report.blocks import build_blocks
from selfpretrain.report.curves import describe_length
from selfpretrain.report.findings import LABELS, TOKENS
from selfpretrain.report.plots import draw_curves
from selfpretrain.report.summary import summarize
from selfpretrain.report.tables import build_tables


@pytest.fixture
def counted(fake_study):
    """A task at 100 and at 500 labels, given in the wrong order."""
    fake_study.add_counts("topics", (500, 100))
    for count, shift in ((500, 0.2), (100, 0.0)):
        task = f"topics@{count}"
        fake_study.add("none", [0.5 + shift, 0.52 + shift], task=task).add(
            "own", [0.6 + shift, 0.62 + shift], task=task
        )
    return summarize(fake_study.finish())


def test_points_are_the_scores_by_the_number_of_labels(counted):
    (curve,) = counted.curves
    assert (curve.name, curve.task) == (LABELS, "topics")
    assert {c: [point.x for point in points] for c, points in curve.lines.items()} == {
        "none": [100, 500],
        "own": [100, 500],
    }
    entries = {(panel.num_labels, entry.condition): entry.score for panel in counted.panels for entry in panel.entries}
    assert all(point.score == entries[point.x, c] for c, points in curve.lines.items() for point in points)


def test_the_table_has_a_row_for_each_number(counted):
    table = next(table for table in build_tables(counted) if table.name == "labels")
    assert table.header == ("model", "task", "labels", "none", "own", "own - none", "p")
    assert [row[:5] for row in table.rows] == [
        ("tiny", "topics (accuracy)", "100", ".510", ".610"), ("tiny", "topics (accuracy)", "500", ".710", ".810")
    ]  # fmt: skip
    assert [row[5][:5] for row in table.rows] == ["+.100"] * 2
    assert {panel.verdict.split(",")[0] for panel in counted.panels} == {"topics@100", "topics@500"}


def test_one_number_makes_no_curve(fake_study):
    fake_study.add("none", [0.5, 0.5]).add("own", [0.6, 0.6])
    summary = summarize(fake_study.finish())
    assert summary.curves == []
    assert not {"labels", "tokens"} & {block.name for block in build_blocks(summary) if hasattr(block, "name")}


@pytest.mark.parametrize(("end", "answer"), [
    (0.8, "it still paid when it ended"), (0.71, "whether more would pay is open"), (0.55, "more would hardly pay"),
])  # fmt: skip
def test_whether_more_would_pay(fake_study, end, answer):
    fake_study.add("none", [0.5, 0.5]).add("own", [0.6, 0.6])
    fake_study.add_curve("none", {0: 0.5}).add_curve("own", {4_000_000: end, 1_000_000: 0.6, 2_000_000: 0.7})
    summary = summarize(fake_study.finish())
    (curve,) = summary.curves
    assert [point.x for point in curve.lines["own"]] == [1e6, 2e6, 4e6] and len(curve.lines["none"]) == 1
    assert curve.last_gains["own"].point == pytest.approx(end - 0.7)
    line = describe_length(curve)
    assert line.endswith(f"this checkpoint only: {answer}")
    assert f".600 after 1 M tokens, .700 after 2 M tokens, .{end * 1000:.0f} after 4 M tokens; the last 2 M" in line
    assert line in summary.panels[0].evidence


def test_where_nothing_was_kept_there_is_no_curve(fake_study):
    fake_study.add("none", [0.5, 0.5]).add("own", [0.6, 0.6]).add_curve("none", {0: 0.5})
    assert summarize(fake_study.finish()).curves == []


@pytest.mark.parametrize("name", [LABELS, TOKENS])
def test_plots_are_the_same_bytes_twice(fake_study, counted, name):
    fake_study.add_curve("own", {1_000_000: 0.6, 2_000_000: 0.7}, task="topics@100")
    summary = summarize(fake_study.finish())
    first, again = (draw_curves(summary, name) for _ in range(2))
    assert first == again and set(first) == {"png", "svg", "pdf"}
    assert b"topics" in first["svg"] or b"<path" in first["svg"]
