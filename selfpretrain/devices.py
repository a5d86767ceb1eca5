"""What a run is computed on: the device, its precision, and on a CPU the memory between two steps and two runs.

Torch is loaded only where there may be something to ask it.
"""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import gc
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from selfpretrain.config import OptimConfig, RuntimeConfig, Settings, UserError

if TYPE_CHECKING:
    import torch

Training = TypeVar("Training", bound=OptimConfig)

# <malloc.h>
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # of a GPU on Linux: NVIDIA, the same under WSL, AMD

CPU_FACTS = Path("/proc/cpuinfo")
BF16_FLAGS = {"amx_bf16", "avx512_bf16"}  # of x86 processors that multiply bf16 matrices
BF16_FROM = 256  # the width from which a CPU gains by them; narrow models stay in fp32, equal on all processors

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


def check_processes(num_processes: int, device: str = "auto") -> None:
    """UserError where a machine has GPUs, but fewer than processes; torch is loaded only where there may be some."""
    if device == "cpu" or not may_have_gpu():
        return
    import torch

    num_gpus = torch.cuda.device_count()
    if 0 < num_gpus < num_processes:
        raise UserError(
            f"{num_processes} processes, but {num_gpus} GPUs here: each takes one; set runtime.num_processes={num_gpus}, or "
            "runtime.device=cpu"
        )


def may_have_gpu() -> bool:
    """Whether torch is worth being loaded to ask it: on Linux, where a driver is."""
    return sys.platform != "linux" or any(Path(driver).exists() for driver in DRIVERS)


def choose_autocast(precision: str) -> torch.dtype | None:
    """The dtype of autocast in a resolved precision; None for plain fp32."""
    import torch

    return {"bf16": torch.bfloat16, "fp32": None}[precision]


@functools.cache
def has_bf16(device: str, width: int) -> bool:
    """Whether a model of this width gains by bf16 here: on a GPU that has it, and on a processor that multiplies it.

    A rule, never a measurement, since the answer enters identities. Torch is loaded only where there may be a GPU.
    """
    if device != "cpu" and may_have_gpu():
        import torch

        if choose_device(RuntimeConfig(device=device)).type == "cuda":
            return torch.cuda.is_bf16_supported()
    return width >= BF16_FROM and not BF16_FLAGS.isdisjoint(read_cpu_fact("flags").split())


def read_cpu_fact(name: str) -> str:
    """What Linux says of the first processor under this name; elsewhere nothing is known, an empty string."""
    lines = CPU_FACTS.read_text().splitlines() if CPU_FACTS.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def resolve_precision(config: Training, settings: Settings) -> Training:
    """A stage's settings with what ``precision=auto`` means on this machine for this model: fp32 or bf16."""
    if config.precision != "auto":
        return config
    chosen = "bf16" if has_bf16(settings.runtime.device, settings.model.hidden_size) else "fp32"
    return dataclasses.replace(config, precision=chosen)


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
