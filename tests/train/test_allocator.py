"""Freed arrays stay with the process: the next step does not take them page by page."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

COUNT = """
import resource, sys, torch
from selfpretrain.train.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def count():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(16 << 20).sum()  # 64 MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
for _ in range(10):  # an aligned block never fits where its like was: some room is needed first
    count()
print(min(count() for _ in range(5)))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator alone is tuned")
def test_large_arrays_are_not_given_back():
    faults = {
        name: int(
            subprocess.run([sys.executable, "-c", COUNT, name], capture_output=True, text=True, check=True).stdout
        )
        for name in ("keep", "default")
    }
    assert faults["keep"] < 1000 < 10_000 < faults["default"]  # 16,384 pages of 4 KiB
