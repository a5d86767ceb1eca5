"""The engine with a part undone still trains, to the same loss where the part changes no chance."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

STEP = """
import sys, torch
from benchmarks.parts import PARTS
from selfpretrain.config import ModelConfig, ObjectiveConfig, OptimConfig
from selfpretrain.pretext.objectives import build_objective
from selfpretrain import devices
from selfpretrain.train import optim

if len(sys.argv) > 1:
    PARTS[sys.argv[1]][0]()
torch.manual_seed(0)
sizes = dict(hidden_size=16, embedding_size=8, num_layers=2, num_heads=2, intermediate_size=32, max_positions=16)
config = ModelConfig(**sizes, generator_fraction=0.5, dropout_prob=0.1, attention_dropout_prob=0.0)
module = build_objective(config, ObjectiveConfig(), 50, 0, seed=0)
ids = torch.randint(5, 50, (4, 12))
positions = torch.tensor([[1, 3, 4]] * 4)
batch = {"input_ids": ids.scatter(1, positions, 4), "original_ids": ids, "masked_positions": positions,
         "token_type_ids": torch.zeros_like(ids), "sample_uniforms": torch.full((4, 3), 0.5)}
module.eval()
loss, _ = module(batch)
module.train()
module(batch)[0].backward()
optimizer = optim.AdamW(module, OptimConfig())
optimizer.step(1e-3, 0)
print(loss.item(), optimizer.inner.defaults["fused"], devices.keep_freed_memory())
"""

LAYOUT = """
import sys
from benchmarks import engine, parts

work, title = parts.prepare("packing", parts.Options(toy=True, runs_dir=sys.argv[1]))
for undo in (lambda: None, parts.PARTS["packing"][0]):
    undo()
    member, _ = engine.make_finetuning(work)
    micro_batches = member.batches[0]
    print(*("packed" if "lengths" in arrays else "padded" for _, arrays in micro_batches))
    engine.Trainer([member]).step(0, micro_batches)
"""


def run_step(*part: str) -> tuple[float, str, str]:
    done = subprocess.run([sys.executable, "-c", STEP, *part], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loss, fused, keeps = done.stdout.split()
    return float(loss), fused, keeps


@pytest.mark.parametrize("part", ["products", "memory", "positions", "cross_entropy", "dropout", "optimizer"])
def test_a_part_undone_changes_no_loss(part: str) -> None:
    loss, fused, keeps = run_step(part)
    expected, _, usual = run_step()
    assert loss == pytest.approx(expected, abs=1e-5)
    assert fused == str(part != "optimizer")
    assert keeps == ("False" if part == "memory" else usual)


def test_texts_are_padded_where_packing_is_undone(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", LAYOUT, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["packed", "padded"]


def test_samples_by_noise_train_too() -> None:
    assert run_step("sampling")[0] > 0
