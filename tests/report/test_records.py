"""What run folders tell beside results, and the detail tables that it makes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from selfpretrain.door import compose_settings
from selfpretrain.files import write_json
from selfpretrain.report.charts import describe_courses
from selfpretrain.report.record_tables import build_record_tables
from selfpretrain.report.records import (
    MOST_POINTS,
    MOST_RUNS,
    Course,
    Records,
    RunRecord,
    collect_records,
    summarize_lines,
)
from selfpretrain.report.summary import summarize
from selfpretrain.study.sweep import build_plan


@pytest.fixture
def plan(tiny, local):
    overrides = [*tiny, *local(), "study.pretrain_seeds=2", "report.watts=100", "tracking=wandb"]
    return build_plan(compose_settings("study", overrides), overrides)


def list_cells(plan, stage):
    return [cell for _, cells in plan.iter_waves() for cell in cells if cell.stage == stage]


def end(cell, status="done", note="", losses=(3.0, 2.0, 1.0)):
    cell.run.path.mkdir(parents=True)
    start = {
        "started": "2026-01-01T00:00:00Z",
        "seeds_together": 2,
        "commit": "abc",
        "gpu": "",
        "versions": {"torch": "2.9"},
    }
    write_json(cell.run.path / "provenance.json", [{**start, "commit": "before"}, start])
    lines = [{"step": 5 * place, "loss": loss} for place, loss in enumerate(losses, 1)]
    (cell.run.path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 9')
    if status == "done":
        write_json(cell.run.path / "result.json", {})
    cell.run.set_status(status, note)


def find_table(plan, records, fake_study, name):
    summary = summarize(fake_study.add("none", [0.6]).finish())
    return next(table for table in build_record_tables(records, summary) if table.name == name)


def test_every_run_says_how_it_went_and_for_whom(plan):
    first, second = list_cells(plan, "pretrain")
    end(first)
    end(second, "failed", "no room\nat line 3")
    own = [cell for cell in list_cells(plan, "finetune") if cell.condition == "own"]
    end(own[0], losses=(1.0, float("nan")))
    records = collect_records(plan)
    assert len(records.runs) == 6 and records.watts == 100
    found = {run.id: run for run in records.runs}
    assert found[first.id].conditions == ("own",) and found[first.id].tasks == ("local",)
    assert found[first.id].origin == (("commit", "abc"), ("torch", "2.9"))
    assert found[first.id].seconds > 0 and found[first.id].flops > 0
    assert found[own[1].id].status == "blocked" and found[own[1].id].note.startswith("its pretraining failed: no room")
    assert [run.status for run in records.runs if run.conditions == ("none",)] == ["missing"] * 2
    courses = {(course.stage, course.measure): course for course in records.courses}
    assert courses["pretrain", "loss"].lines == [[3.0, 2.0, 1.0]] * 2  # the line that was cut short is left out
    assert courses["finetune", "loss"].lines == [[1.0]]
    assert records.settings["pretrain.total_steps"] == "2" and records.settings["study.pretrain_seeds"] == "2"
    assert not [key for key in records.settings if key.startswith(("runtime.", "tracking."))]
    assert "finetune.epochs" not in records.settings


def test_gaps_have_their_reasons_and_costs_add_up(plan, fake_study):
    for number, cell in enumerate(list_cells(plan, "pretrain")):
        end(cell, "done" if number else "diverged", "" if number else "not finite at step 7")
    records = collect_records(plan)
    gaps = find_table(plan, records, fake_study, "gaps")
    assert [row[4] for row in gaps.rows] == ["missing", "blocked", "missing", "diverged"]
    assert gaps.rows[1][5:] == ("0.0", "its pretraining diverged: not finite at step 7", "1")
    assert gaps.rows[-1][6] == "not finite at step 7" and gaps.is_detail and not gaps.differs
    cost = find_table(plan, records, fake_study, "cost")
    assert cost.differs and cost.rows[0][:4] == ("pretrain", "roberta_tiny", "own of local", "1 of 2")
    whole, watts = cost.csv_rows[-1], "report.watts"
    assert float(whole[-1]) == pytest.approx(100 * float(whole[-2]) / 3.6e6) and watts in cost.notes[1]
    without = find_table(plan, replace(records, watts=None), fake_study, "cost")
    assert "energy" not in without.header and "not known" in without.notes[1]
    runs = find_table(plan, records, fake_study, "runs")
    assert len(runs.rows) == 6 and {row[8] for row in runs.rows} == {"1", "-"}


def make_run(name, task, **more):
    return RunRecord("pretrain", name, "tiny", (task,), (name,), 0, None, f"{name}-{task}", "done", "", **more)


def test_texts_of_one_name_for_two_tasks_stay_apart(plan, fake_study):
    runs = [replace(make_run("bookwiki_sized", task), status="missing") for task in ("rte", "mrpc")]
    courses = [
        Course("pretrain", "bookwiki_sized", "tiny", run.tasks, run.conditions, "loss", 1, [5.0], [[3.0]], False)
        for run in runs
    ]
    records = Records(runs, courses)
    gaps = find_table(plan, records, fake_study, "gaps")
    assert sorted((row[0], row[3], row[-1]) for row in gaps.csv_rows) == [
        ("pretrain", task, "1") for task in ("mrpc", "rte")
    ]
    (panel,) = describe_courses(records)["panels"]
    assert [line["name"] for line in panel["lines"]] == ["bookwiki_sized of rte", "bookwiki_sized of mrpc"]


def test_sums_say_of_how_many_runs_they_are(plan, fake_study):
    runs = [make_run("own", "a", flops=1e9, seconds=10.0), make_run("own", "b"), make_run("own", "c", flops=1e9)]
    cost = find_table(plan, Records(runs, watts=360), fake_study, "cost")
    assert cost.rows[0][3:] == ("3", "2e+09 (of 2)", "10 s (of 1)", "0.001 kWh (of 1)")


def test_lines_of_many_points_are_means_of_stretches():
    steps, (line,) = summarize_lines([[(step, float(step)) for step in range(1, 401)]])
    assert len(steps) == len(line) == MOST_POINTS
    assert (steps[0], line[0], steps[-1], line[-1]) == (10, 5.5, 400, 395.5)
    steps, lines = summarize_lines([[(5, 1.0), (10, 2.0)], [(10, 4.0)]])
    assert (steps, lines) == ([5, 10], [[1.0, 2.0], [None, 4.0]])


def test_many_runs_are_a_range(tiny, local):
    overrides = [*tiny, *local(), f"study.pretrain_seeds={MOST_RUNS + 1}"]
    plan = build_plan(compose_settings("study", overrides), overrides)
    for number, cell in enumerate(list_cells(plan, "pretrain")):
        end(cell, losses=(3.0, float(number)))
    (course,) = collect_records(plan).courses
    assert course.is_range and course.num_runs == 7
    assert course.lines == [[3.0, 0.0], [3.0, 3.0], [3.0, 6.0]]  # lowest, median, highest
