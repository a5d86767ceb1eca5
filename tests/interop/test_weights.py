"""Which files of a folder the weights are read from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from selfpretrain.config import UserError
from selfpretrain.files import write_json
from selfpretrain.interop.weights import load_weights

FIRST, SECOND = {"a": torch.ones(2), "b": torch.zeros(3)}, {"c": torch.arange(4.0)}
STEMS = {"bin": "pytorch_model", "safetensors": "model"}


def write(weights: dict[str, torch.Tensor], path: Path) -> None:
    torch.save(weights, path) if path.suffix == ".bin" else save_file(weights, path)


def write_parts(folder: Path, suffix: str) -> Path:
    """Two files and their index, which is returned."""
    names = [f"{STEMS[suffix]}-{i}-of-00002.{suffix}" for i in ("00001", "00002")]
    for name, weights in zip(names, (FIRST, SECOND), strict=True):
        write(weights, folder / name)
    index = folder / f"{STEMS[suffix]}.{suffix}.index.json"
    write_json(index, {"metadata": {}, "weight_map": {"a": names[0], "b": names[0], "c": names[1]}})
    return index


def get_refusal(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_weights(folder, "some/folder")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("suffix", STEMS)
def test_weights_in_several_files_are_read(suffix: str, tmp_path: Path) -> None:
    index = write_parts(tmp_path, suffix)
    tensors, origin = load_weights(tmp_path, "x")
    assert origin == index
    assert sorted(tensors) == ["a", "b", "c"]
    assert all(torch.equal(tensors[name], value) for name, value in (FIRST | SECOND).items())


def test_safetensors_come_first(tmp_path: Path) -> None:
    write({"a": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    write_parts(tmp_path, "safetensors")
    assert sorted(load_weights(tmp_path, "x")[0]) == ["a", "b", "c"]
    write({"d": torch.zeros(1)}, tmp_path / "model.safetensors")
    assert list(load_weights(tmp_path, "x")[0]) == ["d"]


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tf_model.h5").write_bytes(b"")
    assert "init=hf:some/folder has no model.safetensors and no pytorch_model.bin" in get_refusal(tmp_path)


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ({"a": "../outside.bin"}, "names ../outside.bin, which is no file of weights beside it"),
        ({"a": "missing-00001-of-00002.bin"}, "names missing-00001-of-00002.bin, which is no file of weights"),
        ({"a": "pytorch_model-00001-of-00002.bin", "z": "pytorch_model-00002-of-00002.bin"}, "has no tensor z"),
        (["a"], "index.json is damaged"),
        (None, "index.json is damaged"),
    ],
)
def test_a_wrong_index_is_refused(places: Any, message: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    write(FIRST, tmp_path / "outside.bin")
    index = write_parts(folder, "bin")
    write_json(index, {"weight_map": places} if places else [])
    assert message in get_refusal(folder)
