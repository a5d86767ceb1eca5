"""A disk that fills up in the middle: one line, nothing half-written, and the same command goes on to the same files.

launch/faults/ does the same with a real disk, and with the other faults.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# what is called when a part of the files is written already
PLACES = {
    "corpus": "selfpretrain.stages.corpus.write_dictionary",
    "checkpoint": "selfpretrain.train.checkpoint.save_json",
    "predictions": "selfpretrain.runs.predictions.write_bytes",
}


def fill(path, *_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def read_files(folder):
    """The weights and predictions, by name."""
    found = [*folder.rglob("*.safetensors"), *folder.rglob("*.parquet"), *folder.rglob("train.bin")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.mark.parametrize("place", PLACES)
def test_a_disk_that_fills_up(command, tiny, local, tmp_path, monkeypatch, place):
    words = ["finetune", *local(), *(word for word in tiny if not word.startswith(("study.", "runtime.runs_dir")))]
    undisturbed, full = tmp_path / "undisturbed", tmp_path / "full"
    assert command(*words, f"runtime.runs_dir={undisturbed}").code == 0
    with monkeypatch.context() as patched:
        patched.setattr(PLACES[place], fill)
        stopped = command(*words, f"runtime.runs_dir={full}")
    assert stopped.code == 2
    (said,) = [line for line in stopped.err.splitlines() if line.startswith("selfpretrain: ")]
    assert "the disk is full; free some space" in said and str(full) in said
    assert [path for path in full.rglob(".*") if path.suffix in (".tmp", ".new")] == []
    assert command(*words, f"runtime.runs_dir={full}").code == 0
    found = read_files(full)
    assert found == read_files(undisturbed) and len(found) > 4


def test_the_first_case_of_the_others(tmp_path):
    """Of those that need no mounting: the scripts as they are, on a study of their own."""
    names = ["cut_short", "clock", "tracker", "hosts"]
    command = [sys.executable, "-m", "launch.faults", *names, "--first", f"--folder={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False)  # fmt: skip
    assert [line.partition(":")[0] for line in done.stdout.splitlines() if ": ok: " in line] == names, (
        done.stdout + done.stderr
    )
    assert done.returncode == 0
