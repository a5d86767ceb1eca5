"""The tutorial is followed from its file to its report, small; what it shows is what its report in the project says."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

from tests.docs.conftest import ROOT, check_launcher, is_ours, list_blocks, list_lines, read_page

PAGE = read_page("docs/tutorial.md")
LINES = [line for block in list_blocks(PAGE, "sh") for line in list_lines(block.text)]
INSTALLS = ("make ", "source ")  # what the environment of the tests has behind it


def test_the_page_is_followed(type_in, workplace):
    (script,) = (block.text for block in list_blocks(PAGE, "python"))
    (workplace / "make_lines.py").write_text(script, encoding="utf-8")
    followed = []
    for line in LINES:
        if line.startswith(INSTALLS):
            continue
        if line.startswith("launch/"):
            check_launcher(line)
            continue
        if line.startswith("python "):
            subprocess.run([sys.executable, *shlex.split(line)[1:]], cwd=workplace, check=True)
            continue
        outcome = type_in(line)
        assert outcome.code == 0, (line, outcome)
        followed.append(line)
        if line.startswith("selfpretrain study"):
            assert "own - none" in outcome.out
    assert [line.split()[1] for line in followed if is_ours(line)][:4] == ["doctor", "init", "plan", "study"]
    table = (workplace / "lines.csv").read_text(encoding="utf-8").splitlines()
    assert len(table) == 12_001 and table[0] == "line,state"


def test_the_installation_is_there():
    for line in LINES:
        if line.startswith("make "):
            assert subprocess.run([*shlex.split(line), "--dry-run"], cwd=ROOT, capture_output=True).returncode == 0


def test_what_it_shows_is_what_the_report_says():
    """Every number of the shown report stands in the report that the run wrote."""
    report = (ROOT / "docs" / "tutorial" / "report.md").read_text(encoding="utf-8").replace("\\", "")
    numbers = set(re.findall(r"[+-]?\.\d{3}", report))
    shown = [block.text for block in list_blocks(PAGE, "text") if "own - none" in block.text]
    assert shown
    found = [number for text in shown for number in re.findall(r"[+-]?\.\d{3}", text)]
    assert len(found) > 10 and set(found) <= numbers


def test_it_names_the_commit_of_its_report():
    report = (ROOT / "docs" / "tutorial" / "report.md").read_text(encoding="utf-8")
    (commit,) = re.findall(r"^- commit: ([0-9a-f]{10})$", report, re.MULTILINE)
    assert f"commit {commit}" in PAGE
