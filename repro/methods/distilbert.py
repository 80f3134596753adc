"""DistilBERT (Sanh et al. 2019, arXiv:1910.01108) at the scale of a task.

The student starts from evenly spaced layers of the encoder, learns masked-language modelling beside
the encoder (`Distillation`), and is then fine-tuned with the gold labels.

As published: the three terms and their weights, the temperature, the layers, the masking, the
student's head as a copy of the teacher's. Ours: the text is the task's training text, where the
original reads Wikipedia and books; the encoder's masked-language head is trained on it first; the
softmax is over the words of that text; pooler and token types are kept, which the published student
lacks; optimiser and learning rate are those of the profile's student, with half its epochs for the
distillation and all for the fine-tuning.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from repro.config.profiles import Setting
from repro.methods import Phase, half
from repro.methods.finetune import FineTuning
from repro.models.masked import masked_cross_entropy
from repro.models.pair import Both
from repro.training.loop import Objective
from repro.training.losses import soft_cross_entropy


@dataclass(frozen=True)
class Distillation:
    """α_ce T² KL(teacher || student) + α_mlm CE + α_cos (1 - cos) on masked text.

    Paper and code differ: the paper sums the three terms without naming weights; the values are
    those of the code's published command.

    Attributes:
        kl: α_ce, weight of the KL term of the masked-language logits.
        mlm: α_mlm, weight of the cross-entropy of the masked words.
        cos: α_cos, weight of the distance between last hidden states.
        temperature: T of the KL term.
    """

    kl: float = 5.0
    mlm: float = 2.0
    cos: float = 1.0
    temperature: float = 2.0

    def objective(self, labels: Tensor, teacher: dict[str, Tensor]) -> Objective:
        """See `methods.Loss`; labels and stored outputs are not used."""

        def terms(output: Both, rows: Tensor) -> dict[str, Tensor]:
            assert output.words is not None
            words, mask = output.words, output.student.mask
            states, teacher_states = output.student.hidden[-1], output.teacher.hidden[-1]
            soft = soft_cross_entropy(words.student, words.teacher, self.temperature)
            return {
                "kl": self.kl * soft,
                "mlm": self.mlm * masked_cross_entropy(words),
                "cos": self.cos * cosine_distance(states[mask], teacher_states[mask]),
            }

        return terms


def cosine_distance(states: Tensor, teacher_states: Tensor) -> Tensor:
    """Mean of 1 - cos(h_s, h_t) over tokens (a scalar).

    Args:
        states: h_s (tokens, hidden), last hidden states of the student.
        teacher_states: h_t (tokens, hidden).
    """
    return (1 - F.cosine_similarity(states, teacher_states, dim=-1)).mean()


def start_layers(layers: int, teacher_layers: int) -> tuple[int, ...]:
    """The encoder's layers, from 0, that a student starts from: 0, 2, 4, 7, 9, 11 for 6 of 12.

    For other numbers the rule is ours: evenly spaced from the first to the last, rounded half up.
    """
    if layers == 1:
        return (0,)
    step = (teacher_layers - 1) / (layers - 1)
    return tuple(int(k * step + 0.5) for k in range(layers))


def phases(setting: Setting, layers: int, teacher_layers: int) -> tuple[Phase, ...]:
    """See `methods.phases`."""
    chosen = start_layers(layers, teacher_layers)
    budget = half(setting.student)
    first = Phase(Distillation(), budget, teacher="encoder", layers=chosen, masked=True)
    return (first, Phase(FineTuning(), setting.student))
