"""Modules of one architecture (the seeds of a run) as one module whose parameters are stacked, [S, ...].

``torch.vmap`` carries the ordinary forward pass out for all of them at once. Where its own way is slow or missing, a
rule below says what an operation of one seed's tensors is on the stacked ones. Shape suffix S: seeds.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.overrides import TorchFunctionMode

from selfpretrain.model.attention import attend_packed
from selfpretrain.model.dropout import Dropout, MaskedScale, draw_keep_mask

Forward = Callable[[dict[str, Tensor]], tuple[Tensor, dict[str, Tensor]]]

# the dimensions of one seed's activations that are as long as its sequences, by number of dimensions:
# [B, D] pooled, [B, L, D] hidden states, [B, H, L, L] attention weights
LENGTH_DIMS: dict[int, tuple[int, ...]] = {2: (), 3: (1,), 4: (2, 3)}


def stack_modules(modules: Sequence[nn.Module]) -> nn.Module:
    """A copy of the modules with parameters [S, ...], shared ones once; each module's own become slices of them."""
    stacked = copy.deepcopy(modules[0])
    assert not list(stacked.buffers()), "a buffer would be shared by all seeds"
    with torch.no_grad():
        for name, parameter in stacked.named_parameters():
            own = [module.get_parameter(name) for module in modules]
            parameter.data = torch.stack([value.data for value in own])
            for value, part in zip(own, parameter.data, strict=True):
                value.data = part
    return stacked


class SeedStreams:
    """Where each seed's dropout masks come from on a CPU: its own generator, at its own sequence length."""

    def __init__(self) -> None:
        self.generators: list[torch.Generator] = []
        self.lengths: list[int] = []

    def start(self, seeds: Sequence[int], lengths: Sequence[int]) -> None:
        """Begin a micro-batch; ``lengths`` are the seeds' own sequence lengths, before they were filled up."""
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.lengths = list(lengths)

    def draw_keep_masks(self, shape: torch.Size, prob: float) -> Tensor:
        """The masks [S, ...] that each seed would draw alone; False where sequences were filled up."""
        keep, longest = torch.zeros(shape, dtype=torch.bool), max(self.lengths)
        for part, generator, length in zip(keep, self.generators, self.lengths, strict=True):
            for dim in LENGTH_DIMS[part.ndim]:
                if part.shape[dim] == longest:  # else: chosen positions
                    part = part.narrow(dim, 0, length)
            part.copy_(draw_keep_mask(part.shape, prob, generator))
        return keep


class SeedDropout(Dropout):
    """Dropout inside a stack. On a GPU the seeds share one stream: equal to separate runs in distribution only."""

    def __init__(self, prob: float, streams: SeedStreams):
        super().__init__(prob)
        self.streams = streams

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.prob == 0 or x.device.type != "cpu":
            return super().forward(x)
        return _apply_dropout(x, self.prob, self.streams)


