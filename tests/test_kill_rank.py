"""launch/faults/kill_rank.py: a killed rank under torchrun's restarts, and one that hangs without them."""

from __future__ import annotations

import os
import signal
import time

import pytest

from launch.faults import kill_rank
from launch.kill_study import write_texts


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kill_rank")
    write_texts(folder / "texts", seed=0, num_examples=100, num_lines=20)
    return folder


def test_a_killed_rank_is_restarted_to_the_same_bits(folder):
    reference = folder / "undisturbed"
    assert kill_rank.start(reference, folder / "texts").wait(kill_rank.LIMIT_SECONDS) == 0
    assert kill_rank.try_fault("restarted", 1, folder, reference, folder / "texts") == []
    log = (folder / "restarted_1.log").read_text()
    assert "from step" in log and "from step 0" not in log


def test_a_rank_that_hangs_ends_the_other_in_time(folder):
    runs_dir = folder / "hung"
    process = kill_rank.start(runs_dir, folder / "texts")
    try:
        kill_rank.wait_for_checkpoint(process, runs_dir)
        first, second = kill_rank.find_ranks(process.pid)
        os.kill(first, signal.SIGSTOP)
        began = time.monotonic()
        while "rank 0 is gone" not in runs_dir.with_suffix(".log").read_text():
            assert time.monotonic() - began < 4 * kill_rank.TIMEOUT_SECONDS, "nothing was noticed"
            time.sleep(0.1)
        assert time.monotonic() - began > kill_rank.TIMEOUT_SECONDS / 2  # not by a lost connection
        os.kill(first, signal.SIGKILL)  # torchrun would, in half a minute
        assert process.wait(60) != 0
        assert not os.path.exists(f"/proc/{second}")
    finally:
        process.kill()
        process.wait()
