"""Memory between two steps, and between two runs, on a CPU."""

from __future__ import annotations

import ctypes
import functools
import gc
import platform

# <malloc.h>
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
KEEP = 1 << 30  # bytes
NEVER = -1


@functools.cache
def _open_glibc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None


@functools.cache
def keep_freed_memory() -> bool:
    """Let glibc keep what a step frees for the next step; says whether it could.

    By default every array of more than 32 MB, logits over a vocabulary above all, goes back to the kernel and comes
    anew page by page, and so does what is free at the heap's end, of which a RoBERTa-base step leaves more than any
    threshold: a quarter of that step on a CPU (benchmarks/README.md).
    """
    libc = _open_glibc()
    if libc is None:
        return False
    accepted = [
        libc.mallopt(M_MMAP_THRESHOLD, KEEP),
        libc.mallopt(M_TRIM_THRESHOLD, NEVER),
        libc.mallopt(M_TOP_PAD, KEEP >> 4),
    ]
    return all(accepted)


def return_freed_memory() -> None:
    """Give the kernel what earlier runs left: a study is many runs in one process."""
    gc.collect()
    libc = _open_glibc()
    if libc is not None:
        libc.malloc_trim(0)
