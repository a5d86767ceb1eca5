"""What a report adds on request: ensembles and calibration of a small study, and nothing where nobody asked."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from selfpretrain.config import ANALYSES as NAMES
from selfpretrain.report import build_blocks, print_report, save_report, summarize
from selfpretrain.report.analyses import ANALYSES
from selfpretrain.report.plots import draw_reliability
from selfpretrain.runs.predictions import load_predictions, write_predictions

BOTH = list(NAMES)


def add_validation(fake_study, lacking=()):
    """The test predictions once more, as those of validation."""
    for cell in fake_study.cells:
        if cell.status == "done" and cell.condition not in lacking:
            folder = cell.folder / "predictions"
            folder.joinpath("validation.parquet").write_bytes(folder.joinpath("test.parquet").read_bytes())
    return fake_study


@pytest.fixture
def study(fake_study):
    fake_study.add("none", [0.5, 0.6, 0.55], finetunings=2).add("own", [0.8, 0.7, 0.75, 0.8, 0.7])
    return add_validation(fake_study.add("offshelf", [0.9, 0.85]))


@pytest.fixture
def summary(study):
    return summarize(study.finish(analyses=BOTH))


def find(blocks, name):
    return next(block for block in blocks if getattr(block, "name", "") == name)


def test_the_setting_names_what_there_is():
    assert tuple(ANALYSES) == NAMES


def test_pairs_of_conditions(summary):
    found = {each.conditions: each for each in summary.ensembles}
    assert {conditions: each.num_pairs for conditions, each in found.items()} == {
        ("none", "none"): 1, ("none", "own"): 3, ("none", "offshelf"): 2,
        ("own", "own"): 2, ("own", "offshelf"): 2, ("offshelf", "offshelf"): 1,
    }  # fmt: skip
    own = found["own", "own"]
    assert own.singles.point == pytest.approx((0.8 + 0.7 + 0.75 + 0.8) / 4)  # the fifth is the odd one
    assert own.gain.point == pytest.approx(own.together.point - own.singles.point)
    assert own.gain.low <= own.gain.point <= own.gain.high
    assert 0 < own.inconsistency.low < own.inconsistency.point < own.inconsistency.high < 1
    offshelf = found["offshelf", "offshelf"]
    assert offshelf.singles.point == pytest.approx(0.875)


def test_an_ensemble_of_the_same_predictions(fake_study):
    outputs = np.eye(4)[np.arange(400) % 4] * 2
    add_validation(fake_study.add("own", [0, 0], outputs=outputs).add("none", [0, 0], outputs=outputs))
    summary = summarize(fake_study.finish(analyses=["ensembles"]))
    assert len(summary.ensembles) == 3 and summary.calibrations == []
    for found in summary.ensembles:
        assert (found.gain.point, found.gain.low, found.gain.high) == (0, 0, 0)
        assert found.inconsistency.point == found.inconsistency.high == 0


def test_calibration_by_hand(summary):
    own = next(each for each in summary.calibrations if each.condition == "own")
    scores = np.array([0.8, 0.7, 0.75, 0.8, 0.7])
    confidence = math.exp(3) / (math.exp(3) + 3)  # of every prediction of a fake study
    gaps = confidence - scores
    assert own.plain.ece.point == pytest.approx(gaps.mean())
    squares = gaps**2 - scores * (1 - scores) / 399  # equal confidences are one bin
    assert own.plain.debiased.point == pytest.approx(math.sqrt(squares.mean()))
    briers = scores * ((1 - confidence) ** 2 * (1 + 1 / 3)) + (1 - scores) * (
        confidence**2 + (1 - (1 - confidence) / 3) ** 2 + 2 * ((1 - confidence) / 3) ** 2
    )
    assert own.plain.brier.point == pytest.approx(briers.mean())
    temperatures = 3 / np.log(3 * scores / (1 - scores))  # under which the confidence is the share right
    assert own.temperature.point == pytest.approx(temperatures.mean())
    assert own.temperature.low < own.temperature.point < own.temperature.high
    assert own.scaled.ece.point == pytest.approx(0, abs=1e-9)
    assert own.scaled.debiased.point == 0
    assert own.scaled.brier.point < own.plain.brier.point
    assert own.score == summary.panels[0].find("own").score and own.num_seeds == 5
    assert [bin.confidence for bin in own.plain.bins] == pytest.approx([confidence])
    assert [bin.right for bin in own.plain.bins] == pytest.approx([scores.mean()])


def test_the_interval_covers_seeds_and_examples(fake_study):
    rng = np.random.default_rng(0)
    outputs = rng.normal(size=(400, 4)) * 2
    add_validation(fake_study.add("none", [0], outputs=outputs).add("own", [0, 0, 0], outputs=outputs))
    fake_study.add("bookwiki", [0.9, 0.6, 0.3])
    summary = summarize(add_validation(fake_study).finish(analyses=["calibration"]))
    one, equal, differing = (each.plain.ece for each in summary.calibrations)
    assert 0 < one.high - one.low == pytest.approx(equal.high - equal.low)  # of the examples
    assert differing.high - differing.low > 3 * (equal.high - equal.low)  # of the seeds, mostly


def test_conditions_are_brought_into_one_order(study, summary):
    for cell in study.cells:
        if cell.condition == "own":
            for split in ("test", "validation"):
                path = cell.folder / "predictions" / f"{split}.parquet"
                stored = load_predictions(path)
                write_predictions(path, stored.ids[::-1], stored.labels[::-1], stored.outputs[::-1])
    again = summarize(study.finish(analyses=["ensembles"]))
    for one, other in zip(summary.ensembles, again.ensembles, strict=True):
        found = [(each.gain.point, each.inconsistency.point) for each in (one, other)]
        assert found[0] == pytest.approx(found[1])


def test_the_blocks(summary, tmp_path):
    blocks = build_blocks(summary)
    ensembles, calibration, figure = (find(blocks, name) for name in ("ensembles", "calibration", "reliability"))
    assert ensembles.header == (
        "model", "task", "conditions", "single runs", "ensemble", "gain", "inconsistency", "pairs"
    )  # fmt: skip
    row = next(row for row in ensembles.rows if row[2] == "own + own")
    assert row[3].startswith(".762 [.") and row[5][0] in "+-." and row[7] == "2"
    assert calibration.rows[2][2:5] == ("own", "as trained", ".750")
    assert calibration.rows[3][2:5] != calibration.rows[2][2:5] and calibration.rows[3][4] == ".750"
    assert calibration.rows[3][5].startswith(".000 [")
    assert figure.draw()["png"].startswith(b"\x89PNG")
    buffer = io.StringIO()
    print_report(blocks, Console(file=buffer, width=90))
    printed = " ".join(buffer.getvalue().split())
    assert "the first is paired with the second" in printed and "over 15 bins of equal width" in printed
    save_report(summary, blocks, tmp_path / "report")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "report" / "ensembles.csv").read_text())))
    assert (rows[1]["first_condition"], rows[1]["second_condition"], rows[1]["pairs"]) == ("none", "own", "3")
    assert float(rows[1]["gain_low"]) < float(rows[1]["gain"]) < float(rows[1]["gain_high"])
    stored = json.loads((tmp_path / "report" / "summary.json").read_text())
    assert stored["calibrations"][0]["plain"]["bins"][0]["share"] == 1 and len(stored["ensembles"]) == 6


def test_the_plot_is_the_same_again(summary):
    assert draw_reliability(summary) == draw_reliability(summary)


def test_nothing_is_added_where_nobody_asked(study):
    summary = summarize(study.finish())
    assert not {"ensembles", "calibrations"} & summary.to_json().keys()
    names = [getattr(block, "name", "") for block in build_blocks(summary)]
    assert not {"ensembles", "calibration", "reliability"} & set(names)
    assert not any("ECE" in line or "inconsistency" in line for line in build_blocks(summary)[-2].explanations)


def test_what_is_left_out_is_said(fake_study):
    fake_study.add("none", [0.5, 0.5]).add("own", [0.6, 0.7]).add("bookwiki", [0.6], status="failed", note="x")
    fake_study.add("mimetic", [0.6], first=5)
    for task, kind in (("similar", "score"), ("toxic", "multilabel")):
        fake_study.add_task(task, kind)
        fake_study.add("own", [0.5, 0.6], task=task)
    add_validation(fake_study, lacking=["own"])
    summary = summarize(fake_study.finish(analyses=BOTH))
    assert [each.condition for each in summary.calibrations] == ["none", "mimetic"]
    assert [each.conditions for each in summary.ensembles] == [("none", "none")]
    notes = "\n".join(summary.warnings)
    assert "topics, tiny: no ensembles and calibration of bookwiki, which has no score" in notes
    assert "topics, tiny: no ensembles and calibration of own: " in notes and "validation.parquet is missing" in notes
    assert "topics, tiny: no ensemble of mimetic + mimetic: it needs two seeds" in notes
    assert "topics, tiny: no ensemble of none + mimetic: it needs two different runs with the same seeds" in notes
    for task, kind in (("similar", "score"), ("toxic", "multilabel")):
        assert (
            f"{task}, tiny: no ensembles and calibration: they are made of one class per example, its label_kind is {kind}"
        ) in notes


def test_one_run_under_two_conditions_is_no_pair(fake_study):
    fake_study.add("none", [0.5, 0.6]).add("own", [0.7, 0.7])
    fake_study.cells += [replace(cell, condition="mimetic") for cell in fake_study.cells[:2]]
    summary = summarize(add_validation(fake_study).finish(analyses=["ensembles"]))
    assert ("none", "own") in (found := [each.conditions for each in summary.ensembles])
    assert ("none", "mimetic") not in found and ("own", "mimetic") in found
    assert "no ensemble of none + mimetic: it needs two different runs" in "\n".join(summary.warnings)


def test_a_temperature_at_the_end_of_the_search_is_said(fake_study):
    summary = summarize(add_validation(fake_study.add("own", [1.0, 0.8])).finish(analyses=["calibration"]))
    assert "own: the temperature of 1 of 2 runs is at an end of what was tried, 0.05 to 20" in "\n".join(
        summary.warnings
    )
