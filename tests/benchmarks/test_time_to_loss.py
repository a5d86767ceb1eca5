"""Seconds to the peer's loss: read from a run's lines, and from a peer whose text, sizes and recipe are what they should be."""

from __future__ import annotations

import dataclasses
import json

import pytest

from benchmarks import record, time_to_loss
from benchmarks.time_to_loss import Options, Outcome, build_row, choose_rates, compose, read_clock
from benchmarks.tokens import Curve
from benchmarks.work import Work
from selfpretrain.config import UserError
from selfpretrain.data.store import TokenFile
from selfpretrain.data.tokenizer import Tokenizer
from selfpretrain.door import compose_settings
from selfpretrain.pretext.objectives import build_objective
from selfpretrain.runs.folder import RunFolder
from selfpretrain.stages.corpus import build_corpus
from selfpretrain.stages.pretrain import build_batches

CURVE = Curve([100.0, 200.0, 300.0], [6.0, 5.0, 4.0], 300.0)
CLOCK = ([0.0, 50.0, 100.0, 200.0, 300.0], [0.0, 2.0, 3.0, 5.0, 9.0])  # seconds


def make_options(folder, **more) -> Options:
    return Options(toy=True, threads=1, eval_every=4, runs_dir=str(folder), **more)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    settings = compose_settings("pretrain", compose(make_options(tmp_path_factory.mktemp("runs")), 0))
    folder = build_corpus(settings)
    return Work(settings, folder, 0.0, "default")


# reading a run


@pytest.mark.parametrize(
    ("loss", "tokens", "seconds"), [(4.5, 250, 7), (5.0, 200, 5), (5.25, 175, 4.5), (7.0, 100, 3), (3.0, 300, 9)]
)
def test_seconds_to_a_loss_are_read_between_two_held_out_losses(loss, tokens, seconds):
    outcome = Outcome(20.0, loss, CURVE, CLOCK)
    assert (outcome.tokens, outcome.seconds) == pytest.approx((tokens, seconds))


def test_a_run_of_ours_that_did_not_get_there_is_a_bound(work):
    row = build_row("work", [Outcome(18.0, 4.5, CURVE, CLOCK), Outcome(18.0, 3.0, CURVE, CLOCK)], work.settings, 400)
    assert (row.ours, row.theirs, row.bounds) == ([7.0, 9.0], [18.0, 18.0], ("ours",))
    assert row.compute_ratios() == pytest.approx([18 / 7, 2])
    assert "1 of 2 of ours did not get there" in row.note and "at most" not in row.note
    entry = record.build_entry("time_to_loss", row, record.describe_surroundings(Options(), "c"))
    assert "| > 8.00 [7.00, 9.00] | 18.0 [18.0, 18.0] | < 2.29×" in record.render_table([entry])


def test_a_loss_that_the_first_evaluation_is_under_is_said(work):
    row = build_row("work", [Outcome(18.0, 7.0, CURVE, CLOCK)], work.settings, 400)
    assert (row.ours, row.bounds) == ([3.0], ())
    assert "1 of 1 of ours were there at the first held-out loss: at most so long." in row.note
    assert "30 %, the harder question" in row.note


def test_evaluations_are_no_part_of_the_time(tmp_path, work):
    """Steps of 128 tokens: the first takes 2 s, the others 1 s, and each evaluation 9 s that the next line has in it."""
    rows = []
    for step in range(1, 10):
        seconds = {1: 2.0, 5: 10.0, 9: 10.0}.get(step, 1.0)
        rows.append({"step": step, "tokens_per_second": 128 / seconds})
        rows += [{"step": step, "eval_loss": 5.0}] * (step % 4 == 0)
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tokens, seconds = read_clock(RunFolder(tmp_path), work.settings)
    assert tokens == [128.0 * step for step in range(10)]
    assert seconds[:9] == pytest.approx([0, *range(2, 10)])
    assert seconds[9] == pytest.approx(19)  # no line follows that could tell
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(UserError, match="before its first line"):
        read_clock(RunFolder(tmp_path), work.settings)


def test_rates_between_evaluations_at_every_line_stay_as_they_are():
    assert choose_rates([1, 2, 3], [4.0, 1.0, 2.0], {1, 2, 3}) == [4.0, 1.0, 2.0]


# the peer


def test_the_peer_trains_on_none_of_the_blocks_that_are_held_out(work):
    pytest.importorskip("transformers")
    from benchmarks.run_mlm_peer import NUM_DRAWS, open_blocks

    train, held_out = open_blocks(work)
    tokenizer = Tokenizer.load(work.corpus / "tokenizer")
    ours = build_batches(work.settings, TokenFile.open(work.corpus), tokenizer).get_held_out()["original_ids"]
    seen, asked = ([part[index]["input_ids"] for index in range(len(part))] for part in (train, held_out))
    assert asked == ours.tolist() * NUM_DRAWS
    assert len(seen) > 20 and not {*map(tuple, seen)} & {*map(tuple, asked)}
    content = work.settings.pretrain.seq_len - 2
    assert train.starts.max() + content <= held_out.starts.min()
    text = [token for ids in seen for token in ids[1:-1]]
    assert text == TokenFile.open(work.corpus).tokens[: len(text)].tolist()  # each once
    example = train[0]
    assert example["special_tokens_mask"] == [int(token in tokenizer.special_ids) for token in example["input_ids"]]


