"""Pea-KD: an SPS student, pretrained to predict PTP labels (equation 4), then distilled as Patient KD does."""

import torch
from torch import Tensor

from repro.config.cells import Cell
from repro.models.classifier import Classifier, Output, student
from repro.models.layers import effective_layers
from repro.training.loop import Objective
from repro.training.losses import balanced_weights, cross_entropy
from repro.training.states import load_state


def build(cell: Cell, classes: int) -> Classifier:
    """The student of a cell: the first layers of the backbone, shared as its method says (section 3.2)."""
    uses = effective_layers(cell.layers, cell.method.sharing, cell.recipe.sps6_order)
    return student(cell.setting.backbone, cell.layers, uses, classes, cell.recipe.swap_biases)


def pretraining_objective(ptp_labels: Tensor, classes: int, class_weights: str) -> Objective:
    """Cross-entropy with the PTP labels (examples,), weighted as decision D11 says."""
    weight = balanced_weights(ptp_labels, classes) if class_weights == "balanced" else None

    def terms(output: Output, rows: Tensor) -> dict[str, Tensor]:
        return {"ptp": cross_entropy(output.logits, ptp_labels[rows], weight)}

    return terms


def initialise(model: Classifier, ptp_state: dict[str, torch.Tensor], pooler: str) -> None:
    """Start from the PTP-pretrained student, without its head and, by decision D10, without its pooler."""
    load_state(model, ptp_state, ("classifier",) if pooler == "kept" else ("classifier", "pooler"))
