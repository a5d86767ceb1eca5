"""The tables: what each says; a failed cell is never a number or a gap."""

from __future__ import annotations

import csv
import io

import pytest

from selfpretrain.report.blocks import list_explanations
from selfpretrain.report.summary import summarize
from selfpretrain.report.tables import build_tables
from selfpretrain.report.write import format_csv


def read_rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_has_numbers_and_says_what_failed(summary):
    rows = read_rows(format_csv(build_tables(summary)[0]))
    assert len(rows) == 10  # own_of:else stands in the matrix
    by_condition = {row["condition"]: row for row in rows if row["model"] == "roberta_tiny"}
    assert float(by_condition["own"]["score"]) == pytest.approx(0.72)
    assert float(by_condition["own"]["gain_low"]) < 0.12 < float(by_condition["own"]["gain_high"])
    assert by_condition["bookwiki"]["score"] == "failed (1 of 3)"
    assert by_condition["bookwiki"]["gain"] == "NA"
    assert (by_condition["none"]["seeds"], by_condition["none"]["runs"]) == ("3", "6")
    assert (by_condition["bookwiki_sized"]["seeds"], by_condition["bookwiki_sized"]["seeds_planned"]) == ("1", "2")
    assert all(value for row in rows for value in row.values())


def test_what_a_difference_speaks_of(summary):
    rows = {row["condition"]: row for row in read_rows(format_csv(build_tables(summary)[0]))}
    scopes = {condition: row["scope"] for condition, row in rows.items()}
    assert scopes["own"] == "procedures"
    assert scopes["offshelf"] == "conditional on a checkpoint"
    assert scopes["bookwiki_sized"] == "checkpoints"
    assert (rows["bookwiki_sized"]["p"], rows["bookwiki_sized"]["p_holm"]) == ("NA", "NA")
    assert 0 < float(rows["own"]["p"]) < 1 / 1000  # no floor


def test_the_reference_table(summary):
    table = build_tables(summary)[1]
    assert table.rows[0][2:5] == (".720", "failed (1 of 3)", "-")
    assert read_rows(format_csv(table))[0]["bookwiki"] == "failed (1 of 3)"


def test_benefit_of_the_reference_is_100_only_where_it_gained(fake_study):
    fake_study.add("none", [0.5, 0.51]).add("bookwiki", [0.9, 0.91])
    fake_study.add("none", [0.5, 0.5], "flat").add("bookwiki", [0.5, 0.5], "flat").add("own", [0.6, 0.6], "flat")
    rows = build_tables(summarize(fake_study.finish()))[0].rows
    assert [row[6] for row in rows] == ["-", "100", "-", "undefined", "undefined"]


def test_benefit_without_a_reference_is_not_applicable(fake_study):
    fake_study.add("none", [0.5, 0.5]).add("own", [0.9, 0.9])
    assert [row[6] for row in build_tables(summarize(fake_study.finish()))[0].rows] == ["-", "-"]


def test_the_gain_is_divided_where_the_start_is_another(fake_study):
    for condition, score in {"none": 0.5, "mimetic": 0.6, "own": 0.8, "bookwiki": 0.9}.items():
        scores = [score, score + 0.01, score - 0.01]
        fake_study.add(condition, scores).add(condition, scores, "other")
    fake_study.add("own_of:other", [0.6], status="failed", note="x")
    summary = summarize(fake_study.finish(init_scheme="mimetic", num_replicates=1000))
    table = next(table for table in build_tables(summary) if table.name == "start")
    assert [row[:3] for row in table.rows[:2]] == [("tiny", "topics (accuracy)", c) for c in ("own", "bookwiki")]
    assert table.rows[0][3:5] == ("+.300", "+.100")
    assert table.rows[0][5].startswith("+.200 [.") and table.rows[0][6].startswith((".", "<"))
    assert table.rows[2][2:] == ("own_of:other", "failed (1 of 1)", "+.100", "-", "-")
    rows = read_rows(format_csv(table))
    assert float(rows[0]["added"]) == pytest.approx(float(rows[0]["gain"]) - float(rows[0]["start_gain"]))
    assert (rows[2]["state"], rows[2]["gain"]) == ("failed", "NA")
    assert "Added: the condition minus mimetic" in " ".join(list_explanations(summary))
    assert "start" not in [table.name for table in build_tables(summarize(fake_study.finish()))]


def test_explanations_name_the_family_the_rules_and_the_text_free_score(summary):
    text = " ".join(list_explanations(summary))
    assert "Holm-corrected over all 2 of them" in text  # own against none, twice; bookwiki has failed
    assert "95% t intervals" in text
    assert "topics .250 (always the most frequent class)" in text


def test_the_rules_of_the_decision_are_printed(fake_study):
    fake_study.add("none", [0.5, 0.51]).add("own", [0.8, 0.81]).add("bookwiki", [0.8, 0.81])
    text = " ".join(list_explanations(summarize(fake_study.finish())))
    assert "in this order: better (clear), no worse beyond the margin" in text
    assert "over all 3 of them" in text
