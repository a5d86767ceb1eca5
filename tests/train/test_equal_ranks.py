"""Whole trainings by two ranks end with the weights of one rank. Run as a script, this file is one of the two."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from selfpretrain.door import compose_settings
from selfpretrain.runs.folder import RunFolder
from selfpretrain.stages.finetune import finetune
from selfpretrain.stages.pretrain import pretrain
from selfpretrain.train import distributed
from selfpretrain.train.checkpoint import load_tensors
from tests.conftest import TINY, make_rows, write_csv

STEPS = 50
# four micro-batches a step, two for each of two ranks: one of them is added to the other before anything is summed
PRETRAIN = [f"pretrain.total_steps={STEPS}", "pretrain.batch_size=4", "pretrain.micro_batch_size=1", "corpus=own"]
FINETUNE = [f"finetune.max_steps={STEPS}", f"finetune.min_steps={STEPS}", "finetune.batch_size=8", "finetune.micro_batch_size=2"]  # fmt: skip
FP32, BF16 = 1e-6, 2e-3  # how far weights may be apart; a rounding to bf16 may tip over
VARIANTS = {  # stage, settings, weights at most apart
    "roberta": ("pretrain", ["pretrain.precision=fp32"], FP32),
    "electra": ("pretrain", ["pretrain.precision=fp32"], FP32),
    "bf16": ("pretrain", ["pretrain.precision=bf16"], BF16),
    "compiled": ("pretrain", ["pretrain.precision=fp32", "runtime.compile=true", "seeds.seed=1"], FP32),
    "finetuned": ("finetune", ["finetune.precision=fp32"], FP32),
}


def train(name: str, overrides: list[str]) -> RunFolder:
    """One of the variants; what is compiled is traced, but left to no compiler, which would take a minute."""
    stage, more, _ = VARIANTS[name]
    model = "electra_tiny" if name == "electra" else "roberta_tiny"
    chosen = [f"model={model}", *overrides, *(PRETRAIN if stage == "pretrain" else FINETUNE), *more]
    settings = compose_settings(stage, chosen)
    with pytest.MonkeyPatch.context() as patch:
        compile_module = torch.compile
        patch.setattr(torch, "compile", lambda module, mode: compile_module(module, backend="aot_eager"))
        return pretrain(settings) if stage == "pretrain" else finetune(settings)


def work(folder: Path, overrides: list[str]) -> None:
    """What each rank does: all variants, and how often it sums gradients in each."""
    calls, all_reduce = [], dist.all_reduce

    def count(tensor, *given, async_op=False, **named):
        calls.append(async_op)
        return all_reduce(tensor, *given, async_op=async_op, **named)

    dist.all_reduce = count
    found = {}
    for name in VARIANTS:
        calls.clear()
        found[name] = {"run": str(train(name, overrides).path), "sums": sum(calls)}
    (folder / f"found_{os.environ['RANK']}.json").write_text(json.dumps(found))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def overrides(files):
    path = write_csv(files / "x.csv", make_rows())
    kept = [word for word in TINY if not word.startswith(("model=", "runtime."))]
    return [*kept, "task=local", f"task.path={path}", "task.text=body", "task.label=topic", "runtime.device=cpu"]


@pytest.fixture(scope="module")
def together(files, overrides):
    """What both ranks found."""
    words = [*overrides, f"runtime.runs_dir={files / 'together'}"]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", __file__, str(files), *words],
        capture_output=True, text=True, timeout=600, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads((files / f"found_{rank}.json").read_text()) for rank in range(2)]


def read_weights(run: Path) -> dict[str, torch.Tensor]:
    """Of an encoder, or of a fine-tuned model and its head, without the keys' biases.

    These add the same to all of a query's scores, so that their gradient is rounding alone, which Adam divides by itself.
    """
    found = {}
    for path in [*run.glob("encoder/*.safetensors"), *run.glob("model/*.safetensors")]:
        for name, value in load_tensors(path).items():
            if name.endswith("qkv.bias"):
                queries, _, values = value.chunk(3)
                value = torch.cat([queries, values])
            found[f"{path.name}.{name}"] = value
    return found


@pytest.mark.parametrize("name", VARIANTS)
def test_two_ranks_end_with_the_weights_of_one(name, together, overrides, files):
    alone = train(name, [*overrides, f"runtime.runs_dir={files / 'alone'}"])
    run = Path(together[0][name]["run"])
    assert run.name == alone.id  # however many ranks
    expected, found = read_weights(alone.path), read_weights(run)
    assert found.keys() == expected.keys() and expected
    close = partial(torch.testing.assert_close, rtol=0, atol=VARIANTS[name][2])
    for key, value in expected.items():
        close(found[key], value, msg=lambda text, key=key: f"{key}: {text}")


@pytest.mark.parametrize("name", VARIANTS)
def test_a_step_sums_once_however_many_micro_batches_it_has(name, together):
    assert [found[name]["sums"] for found in together] == [STEPS] * 2  # all gradients are one bucket here


if __name__ == "__main__":
    work(Path(sys.argv[1]), sys.argv[2:])
    distributed.leave()
