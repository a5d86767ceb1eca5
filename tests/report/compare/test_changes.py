"""What changed between two studies: differences within seeds and examples, or two intervals and why."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from selfpretrain.report.compare.changes import INTERVALS, NOTHING, compare
from selfpretrain.report.compare.stored import Key, read_reports
from selfpretrain.stats import compute_contrast, compute_holm
from tests.report.conftest import NUM_EXAMPLES, make_labels

OWN, NONE = Key("tiny", "topics", "own"), Key("tiny", "topics", "none")


def compare_pair(pair):
    found = compare(read_reports(pair.given, "nowhere"), "nowhere")
    return found, {cell.key: cell for cell in found.cells}


def make_outputs(right):
    labels = make_labels("topics", "class")
    return np.eye(4)[np.where(right, labels, (labels + 1) % 4)] * 3


def add_alike(pair, improvement=8):
    """Seeds of much difference between them; B has each of A's and, beyond, so many examples right."""
    rights = {}
    for seed, share in enumerate((0.5, 0.65, 0.8)):
        right = np.random.default_rng(seed).random(NUM_EXAMPLES) < share
        better = right.copy()
        better[np.flatnonzero(~right)[: improvement + seed]] = True
        for name, known in (("A", right), ("B", better)):
            pair[name].add("own", [0], outputs=make_outputs(known), first=seed)
            rights.setdefault(name, []).append(known)
    return {name: np.array(found) for name, found in rights.items()}


def test_a_difference_is_that_within_seeds_and_examples(pair):
    rights = add_alike(pair)
    for name in "AB":
        pair[name].add("none", [0.4, 0.41, 0.42])
        pair.report(name)
    found, cells = compare_pair(pair)
    own = cells[OWN]
    expected = compute_contrast(
        [rights["B"].astype(int), rights["A"].astype(int)], [range(3)] * 2, (1, -1), np.ones(NUM_EXAMPLES, int), "accuracy", num_replicates=200,
    )  # fmt: skip
    delta = own.difference.delta
    assert (delta.point, delta.low, delta.high) == pytest.approx(
        (expected.contrast.point, expected.contrast.low, expected.contrast.high)
    )
    assert own.difference.p == pytest.approx(expected.p)
    assert own.delta == delta.point == pytest.approx(9 / NUM_EXAMPLES)
    assert own.rests_on == "predictions, within 3 seeds"
    widths = [cell.score.high - cell.score.low for cell in own.cells]
    assert delta.high - delta.low < min(widths) / 5  # what the seeds share has left it
    ps = [cell.difference.p for cell in found.cells]
    assert [cell.difference.p_holm for cell in found.cells] == pytest.approx(compute_holm(ps))


def test_seeds_that_one_lacks_are_left_out(pair):
    pair["A"].add("own", [0.7, 0.71])
    pair["B"].add("own", [0.72, 0.73, 0.9])
    for name in "AB":
        pair.report(name)
    _, cells = compare_pair(pair)
    assert cells[OWN].rests_on == "predictions, within 2 seeds (of 2 and 3)"
    assert cells[OWN].delta == pytest.approx(0.02)  # and not by the seed that is 0.9
    assert cells[OWN].difference.num_seeds == (2, 2)


def test_one_seed_has_an_interval_and_no_p(pair):
    for name, score in (("A", 0.6), ("B", 0.8)):
        pair[name].add("own", [score])
        pair.report(name)
    _, cells = compare_pair(pair)
    assert cells[OWN].difference.p is None and cells[OWN].difference.p_holm is None


def test_the_same_runs_are_no_test(pair):
    for name in "AB":
        pair[name].add("none", [0.6, 0.61, 0.63][: 2 if name == "A" else 3]).add("own", [0.7, 0.7])
        pair.report(name, shared=["none", "own"])
    _, cells = compare_pair(pair)
    assert cells[OWN].difference is None and cells[OWN].rests_on == "the same runs" and cells[OWN].delta == 0
    assert cells[NONE].rests_on == "the same runs, but one has more of them" and cells[NONE].delta > 0


def change_summary(pair, name, change):
    path = pair.reports[name] / "summary.json"
    summary = json.loads(path.read_text())
    change(summary)
    path.write_text(json.dumps(summary))


