"""The weights of a folder of transformers: safetensors where there are any, else pickles; whole or in several files."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from selfpretrain.config import UserError
from selfpretrain.files import read_json
from selfpretrain.interop.pickled import load_pickled
from selfpretrain.train.checkpoint import load_tensors

WEIGHTS = "model.safetensors"
PICKLED = "pytorch_model.bin"
INDEX = ".index.json"  # beside the parts of weights in several files
# what the hub is asked for; of a repository that has both formats the pickles are not fetched
SAFE_FILES = [WEIGHTS, WEIGHTS + INDEX, "model-*-of-*.safetensors"]
PICKLED_FILES = [PICKLED, PICKLED + INDEX, "pytorch_model-*-of-*.bin"]


def has_safetensors(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (WEIGHTS, WEIGHTS + INDEX))


def load_weights(folder: Path, name: str) -> tuple[dict[str, Tensor], Path]:
    """The weights of the checkpoint ``init=hf:<name>`` by transformers' names, and the file that an error may name.

    Raises UserError where there are none, or no readable ones.
    """
    for file in (WEIGHTS, WEIGHTS + INDEX, PICKLED, PICKLED + INDEX):
        path = folder / file
        if path.is_file():
            return _load_parts(path) if file.endswith(INDEX) else _load_file(path), path
    raise UserError(
        f"init=hf:{name} has no {WEIGHTS} and no {PICKLED}; convert what there is with transformers, "
        "AutoModel.from_pretrained(<name>).save_pretrained(<folder>), add the tokenizer's files and set init=hf:<folder>"
    )


def _load_file(path: Path) -> dict[str, Tensor]:
    return load_pickled(path) if path.suffix == ".bin" else load_tensors(path)


def _load_parts(index: Path) -> dict[str, Tensor]:
    """All tensors of weights in several files; ``index`` says which tensor is in which."""
    try:
        places = dict(read_json(index)["weight_map"])
        files = sorted({str(file) for file in places.values()})
    except (OSError, ValueError, TypeError, KeyError):
        raise UserError(f"{index} is damaged; fetch the checkpoint again") from None
    tensors: dict[str, Tensor] = {}
    for file in files:
        path = index.parent / file
        if path.parent != index.parent or path.suffix not in (".bin", ".safetensors") or not path.is_file():
            raise UserError(f"{index} names {file}, which is no file of weights beside it; fetch the checkpoint again")
        tensors |= _load_file(path)
    for name, file in places.items():
        if name not in tensors:
            raise UserError(f"{index}: {file} has no tensor {name}; fetch the checkpoint again")
    return tensors
