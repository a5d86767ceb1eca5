"""Reports on disk: how they are found, and the line for each that is not."""

from __future__ import annotations

import json
import math

import pytest

from selfpretrain.config import UserError
from selfpretrain.report.compare.stored import find_report, judge, list_reports, read_interval, read_reports


def make_report(folder, name, conditions=("none", "own"), **changes):
    entries = [{"condition": condition, "state": "done", "score": None} for condition in conditions]
    panel = {"model": "tiny", "task": "topics", "metric": "accuracy", "entries": entries}
    summary = {"panels": [panel], "confidence": 0.95, "num_replicates": 200, "baseline": "none", "reference": "bookwiki", "facts": {}}  # fmt: skip
    (folder / name).mkdir(parents=True)
    (folder / name / "summary.json").write_text(json.dumps(summary | changes))
    return folder / name


@pytest.fixture
def reports(tmp_path):
    folder = tmp_path / "reports"
    for name in ("first-00000001", "second-00000002", "twice-00000003", "twice-00000004"):
        make_report(folder, name)
    make_report(folder, "other-00000005", ["bookwiki"])
    (folder / "empty-00000006").mkdir()
    make_report(folder, "compare_first_second")
    return folder


def test_a_report_is_found_by_folder_by_name_and_by_study(reports, tmp_path):
    wanted = reports / "first-00000001"
    for name in (str(wanted), "first-00000001", "first", str(wanted / "summary.json")):
        assert find_report(name, reports).resolve() == wanted
    assert list_reports(reports) == ["first-00000001", "other-00000005", "second-00000002", "twice-00000003", "twice-00000004"]  # fmt: skip
    found = read_reports("first, second", str(tmp_path))
    assert [report.name for report in found] == ["first-00000001", "second-00000002"]
    assert found[0].runs_dir == tmp_path
    assert [tuple(key) for key in found[0].cells] == [("tiny", "topics", "none"), ("tiny", "topics", "own")]


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("first", "does not name two studies; give report.compare=<study>,<study>"),
        ("first,", "does not name two studies"),
        ("first,second,other", "does not name two studies"),
        ("first,nowhere", "there is no report nowhere; .*reports has first-00000001, other-00000005, second"),
        ("first,twice", "twice names 2 reports; give one of twice-00000003, twice-00000004"),
        ("first,empty-00000006", "empty-00000006 has no report yet .*selfpretrain report with the settings"),
        ("first,quickstart", "the study quickstart has no report yet; selfpretrain report study=quickstart writes one"),
        ("first,first-00000001", "names the same report twice, .*; give two"),
        ("first,other", "no cell .* is in both; first-00000001 has tiny; topics; none, own and other-00000005 has"),
        ("first,compare_first", "there is no report compare_first"),
    ],
)
def test_what_cannot_be_compared_is_one_line(reports, tmp_path, given, line):
    with pytest.raises(UserError, match=line) as error:
        read_reports(given, str(tmp_path))
    assert "\n" not in str(error.value)


def test_a_comparison_is_no_study(reports, tmp_path):
    (reports / "compare_first_second" / "summary.json").unlink()
    with pytest.raises(UserError, match="compare_first_second is a comparison and no study"):
        read_reports("first,compare_first_second", str(tmp_path))


def test_what_is_no_summary_is_said(reports, tmp_path):
    (reports / "second-00000002" / "summary.json").write_text('{"panels": []}')
    with pytest.raises(UserError, match="is not the summary of a study"):
        read_reports("first,second", str(tmp_path))
    (reports / "second-00000002" / "summary.json").write_text('{"panels": [')
    with pytest.raises(UserError, match=r"summary\.json is damaged"):
        read_reports("first,second", str(tmp_path))


def test_an_infinite_end_and_a_judgement_are_read():
    interval = read_interval({"point": 0.5, "low": None, "high": None})
    assert (interval.low, interval.high) == (-math.inf, math.inf)
    delta = {"point": -0.1}
    found = [judge({"p_holm": p, "delta": delta}, 0.05) for p in (None, 0.05, 0.04)]
    assert found == ["checkpoints only", "not clear", "worse"] and judge(None, 0.05) == ""
