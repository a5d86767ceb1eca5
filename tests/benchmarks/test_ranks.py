"""Two ranks against their parts, at toy size."""

from __future__ import annotations

from pathlib import Path

from benchmarks import __main__ as command
from selfpretrain.files import read_json


def test_two_ranks_are_measured_and_recorded(tmp_path: Path) -> None:
    arguments = ["ranks", "toy=true", "seconds=0.05", "repeats=2", f"runs_dir={tmp_path}", f"results_dir={tmp_path}"]
    assert command.main(arguments) == 0
    (path,) = tmp_path.glob("*.json")
    (entry,) = read_json(path)["entries"]
    assert entry["benchmark"] == "ranks" and "2 ranks" in entry["work"] and entry["unit"] == "steps/s"
    assert len(entry["ratio"]) == 2 and all(value > 0 for value in entry["ours"] + entry["theirs"])


def test_a_batch_that_two_ranks_cannot_share_is_refused(capsys) -> None:
    assert command.main(["ranks", "batch_size=12", "micro_batch_size=4"]) == 2
    assert "batch_size=12 is not a multiple of 2 x micro_batch_size=4" in capsys.readouterr().err
