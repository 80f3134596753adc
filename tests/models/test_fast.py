"""The packed forward pass against transformers' padded encoder, dropout and training words."""

import contextlib
import math
from functools import partial

import pytest
import torch
from tiny import batch, encoder

from repro.models.classifier import Classifier
from repro.models.fast import PACKED, Dropout, Layout, cls_states, training_words
from repro.models.layers import effective_layers
from repro.models.sps import layers_of, share
from repro.training import optim

LAYOUTS = {
    "bucketed": partial(Layout.bucketed, multiple=2),
    "filled": partial(Layout.bucketed, rows_multiple=64),
    "padded": Layout.padded,
}


def run(states: torch.Tensor, model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The states, and every parameter's gradient of a loss of all states."""
    model.zero_grad()
    weights = torch.linspace(1, 2, states.numel(), dtype=states.dtype).view_as(states)
    (states.sin() * weights).sum().backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return {"states": states.detach()} | gradients


def library(model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """[CLS] of every layer, by transformers."""
    states = model(**inputs, output_hidden_states=True).hidden_states[1:]
    return torch.stack([state[:, 0] for state in states], 1)  # (batch, layers, hidden)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", PACKED)
@pytest.mark.parametrize("sharing", ["none", "shuffled"])
@pytest.mark.parametrize("layers", [1, 2])
def test_states_and_gradients_are_those_of_transformers(kind, sharing, layers, layout):
    model, inputs = encoder(kind, layers), batch(4, 9)
    share(model, effective_layers(layers, sharing))
    inputs["attention_mask"][1, 3:] = 0
    padding = inputs["attention_mask"] == 0
    inputs["input_ids"][padding] = model.config.pad_token_id  # roberta counts positions by it
    made = LAYOUTS[layout](inputs["attention_mask"])
    ids = {name: value for name, value in inputs.items() if name != "attention_mask"}
    got = run(cls_states(model, layers_of(model), made, **ids), model)
    wanted = run(library(model, inputs), model)
    assert len(wanted) > 10 and wanted.keys() - got.keys() <= {
        "pooler.dense.weight",
        "pooler.dense.bias",
    }
    for name, value in got.items():
        torch.testing.assert_close(value, wanted[name], rtol=0, atol=1e-10, msg=name)


def test_a_batch_in_bfloat16_is_filled_up_to_64_rows():
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        layout = Layout.fitting(mask)
    assert (
        len(layout.rows) == 64
        and layout.blocks[-1].tokens == 64 - 2 * 8
        and layout.back.tolist() == [1, 0]
    )
    assert len(Layout.fitting(mask).rows) == 2 * 8


def test_token_types_are_used():
    model = encoder("bert", 2)
    types = torch.tensor([[0, 0, 0, 1, 1, 1, 1]] * 3)
    inputs = batch() | {"token_type_ids": types}
    layout = Layout.bucketed(inputs["attention_mask"])
    got = cls_states(model, layers_of(model), layout, inputs["input_ids"], types)
    torch.testing.assert_close(got, library(model, inputs), rtol=0, atol=1e-12)


def test_examples_of_like_length_form_blocks():
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 0, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 0, 0, 0]])
    layout = Layout.bucketed(mask, multiple=2)
    assert [(block.examples, block.tokens) for block in layout.blocks] == [(2, 2), (1, 4), (1, 6)]
    assert layout.rows.tolist() == [5, 6, 15, 16, 10, 11, 12, 13, 0, 1, 2, 3, 4, 4]
    assert layout.starts.tolist() == [0, 2, 4, 8] and layout.back.tolist() == [3, 0, 2, 1]
    assert layout.blocks[0].bias.squeeze().tolist() == [[0, -math.inf], [0, 0]]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_attention_dropout_keeps_the_mean(layout):
    """Attention dropout is unbiased: the mean over many draws is near the evaluation state."""
    model = Classifier(encoder("bert", 1), 2).double()
    for module in model.encoder.modules():
        if isinstance(module, Dropout):
            module.p = 0.0
    layer, inputs = layers_of(model.encoder)[0], batch()
    layer.attention.self.dropout.p = 0.3
    mixed: list[torch.Tensor] = []
    layer.attention.output.register_forward_pre_hook(
        lambda module, args: mixed.append(args[0].detach())
    )
    made = LAYOUTS[layout](inputs["attention_mask"])
    torch.manual_seed(0)
    for training in [False] + [True] * 400:
        model.train(training)
        cls_states(model.encoder, layers_of(model.encoder), made, inputs["input_ids"])
    drawn = torch.stack(mixed[1:])
    assert (drawn.std(0) > 0).all()
    error = (drawn.mean(0) - mixed[0]).abs() / (
        drawn.std(0) / 20
    )  # in standard errors of 400 draws
    assert error.max() < 5


