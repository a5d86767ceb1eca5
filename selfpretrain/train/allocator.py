"""Memory between two steps on a CPU."""

from __future__ import annotations

import ctypes
import functools
import platform

# <malloc.h>
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
KEEP = 1 << 30  # bytes


@functools.cache
def keep_freed_memory() -> bool:
    """Let glibc keep what a step frees for the next step; says whether it could.

    By default every array of more than 32 MB, logits over a vocabulary above all, goes back to the kernel and comes
    anew page by page: a fifth of an ELECTRA-small step on a CPU (benchmarks/README.md).
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    accepted = [
        libc.mallopt(M_MMAP_THRESHOLD, KEEP),
        libc.mallopt(M_TRIM_THRESHOLD, KEEP),
        libc.mallopt(M_TOP_PAD, KEEP >> 4),
    ]
    return all(accepted)
