"""The report as a run of the tracker: tables of numbers, and files without any text of the data."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from selfpretrain.config import Settings, StudyConfig, TaskConfig, TrackingConfig
from selfpretrain.report import mirror
from selfpretrain.report.blocks import Facts, Figure, Title
from selfpretrain.report.columns import Table
from selfpretrain.report.latex_tables import format_tabulars
from selfpretrain.report.mirror import choose_files, list_values, mirror_report
from selfpretrain.report.summary import summarize

TABLE = Table(
    "scores", "Scores", ("condition", "score"), (), 1, 1, ("condition", "score", "p"),
    (("own", "0.5", "NA"), ("none", "0.25", "0.04"), ("bookwiki", "failed (1 of 3)", "NA")),
)  # fmt: skip


@dataclass(frozen=True)
class Texts:
    """A kind of block that the tracker's report does not know."""

    name: str = "examples"


class Recorder:
    def __init__(self):
        self.tables, self.summary, self.artifacts, self.code = {}, {}, [], None

    def add_table(self, name, columns, rows):
        self.tables[name] = [list(columns), *rows]

    def summarize(self, values):
        self.summary |= values

    def add_files(self, artifact):
        self.artifacts.append(artifact)

    def finish(self, exit_code=0):
        self.code = exit_code


@pytest.fixture
def mirrored(fake_study, monkeypatch, tmp_path):
    """``mirrored(blocks)``: the run of a report made of them, its card, and the line for the reader."""
    fake_study.add("none", [0.6, 0.6]).add("own", [0.8, 0.8]).add("bookwiki", [0.8, 0.8])
    folder = tmp_path / "demo-0123abcd"
    outputs = {"report.md": lambda blocks: " ".join(type(block).__name__ + str(vars(block)) for block in blocks)}
    plan = SimpleNamespace(
        study=StudyConfig(name="demo", models=["tiny"]), tasks={"topics": TaskConfig(name="topics")}, conditions={"none": None, "own": None},
        settings=Settings(tracking=TrackingConfig(name="wandb")),
    )  # fmt: skip

    def mirror_blocks(*blocks, is_own=False):
        folder.mkdir(exist_ok=True)
        plan.tasks["topics"] = TaskConfig(name="topics", loader="local" if is_own else "mirror")
        names = ["report.md", "settings.csv", "scores.csv", "scores.png", "examples.csv", "facts.json", "summary.json"]
        files = [folder / name for name in names]
        files[0].write_text(outputs["report.md"](blocks))
        recorder, cards = Recorder(), []
        monkeypatch.setattr(mirror, "build_tracker", lambda config, card: cards.append(card) or recorder)
        line = mirror_report(plan, summarize(fake_study.finish()), blocks, files, outputs)
        return recorder, cards[0], line

    return mirror_blocks


def test_a_table_that_is_cut_is_there_in_all_its_parts():
    rows = tuple((f"condition {row}", ".500 [.400, .600]", ".010") for row in range(200))
    table = replace(TABLE, rows=rows, csv_rows=rows)
    files = [Path(f"{stem}.tex") for stem in format_tabulars(table)]
    assert len(files) > 1
    assert {*choose_files([table], [*files, Path("other.tex")], {})} == {path.name for path in files}


def test_tables_summary_and_files(mirrored):
    recorder, card, line = mirrored(Title("Study demo"), TABLE, Figure("scores", "", dict))
    assert (card.id, card.job_type, card.group, card.name, card.history) == (
        "report-0123abcd", "report", "demo", "demo-0123abcd", None,
    )  # fmt: skip
    assert card.config["conditions"] == "none, own" and card.config["stage"] == "report"
    assert recorder.tables["scores"][0] == ["condition", "score", "p"]
    assert recorder.summary["runs_done"] == 6 and recorder.summary["decision/topics/tiny"]
    (artifact,) = recorder.artifacts
    assert set(artifact.files) == {"report.md", "scores.csv", "scores.png"} and artifact.type == "report"
    assert artifact.files["report.md"] == card.folder / "report.md"
    assert (recorder.code, line) == (0, "")


def test_texts_stay_here(mirrored):
    recorder, _, line = mirrored(Title("Study demo"), TABLE, Texts())
    (artifact,) = recorder.artifacts
    assert "examples.csv" not in artifact.files
    assert re.findall(r"(\w+)\{", artifact.files["report.md"].read_text()) == ["Title", "Table"]
    assert "without the texts" in line


def test_numbers_are_numbers_and_columns_of_one_kind():
    assert list_values(TABLE) == [["own", 0.5, None], ["none", 0.25, 0.04], ["bookwiki", None, None]]


def test_of_a_users_own_file_neither_command_nor_data_nor_settings_are_told(mirrored):
    facts = {"command": "selfpretrain study task.path=/home/me/x.csv", "data of topics": "guilty: 3", "torch": "2.13"}
    settings = Table(
        "settings",
        "",
        ("setting", "value"),
        (("task.label", "verdict"),),
        2,
        0,
        ("setting", "value"),
        (("task.label", "verdict"),),
    )
    recorder, _, line = mirrored(Title("Study demo"), TABLE, settings, Facts(facts, facts), is_own=True)
    (artifact,) = recorder.artifacts
    written = artifact.files["report.md"].read_text()
    assert "torch" in written and not any(word in written for word in ("/home/me", "guilty", "verdict"))
    assert "settings.csv" not in artifact.files and "scores.csv" in artifact.files
    assert line == "the tracker's report is without the command, the settings and the data of topics"
