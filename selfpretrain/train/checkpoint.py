"""Weights on disk: safetensors and JSON, each with its checksum. Nothing here reads a pickle."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from selfpretrain.config import ModelConfig, UserError
from selfpretrain.data.tokenizer import Tokenizer
from selfpretrain.door import to_dataclass
from selfpretrain.files import Damaged, compute_checksum, new_folder, read_json, remove_folder, write_json
from selfpretrain.model.encoder import Encoder
from selfpretrain.model.heads import Pooler

POOLER = "pooler.safetensors"
PICKLE_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")


def load_tensors(path: Path, checksum: str | None = None, cure: Path | None = None) -> dict[str, Tensor]:
    """The tensors of a safetensors file; UserError for anything damaged, absent or pickled.

    ``cure``: what to delete so that the same command makes it anew, its folder if not given.
    """
    cure = cure or path.parent
    if path.suffix in PICKLE_SUFFIXES:
        raise UserError(f"{path} is a pickle, which can run code when read; convert it to safetensors first")
    if not path.exists():
        raise UserError(f"{path} does not exist; delete {cure} and run the command again")
    if checksum is not None and compute_checksum(path, "sha256") != checksum:
        raise Damaged(path, cure, "its checksum differs")
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} is not a readable safetensors file ({reason}); replace it by a whole one") from None


def save_tensors(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> str:
    """Write a safetensors file, from any device, and return its checksum; a full disk is an OSError, as elsewhere."""
    try:
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, path, metadata)
    except SafetensorError as error:
        found = re.search(r"os error (\d+)", str(error))
        if found is None:
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1])), str(path)) from None
    return compute_checksum(path, "sha256")


def get_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, shared ones once."""
    return dict(module.named_parameters()) | dict(module.named_buffers())


def set_tensors(module: nn.Module, tensors: dict[str, Tensor], origin: Path | str) -> None:
    """Copy ``tensors`` into ``module``; UserError when names or shapes show that it is another model."""
    own = get_tensors(module)
    misfits = [f" has a tensor {name} that the model lacks" for name in tensors if name not in own]
    for name, value in own.items():
        found = tensors.get(name)
        if found is None:
            misfits.append(f" has no tensor {name}")
        elif found.shape != value.shape:
            misfits.append(f": {name} has shape {tuple(found.shape)} where the model has {tuple(value.shape)}")
    if misfits:
        raise UserError(f"{origin}{misfits[0]}: it belongs to another model; set model=<its own preset>")
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(tensors[name])


