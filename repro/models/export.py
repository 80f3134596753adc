"""A trained model as a folder that plain `transformers` loads, and as ONNX.

The folder has the effective layers one after the other: a layer that runs twice is there twice, the
second time with Query and Key swapped. A stock architecture computes exactly our model, because our
classifier is that of BERT, RoBERTa and MPNet. DistilBERT and ELECTRA have other ones, but their
layers are BERT's, so their students are saved as BERT.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.logging import disable_progress_bar

from repro.data.pypi_encoders import WEIGHTS
from repro.errors import InputError, ReproError
from repro.models import onnx_file
from repro.models.classifier import Classifier
from repro.models.sps import layers_of

SHARED = "shared.safetensors"  # every distinct tensor once
TOLERANCE = 1e-5  # largest difference of logits between two forms of a model, relative to them
# Names in DistilBERT, and in BERT, from the encoder's module on.
_AS_BERT = (
    ("transformer.layer.", "encoder.layer."),
    ("attention.q_lin.", "attention.self.query."),
    ("attention.k_lin.", "attention.self.key."),
    ("attention.v_lin.", "attention.self.value."),
    ("attention.out_lin.", "attention.output.dense."),
    ("sa_layer_norm.", "attention.output.LayerNorm."),
    ("ffn.lin1.", "intermediate.dense."),
    ("ffn.lin2.", "output.dense."),
    ("output_layer_norm.", "output.LayerNorm."),
)
_CONFIG_OF_BERT = (
    "vocab_size",
    "hidden_size",
    "num_attention_heads",
    "intermediate_size",
    "hidden_act",
    "max_position_embeddings",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "pad_token_id",
)
_CONFIG_OF_DISTILBERT = {
    "intermediate_size": "hidden_dim",
    "hidden_act": "activation",
    "hidden_dropout_prob": "dropout",
    "attention_probs_dropout_prob": "attention_dropout",
}
# The names of pooler and classifier, from the model on.
_HEADS = {
    "bert": ("bert.pooler.dense", "classifier"),
    "roberta": ("classifier.dense", "classifier.out_proj"),
    "mpnet": ("classifier.dense", "classifier.out_proj"),
}


def to_transformers(model: Classifier, labels: Sequence[str]) -> PreTrainedModel:
    """The same model as a stock `AutoModelForSequenceClassification`, on the CPU.

    Args:
        model: A trained teacher or student.
        labels: The names of the classes, in the order of the logits.

    Raises:
        InputError: If no stock architecture computes it: an ELECTRA whose embeddings are narrower
            than its states, or a model with Compacter's adapters.
    """
    config, state = _stock(model)
    config.num_hidden_layers = len(layers_of(model.encoder))
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: number for number, label in enumerate(labels)}
    config.problem_type = "single_label_classification"
    stock = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    prefix = stock.base_model_prefix
    pooler, classifier = _HEADS[config.model_type]
    full = {f"{prefix}.{name}": tensor for name, tensor in state.items()}
    for name, linear in ((pooler, model.pooler), (classifier, model.classifier)):
        full |= {f"{name}.weight": linear.weight, f"{name}.bias": linear.bias}
    # Buffers such as position ids are not stored; every parameter must be there.
    result = stock.load_state_dict(full, strict=False)
    if result.unexpected_keys:
        raise InputError(
            f"the model has parameters that a stock {config.model_type} lacks, e.g. "
            f"{result.unexpected_keys[0]}; export a teacher or student without adapters"
        )
    assert not {name for name, _ in stock.named_parameters()} & set(result.missing_keys), result
    return stock.eval()


def _stock(model: Classifier) -> tuple[PreTrainedConfig, dict[str, Tensor]]:
    """The configuration of the stock encoder, and its parameters without pooler and prefix."""
    config = copy.deepcopy(model.encoder.config)
    state = {name: tensor.detach().cpu() for name, tensor in _named(model.encoder).items()}
    if config.model_type not in ("distilbert", "electra"):
        return config, state
    if any(name.startswith("embeddings_project.") for name in state):
        raise InputError(
            "an ELECTRA with embeddings narrower than its hidden states has no stock architecture "
            "with our classifier; use an encoder without embeddings_project, such as ELECTRA-base"
        )
    renamed: dict[str, str] = {}
    if config.model_type == "distilbert":
        renamed = _CONFIG_OF_DISTILBERT
        for name in list(state):
            in_bert = name
            for old, new in _AS_BERT:
                in_bert = in_bert.replace(old, new)
            state[in_bert] = state.pop(name)
        state["embeddings.token_type_embeddings.weight"] = torch.zeros(2, config.hidden_size)
    bert = BertConfig(
        **{name: getattr(config, renamed.get(name, name)) for name in _CONFIG_OF_BERT},
        type_vocab_size=len(state["embeddings.token_type_embeddings.weight"]),
        layer_norm_eps=getattr(config, "layer_norm_eps", 1e-12),  # 1e-12 is fixed in DistilBERT
    )
    return bert, state


def _named(module: nn.Module) -> dict[str, Tensor]:
    """Every parameter under each of its names; a shared one has several."""
    return dict(module.named_parameters(remove_duplicate=False))


# folders


def write(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    shared: bool = False,
    onnx: bool = False,
) -> None:
    """Save a stock model with its tokenizer, and check that what was written computes the same.

    Args:
        model: The output of `to_transformers`, or a loaded folder.
        tokenizer: Its `model_max_length` says where texts are cut.
        folder: Existing files of the same names are replaced.
        shared: Whether to store every distinct tensor once, as SHARED, which needs `load_shared`
            or the same lines in a reader's own code, instead of model.safetensors.
        onnx: Whether to write ONNX too.

    Raises:
        MissingError: If ONNX is asked for and its packages are not installed.
        ReproError: If a form does not agree with the model.
    """
    if onnx:
        onnx_file.check()
    model = model.cpu().eval()  # predictions may have moved it to a GPU
    disable_progress_bar()
    for name in (WEIGHTS, SHARED, onnx_file.NAME):  # of an earlier export
        (folder / name).unlink(missing_ok=True)
    tokenizer.save_pretrained(folder)
    if shared:
        model.config.architectures = [type(model).__name__]
        model.config.save_pretrained(folder)
        save_shared(_named(model), folder / SHARED)
    else:
        model.save_pretrained(folder)
    for path in folder.glob("*.safetensors"):
        path.chmod(0o644)  # the library lets only the owner read them
    expected, batch = reference(model)
    loaded = load_shared(folder) if shared else load(folder)
    _check_equal("the saved model", _logits(loaded, batch), expected)
    if onnx:
        path = folder / onnx_file.NAME
        onnx_file.save(model, path, batch)
        expected, batch = reference(model, texts=3, tokens=9)  # another shape than the exported
        _check_equal(path.name, onnx_file.run(path, batch), expected)


def load(folder: Path) -> PreTrainedModel:
    """The stock model of a folder, in evaluation mode; of either form."""
    disable_progress_bar()
    if not (folder / WEIGHTS).is_file() and (folder / SHARED).is_file():
        return load_shared(folder)
    return AutoModelForSequenceClassification.from_pretrained(
        folder, local_files_only=True, dtype=torch.float32
    ).eval()


def save_shared(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write every distinct tensor once; the file's metadata names those that equal a stored one.

    Tensors count as one if all their numbers are equal, which is how swapped layers are found in
    a model that was loaded from a folder.
    """
    kept: dict[str, Tensor] = {}
    same: dict[str, str] = {}
    by_content: dict[tuple[Any, ...], str] = {}
    for name, tensor in tensors.items():
        content = (tuple(tensor.shape), tensor.detach().cpu().numpy().tobytes())
        first = by_content.setdefault(content, name)
        if first == name:
            kept[name] = tensor.detach().cpu().contiguous()
        else:
            same[name] = first
    save_file(kept, path, {"format": "pt", "same": json.dumps(same)})


