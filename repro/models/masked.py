"""Masked-language modelling on a task's own text (Devlin et al. 2019, section 3.1).

No encoder here carries a masked-language head, and a task uses only some of an encoder's words. So
a head is made that tells those words apart, and words are only masked or replaced by those.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repro.models.classifier import Classifier
from repro.models.observe import observe

SHARE = 0.15  # of the words are predicted; of these, 80 % are masked and 10 % replaced


class Masking(NamedTuple):
    """The words that can be masked and predicted.

    Attributes:
        words: (words,) sorted ids: those of the task's text, and the special ones.
        special: (words,), whether a word is a special one: padding, [CLS], [SEP], [MASK].
        mask_id: The id of [MASK].
    """

    words: Tensor
    special: Tensor
    mask_id: int

    def to(self, where: torch.device) -> "Masking":
        """The same on a device."""
        return Masking(self.words.to(where), self.special.to(where), self.mask_id)


class Words(NamedTuple):
    """Predictions of words.

    Attributes:
        student: Logits (tokens, words) at every token except padding.
        teacher: The same of the teacher; (0, 0) without one.
        places: (tokens,), which of the words each token is.
        chosen: (tokens,), whether the token is masked, so that its word is to be predicted.
    """

    student: Tensor
    teacher: Tensor
    places: Tensor
    chosen: Tensor

    def float(self) -> "Words":
        """The same in float32."""
        return self._replace(student=self.student.float(), teacher=self.teacher.float())


def mask_words(ids: Tensor, masking: Masking) -> tuple[Tensor, Tensor, Tensor]:
    """Mask words as BERT does, with torch's random state.

    Args:
        ids: (batch, tokens).
        masking: The words.

    Returns:
        The masked ids, whether each token's word is to be predicted, and which of the words it is;
        each (batch, tokens).
    """
    places = torch.searchsorted(masking.words, ids)
    chosen = (torch.rand(ids.shape, device=ids.device) < SHARE) & ~masking.special[places]
    draw = torch.rand(ids.shape, device=ids.device)
    ordinary = masking.words[~masking.special]
    replacements = ordinary[torch.randint(len(ordinary), ids.shape, device=ids.device)]
    masked = torch.where(chosen & (draw < 0.8), masking.mask_id, ids)
    return torch.where(chosen & (draw >= 0.9), replacements, masked), chosen, places


def masked_cross_entropy(words: Words) -> Tensor:
    """Mean cross-entropy of the words to be predicted, in nats; 0 if there is none (a scalar)."""
    every = F.cross_entropy(words.student, words.places, reduction="none")  # (tokens,)
    return (every * words.chosen).sum() / words.chosen.sum().clamp(min=1)


class WordHead(nn.Module):
    """A masked-language head like BERT's: dense, gelu, LayerNorm, tied embeddings, bias.

    Args:
        model: The classifier whose states it reads.
        words: The number of words that it tells apart.
    """

    def __init__(self, model: Classifier, words: int) -> None:
        super().__init__()
        embeddings: Any = model.encoder.get_input_embeddings()
        width = embeddings.weight.shape[1]
        self.dense = nn.Linear(model.encoder.config.hidden_size, width)
        self.norm = nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(words))

    def forward(self, model: Classifier, states: Tensor, words: Tensor) -> Tensor:
        """Logits (tokens, words).

        Args:
            model: The classifier that made the states, whose word embeddings are tied.
            states: (tokens, hidden).
            words: (words,) ids.
        """
        embeddings: Any = model.encoder.get_input_embeddings()
        return self.norm(F.gelu(self.dense(states))) @ embeddings(words).T + self.bias


class Reader(nn.Module):
    """A frozen encoder that reads masked text, and a masked-language head, which is trained.

    Args:
        model: The encoder; it is not part of this module's parameters.
        masking: The words.
    """

    def __init__(self, model: Classifier, masking: Masking) -> None:
        super().__init__()
        self.head = WordHead(model, len(masking.words))
        self.masking = masking
        self._frozen = [model.eval().requires_grad_(False)]  # a list hides it from nn.Module

    def forward(self, attention_mask: Tensor, input_ids: Tensor, **others: Tensor) -> Words:
        """Predict the masked words of a batch."""
        (model,) = self._frozen
        model.to(input_ids.device)
        masking = self.masking.to(input_ids.device)
        masked, chosen, places = mask_words(input_ids, masking)
        with torch.no_grad():
            states = observe(model, attention_mask, input_ids=masked, **others).hidden[-1]
        logits = self.head(model, states[chosen], masking.words)  # (chosen, words)
        every = torch.ones_like(chosen[chosen])
        return Words(logits, logits.new_zeros(0, 0), places[chosen], every)

    def only_words(self, ids: Tensor) -> AbstractContextManager[None]:
        """No word embedding is trained."""
        return nullcontext()
