"""A comparison on disk and in the terminal, and the command."""

from __future__ import annotations

import csv
import io
import json

import pytest
from rich.console import Console

from selfpretrain.config import ReportConfig, RuntimeConfig, Settings
from selfpretrain.files import FILE_LIST
from selfpretrain.report.compare.write import write_comparison


def write(pair, folder):
    buffer = io.StringIO()
    settings = Settings(report=ReportConfig(compare=pair.given), runtime=RuntimeConfig(runs_dir=str(folder)))
    return write_comparison(settings, Console(file=buffer, width=100)), buffer.getvalue()


@pytest.fixture
def both(pair):
    for name, own in (("A", [0.6, 0.61, 0.62]), ("B", [0.8, 0.81, 0.83])):
        pair[name].add("none", [0.5, 0.5, 0.5]).add("own", own)
        if name == "A":
            pair[name].add("bookwiki", [0.7])
        pair.report(name)
    return pair


def test_files_and_what_is_printed(both, tmp_path):
    folder, printed = write(both, tmp_path / "runs")
    names = [both.reports[name].name for name in "AB"]
    assert folder == tmp_path / "runs" / "reports" / f"compare_{names[0]}_{names[1]}"
    assert {"report.md", "report.tex", "scores.csv", "changes.csv", "alone.csv", "made.csv"} <= {
        path.name for path in folder.iterdir()
    }
    assert "2 cells in both studies; 1 of 1 sentence changed." in printed
    assert "differences with an interval, by predictions: 2 of 2" in " ".join(printed.split())
    rows = {row["condition"]: row for row in csv.DictReader(io.StringIO((folder / "scores.csv").read_text()))}
    own = rows["own"]
    assert float(own["difference_low"]) < float(own["difference"]) < float(own["difference_high"])
    assert float(own["score_B"]) - float(own["score_A"]) == pytest.approx(float(own["difference"]))
    assert own["p"] != "NA" and own["rests_on"].startswith("predictions")
    report = (folder / "report.md").read_text()
    assert report.startswith(f"# Comparison: A = {names[0]}, B = {names[1]}") and "| bookwiki | A |" in report
    assert (
        "| predictions, within 3 seeds |" in report
        and "within seeds" in report
        and "no test of the difference" not in report
    )


def test_the_same_reports_give_the_same_bytes_and_nothing_old_stays(both, tmp_path):
    folder, _ = write(both, tmp_path / "runs")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "gone.csv").write_text("of before")
    (folder / FILE_LIST).write_text(json.dumps([*json.loads((folder / FILE_LIST).read_text()), "gone.csv"]))
    write(both, tmp_path / "runs")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_the_command_by_either_name(both, command, tmp_path):
    for name in ("compare", "report.compare"):
        outcome = command("report", f"{name}={both.given}", f"runtime.runs_dir={tmp_path / 'runs'}")
        assert (outcome.code, outcome.err) == (0, "")
        assert "2 cells in both studies" in outcome.out and "written to " in outcome.out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["report", "compare=here,there"], "selfpretrain: report.compare: there is no report here; "),
        (["report", "report.compare=here"], "selfpretrain: report.compare=here does not name two studies; give "),
        (["report", "compare=a,b", "report.compare=c,d"], "selfpretrain: compare=a,b is report.compare of the command report"),
        (["plan", "compare=a,b"], "selfpretrain: compare=a,b is report.compare of the command report in short"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(command, tmp_path, arguments, line):
    outcome = command(*arguments, f"runtime.runs_dir={tmp_path / 'runs'}")
    assert outcome.code == 2 and outcome.err.startswith(line) and outcome.err.count("\n") == 1
