"""What ``selfpretrain plan`` prints."""

from __future__ import annotations

import re

import pytest


def read_rows(text) -> dict[str, list[str]]:
    """The tables' rows by their first cell; the last row of a name wins ("all" is the disk's)."""
    rows = [[cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in text.splitlines() if line[:1] in "│┃"]
    return {row[0]: row[1:] for row in rows}


def test_a_study_to_come(make_plan, show):
    text = show(make_plan())
    rows = read_rows(text)
    assert rows["corpora"][:2] == ["0.0", "0.0"]  # of the disk: a kilobyte of text
    assert rows["pretraining"][:3] == ["2", "0", "2"]
    assert rows["fine-tuning"][:3] == ["4", "0", "4"]
    flops, to_run = rows["pretraining"][3:5]
    assert flops == to_run and float(flops) > 0
    # two runs: two steps of two sequences, at most 256 held out at a third of a step's cost, and two seconds around them
    assert float(rows["pretraining"][5]) == pytest.approx(2 * (2 + 256 / 2 / 3 + 2) / 3600, abs=0.005)
    assert "1 corpus not built: until then the vocabulary" in text
    assert "unknown" not in text


def test_a_study_partly_done(make_plan, run_waves, show):
    plan = make_plan()
    run_waves(plan, "corpora", "pretraining")
    text = show(plan)
    rows = read_rows(text)
    assert rows["pretraining"][:3] == ["2", "2", "-"]
    assert rows["pretraining"][4:] == ["-", "-"]
    assert rows["fine-tuning"][:2] == ["4", "0"]
    assert "resources.finetune.timeout_min=" in text and "resources.pretrain." not in text
    assert float(rows["checkpoints"][0]) > 0 and float(rows["checkpoints"][1]) > 0
    assert "not built" not in text


def test_what_cannot_be_known_yet_is_called_unknown(make_plan, show):
    unlimited = ("study.conditions=[bookwiki]", "study.general=docs", "study.general_mb=null")
    text = show(make_plan("budget=epochs", "pretrain.budget_amount=3", *unlimited))
    rows = read_rows(text)
    assert rows["pretraining"][3:] == ["unknown"] * 3
    assert "epochs of a collection without a limit on its size, until it is built" in text
    assert "budget: epochs, 3 for each pretraining" in text
    text = show(make_plan("budget=seconds", "pretrain.budget_amount=3600"))
    rows = read_rows(text)
    assert rows["pretraining"][3:] == ["unknown", "unknown", "2.00"]
    assert "2 times the longest: " in text and "hydra.sweeper.resources.pretrain.timeout_min=121 " in text
    assert "FLOPs of budgets in seconds, until their runs have begun" in text


def test_a_collection_without_a_limit(make_plan, show):
    text = show(make_plan("study.conditions=[none,own,bookwiki]", "study.general=docs", "study.general_mb=null"))
    assert read_rows(text)["corpora"][1].startswith("over 0.0")  # of the disk
    assert "corpora without a limit on their size, until they are built" in text


def test_failed_and_diverged_runs_are_named(make_plan, run_waves, show):
    plan = make_plan()
    run_waves(plan, "corpora")
    for cell, status in zip(plan.pretrainings.values(), ("failed", "diverged"), strict=True):
        cell.run.path.mkdir(parents=True)
        cell.run.set_status(status, "on purpose")
    text = show(plan)
    assert "1 run failed: tried again" in text and "1 run diverged: counted as done" in text
    assert read_rows(text)["pretraining"][:2] == ["2", "1"]


def test_jobs_are_what_processes_are_asked_to_do(make_plan, show):
    rows = read_rows(show(make_plan("study.seeds_per_process=2", "study.cells_per_job=4", "study.finetune_seeds=2")))
    assert rows["pretraining"][:3] == ["2", "0", "1"]
    assert rows["fine-tuning"][:3] == ["8", "0", "2"]
