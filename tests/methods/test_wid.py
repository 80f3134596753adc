"""WID: compactors, masks, the rule for gradients, and the merge."""

from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch

from repro.methods import wid
from repro.models.classifier import Classifier, Output
from repro.training.loop import Callback, Hyperparameters, fit

STEPS = 24  # 4 epochs of 48 examples in batches of 8
WID = wid.WID()


def student(method=WID):
    plain = Classifier(tiny.encoder(), 2, 0.0).double()
    torch.nn.init.normal_(plain.classifier.weight)  # so that logits differ between examples
    return method.begin(plain)


def train(model, *callbacks, method=WID, rate=0.005):
    data, labels = tiny.problem()
    settings = Hyperparameters(rate, 8, 4, 4, "bertadam", True, 0, "float32", 1)
    objective = method.objective(torch.from_numpy(labels), {})
    fit(model, data, np.arange(48), objective, settings, [*method.callbacks(), *callbacks])
    return data


@pytest.fixture
def _float64(monkeypatch):
    monkeypatch.setattr(Output, "float", lambda self: self)


@pytest.mark.parametrize("kind", ["bert", "roberta", "mpnet"])
def test_identity_compactors_change_nothing(kind):
    plain = Classifier(tiny.encoder(kind), 2).double().eval()
    before = plain(**tiny.batch()).logits
    after = WID.begin(plain).eval()(**tiny.batch()).logits
    torch.testing.assert_close(after, before, rtol=0, atol=1e-12)
    assert sum(isinstance(part, wid.Compactor) for part in plain.modules()) == 3 * 12 + 1 + 3


@pytest.mark.parametrize("kind", ["bert", "roberta", "mpnet"])
@torch.no_grad()
def test_the_merged_student_is_the_model_with_compactors(kind):
    plain = Classifier(tiny.encoder(kind), 2).double().eval()
    for parameter in plain.parameters():
        torch.nn.init.normal_(parameter, std=0.8)
    model = WID.begin(plain)
    for part in model.modules():
        if isinstance(part, wid.Compactor):
            part.weight.add_(0.3 * torch.randn_like(part.weight))
    every = WID.widths(model)
    for name, width in every.items():
        scores = wid.scores(model, name, width)
        model.masks[name].copy_(wid.strongest(scores, width.chunks, width.target))
    for parameter, name, dim in wid.tied_entries(model, every):
        parameter.mul_(wid.along(model.masks[name], parameter, dim))
    expected = model(**tiny.batch()).logits
    merged = WID.finish(model)
    assert merged.encoder.config.hidden_size == 8
    torch.testing.assert_close(merged(**tiny.batch()).logits, expected, rtol=0, atol=1e-8)
    assert (expected[0] - expected[1]).abs().max() > 1e-3  # the model tells examples apart


def test_merging_multiplies_both_compactors():
    inner = torch.nn.Linear(3, 2).double()
    compacted = wid.Compacted(inner, True, True)
    for part in compacted.parameters():
        torch.nn.init.normal_(part)
    states = torch.randn(5, 3, dtype=torch.float64)
    expected = (
        (states @ compacted.column.weight.T) @ inner.weight.T + inner.bias
    ) @ compacted.row.weight.T
    torch.testing.assert_close(compacted(states), expected)
    torch.testing.assert_close(compacted.merged()(states), expected)


@pytest.mark.usefixtures("_float64")
def test_masking_proceeds_in_sixteenths_and_never_shrinks():
    watch = tiny.Watch(
        lambda training: {k: int((m == 0).sum()) for k, m in training.model.masks.items()}
    )
    train(student(), watch)
    for step, masked in watch.seen.items():
        done = min(int(16 * step / (WID.masked_at * STEPS)), 16)
        assert masked["ffn1"] == int(16 * done / 16)
        per_head = int(4 * min(done / 8, 1))  # the chunked widths in half the time
        assert masked["attention0"] == masked["hidden"] == masked["pooled"] == 2 * per_head
    assert watch.seen[1]["hidden"] < watch.seen[STEPS]["hidden"] == 8


