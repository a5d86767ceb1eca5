"""The sentences: each situation gets the answer it deserves and no more."""

from __future__ import annotations

import pytest

from selfpretrain.report import summarize

SEEDS = 3


def judge(fake_study, task="topics", **study):
    summary = summarize(fake_study.finish(**study))
    return next(panel.verdict for panel in summary.panels if panel.task == task)


def add(fake_study, seeds=SEEDS, **scores):
    for condition, score in scores.items():
        fake_study.add(condition, [score] * seeds)


def test_own_text_looks_enough(fake_study):
    add(fake_study, none=0.6, own=0.8, bookwiki=0.81)
    text = judge(fake_study)
    assert text.startswith("topics, tiny: pretraining on the task's own text scored .800 accuracy, +.200 [")
    assert "over no pretraining (p < " in text and "3 seeds)" in text
    assert "BookWiki is .010 [" in text and "better" in text and "cannot tell from no difference" in text
    assert "So far the own text looks enough (own recovers 95 % [" in text
    assert "BookWiki may be up to ." in text
    assert "study.pretrain_seeds=5" in text


def test_own_text_was_better(fake_study):
    add(fake_study, none=0.5, own=0.9, bookwiki=0.7)
    text = judge(fake_study)
    assert "BookWiki is .200 [" in text and "worse" in text
    assert "Yes: the own text was enough, and better than BookWiki (own recovers 200 % [" in text


def test_own_text_is_part_of_it(fake_study):
    add(fake_study, none=0.5, own=0.7, bookwiki=0.9)
    text = judge(fake_study)
    assert "Only in part: BookWiki gives more (own recovers 50 % [" in text


def test_own_text_not_shown_to_help(fake_study):
    add(fake_study, none=0.6, own=0.605, bookwiki=0.8)
    text = judge(fake_study)
    assert "over no pretraining (p = " in text and "cannot tell from no difference" in text
    assert "Not shown to be enough: BookWiki helped, the own text not clearly" in text


def test_nothing_helped(fake_study):
    add(fake_study, none=0.6, own=0.605, bookwiki=0.61)
    assert "Neither the own text nor BookWiki clearly helped" in judge(fake_study)


def test_no_room_to_help(fake_study):
    add(fake_study, none=1.0, own=1.0, bookwiki=1.0)
    assert "No pretraining already scores 1.000: there is hardly room to help." in judge(fake_study)


def test_own_text_did_harm(fake_study):
    add(fake_study, none=0.8, own=0.6, bookwiki=0.85)
    text = judge(fake_study)
    assert "-.200 [-." in text
    assert "No: the own text did harm here, no pretraining is better." in text


def test_nothing_was_learned(fake_study):
    add(fake_study, none=0.25, own=0.26, bookwiki=0.24)
    text = judge(fake_study)
    assert "nothing was learned, so this says nothing about pretraining" in text
    assert "always the most frequent class scores .250 accuracy" in text
    assert "enough" not in text


def test_one_learner_is_enough_for_a_verdict(fake_study):
    add(fake_study, none=0.25, own=0.6, bookwiki=0.25)
    text = judge(fake_study)
    assert "nothing was learned" not in text
    assert "better than BookWiki" in text


def test_missing_reference(fake_study):
    add(fake_study, none=0.6, own=0.8)
    text = judge(fake_study)
    assert "The own text helped; whether it is enough stays open, because BookWiki is not in this study" in text
    assert "add bookwiki to study.conditions" in text


@pytest.mark.parametrize(("status", "words"), [("failed", "failed in 3 of 3 runs"), ("missing", "is not finished")])
def test_reference_without_a_score(fake_study, status, words):
    add(fake_study, none=0.6, own=0.8)
    fake_study.add("bookwiki", [0] * 3, status=status, note="reason")
    text = judge(fake_study)
    assert f"BookWiki {words}" in text
    assert "whether it is enough stays open." in text


@pytest.mark.parametrize(
    ("status", "words"),
    [("failed", "tries them again"), ("diverged", "a lower learning rate"), ("missing", "command continues")],
)
def test_own_without_a_score_is_no_answer(fake_study, status, words):
    add(fake_study, none=0.6, bookwiki=0.8)
    fake_study.add("own", [0], status=status, note="reason")
    text = judge(fake_study)
    assert "no answer, because pretraining on the task's own text" in text
    assert words in text


def test_baseline_without_a_score(fake_study):
    add(fake_study, own=0.8)
    assert "no pretraining is not in this study, so what it gained is unknown" in judge(fake_study)
    fake_study.add("none", [0], status="diverged")
    assert "no pretraining diverged in 1 of 1 runs" in judge(fake_study)


def test_one_seed_is_provisional(fake_study):
    add(fake_study, seeds=1, none=0.6, own=0.8, bookwiki=0.81)
    text = judge(fake_study)
    assert "1 seed)" in text
    assert "From one seed this is provisional: another seed may turn it round" in text


def test_many_seeds_name_what_is_unsure(fake_study):
    add(fake_study, seeds=5, none=0.6, own=0.8, bookwiki=0.81)
    assert "the 400 test examples: more of them would make this surer" in judge(fake_study)
    for condition in ("none", "own", "bookwiki"):
        fake_study.add(condition, [0.3, 0.5, 0.7, 0.9, 0.95], "wild")
    assert "chance of pretraining: study.pretrain_seeds=10" in judge(fake_study, "wild")


def test_a_result_lost_to_the_correction_is_said(fake_study):
    """Clear alone, not clear among many."""
    add(fake_study, none=0.6, own=0.66)
    alone = judge(fake_study, num_replicates=1000)
    assert "The own text helped" in alone
    for index in range(12):
        fake_study.add("none", [0.6] * 3, f"more{index}").add("own", [0.6] * 3, f"more{index}")
    crowded = judge(fake_study, num_replicates=1000)
    assert "suggestive but does not hold once corrected" in crowded
    assert "stays open" in crowded


def test_a_study_without_own(fake_study):
    add(fake_study, none=0.6, offshelf=0.8)
    text = judge(fake_study)
    assert "the released checkpoint scored .800, +.200 [" in text
    assert "1 against 3 seeds" in text
    assert "was not asked (add own to study.conditions)" in text


def test_the_stand_in_is_not_called_bookwiki(fake_study):
    add(fake_study, none=0.6, own=0.8, bookwiki=0.81)
    text = judge(fake_study, general="docs")
    assert "BookWiki" not in text
    assert "the general text (docs) is .010 [" in text
