"""What a study says while it runs."""

from __future__ import annotations

import math
import re
import time

import pytest

from selfpretrain.report import plots
from selfpretrain.study import watch
from selfpretrain.study.probe import Estimate
from selfpretrain.study.watch import Watch, describe_outcome
from selfpretrain.train.trainer import Trainer

LINE = re.compile(r"\[(\d+)/(\d+)\] (.+?) (done|failed|diverged): (.*)")


@pytest.fixture
def study(tiny, local, monkeypatch):
    monkeypatch.setattr(plots, "draw_scores", lambda _: {})
    return ["study", *tiny, *local(), "study.pretrain_seeds=2", "study.num_replicates=200"]


def read_lines(text):
    return [match.groups() for match in map(LINE.fullmatch, text.splitlines()) if match]


def test_every_cell_is_a_line(command, study):
    first = command(*study, "study.pretrain_seeds=1")
    lines = read_lines(first.out)
    assert [line[:2] for line in lines] == [(str(i), "4") for i in range(1, 5)]
    assert [line[2] for line in lines[:2]] == ["roberta_tiny-own of local-p0"] * 2
    assert {line[2] for line in lines[2:]} == {"roberta_tiny-none-local-p0-f0", "roberta_tiny-own-local-p0-f0"}
    assert re.fullmatch(r"corpus of [\d,]+ tokens; about \d+ s left", lines[0][4])
    assert re.fullmatch(r"held-out loss \d\.\d{3}, \d+ s; about \d+ s left", lines[1][4])
    assert re.fullmatch(r"validation accuracy \.\d{3} \(rate 0.001, normal start\), \d+ s; about .*", lines[2][4])
    assert lines[3][4].endswith(" s")  # nothing is left
    more = command(*study)
    assert [line[:2] for line in read_lines(more.out)] == [(str(i), "7") for i in range(5, 8)]
    assert not read_lines(command(*study).out)


def test_a_failure_is_a_line_each_time_and_blocks(command, study, monkeypatch):
    def fail(self):
        if self.members[0].keeper.run.path.parent.name == "pretrain":
            raise ZeroDivisionError("on purpose")
        whole(self)

    whole = Trainer.train
    monkeypatch.setattr(Trainer, "train", fail)
    for _ in range(2):
        outcome = command(*study, "study.pretrain_seeds=1")
        assert outcome.code == 1
        (line,) = read_lines(outcome.err)
        assert line[2:4] == ("roberta_tiny-own of local-p0", "failed")
        assert line[4].startswith("ZeroDivisionError: on purpose; about ")
    monkeypatch.setattr(Trainer, "train", whole)
    lines = read_lines(command(*study, "study.pretrain_seeds=1").out)
    assert [line[:2] for line in lines] == [("3", "4"), ("4", "4")]


def finish(cell, status="done"):
    """As another process would."""
    cell.run.start("", "")
    if status == "done":
        cell.run.finish({"held_out": {"loss": 2.5}})
    else:
        cell.run.set_status(status, "on purpose\nand at length")


def wait_for(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_cells_of_other_processes_are_said_as_they_end(make_plan, run_waves, capfd, monkeypatch):
    monkeypatch.setattr(watch, "POLL_SECONDS", 0.02)
    plan = make_plan("study.conditions=[own]", "study.pretrain_seeds=3")
    run_waves(plan, "corpora")
    cells = list(plan.pretrainings.values())
    finish(cells[2], "failed")  # in an earlier session
    capfd.readouterr()
    own = Watch(plan, None)
    with own.follow():
        own.expect("pretraining", cells)
        finish(cells[0])
        wait_for(lambda: len(own.waiting) == 2)
        announced, said = capfd.readouterr().out.splitlines()
        assert announced == "pretraining: 3 of 3 cells to run"
        assert read_lines(said)[0][:4] == ("2", "7", cells[0].name, "done")
        finish(cells[1], "failed")
        wait_for(lambda: len(own.waiting) == 1)
        assert capfd.readouterr().err == f"[3/7] {cells[1].name} failed: on purpose\n"
        time.sleep(0.1)
        assert capfd.readouterr() == ("", "")  # the old failure is none yet
        own.settle(cells[2])
    assert capfd.readouterr().err == f"[4/7] {cells[2].name} failed: on purpose\n"


def test_the_time_left_goes_by_what_is_done(make_plan, run_waves, capfd, monkeypatch):
    plan = make_plan("study.conditions=[own]")
    run_waves(plan, "corpora")
    pretrainings, finetunings = list(plan.pretrainings.values()), dict(plan.iter_waves())["fine-tuning"]
    seconds = {(cell.stage, cell.name): 60.0 for cell in pretrainings} | {
        (cell.stage, cell.name): 300.0 for cell in finetunings
    }
    own = Watch(plan, Estimate(cells=seconds))
    clock = iter(float(second) for second in (0, 0, *[180] * 99))
    monkeypatch.setattr(watch.time, "monotonic", lambda: next(clock))
    with own.follow():
        own.expect("pretraining", pretrainings)
        finish(pretrainings[0])
        own.look()
    monkeypatch.undo()
    # one of two took thrice its time; the other will, too, and fine-tunings what was estimated
    assert read_lines(capfd.readouterr().out)[0][4] == "held-out loss 2.500, 0 s; about 13 min left"
    own = Watch(plan, Estimate(cells={**seconds, (finetunings[0].stage, finetunings[0].name): math.nan}))
    with own.follow():
        own.expect("pretraining", pretrainings[1:])
        finish(pretrainings[1])
    assert "left" not in capfd.readouterr().out


def test_a_run_without_a_score(make_plan):
    cell = dict(make_plan().iter_waves())["fine-tuning"][0]
    cell.run.start("", "")
    cell.run.finish({"metric": "pearson", "scores": {"validation": None}})
    assert describe_outcome(cell).startswith(f"{cell.name} done: validation pearson undefined (rate ")
