"""Linear layers that use oneDNN on a CPU.

torch multiplies fp32 matrices with MKL, which on a CPU that Intel did not make leaves out the widest instructions: on
an AMD Zen 5 an ELECTRA-small step is 1.5 times as fast with oneDNN (benchmarks/README.md). torch already holds oneDNN
for its compiler; here it serves eager training. Elsewhere this is ``F.linear``.
"""

from __future__ import annotations

import os

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# oneDNN, and torch around it, keep compiled code for the last 1,024 shapes, scattered over the heap. Batches of texts
# have that many lengths: gigabytes in a study, and not faster.
for variable in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):  # both read at the first product
    os.environ.setdefault(variable, "64")

HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
HAS_BF16 = HAS_ONEDNN and torch.ops.mkldnn._is_mkldnn_bf16_supported()  # elsewhere autocast's own products, if slow


def runs_bf16(x: Tensor) -> bool:
    """Whether a CPU computes ``x`` under bf16 autocast: products, and what lies between them, are then in bf16."""
    eager = torch.is_autocast_enabled("cpu") and not torch.compiler.is_compiling()
    return x.device.type == "cpu" and HAS_BF16 and eager


def multiply(left_MK: Tensor, right_NK: Tensor, bias_N: Tensor | None = None) -> Tensor:
    """left @ right.T (+ bias), [M, N]; transposed views are read as they lie."""
    return torch.ops.mkldnn._linear_pointwise(left_MK, right_NK, bias_N, "none", [], "")


class _OneDnnLinear(torch.autograd.Function):
    @staticmethod
    def forward(x_MK: Tensor, weight_NK: Tensor, bias_N: Tensor | None) -> Tensor:  # type: ignore[override]
        return multiply(x_MK, weight_NK, bias_N)

    @staticmethod
    def setup_context(ctx, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:  # type: ignore[override,no-untyped-def]
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_MN: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:  # type: ignore[override,no-untyped-def]
        x_MK, weight_NK = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        grad_x = multiply(grad_MN, weight_NK.t()) if needs_x else None
        grad_weight = None
        if needs_weight and x_MK.dtype == torch.bfloat16:  # where torch's product of transposed operands is the faster
            grad_weight = grad_MN.t() @ x_MK
        elif needs_weight:  # the product with fewer rows than columns is the faster of the two
            wide = len(weight_NK) > x_MK.shape[1]
            grad_weight = multiply(x_MK.t(), grad_MN.t()).t() if wide else multiply(grad_MN.t(), x_MK.t())
        return grad_x, grad_weight, grad_MN.sum(0) if needs_bias else None

    @staticmethod
    def vmap(info, in_dims, x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, int]:  # type: ignore[override,no-untyped-def]
        """Stacked weights: one product per seed."""
        parts = [
            [part] * info.batch_size if dim is None or part is None else part.unbind(dim)
            for part, dim in zip((x, weight, bias), in_dims, strict=True)
        ]
        return torch.stack([_OneDnnLinear.apply(*each) for each in zip(*parts, strict=True)]), 0


def can_multiply(*operands: Tensor) -> bool:
    """Whether oneDNN is here, and asked for plain fp32 products on a CPU."""
    plain = all(operand.device.type == "cpu" and operand.dtype == torch.float32 for operand in operands)
    return plain and HAS_ONEDNN and not torch.is_autocast_enabled("cpu") and not torch.compiler.is_compiling()


def apply_linear(x: Tensor, weight_NK: Tensor, bias_N: Tensor | None = None) -> Tensor:
    """x @ weight.T + bias over the last dimension of ``x``."""
    if runs_bf16(x):
        x, weight_NK = x.bfloat16(), weight_NK.bfloat16()
        bias_N = None if bias_N is None else bias_N.bfloat16()
    elif not can_multiply(x, weight_NK):
        return F.linear(x, weight_NK, bias_N)
    out: Tensor = _OneDnnLinear.apply(x.flatten(0, -2), weight_NK, bias_N)
    return out.unflatten(0, x.shape[:-1])


class Linear(nn.Linear):
    """``nn.Linear``, its product by :func:`apply_linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return apply_linear(x, self.weight, self.bias)