def vmap_seeds(stacked: nn.Module, streams: SeedStreams) -> Forward:
    """The forward pass of a stacked module: batch [S, B, ...] to losses [S] and measures [S]."""
    for parent in list(stacked.modules()):
        for name, child in parent.named_children():
            if isinstance(child, Dropout):
                setattr(parent, name, SeedDropout(child.prob, streams))

    def run_seed(parameters: dict[str, Tensor], batch: dict[str, Tensor]) -> Any:
        # networks share whole modules (the embeddings), which torch's own care for ties would leave changed
        return functional_call(stacked, parameters, (batch,), tie_weights=False)

    run_all = vmap(run_seed, randomness="different")

    def forward(batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        with nullcontext() if torch.compiler.is_compiling() else StackedRules():
            return run_all(dict(stacked.named_parameters()), batch)

    return forward


# rules


def make_rule(operate: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A function to call under ``vmap`` as if for one seed: ``operate`` gets its tensors stacked, seeds in front."""

    def stack(value: Any, dim: int | None, num_seeds: int) -> Any:
        if not isinstance(value, Tensor):
            return value
        return value.expand(num_seeds, *value.shape) if dim is None else value.movedim(dim, 0)

    def refuse(*_: Any) -> Any:
        raise AssertionError("a stacked operation outside of vmap")

    class Rule(torch.autograd.Function):
        forward = setup_context = staticmethod(refuse)  # type: ignore[assignment]

        @staticmethod
        def vmap(info: Any, in_dims: Any, names: tuple[str, ...], *values: Any) -> tuple[Tensor, int]:
            stacked = [stack(value, dim, info.batch_size) for value, dim in zip(values, in_dims[1:], strict=True)]
            split = len(values) - len(names)
            return operate(*stacked[:split], **dict(zip(names, stacked[split:], strict=True))), 0

    return lambda *args, **kwargs: Rule.apply(tuple(kwargs), *args, *kwargs.values())


def run_each(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """``function`` for one seed after the other: the library's own kernel, to the bits of a separate run."""

    def operate(*args: Any, **kwargs: Any) -> Tensor:
        num_seeds = len(args[0])
        columns = [
            value.unbind() if isinstance(value, Tensor) else [value] * num_seeds for value in (*args, *kwargs.values())
        ]
        split = len(args)
        outs = [
            function(*own[:split], **dict(zip(kwargs, own[split:], strict=True))) for own in zip(*columns, strict=True)
        ]
        return torch.stack(outs)

    return operate


@make_rule
def _apply_dropout(x: Tensor, prob: float, streams: SeedStreams) -> Tensor:
    return MaskedScale.apply(x, streams.draw_keep_masks(x.shape, prob), 1 / (1 - prob))


class _Projection(torch.autograd.Function):
    """x W' + b for every seed. torch's own derivative is W's gradient transposed, which a second pass would copy."""

    @staticmethod
    def forward(ctx, x_SND: Tensor, weight_SED: Tensor, bias_SE: Tensor | None) -> Tensor:  # type: ignore[override,no-untyped-def]
        ctx.save_for_backward(x_SND, weight_SED)
        ctx.has_bias = bias_SE is not None
        if bias_SE is None:
            return torch.bmm(x_SND, weight_SED.transpose(1, 2))
        return torch.baddbmm(bias_SE.unsqueeze(1), x_SND, weight_SED.transpose(1, 2))

    @staticmethod
    def backward(ctx, grad_SNE: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:  # type: ignore[override,no-untyped-def]
        x_SND, weight_SED = ctx.saved_tensors
        grad_weight_SED = torch.bmm(grad_SNE.transpose(1, 2), x_SND)
        return torch.bmm(grad_SNE, weight_SED), grad_weight_SED, grad_SNE.sum(1) if ctx.has_bias else None


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    device = input.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        input, weight, bias = input.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    out_SNE: Tensor = _Projection.apply(input.flatten(1, -2), weight, bias)
    return out_SNE.view(*input.shape[:-1], out_SNE.shape[-1])


def _attend(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0) -> Tensor:
    mask = None if attn_mask is None else attn_mask.flatten(0, 1)
    rows = F.scaled_dot_product_attention(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), mask, dropout_p)
    return rows.unflatten(0, q.shape[:2])


def _attend_packed(q: Tensor, k: Tensor, v: Tensor, queries: Tensor, keys: Tensor, dropout: SeedDropout) -> Tensor:
    """Seed by seed, since each has texts of its own."""
    dropouts = [Dropout(dropout.prob, own).train(dropout.training) for own in dropout.streams.generators]
    return torch.stack([attend_packed(*own) for own in zip(q, k, v, queries, keys, dropouts, strict=True)])


RULES: dict[Any, Callable[..., Tensor]] = {
    F.linear: make_rule(_linear),  # one product with its bias, not two passes
    F.scaled_dot_product_attention: make_rule(_attend),  # seeds as rows: the fused kernels stay
    attend_packed: make_rule(_attend_packed),
}
CPU_RULES: dict[Any, Callable[..., Tensor]] = {
    function: make_rule(run_each(function))
    for function in (F.layer_norm, F.cross_entropy, F.binary_cross_entropy_with_logits, F.mse_loss)
}


class StackedRules(TorchFunctionMode):
    """While active, the functions of the two tables go by their rule."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        rule = RULES.get(func)
        if rule is None and func in CPU_RULES and args[0].device.type == "cpu":
            rule = CPU_RULES[func]
        return (rule or func)(*args, **(kwargs or {}))
