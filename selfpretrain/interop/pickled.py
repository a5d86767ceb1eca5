"""Weights in a pickle (pytorch_model.bin): the one place that unpickles, and weights alone.

An ordinary unpickler calls whatever the file names. ``weights_only`` knows the few calls that rebuild tensors and
refuses every other before it is made.
"""

from __future__ import annotations

import argparse
import pickle
import re
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from selfpretrain.config import UserError

# what the unpickler raises for files that are cut, overwritten or something else altogether
DAMAGE = (RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError, AssertionError, struct.error)  # fmt: skip
SAVE = "save the weights alone: torch.save(model.state_dict(), <file>)"


def load_pickled(path: Path) -> dict[str, Tensor]:
    """The tensors of a state dict saved by ``torch.save``, in today's format (a zip) or the one before torch 1.6.

    Those of a zip stay on the disk until they are used. Raises UserError, and nothing of the file has run, where it
    holds anything but a state dict, needs more than weights to be read, or is damaged.
    """
    return _check_tensors(path, _load(path))


def load_fairseq(path: Path) -> dict[str, Any]:
    """A checkpoint of fairseq: ``model`` the tensors, ``args`` or ``cfg`` the settings, ``extra_state`` the rest.

    Of what is no weight only ``argparse.Namespace`` may be in it, which holds values and runs nothing. Raises
    UserError as :func:`load_pickled`.
    """
    with torch.serialization.safe_globals([argparse.Namespace]):
        found = _load(path)
    if not isinstance(found, dict) or not isinstance(found.get("model"), dict):
        raise UserError(f"{path} is no checkpoint of fairseq: it has no weights under 'model'; choose its model.pt")
    return {**found, "model": _check_tensors(path, found["model"])}


def save_pickled(path: Path, content: dict[str, Any]) -> None:
    """Tensors and plain values, which can be read without anything being run."""
    torch.save(content, path)


def _load(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of old pickles: what cannot be followed is refused anyway
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise UserError(f"{path} {_explain(str(error))}") from None
    except DAMAGE as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} is not a readable file of weights ({reason}); fetch the checkpoint again") from None


def _check_tensors(path: Path, found: Any) -> dict[str, Tensor]:
    if not isinstance(found, dict):
        raise UserError(f"{path} holds {type(found).__name__}, not a state dict; {SAVE}")
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise UserError(f"{path} is no state dict: {name} is {type(value).__name__}, not a tensor; {SAVE}")
    return dict(found)


def _explain(message: str) -> str:
    """torch's many lines about a refused pickle as one."""
    called = re.search(r"GLOBAL (\S+)|unrecognized function (\S+)", message)
    if called is None:
        return "is not a readable file of weights (its pickle is cut, or not as torch.save writes it); fetch the checkpoint again"
    return f"needs more than weights to be read ({called[1] or called[2]}), which can run code, so it was not; {SAVE}"