def test_the_classifier_pools_cls_of_the_last_layer():
    model = Classifier(encoder("bert", 2), 2).double().eval()
    output = model(**batch())
    torch.testing.assert_close(
        output.cls_states, library(model.encoder, batch()), rtol=0, atol=1e-12
    )
    torch.testing.assert_close(
        output.pooled, torch.tanh(model.pooler(output.cls_states[:, -1])), rtol=0, atol=0
    )


@pytest.mark.parametrize("share", [0.1, 0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_drops_its_share_and_keeps_the_mean(share, dtype):
    torch.manual_seed(0)
    dropped = Dropout(share)(torch.ones(1001, 999, dtype=dtype))
    values = dropped.unique().tolist()
    assert values[0] == 0 and values[1:] == [pytest.approx(1 / (1 - share), rel=4e-3)]
    assert (dropped == 0).double().mean().item() == pytest.approx(
        share, abs=2e-3
    )  # six standard errors
    assert Dropout(share).eval()(dropped) is dropped


def test_dropout_rows_and_columns_are_independent():
    torch.manual_seed(1)
    kept = (Dropout(0.5)(torch.ones(4096, 64)) != 0).double()
    correlation = torch.corrcoef(kept.T) - torch.eye(64)
    assert correlation.abs().max() < 0.08  # five standard errors of 4,096 draws


def test_every_dropout_of_a_classifier_is_the_fast_one():
    made = [
        m for m in Classifier(encoder("bert", 2), 2).modules() if isinstance(m, torch.nn.Dropout)
    ]
    assert len(made) == 2 * 3 + 2 and all(type(module) is Dropout for module in made)


# training words

STEPS = 12


def trained(
    optimizer: str, only_words: bool, evaluate_at: int = 0
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Parameters after some steps, and evaluation logits for ids that do not occur in training."""
    torch.manual_seed(0)
    model, inputs = Classifier(encoder("bert", 1), 2, dropout=0.0).double(), batch()
    others = {
        "input_ids": torch.arange(49, 42, -1)[None],
        "attention_mask": torch.ones(1, 7, dtype=torch.long),
    }
    ids = torch.cat([inputs["input_ids"].unique(), torch.tensor([0])]).unique()
    assert set(range(43, 50)) - set(ids.tolist())  # some are new
    logits = torch.empty(0)

    def steps() -> None:
        nonlocal logits
        stepper = optim.build(optimizer, model, 1e-2)
        for step in range(STEPS):
            model.zero_grad()
            model(**inputs).logits.square().sum().backward()
            stepper.step()
            if step == evaluate_at:
                logits = model.eval()(**others).logits.detach()
                model.train()

    model.train()
    if only_words:
        with model.only_words(ids):
            steps()
    else:
        steps()
    return {name: p.detach().clone() for name, p in model.named_parameters()}, logits


@pytest.mark.parametrize("optimizer", ["bertadam", "adamw"])
def test_training_some_words_gives_the_result_of_training_the_whole_table(optimizer):
    (whole, seen), (short, seen_short) = (
        trained(optimizer, only_words, 5) for only_words in (False, True)
    )
    assert whole.keys() == short.keys()
    for name, value in whole.items():
        torch.testing.assert_close(short[name], value, rtol=0, atol=1e-12, msg=name)
    torch.testing.assert_close(seen_short, seen, rtol=0, atol=1e-12)


def test_words_that_do_not_occur_decay():
    start = encoder("bert", 1).get_input_embeddings().weight.detach()
    short, _ = trained("bertadam", True)
    absent = min(set(range(50)) - set(batch()["input_ids"].flatten().tolist()) - {0})
    after = short["encoder.embeddings.word_embeddings.weight"][absent]
    torch.testing.assert_close(
        after, start[absent] * (1 - 1e-2 * optim.WEIGHT_DECAY) ** STEPS, rtol=0, atol=1e-12
    )


def test_the_embeddings_are_restored_after_an_error():
    model = encoder("bert", 1)
    table = model.get_input_embeddings()
    with contextlib.suppress(KeyError), training_words(model, torch.tensor([0, 3])):
        assert model.get_input_embeddings() is not table
        raise KeyError
    assert model.get_input_embeddings() is table
