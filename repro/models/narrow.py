"""Narrower encoders: which dimensions belong together, and how some of them are removed.

Width can only be removed where all maps that share it agree: the hidden dimensions of the whole
encoder, the inner dimensions of each attention and of each feed-forward network, and the pooler's
output. A narrowed encoder is a plain one of the same architecture with a smaller configuration.
"""

import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from repro.errors import one_of
from repro.models.classifier import Classifier
from repro.models.sps import adapter, layers_of


class Names(NamedTuple):
    """Names of the maps and LayerNorms in a layer of an architecture."""

    query: str
    key: str
    value: str
    attention_output: str
    attention_norm: str
    up: str
    down: str
    norm: str


_BERT = Names(
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    attention_output="attention.output.dense",
    attention_norm="attention.output.LayerNorm",
    up="intermediate.dense",
    down="output.dense",
    norm="output.LayerNorm",
)
_MPNET = _BERT._replace(
    query="attention.attn.q",
    key="attention.attn.k",
    value="attention.attn.v",
    attention_output="attention.attn.o",
    attention_norm="attention.LayerNorm",
)
EMBEDDINGS = "encoder.embeddings"  # their place in a `Classifier`
NAMES = {"bert": _BERT, "roberta": _BERT, "mpnet": _MPNET}


class Width(NamedTuple):
    """Dimensions that are removed together. Modules are named by their place in a `Classifier`.

    Attributes:
        size: How many there are.
        target: How many are kept in the end.
        chunks: Equal parts that each lose equally many: the heads of an attention.
        outputs: Linear maps whose output has these dimensions (rows of the weight).
        inputs: Linear maps whose input has them (columns of the weight).
        norms: LayerNorms over them.
        tables: Embeddings that have them.
    """

    size: int
    target: int
    chunks: int = 1
    outputs: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    norms: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()


def layer_names(model: Classifier) -> list[Names]:
    """The names of the maps and LayerNorms of each layer, as places in a `Classifier`.

    Raises:
        InputError: If the architecture of the encoder is not in NAMES.
    """
    architecture = model.encoder.config.model_type
    if architecture not in NAMES:
        raise one_of("encoder architecture for a change of width", architecture, NAMES)
    path = f"encoder.{adapter(model.encoder).layers}"
    count = len(layers_of(model.encoder))
    return [Names(*(f"{path}.{k}.{name}" for name in NAMES[architecture])) for k in range(count)]


