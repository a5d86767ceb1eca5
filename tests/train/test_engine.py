"""Which runs are trained together, and what becomes of the others."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from selfpretrain.config import RuntimeConfig
from selfpretrain.runs.folder import open_run
from selfpretrain.train import engine as engine_module
from selfpretrain.train.checkpoint import list_steps, remove_newer
from selfpretrain.train.engine import NATIVE, Engine, carry_out, carry_out_together, choose_parties
from selfpretrain.train.keeper import Diverged


class Tracker:
    def __init__(self):
        self.exit_codes = []

    def finish(self, exit_code=0):
        self.exit_codes.append(exit_code)


class Training:
    """A run with checkpoints of these steps; its training says what it began with."""

    device, engine = None, NATIVE

    def __init__(self, folder, name, steps=(), save_every=10):
        self.run = open_run(folder, "pretrain", name)
        for step in steps:
            (self.run.checkpoints / f"step_{step:09d}").mkdir(parents=True)
        self.run.path.mkdir(parents=True, exist_ok=True)
        self.runtime = RuntimeConfig(save_every=save_every)
        self.built_for, self.finished, self.tracker = 0, False, Tracker()

    def build(self, num_seeds):
        self.run.set_status("running")
        self.built_for = num_seeds
        return SimpleNamespace(keeper=SimpleNamespace(tracker=self.tracker), training=self)

    def finish(self, member):
        assert member.training is self
        self.finished = True
        self.run.finish({})


@pytest.fixture
def stacked(monkeypatch):
    """The names of the runs that were stacked; training does what ``during`` says."""
    record = SimpleNamespace(names=[], during=lambda trainings: None)

    class Trainer:
        def __init__(self, members):
            self.trainings = [member.training for member in members]

        def train(self):
            assert {training.built_for for training in self.trainings} == {len(self.trainings)}
            if len(self.trainings) > 1:
                record.names.append("".join(training.run.id for training in self.trainings))
                record.during(self.trainings)

    monkeypatch.setattr(engine_module, "Trainer", Trainer)
    return record


def get_parties(*trainings):
    return [(step, "".join(training.run.id for training in party)) for step, party in choose_parties(trainings)]


def test_runs_at_one_step_go_together(tmp_path):
    fresh = [Training(tmp_path, name) for name in "ab"]
    far = [Training(tmp_path, name, [30, 40]) for name in "cde"]
    assert get_parties(*fresh, *far) == [(40, "cde"), (0, "ab")]


def test_a_kill_between_two_checkpoints_costs_one_interval_of_the_others(tmp_path):
    ahead, behind = [Training(tmp_path, name, [30, 40]) for name in "ab"], Training(tmp_path, "c", [20, 30])
    assert get_parties(*ahead, behind) == [(30, "abc")]
    first, unsaved = Training(tmp_path, "d", [10]), Training(tmp_path, "e")
    assert get_parties(first, unsaved) == [(0, "de")]


def test_nothing_more_than_one_interval_is_given_up(tmp_path):
    # kept checkpoints and those of a signal lie anywhere
    far, near = Training(tmp_path, "a", [10, 37, 40]), Training(tmp_path, "b", [10])
    assert get_parties(far, near) == [(40, "a"), (10, "b")]
    single, fresh = Training(tmp_path, "c", [50]), Training(tmp_path, "d")
    assert get_parties(single, fresh) == [(50, "c"), (0, "d")]
    assert get_parties(Training(tmp_path, "e", [37, 40]), Training(tmp_path, "f", [37])) == [(37, "ef")]


def test_going_back_removes_what_is_newer(tmp_path):
    training = Training(tmp_path, "a", [10, 20, 30])
    remove_newer(training.run.checkpoints, 20)
    assert list_steps(training.run.checkpoints) == [10, 20]
    remove_newer(training.run.checkpoints, 0)
    assert list_steps(training.run.checkpoints) == []
    remove_newer(tmp_path / "none", 0)
    assert list_steps(tmp_path / "none") == []


def test_done_and_busy_runs_are_left_out_and_locks_are_held(tmp_path, stacked):
    done, busy, *rest = (Training(tmp_path, name) for name in "abcd")
    done.run.finish({})

    def check_locks(trainings):
        carry_out_together([Training(tmp_path, "c"), Training(tmp_path, "d")])  # as another process would

    stacked.during = check_locks
    with busy.run.lock():
        carry_out_together([done, busy, *rest])
    assert stacked.names == ["cd"]
    assert [training.built_for for training in (done, busy, *rest)] == [0, 0, 2, 2]
    assert [training.run.status for training in (done, busy, *rest)] == ["done", "missing", "done", "done"]
    with busy.run.lock(wait=False), rest[0].run.lock(wait=False):
        pass  # all are free again


def test_an_engine_that_trains_one_at_a_time_is_left_its_runs(tmp_path, stacked):
    trainings, given = [Training(tmp_path, name) for name in "ab"], []
    for training in trainings:
        training.engine = Engine(given.append)
    carry_out_together(trainings)
    assert not given and not stacked.names
    carry_out(trainings[0], wait=False)
    assert given == [[trainings[0]]]


def test_a_party_goes_back_and_one_alone_is_trained_alone(tmp_path, stacked):
    ahead, behind, alone = (
        Training(tmp_path, "a", [30, 40]),
        Training(tmp_path, "b", [30]),
        Training(tmp_path, "c", [90]),
    )
    carry_out_together([ahead, behind, alone])
    assert stacked.names == ["ab"] and alone.built_for == 1
    assert list_steps(ahead.run.checkpoints) == [30] and list_steps(alone.run.checkpoints) == [90]
    assert all(training.finished and training.tracker.exit_codes[0] == 0 for training in (ahead, behind, alone))


def test_a_diverged_run_is_not_finished_and_others_follow(tmp_path, stacked):
    together, alone = [Training(tmp_path, name, [40]) for name in "abc"], Training(tmp_path, "d")
    stacked.during = lambda trainings: trainings[1].run.set_status("diverged", "on purpose")
    carry_out_together([*together, alone])
    assert [training.finished for training in (*together, alone)] == [True, False, True, True]
    assert together[1].run.note == "on purpose" and together[1].tracker.exit_codes == [1]

    def diverge(trainings):
        for training in trainings:
            training.run.set_status("diverged", "all")
        raise Diverged("all")

    stacked.during = diverge
    last = [Training(tmp_path, name, [40]) for name in "ef"]
    after = Training(tmp_path, "g")
    carry_out_together([*last, after])
    assert [training.finished for training in (*last, after)] == [False, False, True]


def test_any_other_error_passes_and_ends_the_trackers(tmp_path, stacked):
    several = [Training(tmp_path, name) for name in "ab"]

    def fail(trainings):
        raise ZeroDivisionError

    stacked.during = fail
    with pytest.raises(ZeroDivisionError):
        carry_out_together(several)
    assert all(training.tracker.exit_codes == [1] and training.run.status == "running" for training in several)
