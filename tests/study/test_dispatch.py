"""Jobs handed out and taken back: what is elsewhere, lost, refused or packed."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import pytest

from selfpretrain.config import UserError
from selfpretrain.study import dispatch
from selfpretrain.study.cells import Job, make_jobs
from selfpretrain.study.crew import Crew
from selfpretrain.study.dispatch import carry_out
from selfpretrain.study.flow import Flow
from selfpretrain.study.watch import Watch


@pytest.fixture
def plan(make_plan, run_waves, monkeypatch):
    monkeypatch.setattr(dispatch, "POLL_SECONDS", 0.02)
    plan = make_plan("study.pretrain_seeds=2")
    run_waves(plan, "corpora")
    return plan


def finish_cell(cell):
    cell.run.start("", "")
    cell.run.finish({"held_out": {"loss": 1.0}, "scores": {"validation": 0.5}, "metric": "accuracy"})


def finish(path, plan):
    """Do a job without training anything; returns the statuses."""
    job = Job.read(path, plan.settings)
    for cell in job.cells:
        finish_cell(cell)
    return "+".join("done" for _ in job.cells)


def run(plan, launch, slots=1, in_thread=True):
    carry_out(Flow.of_runs(plan), Crew(launch, slots, in_thread), Watch(plan, None))


def list_statuses(plan):
    return [cell.status for name, cells in plan.iter_waves() for cell in cells if name != "corpora"]


@pytest.mark.parametrize(("slots", "in_thread"), [(1, False), (1, True), (3, True), (None, True)])
def test_every_cell_once(plan, slots, in_thread):
    asked = []

    def launch(stage, paths):
        asked.extend((stage, path) for path in paths)
        return [finish(path, plan) for path in paths]

    run(plan, launch, slots, in_thread)
    assert list_statuses(plan) == ["done"] * 6
    assert len(asked) == len(set(asked)) == 6
    assert sorted(stage for stage, _ in asked) == ["finetune"] * 4 + ["pretrain"] * 2


def test_what_stands_on_a_cell_goes_on_by_its_folder(plan):
    """One launch of two pretrainings comes back when both are done; the fine-tuning of the first does not wait for it."""
    is_tuned = threading.Event()

    def launch(stage, paths):
        if stage == "pretrain":
            first = finish(paths[0], plan)
            assert is_tuned.wait(20)
            return [first, finish(paths[1], plan)]
        own = [path for path in paths if Job.read(path, plan.settings).cells[0].condition == "own"]
        statuses = [finish(path, plan) for path in paths]
        if own:
            is_tuned.set()
        return statuses

    run(plan, launch, slots=None)
    assert list_statuses(plan) == ["done"] * 6


def test_a_job_that_dies_is_tried_once_more(plan, capfd):
    tries = []

    def launch(stage, paths):
        tries.append(paths)
        if len(tries) == 1:
            raise ConnectionError("the worker is gone\nand more")
        return [finish(path, plan) for path in paths]

    run(plan, launch)
    assert list_statuses(plan) == ["done"] * 6 and len(tries) == 7
    (line,) = [line for line in capfd.readouterr().err.splitlines() if "without a result" in line]
    assert line == (
        "roberta_tiny-own of local-p0: the job ended without a result (ConnectionError: the worker is gone), tried once more"
    )


def test_one_that_dies_each_time_is_left_and_what_stands_on_it_waits(plan, capfd):
    def launch(stage, paths):
        if stage == "pretrain":
            raise ConnectionError("gone")
        return [finish(path, plan) for path in paths]

    run(plan, launch)
    assert sorted(list_statuses(plan)) == ["done"] * 2 + ["missing"] * 4
    assert capfd.readouterr().err.count("left; the same command tries them again") == 2


@pytest.mark.parametrize("error", [UserError("no such partition"), SystemExit(75), KeyboardInterrupt()])
@pytest.mark.parametrize("in_thread", [False, True])
def test_a_refusal_or_a_signal_ends_the_study(plan, error, in_thread):
    def launch(stage, paths):
        raise error

    with pytest.raises(type(error)):
        run(plan, launch, in_thread=in_thread)


def test_what_another_process_holds_is_waited_for(plan):
    """It is not handed out while its lock is held; when that is free without a result, it is."""
    held, asked = next(iter(plan.pretrainings.values())), []
    other = ExitStack()
    other.enter_context(held.run.lock())
    threading.Timer(0.5, other.close).start()

    def launch(stage, paths):
        asked.extend(paths)
        return [finish(path, plan) for path in paths]

    run(plan, launch)
    assert list_statuses(plan) == ["done"] * 6 and len(asked) == len(set(asked)) == 6
    assert held.id not in asked[0] and any(held.id in path for path in asked)


def test_what_another_process_does_is_said_and_not_handed_out(plan, capfd):
    """It holds one pretraining and finishes it; it has done a fine-tuning before this process comes to it."""
    held, other, asked = next(iter(plan.pretrainings.values())), ExitStack(), []
    other.enter_context(held.run.lock())
    done = dict(plan.iter_waves())["fine-tuning"][0]

    def end():
        finish_cell(held)
        other.close()

    def launch(stage, paths):
        if not asked:
            finish_cell(done)
            threading.Timer(0.3, end).start()
        asked.extend(paths)
        return [finish(path, plan) for path in paths]

    run(plan, launch)
    assert list_statuses(plan) == ["done"] * 6 and len(asked) == 4
    assert not any(cell.id in path for cell in (held, done) for path in asked)
    lines = [line for line in capfd.readouterr().out.splitlines() if line.startswith("[")]
    assert len(lines) == 6 and lines[-1].startswith("[7/7] ")
    assert sum(cell.name in line for cell in (held, done) for line in lines) == 2


def test_a_busy_answer_is_asked_again(plan):
    answers = {"count": 0}

    def launch(stage, paths):
        answers["count"] += 1
        return ["busy"] if answers["count"] == 1 else [finish(path, plan) for path in paths]

    run(plan, launch)
    assert list_statuses(plan) == ["done"] * 6 and answers["count"] == 7


def test_short_cells_share_a_job(make_plan, run_waves):
    plan = make_plan("study.finetune_seeds=3", "study.cells_per_job=4", "study.conditions=[none]")
    cells = dict(plan.iter_waves())["fine-tuning"]
    assert [len(job.cells) for job in make_jobs(plan.study, cells)] == [4, 2]
    assert [len(job.groups) for job in make_jobs(plan.study, cells)] == [4, 2]
    stacked = make_plan(
        "study.finetune_seeds=3", "study.cells_per_job=4", "study.seeds_per_process=2", "study.conditions=[none]"
    )
    assert [len(job.groups) for job in make_jobs(stacked.study, cells)] == [2, 1]
    assert make_jobs(plan.study, []) == []
