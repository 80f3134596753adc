"""Fine-tuning: cross-entropy with the gold labels (paper, equation 3)."""

from torch import Tensor

from repro.losses import cross_entropy
from repro.models import Output
from repro.training import Objective


def objective(labels: Tensor) -> Objective:
    """labels: (examples,) of the training data."""

    def terms(output: Output, rows: Tensor) -> dict[str, Tensor]:
        return {"ce": cross_entropy(output.logits, labels[rows])}

    return terms
