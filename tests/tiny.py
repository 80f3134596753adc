"""A tiny encoder of each architecture and a tiny classification problem."""

import numpy as np
import torch
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    ElectraConfig,
    ElectraModel,
    MPNetConfig,
    MPNetModel,
    PreTrainedModel,
    RobertaConfig,
    RobertaModel,
)

from repro.data.encode import Encoded
from repro.models.classifier import Classifier
from repro.training.loop import Callback
from repro.training.states import state_of

_COMMON = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 24,
}


def encoder(kind: str = "bert", layers: int = 3) -> PreTrainedModel:
    """A random encoder in float64 without dropout, so that results are equal up to rounding."""
    torch.manual_seed(0)
    still = {
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "num_hidden_layers": layers,
    }
    made = {
        "bert": lambda: BertModel(BertConfig(**_COMMON, **still)),
        "roberta": lambda: RobertaModel(RobertaConfig(**_COMMON, **still)),
        "electra": lambda: ElectraModel(ElectraConfig(**_COMMON, **still, embedding_size=16)),
        "mpnet": lambda: MPNetModel(MPNetConfig(**_COMMON, **still)),
        "distilbert": lambda: DistilBertModel(
            DistilBertConfig(
                vocab_size=50,
                dim=16,
                n_heads=2,
                hidden_dim=32,
                max_position_embeddings=24,
                n_layers=layers,
                dropout=0.0,
                attention_dropout=0.0,
            )
        ),
    }[kind]()
    for parameter in made.parameters():  # so that biases and LayerNorms matter
        torch.nn.init.normal_(parameter, std=0.3)
    return made.double()


def batch(rows: int = 3, tokens: int = 7) -> dict[str, torch.Tensor]:
    """Token ids with a padded tail in the last row."""
    ids = torch.randint(4, 50, (rows, tokens), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[-1, -2:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def problem(examples: int = 48, seed: int = 0) -> tuple[Encoded, np.ndarray]:
    """Sentences of 3 to 9 ids; the class is 1 if id 7 occurs."""
    rng = np.random.default_rng(seed)
    rows, labels = [], rng.integers(0, 2, examples)
    for label in labels:
        ids = rng.integers(10, 50, rng.integers(3, 10))
        if label:
            ids[rng.integers(len(ids))] = 7
        rows.append({"input_ids": [2, *ids.tolist(), 3]})
    return Encoded(rows, 0), labels


def parameters(model: Classifier) -> dict[str, torch.Tensor]:
    """A copy of a model's parameters in the middle of its training, with all word embeddings."""
    words = model.encoder.get_input_embeddings()
    words.update()
    state = state_of(model)
    del state["encoder.embeddings.word_embeddings.rows"]
    return state | {"encoder.embeddings.word_embeddings.weight": words.full.clone()}


class Watch(Callback):
    """Keeps, for each step, what a function of the training returns."""

    def __init__(self, see):
        self.see, self.seen = see, {}

    def on_step(self, training):
        self.seen[training.progress.step] = self.see(training)