def widths(model: Classifier, share: float) -> dict[str, Width]:
    """All widths of a model, by name: "hidden", "pooled", "attention0", "ffn0", ...

    Args:
        model: A classifier with a plain encoder.
        share: Share of each head's dimensions that is kept in the end, rounded to whole dimensions;
            all other widths follow, since the architectures demand hidden size = heads times
            head size.
    """
    config, layers = model.encoder.config, layer_names(model)
    heads, hidden, inner = config.num_attention_heads, config.hidden_size, config.intermediate_size
    head_size = hidden // heads
    kept = max(1, round(share * head_size))
    hidden_target, inner_target = heads * kept, max(1, inner * kept // head_size)
    made = {
        "hidden": Width(
            hidden,
            hidden_target,
            outputs=tuple(name for n in layers for name in (n.attention_output, n.down)),
            inputs=(*(name for n in layers for name in (n.query, n.key, n.value, n.up)), "pooler"),
            norms=(
                f"{EMBEDDINGS}.LayerNorm",
                *(name for n in layers for name in (n.attention_norm, n.norm)),
            ),
            tables=tuple(f"{EMBEDDINGS}.{name}" for name, _ in named_embeddings(model)),
        ),
        "pooled": Width(hidden, hidden_target, outputs=("pooler",), inputs=("classifier",)),
    }
    for k, n in enumerate(layers):
        projections = (n.query, n.key, n.value)
        made[f"attention{k}"] = Width(
            hidden, hidden_target, heads, projections, (n.attention_output,)
        )
        made[f"ffn{k}"] = Width(inner, inner_target, 1, (n.up,), (n.down,))
    return made


def named_embeddings(model: Classifier) -> list[tuple[str, Any]]:
    """The embedding tables that the encoder has: of words, positions and, often, token types."""
    tables = module(model, EMBEDDINGS).named_children()
    return [(name, table) for name, table in tables if name.endswith("_embeddings")]


def strongest(scores: Tensor, chunks: int, count: int) -> Tensor:
    """A mask of the dimensions with the highest scores.

    Args:
        scores: (size,).
        chunks: Equal parts of the dimensions, in which equally many are kept.
        count: How many are kept in all; a multiple of `chunks`.

    Returns:
        (size,), 1 where a dimension is kept, else 0.
    """
    parts = scores.view(chunks, -1)
    kept = parts.topk(count // chunks, dim=1).indices
    return torch.zeros_like(parts).scatter_(1, kept, 1.0).flatten()


class MaskedLayerNorm(nn.Module):
    """LayerNorm whose mean and variance are those of the dimensions that are kept.

    With all dimensions kept it is `nn.LayerNorm`; with the parameters of the others set to 0, its
    output is that of a LayerNorm over the kept ones, and 0 elsewhere.

    Args:
        norm: Gives the parameters and epsilon.
        mask: (size,), 1 where a dimension is kept, else 0.
    """

    def __init__(self, norm: nn.LayerNorm, mask: nn.Parameter) -> None:
        super().__init__()
        self.weight, self.bias, self.eps, self.mask = norm.weight, norm.bias, norm.eps, mask

    def forward(self, states: Tensor) -> Tensor:
        """Normalise states (..., size)."""
        states, kept = (
            states.to(self.weight.dtype),
            self.mask.sum(),
        )  # autocast keeps it float32 too
        centred = states - (states * self.mask).sum(-1, keepdim=True) / kept
        variance = (centred.square() * self.mask).sum(-1, keepdim=True) / kept
        return centred * torch.rsqrt(variance + self.eps) * self.weight + self.bias

    def plain(self) -> nn.LayerNorm:
        """An `nn.LayerNorm` with the same parameters."""
        norm = nn.LayerNorm(len(self.weight), self.eps)
        norm.weight, norm.bias = self.weight, self.bias
        return norm


def mask_norms(model: Classifier, width: Width, mask: nn.Parameter) -> None:
    """Replace the LayerNorms of a width by `MaskedLayerNorm` with one shared mask (in place)."""
    for name in width.norms:
        model.set_submodule(name, MaskedLayerNorm(module(model, name), mask))


def restore_norms(model: Classifier) -> None:
    """The inverse of `mask_norms` (in place)."""
    for name, part in list(model.named_modules()):
        if isinstance(part, MaskedLayerNorm):
            model.set_submodule(name, part.plain())


def along(mask: Tensor, parameter: Tensor, dim: int) -> Tensor:
    """A mask of the rows (dim 0) or columns (dim 1) of a parameter, in a shape to multiply it with.

    A vector, such as a bias, has one entry per row.
    """
    return mask[:, None] if parameter.ndim == 2 and dim == 0 else mask


@torch.no_grad()
def narrow(model: Classifier, masks: dict[str, Tensor], share: float) -> Classifier:
    """Remove dimensions of a model with a plain encoder.

    The result is the model itself wherever what is removed was 0. Attention divides scores by the
    square root of the head size, so the Query maps are multiplied by sqrt(new / old head size).

    Args:
        model: A classifier with a plain encoder; its parameters are copied.
        masks: For each width of `widths`, (size,), 1 where a dimension is kept, else 0.
        share: As for `widths`.
    """
    config, every = copy.deepcopy(model.encoder.config), widths(model, share)
    config.hidden_size, config.intermediate_size = every["hidden"].target, every["ffn0"].target
    state = {name: p.detach().clone() for name, p in model.named_parameters()}
    for name, width in every.items():
        kept = masks[name].nonzero().flatten()
        for place in (*width.outputs, *width.norms):
            for leaf in ("weight", "bias"):
                state[f"{place}.{leaf}"] = state[f"{place}.{leaf}"].index_select(0, kept)
        for place in (*width.inputs, *width.tables):
            state[f"{place}.weight"] = state[f"{place}.weight"].index_select(1, kept)
    factor = (every["hidden"].target / every["hidden"].size) ** 0.5
    for names in layer_names(model):
        for leaf in ("weight", "bias"):
            state[f"{names.query}.{leaf}"] *= factor
    encoder: Any = type(model.encoder)(config)
    narrowed = Classifier(encoder, model.classifier.out_features, model.dropout.p)
    narrowed.to(model.classifier.weight).train(model.training)
    for name, parameter in narrowed.named_parameters():
        parameter.copy_(state[name])
    return narrowed


def module(model: nn.Module, name: str) -> Any:
    """The module at a place, such as "encoder.encoder.layer.0.output.dense"."""
    return model.get_submodule(name)
