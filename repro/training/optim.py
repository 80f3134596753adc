"""The two optimisers of the recipes (decision D21) and their schedule."""

import math
from collections.abc import Callable, Iterable

import torch
from torch import nn

from repro.errors import one_of

WARMUP, WEIGHT_DECAY, MAX_NORM = 0.1, 0.01, 1.0  # the authors'


class BertAdam(torch.optim.AdamW):
    """Adam as BERT was trained: no bias correction, decoupled weight decay, each tensor's gradient clipped to norm 1.

    g = g min(1, 1 / |g|); m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; w = w - lr (m / (sqrt(v) + eps) + decay w).
    It is AdamW at an infinite step, where both bias corrections are 1: the library's fused kernel does the rest.
    """

    def __init__(self, params: Iterable, lr: float) -> None:
        super().__init__(params, lr, betas=(0.9, 0.999), eps=1e-6, fused=True)
        for weight in (weight for group in self.param_groups for weight in group["params"]):
            first, second = torch.zeros_like(weight), torch.zeros_like(weight)
            step = torch.tensor(math.inf, device=weight.device)
            self.state[weight] = {"step": step, "exp_avg": first, "exp_avg_sq": second}

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> None:  # type: ignore[override]
        """One update of all parameters that have a gradient; gradients are clipped in place."""
        gradients = [
            w.grad for group in self.param_groups for w in group["params"] if w.grad is not None
        ]
        factors = [
            (MAX_NORM / (norm + 1e-6)).clamp(max=1.0) for norm in torch._foreach_norm(gradients)
        ]
        torch._foreach_mul_(gradients, factors)
        super().step()


class ClippedAdamW(torch.optim.AdamW):
    """AdamW after one clip of the whole gradient to norm 1."""

    def __init__(self, params: Iterable, lr: float) -> None:
        super().__init__(params, lr, fused=True)

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> None:  # type: ignore[override]
        """One update of all parameters that have a gradient; gradients are clipped in place."""
        nn.utils.clip_grad_norm_(
            [w for group in self.param_groups for w in group["params"]], MAX_NORM
        )
        super().step()


OPTIMIZERS = {"bertadam": BertAdam, "adamw": ClippedAdamW}


def build(name: str, model: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    """The named optimiser over all distinct parameters; no weight decay on vectors (biases and LayerNorms)."""
    if name not in OPTIMIZERS:
        raise one_of("optimizer", name, OPTIMIZERS)
    parameters = list(model.parameters())
    matrices, vectors = (
        [p for p in parameters if p.ndim > 1],
        [p for p in parameters if p.ndim <= 1],
    )
    groups = [
        {"params": matrices, "weight_decay": WEIGHT_DECAY},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return OPTIMIZERS[name](groups, lr=learning_rate)


def warmup_linear(step: int, steps: int) -> float:
    """The factor of the learning rate at `step` of `steps`: up to 1 over the first tenth, then linearly to 0."""
    progress = step / steps
    return progress / WARMUP if progress < WARMUP else max(0.0, (1.0 - progress) / (1.0 - WARMUP))
