"""Plots: the same bytes for the same summary, and every condition on them."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest
from matplotlib.image import imread

from selfpretrain.report import plots
from selfpretrain.report.charts import describe_scores
from selfpretrain.report.plots import draw_cross, draw_scores
from selfpretrain.report.summary import summarize
from selfpretrain.study.conditions import find_condition


@pytest.fixture
def summary(fake_study):
    for task in ("topics", "pairs"):
        fake_study.add("none", [0.6, 0.62], task).add("own", [0.7, 0.72], task).add("own_of:pairs", [0.6], task)
        fake_study.add("bookwiki", [0.7], task, status="diverged", note="x")
    return summarize(fake_study.finish(general="docs"))


def test_the_same_summary_gives_the_same_bytes(summary):
    assert draw_scores(summary) == draw_scores(summary)
    assert draw_cross(summary.crosses[0], summary) == draw_cross(summary.crosses[0], summary)


def test_the_users_style_changes_nothing(summary):
    plain = draw_scores(summary)
    with matplotlib.rc_context({"font.size": 20, "lines.linewidth": 9, "svg.hashsalt": None}):
        assert draw_scores(summary) == plain


def test_no_date_and_no_version(summary):
    files = draw_scores(summary)
    assert b"<dc:date>" not in files["svg"]
    assert b"Matplotlib v" not in files["svg"]
    assert b"matplotlib" not in files["png"].lower()
    assert b"Date" not in files["pdf"] and b"matplotlib" not in files["pdf"].lower()


def test_fonts_are_in_the_pdf_as_truetype(summary):
    pdf = draw_scores(summary)["pdf"]
    assert pdf.startswith(b"%PDF-") and b"/FontFile2" in pdf
    assert b"/Type3" not in pdf


def test_a_pdf_does_not_depend_on_the_process():
    """Names of subset fonts are hashes of sets, and those of text differ from process to process."""
    code = (
        "import hashlib; from matplotlib.figure import Figure; from selfpretrain.report.plots import _open_style, _save\n"
        "with _open_style():\n"
        "    figure = Figure(); figure.suptitle('own_of:qqp +.031 [.010, .050] Ærø'); files = _save(figure)\n"
        "print(*(hashlib.sha256(data).hexdigest() for data in files.values()))"
    )
    root = Path(__file__).resolve().parents[2]
    printed = [
        subprocess.run(
            [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert printed[0] == printed[1] and len(printed[0].split()) == 3


def test_png_is_an_image_with_the_conditions_colours(summary):
    pixels = imread(io.BytesIO(draw_scores(summary)["png"]), format="png")
    seen = {tuple(round(float(part) * 255) for part in pixel[:3]) for row in pixels[::2] for pixel in row[::2]}
    for condition in ("none", "own"):
        colour = find_condition(condition).colour.lstrip("#")
        assert tuple(int(colour[i : i + 2], 16) for i in (0, 2, 4)) in seen


def test_a_failed_condition_is_written_out(summary, monkeypatch):
    monkeypatch.setitem(plots._STYLE, "svg.fonttype", "none")  # text as text, to be found
    svg = draw_scores(summary)["svg"].decode()
    cross = draw_cross(summary.crosses[0], summary)["svg"].decode()
    assert "diverged (1 of 1)" in svg
    assert "bookwiki" in svg
    assert "without reading the text" in svg
    assert "own_of" not in svg
    assert "fine-tuned on" in cross


def test_a_study_without_any_score_still_has_a_plot(fake_study):
    fake_study.add("none", [0.6], status="failed", note="x")
    assert draw_scores(summarize(fake_study.finish()))["png"].startswith(b"\x89PNG")


def test_one_condition_with_equal_scores(fake_study):
    fake_study.add("own", [1.0, 1.0])
    assert draw_scores(summarize(fake_study.finish()))["png"].startswith(b"\x89PNG")


def test_dollars_of_a_name_are_no_formula(fake_study):
    summary = summarize(fake_study.add("none", [0.6, 0.6]).add("own", [0.8, 0.8]).finish())
    summary.name = summary.panels[0].task = "price_$_a_$"
    assert b"price_$_a_$" in draw_scores(summary)["svg"]


def test_the_score_without_reading_is_of_the_model_that_has_one(fake_study):
    fake_study.add("none", [0], status="failed", model="first").add("none", [0.6, 0.7], model="second")
    summary = summarize(fake_study.finish())
    (panel,) = describe_scores(summary)["panels"]
    assert summary.panels[0].blind_score is None and panel["blind"] == summary.panels[1].blind_score == 0.25
    assert b"without reading the text" in draw_scores(summary)["svg"]
