"""The summary: counts, states, families of p-values, the matrix, and what goes to disk."""

from __future__ import annotations

import json
import math

import pytest

from selfpretrain.config import UserError
from selfpretrain.report.plots import draw_cross, draw_scores
from selfpretrain.report.summary import summarize
from selfpretrain.report.tables import build_tables
from selfpretrain.runs.predictions import load_predictions, write_predictions
from selfpretrain.stats import compute_holm


def test_scores_and_what_stands_behind_them(fake_study):
    fake_study.add("none", [0.6, 0.62, 0.58], finetunings=2).add("own", [0.7, 0.72, 0.74])
    panel = summarize(fake_study.finish()).panels[0]
    none, own = panel.entries
    assert (none.num_seeds, none.num_runs, none.state) == (3, 6, "done")
    assert none.score.point == pytest.approx(0.6)
    assert none.score.low < 0.6 < none.score.high
    assert own.gain.delta.point == pytest.approx(0.12)
    assert none.gain is None
    assert panel.num_examples == 400
    assert panel.blind_score == 0.25
    assert own.learned and none.learned
    assert [run["score"] for run in own.run_scores] == pytest.approx([0.7, 0.72, 0.74])


@pytest.mark.parametrize("status", ["failed", "diverged"])
def test_a_failed_run_is_never_a_number(fake_study, status):
    fake_study.add("none", [0.6, 0.6]).add("own", [0.7, 0.7]).add("own", [0], first=2, status=status, note="the reason")
    fake_study.add("bookwiki", [0.8, 0.8])
    panel = summarize(fake_study.finish()).panels[0]
    own = panel.find("own")
    assert own.state_text == f"{status} (1 of 3)"
    assert own.score is None and own.gain is None and own.benefit is None
    assert panel.versus_reference is None
    assert own.notes[0] == f"1 of 3 runs {status} (seeds 2.0): the reason"
    assert ".700, .700" in own.notes[1]
    assert panel.find("bookwiki").gain.delta.point == pytest.approx(0.2)


def test_a_run_whose_predictions_are_no_numbers_has_failed(fake_study):
    fake_study.add("none", [0.6, 0.6]).add("own", [0.7])
    path = fake_study.cells[-1].folder / "predictions" / "test.parquet"
    stored = load_predictions(path)
    write_predictions(path, stored.ids, stored.labels, stored.outputs * math.nan)
    summary = summarize(fake_study.finish())
    assert summary.panels[0].find("own").state_text == "failed (1 of 1)"
    assert any("NaN or infinite outputs" in line for line in summary.warnings)


def test_missing_runs_are_counted_and_do_not_hide_the_others(fake_study):
    fake_study.add("none", [0.6, 0.6]).add("own", [0.7, 0.7]).add("own", [0], first=2, status="missing")
    fake_study.add("bookwiki", [0, 0], status="running")
    summary = summarize(fake_study.finish())
    own, bookwiki = summary.panels[0].find("own"), summary.panels[0].find("bookwiki")
    assert own.state == "partial"
    assert (own.num_seeds, own.num_seeds_planned) == (2, 3)
    assert own.score.point == pytest.approx(0.7)
    assert bookwiki.state_text == "running (2 of 2)"
    assert own.benefit_reason == "no score of bookwiki to compare with"
    assert any("3 runs not finished" in line for line in summary.warnings)


def test_the_claims_of_the_sentences_are_one_family(fake_study):
    for model in ("one", "two"):
        fake_study.add("none", [0.6, 0.6], model=model).add("own", [0.63, 0.63], model=model)
        fake_study.add("bookwiki", [0.62, 0.66], model=model).add("own_of:other", [0.61, 0.6], model=model)
        fake_study.add("bookwiki_sized", [0.6, 0.64], model=model)
    summary = summarize(fake_study.finish())
    entries = [entry for panel in summary.panels for entry in panel.entries if entry.gain]
    claims = [entry.gain for entry in entries if entry.condition in ("own", "bookwiki")]
    claims += [panel.versus_reference for panel in summary.panels]
    others = [[e.gain for e in entries if e.condition == name] for name in ("bookwiki_sized", "own_of:other")]
    for family in (claims, *others):
        assert [d.p_holm for d in family] == list(compute_holm([d.p for d in family]))


def test_what_pretraining_adds_to_its_start(fake_study):
    for task in ("a", "b"):
        for condition, score in {"none": 0.5, "mimetic": 0.6, "own": 0.7, "bookwiki": 0.8, "own_of:c": 0.65}.items():
            fake_study.add(condition, [score, score], task)
        fake_study.add("offshelf", [0.9], task)
    panels = summarize(fake_study.finish(init_scheme="mimetic")).panels
    parts = {entry.condition: entry.added for entry in panels[0].entries}
    assert [condition for condition, added in parts.items() if added] == ["own", "bookwiki", "own_of:c"]
    assert parts["own"].delta.point == pytest.approx(0.1)
    entries = [entry for panel in panels for entry in panel.entries]
    for family in (["own", "bookwiki"], ["own_of:c"]):
        members = [entry.added for entry in entries if entry.condition in family]
        assert [added.p_holm for added in members] == list(compute_holm([added.p for added in members]))


