"""ELECTRA under fairseq-train, by our plug-in: the same losses as the native engine's, and a run like any other."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from selfpretrain.data.tokenizer import Tokenizer
from selfpretrain.door import compose_settings, to_yaml
from selfpretrain.interop.fairseq_arguments import PLUGIN, SETTINGS, START, list_arguments, save_electra
from selfpretrain.interop.fairseq_engine import write_data
from selfpretrain.interop.pickled import load_fairseq
from selfpretrain.stages.pretrain import Pretraining, build_batches, build_model, move
from selfpretrain.train.optim import AdamW, clip_gradients

ROOT = Path(__file__).parents[2]
ENVIRONMENT = ROOT / ".fairseq"
SHIM = ROOT / "selfpretrain" / "interop" / "fairseq_shim.py"
needs_fairseq = pytest.mark.skipif(
    not (ENVIRONMENT / "installed").is_file(), reason="no fairseq in .fairseq; launch/fairseq_env.sh builds it"
)
ENGINE = ["pretrain.engine=fairseq", f"runtime.fairseq_env={ENVIRONMENT}"]
AS_FAIRSEQ = ["pretrain.packing=full", "pretrain.decay_all=true", "pretrain.bias_correction=true"]


@pytest.fixture
def electra(tiny, local) -> list[str]:
    rest = [word for word in tiny if not word.startswith(("model=", "model.init"))]
    return ["model=electra_tiny", *rest, "model.generator_fraction=0.5", *local(), *AS_FAIRSEQ]


STEPS = """
import sys; sys.path.insert(0, sys.argv[1])
import fairseq_shim; fairseq_shim.apply(); del sys.path[0]
import itertools, json, torch
from fairseq import options, tasks
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.optim import build_optimizer
given = json.load(open("arguments.json"))
cfg = convert_namespace_to_omegaconf(options.parse_args_and_arch(options.get_training_parser(), input_args=given))
import fairseq_plugin
task = tasks.setup_task(cfg.task)
task.load_dataset("train")
model, criterion = task.build_model(cfg.model), task.build_criterion(cfg.criterion)
model.load_state_dict(torch.load(cfg.checkpoint.finetune_from_model)["model"])
optimizer = build_optimizer(cfg.optimizer, list(model.parameters()))
build, batches, losses = fairseq_plugin.build_batch, [], []
fairseq_plugin.build_batch = lambda *given: batches.append(build(*given)) or batches[-1]
epochs = task.get_batch_iterator(task.dataset("train"), max_sentences=4, seed=1)
samples = itertools.chain.from_iterable(epochs.next_epoch_itr() for _ in itertools.count())
torch.manual_seed(0)
for step, sample in enumerate(itertools.islice(samples, 20)):
    model.train()
    model.set_num_updates(step)
    loss, size, logged = criterion(model, sample)
    optimizer.zero_grad()
    optimizer.backward(loss / size)
    optimizer.clip_grad_norm(cfg.optimization.clip_norm)
    optimizer.step()
    losses.append((loss / size).item())
