"""Training only the words that occur, against training the whole table."""

import contextlib

import pytest
import torch
from tiny import batch, encoder

from repro.models.classifier import Classifier
from repro.models.fast import training_words
from repro.training import optim

STEPS = 12


def trained(
    optimizer: str, restrict: bool, evaluate_at: int = 0
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Parameters after some steps on one batch, and logits in evaluation mode for ids that never occurred."""
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
    if restrict:
        with training_words(model.encoder, ids):
            steps()
    else:
        steps()
    return {name: p.detach().clone() for name, p in model.named_parameters()}, logits


@pytest.mark.parametrize("optimizer", ["bertadam", "adamw"])
def test_the_result_is_that_of_the_whole_table(optimizer):
    (whole, seen), (short, seen_short) = (
        trained(optimizer, restrict, 5) for restrict in (False, True)
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


def test_the_table_comes_back_after_an_error():
    model = encoder("bert", 1)
    table = model.get_input_embeddings()
    with contextlib.suppress(KeyError), training_words(model, torch.tensor([0, 3])):
        assert model.get_input_embeddings() is not table
        raise KeyError
    assert model.get_input_embeddings() is table