@pytest.mark.parametrize("study", [{}, {"init_scheme": "mimetic", "baseline": "mimetic"}])
def test_nothing_is_divided_where_there_is_nothing_to_divide(fake_study, study):
    fake_study.add("none", [0.5, 0.5]).add("mimetic", [0.6, 0.6]).add("own", [0.7, 0.7])
    assert not any(entry.added for entry in summarize(fake_study.finish(**study)).panels[0].entries)


def test_the_start_that_none_got_is_said(fake_study):
    fake_study.add("none", [0.5, 0.5], start="mimetic").add("none", [0.5, 0.5], "other").add("own", [0.6, 0.6])
    found = [line for line in summarize(fake_study.finish()).warnings if "structured start" in line]
    assert found == ["topics, tiny: none began at the structured start, which scored better on validation"]


def test_the_margin_and_its_rule(fake_study):
    for condition, scores in {"none": (0.5, 0.51), "own": (0.8, 0.81), "bookwiki": (0.82, 0.83)}.items():
        fake_study.add(condition, scores).add(condition, [0.5, 0.51] if condition == "bookwiki" else scores, "flat")
    first, second = summarize(fake_study.finish()).panels
    assert first.decision.margin == pytest.approx(0.032)  # a tenth of .32
    assert "10% of the reference's gain" in first.margin_rule
    assert second.decision.margin == 0.01
    assert "no gain of the reference is clear" in second.margin_rule
    set_by_hand = summarize(fake_study.finish(margin=0.07)).panels[0]
    assert (set_by_hand.decision.margin, set_by_hand.margin_rule) == (0.07, "study.margin")


def test_scores_without_the_texts_that_are_in_training(fake_study):
    fake_study.add("none", [0.5, 0.5]).add("own", [0.7, 0.7])
    overlap = tuple(f"row{index}" for index in range(100))
    summary = summarize(fake_study.finish(overlaps={"topics": overlap}))
    panel = summary.panels[0]
    assert panel.num_overlapping == 100
    assert all(0.4 < entry.score_apart < 0.8 for entry in panel.entries)
    assert panel.find("own").score_apart != panel.find("own").score.point
    line = next(line for line in summary.warnings if "in the training split" in line)
    assert line.startswith("topics, tiny: 100 of 400 test texts are in the training split, too; without them: none .")
    everything = summarize(fake_study.finish(overlaps={"topics": tuple(f"row{i}" for i in range(400))}))
    assert everything.panels[0].find("own").score_apart is None


def test_what_the_statistics_note_reaches_the_reader(fake_study):
    fake_study.add_task("pairs", "score")
    fake_study.add("none", [0.5, 0.5], "pairs").add("own", [0], "pairs", outputs=[[0.3]] * 400)
    lines = summarize(fake_study.finish()).warnings
    assert any("pairs, tiny, own: 1 of 1 runs predict one value only" in line for line in lines)


def test_benefit_and_the_comparison_with_the_reference(fake_study):
    fake_study.add("none", [0.5, 0.5]).add("own", [0.7, 0.7]).add("bookwiki", [0.9, 0.9])
    panel = summarize(fake_study.finish()).panels[0]
    assert panel.find("own").benefit.point == pytest.approx(50)
    assert panel.find("bookwiki").benefit is None
    assert panel.versus_reference.delta.point == pytest.approx(-0.2)


def test_benefit_needs_a_gain_of_the_reference(fake_study):
    fake_study.add("none", [0.5, 0.5]).add("own", [0.7, 0.7]).add("bookwiki", [0.5, 0.5])
    own = summarize(fake_study.finish()).panels[0].find("own")
    assert own.benefit is None
    assert "may be zero" in own.benefit_reason


@pytest.mark.parametrize(("general", "name"), [("bookwiki", "BookWiki"), ("docs", "the general text (docs)")])
def test_the_stand_in_for_bookwiki_is_named(fake_study, general, name):
    fake_study.add("none", [0.5]).add("own", [0.7])
    assert summarize(fake_study.finish(general=general)).reference_name == name


def test_every_kind_of_task_has_its_metric(fake_study):
    for kind in ("class", "score", "multilabel"):
        fake_study.add_task(kind, kind)
        fake_study.add("none", [0.3, 0.3], kind).add("own", [0.6, 0.6], kind)
    summary = summarize(fake_study.finish())
    assert [panel.metric for panel in summary.panels] == ["accuracy", "pearson", "micro_auc"]
    assert all(panel.find("own").gain.delta.low > 0 for panel in summary.panels)
    assert all(panel.find("own").learned for panel in summary.panels)


