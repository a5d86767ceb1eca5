"""Weights are read from pickles of every age; a pickle that wants more has not run when it is refused."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from selfpretrain.config import UserError
from selfpretrain.interop.pickled import load_pickled

LEGACY = {"_use_new_zipfile_serialization": False}


class Poison:
    """Unpickled, it would create a folder."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


def get_refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_pickled(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("settings", [{}, LEGACY], ids=["zip", "legacy"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_are_read(settings: dict[str, Any], dtype: torch.dtype, tmp_path: Path) -> None:
    weights = {"a.weight": torch.randn(3, 4).to(dtype), "a.bias": nn.Parameter(torch.randn(3)), "n": torch.arange(3)}
    torch.save({**weights, "tied": weights["a.weight"]}, tmp_path / "w.bin", **settings)
    found = load_pickled(tmp_path / "w.bin")
    assert list(found) == [*weights, "tied"]
    assert all(torch.equal(found[name], value) for name, value in weights.items())
    assert found["a.weight"].dtype == dtype


@pytest.mark.parametrize("settings", [{}, LEGACY], ids=["zip", "legacy"])
@pytest.mark.parametrize("place", ["beside", "instead"])
def test_a_pickle_that_would_run_code_is_refused_and_has_not_run(
    settings: dict[str, Any], place: str, tmp_path: Path
) -> None:
    target, path = tmp_path / "harm", tmp_path / "w.bin"
    poison = Poison(target)
    torch.save({"a.weight": torch.ones(2), "more": poison} if place == "beside" else poison, path, **settings)
    assert f"needs more than weights to be read ({os.name}.mkdir), which can run code" in get_refusal(path)
    assert not target.exists()
    torch.load(path, weights_only=False)
    assert target.exists()  # the poison does work


def test_a_bare_pickle_that_would_run_code_has_not_run(tmp_path: Path) -> None:
    target, path = tmp_path / "harm", tmp_path / "w.bin"
    path.write_bytes(pickle.dumps(Poison(target)))
    assert f"{path} is not a readable file of weights" in get_refusal(path)
    assert not target.exists()
    pickle.loads(path.read_bytes())
    assert target.exists()


def test_a_whole_module_is_refused_by_its_class(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "w.bin")
    refusal = get_refusal(tmp_path / "w.bin")
    assert "needs more than weights to be read (torch.nn.modules.linear.Linear)" in refusal
    assert "torch.save(model.state_dict(), <file>)" in refusal


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.ones(2)], "holds list, not a state dict"),
        ({"state_dict": {"a": torch.ones(2)}}, "is no state dict: state_dict is dict, not a tensor"),
        ({"a": torch.ones(2), "step": 7}, "is no state dict: step is int, not a tensor"),
    ],
)
def test_what_is_no_state_dict_is_refused(content: Any, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.bin")
    assert message in get_refusal(tmp_path / "w.bin")


@pytest.mark.parametrize("settings", [{}, LEGACY], ids=["zip", "legacy"])
def test_cut_files_are_refused_in_one_line(settings: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "w.bin"
    torch.save({"a.weight": torch.randn(20, 20), "b": torch.randn(9)}, path, **settings)
    whole = path.read_bytes()
    for size in [*range(0, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:size])
        refusal = get_refusal(path)  # a name that is cut is another name
        assert "is not a readable file of weights" in refusal or "needs more than weights" in refusal, size


def test_what_is_no_pickle_is_refused(tmp_path: Path) -> None:
    for content in (b"hello world", b"\x80", b"PK\x03\x04 not a zip", b"version https://git-lfs.github.com/spec/v1\n"):
        (tmp_path / "w.bin").write_bytes(content)
        assert "is not a readable file of weights" in get_refusal(tmp_path / "w.bin")
