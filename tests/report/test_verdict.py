"""The sentences: each pair of outcomes gets the answer it deserves and no more, and its evidence names the rule."""

from __future__ import annotations

import re

import pytest

from selfpretrain.report.summary import summarize
from selfpretrain.report.verdict import _ANSWERS, MOST_WORDS, judge_tone

# scores of three seeds: with these the interval of a difference is about .05 to either side
SEEDS = (-0.005, 0.0, 0.005)


def add(fake_study, seeds=SEEDS, task="topics", **scores):
    for condition, score in scores.items():
        fake_study.add(condition, [score + step for step in seeds], task)


def judge(fake_study, task="topics", **study):
    """The verdict, and its evidence as one text."""
    summary = summarize(fake_study.finish(**study))
    panel = next(panel for panel in summary.panels if panel.task == task)
    return panel.verdict, "\n".join(panel.evidence)


@pytest.mark.parametrize(
    ("scores", "study", "verdict", "rule"),
    [
        ((0.5, 0.9, 0.7), {}, "the own text is enough: better than no pretraining, and better than BookWiki.", "clear"),
        (
            (0.5, 0.8, 0.8),
            {"margin": 0.1},
            "the own text is enough: better than no pretraining, and no worse than BookWiki beyond the margin.",
            "the interval does not reach below the margin of .100 (study.margin)",
        ),
        ((0.5, 0.7, 0.9), {}, "the own text helps, but BookWiki gives more.", "clear"),
        (
            (0.5, 0.8, 0.81),
            {"margin": 0.001},
            "the own text helps; whether it is enough beside BookWiki is undecided.",
            "not clear, and the interval reaches below the margin of .001 (study.margin)",
        ),
        (
            (0.7, 0.71, 0.5),
            {},
            "the own text is better than BookWiki; whether it helps at all is undecided.",
            "clear",
        ),
        (
            (0.7, 0.71, 0.71),
            {"margin": 0.2},
            "the own text is no worse than BookWiki beyond the margin; whether it helps at all is undecided.",
            "the interval does not reach below",
        ),
        (
            (0.6, 0.605, 0.8),
            {},
            "BookWiki is better than the own text, and whether the own text helps at all is undecided.",
            "clear",
        ),
        (
            (0.6, 0.605, 0.61),
            {},
            "undecided, both whether the own text helps and how it stands to BookWiki.",
            "not clear, and the interval reaches below the margin of .010 (one point, since no gain",
        ),
        ((0.8, 0.6, 0.85), {}, "pretraining on the own text does harm: no pretraining is better.", "clear"),
    ],
)
def test_two_outcomes_make_the_sentence(fake_study, scores, study, verdict, rule):
    add(fake_study, **dict(zip(("none", "own", "bookwiki"), scores, strict=True)))
    found, evidence = judge(fake_study, **study)
    assert found == f"topics, tiny: {verdict}"
    assert rule in next(line for line in evidence.splitlines() if line.startswith("own - bookwiki: "))


def test_every_verdict_is_one_short_sentence():
    longest = {"base": "the structured start", "reference": "equally much general text (docs)"}
    for answer in _ANSWERS.values():
        text = f"task, model: {answer.format(**longest)}"
        assert len(text.split()) <= MOST_WORDS
        assert text.count(".") == 1 and text.endswith(".")


def test_no_number_stands_twice(fake_study):
    add(fake_study, none=0.6, own=0.8, bookwiki=0.82)
    verdict, evidence = judge(fake_study)
    numbers = re.findall(r"[+-]?\d*\.\d+", f"{verdict}\n{evidence}")
    assert len(numbers) > 6
    assert len(set(numbers)) == len(numbers)


def test_a_difference_that_is_not_clear_is_never_enough(fake_study):
    """The own text helps, the difference to BookWiki is not clear: nothing follows from that."""
    add(fake_study, none=0.6, own=0.8, bookwiki=0.83)
    verdict, evidence = judge(fake_study)
    assert "undecided" in verdict and "looks enough" not in verdict
    assert "a tenth of" not in verdict
    assert "the margin of .023 (10% of the reference's gain, which is clear)" in evidence


