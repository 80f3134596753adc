"""Removing dimensions that are 0 changes nothing; the result is a plain, smaller encoder."""

import pytest
import tiny
import torch
from transformers import AutoModel

from repro.errors import InputError
from repro.models import narrow
from repro.models.classifier import Classifier

KINDS = ("bert", "roberta", "mpnet")


def model(kind="bert"):
    return Classifier(tiny.encoder(kind), 2).double().eval()


def half(made, share=0.5):
    """Random masks that keep the target of each width."""
    draw = torch.Generator().manual_seed(0)
    return {
        name: narrow.strongest(torch.rand(w.size, generator=draw), w.chunks, w.target)
        for name, w in narrow.widths(made, share).items()
    }


@torch.no_grad()
def silence(made, masks):
    """Set all that belongs to masked dimensions to 0, and mask the LayerNorms."""
    every = narrow.widths(made, 0.5)
    for name, width in every.items():
        mask = masks[name].double()
        for place in width.outputs:
            made.get_submodule(place).weight.mul_(mask[:, None])
            made.get_submodule(place).bias.mul_(mask)
        for place in width.norms:
            made.get_submodule(place).weight.mul_(mask)
            made.get_submodule(place).bias.mul_(mask)
    hidden = torch.nn.Parameter(masks["hidden"].double(), requires_grad=False)
    narrow.mask_norms(made, every["hidden"], hidden)


@pytest.mark.parametrize("kind", KINDS)
def test_a_masked_model_is_the_narrowed_one(kind):
    made = model(kind)
    masks = half(made)
    silence(made, masks)
    expected = made(**tiny.batch())
    narrow.restore_norms(made)
    narrowed = narrow.narrow(made, masks, 0.5)
    got = narrowed(**tiny.batch())
    torch.testing.assert_close(got.logits, expected.logits, rtol=0, atol=1e-10)
    kept = masks["hidden"].bool()
    torch.testing.assert_close(got.cls_states, expected.cls_states[..., kept], rtol=0, atol=1e-10)
    assert (expected.cls_states[..., ~kept] == 0).all()
    assert not torch.allclose(expected.logits[0], expected.logits[1])


@pytest.mark.parametrize("kind", KINDS)
def test_the_narrowed_encoder_loads_as_a_plain_one(kind, tmp_path):
    made = model(kind)
    narrowed = narrow.narrow(made, half(made), 0.5)
    narrowed.encoder.save_pretrained(tmp_path)
    loaded, info = AutoModel.from_pretrained(
        tmp_path, add_pooling_layer=False, output_loading_info=True, dtype="float64"
    )
    assert not info["missing_keys"] and not info["unexpected_keys"]
    config = loaded.config
    sizes = config.hidden_size, config.intermediate_size, config.num_attention_heads
    assert sizes == (8, 16, 2)
    states = loaded.eval()(**tiny.batch()).last_hidden_state[:, 0]
    ours = narrowed(**tiny.batch()).cls_states[:, -1]
    torch.testing.assert_close(states, ours, rtol=0, atol=1e-10)


def test_heads_keep_equally_many_dimensions():
    widths = narrow.widths(model(), 0.75)
    assert (widths["attention0"].size, widths["attention0"].target) == (16, 12)
    assert (widths["hidden"].target, widths["ffn2"].target) == (12, 24)
    mask = narrow.strongest(torch.arange(16.0), 2, 12)
    assert mask.tolist() == [0, 0, 1, 1, 1, 1, 1, 1] * 2


def test_every_parameter_of_the_encoder_belongs_to_a_width():
    """So that none is left at its old size."""
    made = model()
    shapes = {n: p.shape for n, p in made.named_parameters() if not n.startswith("classifier.b")}
    narrowed = dict(narrow.narrow(made, half(made), 0.5).named_parameters())
    assert all(narrowed[name].numel() < shape.numel() for name, shape in shapes.items())


def test_a_masked_layer_norm_that_keeps_everything_is_a_layer_norm():
    norm = torch.nn.LayerNorm(6).double()
    torch.nn.init.normal_(norm.weight)
    states = torch.randn(2, 3, 6, dtype=torch.float64)
    mask = torch.nn.Parameter(torch.ones(6, dtype=torch.float64), requires_grad=False)
    masked = narrow.MaskedLayerNorm(norm, mask)
    torch.testing.assert_close(masked(states), norm(states))


def test_other_architectures_are_refused():
    with pytest.raises(InputError, match="'electra'; use one of: bert, roberta, mpnet"):
        narrow.widths(model("electra"), 0.5)
