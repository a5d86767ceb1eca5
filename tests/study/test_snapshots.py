"""A study's fine-tunings from its pretrainings' checkpoints: planned, counted, carried out and reported."""

from __future__ import annotations

import pytest

from selfpretrain.config import UserError
from selfpretrain.files import remove_folder
from selfpretrain.report.blocks import build_blocks
from selfpretrain.report.collect import collect_results
from selfpretrain.report.summary import summarize
from selfpretrain.report.write import save_report
from selfpretrain.study.cost import Costs

THREE = ["pretrain.total_steps=8", "study.checkpoints=[.25,.5]"]


def find_group(plan, condition):
    return next(group for group in plan.groups if group.condition == condition)


def test_all_seeds_are_fine_tuned_from_every_checkpoint_and_old_ids_stay(make_plan):
    usual, plan = make_plan("pretrain.total_steps=8"), make_plan(*THREE)
    assert [cell.key for cells in dict(usual.iter_waves()).values() for cell in cells] == [
        cell.key for name, cells in plan.iter_waves() if name != "checkpoints" for cell in cells
    ]
    assert {tuple(cell.settings.pretrain.snapshots) for cell in plan.pretrainings.values()} == {(0.25, 0.5)}
    own = plan.list_checkpoints(find_group(plan, "own"))
    assert {step: [cell.pretrain_seed for cell in cells] for step, cells in own.items()} == {2: [0, 1], 4: [0, 1]}
    assert all(cell.settings.start.step == step for step, cells in own.items() for cell in cells)
    assert plan.list_checkpoints(find_group(plan, "none")) == {}
    wave = dict(plan.iter_waves())["checkpoints"]
    assert len(wave) == 4 and Costs(plan).compute_work(wave[0]).steps == 2
    # twice the encoders of a pretraining that keeps its last alone, and one more
    kept, last = (Costs(p).compute_work(next(iter(p.pretrainings.values()))).disk for p in (plan, usual))
    assert kept["encoders"] == 3 * last["encoders"]


def test_a_schedule_names_them_and_waves_count_them_before_a_budget_is_steps(make_plan):
    rule = ["pretrain.checkpoint_schedule=every:.25", "study.checkpoints=[schedule]"]
    plan = make_plan(*rule, "pretrain.total_steps=8")
    assert list(plan.list_checkpoints(find_group(plan, "own"))) == [2, 4, 6]
    waiting = make_plan(*rule, "budget=epochs", "pretrain.budget_amount=3")
    assert waiting.is_provisional and len(dict(waiting.iter_waves())["checkpoints"]) == 6


def test_a_curve_beside_them_has_its_own_shares(make_plan):
    plan = make_plan(*THREE, "study.curve=[.75]")
    own = find_group(plan, "own")
    assert (list(plan.list_curve(own)), list(plan.list_checkpoints(own))) == ([6], [2, 4])
    kept = {cell.pretrain_seed: cell.settings.pretrain.snapshots for cell in plan.pretrainings.values()}
    assert kept == {0: [0.75, 0.25, 0.5], 1: [0.25, 0.5]}


def test_what_cannot_keep_them_is_refused(make_plan):
    with pytest.raises(
        UserError, match=r"pretrain\.engine=native, which keeps encoders on the way; fairseq keeps the last"
    ):
        make_plan(*THREE, "pretrain.engine=fairseq")
    with pytest.raises(UserError, match="which budget=seconds has not; set budget=steps"):
        make_plan("study.checkpoints=[.5]", "budget=seconds", "pretrain.budget_amount=2")


def test_a_study_of_two_seeds_and_three_checkpoints(make_plan, run_waves, tmp_path):
    plan = make_plan(*THREE, "study.num_replicates=200")
    run_waves(plan, "corpora", "pretraining", "fine-tuning", "checkpoints")
    first = next(iter(plan.pretrainings.values()))
    assert first.run.read_result()["snapshots"] == [2, 4]
    found = [(step, cell.condition, cell.status) for step, cell in collect_results(plan, []).checkpoints]
    assert found == [(step, "own", "done") for step in (2, 2, 4, 4, 8, 8)]
    summary = summarize(collect_results(plan, []))
    (dynamics,) = summary.dynamics
    assert (dynamics.steps, dynamics.num_checkpoints, dynamics.conditions) == ([2, 4, 8], 3, ["own"])
    assert any(line.startswith("dynamics: own ") for line in summary.panels[0].evidence)
    files = {path.name for path in save_report(summary, build_blocks(summary), tmp_path / "report")}
    assert {"dynamics.csv", "separations.csv", "dynamics.png"} <= files
    text = (tmp_path / "report" / "report.md").read_text()
    assert "Intervals hold over pretraining seeds (initialisation, data order and masks together)" in text
    assert "each at 1 - .05/3" in text
    # what a finished run no longer has is missing, and said to be
    end = find_group(plan, "own").choose_cells()[0]
    remove_folder(plan.pretrainings[end.settings.start.run_id].run.encoder(2))
    remove_folder(plan.list_checkpoints(find_group(plan, "own"))[2][0].run.path)
    assert len(dict(plan.iter_waves())["checkpoints"]) == 3
    summary = summarize(collect_results(plan, []))
    assert summary.dynamics[0].panels[0].find("own").state == "partial"
    lacking = "own: finished pretrainings that kept no encoder after so many steps (of how many seeds): 2 (1)"
    assert any(lacking in warning for warning in summary.warnings)
