"""MiniLMv2 (Wang et al. 2021, arXiv:2012.15828) at the scale of a task.

It is `minilm` with multi-head relations: queries, keys and values of all heads are put side by side
and split again into relation heads, so student and teacher may have different numbers of heads.

As published: Q-Q, K-K and V-V relations with equal weights, the last layer of a base-size teacher,
48 relation heads for 12 attention heads. Ours: four relation heads per attention head for any
number, and what `minilm` names.
"""

from dataclasses import dataclass

from torch import Tensor

from repro.config.profiles import Setting
from repro.methods import Phase, half
from repro.methods.finetune import FineTuning
from repro.methods.minilm import relation_divergence
from repro.models.observe import scores
from repro.models.pair import Both
from repro.training.loop import Objective


@dataclass(frozen=True)
class Relations:
    """The sum over R = Q, K, V of KL(softmax(R_t R_tᵀ / √d_r) || softmax(R_s R_sᵀ / √d_r)).

    R_t and R_s (relation heads, tokens, d_r) are of the last layers of teacher and student, and
    d_r = hidden / relation heads (the paper's equations 5 to 7).

    Attributes:
        heads_per_head: Relation heads per attention head of the teacher.
    """

    heads_per_head: int = 4

    def objective(self, labels: Tensor, teacher: dict[str, Tensor]) -> Objective:
        """See `methods.Loss`; labels and stored outputs are not used."""

        def terms(output: Both, rows: Tensor) -> dict[str, Tensor]:
            student, beside = output.student, output.teacher
            heads = beside.queries[-1].shape[1] * self.heads_per_head
            parts = {"queries": (student.queries, beside.queries)}
            parts |= {"keys": (student.keys, beside.keys)}
            parts |= {"values": (student.values, beside.values)}
            return {
                name: relation_divergence(
                    relation(own[-1], heads), relation(of_teacher[-1], heads), student.mask
                )
                for name, (own, of_teacher) in parts.items()
            }

        return terms


def relation(states: Tensor, heads: int) -> Tensor:
    """R Rᵀ / √d_r in relation heads (batch, heads, tokens, tokens).

    Args:
        states: Queries, keys or values (batch, attention heads, tokens, head size).
        heads: Relation heads; they divide attention heads times head size.
    """
    together = states.transpose(1, 2).flatten(2)  # (batch, tokens, hidden)
    split = together.unflatten(-1, (heads, -1)).transpose(1, 2)  # (batch, heads, tokens, d_r)
    return scores(split, split)


def phases(setting: Setting, layers: int, teacher_layers: int) -> tuple[Phase, ...]:
    """See `methods.phases`."""
    first = Phase(Relations(), half(setting.student), teacher="encoder")
    return (first, Phase(FineTuning(), setting.student))
