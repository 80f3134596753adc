"""HomoDistil (Liang et al. 2023, arXiv:2302.09632) at the scale of a task.

The student starts as the fine-tuned teacher and loses width step by step while it is distilled:

    L = CE(student, labels) + a1 KL(p_t || p_s)
        + a2 sum_l MSE(H_t^l, H_s^l W) + a3 sum_l MSE(A_t^l, A_s^l)

with predictions p, states H^l of all tokens after layer l, attention scores A^l = Q K^T / sqrt(d)
of layer l, and one learned projection W, the identity at first. After step t of T, each matrix
keeps its most important columns; their number falls between t_i and t_f from n to n_f:

    n(t) = n_f + (n - n_f) (1 - (t - t_i) / (t_f - t_i))^3.

The importance of a column is the L1 norm of its entries' sensitivities I = |weight * gradient|,
smoothed over steps. With PLATON (Zhang et al. 2022, arXiv:2206.12562) it is the L1 norm of the
entries' smoothed sensitivity I' times their uncertainty U':

    I'_t = b1 I'_(t-1) + (1 - b1) I_t,    U'_t = b2 U'_(t-1) + (1 - b2) |I_t - I'_t|.

No code is published. From the abstract and texts that quote the paper: the start, the four terms,
the schedule, columns chosen per matrix, distillation at every step. Ours, since unknown: a1 = a2 =
a3 = 1; t_i = 10 % and t_f = 70 % of the training; PLATON's b1 and b2; one W for all layers; scores
before the softmax; equally many columns kept in each head. The importance of a hidden dimension is
the sum over all maps that write it, without the embeddings, whose gradients depend on the words of
the batch. The original learns masked-language modelling on Wikipedia in place of CE, and fine-tunes
afterwards.
"""

import copy
import math
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repro.config.profiles import Setting
from repro.config.recipe import Recipe
from repro.errors import one_of
from repro.models.classifier import Classifier
from repro.models.narrow import (
    Width,
    along,
    mask_norms,
    module,
    narrow,
    restore_norms,
    strongest,
    widths,
)
from repro.models.observe import Observed, observe, scores
from repro.training.loop import Callback, Objective, Training, device
from repro.training.losses import cross_entropy, soft_cross_entropy
from repro.training.reshaping import BeforeUpdate, Reshaping, forget_best, remove

IMPORTANCES = ("sensitivity", "platon")


@dataclass(frozen=True)
class HomoDistil(Reshaping):
    """CE + a1 KL + a2 states + a3 attention, of a student that shrinks to `share` of its width.

    Attributes:
        importance: "sensitivity" or "platon".
        share: Share of each head's dimensions that is kept; all other widths follow.
        kl: a1, weight of the KL term.
        states: a2, weight of the hidden states' distance.
        attention: a3, weight of the attention scores' distance.
        start: t_i, as a share of the training.
        end: t_f, as a share of the training.
        smoothing: b1, of the sensitivity.
        uncertainty_smoothing: b2, of the uncertainty.
    """

    importance: str = "sensitivity"
    share: float = 0.5
    kl: float = 1.0
    states: float = 1.0
    attention: float = 1.0
    start: float = 0.1
    end: float = 0.7
    smoothing: float = 0.85
    uncertainty_smoothing: float = 0.95
    from_teacher = True
    work = 4 / 3  # the teacher's forward pass beside forward and backward

    def objective(self, labels: Tensor, teacher: dict[str, Tensor]) -> Objective:
        """See `methods.Loss`; the model output is `Beside`."""
        teacher_logits = teacher["train.logits"].to(device())  # (examples, classes)

        def terms(output: Beside, rows: Tensor) -> dict[str, Tensor]:
            soft = soft_cross_entropy(output.logits, teacher_logits[rows], 1.0)
            return {
                "ce": cross_entropy(output.logits, labels[rows]),
                "kl": self.kl * soft,
                "states": self.states * output.state_distance,
                "attention": self.attention * output.attention_distance,
            }

        return terms

    def begin(self, plain: Classifier) -> "Shrinking":
        """See `training.reshaping.Reshaping`."""
        return Shrinking(plain, widths(plain, self.share), self.importance)

    def callbacks(self) -> list[Callback]:
        """See `training.reshaping.Reshaping`."""
        return [PruneColumns(self)]

    def finish(self, model: "Shrinking") -> Classifier:
        """Remove what is masked; see `training.reshaping.Reshaping`.

        If the masks are not complete, the most important dimensions are kept.
        """
        every = model.every
        masks = {name: model.strongest(name, every[name].target) for name in every}
        restore_norms(model.student)
        return narrow(model.student, masks, self.share)


