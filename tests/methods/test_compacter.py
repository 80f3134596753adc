"""Compacter: the PHM layer, what is trained, and parity with the `adapters` package."""

import json

import adapters_fixture as reference
import numpy as np
import pytest
import tiny
import torch
from transformers import BertConfig, BertModel

from repro.errors import InputError
from repro.methods import compacter, resolve
from repro.models.classifier import Classifier
from repro.training.loop import Hyperparameters, fit
from repro.training.states import state_of

SMALL = compacter.Compacter(parts=2, reduction=4)


def test_the_phm_product_is_a_sum_of_kronecker_products():
    slow = torch.nn.Parameter(torch.randn(4, 4, 4))
    phm = compacter.PHM(12, 8, 2, slow)
    torch.nn.init.normal_(phm.bias)
    matrix = sum(torch.kron(slow[i], phm.left[i] @ phm.right[i]) for i in range(4))
    torch.testing.assert_close(phm.matrix(), matrix)
    states = torch.randn(3, 5, 12)
    torch.testing.assert_close(phm(states), states @ matrix + phm.bias)


@pytest.mark.parametrize(
    ("variant", "adapters", "trained"), [("both", 57_088, 95_488), ("ffn", 28_576, 66_976)]
)
def test_trained_parameters_of_bert_base(variant, adapters, trained):
    with torch.device("meta"):
        plain = Classifier(BertModel(BertConfig()), 2)
        resolve(f"compacter:{variant}", None, None, ()).begin(plain)
    encoder = [p for p in plain.encoder.parameters() if p.requires_grad]
    norms = sum(
        p.numel()
        for m in plain.modules()
        if isinstance(m, torch.nn.LayerNorm)
        for p in m.parameters()
    )
    assert sum(p.numel() for p in encoder) == trained
    assert trained - norms == adapters == json.loads(reference.FILE.read_text())[variant]["count"]


@pytest.mark.parametrize("variant", compacter.VARIANTS)
def test_states_and_gradients_are_those_of_the_adapters_package(variant):
    plain = Classifier(BertModel(BertConfig(**reference.CONFIG)), 2).double().eval()
    method = compacter.Compacter(attention=variant == "both", reduction=reference.REDUCTION)
    encoder = method.begin(plain).encoder
    names = {name: canonical(name) for name, _ in encoder.named_parameters()}
    for name, parameter in encoder.named_parameters():
        parameter.data = reference.values(names[name], parameter.shape)
    states = encoder(reference.IDS).last_hidden_state[:, 0]
    (states * reference.values("loss", states.shape)).sum().backward()
    expected = json.loads(reference.FILE.read_text())[variant]
    np.testing.assert_allclose(states.detach(), expected["states"], rtol=0, atol=1e-9)
    gradients = {
        names[name]: p.grad.norm().item()
        for name, p in encoder.named_parameters()
        if names[name] in expected["gradients"]
    }
    assert gradients == pytest.approx(expected["gradients"], rel=1e-6, abs=0)
    assert min(gradients.values()) > 1e-8


def canonical(name):
    """The fixture's name of a parameter of our encoder."""
    if ".dense.0." in name:
        return name.replace(".dense.0.", ".dense.")
    if ".dense.1." not in name:
        return name
    *place, direction, leaf = name.split(".")
    return (
        "slow"
        if leaf == "slow"
        else f"{place[2]}.{'attention' if 'attention' in place else 'ffn'}.{direction}.{leaf}"
    )


def test_new_adapters_hardly_change_the_encoder():
    plain = Classifier(tiny.encoder(), 2).double().eval()
    before = plain(**tiny.batch()).cls_states
    after = SMALL.begin(plain).eval()(**tiny.batch()).cls_states
    assert 0 < (after - before).abs().max() < 1e-3


def test_the_initial_values():
    torch.manual_seed(0)
    plain = SMALL.begin(Classifier(tiny.encoder(), 2).double())
    adapters = [m for m in plain.modules() if isinstance(m, compacter.Adapter)]
    assert (
        len(adapters) == 6 and len({id(phm.slow) for a in adapters for phm in (a.down, a.up)}) == 1
    )
    phm = compacter.PHM(400, 80, 1, torch.nn.Parameter(torch.zeros(4, 4, 4)))
    bound = 2**0.5 * (6 / (100 + 1)) ** 0.5  # Glorot-uniform of a 100 x 1 matrix, gain sqrt(2)
    assert 0.9 * bound < phm.left.abs().max() <= bound and (phm.bias == 0).all()
    slow = compacter.Compacter(parts=16, reduction=1).begin(Classifier(tiny.encoder(), 2).double())
    std = slow.encoder.encoder.layer[0].output.dense[1].up.slow.std().item()
    assert std == pytest.approx(1e-4, rel=0.1)


@pytest.mark.parametrize("kind", ["bert", "roberta", "mpnet"])
@pytest.mark.parametrize("optimizer", ["bertadam", "adamw"])
def test_only_adapters_layer_norms_and_the_head_are_trained(kind, optimizer):
    model = SMALL.begin(Classifier(tiny.encoder(kind), 2).float())
    before, (data, labels) = state_of(model), tiny.problem()
    settings = Hyperparameters(1e-2, 8, 2, 2, optimizer, True, 0, "float32", 1)
    objective = SMALL.objective(torch.from_numpy(labels), {})
    fit(model, data, np.arange(48), objective, settings, SMALL.callbacks())
    after = state_of(model)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    expected = {
        name
        for name in before
        if "LayerNorm" in name
        or ".1.down." in name
        or ".1.up." in name
        or name.startswith(("pooler", "classifier"))
    }
    assert changed == expected


def test_a_width_that_does_not_divide():
    with pytest.raises(InputError, match="must be a multiple of 5 for compacter, got 16"):
        compacter.Compacter(parts=5).begin(Classifier(tiny.encoder(), 2))


def test_a_narrow_encoder_has_adapters_as_wide_as_phm_needs():
    plain = resolve("compacter", None, None, ()).begin(Classifier(tiny.encoder(), 2))
    assert plain.encoder.encoder.layer[0].output.dense[1].down.bias.shape == (4,)


def test_variants():
    assert resolve("compacter", None, None, ()).attention
    with pytest.raises(InputError, match=r"'\+\+'; use one of: both, ffn"):
        resolve("compacter:++", None, None, ())
