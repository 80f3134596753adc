"""Teacher and students: an encoder with a pooler and a classifier on top."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from repro.data import encoders
from repro.models.fast import PACKED, Layout, cls_states, training_words, use_fast_dropout
from repro.models.layers import Use
from repro.models.sps import layers_of, share


class Output(NamedTuple):
    """What a forward pass returns.

    Attributes:
        logits: (batch, classes).
        cls_states: (batch, effective layers, hidden), the state of [CLS] after each layer.
        pooled: (batch, hidden), the classifier's input before dropout.
    """

    logits: Tensor
    cls_states: Tensor
    pooled: Tensor

    def float(self) -> "Output":
        """The same in float32."""
        return Output(*(part.float() for part in self))


class Classifier(nn.Module):
    """An encoder, a tanh pooler on [CLS] of the last layer, dropout and a linear classifier.

    Args:
        encoder: A Hugging Face encoder of an architecture in `sps.ADAPTERS`; its pooler is moved
            here, or made anew if it has none.
        classes: The number of classes.
        dropout: The dropout probability before the classifier.
    """

    def __init__(self, encoder: PreTrainedModel, classes: int, dropout: float = 0.1) -> None:
        super().__init__()
        hidden = encoder.config.hidden_size
        pooler = getattr(encoder, "pooler", None)
        if pooler is not None:
            encoder.pooler = None  # type: ignore[assignment]  # so that it does not run twice
        self.encoder = encoder
        self.pooler = pooler.dense if pooler is not None else _linear(hidden, hidden)
        self.dropout = nn.Dropout(dropout)
        self.classifier = _linear(hidden, classes)
        self._states: list[Tensor] = []  # [CLS] after each layer, where hooks collect them
        self._packed = encoder.config.model_type in PACKED
        if not self._packed:
            for layer in layers_of(encoder):
                layer.register_forward_hook(self._collect)
        use_fast_dropout(self)

    def forward(self, attention_mask: Tensor, **inputs: Tensor) -> Output:
        """Classify a batch.

        Args:
            attention_mask: (batch, tokens), 1 for tokens and 0 for the padding at the end.
            **inputs: The encoder's other inputs, each (batch, tokens).
        """
        if self._packed:
            layout = Layout.fitting(attention_mask)
            states = cls_states(self.encoder, layers_of(self.encoder), layout, **inputs)
        else:
            self._states.clear()
            self.encoder(attention_mask=attention_mask, **inputs)
            states = torch.stack(self._states, dim=1)  # (batch, effective layers, hidden)
            self._states.clear()
        pooled = torch.tanh(self.pooler(states[:, -1]))  # (batch, hidden)
        return Output(self.classifier(self.dropout(pooled)), states, pooled)

    def _collect(self, layer: nn.Module, args: tuple, output: Tensor | tuple[Tensor, ...]) -> None:
        states = output[0] if isinstance(output, tuple) else output  # (batch, tokens, hidden)
        self._states.append(states[:, 0])

    def only_words(self, ids: Tensor) -> AbstractContextManager[None]:
        """A context in which only the word embeddings of `ids` are trained; see `training_words`.

        Args:
            ids: (ids,) distinct word ids; no others may occur in training.
        """
        return training_words(self.encoder, ids)

    def new_head(self, classes: int) -> None:
        """Replace the classifier by a fresh one; Lesson 4 does between PTP and distillation."""
        old = self.classifier
        self.classifier = _linear(old.in_features, classes).to(old.weight.device)

    def parameter_counts(self) -> dict[str, int]:
        """The number of distinct parameters.

        Returns:
            "layers": of the encoder's layers only, as the paper counts; "with_embeddings": also of
            the embeddings and the pooler; "total": of everything.
        """
        layers = sum(p.numel() for p in layers_of(self.encoder).parameters())
        head = sum(p.numel() for p in self.classifier.parameters())
        total = sum(p.numel() for p in self.parameters())
        return {"layers": layers, "with_embeddings": total - head, "total": total}


class FineTuned(nn.Module):
    """A teacher that is fine-tuned already, with the outputs of a `Classifier`.

    Args:
        model: A Hugging Face encoder with a sequence classification head.
        columns: Per class of the task, the column of the model's logits.
    """

    def __init__(self, model: PreTrainedModel, columns: Sequence[int]) -> None:
        super().__init__()
        self.model, self.columns = model, list(columns)

    def forward(self, **inputs: Tensor) -> Output:
        """Classify a batch; the inputs are each (batch, tokens)."""
        output = self.model(**inputs, output_hidden_states=True)
        # the first entry is the embeddings
        states = torch.stack([states[:, 0] for states in output.hidden_states[1:]], dim=1)
        return Output(output.logits[:, self.columns], states, states[:, -1])


def _linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear map initialised like BERT's: weights from N(0, 0.02²), biases 0."""
    linear = nn.Linear(inputs, outputs)
    nn.init.normal_(linear.weight, std=0.02)
    nn.init.zeros_(linear.bias)
    return linear


def teacher(encoder_name: str, classes: int) -> Classifier:
    """The whole pretrained encoder with a fresh classifier.

    Args:
        encoder_name: As for `data.encoders.locate`.
        classes: The number of classes.
    """
    return Classifier(encoders.load(encoder_name)[0], classes)


def student(
    encoder_name: str,
    layers: int,
    uses: Sequence[Use],
    classes: int,
    swap_biases: bool = True,
) -> Classifier:
    """The lowest layers, embeddings and pooler of an encoder with a fresh classifier.

    Args:
        encoder_name: As for `data.encoders.locate`.
        layers: How many layers are kept.
        uses: The effective layers, bottom to top; see `models.layers`.
        classes: The number of classes.
        swap_biases: Whether a swapped layer swaps biases too (decision D7).

    Raises:
        InputError: If the encoder has fewer layers.
    """
    encoder, _ = encoders.load(encoder_name, layers)
    share(encoder, uses, swap_biases)
    return Classifier(encoder, classes)
