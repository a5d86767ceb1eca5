"""Checkpoints: what is damaged or foreign is refused in one line, and nothing is unpickled."""

from __future__ import annotations

import json
import os
import pickle
import shutil

import pytest
import torch
from torch import nn

from selfpretrain.config import ModelConfig, ObjectiveConfig, UserError
from selfpretrain.model.encoder import Encoder
from selfpretrain.model.heads import Pooler
from selfpretrain.pretext.objectives import build_objective
from selfpretrain.train import checkpoint

TINY = ModelConfig(hidden_size=8, embedding_size=4, num_layers=2, num_heads=2, intermediate_size=8, max_positions=8)


class FakeTokenizer:
    def __init__(self, fingerprint="f1"):
        self.fingerprint = fingerprint

    def save(self, folder):
        folder.mkdir()
        (folder / "tokenizer.json").write_text(self.fingerprint)

    @classmethod
    def load(cls, folder):
        return cls((folder / "tokenizer.json").read_text())


@pytest.fixture(autouse=True)
def _fake_tokenizer(monkeypatch):
    monkeypatch.setattr(checkpoint, "Tokenizer", FakeTokenizer)


def build(config=TINY, seed=0):
    return build_objective(config, ObjectiveConfig(), 20, 0, seed)


@pytest.fixture
def saved(tmp_path):
    module = build()
    folder = tmp_path / checkpoint.name_checkpoint(12)
    checkpoint.save_checkpoint(
        folder, module, {"m.x": torch.arange(3.0), "step": torch.ones(1)}, {"step": 12, "best": None}
    )
    return module, folder


def refuse(folder, module=None):
    with pytest.raises(UserError) as error:
        checkpoint.load_checkpoint(folder, module or build())
    message = str(error.value)
    assert "\n" not in message
    assert folder.name in message
    return message


def test_what_is_saved_comes_back(saved):
    module, folder = saved
    other = build(seed=1)
    state, description = checkpoint.load_checkpoint(folder, other)
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), other.parameters(), strict=True))
    assert other.generator.embeddings is other.encoder.embeddings
    assert torch.equal(state["m.x"], torch.arange(3.0))
    assert (description["step"], description["best"]) == (12, None)
    assert sorted(os.listdir(folder)) == ["model.safetensors", "optimizer.safetensors", "state.json"]
    assert os.listdir(folder.parent) == [folder.name]


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("keep", [0, 1, 0.5, -2])
def test_a_truncated_file(saved, name, keep):
    file = saved[1] / name
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * keep) if isinstance(keep, float) else keep])
    assert "damaged" in refuse(saved[1])


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors"])
@pytest.mark.parametrize("place", [3, 20, 100, -1])
def test_a_flipped_byte(saved, name, place):
    file = saved[1] / name
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(bytes(data))
    assert "damaged" in refuse(saved[1])


def test_any_flipped_byte_of_the_state(saved):
    file = saved[1] / "state.json"
    data = file.read_bytes()
    expected = checkpoint.load_json(file)
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 1
        file.write_bytes(bytes(damaged))
        try:
            assert checkpoint.load_json(file) == expected  # only white space was hit
        except UserError as error:
            assert "damaged" in str(error)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
def test_a_missing_file(saved, name):
    (saved[1] / name).unlink()
    assert name in refuse(saved[1])


def test_json_that_is_no_checkpoint(saved):
    for text in ("[]", "{}", '{"step": 12}', "null"):
        (saved[1] / "state.json").write_text(text)
        assert "damaged" in refuse(saved[1])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"intermediate_size": 16}, "has shape"),
        ({"num_layers": 3}, "has no tensor"),
        ({"num_layers": 1}, "that the model lacks"),
        ({"hidden_size": 16}, "another model"),
    ],
)
def test_another_model(saved, change, said):
    other = build(ModelConfig(**{**vars(TINY), **change}))
    before = [p.detach().clone() for p in other.parameters()]
    message = refuse(saved[1], other)
    assert said in message and "preset" in message
    assert all(torch.equal(a, b) for a, b in zip(before, other.parameters(), strict=True))  # nothing half copied


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle"])
def test_pickles_are_refused_unread(tmp_path, suffix):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "sprung"),))

    file = tmp_path / f"model{suffix}"
    file.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(UserError, match=r"is a pickle.*convert it to safetensors") as error:
        checkpoint.load_tensors(file)
    assert "\n" not in str(error.value)
    disguised = tmp_path / "model.safetensors"
    shutil.copy(file, disguised)
    with pytest.raises(UserError, match="not a readable safetensors file") as error:
        checkpoint.load_tensors(disguised)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "sprung").exists()


