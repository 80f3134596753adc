"""Fine-tuning: cross-entropy with the gold labels (paper, equation 3)."""

from torch import Tensor

from repro.models.classifier import Output
from repro.training.loop import Objective
from repro.training.losses import cross_entropy


def objective(labels: Tensor) -> Objective:
    """labels: (examples,) of the training data."""

    def terms(output: Output, rows: Tensor) -> dict[str, Tensor]:
        return {"ce": cross_entropy(output.logits, labels[rows])}

    return terms
