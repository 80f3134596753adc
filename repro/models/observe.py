"""What happens inside an encoder: states, queries, keys and values of every token.

`Classifier.forward` returns only what the paper's losses use, and computes only that. Losses that
compare attention or the states of all tokens run the encoder of transformers itself, with hooks.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from repro.models.classifier import Classifier
from repro.models.sps import adapter, layers_of

_VALUE = {"query": "value", "q": "v", "q_lin": "v_lin"}  # the Value map beside each Query map
States = tuple[Tensor, ...]


class Observed(NamedTuple):
    """A forward pass with what happens inside.

    Attributes:
        mask: (batch, tokens), True for tokens and False for padding.
        hidden: State 0 is the embeddings, state l the output of layer l; each (batch, tokens,
            hidden).
        queries: Of each layer, (batch, heads, tokens, head size).
        keys: The same.
        values: The same.
    """

    mask: Tensor
    hidden: States
    queries: States
    keys: States
    values: States

    def float(self) -> "Observed":
        """The same in float32."""
        return Observed(self.mask, *(tuple(part.float() for part in parts) for parts in self[1:]))


def observe(model: Classifier, attention_mask: Tensor, **inputs: Tensor) -> Observed:
    """Run a model's encoder and keep what happens inside.

    Args:
        model: A classifier of any architecture in `sps.ADAPTERS`.
        attention_mask: (batch, tokens), 1 for tokens and 0 for the padding at the end.
        **inputs: The encoder's other inputs, each (batch, tokens).
    """
    encoder: Any = model.encoder
    names, layers = adapter(encoder), layers_of(encoder)
    attentions = [layer.get_submodule(names.attention) for layer in layers]
    kept: dict[str, list[Tensor]] = {"hidden": [], "query": [], "key": [], "value": []}

    def keep(name: str) -> Callable[[nn.Module, tuple, Any], None]:
        def hook(module: nn.Module, args: tuple, output: Any) -> None:
            kept[name].append(output[0] if isinstance(output, tuple) else output)

        return hook

    # A swapped layer holds its Key map under the name of the Query map, so hooks see it as it runs.
    maps = {"query": names.query, "key": names.key, "value": _VALUE[names.query]}
    hooks = [
        getattr(attention, attribute).register_forward_hook(keep(name))
        for attention in attentions
        for name, attribute in maps.items()
    ]
    hooks += [layer.register_forward_hook(keep("hidden")) for layer in layers]
    first = layers[0].register_forward_pre_hook(lambda _, args: kept["hidden"].append(args[0]))
    try:
        encoder(attention_mask=attention_mask, **inputs)
    finally:
        for handle in (*hooks, first):
            handle.remove()
        model._states.clear()  # of the classifier's own hooks
    heads = encoder.config.num_attention_heads
    split = {
        name: tuple(part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in kept[name])
        for name in maps
    }  # (batch, heads, tokens, head size)
    mask = attention_mask.bool()
    return Observed(mask, tuple(kept["hidden"]), split["query"], split["key"], split["value"])


def scores(queries: Tensor, keys: Tensor) -> Tensor:
    """Attention scores before the softmax: Q Kᵀ / √d.

    MPNet's bias of relative positions is left out; it is the same in teacher and student at first.

    Args:
        queries: Q (batch, heads, tokens, d).
        keys: K (batch, heads, tokens, d).

    Returns:
        (batch, heads, tokens, tokens): a row per query, a column per key.
    """
    return queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5


def copy_layers(student: Classifier, source: Classifier, chosen: Sequence[int]) -> None:
    """Start a student's stored layers from chosen layers of another model (in place).

    Args:
        student: Its first `len(chosen)` layers are its stored ones.
        source: A model of the same width.
        chosen: Layers of the source, counted from 0, bottom to top.
    """
    sources = layers_of(source.encoder)
    for layer, index in zip(layers_of(student.encoder), chosen, strict=False):
        layer.load_state_dict(sources[index].state_dict())
