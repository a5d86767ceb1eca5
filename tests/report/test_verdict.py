"""The sentences: each situation gets the answer it deserves and no more."""

from __future__ import annotations

import pytest

from selfpretrain.report import summarize
from selfpretrain.report.numbers import format_signed

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


# pretraining from a start that the baseline does not have


@pytest.mark.parametrize(
    ("scores", "answer", "together"),
    [
        ((0.5, 0.6, 0.8, 0.81), "So far the own text looks enough (own recovers 95 % [", ""),
        ((0.8, 0.6, 0.7, 0.71), "So far the own text looks enough", "Start and text together did harm: no pretraining"),
        ((0.7, 0.6, 0.71, 0.71), "looks enough", "Start and text together are not shown to beat no pretraining"),
        (
            (0.6, 0.8, 0.805, 0.805),
            "Neither the own text nor BookWiki clearly helped",
            "not shown to come from the text",
        ),
        ((0.6, 0.8, 0.81, 0.95), "BookWiki helped, the own text not clearly (own recovers 7 % [", "not shown to come"),
        ((0.6, 0.9, 0.75, 0.9), "No: the own text did harm here, the structured start without pretraining is", "shown"),
        ((0.97, 0.985, 0.9875, 0.9875), "The structured start without pretraining already scores .985: there is", ""),
    ],
)
def test_start_and_text_are_judged_apart(fake_study, scores, answer, together):
    add(fake_study, **dict(zip(("none", "mimetic", "own", "bookwiki"), scores, strict=True)))
    text = judge(fake_study, init_scheme="mimetic", num_replicates=1000)
    assert "pretraining on the task's own text from the structured start scored" in text
    none, start, own, _ = scores
    assert f"Of the {format_signed(own - none)} over no pretraining, the start alone accounts for " in text
    assert f"accounts for {format_signed(start - none)} [" in text
    assert f"the own text on top of it for {format_signed(own - start)} [" in text
    assert answer in text
    assert together in text
    assert ("together" in text) == ("together" in together)


def test_the_same_scores_from_the_usual_start_are_judged_as_they_stand(fake_study):
    add(fake_study, none=0.8, mimetic=0.6, own=0.7, bookwiki=0.71)
    text = judge(fake_study)
    assert "No: the own text did harm here, no pretraining is better." in text
    assert "start" not in text


@pytest.mark.parametrize(("seeds", "doubt"), [(3, ", not told from no difference)"), (1, ", suggestive)")])
def test_a_part_that_is_not_clear_is_said(fake_study, seeds, doubt):
    """Not clear alone; or, with more tasks, clear alone and not among them."""
    add(fake_study, none=0.6, own=0.8, mimetic=0.61 if seeds == 3 else 0.66)
    for index in range(12 if seeds == 1 else 0):
        fake_study.add("none", [0.6] * 3, f"more{index}").add("own", [0.6] * 3, f"more{index}")
    text = judge(fake_study, init_scheme="mimetic", num_replicates=1000)
    part = text.partition("the start alone accounts for ")[2].partition(", the own text on top of it")[0]
    assert part.endswith(doubt)


def test_a_control_without_a_score(fake_study):
    add(fake_study, none=0.6, own=0.8, bookwiki=0.81)
    fake_study.add("mimetic", [0], status="failed", note="reason")
    text = judge(fake_study, init_scheme="mimetic")
    assert (
        "How much of the +.200 is the start's is unknown, because the structured start without pretraining fail" in text
    )
    assert "accounts for" not in text


def test_without_the_control_start_and_text_are_named_together(fake_study):
    add(fake_study, none=0.8, own=0.6, bookwiki=0.85)
    text = judge(fake_study, init_scheme="mimetic")
    assert "No: the own text with its start did harm here, no pretraining is better." in text
    assert "The difference to no pretraining is that of start and pretraining together (see the notes)." in text


def test_the_control_as_baseline_needs_no_division(fake_study):
    add(fake_study, none=0.8, mimetic=0.6, own=0.7, bookwiki=0.71)
    text = judge(fake_study, init_scheme="mimetic", baseline="mimetic")
    assert "over the structured start without pretraining (p" in text
    assert "So far the own text looks enough" in text
    assert "accounts for" not in text and "together" not in text


def test_the_control_without_a_baseline_or_own(fake_study):
    add(fake_study, mimetic=0.6, own=0.8)
    text = judge(fake_study, init_scheme="mimetic")
    assert "over its own start (p < " in text
    assert "no pretraining is not in this study, so what start and text gained together is unknown" in text
    fake_study.add("none", [0.5] * 3, "general").add("mimetic", [0.6] * 3, "general").add(
        "bookwiki", [0.8] * 3, "general"
    )
    text = judge(fake_study, "general", init_scheme="mimetic")
    assert "bookwiki scored .800, +.300 [" in text
    assert ", and +.200 [" in text and "over its own start" in text


def test_the_stand_in_is_not_called_bookwiki(fake_study):
    add(fake_study, none=0.6, own=0.8, bookwiki=0.81)
    text = judge(fake_study, general="docs")
    assert "BookWiki" not in text
    assert "the general text (docs) is .010 [" in text
