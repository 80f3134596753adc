"""The optimisers of the recipes (decision D21) and their learning rate schedule."""

import math
from collections.abc import Callable, Iterable

import torch
from torch import nn

from repro.errors import one_of

WARMUP, WEIGHT_DECAY, MAX_NORM = 0.1, 0.01, 1.0  # the authors' values


class BertAdam(torch.optim.AdamW):
    """Adam as in BERT: no bias correction, and each tensor's gradient is clipped to norm 1.

    With weights w, gradient g, moments m and v, b1 = 0.9 and b2 = 0.999:

        g = g min(1, 1 / |g|)
        m = b1 m + (1 - b1) g
        v = b2 v + (1 - b2) g^2
        w = w - lr (m / (sqrt(v) + eps) + decay w)

    This is AdamW at step infinity, where both bias corrections are 1, so torch's fused kernel is
    used.

    Args:
        params: Parameters or parameter groups.
        lr: The learning rate.
    """

    def __init__(self, params: Iterable, lr: float) -> None:
        super().__init__(params, lr, betas=(0.9, 0.999), eps=1e-6, fused=True)
        for weight in (weight for group in self.param_groups for weight in group["params"]):
            self.state[weight] = {
                "step": torch.tensor(math.inf, device=weight.device),
                "exp_avg": torch.zeros_like(weight),
                "exp_avg_sq": torch.zeros_like(weight),
            }

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient; gradients are clipped in place."""
        gradients = [
            w.grad for group in self.param_groups for w in group["params"] if w.grad is not None
        ]
        norms = torch._foreach_norm(gradients)
        factors = [(MAX_NORM / (norm + 1e-6)).clamp(max=1.0) for norm in norms]
        torch._foreach_mul_(gradients, factors)
        super().step()


class ClippedAdamW(torch.optim.AdamW):
    """AdamW; the whole gradient is clipped to norm 1 first.

    Args:
        params: Parameters or parameter groups.
        lr: The learning rate.
    """

    def __init__(self, params: Iterable, lr: float) -> None:
        super().__init__(params, lr, fused=True)

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient; gradients are clipped in place."""
        weights = [w for group in self.param_groups for w in group["params"]]
        nn.utils.clip_grad_norm_(weights, MAX_NORM)
        super().step()


OPTIMIZERS = {"bertadam": BertAdam, "adamw": ClippedAdamW}


def build(name: str, model: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    """An optimiser of all parameters of a model, without weight decay on biases and LayerNorms.

    Args:
        name: "bertadam" or "adamw".
        model: The model; a shared parameter is optimised once.
        learning_rate: The learning rate.

    Raises:
        InputError: If there is no such optimiser.
    """
    if name not in OPTIMIZERS:
        raise one_of("optimizer", name, OPTIMIZERS)
    parameters = list(model.parameters())
    matrices = [p for p in parameters if p.ndim > 1]
    vectors = [p for p in parameters if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": WEIGHT_DECAY},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return OPTIMIZERS[name](groups, lr=learning_rate)


def warmup_linear(step: int, steps: int) -> float:
    """The factor of the learning rate: linearly to 1 in the first tenth, then linearly to 0.

    Args:
        step: The step, counted from 0.
        steps: The length of the schedule.
    """
    progress = step / steps
    return progress / WARMUP if progress < WARMUP else max(0.0, (1.0 - progress) / (1.0 - WARMUP))
