"""Tokens to a loss: read from ordinary runs, with bounds where a run did not get there."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from omegaconf import OmegaConf

from benchmarks import record, tokens
from benchmarks.tokens import Curve, Options, build_row, compute_mean_ratio, compute_tokens
from selfpretrain.config import UserError
from selfpretrain.data.store import TokenFile
from selfpretrain.door import compose_settings
from selfpretrain.stages.corpus import build_corpus

MILLION = 1e6


def make_curve(reached):
    """A loss of 9 that falls by 1 per M tokens, to 8 - margin at ``reached`` M tokens; None: never."""
    if reached is None:
        return Curve([MILLION, 20 * MILLION], [9.0, 9.0], 20 * MILLION)
    return Curve([MILLION, reached * MILLION, 20 * MILLION], [9.0, 8.0, 5.0], 20 * MILLION)


def test_tokens_are_read_between_two_losses():
    curve = Curve([100, 200, 300], [5.0, 4.0, 2.0], 300)
    assert compute_tokens(curve, 4.25) == pytest.approx(175)
    assert compute_tokens(curve, 2.0) == 300
    assert compute_tokens(curve, 6.0) == 100
    assert compute_tokens(curve, 1.9) is None
    assert compute_tokens(Curve([100, 200, 300], [5.0, 3.0, 4.0], 300), 3.5) == pytest.approx(175)  # for the first time


def test_the_ratio_is_a_geometric_mean_with_an_interval_over_seeds():
    mean, low, high = compute_mean_ratio([2.0, 8.0])
    assert mean == pytest.approx(4)
    assert (low, high) == pytest.approx((2, 8))
    assert compute_mean_ratio([3.0, 3.0, 3.0]) == pytest.approx((3, 3, 3))
    mean, low, high = compute_mean_ratio([4.0, 5.0, 6.0, 7.0, 8.0])
    assert 4 < low < mean < high < 8


def test_a_row_of_runs_that_all_got_there():
    row = build_row("work", 1.0, 9.0, [make_curve(2), make_curve(2)], [make_curve(8), make_curve(18)])
    assert row.work == "work: loss 8.00 (unigram entropy 9.00 - 1)"
    assert (row.ours, row.theirs) == ([2.0, 2.0], [8.0, 18.0])
    assert row.mean_ratio == pytest.approx(6)
    assert "6.00 times fewer [4.00, 9.00]" in row.note
    assert row.bounds == ()


@pytest.mark.parametrize(
    ("mimetic", "normal", "bounds", "words", "cells"),
    [
        ([2, 2], [10, None], ("theirs",), "more than 7.07 times fewer", ("2.00 [2.00, 2.00]", "> 15.0 [10.0, 20.0]", "> 7.50×")),
        ([2, None], [10, 20], ("ours",), "less than 2.24 times fewer", ("> 11.0 [2.00, 20.0]", "15.0 [10.0, 20.0]", "< 3.00×")),
        ([2, None], [None, 4], ("ours", "theirs"), "of 2 seeds; not reached by 1 of 2 with mimetic and 1 of 2 with normal", ("> 11.0", "> 12.0", "")),
    ],
)  # fmt: skip
def test_a_run_that_did_not_get_there_is_a_bound(mimetic, normal, bounds, words, cells):
    row = build_row("work", 1.0, 9.0, [make_curve(at) for at in mimetic], [make_curve(at) for at in normal])
    assert row.bounds == bounds
    assert words in row.note and "count with all their tokens" in row.note
    entry = json.loads(json.dumps(record.build_entry("tokens", row, record.describe_surroundings(Options(), "c"))))
    shown = [cell.strip() for cell in record.render_table([entry]).splitlines()[2].split("|")][4:7]
    for cell, expected in zip(shown, cells, strict=True):
        assert cell.startswith(expected) and bool(cell) == bool(expected)
    assert (row.mean_ratio is None) == (len(bounds) == 2)


def test_a_loss_that_no_run_reaches_has_no_number():
    row = build_row("work", 1.0, 9.0, [make_curve(None)], [make_curve(None)])
    assert "no run got there in 20 M tokens" in row.skipped
    assert row.ours == ()


def test_the_unigram_entropy_is_that_of_the_held_out_text(tmp_path):
    settings = compose_settings(
        "pretrain", tokens.compose("roberta_tiny", "normal", 0, Options(toy=True, runs_dir=str(tmp_path)))
    )
    folder = build_corpus(settings)
    found = tokens.compute_unigram_entropy(settings, folder)
    stored = np.array(TokenFile.open(folder).tokens)
    content = settings.pretrain.seq_len - 2
    num_held_out = int(len(stored) // content * 0.02)
    train, rest = np.split(stored[: len(stored) // content * content], [-num_held_out * content])
    special = {0, 1, 2, 3, 299}
    counts = {token: 1 for token in range(300) if token not in special}
    for token in train.tolist():
        if token not in special:
            counts[token] += 1
    total = sum(counts.values())
    losses = [-math.log(counts[token] / total) for token in rest.tolist() if token not in special]
    assert found == pytest.approx(sum(losses) / len(losses))
    assert 1 < found < math.log(300)


def test_the_unigram_entropy_of_segments_is_of_the_tokens_behind_those_trained_on(tmp_path):
    words = tokens.compose("electra_tiny", "normal", 0, Options(toy=True, runs_dir=str(tmp_path)))
    settings = compose_settings("pretrain", words)
    folder = build_corpus(settings)
    assert 1 < tokens.compute_unigram_entropy(settings, folder) < math.log(300)


def test_one_optimizer_against_the_other_at_toy_size(tmp_path):
    (row,) = tokens.run(Options(toy=True, vary="optimizer", model="roberta_tiny", margin=-5.0, runs_dir=str(tmp_path)))
    assert row.peer == "ours with optimizer=adamw"
    found = {line for path in tmp_path.glob("pretrain/*/config.yaml") for line in path.read_text().splitlines()}
    assert {"  optimizer: adamw", "  optimizer: muon", "  init_scheme: mimetic"} <= found
    assert "  init_scheme: normal" not in found
    with pytest.raises(UserError, match="vary=x is not known; allowed: start, optimizer"):
        next(tokens.run(Options(vary="x")))


def test_each_side_may_have_settings_of_its_own(tmp_path):
    given = {"ours": "pretrain.peak_lr=8e-3", "theirs": "pretrain.peak_lr=4e-3 pretrain.beta2=0.9"}
    options = Options(toy=True, vary="optimizer", model="roberta_tiny", margin=-5.0, runs_dir=str(tmp_path), **given)
    (row,) = tokens.run(options)
    assert "muon with pretrain.peak_lr=8e-3, adamw with pretrain.peak_lr=4e-3 pretrain.beta2=0.9" in row.work
    runs = [OmegaConf.load(path).pretrain for path in tmp_path.glob("pretrain/*/config.yaml")]
    assert sorted((run.optimizer, run.peak_lr, run.beta2) for run in runs) == [
        ("adamw", 4e-3, 0.9),
        ("muon", 8e-3, 0.98),
    ]


def test_real_runs_at_toy_size_and_again(tmp_path, monkeypatch, capfd):
    options = Options(toy=True, model="roberta_tiny", margin=-5.0, runs_dir=str(tmp_path))
    (row,) = tokens.run(options)
    assert "roberta_tiny, masked tokens of made text, 4 x 32 x 6: loss" in row.work
    assert row.ours == row.theirs == [2 * 4 * 32 / 1e6]  # the first held-out loss is under entropy + 5
    assert capfd.readouterr().err.count(": done") == 2
    monkeypatch.setattr(tokens, "pretrain", None)  # nothing is left to run
    (again,) = tokens.run(options)
    assert again == row
    folders = [path for path in (tmp_path / "pretrain").iterdir() if path.is_dir()]
    schemes = {
        line.strip()
        for path in folders
        for line in (path / "config.yaml").read_text().splitlines()
        if "init_scheme" in line
    }
    assert schemes == {"init_scheme: mimetic", "init_scheme: normal"}


def test_a_run_that_fails_is_said(tmp_path):
    options = Options(toy=True, model="roberta_tiny", runs_dir=str(tmp_path), settings="pretrain.beta1=7")
    with pytest.raises(UserError, match=r"beta1"):
        list(tokens.run(options))


@pytest.mark.parametrize("name", ["seeds", "workers", "total_steps", "eval_every"])
def test_nothing_to_do_is_refused(name):
    with pytest.raises(UserError, match=f"{name}=0"):
        next(tokens.run(Options(**{name: 0})))
