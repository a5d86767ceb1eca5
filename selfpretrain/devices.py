"""What a run is computed on: the device, its precision, and on a CPU the memory between two steps and two runs.

Torch is loaded only where there may be something to ask it.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from selfpretrain.config import RuntimeConfig, UserError

if TYPE_CHECKING:
    import torch

# <malloc.h>
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # of a GPU on Linux: NVIDIA, the same under WSL, AMD

KEEP = 1 << 30  # bytes
NEVER = -1


def choose_device(runtime: RuntimeConfig) -> torch.device:
    """The device a run uses; UserError for CUDA where there is none."""
    import torch

    has_cuda = torch.cuda.is_available()
    if runtime.device == "cuda" and not has_cuda:
        raise UserError("runtime.device=cuda, but torch sees no CUDA device; use runtime.device=cpu or auto")
    if runtime.num_threads:
        torch.set_num_threads(runtime.num_threads)
    device = torch.device("cuda" if has_cuda and runtime.device != "cpu" else "cpu")
    if device.type == "cpu":
        keep_freed_memory()
    return device


def choose_autocast(precision: str, device: torch.device) -> torch.dtype | None:
    """bf16 where asked for, or on GPUs that have it; None for plain fp32."""
    import torch

    if precision == "bf16" or (precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported()):
        return torch.bfloat16
    return None


@functools.cache
def resolve_precision(precision: str, device: str) -> str:
    """fp32 or bf16: what ``auto`` means on this machine. Torch is loaded only where there may be a GPU to ask."""
    if precision != "auto":
        return precision
    if device == "cpu" or (sys.platform == "linux" and not any(Path(driver).exists() for driver in DRIVERS)):
        return "fp32"
    return "fp32" if choose_autocast(precision, choose_device(RuntimeConfig(device=device))) is None else "bf16"


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
    wanted = {M_MMAP_THRESHOLD: KEEP, M_TRIM_THRESHOLD: NEVER, M_TOP_PAD: KEEP >> 4}
    accepted = [libc.mallopt(name, value) for name, value in wanted.items()]
    return all(accepted)


def return_freed_memory() -> None:
    """Give the kernel what earlier runs left: a study is many runs in one process."""
    gc.collect()
    libc = _open_glibc()
    if libc is not None:
        libc.malloc_trim(0)
