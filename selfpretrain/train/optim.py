"""AdamW, its schedule and its parameter groups."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from selfpretrain.config import OptimConfig

Multiplier = Callable[[str], float]  # of the learning rate, by a parameter's name


def compute_warmup_steps(config: OptimConfig, total_steps: int) -> int:
    if config.warmup_steps is not None:
        return config.warmup_steps
    return round((config.warmup_fraction or 0.0) * total_steps)


def compute_lr(config: OptimConfig, step: int, total_steps: int) -> float:
    """The learning rate of step ``step`` (0 .. total_steps - 1).

    joint: peak * (1 - t/T) * min(1, t/W), decay already during warm-up [ELECTRA optimization.py];
    linear: up to the peak in W steps, then down to 0 at T [RoBERTa polynomial_decay]; constant: warm-up only.
    t counts from 1, so that no step is wasted at a rate of 0; polynomial is linear with t from 0, as fairseq has it.
    """
    warmup = compute_warmup_steps(config, total_steps)
    if config.schedule == "polynomial" and step <= warmup and warmup:
        return config.peak_lr * step / warmup
    rate = config.peak_lr * min(1.0, (step + 1) / max(1, warmup))
    if config.schedule == "joint":
        return rate * (1 - step / total_steps)
    if config.schedule == "constant" or (config.schedule == "linear" and step < warmup):
        return rate
    return config.peak_lr * (total_steps - step) / max(1, total_steps - warmup)


def has_decay(name: str, config: OptimConfig) -> bool:
    """Weight decay spares biases and LayerNorm [ELECTRA optimization.py], with ``decay_all`` nothing [fairseq]."""
    return config.decay_all or not (name.endswith("bias") or "norm" in name)


def compute_depth_multiplier(name: str, num_layers: int, decay: float) -> float:
    """Layer-wise rate: decay^(n + 2 - depth); embeddings 0, layer i -> i + 1, head n + 2 [ELECTRA optimization.py].

    The top layer gets decay^2, not decay^1: the released code's off-by-one, with which its results were made.
    """
    if decay == 1.0:
        return 1.0
    if ".layers." in name:
        depth = int(name.split(".layers.")[1].split(".")[0]) + 1
    else:
        depth = 0 if name.startswith("encoder.") else num_layers + 2
    return float(decay ** (num_layers + 2 - depth))


class AdamW:
    """torch's fused AdamW, with Adam's bias correction on or off, over groups of equal rate and decay.

    Without bias correction [ELECTRA] the update is lr * m / (sqrt(v) + eps). torch always corrects; scaling lr by
    c1 / sqrt(c2), eps by 1 / sqrt(c2) and the decay by the inverse of the former, c_i = 1 - beta_i^t, undoes it. Scaling eps
    alone is the correction with eps_uncorrected [fairseq optim/adam.py].
    """

    def __init__(self, named: Mapping[str, Tensor], config: OptimConfig, multiplier: Multiplier = lambda _: 1.0):
        self.config = config
        groups: dict[tuple[float, float], dict[str, Tensor]] = {}
        for name, parameter in named.items():
            key = (multiplier(name), config.weight_decay if has_decay(name, config) else 0.0)
            groups.setdefault(key, {})[name] = parameter
        self.named = {name: parameter for group in groups.values() for name, parameter in group.items()}
        self.parameters = list(self.named.values())
        self.inner = torch.optim.AdamW(
            [{"params": list(group.values()), "multiplier": key[0], "decay": key[1]} for key, group in groups.items()],
            lr=0.0, betas=(config.beta1, config.beta2), eps=config.eps, fused=True,
        )  # fmt: skip

    def step(self, lr: float, step: int) -> None:
        """Apply the gradients at rate ``lr``; ``step`` counts from 0."""
        root, corrects = math.sqrt(1 - self.config.beta2 ** (step + 1)), self.config.bias_correction
        scale = 1.0 if corrects else (1 - self.config.beta1 ** (step + 1)) / root
        eps_scale = 1.0 if corrects and not self.config.eps_uncorrected else 1 / root
        for group in self.inner.param_groups:
            group["lr"] = lr * group["multiplier"] * scale
            group["eps"] = self.config.eps * eps_scale
            group["weight_decay"] = group["decay"] / scale
        self.inner.step()

    def get_state(self) -> dict[str, Tensor]:
        """Moments by parameter name: ``m.<name>``, ``v.<name>``, and ``step``."""
        state: dict[str, Tensor] = {}
        for name, parameter in self.named.items():
            moments = self.inner.state[parameter]
            if moments:
                state[f"m.{name}"], state[f"v.{name}"] = moments["exp_avg"], moments["exp_avg_sq"]
                state["step"] = moments["step"].reshape(1)
        return state

    def set_state(self, state: dict[str, Tensor]) -> None:
        """Restore what :meth:`get_state` gave; an empty state is that of the start."""
        self.inner.state.clear()
        for name, parameter in self.named.items():
            if f"m.{name}" in state:
                self.inner.state[parameter] = {
                    # on the parameter's device, where the fused kernel reads it
                    "step": state["step"].reshape(()).to(parameter.device, copy=True),
                    "exp_avg": state[f"m.{name}"].to(parameter.device).clone(),
                    "exp_avg_sq": state[f"v.{name}"].to(parameter.device).clone(),
                }


def clip_gradients(parameters: Sequence[Tensor], limit: float) -> Tensor:
    """Clip to the global norm (0: only measure it) and return the norm before."""
    return torch.nn.utils.clip_grad_norm_(parameters, limit or math.inf, foreach=True)


@torch.no_grad()
def clip_seeds(parameters: Sequence[Tensor], limit: float) -> Tensor:
    """Clip every seed's part of parameters [S, ...] to the norm over its own gradients; return the norms [S] before."""
    grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
    each = zip(*(grad.unbind() for grad in grads), strict=True)
    norms_S = torch.stack([torch.nn.utils.get_total_norm(list(own), foreach=True) for own in each])
    if limit:
        scales_S = (limit / (norms_S + 1e-6)).clamp(max=1)  # as clip_grad_norm_ has it
        for grad in grads:
            grad.mul_(scales_S.view(-1, *[1] * (grad.ndim - 1)))
    return norms_S
