"""Printed scores stand beside the study's where both are of one thing, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from selfpretrain.cards import load_task_card
from selfpretrain.door import list_choices
from selfpretrain.report.blocks import list_explanations
from selfpretrain.report.published import load_published
from selfpretrain.report.summary import summarize
from selfpretrain.report.tables import build_tables
from selfpretrain.report.write import format_csv
from selfpretrain.stats import METRICS
from selfpretrain.study.conditions import find_condition

RELEASED = "hf:google/electra-small-discriminator@fa8239aadc095e9164941d05878b98afe9b953c3"


@pytest.fixture
def study(fake_study):
    """Five conditions of electra_small on SST-2, whose card names split and metric."""
    card = load_task_card("sst2")
    fake_study.tasks["sst2"] = replace(card, label_kind="class")
    for condition in ("none", "own", "bookwiki", "offshelf"):
        fake_study.add(condition, [0.8, 0.81, 0.82], "sst2", model="electra_small")
    return fake_study


def find(study, **settings):
    return summarize(study.finish(**{"offshelf": RELEASED, **settings})).published


def test_each_condition_has_what_was_printed_for_it(study):
    found = {(score.condition, score.name.partition(",")[0]): score for score in find(study)}
    assert {key: score.published for key, score in found.items()} == {
        ("bookwiki", "ELECTRA-Small-OWT"): 0.8803,  # the second source's, which prints the same name
        ("offshelf", "ELECTRA-Small"): 0.912,
    }
    assert [score.published for score in find(study)] == [0.912, 0.883, 0.8803]
    assert found["offshelf", "ELECTRA-Small"].score.point == pytest.approx(0.81)
    assert (found["offshelf", "ELECTRA-Small"].num_examples, found["offshelf", "ELECTRA-Small"].num_official) == (
        400,
        872,
    )


@pytest.mark.parametrize(
    "settings",
    [{"offshelf": "hf:somebody/else@1"}, {"offshelf": None}],
    ids=["another checkpoint", "no checkpoint"],
)
def test_another_checkpoint_has_none(study, settings):
    assert [score.condition for score in find(study, **settings)] == ["bookwiki", "bookwiki"]


@pytest.mark.parametrize(
    "change",
    [{"metric": "macro_f1"}, {"splits": {"train": "train", "test": "test"}}],
    ids=["another metric", "another split"],
)
def test_another_measure_has_none(study, change):
    study.tasks["sst2"] = replace(study.tasks["sst2"], **change)
    assert find(study) == []


def test_another_model_and_a_part_of_the_labels_have_none(fake_study):
    card = load_task_card("sst2")
    fake_study.tasks |= {"sst2": card, "sst2@100": card}
    fake_study.num_labels["sst2@100"] = 100
    fake_study.add("offshelf", [0.8] * 3, "sst2", model="electra_base")
    fake_study.add("offshelf", [0.8] * 3, "sst2@100", model="electra_small")
    summary = summarize(fake_study.finish(offshelf=RELEASED))
    assert summary.published == []
    assert "published" not in summary.to_json()
    assert "published" not in {table.name for table in build_tables(summary)}
    assert not any("Published" in line for line in list_explanations(summary))


def test_table(study):
    summary = summarize(study.finish(offshelf=RELEASED))
    (table,) = [table for table in build_tables(summary) if table.name == "published"]
    row = table.rows[0]
    assert row[:3] == ("electra_small", "sst2 (accuracy)", "offshelf")
    assert row[4:6] == ("400 of 872", ".912")
    assert row[6].startswith("ELECTRA-Small, 4 M steps (google-research/electra, README at commit 8a46635")
    assert "0.912" in format_csv(table)
    assert any(line.startswith("Published: ") for line in list_explanations(summary))
    assert len(summary.to_json()["published"]) == 3


def test_every_file_names_what_there_is():
    tables = load_published()
    assert tables
    for table in tables:
        assert table.source
        assert table.statistic
        for row in table.rows:
            assert row.model in list_choices("model")
            find_condition(row.condition)
            assert (row.condition == "offshelf") == (row.checkpoint is not None)
            assert row.scores
            assert row.scores.keys() <= table.measures.keys()
            assert all(0 < value < 1 for value in row.scores.values())
        for name, measure in table.measures.items():
            assert measure.split in load_task_card(name).splits.values()
            assert measure.metric in METRICS
