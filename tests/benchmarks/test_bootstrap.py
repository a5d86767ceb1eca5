"""The loop and ours give the same samples, and the table says so."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.bootstrap import LIBRARIES, METRICS, Loop, Options, OwnBootstrap, Size, choose_score, run
from selfpretrain.config import UserError

SIZE = Size(seeds=3, finetunings=2, examples=60, replicates=200, loop_replicates=4)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("metric", METRICS)
def test_the_loop_is_the_procedure(metric, library):
    expected = OwnBootstrap(metric, SIZE).draw(200, draw_order="reference")[:4]
    found = Loop(metric, library, SIZE).draw()
    assert found.shape == (4, 2)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert np.ptp(found) > 0


@pytest.mark.parametrize("metric", METRICS)
def test_the_two_scores_agree(metric):
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 3, 50), rng.integers(0, 3, 50)
    scores = [choose_score(metric, library)(labels, predictions) for library in LIBRARIES]
    assert scores[0] == pytest.approx(scores[1])


def test_the_loops_seconds_are_given_for_all_replicates(monkeypatch):
    """By a clock that says two seconds for the four that are measured."""
    monkeypatch.setattr("benchmarks.bootstrap.time.perf_counter", iter([10.0, 12.0]).__next__)
    assert Loop("accuracy", "NumPy", SIZE)() == 2.0 * SIZE.replicates / SIZE.loop_replicates


def test_rows_at_toy_size():
    rows = list(run(Options(toy=True, repeats=2, processes=False)))
    assert [row.peer for row in rows] == list(LIBRARIES.values()) * 2
    assert all(row.lower_is_better and len(row.ours) == len(row.theirs) == 2 for row in rows)
    assert all("Largest difference of any sample" in row.note for row in rows)


@pytest.mark.parametrize("wrong", [{"device": "cuda"}, {"loop_replicates": 0}])
def test_what_measures_nothing_is_refused(wrong):
    with pytest.raises(UserError):
        next(run(Options(**wrong)))