class Beside(NamedTuple):
    """What a student returns while it is trained.

    Attributes:
        logits: (batch, classes).
        state_distance: Sum over layers of the mean squared distance of states.
        attention_distance: The same of attention scores.
    """

    logits: Tensor
    state_distance: Tensor
    attention_distance: Tensor

    def float(self) -> "Beside":
        """The same in float32."""
        return Beside(*(part.float() for part in self))


class Shrinking(nn.Module):
    """A student with masked widths and, while it is trained, the teacher that it started as.

    Args:
        student: The student, which is the teacher now; its LayerNorms are replaced in place.
        every: The output of `narrow.widths`.
        importance: One of IMPORTANCES.
    """

    def __init__(self, student: Classifier, every: dict[str, Width], importance: str) -> None:
        super().__init__()
        self.student, self.every = student, every
        # a list hides the teacher from nn.Module: from the optimiser, checkpoints and `train`
        self._teacher = [copy.deepcopy(student).eval().requires_grad_(False)]
        weight = student.classifier.weight
        hidden = every["hidden"].size
        self.projection = nn.Linear(hidden, hidden, bias=False).to(weight)
        nn.init.eye_(self.projection.weight)
        ones = {name: torch.ones(width.size) for name, width in every.items()}
        self.masks = _untrained(ones).to(weight)
        self.importance = _untrained({name: 0 * one for name, one in ones.items()}).to(weight)
        shapes = {
            key(place): torch.zeros_like(module(student, place).weight)
            for width in every.values()
            for place in width.outputs
            if importance == "platon"
        }
        self.smoothed = _untrained(shapes)  # I', by map
        self.uncertainty = _untrained(shapes)  # U', by map
        mask_norms(student, every["hidden"], self.masks["hidden"])

    def forward(self, **inputs: Tensor) -> Any:
        """`Beside` in training mode, else the student's `Output`; arguments as of `Classifier`."""
        if not self.training:
            return self.student(**inputs)
        teacher = self._teacher[0].to(inputs["input_ids"].device)
        with torch.no_grad():
            there = observe(teacher, **inputs)
        here = observe(self.student, **inputs)
        pooled = torch.tanh(self.student.pooler(here.hidden[-1][:, 0]))  # (batch, hidden)
        logits = self.student.classifier(self.student.dropout(pooled))
        projected = [self.projection(states) for states in here.hidden[1:]]
        return Beside(logits, *distances(there, here, projected))

    def only_words(self, ids: Tensor) -> AbstractContextManager[None]:
        """See `Classifier.only_words`."""
        return self.student.only_words(ids)

    def strongest(self, name: str, count: int) -> Tensor:
        """A mask of the most important dimensions of a width among those that are kept now."""
        width, mask = self.every[name], self.masks[name]
        alive = torch.where(mask == 1, self.importance[name], -math.inf)
        return strongest(alive, width.chunks, count)


def key(place: str) -> str:
    """A module's place as a name in a ParameterDict, which may not have dots."""
    return place.replace(".", "/")


def _untrained(tensors: dict[str, Tensor]) -> nn.ParameterDict:
    """Copies of tensors as parameters that are stored, and not trained."""
    return nn.ParameterDict(
        {name: nn.Parameter(t.clone(), requires_grad=False) for name, t in tensors.items()}
    )


