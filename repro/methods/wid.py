"""Weight-inherited distillation, WID (Wu et al. 2023, arXiv:2305.09098), at the scale of a task.

The student inherits the teacher's weights through compactors. Each linear map y = W x + b becomes

    y = C_R (W (C_L x) + b),    C_L: inputs x inputs,  C_R: outputs x outputs,  both I at first,

and the embeddings' sum e becomes C_emb e. Columns of the C_L and rows of the C_R that belong to one
width (see `models.narrow`) share a mask, and are driven to 0 while the rest is trained. In the end
each map is merged into a smaller one: W' = C_R[kept] W C_L[:, kept] and b' = C_R[kept] b, where the
Query maps are also multiplied by sqrt(new / old head size), since attention divides by its root.

As published: compactors, shared masks, the matrices they are scored on, the rule for gradients with
lambda = 20, masking in sixteenths, a 50 times smaller learning rate of the inherited weights, no
use of the teacher's outputs. Ours: the loss is the task's own and the weights are the fine-tuned
teacher's, where the original learns masked-language modelling on Wikipedia and fine-tunes after it;
masking takes a quarter of the training, where the original's takes 8,000 of 400,000 steps; after
three fifths of it what is masked is set to 0, so that merging is exact even if it has not decayed
by then; the classifier has no row compactor, since no class is removed. Unknown: whether the
published gradients are clipped. Here the task's are, by the optimiser, and what the rule adds is
not.
"""

import copy
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repro.config.profiles import Setting
from repro.config.recipe import Recipe
from repro.methods.finetune import FineTuning
from repro.models.classifier import Classifier
from repro.models.narrow import (
    EMBEDDINGS,
    MaskedLayerNorm,
    Width,
    along,
    mask_norms,
    module,
    named_embeddings,
    narrow,
    restore_norms,
    strongest,
    widths,
)
from repro.training.loop import Callback, Objective, Training
from repro.training.reshaping import BeforeUpdate, Reshaping, forget_best, remove


@dataclass(frozen=True)
class WID(Reshaping):
    """CE(student, labels) of a student whose width shrinks from the teacher's to `share` of it.

    Attributes:
        share: Share of each head's dimensions that is kept; all other widths follow.
        pull: lambda, by which masked entries are drawn to 0.
        inherited_rate: Learning rate of the inherited weights, as a share of the compactors'.
        masked_at: Share of the training after which the masks are complete.
        removed_at: Share of the training after which what is masked is 0.
        rate: Learning rate of the compactors, for every encoder: masked entries must decay from 1
            to 0 in some hundred steps, and kept ones must not lose what the teacher knows (the
            demo is at chance with 1e-3).
    """

    share: float = 0.5
    pull: float = 20.0
    inherited_rate: float = 0.02
    masked_at: float = 0.25
    removed_at: float = 0.6
    rate: float = 5e-4
    from_teacher = True
    work = 4.5  # (24 + 84) H² per token and layer, with the compactors, in place of 24 H²

    def objective(self, labels: Tensor, teacher: dict[str, Tensor]) -> Objective:
        """See `methods.Loss`; the teacher's outputs are not used."""
        return FineTuning().objective(labels, teacher)

    def begin(self, plain: Any) -> Classifier:
        """Insert compactors and masks; see `training.reshaping.Reshaping`."""
        every, weight = self.widths(plain), plain.classifier.weight
        plain.masks = nn.ParameterDict(
            {
                name: nn.Parameter(torch.ones(width.size), requires_grad=False)
                for name, width in every.items()
            }
        ).to(weight)
        mask_norms(plain, every["hidden"], plain.masks["hidden"])
        outputs = {place for width in every.values() for place in width.outputs}
        inputs = {place for width in every.values() for place in width.inputs}
        for place in sorted(outputs | inputs):
            inner = module(plain, place)
            plain.set_submodule(place, Compacted(inner, place in inputs, place in outputs))
        norm = f"{EMBEDDINGS}.LayerNorm"
        compactor = Compactor(every["hidden"].size).to(weight)
        plain.set_submodule(norm, nn.Sequential(compactor, module(plain, norm)))
        return plain

    def callbacks(self) -> list[Callback]:
        """See `training.reshaping.Reshaping`."""
        return [ShrinkWidth(self)]

    def finish(self, model: Any) -> Classifier:
        """Merge the compactors into smaller maps; see `training.reshaping.Reshaping`.

        The dimensions kept are those not masked at the end; of a model whose masks are not
        complete, those with the highest scores.
        """
        masks = {
            name: strongest(scores(model, name, width), width.chunks, width.target)
            for name, width in self.widths(model).items()
        }
        merge(model)
        return narrow(model, masks, self.share)

    def widths(self, model: Classifier) -> dict[str, Width]:
        """The widths of a model; the hidden ones shrink by chunks of a head's size, like heads."""
        every = widths(model, self.share)
        heads = model.encoder.config.num_attention_heads
        chunked = {name: every[name]._replace(chunks=heads) for name in ("hidden", "pooled")}
        return every | chunked