def save_checkpoint(folder: Path, module: nn.Module, optimizer_state: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Write ``folder`` whole or not at all; ``state`` is any JSON (step, best score)."""
    with new_folder(folder) as new:
        parts = {"model.safetensors": get_tensors(module), "optimizer.safetensors": optimizer_state}
        checksums = {name: save_tensors(tensors, new / name) for name, tensors in parts.items()}
        save_json(new / "state.json", {**state, "checksums": checksums})


def load_checkpoint(folder: Path, module: nn.Module) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Restore the weights; return the optimizer's state and the saved JSON."""
    state = load_json(folder / "state.json")
    tensors = load_tensors(folder / "model.safetensors", state["checksums"]["model.safetensors"])
    set_tensors(module, tensors, folder)
    return load_tensors(folder / "optimizer.safetensors", state["checksums"]["optimizer.safetensors"]), state


def save_json(path: Path, value: dict[str, Any]) -> None:
    """Write ``value`` with its own checksum, which :func:`load_json` compares."""
    write_json(path, {**value, "checksum": _digest_json(value)})


def load_json(path: Path, cure: Path | None = None) -> dict[str, Any]:
    """What :func:`save_json` wrote; Damaged, which says to delete ``cure``, the file's folder if not given."""
    cure = cure or path.parent
    try:
        value = read_json(path, cure)
    except OSError:
        raise UserError(f"{path} is missing; delete {cure} and run the command again") from None
    if not isinstance(value, dict) or value.pop("checksum", None) != _digest_json(value):
        raise Damaged(path, cure, "its checksum differs")
    return value


def _digest_json(value: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def find_latest(checkpoints: Path) -> Path | None:
    """The checkpoint with the highest step, or None."""
    return max(checkpoints.glob("step_*"), default=None)


def list_steps(checkpoints: Path) -> list[int]:
    """The steps there are checkpoints of, in order."""
    return sorted(int(path.name.removeprefix("step_")) for path in checkpoints.glob("step_*"))


def remove_newer(checkpoints: Path, step: int) -> None:
    """Go back: training will go on from ``step``."""
    for newer in reversed(list_steps(checkpoints)):
        if newer > step:
            remove_folder(checkpoints / name_checkpoint(newer))


def name_checkpoint(step: int) -> str:
    return f"step_{step:09d}"


def remove_old(checkpoints: Path, keep_newest: int, keep_steps: list[int]) -> None:
    removable = [step for step in list_steps(checkpoints) if step not in keep_steps]
    for step in removable[:-keep_newest]:
        remove_folder(checkpoints / name_checkpoint(step))


def save_encoder(
    folder: Path, encoder: Encoder, tokenizer: Tokenizer, head: nn.Module | None = None, description: Any = None,
    pooler: Pooler | None = None,
) -> None:  # fmt: skip
    """The encoder with its tokenizer: what fine-tuning starts from. With a task's ``head``: a finished model.

    ``description`` is any JSON that says how to build the head. ``pooler``: of an objective that trains one.
    """
    parts = {"encoder.safetensors": encoder, "head.safetensors": head, POOLER: pooler}
    with new_folder(folder) as new:
        checksums = {n: save_tensors(get_tensors(part), new / n) for n, part in parts.items() if part is not None}
        tokenizer.save(new / "tokenizer")
        written = {
            "model": dataclasses.asdict(encoder.config),
            "vocab_size": encoder.vocab_size,
            "pad_id": encoder.pad_id,
            "tokenizer": tokenizer.fingerprint,
            "head": description,
            "checksums": checksums,
        }
        save_json(new / "encoder.json", written)


def load_encoder(folder: Path) -> tuple[Encoder, Tokenizer]:
    """An encoder saved by :func:`save_encoder`."""
    description = _read_description(folder)
    tokenizer = None
    with suppress(UserError):  # it would blame a setting that nobody gave
        tokenizer = Tokenizer.load(folder / "tokenizer")
    if tokenizer is None or tokenizer.fingerprint != description["tokenizer"]:
        raise Damaged(folder / "tokenizer", _find_cure(folder), "or not the one the encoder was trained with")
    config = to_dataclass(description["model"], ModelConfig)
    encoder = Encoder(config, description["vocab_size"], description["pad_id"])
    load_part(folder, "encoder.safetensors", encoder)
    return encoder, tokenizer


def load_pooler(folder: Path) -> Pooler | None:
    """The pooler that :func:`save_encoder` stored beside the encoder; None where there was none."""
    description = _read_description(folder)
    if POOLER not in description["checksums"]:
        return None
    pooler = Pooler(to_dataclass(description["model"], ModelConfig))
    load_part(folder, POOLER, pooler)
    return pooler


def load_part(folder: Path, name: str, module: nn.Module) -> Any:
    """Restore the encoder, the head or the pooler from a folder of :func:`save_encoder`; returns the head's description."""
    description = _read_description(folder)
    if name not in description["checksums"]:
        raise UserError(f"{folder} has no {name}: it is an encoder without a task; fine-tune it first")
    set_tensors(module, load_tensors(folder / name, description["checksums"][name], _find_cure(folder)), folder)
    return description["head"]


def _read_description(folder: Path) -> dict[str, Any]:
    return load_json(folder / "encoder.json", _find_cure(folder))


def _find_cure(folder: Path) -> Path:
    """What to delete of the run whose encoder in ``folder`` is damaged: without its status a run goes on from its last
    checkpoint, to the same end. An encoder from on the way is made anew by the whole run alone.
    """
    return folder.parent / "status" if folder.name in ("encoder", "model") else folder.parent
