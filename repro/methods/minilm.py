"""MiniLM (Wang et al. 2020, arXiv:2002.10957) at the scale of a task.

The student learns the self-attention of the teacher's last layer, and is then fine-tuned with the
gold labels. `minilm_v2` differs in what it calls self-attention.

As published: the last layer only, attention distributions and value relations with equal weights,
a teacher that is not fine-tuned. Ours: the text is the task's training text, where the original
reads Wikipedia and books; the student starts from the lowest layers of the encoder and has its
width, where the original starts at random and is often narrower; optimiser and learning rate are
those of the profile's student, with half its epochs for the distillation and all for the
fine-tuning.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from repro.config.profiles import Setting
from repro.methods import Phase, half
from repro.methods.finetune import FineTuning
from repro.models.observe import scores
from repro.models.pair import Both
from repro.training.loop import Objective


@dataclass(frozen=True)
class LastAttention:
    """L_AT + L_VR on the last layers of both (equations 1 to 4 of the paper).

    L_AT = KL(softmax(Q_t K_tᵀ / √d) || softmax(Q_s K_sᵀ / √d)), and L_VR the same with V in place
    of Q and K; see `relation_divergence` for the averages.
    """

    def objective(self, labels: Tensor, teacher: dict[str, Tensor]) -> Objective:
        """See `methods.Loss`; labels and stored outputs are not used."""

        def terms(output: Both, rows: Tensor) -> dict[str, Tensor]:
            student, beside, mask = output.student, output.teacher, output.student.mask
            attention = relation_divergence(
                scores(student.queries[-1], student.keys[-1]),
                scores(beside.queries[-1], beside.keys[-1]),
                mask,
            )
            values, beside_values = student.values[-1], beside.values[-1]
            relations = relation_divergence(
                scores(values, values), scores(beside_values, beside_values), mask
            )
            return {"attention": attention, "values": relations}

        return terms


def relation_divergence(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """KL(softmax(r_t) || softmax(r_s)), averaged over heads and tokens, in nats (a scalar).

    Keys that are padding have no weight in the softmax, and rows of padding are left out, so the
    padding of a batch does not matter. The paper divides by heads and by the length of the
    sequence; whether padded rows count there is not said.

    Args:
        student: r_s (batch, heads, tokens, tokens), scores before the softmax.
        teacher: r_t, of the same shape.
        mask: (batch, tokens), True for tokens and False for padding.
    """
    padding = ~mask[:, None, None]  # (batch, 1, 1, tokens)
    low = torch.finfo(student.dtype).min
    log_student = student.masked_fill(padding, low).log_softmax(-1)
    log_teacher = teacher.masked_fill(padding, low).log_softmax(-1)
    terms = log_teacher.exp() * (log_teacher - log_student)
    rows = terms.masked_fill(padding, 0.0).sum(-1)  # (batch, heads, tokens)
    return rows.transpose(1, 2)[mask].mean()


def phases(setting: Setting, layers: int, teacher_layers: int) -> tuple[Phase, ...]:
    """See `methods.phases`."""
    first = Phase(LastAttention(), half(setting.student), teacher="encoder")
    return (first, Phase(FineTuning(), setting.student))