def test_clear_and_not_clear_are_not_read_as_a_difference(fake_study):
    """BookWiki clearly beats no pretraining, the own text does not: that alone does not make BookWiki better."""
    fake_study.add("none", [0.6, 0.61, 0.59]).add("own", [0.6, 0.7, 0.8]).add("bookwiki", [0.75, 0.755, 0.76])
    verdict, _ = judge(fake_study)
    assert verdict == "topics, tiny: undecided, both whether the own text helps and how it stands to BookWiki."


def test_what_would_decide_it_is_said(fake_study):
    add(fake_study, none=0.6, own=0.8, bookwiki=0.83)
    _, evidence = judge(fake_study)
    line = evidence.splitlines()[-1]
    assert line.startswith("if the difference stays what it is, about ")
    assert "test examples would decide it" in line or "study.pretrain_seeds=" in line
    assert "most of the doubt comes from the 400 test examples" in line
    fake_study.add("none", [0.6] * 3, "wild").add("own", [0.3, 0.6, 0.9], "wild").add("bookwiki", [0.7] * 3, "wild")
    assert "most of the doubt comes from the seeds of own" in judge(fake_study, "wild")[1]
    fake_study.add("none", [0.6] * 3, "wide").add("own", [0.7] * 3, "wide").add("bookwiki", [0.4, 0.7, 0.9], "wide")
    assert "most of the doubt comes from the seeds of bookwiki" in judge(fake_study, "wide")[1]


def test_what_is_decided_needs_no_advice(fake_study):
    add(fake_study, none=0.5, own=0.9, bookwiki=0.7)
    assert "would decide" not in judge(fake_study)[1]


def test_a_share_of_the_references_gain_is_given_where_that_is_clear(fake_study):
    add(fake_study, none=0.5, own=0.7, bookwiki=0.9)
    assert "own reaches 50 % [" in judge(fake_study)[1]


def test_no_room_to_help(fake_study):
    add(fake_study, seeds=(0, 0, 0), none=0.99, own=0.99, bookwiki=0.99)
    assert "no pretraining already scores .990 accuracy: there is hardly room to help" in judge(fake_study)[1]


def test_nothing_was_learned(fake_study):
    add(fake_study, none=0.25, own=0.26, bookwiki=0.24)
    verdict, evidence = judge(fake_study)
    assert verdict == "topics, tiny: nothing was learned, so this says nothing about pretraining."
    assert "always the most frequent class scores .250 accuracy" in evidence


def test_one_learner_is_enough_for_a_verdict(fake_study):
    add(fake_study, none=0.25, own=0.6, bookwiki=0.25)
    assert "better than BookWiki" in judge(fake_study)[0]


def test_missing_reference(fake_study):
    add(fake_study, none=0.6, own=0.8)
    verdict, evidence = judge(fake_study)
    assert verdict.endswith("the own text helps; whether it is enough stays open without BookWiki.")
    assert "add bookwiki to study.conditions" in evidence


@pytest.mark.parametrize(("status", "words"), [("failed", "failed in 3 of 3 runs"), ("missing", "is not finished")])
def test_reference_without_a_score(fake_study, status, words):
    add(fake_study, none=0.6, own=0.8)
    fake_study.add("bookwiki", [0] * 3, status=status, note="reason")
    verdict, evidence = judge(fake_study)
    assert "stays open without BookWiki" in verdict
    assert f"BookWiki {words}" in evidence


@pytest.mark.parametrize(
    ("status", "words"),
    [("failed", "tries them again"), ("diverged", "a lower learning rate"), ("missing", "command continues")],
)
def test_own_without_a_score_is_no_answer(fake_study, status, words):
    add(fake_study, none=0.6, bookwiki=0.8)
    fake_study.add("own", [0], status=status, note="reason")
    verdict, evidence = judge(fake_study)
    assert "no answer, because pretraining on the own text" in verdict
    assert words in evidence