def drop_run_ids(summary):
    for run in summary["panels"][0]["entries"][0]["run_scores"]:
        del run["run_id"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (drop_run_ids, "the report of B does not name its runs"),
        (lambda s: s.update(seed_factors={"init": 2, "data": 2}), "other kinds of chance"),
        (lambda s: s["panels"][0].update(num_groups=40), "which test examples belong together"),
        (lambda s: [run.update(run_id="gone") for run in s["panels"][0]["entries"][0]["run_scores"]], "the runs of B are not here"),
        (lambda s: [run.update(pretrain_seed=9) for run in s["panels"][0]["entries"][0]["run_scores"]], "no seed number"),
    ],
)  # fmt: skip
def test_without_predictions_there_are_two_intervals_and_why(pair, change, reason):
    for name, score in (("A", 0.6), ("B", 0.8)):
        pair[name].add("own", [score, score])
        pair.report(name)
    change_summary(pair, "B", change)
    _, cells = compare_pair(pair)
    assert cells[OWN].rests_on == INTERVALS and reason in cells[OWN].reason
    assert cells[OWN].difference is None and cells[OWN].delta == pytest.approx(0.2)


def test_of_two_confidences_the_larger_holds_either_way_round(pair):
    add_alike(pair)
    for name, confidence in (("A", 0.5), ("B", 0.99)):
        pair.report(name, confidence=confidence)
    one, other = (
        compare(read_reports(given, "nowhere"), "nowhere")
        for given in (pair.given, ",".join(pair.given.split(",")[::-1]))
    )
    (there, back) = (found.cells[0].difference.delta for found in (one, other))
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))


def test_equal_runs_that_are_gone_are_said_to_be_equal(pair):
    for name in "AB":
        pair[name].add("own", [0.6, 0.7])
        pair.report(name)
        shutil.rmtree(pair[name].folder / "finetune")
    for cells in (compare_pair(pair)[1],):
        assert cells[OWN].rests_on == "two intervals, equal run by run" and cells[OWN].delta == 0


def test_other_test_examples_are_not_paired(pair):
    pair["A"].add("own", [0.6, 0.6])
    pair["B"].add("own", [0.8, 0.8])
    for cell in pair["B"].cells:
        path = cell.folder / "predictions" / "test.parquet"
        from selfpretrain.runs.predictions import load_predictions, write_predictions

        found = load_predictions(path)
        write_predictions(path, [f"new{example}" for example in found.ids], found.labels, found.outputs)
    for name in "AB":
        pair.report(name)
    _, cells = compare_pair(pair)
    assert cells[OWN].rests_on == INTERVALS and cells[OWN].reason == "the test examples are not the same"


def test_another_metric_or_no_score_is_no_difference(pair):
    pair["A"].add("own", [0.6, 0.6]).add("none", [0.5, 0.5])
    pair["B"].add_task("topics", metric="macro_f1")
    pair["B"].add("own", [0.6, 0.6]).add("none", [0], status="failed", note="broken")
    for name in "AB":
        pair.report(name)
    found, cells = compare_pair(pair)
    assert (cells[OWN].rests_on, cells[OWN].reason) == (NOTHING, "they are scored by two metrics")
    assert (cells[NONE].rests_on, cells[NONE].reason) == (NOTHING, "B has no score")
    assert cells[OWN].delta is cells[NONE].delta is None
    assert ("state of none", "done", "failed") in [(c.what, c.before, c.after) for c in found.changes]


def test_what_was_said_and_decided_otherwise(pair):
    for name, own in (("A", [0.9, 0.91, 0.9]), ("B", [0.5, 0.52, 0.51])):
        pair[name].add("none", [0.5, 0.51, 0.52]).add("own", own).add("bookwiki", [0.7, 0.71, 0.72])
        pair.report(name)
    pair["B"].add("tapt", [0.9], first=0)
    found, _ = compare_pair(pair)
    changes = {change.what: (change.before, change.after) for change in found.changes}
    assert changes["own against bookwiki"] == ("better", "worse")
    assert changes["own against none"] == ("better", "not clear")
    assert changes["the sentence"][0].startswith("the own text is enough") and "bookwiki against none" not in changes
    assert found.num_answers == 1


def test_cells_that_one_lacks(pair):
    pair["A"].add("none", [0.5]).add("own", [0.6])
    pair["B"].add("none", [0.5]).add("bookwiki", [0.6])
    for name in "AB":
        pair.report(name)
    found, _ = compare_pair(pair)
    assert [[key.condition for key in keys] for keys in found.alone] == [["own"], ["bookwiki"]]
    assert [cell.key.condition for cell in found.cells] == ["none"]
