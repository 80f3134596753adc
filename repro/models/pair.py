"""A student beside its teacher: both run on every batch, and only the student is trained."""

from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from repro.models.classifier import Classifier
from repro.models.masked import Masking, WordHead, Words, mask_words
from repro.models.observe import Observed, States, observe


class Both(NamedTuple):
    """What a `Pair` returns.

    Attributes:
        student: What happens inside the student.
        teacher: What happens inside the teacher, without gradient.
        projected: The student's states after the learned projection, if there is one.
        words: Predictions of the masked words, if the pair reads masked text.
    """

    student: Observed
    teacher: Observed
    projected: States
    words: Words | None

    def float(self) -> "Both":
        """The same in float32."""
        projected = tuple(part.float() for part in self.projected)
        words = None if self.words is None else self.words.float()
        return Both(self.student.float(), self.teacher.float(), projected, words)


class Pair(nn.Module):
    """A student, with what is trained beside it, and its frozen teacher.

    Args:
        student: The student.
        teacher: The teacher, in evaluation mode: its dropout is off. It is not part of this
            module's parameters.
        project: Whether to learn a projection of the student's states. It starts as the identity,
            since students here start from layers of the teacher's width.
        masking: If given, both read masked text and predict its words.
        head: The teacher's masked-language head, with `masking`; the student's starts as a copy.
    """

    def __init__(
        self,
        student: Classifier,
        teacher: Classifier,
        project: bool = False,
        masking: Masking | None = None,
        head: WordHead | None = None,
    ) -> None:
        super().__init__()
        hidden = student.encoder.config.hidden_size
        self.student, self.masking = student, masking
        self.projection = nn.Linear(hidden, hidden) if project else None
        if self.projection is not None:
            nn.init.eye_(self.projection.weight)
            nn.init.zeros_(self.projection.bias)
        self.head = None if masking is None else WordHead(student, len(masking.words))
        if self.head is not None and head is not None:
            self.head.load_state_dict(head.state_dict())
            head.requires_grad_(False)
        # a tuple hides the teacher from nn.Module: from the optimiser, checkpoints and `train`
        self._frozen = teacher.eval().requires_grad_(False), head

    def forward(self, attention_mask: Tensor, input_ids: Tensor, **others: Tensor) -> Both:
        """Run both on a batch; arguments as of `Classifier.forward`."""
        teacher, teacher_head = self._frozen
        teacher.to(input_ids.device)
        chosen = places = None
        if self.masking is not None:
            masking = self.masking.to(input_ids.device)
            input_ids, chosen, places = mask_words(input_ids, masking)
        inputs = {"attention_mask": attention_mask, "input_ids": input_ids, **others}
        with torch.no_grad():
            seen_by_teacher = observe(teacher, **inputs)
        seen = observe(self.student, **inputs)
        projected: States = ()
        if self.projection is not None:
            projected = tuple(self.projection(states) for states in seen.hidden)
        words = None
        if chosen is not None and places is not None and self.head and teacher_head:
            mask = seen.mask
            logits = self.head(self.student, seen.hidden[-1][mask], masking.words)
            with torch.no_grad():
                states = seen_by_teacher.hidden[-1][mask]
                to_device = teacher_head.to(input_ids.device)
                teacher_logits = to_device(teacher, states, masking.words)
            words = Words(logits, teacher_logits, places[mask], chosen[mask])
        return Both(seen, seen_by_teacher, projected, words)

    def only_words(self, ids: Tensor) -> AbstractContextManager[None]:
        """See `Classifier.only_words`; masked text has words of its own."""
        words = ids if self.masking is None else torch.cat([ids, self.masking.words.cpu()]).unique()
        return self.student.only_words(words)
