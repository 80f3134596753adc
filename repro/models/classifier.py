"""Teacher and students: an encoder, one pooler and one classifier, which also tell the [CLS] state of every layer."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from repro.data import encoders
from repro.models import dropout
from repro.models.fast import FITTING, Layout, cls_states
from repro.models.layers import Use
from repro.models.sps import layers_of, share
from repro.models.vocabulary import occurring


class Output(NamedTuple):
    """logits: (batch, classes); cls_states, raw: (batch, effective layers, hidden); pooled: (batch, hidden)."""

    logits: Tensor
    cls_states: Tensor
    pooled: Tensor

    def float(self) -> "Output":
        """The same in float32."""
        return Output(*(part.float() for part in self))


class Classifier(nn.Module):
    """A Hugging Face encoder, a tanh pooler on the last layer's [CLS], dropout and a linear classifier."""

    def __init__(self, encoder: PreTrainedModel, classes: int, share: float = 0.1) -> None:
        super().__init__()
        hidden = encoder.config.hidden_size
        pooler = getattr(encoder, "pooler", None)
        if pooler is not None:
            encoder.pooler = None  # type: ignore[assignment]  # ours runs it, once
        self.encoder = encoder
        self.pooler = pooler.dense if pooler is not None else _linear(hidden, hidden)
        self.dropout = nn.Dropout(share)
        self.classifier = _linear(hidden, classes)
        self._states: list[Tensor] = []
        if encoder.config.model_type not in FITTING:
            for layer in layers_of(encoder):
                layer.register_forward_hook(self._keep_cls)
        dropout.make_fast(self)

    def forward(self, **inputs: Tensor) -> Output:
        """inputs: what the encoder takes, each (batch, tokens); attention_mask among them."""
        fits = self.encoder.config.model_type in FITTING
        states = (
            self._computed(**inputs) if fits else self._hooked(inputs)
        )  # (batch, effective layers, hidden)
        pooled = torch.tanh(self.pooler(states[:, -1]))  # (batch, hidden)
        return Output(self.classifier(self.dropout(pooled)), states, pooled)

    def _computed(self, attention_mask: Tensor, **inputs: Tensor) -> Tensor:
        return cls_states(
            self.encoder, layers_of(self.encoder), Layout.fitting(attention_mask), **inputs
        )

    def _hooked(self, inputs: dict[str, Tensor]) -> Tensor:
        self._states.clear()
        self.encoder(**inputs)
        states = torch.stack(self._states, dim=1)
        self._states.clear()
        return states

    def _keep_cls(
        self, module: nn.Module, args: tuple, output: Tensor | tuple[Tensor, ...]
    ) -> None:
        states = output[0] if isinstance(output, tuple) else output  # (batch, tokens, hidden)
        self._states.append(states[:, 0])

    def only_words(self, ids: Tensor) -> AbstractContextManager[None]:
        """Train only the word embeddings of `ids` within this context; see `vocabulary`."""
        return occurring(self.encoder, ids)

    def new_head(self, classes: int) -> None:
        """Replace the classifier by a fresh one, as between PTP and distillation (decision D10)."""
        self.classifier = _linear(self.classifier.in_features, classes).to(
            self.classifier.weight.device
        )

    def parameter_counts(self) -> dict[str, int]:
        """Distinct parameters: encoder layers only (as the paper counts), with embeddings and pooler, in total."""
        layers = sum(p.numel() for p in layers_of(self.encoder).parameters())
        head = sum(p.numel() for p in self.classifier.parameters())
        total = sum(p.numel() for p in self.parameters())
        return {"layers": layers, "with_embeddings": total - head, "total": total}


def _linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear map initialised as BERT's: weights from N(0, 0.02), biases 0."""
    linear = nn.Linear(inputs, outputs)
    nn.init.normal_(linear.weight, std=0.02)
    nn.init.zeros_(linear.bias)
    return linear


def teacher(backbone: str, classes: int) -> Classifier:
    """The whole pretrained encoder with a fresh classifier."""
    return Classifier(encoders.load(backbone)[0], classes)


def student(
    backbone: str, layers: int, uses: Sequence[Use], classes: int, swap_biases: bool = True
) -> Classifier:
    """The first `layers` layers, embeddings and pooler of the encoder, run as `uses` says, and a fresh classifier.

    Raises InputError if the encoder has fewer layers.
    """
    encoder, _ = encoders.load(backbone, layers)
    share(encoder, uses, swap_biases)
    return Classifier(encoder, classes)
