"""fairseq 0.12.2 on Python 3.11 and later, with today's torch; run by the Python of fairseq's own environment.

    <environment>/bin/python fairseq_shim.py train <folder> --task masked_lm ...      as fairseq-train
    <environment>/bin/python fairseq_shim.py hydra_train --config-dir ...             as fairseq-hydra-train
    <environment>/bin/python fairseq_shim.py preprocess --only-source ...             as fairseq-preprocess

fairseq's configurations have dataclass instances as defaults. Python accepts such a default only if its class can be
hashed, so every dataclass of fairseq is made with ``unsafe_hash``. Its checkpoints hold one class besides weights,
``argparse.Namespace``, which torch reads once it is told that it may. Nothing else is changed. Whoever imports fairseq
in Python calls :func:`apply` first. This file imports nothing of ours, so that it runs wherever it lies.
"""

import argparse
import dataclasses
import importlib
import os
import signal
import sys
import threading
import time
from typing import Any

make_dataclass = dataclasses.dataclass


def dataclass(cls: Any = None, /, **settings: Any) -> Any:
    """``dataclasses.dataclass``, with ``unsafe_hash`` for the classes of fairseq."""

    def make(cls: Any) -> Any:
        if cls.__module__.startswith("fairseq"):
            settings.setdefault("unsafe_hash", True)
        return make_dataclass(cls, **settings)

    return make if cls is None else make(cls)


def apply() -> None:
    """Make both changes; before anything of fairseq is imported."""
    dataclasses.dataclass = dataclass
    import torch

    torch.serialization.add_safe_globals([argparse.Namespace])


def end_with_parent() -> None:
    """Where ``FAIRSEQ_PARENT`` names the process that started this one: end when it has ended, killed or not."""
    parent = os.environ.get("FAIRSEQ_PARENT")

    def watch() -> None:
        while os.getppid() == int(parent or 0):
            time.sleep(1)
        os._exit(75)

    if parent:
        threading.Thread(target=watch, daemon=True).start()


def watch_updates(module: Any, told: list[int]) -> None:
    """Make ``fairseq_cli.train`` save and end after the update under way, once ``told`` holds a signal; and write the weights
    after each of the updates that ``FAIRSEQ_LOOKS`` names, ``look_<updates>.pt`` beside its checkpoints.
    """
    validate_and_save = module.validate_and_save
    looks = {int(number) for number in os.environ.get("FAIRSEQ_LOOKS", "").split(",") if number}

    def save(cfg: Any, trainer: Any, *rest: Any) -> Any:
        if trainer.get_num_updates() in looks:
            save_weights(trainer, os.path.join(cfg.checkpoint.save_dir, f"look_{trainer.get_num_updates()}.pt"))
        if told:
            cfg.optimization.stop_time_hours = 1e-9  # fairseq's own way: as if its time were up
        return validate_and_save(cfg, trainer, *rest)

    module.validate_and_save = save


def mend_failures() -> None:
    """A copy is there whole or not at all, also when a kill comes: what a training goes on from is one. And what does not fit
    into memory is an error; fairseq would leave the batch out, or try for ever.
    """
    import shutil

    from fairseq.file_io import PathManager
    from fairseq.trainer import Trainer

    def copy(src_path: str, dst_path: str, overwrite: bool = False) -> bool:
        shutil.copyfile(src_path, dst_path + ".new")
        os.replace(dst_path + ".new", dst_path)
        return True

    def refuse(trainer: Any, error: Exception) -> None:
        raise error

    PathManager.copy, Trainer._log_oom = staticmethod(copy), refuse


def save_weights(trainer: Any, file: str) -> None:
    import torch

    os.makedirs(os.path.dirname(file), exist_ok=True)
    torch.save({"model": trainer.get_model().state_dict()}, file + ".new")
    os.replace(file + ".new", file)


def main() -> None:
    told: list[int] = []
    name = sys.argv.pop(1) if len(sys.argv) > 1 else "train"
    if name.endswith("train"):
        signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    end_with_parent()
    del sys.path[0]  # the folder of this file, which holds modules of other names' libraries
    apply()
    module = importlib.import_module(f"fairseq_cli.{name}")
    watch_updates(importlib.import_module("fairseq_cli.train"), told)
    mend_failures()
    module.cli_main()


if __name__ == "__main__":
    main()
