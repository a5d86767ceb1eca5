"""Weights in a pickle (pytorch_model.bin): the one place that unpickles, and weights alone.

An ordinary unpickler calls whatever the file names. ``weights_only`` knows the few calls that rebuild tensors and
refuses every other before it is made.
"""

from __future__ import annotations

import pickle
import re
import struct
import warnings
import zipfile
from pathlib import Path

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
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of old pickles: what cannot be followed is refused anyway
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise UserError(f"{path} {_explain(str(error))}") from None
    except DAMAGE as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} is not a readable file of weights ({reason}); fetch the checkpoint again") from None
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
