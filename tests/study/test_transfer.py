"""A study's other test sets: cells of a further wave, the same runs as by hand, gaps, and what is refused."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest

from selfpretrain.door import compose_settings
from selfpretrain.report.collect import collect_results
from selfpretrain.study.sweep import build_plan

TRANSFER = "study.transfer={mnli: [hans, snli, ax]}"


@pytest.fixture
def study(tiny, mnli_mirror):
    return [*tiny, "study.tasks=[mnli]", "study.pretrain_seeds=2", TRANSFER]


def read_table(tmp_path):
    (path,) = (tmp_path / "runs" / "reports").glob("*/transfer.csv")
    return list(csv.DictReader(path.read_text().splitlines()))


def test_the_runs_of_a_task_on_other_test_sets(command, tiny, study, tmp_path):
    outcome = command("study", *study)
    assert outcome.code == 0, outcome.err
    folders = sorted((tmp_path / "runs" / "evaluate").glob("*/"))
    assert len(folders) == 8  # two test sets, conditions and seeds; ax is not there
    rows = read_table(tmp_path)
    found = [(row["test_set"], row["condition"], row["state"], row["seeds"]) for row in rows]
    assert found == [
        *((name, condition, "done", "2") for name in ("hans", "snli") for condition in ("none", "own")),
        ("ax", "NA", "missing", "NA"),
    ]
    runs = {path.name for path in (tmp_path / "runs" / "finetune").glob("*/")}
    results = [json.loads((folder / "result.json").read_text()) for folder in folders]
    assert {result["run"] for result in results} == runs
    scores = [result["scores"]["test"] for result in results if result["task"] == "hans"]
    assert np.mean([float(row["score"]) for row in rows[:2]]) == pytest.approx(np.mean(scores))
    assert float(rows[1]["gain"]) == pytest.approx(float(rows[1]["score"]) - float(rows[0]["score"]))
    report = next((tmp_path / "runs" / "reports").glob("*/report.md")).read_text()
    assert "ax is missing: " in report and "hans (test set for mnli)" in report
    # by hand it is the same run, which is there
    by_hand = command("evaluate", *tiny, "task=hans", f"init=run:{sorted(runs)[0]}")
    assert by_hand.code == 0 and sorted((tmp_path / "runs" / "evaluate").glob("*/")) == folders
    # what is lost is done again, and nothing else
    shutil.rmtree(folders[0])
    again = command("study", *study)
    assert again.code == 0 and "transfer: 1 of 8 cells to run\n" in again.out and "tuning: " not in again.out
    assert read_table(tmp_path) == rows


def test_the_plan_counts_them(command, study):
    outcome = command("plan", *study)
    assert outcome.code == 0, outcome.err
    row = next(line for line in outcome.out.splitlines() if " transfer" in line)
    assert [cell.strip() for cell in row.split("│")[2:4]] == ["8", "0"]
    assert "ax (test set for mnli): missing: " in outcome.out


@pytest.mark.parametrize(
    ("transfer", "message"),
    [
        ("{mnli: hans}", "allowed: {<task>: [<card>, ...]}"),
        ("{qqp: [paws]}", "study.transfer names the task 'qqp'; the study has mnli"),
        ("{mnli: [hnas]}", "did you mean 'hans'?"),
        ("{mnli: [{label_map: {}}]}", "mnli has a test set without a name"),
        ("{mnli: [{name: snli, label_names: [yes, perhaps, no]}]}", "task.label_map={<class>: <class of snli>}"),
    ],
)
def test_what_is_refused(command, study, transfer, message):
    outcome = command("plan", *study[:-1], f"study.transfer={transfer}")
    assert outcome.code == 2 and outcome.err.count("\n") == 1
    assert message in outcome.err


def test_an_evaluation_fails_with_its_fine_tuning(study):
    plan = build_plan(compose_settings("study", study), study)
    trained = plan.groups[0].choose_cells()[0]
    trained.run.set_status("diverged", "NaN")
    cell = next(c for c in plan.list_transfers(plan.groups[0]) if c.settings.start.run_id == trained.id)
    assert cell.is_blocked and cell.blocker == trained.id
    results = [found for transfer in collect_results(plan, []).transfers for found in transfer.cells]
    struck = [found for found in results if found.status == "diverged"]
    assert len(struck) == 2 and struck[0].note == "its fine-tuning diverged: NaN"