def distances(
    teacher: Observed, student: Observed, projected: list[Tensor]
) -> tuple[Tensor, Tensor]:
    """Distances of states and of attention scores, without the padding.

    Args:
        teacher: What happens inside the teacher.
        student: The same of the student, which has as many layers and heads.
        projected: Its states after each layer through W, each (batch, tokens, hidden).

    Returns:
        Two sums over layers of mean squared distances.
    """
    mask = student.mask  # (batch, tokens)
    states = [
        F.mse_loss(ours[mask], theirs[mask])
        for ours, theirs in zip(projected, teacher.hidden[1:], strict=True)
    ]
    pairs = (mask[:, :, None] & mask[:, None])[:, None]  # (batch, 1, queries, keys)
    attention = []
    for layer in range(len(student.queries)):
        ours = scores(student.queries[layer], student.keys[layer])  # (batch, heads, queries, keys)
        theirs = scores(teacher.queries[layer], teacher.keys[layer])
        squares = (ours - theirs).square() * pairs
        attention.append(squares.sum() / (pairs.sum() * ours.shape[1]))
    return torch.stack(states).sum(), torch.stack(attention).sum()


def kept_count(width: Width, step: int, start: float, end: float) -> int:
    """n(t): how many dimensions of a width are kept after a step.

    Args:
        width: Gives n, n_f and the chunks.
        step: t.
        start: t_i, in steps.
        end: t_f, in steps.

    Returns:
        A multiple of the chunks, rounded up.
    """
    left = 1 - min(max((step - start) / (end - start), 0.0), 1.0)
    wanted = width.target + (width.size - width.target) * left**3
    return math.ceil(round(wanted / width.chunks, 6)) * width.chunks


class PruneColumns(BeforeUpdate):
    """Measures importance before each update, and prunes after it."""

    def __init__(self, method: HomoDistil) -> None:
        self.method = method

    @torch.no_grad()
    def on_gradients(self, training: Training) -> None:
        """Update the importance of every dimension from the gradients of this step."""
        model, b1 = training.model, self.method.smoothing
        b2 = self.method.uncertainty_smoothing
        for name, width in model.every.items():
            total = torch.zeros_like(model.importance[name])
            for place in width.outputs:
                weight = module(model.student, place).weight  # (outputs, inputs)
                sensitivity = (weight * weight.grad).abs()
                if self.method.importance == "platon":
                    smoothed = model.smoothed[key(place)].lerp_(sensitivity, 1 - b1)
                    gap = (sensitivity - smoothed).abs()
                    uncertainty = model.uncertainty[key(place)].lerp_(gap, 1 - b2)
                    sensitivity = smoothed * uncertainty
                total += sensitivity.sum(dim=1)  # the L1 norm of each output's entries
            if self.method.importance == "platon":
                model.importance[name].copy_(total)
            else:
                model.importance[name].lerp_(total, 1 - b1)

    @torch.no_grad()
    def on_step(self, training: Training) -> None:
        """Prune to the number that the schedule says, and forget the optimiser's moments of it."""
        model, last, step = training.model, training.last_step, training.progress.step
        start, end = self.method.start * last, self.method.end * last
        for name, width in model.every.items():
            count = kept_count(width, step, start, end)
            if count == int(model.masks[name].sum()):
                continue
            model.masks[name].copy_(model.strongest(name, count))
            prune(training, name)
        if step == math.ceil(end):
            forget_best(training)


def prune(training: Training, name: str) -> None:
    """Set to 0 what belongs to the masked dimensions of a width: parameters and their moments.

    Their gradients are 0 from then on, so that they stay 0.
    """
    model, width = training.model, training.model.every[name]
    mask, student = model.masks[name], model.student
    for place in width.outputs:
        linear = module(student, place)
        remove(training, linear.weight, along(mask, linear.weight, 0))
        remove(training, linear.bias, mask)
    for place in width.norms:
        remove(training, module(student, place).weight, mask)
        remove(training, module(student, place).bias, mask)
    for place in (*width.inputs, *width.tables):
        for table in module(student, place).parameters():
            if table.ndim == 2:
                remove(training, table, along(mask, table, 1))
    if name == "hidden":  # else the distance of states would revive them
        remove(training, model.projection.weight, mask)


def resolve(
    setting: Setting, recipe: Recipe, pairs: object, importance: str = "sensitivity"
) -> HomoDistil:
    """See `methods.resolve`; the variant is one of IMPORTANCES.

    Raises:
        InputError: If there is no such importance.
    """
    if importance not in IMPORTANCES:
        raise one_of("importance of homodistil", importance, IMPORTANCES)
    return HomoDistil(importance)
