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