M, V = 0.9, 0.999  # decay of the optimisers' first and second moment
STAGES, CHUNKED_STAGES = 16, 8  # in how many parts a width is masked: feed-forward, all others


class Compactor(nn.Module):
    """A square map without bias, the identity at first."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(size))

    def forward(self, states: Tensor) -> Tensor:
        """Map states (..., size)."""
        return F.linear(states, self.weight)


class Compacted(nn.Module):
    """C_R (W (C_L x) + b).

    Args:
        inner: W and b.
        column: Whether there is a column compactor C_L, on the inputs.
        row: Whether there is a row compactor C_R, on the outputs.
    """

    def __init__(self, inner: nn.Linear, column: bool, row: bool) -> None:
        super().__init__()
        self.inner = inner
        self.column = Compactor(inner.in_features).to(inner.weight) if column else nn.Identity()
        self.row = Compactor(inner.out_features).to(inner.weight) if row else nn.Identity()

    def forward(self, states: Tensor) -> Tensor:
        """Map states (..., inputs) to (..., outputs)."""
        return self.row(self.inner(self.column(states)))

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """The same as one map: W' = C_R W C_L, b' = C_R b."""
        linear = copy.deepcopy(self.inner)
        if isinstance(self.column, Compactor):
            linear.weight.copy_(linear.weight @ self.column.weight)
        if isinstance(self.row, Compactor):
            linear.weight.copy_(self.row.weight @ linear.weight)
            linear.bias.copy_(self.row.weight @ linear.bias)
        return linear


@torch.no_grad()
def merge(model: Any) -> None:
    """Turn a model with compactors and masks into a plain one of the same width (in place)."""
    for place, part in list(model.named_modules()):
        if isinstance(part, Compacted):
            model.set_submodule(place, part.merged())
    compactor, norm = module(model, f"{EMBEDDINGS}.LayerNorm")
    model.set_submodule(f"{EMBEDDINGS}.LayerNorm", norm)
    for _, table in named_embeddings(model):
        table.weight.copy_(table.weight @ compactor.weight.T)
    restore_norms(model)
    del model.masks


def scores(model: Any, name: str, width: Width) -> Tensor:
    """The score of each dimension of a width: the L2 norm of its column in one C_L.

    That is the C_L of the map that reads the width: the first layer's Value map for the hidden
    dimensions, the output map of an attention, the second map of a feed-forward network, the
    classifier for the pooler's output.
    """
    place = width.inputs[2] if name == "hidden" else width.inputs[0]  # query, key, value, ...
    return module(model, place).column.weight.detach().norm(dim=0)  # (size,)


def masked_counts(every: dict[str, Width], progress: float) -> dict[str, int]:
    """How many dimensions of each width are masked.

    Args:
        every: The output of `WID.widths`.
        progress: Part of the masking that is done, 0 to 1.
    """
    counts = {}
    for name, width in every.items():
        stages = STAGES if name.startswith("ffn") else CHUNKED_STAGES
        # the original masks the chunked widths in half the time: STAGES is the common clock
        done = min(int(progress * STAGES) / stages, 1.0)
        per_chunk = (width.size - width.target) // width.chunks
        counts[name] = width.chunks * int(done * per_chunk)
    return counts


class ShrinkWidth(BeforeUpdate):
    """Masks more and more dimensions, and applies the rule for gradients."""

    def __init__(self, method: WID) -> None:
        self.method = method

    def on_start(self, training: Training) -> None:
        """Give the inherited weights parameter groups of their own."""
        super().on_start(training)
        compactors = {
            id(part.weight) for part in training.model.modules() if isinstance(part, Compactor)
        }
        groups = []
        for group in training.optimizer.param_groups:
            for inherited in (False, True):
                chosen = [p for p in group["params"] if (id(p) not in compactors) == inherited]
                groups += [group | {"params": chosen, "inherited": inherited}] if chosen else []
        training.optimizer.param_groups[:] = groups
        self.every = self.method.widths(training.model)
        self.tied = tied_entries(training.model, self.every)

    @torch.no_grad()
    def on_gradients(self, training: Training) -> None:
        """Apply the rule to each parameter with rows or columns that belong to a width.

        With C such a parameter and g its gradient: before anything is masked, C is added to g.
        Later kept entries have g alone; masked ones have min(lambda, 1) C instead of g, and their
        first moment m becomes 0.9 m + 0.1 (lambda - 1) C before the optimiser's own update, so that
        they decay faster than the second moment would allow.

        What is added goes into the moments, as the optimiser would: C is far larger than g, so
        clipping g + C would stop the learning of everything else. The product 2 g C in the second
        moment is neglected.
        """
        for group in training.optimizer.param_groups:
            group["lr"] *= self.method.inherited_rate if group["inherited"] else 1.0
        masks, pull = training.model.masks, self.method.pull
        warming = all(mask.all() for mask in masks.values())
        for parameter, name, dim in self.tied:
            state = training.optimizer.state[parameter]
            if parameter.grad is None or "exp_avg" not in state:  # in the first step of AdamW
                continue
            kept = along(masks[name], parameter, dim)
            added = parameter if warming else (1.0 - kept) * min(pull, 1.0) * parameter
            if not warming:
                parameter.grad.mul_(kept)
                pulled = M * state["exp_avg"] + (1 - M) * (pull - 1.0) * parameter
                state["exp_avg"].copy_(torch.where(kept == 0, pulled, state["exp_avg"]))
            # the optimiser multiplies the moments by M and V, and adds its share of the gradient
            state["exp_avg"].add_(added, alpha=(1 - M) / M)
            state["exp_avg_sq"].addcmul_(added, added, value=(1 - V) / V)

    @torch.no_grad()
    def on_step(self, training: Training) -> None:
        """Update the masks from the scores; late in the training set to 0 what is masked."""
        step, model = training.progress.step, training.model
        progress = step / (self.method.masked_at * training.last_step)
        removal = max(1, int(self.method.removed_at * training.last_step))
        if step <= removal:
            for name, count in masked_counts(self.every, min(progress, 1.0)).items():
                width = self.every[name]
                kept = strongest(scores(model, name, width), width.chunks, width.size - count)
                model.masks[name].copy_(kept)
        if step >= removal:
            for parameter, name, dim in self.tied:
                mask = model.masks[name]
                remove(training, parameter, along(mask, parameter, dim))
        if step == removal:
            forget_best(training)


def tied_entries(model: Any, every: dict[str, Width]) -> list[tuple[nn.Parameter, str, int]]:
    """Parameters with rows (dim 0) or columns (dim 1) that are masked, and the width's name."""
    tied = []
    for name, width in every.items():
        for place in width.outputs:
            compacted = module(model, place)
            tied += [(compacted.row.weight, name, 0), (compacted.inner.bias, name, 0)]
        tied += [(module(model, place).column.weight, name, 1) for place in width.inputs]
    tied.append((module(model, f"{EMBEDDINGS}.LayerNorm")[0].weight, "hidden", 0))
    for part in model.modules():
        if isinstance(part, MaskedLayerNorm):
            tied += [(part.weight, "hidden", 0), (part.bias, "hidden", 0)]
    return tied


def resolve(setting: Setting, recipe: Recipe, pairs: object) -> WID:
    """See `methods.resolve`."""
    return WID()
