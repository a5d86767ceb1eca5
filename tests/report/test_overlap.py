"""A report again without the test examples that a text holds: the same for all conditions, every table."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from rich.console import Console

from selfpretrain.report.blocks import build_blocks, list_explanations
from selfpretrain.report.markdown import format_markdown
from selfpretrain.report.summary import summarize
from selfpretrain.report.tables import build_tables
from selfpretrain.report.terminal import print_report
from tests.report.conftest import NUM_EXAMPLES, make_labels

ROWS = [f"row{index}" for index in range(NUM_EXAMPLES)]


def make_outputs(task, right):
    """Right on exactly these examples."""
    labels = make_labels(task, "class")
    return np.eye(4)[np.where(right, labels, (labels + 1) % 4)] * 3


@pytest.fixture
def memory(fake_study):
    """A study in which the own text helps on its first 100 test examples alone, which it holds."""
    draw = np.random.default_rng(0)
    for seed in range(3):
        base = draw.random(NUM_EXAMPLES) < 0.6
        fake_study.add("none", [0], outputs=make_outputs("topics", base), first=seed)
        known = np.where(np.arange(NUM_EXAMPLES) < 100, True, draw.random(NUM_EXAMPLES) < 0.6)
        fake_study.add("own", [0], outputs=make_outputs("topics", known), first=seed)
        fake_study.add("bookwiki", [0], outputs=make_outputs("topics", base), first=seed)
    return fake_study


def test_a_gain_by_memory_alone_is_gone_without_it(memory):
    held = {"topics": {"training split, own of topics": ROWS[:100], "bookwiki": ROWS[90:110]}}
    summary = summarize(memory.finish(held=held, exclude_overlap=True, analyses=["calibration"]))
    (panel,), (other,) = summary.panels, summary.without_overlap.panels
    assert (panel.num_examples, other.num_examples) == (400, 290)
    assert panel.find("own").gain.delta.point > 0.07
    assert abs(other.find("own").gain.delta.point) < 0.06
    line = next(line for line in panel.evidence if line.startswith("overlap"))
    assert line.startswith(
        "overlap: without the 110 of 400 test examples that a text holds (training split, own of topics 100, bookwiki 20): "
    )
    assert line.endswith(other.verdict.removeprefix("topics, tiny: ")) and panel.verdict != other.verdict
    names = [table.name for table in build_tables(summary)]
    assert names == [
        *("scores", "reference", "variance"),
        *(f"{name}_without_overlap" for name in ("scores", "reference", "variance")),
    ]
    assert "Scores, without overlapping test examples" in format_markdown(build_blocks(summary))
    console = Console(file=io.StringIO(), width=120)
    print_report(build_blocks(summary), console)
    assert "topics (accuracy), tiny, without overlapping test examples" in console.file.getvalue()
    assert any(line.startswith("Without overlapping test examples: those") for line in list_explanations(summary))
    stored = summary.to_json()["without_overlap"]
    assert json.dumps(stored) and stored["panels"][0]["num_examples"] == 290


def test_scores_are_those_of_the_examples_that_are_left(memory):
    summary = summarize(memory.finish(held={"topics": {"own": ROWS[:100]}}, exclude_overlap=True))
    whole, apart = (each.panels[0].find("own") for each in (summary, summary.without_overlap))
    for run, left in zip(whole.singles, apart.singles, strict=True):
        assert left == pytest.approx((run * 400 - 100) / 300)


def test_nothing_held_is_said_and_gives_no_second_tables(memory):
    summary = summarize(memory.finish(held={"topics": {"training split": [], "bookwiki": []}}, exclude_overlap=True))
    assert summary.without_overlap is None and "without_overlap" not in summary.to_json()
    assert "overlap: no test example is held by any of training split, bookwiki" in summary.panels[0].evidence
    assert [table.name for table in build_tables(summary)] == ["scores", "reference", "variance"]


def test_a_task_with_too_little_left_has_no_second_numbers(memory):
    memory.add("none", [0.5, 0.5], "other").add("own", [0.6, 0.6], "other")
    held = {"topics": {"own": ROWS[:60]}, "other": {"own": ROWS[:360]}}
    summary = summarize(memory.finish(held=held, exclude_overlap=True))
    assert [panel.task for panel in summary.without_overlap.panels] == ["topics"]
    assert "fewer than 50 are left, too few to test on" in summary.panels[1].evidence[-1]


def test_a_task_without_a_finished_run_says_nothing_of_it(fake_study):
    fake_study.add("none", [0, 0], status="missing").add("own", [0, 0], status="missing")
    summary = summarize(fake_study.finish(held={"topics": {"own": ROWS[:60]}}, exclude_overlap=True))
    assert summary.without_overlap is None
    assert not any("overlap" in line for line in summary.panels[0].evidence)


def test_a_study_that_does_not_ask_is_as_before(memory):
    plain = summarize(memory.finish())
    assert plain.without_overlap is None
    assert not any("overlap" in line for line in plain.panels[0].evidence)
