"""RoBERTa trained by fairseq-train behind the same settings: what it is told, what it says, and that it goes on after a kill."""

from __future__ import annotations

import dataclasses
import itertools
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from selfpretrain.config import Settings, UserError
from selfpretrain.data.store import TokenFile
from selfpretrain.door import compose_settings
from selfpretrain.interop.fairseq_arguments import check_settings, list_arguments
from selfpretrain.interop.fairseq_engine import write_data
from selfpretrain.interop.fairseq_roberta import save_weights
from selfpretrain.runs.folder import RunFolder
from selfpretrain.sources.fairseq_files import write_bpe
from selfpretrain.sources.indexed import read_index
from selfpretrain.stages.corpus import prepare_corpus
from selfpretrain.stages.pretrain import Pretraining, build_batches, build_model, move
from selfpretrain.train.optim import AdamW, clip_gradients

ROOT = Path(__file__).parents[2]
ENVIRONMENT = ROOT / ".fairseq"
SHIM = ROOT / "selfpretrain" / "interop" / "fairseq_shim.py"
needs_fairseq = pytest.mark.skipif(
    not (ENVIRONMENT / "installed").is_file(), reason="no fairseq in .fairseq; launch/fairseq_env.sh builds it"
)
ENGINE = ["pretrain.engine=fairseq", f"runtime.fairseq_env={ENVIRONMENT}"]


@pytest.fixture
def settings(tiny, local) -> Settings:
    return compose_settings("pretrain", [*tiny, *local()])


@pytest.mark.parametrize("model", ["roberta_tiny", "roberta_base"])
def test_presets_of_roberta_are_as_fairseq_trains(model):
    check_settings(compose_settings("pretrain", [f"model={model}", "task=agnews"]), "fp32", "cpu")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["model=roberta_tiny", "model.family=bert", "model.type_vocab_size=2"], "model.family=roberta or electra"),
        (["model=electra_tiny"], "pretrain.packing=full, .*pretrain.decay_all=true, pretrain.bias_correction=true"),
        (["model=roberta_nano"], "pretrain.optimizer=adamw"),
        (["model=roberta_tiny", "model.positions=rotary"], "model.positions=learned"),
        (["model=electra_tiny", "model.positions=rotary"], "model.positions=learned"),
        (["model=roberta_tiny", "pretrain.schedule=joint", "pretrain.decay_all=false"], "pretrain.decay_all=true, pretrain.schedule=linear"),
        (["model=roberta_tiny", "pretrain.snapshots=[.5]", "pretrain.eval_every=5"], r"pretrain.eval_every=0, pretrain.snapshots=\[\]"),
        (["model=roberta_tiny", "pretrain.weight_sharing=fixed"], "pretrain.weight_sharing=none"),
        (["model=roberta_tiny", "budget=seconds", "pretrain.budget_amount=5"], "budget=steps"),
    ],
)  # fmt: skip
def test_what_it_cannot_do_is_said_with_the_fix(overrides, said):
    with pytest.raises(UserError, match=f"pretrain.engine=fairseq needs .*{said}"):
        check_settings(compose_settings("pretrain", [*overrides, "task=agnews"]), "fp32", "cpu")


def test_bf16_is_a_gpu_s():
    settings = compose_settings("pretrain", ["model=roberta_base", "task=agnews"])
    check_settings(settings, "bf16", "cuda")
    with pytest.raises(UserError, match=r"pretrain\.precision=fp32"):
        check_settings(settings, "bf16", "cpu")


def read_options(arguments: list[str]) -> dict[str, str]:
    return {name: value for name, value in itertools.pairwise(arguments) if name.startswith("--")}


def test_it_is_told_what_the_settings_say(tmp_path):
    settings = compose_settings("pretrain", ["model=roberta_base", "task=agnews", "pretrain.micro_batch_size=16"])
    told = read_options(list_arguments(settings, RunFolder(tmp_path / "pretrain" / "x"), "cpu"))
    expected = {
        "--lr": "0.0005", "--warmup-updates": "6000", "--total-num-update": "100000", "--max-update": "100000",
        "--lr-scheduler": "polynomial_decay", "--batch-size": "16", "--update-freq": "32", "--tokens-per-sample": "512",
        "--encoder-layers": "12", "--encoder-embed-dim": "768", "--mask-prob": "0.15", "--leave-unmasked-prob": "0.1",
        "--random-token-prob": "0.1", "--adam-betas": "(0.9,0.98)", "--clip-norm": "0.0", "--max-positions": "512",
    }  # fmt: skip
    assert {name: told[name] for name in expected} == expected
    other = dataclasses.replace(settings, seeds=dataclasses.replace(settings.seeds, data_seed=7))
    assert read_options(list_arguments(other, RunFolder(tmp_path), "cpu"))["--seed"] != told["--seed"]