def test_the_first_to_be_masked_have_the_smallest_columns():
    model = student()
    every = WID.widths(model)
    with torch.no_grad():
        model.get_submodule("encoder.encoder.layer.0.attention.self.value").column.weight.mul_(
            torch.arange(1.0, 17)
        )
        model.get_submodule("encoder.encoder.layer.1.output.dense").column.weight.mul_(
            torch.arange(1.0, 33)
        )
    hidden, ffn = (wid.scores(model, name, every[name]) for name in ("hidden", "ffn1"))
    assert hidden.tolist() == list(range(1, 17)) and ffn.tolist() == list(range(1, 33))
    mask = wid.strongest(hidden, every["hidden"].chunks, 8)
    assert mask.tolist() == ([0] * 4 + [1] * 4) * 2  # equally many in each chunk


def step(masked: bool):
    """One application of the rule to a compactor with moments 2 and 3.

    Returns:
        The compactor, its task gradient, the gradient that is left, and the moments that the
        optimiser makes of it all.
    """
    model = student()
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    optimizer.param_groups[0]["params"] = [*model.parameters()]
    training = SimpleNamespace(model=model, optimizer=optimizer, last_step=STEPS)
    rule = wid.ShrinkWidth(WID)
    rule.on_start(training)
    compacted = model.get_submodule("encoder.encoder.layer.1.output.dense")
    column = compacted.column.weight
    gradient = torch.randn_like(column)
    column.grad = gradient.clone()
    state = optimizer.state[column]
    state["exp_avg"], state["exp_avg_sq"] = torch.full_like(column, 2), torch.full_like(column, 3)
    if masked:
        model.masks["ffn1"][:5] = 0
    rule.on_gradients(training)
    first = 0.9 * state["exp_avg"] + 0.1 * column.grad
    second = 0.999 * state["exp_avg_sq"] + 0.001 * column.grad**2
    return column.detach(), gradient, column.grad, first, second


def test_before_masking_the_moments_pull_to_zero():
    column, gradient, after, first, second = step(masked=False)
    assert torch.equal(after, gradient)  # so clipping sees the task's gradient alone
    torch.testing.assert_close(first, 0.9 * 2 + 0.1 * (gradient + column))
    torch.testing.assert_close(second, 0.999 * 3 + 0.001 * (gradient**2 + column**2))


def test_later_only_masked_entries_are_pulled_and_faster():
    column, gradient, after, first, second = step(masked=True)
    assert torch.equal(after[:, 5:], gradient[:, 5:]) and (after[:, :5] == 0).all()
    torch.testing.assert_close(first[:, 5:], 0.9 * 2 + 0.1 * gradient[:, 5:])
    torch.testing.assert_close(second[:, 5:], 0.999 * 3 + 0.001 * gradient[:, 5:] ** 2)
    gone = column[:, :5]
    torch.testing.assert_close(first[:, :5], 0.9 * (0.9 * 2 + 0.1 * 19 * gone) + 0.1 * gone)
    torch.testing.assert_close(second[:, :5], 0.999 * 3 + 0.001 * gone**2)


@pytest.mark.usefixtures("_float64")
def test_masked_compactors_decay_and_then_are_zero():
    def norm(training):
        mask = training.model.masks["ffn0"] == 0
        compacted = training.model.get_submodule("encoder.encoder.layer.0.output.dense")
        return compacted.column.weight[:, mask].norm().item()

    watch = tiny.Watch(norm)
    train(student(), watch)
    removal = int(WID.removed_at * STEPS)
    assert watch.seen[STEPS // 4] > watch.seen[removal - 1] > 0
    assert all(watch.seen[step] == 0 for step in range(removal, STEPS + 1))


@pytest.mark.usefixtures("_float64")
def test_the_rates_of_compactors_and_inherited_weights():
    watch = tiny.Watch(
        lambda training: [(g["inherited"], g["lr"]) for g in training.optimizer.param_groups]
    )
    train(student(), watch)
    rates = {inherited: rate for inherited, rate in watch.seen[10]}
    assert rates[True] == pytest.approx(0.02 * rates[False])


@pytest.mark.usefixtures("_float64")
def test_only_students_of_the_final_width_can_be_the_best():
    watch = tiny.Watch(lambda training: training.progress.best_step)

    class Score(Callback):
        def on_step(self, training):
            training.progress.best_score, training.progress.best_step = 99.0, 1

    data, labels = tiny.problem()
    settings = Hyperparameters(1e-3, 8, 4, 4, "bertadam", True, 0, "float32", 1)
    objective = WID.objective(torch.from_numpy(labels), {})
    callbacks = [Score(), *WID.callbacks(), watch]
    fit(student(), data, np.arange(48), objective, settings, callbacks)
    removal = int(WID.removed_at * STEPS)
    assert watch.seen[removal - 1] == 1 and watch.seen[removal] == 0
