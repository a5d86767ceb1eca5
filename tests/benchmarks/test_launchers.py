"""A study by each launcher is a whole command that must end well, and a further cell costs the difference of two."""

from __future__ import annotations

import pytest

from benchmarks import launchers
from benchmarks.work import write_toy_task
from selfpretrain.config import UserError


def test_a_further_cell_is_the_difference_by_its_number(monkeypatch):
    seconds = {("basic", 6): 10.0, ("basic", 26): 15.0, ("local_cores", 6): 12.0, ("local_cores", 26): 14.0}
    monkeypatch.setattr(launchers, "time_study", lambda name, size, *_: seconds[name, size])
    rows = list(launchers.run(launchers.Options(launchers="local_cores", sizes="6,26", repeats=2)))
    assert [row.work for row in rows] == [
        "6 cells by local_cores",
        "26 cells by local_cores",
        "a further cell by local_cores",
    ]
    assert (rows[-1].ours, rows[-1].theirs) == ([0.1, 0.1], [0.25, 0.25])


def test_a_real_study(tmp_path):
    assert launchers.time_study("local_cores", 6, write_toy_task(tmp_path), launchers.Options()) > 0
    assert not list(tmp_path.glob("selfpretrain_benchmark_*"))


def test_a_study_that_fails_is_no_measurement(tmp_path):
    with pytest.raises(UserError, match=r"ended with 2: .*(is not there|does not exist)"):
        launchers.time_study("basic", 6, tmp_path / "none.csv", launchers.Options())


def test_an_unknown_launcher_is_refused():
    with pytest.raises(UserError, match="launchers=dask is not measured"):
        list(launchers.run(launchers.Options(launchers="dask")))


def test_a_size_that_no_study_has_is_refused():
    with pytest.raises(UserError, match="no study has 36 cells"):
        list(launchers.run(launchers.Options(sizes="6,36")))
