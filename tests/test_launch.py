"""The scripts under launch/: what they start hears when they are told to end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "launch" / "share_cores.sh"
WORKER = """#!/usr/bin/env bash
trap 'touch "saved.$$"; exit 75' TERM
touch "started.$$"
while true; do sleep 0.05; done
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_all_processes_of_a_study_save_when_the_script_alone_is_told_to_end(tmp_path, number, code):
    worker = tmp_path / "selfpretrain"
    worker.write_text(WORKER)
    worker.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    script = subprocess.Popen(
        ["bash", SCRIPT, "study=x"], cwd=tmp_path, env={**os.environ, "PATH": path, "WORKERS": "3"}, start_new_session=True,
        # whoever runs the tests may ignore it, and a shell cannot trap what it was started ignoring
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while len(list(tmp_path.glob("started.*"))) < 3:
            assert time.monotonic() < deadline, "the processes did not start"
            time.sleep(0.05)
        script.send_signal(number)
        assert script.wait(60) == code
        assert len(list(tmp_path.glob("saved.*"))) == 3
    finally:
        with contextlib.suppress(ProcessLookupError):  # all are gone, as they should be
            os.killpg(script.pid, signal.SIGKILL)


FOLDER = SCRIPT.parent
ASKED = """#!/usr/bin/env bash
echo "$@" > asked
[ -z "${CODE:-}" ] || exit "$CODE"
trap 'exit 75' TERM
touch started
while true; do sleep 0.05; done
"""


def run_script(folder, name, code, *more, **environment):
    (folder / "selfpretrain").write_text(ASKED)
    (folder / "scontrol").write_text('#!/bin/sh\necho "$@" > requeued\n')
    for file in ("selfpretrain", "scontrol"):
        (folder / file).chmod(0o755)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    return subprocess.Popen(
        ["bash", FOLDER / name, "study=x", *more],
        cwd=folder,
        env={**os.environ, "PATH": path, "CODE": code, **environment},
    )


@pytest.mark.parametrize(
    ("name", "launcher"), [("several_gpus.sh", "local_gpus"), ("slurm.sh", "slurm"), ("ray.sh", "ray")]
)
def test_each_place_has_a_script(tmp_path, name, launcher):
    assert run_script(tmp_path, name, "2", "study.cells_per_job=3").wait(60) == 2
    assert (tmp_path / "asked").read_text() == f"study study=x study.cells_per_job=3 hydra/launcher={launcher}\n"
    assert all(len((FOLDER / script).read_text().splitlines()) <= 40 for script in ("share_cores.sh", name))


def test_a_study_s_own_job_is_queued_again_near_its_limit(tmp_path):
    script = run_script(tmp_path, "slurm.sh", "", SLURM_JOB_ID="17")
    deadline = time.monotonic() + 60
    while not (tmp_path / "started").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    script.send_signal(signal.SIGTERM)
    assert script.wait(60) == 75
    assert (tmp_path / "requeued").read_text() == "requeue 17\n"
