"""Freed arrays stay with the process: the next step does not take them page by page."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

COUNT = """
import resource, sys, torch
from selfpretrain.devices import keep_freed_memory
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


LEFT = """
import torch
from selfpretrain.devices import keep_freed_memory, return_freed_memory
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
assert keep_freed_memory()
arrays = [torch.ones(1 << 20) for _ in range(50)]  # 200 MB
del arrays
kept = resident()
return_freed_memory()
print(kept - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator alone is tuned")
def test_what_a_run_leaves_goes_back_before_the_next():
    left = subprocess.run([sys.executable, "-c", LEFT], capture_output=True, text=True, check=True).stdout
    assert int(left) > 150_000_000
