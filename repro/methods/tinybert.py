"""TinyBERT (Jiao et al. 2020, arXiv:1909.10351): its task-specific stages.

The student first learns attention and hidden states of the fine-tuned teacher (`Intermediate`),
then its predictions (`Prediction`), both on augmented data (`data.augment`).

As published: the terms, the layers that are matched, pre-softmax attention, one projection for all
states, no gold labels, the two stages one after the other. Ours: there is no general distillation,
so the student starts from the lowest layers of the encoder and has its width; the projection starts
as the identity; the teacher's dropout is off (it stays on in the published script); the head is
that of every student here (the published one is Linear(ReLU(pooled))); optimiser and learning
rates are those of the profile's student; copies and epochs are scaled down (`schedule`).
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from repro.config.profiles import Setting
from repro.methods import Phase
from repro.models.observe import scores
from repro.models.pair import Both
from repro.training.loop import Objective, device

COPIES = 1  # at most, of each training example; published: 20 (SST-2, QNLI) or 30 (RTE, MRPC)
MOST_COST = 3  # a cell costs at most so many times Patient KD's, in layer passes
_FORWARD = 1 / 3  # cost of a forward pass, as a share of forward and backward


@dataclass(frozen=True)
class Intermediate:
    """Σ_i MSE(A_s,i, A_t,m(i)) + Σ_j MSE(H_s,j W, H_t,m(j)) (the paper's equations 7 to 9).

    A are attention scores before the softmax, H hidden states (H_0 the embeddings), W the learned
    projection, m the matched layers. Each MSE is a mean over the heads and the real tokens.

    Paper and code differ: the paper writes attention matrices normalised or not and chooses the
    latter; the code sets scores of padded keys to 0 in both and counts them, and padded queries,
    in the mean. Here neither counts.

    Attributes:
        pairs: Matched (student layer, teacher layer), counted from 1.
    """

    pairs: tuple[tuple[int, int], ...]

    def objective(self, labels: Tensor, teacher: dict[str, Tensor]) -> Objective:
        """See `methods.Loss`; labels and stored outputs are not used."""

        def terms(output: Both, rows: Tensor) -> dict[str, Tensor]:
            student, beside, mask = output.student, output.teacher, output.student.mask
            real = mask[:, :, None] & mask[:, None, :]  # (batch, tokens, tokens)
            attention = [
                mean_squared_error(
                    scores(student.queries[own - 1], student.keys[own - 1]).movedim(1, -1),
                    scores(beside.queries[other - 1], beside.keys[other - 1]).movedim(1, -1),
                    real,
                )
                for own, other in self.pairs
            ]
            hidden = [
                mean_squared_error(output.projected[own], beside.hidden[other], mask)
                for own, other in ((0, 0), *self.pairs)
            ]
            return {
                "attention": torch.stack(attention).sum(),
                "embeddings": hidden[0],
                "hidden": torch.stack(hidden[1:]).sum(),
            }

        return terms


@dataclass(frozen=True)
class Prediction:
    """-softmax(z_t) log_softmax(z_s), averaged over batch and classes (equation 10 at T = 1).

    z_s and z_t are the logits of student and teacher (batch, classes). The paper writes a plain
    cross-entropy; the average over the classes too is the code's.
    """

    def objective(self, labels: Tensor, teacher: dict[str, Tensor]) -> Objective:
        """See `methods.Loss`; gold labels are not used."""
        teacher_logits = teacher["train.logits"].to(device())  # (examples, classes)

        def terms(output: Any, rows: Tensor) -> dict[str, Tensor]:
            soft = teacher_logits[rows].softmax(-1)
            return {"prediction": -(soft * output.logits.log_softmax(-1)).mean()}

        return terms


def mean_squared_error(student: Tensor, teacher: Tensor, real: Tensor) -> Tensor:
    """Mean of (student - teacher)² over the real entries (a scalar).

    Args:
        student: (*places, features).
        teacher: The same shape.
        real: (*places), False for padding.
    """
    return (student[real] - teacher[real]).square().mean()


def matched_layers(layers: int, teacher_layers: int) -> tuple[tuple[int, int], ...]:
    """Student layer i with teacher layer i k, k = teacher layers / layers, counted from 1.

    Where k is no whole number, which the paper leaves out, i k is rounded half up.
    """
    k = teacher_layers / layers
    return tuple((i, int(i * k + 0.5)) for i in range(1, layers + 1))


def schedule(patient_epochs: int, layers: int, teacher_layers: int) -> tuple[int, int, int]:
    """Copies of each example, and epochs of the two stages, published as 10 and 3.

    The prediction stage gets a quarter of Patient KD's epochs, the intermediate stage as many as
    fit into MOST_COST times Patient KD's cost, and each at least one. If not even one fits, there
    are no copies. A pass of one example through one layer, forward and backward, costs 1. The
    teacher runs forward in every intermediate step, and the encoder once per stage to augment.

    Args:
        patient_epochs: Epochs of Patient KD's student.
        layers: Layers of the student.
        teacher_layers: Layers of the teacher.
    """
    prediction = max(1, int(patient_epochs / 4 + 0.5))
    beside = teacher_layers * _FORWARD
    for copies in (COPIES, 0):
        data = 1 + copies
        budget: float = MOST_COST * layers * patient_epochs - data * prediction * layers
        if copies:  # to augment them twice, and for the teacher's predictions of all
            budget -= 2 * copies * beside + data * beside
        intermediate = int(budget / (data * (layers + beside)))
        if intermediate >= 1:
            return copies, intermediate, prediction
    return 0, 1, prediction


def phases(setting: Setting, layers: int, teacher_layers: int) -> tuple[Phase, ...]:
    """See `methods.phases`."""
    student = setting.student
    copies, first, second = schedule(student.run_epochs, layers, teacher_layers)
    loss = Intermediate(matched_layers(layers, teacher_layers))
    budgets = [replace(student, epochs=count, stop_epoch=0) for count in (first, second)]
    return (
        Phase(loss, budgets[0], teacher="fine-tuned", project=True, copies=copies),
        Phase(Prediction(), budgets[1], copies=copies),
    )
