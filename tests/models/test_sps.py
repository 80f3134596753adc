"""Properties of SPS for every architecture, and the authors' reference vectors, if present."""

import os
from pathlib import Path

import pytest
import torch
from tiny import batch, encoder

from repro.errors import InputError
from repro.models.classifier import Classifier
from repro.models.fast import PACKED
from repro.models.layers import Use, effective_layers
from repro.models.sps import ADAPTERS, adapter, layers_of, share
from repro.runs.reference import check_reference
from repro.training.states import load_state, state_of

REFERENCE = Path(
    os.environ.get("REFERENCE_DIR", Path(__file__).parents[3] / "shared" / "reference")
)


def attention(model, layer):
    return layers_of(model)[layer].get_submodule(adapter(model).attention)


def maps(model, layer):
    """(query, key) of an effective layer."""
    names = adapter(model)
    found = attention(model, layer)
    return getattr(found, names.query), getattr(found, names.key)


@pytest.mark.parametrize("kind", ADAPTERS)
@pytest.mark.parametrize("swapped", [False, True])
def test_the_second_use_has_the_same_tensors(kind, swapped):
    model = encoder(kind, 2)
    before = {id(p) for p in model.parameters()}
    share(model, effective_layers(2, "shuffled" if swapped else "paired"))
    assert len(layers_of(model)) == 4
    assert {id(p) for p in model.parameters()} == before
    for low in (0, 1):
        query, key = maps(model, low)
        later_query, later_key = maps(model, low + 2)
        if swapped:
            query, key = key, query
        assert later_query.weight is query.weight
        assert later_query.bias is query.bias
        assert later_key.weight is key.weight
        assert later_key.bias is key.bias


@pytest.mark.parametrize("kind", ADAPTERS)
def test_the_forward_pass_runs_the_layers_in_order(kind):
    shared = encoder(kind, 2)
    share(shared, effective_layers(2, "paired"))
    unrolled = encoder(kind, 4)
    own = dict(unrolled.named_parameters())
    with torch.no_grad():
        for name, parameter in encoder(kind, 2).named_parameters():
            own[name].copy_(parameter)
        prefix = adapter(unrolled).layers
        for name, parameter in own.items():
            for low in (0, 1):
                if name.startswith(f"{prefix}.{low + 2}."):
                    parameter.copy_(own[name.replace(f"{prefix}.{low + 2}.", f"{prefix}.{low}.")])
    expected, got = (model.eval()(**batch()).last_hidden_state for model in (unrolled, shared))
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


def test_weights_only_swap_keeps_the_biases():
    model = encoder("bert", 1)
    share(model, effective_layers(1, "shuffled"), swap_biases=False)
    (query, key), (later_query, later_key) = maps(model, 0), maps(model, 1)
    assert later_query.weight is key.weight
    assert later_key.weight is query.weight
    assert later_query.bias is query.bias
    assert later_key.bias is key.bias
    assert query.weight is not key.weight


def test_swapped_scores_are_the_transpose():
    model = encoder("bert", 1)
    share(model, effective_layers(1, "shuffled"))
    hidden = torch.randn(2, 5, 16, dtype=torch.float64)
    (query, key), (later_query, later_key) = maps(model, 0), maps(model, 1)
    scores = query(hidden) @ key(hidden).transpose(1, 2)
    swapped = later_query(hidden) @ later_key(hidden).transpose(1, 2)
    torch.testing.assert_close(swapped, scores.transpose(1, 2), rtol=0, atol=1e-12)


def test_gradient_of_a_shared_weight_is_the_sum_over_its_uses():
    shared = encoder("bert", 1)
    share(shared, [Use(0, False), Use(0, True)])
    unshared = encoder("bert", 1)
    share(unshared, [Use(0, False), Use(0, True)])
    copies = [torch.nn.Parameter(p.detach().clone()) for p in layers_of(unshared)[1].parameters()]
    names = [name for name, _ in layers_of(unshared)[1].named_parameters()]
    for name, copy in zip(names, copies, strict=True):  # the second use gets tensors of its own
        module, _, leaf = name.rpartition(".")
        setattr(layers_of(unshared)[1].get_submodule(module), leaf, copy)
    for model in (shared, unshared):
        model(**batch()).last_hidden_state.pow(2).sum().backward()
    (query, key), (first_query, first_key) = maps(shared, 0), maps(unshared, 0)
    second_query, second_key = maps(unshared, 1)
    torch.testing.assert_close(
        query.weight.grad, first_query.weight.grad + second_key.weight.grad, rtol=0, atol=1e-9
    )
    torch.testing.assert_close(
        key.weight.grad, first_key.weight.grad + second_query.weight.grad, rtol=0, atol=1e-9
    )


def test_each_use_draws_its_own_dropout():
    model = encoder("bert", 1)
    share(model, effective_layers(1, "paired"))
    assert layers_of(model)[0].output.dropout is not layers_of(model)[1].output.dropout


def test_classifier_counts_parameters_once_and_restores_its_state():
    model = Classifier(encoder("bert", 3), 2).double()
    plain = model.parameter_counts()
    sps = encoder("bert", 3)
    share(sps, effective_layers(3, "shuffled"))
    student = Classifier(sps, 2).double().eval()
    assert student.parameter_counts() == plain
    state, before = state_of(student), student(**batch())
    for parameter in student.parameters():
        torch.nn.init.zeros_(parameter)
    load_state(student, state)
    torch.testing.assert_close(student(**batch()).logits, before.logits, rtol=0, atol=0)
    assert before.cls_states.shape == (3, 6, 16)


@pytest.mark.parametrize("kind", [kind for kind in ADAPTERS if kind not in PACKED])
def test_cls_states_are_those_of_the_encoder(kind):
    model = Classifier(encoder(kind, 3), 2).double().eval()
    states = model.encoder(**batch(), output_hidden_states=True).hidden_states[1:]
    torch.testing.assert_close(
        model(**batch()).cls_states, torch.stack([s[:, 0] for s in states], 1), rtol=0, atol=0
    )


def test_paper_parameter_counts_of_bert_base():
    from transformers import BertConfig, BertModel

    with torch.device("meta"):
        model = Classifier(BertModel(BertConfig(num_hidden_layers=3)), 2)
    assert model.parameter_counts() == {
        "layers": 21_263_616,
        "with_embeddings": 45_691_392,
        "total": 45_692_930,
    }


def test_unknown_architecture_is_named():
    model = encoder("bert", 1)
    model.config.model_type = "gpt2"
    with pytest.raises(InputError, match="'gpt2'; use one of: bert"):
        share(model, effective_layers(1, "paired"))


@pytest.mark.skipif(
    not REFERENCE.is_dir(), reason="the authors' reference vectors are not beside the project"
)
def test_agrees_with_the_authors_implementation():
    comparisons = check_reference(REFERENCE)
    assert len(comparisons) > 50
    assert [row for row in comparisons if not row.agrees] == []