def test_its_train_split_ends_before_the_held_out_text(settings, tmp_path):
    tokens = TokenFile.open(prepare_corpus(settings))
    (tmp_path / "data").mkdir()
    limit = int(tokens.sizes[:9].sum()) + 1
    write_data(tmp_path / "data", tokens, limit)
    sizes, dtype = read_index(tmp_path / "data" / "train.idx")
    assert sizes.tolist() == tokens.sizes[:9].tolist() and dtype == tokens.tokens.dtype
    assert (tmp_path / "data" / "train.bin").resolve() == (tokens.folder / "train.bin").resolve()
    write_data(tmp_path / "data", tokens, limit)  # again, as after a stop
    with pytest.raises(UserError, match="needs more text"):
        write_data(tmp_path / "data", tokens, 1)


def test_without_fairseq_it_is_one_line(command, tiny, local, tmp_path):
    outcome = command(
        "pretrain", *tiny, *local(), "pretrain.engine=fairseq", f"runtime.fairseq_env={tmp_path / 'none'}"
    )
    assert outcome.code == 2
    assert "holds no fairseq 0.12.2; build it: launch/fairseq_env.sh" in outcome.err
    assert outcome.err.count("\n") == 1


# with fairseq itself


@needs_fairseq
def test_a_run_is_like_any_and_fine_tunes(command, tiny, local, tmp_path):
    arguments = [*tiny, *local(), "pretrain.total_steps=12", "runtime.log_every=4", "runtime.save_every=5"]
    first = command("pretrain", *arguments, *ENGINE)
    assert first.code == 0, first.err
    assert command("pretrain", *arguments, *ENGINE) == first  # done is done
    (folder,) = [path for path in (tmp_path / "runs" / "pretrain").iterdir() if path.is_dir()]
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [4, 8, 12, 12]
    result = json.loads((folder / "result.json").read_text())
    assert result["held_out"]["loss"] == rows[-1]["eval_loss"] and result["flops"] > 0
    (start,) = json.loads((folder / "provenance.json").read_text())
    assert start["engine"]["name"] == "fairseq" and "--task" in start["engine"]["arguments"]
    assert command("finetune", *arguments, f"init=run:{folder.name}").code == 0
    exported = ["format=fairseq", f"runtime.export_dir={tmp_path / 'out'}"]
    assert command("export", *arguments, f"init=run:{folder.name}", *exported).code == 0
    heads = [
        torch.load(file, weights_only=False)["model"]["encoder.lm_head.dense.weight"]
        for file in (tmp_path / "out" / "model.pt", folder / "checkpoints" / "checkpoint_last.pt")
    ]
    assert torch.equal(*heads)
    assert command("pretrain", *arguments).code == 0  # the native engine's run is another, from the same weights
    starts = {json.loads(file.read_text())[0]["initial_weights"] for file in folder.parent.glob("*/provenance.json")}
    assert len(list(folder.parent.glob("*/result.json"))) == 2 and len(starts) == 1


@needs_fairseq
@pytest.mark.parametrize(
    ("conditions", "engine"), [(["none", "own"], ENGINE), (["none", "own", "fairseq:own"], ENGINE[1:])]
)
def test_a_study_has_its_whole_table_by_it_or_by_both(command, tiny, local, tmp_path, conditions, engine):
    overrides = ["study.pretrain_seeds=2", "study.finetune_seeds=1", "study.name=ours"]
    outcome = command("study", *tiny, *local(), *overrides, *engine, f"study.conditions=[{','.join(conditions)}]")
    assert outcome.code == 0, outcome.err
    (summary,) = (tmp_path / "runs" / "reports").glob("ours*/summary.json")
    (panel,) = json.loads(summary.read_text())["panels"]
    states = {entry["condition"]: (entry["state"], entry["num_seeds"]) for entry in panel["entries"]}
    assert states == dict.fromkeys(conditions, ("done", 2))
    starts = [json.loads(file.read_text())[0] for file in tmp_path.glob("runs/pretrain/*/provenance.json")]
    engines = Counter(start.get("engine", {"name": "native"})["name"] for start in starts)
    assert engines == ({"fairseq": 2} if len(conditions) == 2 else {"fairseq": 2, "native": 2})
    assert len({start["initial_weights"] for start in starts}) == 2  # a seed's, whoever trains


