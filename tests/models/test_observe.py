"""What `observe` keeps is what transformers computes."""

import pytest
import torch
from tiny import batch, encoder

from repro.models.classifier import Classifier
from repro.models.layers import effective_layers
from repro.models.observe import copy_layers, observe, scores
from repro.models.sps import ADAPTERS, layers_of, share

KINDS = list(ADAPTERS)


def eager(kind):
    made = encoder(kind)
    made.set_attn_implementation("eager")
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_the_states_are_those_of_transformers(kind):
    expected = encoder(kind)(**batch(), output_hidden_states=True).hidden_states
    observed = observe(Classifier(encoder(kind), 2).eval(), **batch())
    assert len(observed.hidden) == len(expected) == 4
    real = batch()["attention_mask"].bool()
    for own, theirs in zip(observed.hidden, expected, strict=True):
        assert torch.allclose(own[real], theirs[real], rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "mpnet"])
def test_the_scores_give_the_attention_of_transformers(kind):
    """MPNet adds a bias of relative positions."""
    expected = eager(kind).eval()(**batch(), output_attentions=True).attentions
    observed = observe(Classifier(encoder(kind), 2).eval(), **batch())
    padding = ~observed.mask[:, None, None]
    for query, key, theirs in zip(observed.queries, observed.keys, expected, strict=True):
        own = scores(query, key).masked_fill(padding, -torch.inf).softmax(-1)
        assert torch.allclose(own, theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_the_values_are_the_value_map_of_the_layers_input(kind):
    model = Classifier(encoder(kind), 2).eval()
    observed = observe(model, **batch())
    names = {"bert": "attention.self.value", "mpnet": "attention.attn.v"}
    names |= {"distilbert": "attention.v_lin"}
    layer = layers_of(model.encoder)[1].get_submodule(names.get(kind, names["bert"]))
    together = observed.values[1].transpose(1, 2).flatten(2)
    assert torch.equal(together, layer(observed.hidden[1]))


def test_a_swapped_layer_asks_with_its_key_map():
    plain, swapped = encoder("bert", 2), encoder("bert", 2)
    share(swapped, effective_layers(2, "shuffled"))
    observed = observe(Classifier(swapped, 2).eval(), **batch())
    assert len(observed.queries) == 4
    attention = layers_of(plain)[0].attention.self
    asked = observed.queries[2].transpose(1, 2).flatten(2)
    assert torch.allclose(asked, attention.key(observed.hidden[2]))
    assert torch.allclose(
        observed.keys[2].transpose(1, 2).flatten(2), attention.query(observed.hidden[2])
    )


@pytest.mark.parametrize("kind", ["bert", "mpnet"])
def test_observing_leaves_nothing_behind(kind):
    model = Classifier(encoder(kind), 2).double().eval()
    before = model(**batch())
    observe(model, **batch())
    hooks = [len(module._forward_hooks) for module in model.modules()]
    observe(model, **batch())
    assert [len(module._forward_hooks) for module in model.modules()] == hooks
    assert torch.equal(model(**batch()).cls_states, before.cls_states)


def test_scores_of_two_tokens():
    """Q Kᵀ / √d with d = 4."""
    queries = torch.tensor([[[[1.0, 0.0, 1.0, 0.0], [0.0, 2.0, 0.0, 0.0]]]])
    keys = torch.tensor([[[[1.0, 1.0, 1.0, 1.0], [3.0, 0.0, 1.0, 0.0]]]])
    assert scores(queries, keys).tolist() == [[[[1.0, 2.0], [1.0, 0.0]]]]


def test_chosen_layers_are_copied_in_order():
    student, source = Classifier(encoder("bert", 2), 2), Classifier(encoder("bert", 5), 2)
    copy_layers(student, source, (1, 4))
    for own, theirs in ((0, 1), (1, 4)):
        expected = layers_of(source.encoder)[theirs].state_dict()
        for name, value in layers_of(student.encoder)[own].state_dict().items():
            assert torch.equal(value, expected[name]), name
