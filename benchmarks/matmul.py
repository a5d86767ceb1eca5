"""The machine's rate at large matrix products: what MFU is a share of."""

from __future__ import annotations

import time

import torch

from benchmarks.harness import Options, Rate

SIZES = {"cpu": (1024, 2048, 4096), "cuda": (4096, 8192, 16384)}  # rows and columns; the fastest counts
TOY_SIZES = (64,)


def build_matmul(options: Options, seconds: float) -> Rate:
    """FLOP/s of square matrix products: fp32 on a CPU, bf16 on a GPU, a multiply-add as two operations."""
    if options.threads:
        torch.set_num_threads(options.threads)
    sizes = TOY_SIZES if options.toy else SIZES[options.device]
    rates = []
    for size in sizes:
        products = Products(options.device, size)
        products.run(1)
        amount, elapsed = products.run(3)
        rates.append(amount / elapsed)
    fastest = Products(options.device, sizes[rates.index(max(rates))])
    return Rate(fastest.run, seconds)


class Products:
    """Products of two random matrices of one size."""

    def __init__(self, device: str, size: int):
        dtype = torch.bfloat16 if device == "cuda" else torch.float32
        self.device, self.size = device, size
        self.a, self.b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        self.out = torch.empty_like(self.a)

    def run(self, steps: int) -> tuple[float, float]:
        """Operations and seconds of so many products."""
        synchronize(self.device)
        start = time.perf_counter()
        for _ in range(steps):
            torch.matmul(self.a, self.b, out=self.out)
        synchronize(self.device)
        return steps * 2.0 * self.size**3, time.perf_counter() - start


def synchronize(device: str) -> None:
    """Wait for the GPU."""
    if device == "cuda":
        torch.cuda.synchronize()