@needs_fairseq
def test_stopped_and_started_again_it_ends_at_the_same_bits(tiny, local, tmp_path):
    overrides = [
        "pretrain.total_steps=1500",
        "runtime.log_every=100",
        "runtime.save_every=100",
        "model.dropout_prob=0.1",
    ]
    encoders = set()
    for stop in (None, signal.SIGKILL, signal.SIGTERM):
        runs = tmp_path / str(stop)
        command = [sys.executable, "-m", "selfpretrain", "pretrain", *tiny, *local(), *overrides, *ENGINE]
        command.append(f"runtime.runs_dir={runs}")
        if stop:
            with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
                limit = time.monotonic() + 120
                while not list(runs.glob("pretrain/*/checkpoints/checkpoint_last.pt")):
                    assert process.poll() is None and time.monotonic() < limit
                    time.sleep(0.02)
                process.send_signal(stop)
                said = process.communicate()[1]
            assert not list(runs.glob("pretrain/*/result.json"))
            assert process.returncode == {signal.SIGKILL: -9, signal.SIGTERM: 75}[stop]
            assert ("checkpoint written; the same command continues it" in said) == (stop == signal.SIGTERM)
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        (encoder,) = runs.glob("pretrain/*/encoder/encoder.safetensors")
        encoders.add(encoder.read_bytes())
        steps = [json.loads(line)["step"] for line in (encoder.parents[1] / "metrics.jsonl").read_text().splitlines()]
        assert steps == [*range(100, 1501, 100), 1500]
    assert len(encoders) == 1


STEPS = """
import sys; sys.path.insert(0, sys.argv[1])
import fairseq_shim; fairseq_shim.apply(); del sys.path[0]
import json, torch
from types import SimpleNamespace
from fairseq.models.roberta import RobertaModel
from fairseq.optim.adam import FairseqAdam
hub = RobertaModel.from_pretrained(".", checkpoint_file="start.pt", gpt2_encoder_json="encoder.json", gpt2_vocab_bpe="vocab.bpe")
model = hub.model.train()
config = json.load(open("config.json"))
optimizer = FairseqAdam(SimpleNamespace(**config, use_old_adam=False, tpu=False, fp16_adam_stats=False), model.parameters())
optimizer.set_lr(config["lr"][0])
losses = []
for batch in torch.load("batches.pt"):
    chosen = torch.zeros_like(batch["input_ids"], dtype=torch.bool).scatter(1, batch["masked_positions"], True)
    logits = model(batch["input_ids"], masked_tokens=chosen)[0]
    loss = torch.nn.functional.cross_entropy(logits, batch["original_ids"][chosen])
    optimizer.zero_grad()
    optimizer.backward(loss)
    optimizer.clip_grad_norm(config["clip_norm"])
    optimizer.step()
    losses.append(loss.item())
json.dump(losses, open("losses.json", "w"))
"""


@needs_fairseq
def test_both_engines_agree_step_by_step(tiny, local, tmp_path):
    recipe = ["pretrain.total_steps=20", "pretrain.peak_lr=2e-3", "pretrain.schedule=constant", "pretrain.warmup_fraction=0",
              "pretrain.batch_size=4", "model.num_layers=2", "pretrain.eps_uncorrected=true"]  # fmt: skip
    job = Pretraining(compose_settings("pretrain", [*tiny, *local(), *recipe]))
    settings, config = job.settings, job.settings.pretrain
    module, batches = build_model(settings, job.tokenizer).train(), build_batches(settings, job.tokens, job.tokenizer)
    arrays = [move(batches[step], torch.device("cpu")) for step in range(20)]
    write_bpe(tmp_path, job.tokenizer.get_tokens(), job.tokenizer.get_merges())
    save_weights(tmp_path / "start.pt", module.encoder, module.head)
    torch.save(
        [{name: value for name, value in each.items() if torch.is_tensor(value)} for each in arrays],
        tmp_path / "batches.pt",
    )
    adam = {"lr": [config.peak_lr], "adam_betas": f"({config.beta1},{config.beta2})", "adam_eps": config.eps,
            "weight_decay": config.weight_decay, "clip_norm": config.clip_norm}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(adam))
    # fairseq has no row of the only segment; ours stays as it was exported
    trained = {name: value for name, value in module.named_parameters() if "token_type" not in name}
    optimizer = AdamW(trained, config)
    losses = []
    for step, batch in enumerate(arrays):
        loss, _ = module(batch)
        module.zero_grad()
        loss.backward()
        clip_gradients(list(trained.values()), config.clip_norm)
        optimizer.step(config.peak_lr, step)
        losses.append(loss.item())
    python = ENVIRONMENT / "bin" / "python"
    found = subprocess.run(
        [python, "-c", STEPS, SHIM.parent], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr[-3000:]
    theirs = json.loads((tmp_path / "losses.json").read_text())
    assert losses[-1] < losses[0] - 0.3
    np.testing.assert_allclose(theirs, losses, atol=1e-4, rtol=0)
