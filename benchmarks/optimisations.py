"""The optimisations of the package, and functions that switch them off."""

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from repro.models import classifier, fast
from repro.models.classifier import Classifier
from repro.runs import machine
from repro.training import optim


def whole_last_layer(
    encoder: nn.Module,
    layers: nn.ModuleList,
    layout: fast.Layout,
    input_ids: Tensor,
    token_type_ids: Tensor | None = None,
) -> Tensor:
    """`fast.cls_states`, but the last layer is computed for every token."""
    states, kept = fast._embed(encoder, layout, input_ids, token_type_ids), []
    for layer in layers:
        states = fast._run_layer(layer, states, states, layout)
        kept.append(states[layout.starts])
    return torch.stack(kept, 1)[layout.back]


class Unfused(optim.BertAdam):
    """BertAdam without the fused kernel."""

    def __init__(self, *arguments: object, **named: object) -> None:
        super().__init__(*arguments, **named)
        for group in self.param_groups:
            group["fused"] = False


OPTIMISATIONS: dict[str, Callable[[], object]] = {
    "hardly any padding": lambda: setattr(fast.Layout, "fitting", fast.Layout.padded),
    "few shapes": lambda: setattr(fast, "_ROWS", 1),
    "[CLS] alone at the top": lambda: setattr(classifier, "cls_states", whole_last_layer),
    "cheap dropout": lambda: setattr(classifier, "use_fast_dropout", lambda model: None),
    "embeddings that occur": lambda: setattr(Classifier, "only_words", lambda *_: nullcontext()),
    "fused optimiser": lambda: optim.OPTIMIZERS.update(bertadam=Unfused),
    "memory kept": lambda: setattr(machine, "keep_memory", lambda: None),
}
