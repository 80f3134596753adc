"""Compacter and Compacter++ (Karimi Mahabadi et al. 2021, arXiv:2106.04647).

The encoder is frozen; small adapters in it, all its LayerNorms and the classifier are trained with
the gold labels. An adapter maps a state h to

    Up(gelu(Down(h))) + h,    Down: d -> m,    Up: m -> d,

where both maps are parameterised hypercomplex multiplications (PHM, Zhang et al. 2021):

    y = x M + b,    M = sum_(i=1..n) A_i (x) (s_i t_i),    s_i: in/n x r,    t_i: r x out/n,

with Kronecker products (x). The n x n matrices A_i are shared by every map of the model ("slow
weights"); s_i and t_i, of rank r, are a map's own ("fast weights"). Compacter has an adapter after
self-attention and one after the feed-forward network of each layer, before dropout and the residual
sum; Compacter++ has the second only.

As published: n = 4, r = 1, m = d / 32, A from N(0, 1e-4^2), s and t Glorot-uniform with gain
sqrt(2), b = 0, the learning rate, and what is trained: in BERT-base 95,488 (Compacter) and 66,976
(Compacter++) parameters without the head. Here the pooler is part of the head. Ours: warm-up over a
tenth of the training, where the original has 500 steps; epochs are those of the profile's student.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repro.config.profiles import Setting
from repro.config.recipe import Recipe
from repro.errors import InputError, one_of
from repro.methods.finetune import FineTuning
from repro.models.classifier import Classifier
from repro.models.narrow import layer_names, module
from repro.training.loop import Callback, Objective, Training
from repro.training.reshaping import Reshaping

VARIANTS = ("both", "ffn")  # Compacter, Compacter++
SLOW_STD = 1e-4


@dataclass(frozen=True)
class Compacter(Reshaping):
    """CE(student, labels) of a frozen encoder with small trained adapters.

    Attributes:
        attention: Whether there is an adapter after self-attention too (Compacter), or only after
            the feed-forward network (Compacter++).
        parts: n, the number of Kronecker products of a map.
        rank: r, the rank of their fast factors.
        reduction: d / m, how many times the adapter is narrower than the states; m is rounded up to
            a multiple of n.
        rate: The learning rate, for every encoder.
    """

    attention: bool = True
    parts: int = 4
    rank: int = 1
    reduction: int = 32
    rate: float = 3e-3
    work = 2 / 3  # frozen weights have no gradients

    def objective(self, labels: Tensor, teacher: dict[str, Tensor]) -> Objective:
        """See `methods.Loss`; the teacher is not used."""
        return FineTuning().objective(labels, teacher)

    def begin(self, plain: Classifier) -> Classifier:
        """Insert the adapters and freeze the rest; see `training.reshaping.Reshaping`.

        Raises:
            InputError: If the width of the encoder is not a multiple of `parts`.
        """
        hidden = plain.encoder.config.hidden_size
        if hidden % self.parts:
            raise InputError(
                f"the encoder's width must be a multiple of {self.parts} for compacter, "
                f"got {hidden}; use another encoder"
            )
        inner = self.parts * math.ceil(hidden / self.reduction / self.parts)
        for parameter in plain.encoder.parameters():
            parameter.requires_grad_(False)
        for part in plain.encoder.modules():
            if isinstance(part, nn.LayerNorm):
                part.requires_grad_(True)
        slow = nn.Parameter(torch.empty(self.parts, self.parts, self.parts).normal_(std=SLOW_STD))
        for names in layer_names(plain):
            for place in (names.attention_output, names.down)[not self.attention :]:
                adapter = Adapter(hidden, inner, self.rank, slow).to(plain.classifier.weight)
                plain.set_submodule(place, nn.Sequential(module(plain, place), adapter))
        return plain

    def callbacks(self) -> list[Callback]:
        """See `training.reshaping.Reshaping`."""
        return [FreezeWords()]


class PHM(nn.Module):
    """A parameterised hypercomplex multiplication with shared slow weights.

    Args:
        inputs: Width of its input, a multiple of n.
        outputs: Width of its output, a multiple of n.
        rank: r.
        slow: A (n, n, n), the matrices A_i, shared with other maps.
    """

    def __init__(self, inputs: int, outputs: int, rank: int, slow: nn.Parameter) -> None:
        super().__init__()
        parts = len(slow)
        self.slow = slow
        self.left = nn.Parameter(torch.empty(parts, inputs // parts, rank))  # s_i
        self.right = nn.Parameter(torch.empty(parts, rank, outputs // parts))  # t_i
        self.bias = nn.Parameter(torch.zeros(outputs))
        for factor in (*self.left, *self.right):
            nn.init.xavier_uniform_(factor, gain=2**0.5)

    def matrix(self) -> Tensor:
        """M (inputs, outputs), the sum of the Kronecker products of A_i and s_i t_i."""
        fast = self.left @ self.right  # (n, inputs / n, outputs / n)
        blocks = torch.einsum("nab,ncd->acbd", self.slow, fast)
        return blocks.reshape(blocks.shape[0] * blocks.shape[1], -1)

    def forward(self, states: Tensor) -> Tensor:
        """Map states (..., inputs) to (..., outputs)."""
        return F.linear(states, self.matrix().T, self.bias)


class Adapter(nn.Module):
    """h + Up(gelu(Down(h))).

    Args:
        hidden: d, the width of h.
        inner: m, the width in between.
        rank: r of both maps.
        slow: Their shared slow weights.
    """

    def __init__(self, hidden: int, inner: int, rank: int, slow: nn.Parameter) -> None:
        super().__init__()
        self.down, self.up = PHM(hidden, inner, rank, slow), PHM(inner, hidden, rank, slow)

    def forward(self, states: Tensor) -> Tensor:
        """Adapt states (..., hidden)."""
        return states + self.up(F.gelu(self.down(states)))


class FreezeWords(Callback):
    """Freezes the word embeddings, which the training loop replaces by a part of them."""

    def on_start(self, training: Training) -> None:
        """Freeze them before the first step."""
        training.model.encoder.get_input_embeddings().requires_grad_(False)


def resolve(setting: Setting, recipe: Recipe, pairs: object, variant: str = "both") -> Compacter:
    """See `methods.resolve`; the variant "ffn" is Compacter++.

    Raises:
        InputError: If there is no such variant.
    """
    if variant not in VARIANTS:
        raise one_of("variant of compacter", variant, VARIANTS)
    return Compacter(attention=variant == "both")
