"""The training loop learns, keeps the right checkpoint, is repeatable and stops when it must."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import encoder, problem

from repro.errors import InputError, TrainingError
from repro.methods.finetune import FineTuning
from repro.models.classifier import Classifier
from repro.training import loop
from repro.training.loop import Evaluation, Hyperparameters, batches, fit, predict

PLAN = Hyperparameters(
    learning_rate=5e-3,
    batch_size=8,
    epochs=6,
    stop_epoch=6,
    optimizer="adamw",
    shuffle=True,
    seed=0,
    precision="float32",
    evaluations_per_epoch=2,
)
DATA, LABELS = problem()
ROWS = np.arange(len(LABELS))


def model() -> Classifier:
    made = encoder("bert", 2).float()
    torch.manual_seed(3)
    for name, parameter in made.named_parameters():
        if "LayerNorm" not in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return Classifier(made, 2)


def run(plan: Hyperparameters = PLAN, evaluate=None, objective=None):
    made = model()
    torch.manual_seed(plan.seed)
    objective = objective or FineTuning().objective(torch.from_numpy(LABELS), {})
    callbacks = [Evaluation(evaluate)] if evaluate else []
    fitted = fit(made, DATA, ROWS, objective, plan, callbacks)
    return fitted, predict(made, DATA)[0]


def test_it_learns():
    fitted, logits = run(replace(PLAN, epochs=20, stop_epoch=20))
    assert (logits.argmax(1) == LABELS).mean() > 0.9
    assert fitted.step == 20 * 6
    assert math.isnan(fitted.best_score)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_twice_the_same_is_bitwise_the_same(precision):
    plan = replace(PLAN, precision=precision)
    assert (run(plan)[1] == run(plan)[1]).all()
    assert (run(plan)[1] != run(replace(plan, seed=1))[1]).any()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_forward_passes_have_the_precision_and_losses_and_weights_float32(precision):
    made, forward, losses = model(), set(), set()
    made.classifier.register_forward_hook(lambda module, args, logits: forward.add(logits.dtype))

    def objective(output, rows):
        losses.add(output.logits.dtype)
        return {"ce": output.logits.square().mean()}

    fit(made, DATA, ROWS, objective, replace(PLAN, precision=precision, epochs=1, stop_epoch=1))
    assert forward == {getattr(torch, precision)}
    forward.clear()
    predict(made, DATA, precision=precision)
    assert forward == {getattr(torch, precision)}
    assert losses == {parameter.dtype for parameter in made.parameters()} == {torch.float32}


@pytest.mark.parametrize(("native", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_precision_auto_is_what_the_processor_multiplies_in(monkeypatch, native, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native, raising=False)
    assert loop.resolve_precision("auto") == expected
    assert loop.resolve_precision("float32") == "float32"


def test_the_best_checkpoint_is_kept():
    scores = iter([0.3, 0.9, 0.5, 0.9] + [0.1] * 20)
    kept = []

    def evaluate(made: Classifier) -> float:
        kept.append(predict(made, DATA)[0])
        return next(scores)

    fitted, logits = run(evaluate=evaluate)
    assert (fitted.best_score, fitted.best_step) == (
        0.9,
        6,
    )  # every 3 of 6 steps; of equals the first
    assert (logits == kept[1]).all()
    assert len(fitted.history) == 12
    assert set(fitted.history[0]) == {"step", "score", "learning_rate", "ce"}


def test_patience_ends_training_early():
    scores = iter([0.5, 0.6, 0.1, 0.2, 0.3] + [1.0] * 9)
    fitted, _ = run(replace(PLAN, patience=3), lambda made: next(scores))
    assert fitted.step == 15
    assert fitted.best_step == 6


def test_stop_epoch_ends_within_the_longer_schedule():
    fitted, _ = run(replace(PLAN, stop_epoch=2), lambda made: 0.0)
    assert fitted.step == 12
    assert fitted.history[-1]["learning_rate"] == pytest.approx(
        PLAN.learning_rate * (1 - 11 / 36) / 0.9
    )


def test_the_last_step_is_evaluated_too():
    plan = replace(PLAN, batch_size=10, epochs=2, stop_epoch=1)  # five steps, evaluated every two
    fitted, _ = run(plan, lambda made: 0.0)
    assert [entry["step"] for entry in fitted.history] == [2, 4, 5]


def test_unshuffled_reads_in_order_and_shuffled_reads_all():
    assert [
        rows.tolist()
        for rows in batches(
            np.arange(5), replace(PLAN, shuffle=False, batch_size=2, epochs=1, stop_epoch=1)
        )
    ] == [[0, 1], [2, 3], [4]]
    epochs = np.concatenate(
        list(batches(np.arange(5), replace(PLAN, batch_size=2, epochs=2, stop_epoch=2)))
    ).reshape(2, 5)
    assert (np.sort(epochs) == np.arange(5)).all()
    assert (epochs[0] != epochs[1]).any()


def test_a_loss_that_is_not_finite_stops_with_step_and_rate():
    def objective(output, rows):
        return {"ce": output.logits.sum() * (math.nan if rows.min() == 16 else 0.0)}

    with pytest.raises(
        TrainingError, match=r"not finite at step 3, learning rate 0\.00278 \(ce nan\)"
    ):
        run(replace(PLAN, shuffle=False), objective=objective)


def test_an_empty_training_set_is_refused():
    with pytest.raises(InputError, match="training set is empty"):
        fit(model(), DATA, ROWS[:0], FineTuning().objective(torch.from_numpy(LABELS), {}), PLAN)


def test_prediction_does_not_depend_on_order_or_padding():
    made = model()
    whole, states = predict(made, DATA, states=True)
    backwards, turned = predict(made, DATA, ROWS[::-1].copy(), batch_size=5, states=True)
    np.testing.assert_allclose(backwards[::-1], whole, rtol=0, atol=1e-5)
    assert states is not None and turned is not None
    torch.testing.assert_close(turned.flip(0), states, rtol=0, atol=1e-5)
    alone = made.eval()(**DATA.batch([7])).cls_states[0]
    torch.testing.assert_close(states[7], alone, rtol=0, atol=1e-5)
    assert states.shape == (48, 2, 16)
