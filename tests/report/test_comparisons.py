"""The report's statistics against the public ones."""

from __future__ import annotations

import numpy as np
import pytest

from selfpretrain.config import StudyConfig, UserError
from selfpretrain.report.columns import fill_seeds
from selfpretrain.report.comparisons import compute_difference, compute_score, compute_share, correct, get_seeds
from selfpretrain.report.means import compute_mean_score
from selfpretrain.report.summary import summarize
from selfpretrain.runs.results import read_runs
from selfpretrain.stats import multibootstrap
from selfpretrain.stats.crossed import compute_crossed_variance

STUDY = StudyConfig(num_replicates=200)


def read(study, condition, task="topics"):
    cells = [cell for cell in study.cells if cell.condition == condition and cell.task == task]
    return read_runs(cells, study.tasks[task])[0]


def test_differences_are_those_of_the_public_function(fake_study):
    fake_study.add("none", [0.7, 0.72, 0.68], finetunings=2).add("own", [0.75, 0.77])
    base, expt = read(fake_study, "none"), read(fake_study, "own")
    found = compute_difference(base, expt, "accuracy", STUDY)
    expected = multibootstrap(
        (base.predictions, expt.predictions), base.labels, "accuracy", base_seeds=[0, 0, 1, 1, 2, 2],
        expt_seeds=[0, 1], paired=False, num_replicates=200, seed=0,
    )  # fmt: skip
    assert found.delta.point == pytest.approx(0.76 - 0.7)
    assert (found.delta.low, found.delta.high) == (expected.delta.low, expected.delta.high)
    assert (found.p, found.variance) == (expected.p, expected.variance)
    assert found.num_seeds == (2, 3)
    assert not found.is_conditional and not found.is_of_checkpoints


def test_p_is_two_sided_and_has_no_floor(fake_study):
    fake_study.add("none", [0.8, 0.805, 0.795, 0.8]).add("own", [0.5, 0.505, 0.495, 0.5])
    base, expt = read(fake_study, "none"), read(fake_study, "own")
    first, second = (compute_difference(*pair, "accuracy", STUDY).p for pair in ((base, expt), (expt, base)))
    assert first == pytest.approx(second)
    assert first < 1 / STUDY.num_replicates
    same = compute_difference(base, base, "accuracy", STUDY)
    assert (same.delta.point, same.p) == (0, 1)


def test_one_seed_a_side_is_of_checkpoints_and_outside_the_family(fake_study):
    fake_study.add("none", [0.7]).add("own", [0.8]).add("bookwiki", [0.7, 0.9])
    none, own, bookwiki = (read(fake_study, name) for name in ("none", "own", "bookwiki"))
    single = compute_difference(none, own, "accuracy", STUDY)
    assert single.p is None and single.is_of_checkpoints
    assert single.delta.low < 0.1 < single.delta.high
    several = compute_difference(bookwiki, bookwiki, "accuracy", STUDY)
    correct([single, several, None])
    assert (single.p_holm, several.p_holm) == (None, several.p)
    assert not single.is_clear(0.05)


def test_finetunings_are_averaged_within_their_seed(fake_study):
    fake_study.add("own", [0.8], finetunings=3).add("own", [0.6], first=1)
    score, singles, *_ = compute_score(read(fake_study, "own"), "accuracy", STUDY)
    assert score.point == pytest.approx(0.7)
    assert singles == pytest.approx([0.8, 0.8, 0.8, 0.6])


def test_the_finetunings_of_a_released_checkpoint_are_its_seeds(fake_study):
    fake_study.add("offshelf", [0.7, 0.8], finetunings=2).add("none", [0.6, 0.61], finetunings=2)
    none, offshelf = read(fake_study, "none"), read(fake_study, "offshelf")
    assert get_seeds(offshelf) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert get_seeds(none) == [(0, 0), (0, 0), (1, 0), (1, 0)]
    found = compute_difference(none, offshelf, "accuracy", STUDY)
    assert found.num_seeds == (4, 2)
    assert found.is_conditional


def test_share_of_the_references_gain(fake_study):
    fake_study.add("none", [0.5, 0.51, 0.49]).add("own", [0.7, 0.71, 0.69]).add("bookwiki", [0.9, 0.91, 0.89])
    none, own, reference = (read(fake_study, name) for name in ("none", "own", "bookwiki"))
    share, reason, _ = compute_share(none, own, reference, "accuracy", STUDY)
    assert share.point == pytest.approx(50)
    assert share.low < 50 < share.high
    assert reason == ""
    share, reason, _ = compute_share(none, own, none, "accuracy", STUDY)
    assert share is None
    assert "may be zero" in reason


@pytest.mark.parametrize("metric", ["pearson", "spearman"])
def test_a_model_that_says_the_same_everywhere_has_no_correlation(fake_study, metric):
    fake_study.add_task("pairs", "score", metric)
    fake_study.add("none", [0], "pairs", outputs=np.full((400, 1), 0.3)).add("own", [0.8, 0.8], "pairs")
    none, own = read(fake_study, "none", "pairs"), read(fake_study, "own", "pairs")
    score, _, notes, _ = compute_score(none, metric, STUDY)
    assert (score.point, score.low, score.high) == (0, 0, 0)
    assert any("1 of 1 runs predict one value only: counted as a correlation of 0" in note for note in notes)
    found = compute_difference(none, own, metric, STUDY)
    assert found.delta.point == pytest.approx(compute_score(own, metric, STUDY)[0].point)
    assert found.delta.low > 0.5


def test_an_undefined_metric_is_said(fake_study):
    fake_study.add_task("topics", "class", "f1")
    fake_study.add("own", [0.5])
    with pytest.raises(UserError, match="f1"):
        compute_score(read(fake_study, "own"), "f1", STUDY)


def test_crossed_seeds_have_the_variance_of_their_factors(fake_study):
    """A pretrained condition's runs are a grid; without a pretraining those of one initialisation are its fine-tunings."""
    grid = np.array([[0.60, 0.62, 0.61], [0.70, 0.73, 0.74]])
    fake_study.add("none", [0.5, 0.52, 0.51, 0.53, 0.5, 0.52]).add("own", grid.ravel()).add(
        "bookwiki", 0.1 + grid.ravel()
    )
    summary = summarize(fake_study.finish(seed_factors={"init": 2, "data": 3}))
    none, own, _ = summary.panels[0].entries
    variance, df = compute_crossed_variance(grid)
    assert own.gain.variance.expt == pytest.approx(variance) and own.gain.variance.sizes[1] == pytest.approx(df + 1)
    assert own.gain.variance.base == pytest.approx(np.var([0.51, 1.55 / 3], ddof=1) / 2)
    assert (none.num_seeds, none.num_seeds_planned, own.num_seeds, own.num_seeds_planned) == (2, 2, 6, 6)
    assert (fill_seeds(none)[0], fill_seeds(own)[0]) == ("2 x 3", "6")
    assert own.run_scores[4]["levels"] == {"init": 1, "data": 1}
    # how many seeds would decide what is open is not told
    decision = summary.panels[0].decision
    assert (decision.needed_seeds, decision.needed_examples) == (None, None)
    entries, panels = [own], summary.panels
    mean = compute_mean_score(entries, panels, 0.95)
    assert (mean.low, mean.high) == pytest.approx((own.score.low, own.score.high))
