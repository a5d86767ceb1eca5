"""The rows are those that were asked for, and each reading is timed in a process of its own."""

from __future__ import annotations

import dataclasses

import pytest

from benchmarks import reading
from benchmarks.memory import TreePeak
from selfpretrain.cards import load_task_card
from selfpretrain.config import UserError
from selfpretrain.sources.tasks import read_task


def test_the_rows_are_read_as_the_card_s(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "ROWS_PER_FILE", 700)
    monkeypatch.delenv("SELFPRETRAIN_DATA", raising=False)
    reading.write_rows(tmp_path / "hub", {"train": 2_000, "test": 60}, 400)
    assert len(list((tmp_path / "hub" / "data").iterdir())) == 3 + 1
    task = dataclasses.replace(load_task_card(reading.CARD), hub_id=str(tmp_path / "hub"), num_rows={})
    splits = read_task(task, str(tmp_path / "runs")).splits
    assert {name: len(split.ids) for name, split in splits.items()} == {"train": 1_800, "validation": 200, "test": 60}
    assert 400 < len(splits["train"].texts[0][0]) < 460


def test_three_readings_are_timed(monkeypatch):
    monkeypatch.setenv("SELFPRETRAIN_DATA", "not_looked_into")
    rows = list(reading.run(reading.Options(repeats=1, toy=True)))
    assert [row.work.rpartition("bytes, ")[2] for row in rows] == list(reading.MODES.values())
    assert all(len(row.ours) == 1 and row.ours[0] > 0 and row.lower_is_better for row in rows)


def test_what_fails_says_so(tmp_path):
    with pytest.raises(UserError, match=r"reading first .* ended with"):
        reading.time_reading("first", tmp_path / "gone", tmp_path, TreePeak())


def test_a_gpu_takes_no_part():
    with pytest.raises(UserError, match="device=cuda takes no part"):
        list(reading.run(reading.Options(device="cuda")))
