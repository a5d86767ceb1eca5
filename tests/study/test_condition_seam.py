"""A condition from outside, one row of the table: planned, trained, named in sentences and drawn."""

from __future__ import annotations

import json

import pytest

from selfpretrain.config import CorpusConfig
from selfpretrain.study.conditions import CONDITIONS, Condition

PART = Condition("own_part", "half of the own text", "#F0E442", corpus=CorpusConfig(max_mb=0.001))


@pytest.fixture
def own_part(monkeypatch):
    monkeypatch.setitem(CONDITIONS, PART.key, PART)


def test_a_condition_from_outside(own_part, command, local, tmp_path, tiny):
    given = ["study.conditions=[none,own,own_part]", "study.pretrain_seeds=2", "study.num_replicates=200"]
    outcome = command("study", *local(), *tiny, *given, "study.reference=own_part")
    assert outcome.code == 0, outcome.err
    assert "half of the own text" in outcome.out
    (report,) = (path for path in (tmp_path / "runs" / "reports").iterdir() if path.is_dir())
    assert PART.colour.lower() in (report / "scores.svg").read_text().lower()
    entries = json.loads((report / "summary.json").read_text())["panels"][0]["entries"]
    assert [(entry["condition"], entry["num_seeds"]) for entry in entries] == [("none", 2), ("own", 2), ("own_part", 2)]
    sizes = {
        json.loads(path.read_text())["source"]["corpus"]["max_mb"]: json.loads(path.read_text())["text_bytes"]
        for path in (tmp_path / "runs" / "corpora").glob("*/manifest.json")
    }
    assert sizes[0.001] < 0.6 * sizes[None]


def test_one_that_is_in_no_table_is_refused(command, local, tiny):
    outcome = command("study", *local(), *tiny, "study.conditions=[none,own_part]")
    assert outcome.code == 2 and "'own_part' is no condition; allowed: none, " in outcome.err
