"""What is timed is a whole command, and it has worked."""

from __future__ import annotations

import pytest

from benchmarks import startup
from selfpretrain.config import UserError


def test_a_command_is_timed_and_has_to_work():
    assert 0.01 < startup.time_command([]) < 60
    with pytest.raises(UserError, match=r"selfpretrain gone ended with 2: .*allowed"):
        startup.time_command(["gone"])


def test_the_study_is_done_before_it_is_timed(monkeypatch):
    asked = []
    monkeypatch.setattr(startup, "time_command", lambda arguments: asked.append(list(arguments)) or 1.5)
    rows = list(startup.run(startup.Options(repeats=2)))
    assert [row.ours for row in rows] == [[1.5, 1.5]] * 2
    assert all(row.lower_is_better and row.unit == "s" and not row.peer for row in rows)
    assert asked[:3] == [[]] * 3
    assert asked[3][:2] == ["study", "task=local"]
    assert asked[3:] == [asked[3]] * 4  # once to the end, once to warm up, twice timed


def test_another_study_is_named(monkeypatch):
    monkeypatch.setattr(startup, "time_command", lambda arguments: 1.0)
    row = list(startup.run(startup.Options(repeats=1, study="study=agnews_cpu runtime.runs_dir=x")))[1]
    assert row.work == "selfpretrain study study=agnews_cpu, all done"