def test_an_undefined_metric_concerns_its_condition_only(fake_study):
    fake_study.add_task("topics", "class", "f1")  # f1 wants two classes, these are four
    fake_study.add_task("other")
    fake_study.add("none", [0.5]).add("none", [0.5], "other")
    summary = summarize(fake_study.finish())
    assert summary.panels[0].entries[0].state_text == "undefined"
    assert summary.panels[1].entries[0].score is not None
    assert any("f1 has no value" in line for line in summary.warnings)


def test_one_seed_is_said(fake_study):
    fake_study.add("none", [0.5]).add("own", [0.7])
    assert any("hold for these checkpoints only" in line for line in summarize(fake_study.finish()).warnings)
    fake_study.add("none", [0.5, 0.5], first=1).add("own", [0.7, 0.7], first=1)
    assert not any("checkpoints only" in line for line in summarize(fake_study.finish()).warnings)


def test_a_released_checkpoint_is_said_to_be_one(fake_study):
    fake_study.add("none", [0.5, 0.5]).add("offshelf", [0.7, 0.7])
    assert any("conditional on that checkpoint" in line for line in summarize(fake_study.finish()).warnings)


def test_json_holds_everything_but_what_differs_between_equal_studies(fake_study):
    fake_study.add("none", [0.5, 0.5]).add("own", [0.7, 0.7]).add("bookwiki", [0.9], status="failed", note="x")
    first = summarize(fake_study.finish(facts={"command": "c", "time": "3 min"}))
    second = summarize(fake_study.finish(facts={"command": "c", "time": "4 min"}))
    stored = json.dumps(first.to_json(), allow_nan=False)
    assert stored == json.dumps(second.to_json(), allow_nan=False)
    entry = json.loads(stored)["panels"][0]["entries"][1]
    assert entry["gain"]["delta"]["point"] == pytest.approx(0.2)
    assert json.loads(stored)["facts"] == {"command": "c"}


def test_nothing_to_report_is_refused(fake_study):
    with pytest.raises(UserError, match="no cells"):
        summarize(fake_study.finish())


@pytest.fixture
def with_gap(fake_study):
    """A study of a task whose data are here, and of one whose data are not."""
    fake_study.add("none", [0.6, 0.62]).add("own", [0.7, 0.72]).add("bookwiki", [0.8, 0.82])
    alone = summarize(fake_study.finish()).panels
    for condition in ("none", "own", "bookwiki"):
        fake_study.add(condition, [0, 0], "gone", status="absent", note="to be downloaded by hand")
    fake_study.add("own_of:gone", [0, 0], status="absent", note="the text of gone (to be downloaded by hand)")
    return summarize(fake_study.finish(analyses=["calibration"])), alone


def test_missing_data_are_no_number_and_no_answer(with_gap):
    summary, (alone,) = with_gap
    panel, gone = summary.panels
    assert (
        gone.verdict == "gone, tiny: no answer, its data are missing: to be downloaded by hand." and not gone.evidence
    )
    assert {entry.state_text for entry in gone.entries} == {"missing: to be downloaded by hand"}
    assert all(entry.score is None and entry.gain is None for entry in gone.entries)
    assert (panel.verdict, panel.evidence, panel.entries[:3]) == (alone.verdict, alone.evidence, alone.entries)
    assert summary.warnings[:3] == [
        "own_of:gone: missing: the text of gone (to be downloaded by hand)",
        "gone: missing: to be downloaded by hand",
        "what is missing counts nowhere; the facts of its data say how to get it, and the same study command goes on",
    ]
    assert not any("not finished" in warning for warning in summary.warnings)


def test_missing_data_in_tables_and_plots(with_gap):
    summary, _ = with_gap
    scores, _, matrix, *_ = build_tables(summary)
    why = "missing: to be downloaded by hand"
    row = next(row for row in scores.rows if row[1:3] == ("gone (accuracy)", "own"))
    assert row[3:] == (why, "-", "-", "-", "0 of 2")
    assert scores.csv_rows[-1][:6] == ("tiny", "gone", "accuracy", "bookwiki", "absent", why)
    assert matrix.header == ("pretrained on", "topics", "gone")
    assert [row[2] for row in matrix.rows] == [  # the text of topics on gone was not asked for
        "not in this study", why
    ] and matrix.rows[1][:2] == ("gone", "missing: the text of gone (to be downloaded by hand)")  # fmt: skip
    assert draw_scores(summary)["png"] and draw_cross(summary.crosses[0], summary)["png"]


def test_a_reference_whose_text_is_missing(fake_study):
    fake_study.add("none", [0.6, 0.62, 0.61]).add("own", [0.8, 0.82, 0.81])
    fake_study.add("own_of:gone", [0] * 3, status="absent", note="the text of gone (cannot be downloaded)")
    (panel,) = summarize(fake_study.finish(reference="own_of:gone")).panels
    assert panel.verdict.endswith("the own text helps; whether it is enough stays open without the text of gone.")
    assert "the text of gone is missing (see the notes)" in panel.evidence