def test_a_kill_while_saving_leaves_the_old_checkpoint(saved, monkeypatch):
    module, folder = saved

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save_json", stop)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save_checkpoint(folder, build(seed=1), {}, {"step": 12})
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save_checkpoint(folder.with_name("step_000000013"), build(seed=1), {}, {"step": 13})
    assert checkpoint.find_latest(folder.parent) == folder
    checkpoint.load_checkpoint(folder, module)


def test_which_checkpoints_are_kept(tmp_path):
    assert checkpoint.find_latest(tmp_path) is None
    assert checkpoint.find_latest(tmp_path / "absent") is None
    for step in (5, 10, 15, 20, 100):
        (tmp_path / checkpoint.name_checkpoint(step)).mkdir()
    (tmp_path / ".step_000000999.aaaaaaaa.new").mkdir()  # a killed one
    assert checkpoint.find_latest(tmp_path).name == "step_000000100"
    checkpoint.remove_old(tmp_path, 2, [10, 77])
    assert sorted(p.name for p in tmp_path.glob("step_*")) == ["step_000000010", "step_000000020", "step_000000100"]


# encoders


def test_an_encoder_brings_its_tokenizer(tmp_path):
    encoder = Encoder(TINY, 20, 3)
    checkpoint.save_encoder(tmp_path / "encoder", encoder, FakeTokenizer())
    again, tokenizer = checkpoint.load_encoder(tmp_path / "encoder")
    assert all(torch.equal(a, b) for a, b in zip(encoder.parameters(), again.parameters(), strict=True))
    assert (again.config, again.vocab_size, again.pad_id, tokenizer.fingerprint) == (TINY, 20, 3, "f1")
    with pytest.raises(UserError, match=r"no head\.safetensors: it is an encoder without a task"):
        checkpoint.load_part(tmp_path / "encoder", "head.safetensors", nn.Linear(8, 2))
    (tmp_path / "encoder" / "tokenizer" / "tokenizer.json").write_text("f2")
    with pytest.raises(UserError, match="not the one the encoder was trained with"):
        checkpoint.load_encoder(tmp_path / "encoder")


def test_a_finished_model_has_its_head(tmp_path):
    head, again = nn.Linear(8, 2), nn.Linear(8, 2)
    checkpoint.save_encoder(tmp_path / "model", Encoder(TINY, 20, 0), FakeTokenizer(), head, {"task": "x"})
    assert checkpoint.load_part(tmp_path / "model", "head.safetensors", again) == {"task": "x"}
    assert torch.equal(head.weight, again.weight)
    with pytest.raises(UserError, match="belongs to another model"):
        checkpoint.load_part(tmp_path / "model", "head.safetensors", nn.Linear(8, 3))


def test_a_pooler_lies_beside_its_encoder(tmp_path):
    pooler = Pooler(TINY)
    checkpoint.save_encoder(tmp_path / "bert", Encoder(TINY, 20, 0), FakeTokenizer(), pooler=pooler)
    again = checkpoint.load_pooler(tmp_path / "bert")
    assert all(torch.equal(a, b) for a, b in zip(pooler.parameters(), again.parameters(), strict=True))
    checkpoint.load_encoder(tmp_path / "bert")
    checkpoint.save_encoder(tmp_path / "other", Encoder(TINY, 20, 0), FakeTokenizer())
    assert checkpoint.load_pooler(tmp_path / "other") is None
    (tmp_path / "bert" / checkpoint.POOLER).unlink()
    with pytest.raises(UserError, match=r"pooler\.safetensors does not exist"):
        checkpoint.load_pooler(tmp_path / "bert")


def test_a_damaged_encoder(tmp_path):
    folder = tmp_path / "encoder"
    checkpoint.save_encoder(folder, Encoder(TINY, 20, 0), FakeTokenizer())
    description = json.loads((folder / "encoder.json").read_text())
    description["model"]["num_layers"] = 1
    (folder / "encoder.json").write_text(json.dumps(description))
    with pytest.raises(UserError, match=r"encoder\.json is damaged"):
        checkpoint.load_encoder(folder)
    with pytest.raises(UserError, match=r"encoder\.json is missing"):
        checkpoint.load_encoder(tmp_path / "nothing")


@pytest.mark.parametrize(("name", "cure"), [("encoder", "abc/status"), ("model", "abc/status"), ("encoder_20", "abc")])
def test_what_to_delete_makes_an_encoder_anew(tmp_path, name, cure):
    """A finished run is not run again as long as it says so."""
    folder = tmp_path / "abc" / name
    checkpoint.save_encoder(folder, Encoder(TINY, 20, 0), FakeTokenizer())
    for file in (folder / "encoder.safetensors", folder / "encoder.json"):
        file.write_bytes(file.read_bytes()[:-3])
        with pytest.raises(UserError, match=rf"{file.name} is damaged .*; delete {tmp_path / cure} and run"):
            checkpoint.load_encoder(folder)
