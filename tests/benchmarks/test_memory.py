"""The memory of a process and its children, against blocks of a known size."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.memory import TreePeak, list_tree

pytestmark = pytest.mark.skipif(not Path("/proc/self/smaps_rollup").is_file(), reason="told by Linux only")

MIB = 2**20


def test_a_child_and_its_child_count_while_they_live():
    inner = "import sys; block = bytearray(b'x') * (60 * 2**20); print('ready', flush=True); sys.stdin.read()"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    with TreePeak() as before:
        pass
    peak = TreePeak()
    with subprocess.Popen([sys.executable, "-c", outer], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"ready\n"
        assert len(list_tree(child.pid)) == 2
        with peak:  # looks at once
            pass
        child.stdin.close()
    assert before.mb > 0
    assert 60 < peak.mb - before.mb < 120


def test_the_peak_stays_when_memory_is_given_back():
    peak = TreePeak()
    with peak:
        pass
    empty = peak.mb
    block = bytearray(b"x") * (80 * MIB)
    with peak:
        pass
    full = peak.mb
    del block
    with peak:
        pass
    assert full - empty > 70
    assert peak.mb == full