def test_the_peer_has_our_sizes_and_its_own_dropout_and_start(work):
    pytest.importorskip("transformers")
    from benchmarks.run_mlm_peer import build_model

    tokenizer = Tokenizer.load(work.corpus / "tokenizer")
    theirs, settings = build_model(work.settings, tokenizer), work.settings
    ours = build_objective(settings.model, settings.objective, tokenizer.vocab_size, tokenizer.pad_id, 0)
    assert sum(p.numel() for p in theirs.parameters()) == sum(p.numel() for p in ours.parameters())
    config = theirs.config
    assert (config.hidden_dropout_prob, config.attention_probs_dropout_prob, config.initializer_range) == (
        0.1,
        0.1,
        0.02,
    )
    assert settings.model.dropout_prob == 0.0  # which the peer must not have got from ours


def test_the_peers_recipe_is_the_scripts(work):
    """Defaults of another version of transformers would be another recipe."""
    pytest.importorskip("accelerate")
    from benchmarks import run_mlm_peer

    peer = run_mlm_peer.Peer(work, 3, 1)
    args, collator = peer.trainer.args, peer.trainer.data_collator
    assert (args.learning_rate, args.weight_decay, args.adam_beta1, args.adam_beta2) == (5e-5, 0.0, 0.9, 0.999)
    assert (args.adam_epsilon, args.lr_scheduler_type, args.warmup_steps) == (1e-8, "linear", 0)
    assert args.per_device_train_batch_size == time_to_loss.PEER_BATCH
    assert (args.bf16, args.fp16, args.max_steps, args.seed) == (False, False, 3, 1)
    assert (collator.mlm_probability, collator.mask_replace_prob, collator.random_replace_prob) == (0.15, 0.8, 0.1)
    assert peer() > 0
    assert 4 < peer.loss == float(peer.get_note()) < 7  # near log(300), where it starts
    for seed, is_same in ((1, True), (2, False)):
        again = run_mlm_peer.Peer(work, 3, seed)
        again()
        assert (again.loss == peer.loss) == is_same


# the whole


class FakePeer:
    """Takes 2 s to reach ``loss``; remembers what it was given."""

    loss, asked = 9.0, []

    def __init__(self, work, steps, seed):
        self.asked.append((work.settings.seeds.seed, steps, seed, work.settings.runtime.num_threads))

    def __call__(self):
        return 2.0

    def get_note(self):
        return repr(self.loss)


def test_ours_is_trained_anew_with_each_seed(tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    from benchmarks import run_mlm_peer

    monkeypatch.setattr(run_mlm_peer, "Peer", FakePeer)
    monkeypatch.setattr(FakePeer, "asked", [])
    monkeypatch.setattr(time_to_loss, "find_obstacle", lambda _: "")
    options = make_options(tmp_path, repeats=2, processes=False, total_steps=8)
    (row,) = time_to_loss.run(options)
    assert FakePeer.asked == [(0, 16, 0, 1), (1, 16, 1, 1)]  # 16 x 8 x 32 are the toy's 4096 tokens
    assert row.theirs == [2.0, 2.0] and all(0 < seconds < 60 for seconds in row.ours)
    assert "8 x 32 x" not in row.work and "4 x 32 x 8" in row.work and "after 0.000512 M" in row.note
    runs = [path for path in (tmp_path / "time_to_loss/pretrain").iterdir() if path.is_dir()]
    assert len(runs) == 2 and all("optimizer: muon" in (path / "config.yaml").read_text() for path in runs)
    written = {path: (path / "provenance.json").stat().st_mtime_ns for path in runs}
    monkeypatch.setattr(FakePeer, "loss", -1.0)
    (again,) = time_to_loss.run(dataclasses.replace(options, repeats=1))
    assert again.bounds == ("ours",) and "1 of 1 of ours did not get there" in again.note
    assert sum((path / "provenance.json").stat().st_mtime_ns > before for path, before in written.items()) == 1


def test_both_sides_at_toy_size(tmp_path):
    pytest.importorskip("accelerate")
    (row,) = time_to_loss.run(make_options(tmp_path, repeats=1))
    assert len(row.ours) == len(row.theirs) == 1 and row.theirs[0] > 0 and "made text" in row.work


def test_without_the_peer_nothing_is_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(time_to_loss, "find_obstacle", lambda peer: f"no {peer}")
    monkeypatch.setattr(time_to_loss, "pretrain", None)
    (row,) = time_to_loss.run(make_options(tmp_path))
    assert row.skipped == "no trainer" and row.peer and not row.ours


def test_by_default_ours_sees_as_many_tokens_as_the_peer(tmp_path):
    settings = compose_settings("pretrain", compose(make_options(tmp_path, tokens=128 * 77.0), 0))
    assert settings.pretrain.total_steps == 77
    settings = compose_settings("pretrain", compose(make_options(tmp_path, settings="pretrain.batch_size=8"), 0))
    assert (settings.pretrain.total_steps, settings.pretrain.optimizer) == (round(4e6 / 256), "muon")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"eval_every": 6}, "eval_every=6 cannot be"),
        ({"eval_every": 0}, "eval_every=0 cannot be"),
        ({"tokens": 0.0, "toy": False}, "tokens=0 "),
        ({"model": "electra_tiny"}, "model=electra_tiny is no RoBERTa"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path, more, message):
    with pytest.raises(UserError, match=message):
        next(time_to_loss.run(dataclasses.replace(make_options(tmp_path), **more)))
