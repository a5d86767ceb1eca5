"""The machine's rate at large matrix products: what MFU is a share of."""

from __future__ import annotations

import time

import torch

from benchmarks.harness import Options, Rate

SIZES = {"cpu": 2048, "cuda": 8192}  # rows and columns; larger ones were not faster on the machines measured
TOY_SIZE = 64


def build_matmul(options: Options, seconds: float) -> Rate:
    """FLOP/s of square matrix products: fp32 on a CPU, bf16 on a GPU, a multiply-add as two operations."""
    if options.threads:
        torch.set_num_threads(options.threads)
    size = TOY_SIZE if options.toy else SIZES[options.device]
    dtype = torch.bfloat16 if options.device == "cuda" else torch.float32
    a, b = (torch.randn(size, size, device=options.device).to(dtype) for _ in range(2))
    out = torch.empty_like(a)

    def run(steps: int) -> tuple[float, float]:
        synchronize(options.device)
        start = time.perf_counter()
        for _ in range(steps):
            torch.matmul(a, b, out=out)
        synchronize(options.device)
        return steps * 2.0 * size**3, time.perf_counter() - start

    return Rate(run, seconds)


def synchronize(device: str) -> None:
    """Wait for the GPU."""
    if device == "cuda":
        torch.cuda.synchronize()