torch.save(batches, "batches.pt")
json.dump(losses, open("losses.json", "w"))
"""


@needs_fairseq
@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_both_engines_agree_step_by_step(electra, tmp_path, kind):
    recipe = ["pretrain.total_steps=20", "pretrain.peak_lr=2e-3", "pretrain.schedule=constant",
              "pretrain.warmup_fraction=0", "pretrain.eps_uncorrected=true", f"tokenizer.kind={kind}"]  # fmt: skip
    job = Pretraining(compose_settings("pretrain", [*electra, *recipe]))
    settings, config = job.settings, job.settings.pretrain
    module = build_model(settings, job.tokenizer).train()
    train_tokens = build_batches(settings, job.tokens, job.tokenizer).blocks.train_tokens
    folder = job.run.path / "fairseq"
    (folder / "data").mkdir(parents=True)
    write_data(folder / "data", job.tokens, train_tokens)
    (folder / SETTINGS).write_text(to_yaml(settings))
    save_electra(folder / START, module)
    (tmp_path / "arguments.json").write_text(json.dumps(list_arguments(settings, job.run, "cpu")))
    python = ENVIRONMENT / "bin" / "python"
    found = subprocess.run(
        [python, "-c", STEPS, SHIM.parent], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr[-3000:]
    batches = torch.load(tmp_path / "batches.pt", weights_only=True)
    optimizer = AdamW(dict(module.named_parameters()), config)
    losses, masked = [], []
    for step, batch in enumerate(batches):
        masked.append(check_batch(batch, job.tokenizer))
        loss, _ = module(move(batch, torch.device("cpu")))
        module.zero_grad()
        loss.backward()
        clip_gradients([p for p in module.parameters() if p.grad is not None], config.clip_norm)
        optimizer.step(config.peak_lr, step)
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 5
    assert 0.7 < torch.cat(masked).float().mean() < 0.95  # 0.85 are
    np.testing.assert_allclose(json.loads((tmp_path / "losses.json").read_text()), losses, atol=1e-4, rtol=0)


def check_batch(batch, tokenizer) -> torch.Tensor:
    """What the model takes: chosen positions hold ordinary tokens, each once but for a row's last in the slots behind.

    Returns which of them are masked.
    """
    original, positions = batch["original_ids"], batch["masked_positions"]
    chosen = original.gather(1, positions)
    assert not set(chosen.flatten().tolist()) & {tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id}
    assert (original[:, 0] == tokenizer.cls_id).all()
    used = batch["slot_weights"] > 0
    assert used[:, 0].all() and ((positions[:, 1:] > positions[:, :-1]) == used[:, 1:]).all()
    changed = torch.zeros_like(original, dtype=torch.bool).scatter(1, positions, True)
    assert torch.equal(batch["input_ids"][~changed], original[~changed])
    return batch["input_ids"][changed] == tokenizer.mask_id


@needs_fairseq
def test_a_run_is_like_any_and_fine_tunes(command, electra, tmp_path):
    arguments = [
        *electra,
        "pretrain.total_steps=12",
        "runtime.log_every=4",
        "runtime.save_every=5",
        "objective.mlm_fraction=0.5",
    ]
    first = command("pretrain", *arguments, *ENGINE)
    assert first.code == 0, first.err
    (folder,) = [path for path in (tmp_path / "runs" / "pretrain").iterdir() if path.is_dir()]
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [4, 8, 12, 12]
    assert rows[0]["mlm_loss"] == rows[0]["loss"] and 4 < rows[0]["loss"] < 7
    assert rows[2]["loss"] == pytest.approx(rows[2]["gen_loss"] + 50 * rows[2]["disc_loss"], rel=1e-3)
    assert rows[3]["eval_loss"] == json.loads((folder / "result.json").read_text())["held_out"]["loss"]
    assert command("finetune", *arguments, f"init=run:{folder.name}").code == 0


@needs_fairseq
def test_by_hand_fairseq_trains_on_a_corpus_of_wordpiece_as_it_is(command, electra, tmp_path):
    assert command("corpus", *electra).code == 0
    (corpus,) = [path for path in (tmp_path / "runs" / "corpora").iterdir() if path.is_dir()]
    python = ENVIRONMENT / "bin" / "python"
    for name, given in {"train": by_arguments(corpus), "hydra_train": by_hydra(corpus)}.items():
        (tmp_path / name).mkdir()
        found = subprocess.run(
            [python, SHIM, name, *given], cwd=tmp_path / name, capture_output=True, text=True, check=False
        )
        assert found.returncode == 0, found.stderr[-2000:]
        (saved,) = (tmp_path / name).rglob("checkpoint_last.pt")
        model = load_fairseq(saved)["model"]
        assert (
            len(model["encoder.sentence_encoder.embed_tokens.weight"])
            == Tokenizer.load(corpus / "tokenizer").vocab_size
        )


def by_arguments(corpus: Path) -> list[object]:
    sizes = {"layers": 1, "embed-dim": 16, "ffn-embed-dim": 32, "attention-heads": 2}
    return [
        corpus, "--user-dir", PLUGIN, "--task", "token_files", "--disable-validation", "--valid-subset", "train", "--criterion",
        "masked_lm", "--arch", "roberta_base", *(f"--encoder-{name}={size}" for name, size in sizes.items()), "--batch-size", "4",
        "--tokens-per-sample", "32", "--max-positions", "32", "--optimizer", "adam", "--lr", "1e-3", "--max-update", "3", "--cpu",
    ]  # fmt: skip


def by_hydra(corpus: Path) -> list[object]:
    sizes = {"layers": 1, "embed_dim": 16, "ffn_embed_dim": 32, "attention_heads": 2}
    return [
        "--config-dir", ROOT / "launch", "--config-name", "fairseq_hydra", f"task.data={corpus}", f"common.user_dir={PLUGIN}",
        *(f"+model.encoder_{name}={size}" for name, size in sizes.items()), "task.tokens_per_sample=32", "dataset.batch_size=4",
        "optimization.update_freq=[1]", "optimization.max_update=3", "common.cpu=true",
    ]  # fmt: skip
