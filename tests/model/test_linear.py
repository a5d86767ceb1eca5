"""oneDNN's products: equal to torch's, forward and back, alone and stacked."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

from selfpretrain.model import linear
from selfpretrain.model.linear import Linear, apply_linear


def make(in_size: int, out_size: int, *lead: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(*lead, in_size), (out_size, in_size), (out_size,)]
    return tuple(torch.randn(shape, generator=generator).requires_grad_() for shape in shapes)  # type: ignore[return-value]


@pytest.mark.parametrize(("in_size", "out_size"), [(24, 40), (40, 24), (1, 7), (7, 1)])
@pytest.mark.parametrize("lead", [(6,), (2, 5), (2, 3, 4)])
@pytest.mark.parametrize("with_bias", [True, False])
def test_product_and_gradients_are_the_librarys(in_size, out_size, lead, with_bias):
    x, weight, bias = make(in_size, out_size, *lead)
    inputs = [x, weight, bias] if with_bias else [x, weight]
    expected, out = F.linear(*inputs), apply_linear(*inputs)
    assert out.shape == expected.shape
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
    upstream = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    expected_grads = torch.autograd.grad(expected, inputs, upstream)
    for grad, wanted in zip(torch.autograd.grad(out, inputs, upstream), expected_grads, strict=True):
        torch.testing.assert_close(grad, wanted, rtol=1e-5, atol=1e-5)


def test_transposed_and_broadcast_arguments():
    x, weight, _ = make(8, 5, 6)
    torch.testing.assert_close(apply_linear(x.t().contiguous().t(), weight), F.linear(x, weight), rtol=1e-5, atol=1e-5)
    out = apply_linear(x, weight)
    (grad,) = torch.autograd.grad(out.sum(), weight)  # its upstream gradient is one number, broadcast
    torch.testing.assert_close(grad, x.sum(0).expand(5, 8), rtol=1e-5, atol=1e-5)


def test_stacked_weights_are_as_many_products():
    xs, weights, biases = (torch.randn(3, *shape, requires_grad=True) for shape in ((2, 4, 6), (5, 6), (5,)))
    out = torch.vmap(apply_linear)(xs, weights, biases)
    one_by_one = torch.stack([F.linear(*each) for each in zip(xs, weights, biases, strict=True)])
    torch.testing.assert_close(out, one_by_one, rtol=1e-5, atol=1e-5)
    grads = torch.autograd.grad(out.square().sum(), (xs, weights, biases))
    expected = torch.autograd.grad(one_by_one.square().sum(), (xs, weights, biases))
    for grad, wanted in zip(grads, expected, strict=True):
        torch.testing.assert_close(grad, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(not linear.HAS_ONEDNN, reason="this torch has no oneDNN")
def test_onednn_is_used_on_the_cpu_in_fp32_and_bf16_and_nothing_else(monkeypatch):
    called = []
    multiply = linear.multiply
    monkeypatch.setattr(linear, "multiply", lambda *args: called.append(1) or multiply(*args))
    layer = Linear(4, 3)
    layer(torch.randn(2, 4))
    assert len(called) == 1
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(2, 4)).dtype == torch.bfloat16
    assert len(called) == 1 + linear.HAS_BF16
    layer.double()(torch.randn(2, 4).double())
    assert len(called) == 1 + linear.HAS_BF16


@pytest.mark.parametrize("by_onednn", [True, False])
@pytest.mark.parametrize("shape", [(96, 64, 130), (64, 96, 130)])
def test_bf16_products_differ_from_fp32_by_their_rounding(shape, by_onednn, monkeypatch):
    monkeypatch.setattr(linear, "HAS_BF16", by_onednn and linear.HAS_BF16)
    x, weight, bias = (value.requires_grad_() for value in make(*shape))
    exact = apply_linear(x, weight, bias)
    upstream = torch.randn_like(exact)
    wanted = torch.autograd.grad(exact, (x, weight, bias), upstream)
    with torch.autocast("cpu", torch.bfloat16):
        out = apply_linear(x, weight, bias)
    found = torch.autograd.grad(out, (x, weight, bias), upstream.bfloat16())
    assert out.dtype == torch.bfloat16
    assert all(grad.dtype == torch.float32 for grad in found)  # what the optimizer gets
    for value, right in zip((out.float(), *found), (exact, *wanted), strict=True):
        assert ((value - right).norm() / right.norm()).item() < 0.01  # bf16 keeps 8 bits


def test_without_onednn_it_is_the_librarys(monkeypatch):
    monkeypatch.setattr(linear, "HAS_ONEDNN", False)
    x, weight, bias = make(4, 3, 2)
    assert torch.equal(apply_linear(x, weight, bias), F.linear(x, weight, bias))


def test_the_same_product_twice_is_the_same_to_the_bit():
    x, weight, bias = make(96, 64, 130)
    first = apply_linear(x, weight, bias)
    upstream = torch.randn(first.shape)
    grads = torch.autograd.grad(first, (x, weight, bias), upstream)
    for _ in range(3):
        again = apply_linear(x, weight, bias)
        assert torch.equal(again, first)
        assert all(map(torch.equal, torch.autograd.grad(again, (x, weight, bias), upstream), grads))


SHAPES = """
import torch
from selfpretrain.model.linear import apply_linear
from selfpretrain.devices import return_freed_memory
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 >> 20
weight = torch.ones(256, 256)
apply_linear(weight, weight)
before = resident()
for rows in range(1, 300):
    apply_linear(torch.ones(rows * 8, 256), weight)
return_freed_memory()
print(resident() - before)
"""


@pytest.mark.skipif(not linear.HAS_ONEDNN or platform.libc_ver()[0] != "glibc", reason="oneDNN keeps nothing here")
def test_few_shapes_are_remembered():
    done = subprocess.run([sys.executable, "-c", SHAPES], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 90  # MB; 27 seen, and 166 with the libraries' own limit of 1,024