def test_baseline_without_a_score(fake_study):
    add(fake_study, own=0.8)
    verdict, evidence = judge(fake_study)
    assert verdict.endswith("no answer, because there is nothing to compare the own text with.")
    assert "no pretraining is not in this study" in evidence
    add(fake_study, bookwiki=0.5)
    fake_study.add("none", [0], status="diverged")
    verdict, evidence = judge(fake_study)
    assert verdict.endswith("the own text is better than BookWiki; no pretraining has no score.")
    assert "no pretraining diverged in 1 of 1 runs" in evidence


def test_one_seed_tells_of_checkpoints_only(fake_study):
    add(fake_study, seeds=(0,), none=0.6, own=0.8, bookwiki=0.81)
    verdict, evidence = judge(fake_study)
    assert verdict.endswith("one seed tells of these checkpoints only, not of the procedures that made them.")
    assert "p =" not in evidence and "p <" not in evidence
    assert evidence.count("these checkpoints only") == 2
    assert "study.pretrain_seeds=5" in evidence


def test_a_released_checkpoint_is_conditional(fake_study):
    add(fake_study, none=0.6, own=0.8)
    fake_study.add("offshelf", [0.75, 0.85, 0.65], finetunings=2)
    _, evidence = judge(fake_study, reference="offshelf")
    line = next(line for line in evidence.splitlines() if line.startswith("own - offshelf: "))
    assert "3 against 6 seeds, conditional on this checkpoint" in line
    assert "most of the doubt comes from the fine-tunings of the released checkpoint" in evidence


def test_a_result_lost_to_the_correction_is_undecided(fake_study):
    """Clear alone, not clear among many."""
    add(fake_study, none=0.6, own=0.655)
    assert "the own text helps" in judge(fake_study)[0]
    for index in range(12):
        add(fake_study, task=f"more{index}", none=0.6, own=0.6)
    assert "whether the own text helps is undecided" in judge(fake_study)[0]


def test_a_study_without_own(fake_study):
    add(fake_study, none=0.6, bookwiki=0.8)
    verdict, evidence = judge(fake_study)
    assert verdict.endswith("whether the own text is enough was not asked.")
    assert "bookwiki - no pretraining: +.200 [" in evidence
    assert "add own to study.conditions" in evidence


def test_the_control_as_baseline(fake_study):
    add(fake_study, none=0.8, mimetic=0.6, own=0.7, bookwiki=0.71)
    verdict, evidence = judge(fake_study, init_scheme="mimetic", baseline="mimetic")
    assert "own - mimetic: +.100 [" in evidence
    assert "helps" in verdict


def test_the_stand_in_is_not_called_bookwiki(fake_study):
    add(fake_study, none=0.6, own=0.8, bookwiki=0.81)
    verdict, _ = judge(fake_study, general="docs")
    assert "BookWiki" not in verdict
    assert "the general text (docs)" in verdict


@pytest.mark.parametrize(
    ("scores", "tone"),
    [((0.5, 0.9, 0.7), "good"), ((0.5, 0.7, 0.9), "bad"), ((0.9, 0.6, 0.4), "bad"), ((0.8, 0.81, 0.8), "")],
)
def test_the_tone_is_that_of_the_sentence_not_of_one_comparison(fake_study, scores, tone):
    add(fake_study, none=scores[0], own=scores[1], bookwiki=scores[2])
    summary = summarize(fake_study.finish())
    assert judge_tone(summary.panels[0], summary) == tone


def test_one_seed_has_no_tone(fake_study):
    add(fake_study, seeds=(0.0,), none=0.5)
    add(fake_study, own=0.9, bookwiki=0.7)
    summary = summarize(fake_study.finish())
    assert "these checkpoints only" in summary.panels[0].verdict and judge_tone(summary.panels[0], summary) == ""
