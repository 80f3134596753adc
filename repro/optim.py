"""The two optimisers of the recipes (decision D21) and their schedule."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from repro.errors import one_of

WARMUP, WEIGHT_DECAY, MAX_NORM = 0.1, 0.01, 1.0  # the authors'


class BertAdam(torch.optim.Optimizer):
    """Adam as BERT was trained: no bias correction, decoupled weight decay, each tensor's gradient clipped to norm 1.

    g = g min(1, 1 / |g|); m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; w = w - lr (m / (sqrt(v) + eps) + decay w).
    """

    def __init__(self, params: Iterable, lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-6,
                 weight_decay: float = WEIGHT_DECAY) -> None:  # fmt: skip
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> None:  # type: ignore[override]
        """One update of all parameters that have a gradient; gradients are clipped in place."""
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if weights:
                self._update(weights, group)

    def _update(self, weights: list[torch.Tensor], group: dict[str, Any]) -> None:
        """The foreach functions run the formula over all tensors in one call: the Python loop would cost more."""
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        factors = [(MAX_NORM / (norm + 1e-6)).clamp(max=1.0) for norm in torch._foreach_norm(gradients)]
        torch._foreach_mul_(gradients, factors)
        first, second = ([self._moment(weight, name) for weight in weights] for name in ("m", "v"))
        torch._foreach_lerp_(first, gradients, 1 - group["betas"][0])
        torch._foreach_mul_(second, group["betas"][1])
        torch._foreach_addcmul_(second, gradients, gradients, 1 - group["betas"][1])
        roots = torch._foreach_sqrt(second)
        torch._foreach_add_(roots, group["eps"])
        torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_addcdiv_(weights, first, roots, -group["lr"])

    def _moment(self, weight: torch.Tensor, name: str) -> torch.Tensor:
        if name not in self.state[weight]:
            self.state[weight][name] = torch.zeros_like(weight)
        return self.state[weight][name]


class ClippedAdamW(torch.optim.AdamW):
    """AdamW after one clip of the whole gradient to norm 1."""

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> None:  # type: ignore[override]
        """One update of all parameters that have a gradient; gradients are clipped in place."""
        nn.utils.clip_grad_norm_([w for group in self.param_groups for w in group["params"]], MAX_NORM)
        super().step()


OPTIMIZERS = {"bertadam": BertAdam, "adamw": ClippedAdamW}


def build(name: str, model: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    """The named optimiser over all distinct parameters; no weight decay on vectors (biases and LayerNorms)."""
    if name not in OPTIMIZERS:
        raise one_of("optimizer", name, OPTIMIZERS)
    parameters = list(model.parameters())
    matrices, vectors = [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": vectors, "weight_decay": 0.0}]
    return OPTIMIZERS[name](groups, lr=learning_rate)


def warmup_linear(step: int, steps: int) -> float:
    """The factor of the learning rate at `step` of `steps`: up to 1 over the first tenth, then linearly to 0."""
    progress = step / steps
    return progress / WARMUP if progress < WARMUP else max(0.0, (1.0 - progress) / (1.0 - WARMUP))
