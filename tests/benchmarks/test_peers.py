"""The peers do the same work: equal weights and batches give equal losses, and nothing but speed is compared."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import fairseq_peer
from benchmarks.pretrain import Options
from benchmarks.work import Work, prepare_work
from selfpretrain.data.store import TokenFile
from selfpretrain.data.tokenizer import Tokenizer
from selfpretrain.model.pretraining import sample_tokens
from selfpretrain.pretext.objectives import build_objective
from selfpretrain.stages.pretrain import build_batches
from selfpretrain.train.learners import move

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("runs"))


def prepare(model: str, runs_dir: str) -> tuple[Work, Any, Tokenizer, dict[str, torch.Tensor]]:
    """Toy work without dropout, our module, and the first batch."""
    work = prepare_work("pretrain", model, 8, Options(toy=True, runs_dir=runs_dir))
    config = dataclasses.replace(work.settings.model, dropout_prob=0.0, attention_dropout_prob=0.0)
    work = dataclasses.replace(work, settings=dataclasses.replace(work.settings, model=config))
    tokenizer = Tokenizer.load(work.corpus / "tokenizer")
    ours = build_objective(config, work.settings.objective, work.vocab_size, tokenizer.pad_id, seed=3)
    batches = build_batches(work.settings, TokenFile.open(work.corpus), tokenizer)
    return work, ours, tokenizer, move(batches[0], CPU)


def list_gradients(module: torch.nn.Module, loss: torch.Tensor) -> float:
    loss.backward()
    return float(torch.stack([p.grad.norm() for p in module.parameters() if p.grad is not None]).norm())


@pytest.mark.parametrize("at_slots", [False, True])
def test_masked_language_models_start_with_one_loss(at_slots: bool, runs_dir: str) -> None:
    pytest.importorskip("transformers")
    from benchmarks import transformers_peer as peers

    _, ours, tokenizer, batch = prepare("roberta_base", runs_dir)
    theirs = peers.build_peer(ours, tokenizer, at_slots).train()
    assert theirs.model.config._attn_implementation == "sdpa"
    loss, _ = ours.train()(batch)
    their_loss, _ = theirs(peers.add_labels(batch))
    assert abs(loss.item() - their_loss.item()) < 1e-4
    assert abs(list_gradients(ours, loss) - list_gradients(theirs, their_loss)) < 1e-4


@pytest.mark.parametrize(("has_positions", "at_slots"), [(True, True), (True, False), (False, False)])
def test_electras_start_with_one_loss(
    has_positions: bool, at_slots: bool, runs_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the number of masked tokens differs from row to row, as the Trainer's collator masks."""
    pytest.importorskip("transformers")
    from benchmarks import transformers_peer as peers

    _, ours, tokenizer, batch = prepare("electra_small", runs_dir)
    # ELECTRA draws positions with replacement; a mask of booleans cannot count one twice
    batch["masked_positions"] = torch.arange(2, 2 + batch["masked_positions"].shape[1]).expand(8, -1)
    if not has_positions:  # nor which slots have no use
        for name in ("attention_mask", "token_weights", "slot_weights"):
            del batch[name]
    theirs = peers.build_peer(ours, tokenizer, at_slots).train()
    loss, measures = ours.train()(batch)
    drawn = lambda logits: sample_tokens(logits.softmax(-1), batch["sample_uniforms"].flatten(), 1.0)  # noqa: E731
    monkeypatch.setattr(peers, "draw_tokens", drawn)
    labelled = peers.add_labels(batch)
    if not has_positions:
        del labelled["masked_positions"]
    their_loss, their_gen_loss = theirs(labelled)
    assert abs(measures["gen_loss"].item() - their_gen_loss.item()) < 1e-4
    assert abs(loss.item() - their_loss.item()) < 1e-4
    parameters = [sum(p.numel() for p in module.parameters()) for module in (ours, theirs)]
    assert parameters[0] == parameters[1]  # one table of embeddings on both sides


def test_the_gumbel_trick_draws_from_the_softmax() -> None:
    pytest.importorskip("transformers")
    from benchmarks.transformers_peer import draw_tokens

    torch.manual_seed(0)
    probs = torch.tensor([0.5, 0.3, 0.15, 0.05])
    drawn = draw_tokens(probs.log().expand(40_000, -1))
    shares = torch.bincount(drawn, minlength=4) / len(drawn)
    assert (shares - probs).abs().max() < 0.012  # five standard deviations


def test_the_trainer_counts_real_tokens_only() -> None:
    pytest.importorskip("transformers")
    from benchmarks.transformers_trainer import Counting

    class Peer(torch.nn.Module):
        def forward(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
            assert batch["original_ids"].tolist() == [[2, 9, 7, 3, 0], [2, 8, 3, 0, 0]]
            return torch.ones(()), torch.ones(())

    counting = Counting(Peer())
    labels = torch.tensor([[-100, 9, -100, -100, -100], [-100] * 5])
    ids = torch.tensor([[2, 4, 7, 3, 0], [2, 8, 3, 0, 0]])
    for _ in range(2):
        counting(ids, (ids > 0).long(), labels)
    assert int(counting.tokens) == 2 * 7


def test_fairseq_gets_our_shapes_and_its_log_is_timed(tmp_path: Path, runs_dir: str) -> None:
    work, *_ = prepare("roberta_base", runs_dir)
    fairseq_peer.write_data(tmp_path, work.corpus, work.vocab_size)
    entries = (tmp_path / "dict.txt").read_text().splitlines()
    assert len(entries) == len({entry.split()[0] for entry in entries}) == work.vocab_size - 5
    assert (tmp_path / "train.bin").read_bytes() == (work.corpus / "train.bin").read_bytes()
    command = " ".join(fairseq_peer.build_command(work, "env", str(tmp_path), 9))
    for words in ("--encoder-layers 1", "--encoder-embed-dim 32", "--batch-size 8", "--tokens-per-sample 32",
                  "--max-update 9", "--clip-norm 1.0", "--mask-prob 0.15"):  # fmt: skip
        assert words in command
    log = ["begin training\n"] + [
        f'2026 | INFO | train_inner | {{"update": 0.1, "wps": "{10 * n}", "wpb": "{100 + n}", "num_updates": "{n}"}}\n'
        for n in range(5)
    ]
    logged = list(fairseq_peer.time_updates(log))
    assert [(u.tokens, u.words_per_second) for u in logged] == [(100.0 + n, 10.0 * n) for n in range(5)]
    timed = [dataclasses.replace(update, seconds=3.0 * i) for i, update in enumerate(logged)]
    assert fairseq_peer.compute_rate(timed) == (102 + 103 + 104, 9.0)
