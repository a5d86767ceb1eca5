"""The machine's rate at large matrix products: what MFU is a share of."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.harness import Options, Rate
from selfpretrain.devices import keep_freed_memory
from selfpretrain.model.linear import apply_linear

Multiply = Callable[[Tensor, Tensor], Tensor]

SIZES = {"cpu": (1024, 2048, 4096), "cuda": (4096, 8192, 16384)}  # rows and columns; the fastest counts
TOY_SIZES = (64,)


def build_matmul(options: Options, seconds: float, precision: str) -> Rate:
    """FLOP/s of square matrix products in fp32 or bf16, a multiply-add as two operations.

    On a CPU by torch and by oneDNN, whichever is faster: the rate is the machine's, not one library's.
    """
    if options.device == "cpu":
        keep_freed_memory()
    if options.threads:
        torch.set_num_threads(options.threads)
    sizes = TOY_SIZES if options.toy else SIZES[options.device]
    multiplies = (torch.matmul, apply_linear) if options.device == "cpu" else (torch.matmul,)
    rates: dict[tuple[int, Multiply], float] = {}
    for size in sizes:
        for multiply in multiplies:
            products = Products(options.device, size, multiply, precision)
            products.run(1)
            amount, elapsed = products.run(3)
            rates[size, multiply] = amount / elapsed
    size, multiply = max(rates, key=lambda choice: rates[choice])
    return Rate(Products(options.device, size, multiply, precision).run, seconds)


class Products:
    """Products of two random matrices of one size."""

    def __init__(self, device: str, size: int, multiply: Multiply, precision: str):
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self.device, self.size, self.multiply = device, size, multiply
        self.a, self.b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))

    def run(self, steps: int) -> tuple[float, float]:
        """Operations and seconds of so many products."""
        synchronize(self.device)
        start = time.perf_counter()
        with torch.no_grad():
            for _ in range(steps):
                self.multiply(self.a, self.b)
        synchronize(self.device)
        return steps * 2.0 * self.size**3, time.perf_counter() - start


def synchronize(device: str) -> None:
    """Wait for the GPU."""
    if device == "cuda":
        torch.cuda.synchronize()
