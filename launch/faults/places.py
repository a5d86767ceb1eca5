"""Where a study writes, and what of a finished one is taken away so that it writes there again."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from launch.faults.trial import reopen


@dataclass(frozen=True)
class Place:
    """``module.function`` is about to write."""

    module: str
    function: str
    prepare: Callable[[Path], None]

    def call_before(self, action: Callable[[], object]) -> Callable[[], None]:
        """For ``Trial.run``: in its process the action comes before each call of the function."""

        def patch() -> None:
            import importlib

            module = importlib.import_module(self.module)
            function = getattr(module, self.function)
            setattr(module, self.function, lambda *given, **named: (action(), function(*given, **named))[1])

        return patch


def remove_all(runs_dir: Path, *patterns: str) -> None:
    for pattern in patterns:
        for path in [*runs_dir.glob(pattern)]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def lose_last_predictions(runs_dir: Path) -> None:
    reopen(max(path.parent for path in runs_dir.glob("finetune/*/status")), "model", "predictions", "result.json")


PLACES = {
    "corpus": Place("selfpretrain.stages.corpus", "_write_tokens", lambda runs_dir: remove_all(
        runs_dir, "corpora/*", "pretrain/*", "finetune/*", "reports/*")),
    "checkpoint": Place("selfpretrain.train.checkpoint", "save_checkpoint", lambda runs_dir: remove_all(
        runs_dir, "pretrain/*", "reports/*")),
    "predictions": Place("selfpretrain.stages.finetune", "write_predictions", lose_last_predictions),
    "report": Place("selfpretrain.report.write", "save_report", lambda runs_dir: remove_all(runs_dir, "reports/*")),
}  # fmt: skip


@contextmanager
def mount_small(folder: Path, megabytes: int = 16) -> Iterator[Path]:
    """A small disk, in memory; root alone may."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def list_leftovers(runs_dir: Path) -> list[str]:
    """What was left half-written."""
    return [str(path.relative_to(runs_dir)) for end in (".tmp", ".new") for path in runs_dir.rglob(f".*{end}")]
