"""What more conditions change in a report, and what they leave as it is."""

from __future__ import annotations

from selfpretrain.report.comparisons import get_seeds
from selfpretrain.report.summary import summarize
from selfpretrain.report.tables import build_score_table
from selfpretrain.runs.results import AlignedRuns
from selfpretrain.stats import compute_holm

MORE = ("tapt", "mix:own+bookwiki", "own_then_bookwiki", "bookwiki_then_own")


def add_usual(study):
    return study.add("none", [0.6, 0.61, 0.6]).add("own", [0.64, 0.66, 0.65]).add("bookwiki", [0.66, 0.7, 0.67])


def test_more_conditions_do_not_widen_the_family_of_the_claims(fake_study):
    add_usual(fake_study)
    before = [difference.p_holm for difference in summarize(fake_study.finish()).list_claims()]
    for condition in MORE:
        fake_study.add(condition, [0.7, 0.72, 0.69])
    summary = summarize(fake_study.finish())
    assert [difference.p_holm for difference in summary.list_claims()] == before
    gains = [entry.gain for entry in summary.entries if entry.condition in MORE]
    assert [gain.p_holm for gain in gains] == list(compute_holm([gain.p for gain in gains]))


def test_a_checkpoint_pretrained_further_has_seeds_of_its_own_and_is_conditional(fake_study):
    add_usual(fake_study).add("tapt", [0.7, 0.72, 0.69], finetunings=2).add("mimetic", [0.6, 0.6, 0.6])
    summary = summarize(fake_study.finish(init_scheme="mimetic"))
    (tapt,) = (entry for entry in summary.entries if entry.condition == "tapt")
    assert (tapt.num_seeds, tapt.num_seeds_planned, tapt.gain.is_conditional) == (3, 3, True)
    assert tapt.added is None  # it did not begin at the structured start
    cells = tuple(cell for cell in fake_study.cells if cell.condition == "tapt")
    assert set(get_seeds(AlignedRuns([], None, None, cells))) == {(0, 0), (1, 0), (2, 0)}
    assert any("conditional on that checkpoint" in warning for warning in summary.warnings)
    rows = {row[2]: row for row in build_score_table(summary).rows}
    assert rows["tapt (this checkpoint)"][-1] == "3 x 2"


def test_a_sentence_may_rest_on_them(fake_study):
    add_usual(fake_study).add("own_then_bookwiki", [0.8, 0.82, 0.81])
    summary = summarize(fake_study.finish(reference="own_then_bookwiki"))
    assert "the own text followed by BookWiki gives more." in summary.panels[0].verdict