def load_shared(folder: Path) -> PreTrainedModel:
    """Load a folder that was written with `shared`; shared tensors are in memory once, too."""
    from safetensors import safe_open
    from transformers import AutoConfig

    with safe_open(folder / SHARED, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        same = json.loads(file.metadata()["same"])
    tensors |= {name: tensors[first] for name, first in same.items()}
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    model = AutoModelForSequenceClassification.from_config(config)
    model.load_state_dict(tensors, strict=False, assign=True)
    return model.eval()


# checks and predictions


def reference(
    model: PreTrainedModel, texts: int = 4, tokens: int = 16
) -> tuple[np.ndarray, dict[str, Tensor]]:
    """A batch of random tokens of different lengths, and the model's logits for it."""
    config: Any = model.config
    random = torch.Generator().manual_seed(0)
    ids = torch.randint(4, config.vocab_size, (texts, tokens), generator=random)
    lengths = torch.linspace(3, tokens, texts).long()
    mask = (torch.arange(tokens) < lengths[:, None]).long()
    padding = config.pad_token_id or 0
    batch = {"input_ids": torch.where(mask == 1, ids, padding), "attention_mask": mask}
    if getattr(config, "type_vocab_size", 1) > 1:
        batch["token_type_ids"] = (torch.arange(tokens) > 1).long() * mask
    return _logits(model, batch), batch


@torch.no_grad()
def _logits(model: nn.Module, batch: Mapping[str, Tensor]) -> np.ndarray:
    logits: np.ndarray = model(**batch).logits.numpy()
    return logits


def check_same(model: Classifier, stock: PreTrainedModel) -> None:
    """Raise ReproError unless our model and its stock form have the same logits."""
    expected, batch = reference(stock)
    with torch.no_grad():
        ours = model.cpu().eval()(**_for_ours(model, batch)).logits.numpy()
    _check_equal("the stock model", expected, ours)


def _for_ours(model: Classifier, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    types = model.encoder.config.model_type != "distilbert"
    return {name: batch[name] for name in batch if types or name != "token_type_ids"}


def _check_equal(what: str, found: np.ndarray, expected: np.ndarray) -> None:
    largest = float(np.abs(found - expected).max())
    if not largest <= TOLERANCE * max(1.0, float(np.abs(expected).max())):
        raise ReproError(f"{what} differs from the trained model: logits by up to {largest:.2g}")


@torch.no_grad()
def predict(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[tuple[str, ...]],
    classes: int,
    batch_size: int = 64,
) -> np.ndarray:
    """The probabilities of the classes.

    Args:
        model: A stock model.
        tokenizer: Its tokenizer.
        texts: Per example one or two strings.
        classes: The number of classes.
        batch_size: Texts of one forward pass; texts of like length run together.

    Returns:
        (texts, classes) float32; each row adds up to 1.
    """
    where = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = model.eval().to(where)
    order = np.argsort([sum(map(len, text)) for text in texts], kind="stable")
    parts = [torch.empty(0, classes)]
    for start in range(0, len(order), batch_size):
        sides = zip(*(texts[row] for row in order[start : start + batch_size]), strict=True)
        batch = tokenizer(*map(list, sides), truncation=True, padding=True, return_tensors="pt")
        logits = model(**batch.to(where)).logits
        parts.append(logits.softmax(dim=1).float().cpu())
    return torch.cat(parts).numpy()[np.argsort(order, kind="stable")]
