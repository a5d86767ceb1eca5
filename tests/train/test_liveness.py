"""A rank that no longer counts is told by the others, in one line, whatever they wait for."""

from __future__ import annotations

import threading
import time

import pytest
import torch.distributed as dist

from selfpretrain.endings import RANK_GONE
from selfpretrain.train import liveness
from selfpretrain.train.liveness import Heartbeat

TIMEOUT = 3.0  # seconds


@pytest.fixture
def codes(monkeypatch):
    """The exit codes of what would have ended this process."""
    found = []

    def note(code):
        found.append(code)
        raise SystemExit  # ends the thread alone

    monkeypatch.setattr(liveness.os, "_exit", note)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    return found


@pytest.fixture
def ranks(monkeypatch, codes):
    """Two ranks of one process."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(store.port))
    both = [Heartbeat(rank, 2, TIMEOUT, lambda: "the same command goes on") for rank in range(2)]
    yield both
    for each in both:
        each.stop()


def wait_for(codes):
    deadline = time.monotonic() + 10 * TIMEOUT
    while not codes:
        assert time.monotonic() < deadline, "nothing was noticed"
        time.sleep(0.05)


def test_ranks_that_are_alive_end_nobody_and_a_fault_of_ours_is_not_theirs(ranks, codes):
    ranks[0].end_if_lost()  # and returns
    assert codes == []


def test_a_silent_rank_ends_the_other_with_one_line(ranks, codes, capsys):
    began = time.monotonic()
    ranks[1].stop()
    wait_for(codes)
    assert codes == [RANK_GONE] and time.monotonic() - began > TIMEOUT
    said = capsys.readouterr().err
    assert said.startswith("selfpretrain: rank 1 is gone, silent for ") and said.count("\n") == 1
    assert said.endswith("; the same command goes on\n")


def test_a_lost_connection_needs_no_time_out(ranks, codes, capsys):
    ranks[1].stop()
    began = time.monotonic()
    with pytest.raises(SystemExit):
        ranks[0].end_if_lost()
    assert codes == [RANK_GONE] and time.monotonic() - began < TIMEOUT
    assert "rank 1 is gone" in capsys.readouterr().err


def test_what_one_has_said_another_leaves_out(ranks, codes, capsys):
    ranks[0].store.add("told", 1)
    ranks[1].stop()
    wait_for(codes)
    assert codes == [RANK_GONE] and capsys.readouterr().err == ""


def test_a_restarted_group_counts_anew(ranks, codes, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    store = Heartbeat(0, 2, TIMEOUT, str)
    store.stop()
    assert store.store.add("1", 0) == 0 < ranks[0].store.add("1", 1)
