"""HomoDistil: importance, schedule, pruning and the loss."""

from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch

from repro.errors import InputError
from repro.methods import homodistil, resolve
from repro.models.classifier import Classifier, Output
from repro.models.narrow import Width
from repro.models.observe import Observed
from repro.training.loop import Callback, Hyperparameters, fit, predict

STEPS = 24
DOWN = "encoder.encoder.layer.1.output.dense"


@pytest.fixture(autouse=True)
def _float64(monkeypatch):
    for kind in (Output, homodistil.Beside):
        monkeypatch.setattr(kind, "float", lambda self: self)


def student(method=None):
    method = method or homodistil.HomoDistil()
    plain = Classifier(tiny.encoder(), 2, 0.0).double()
    for parameter in plain.parameters():  # so that logits differ between examples
        torch.nn.init.normal_(parameter, std=0.8)
    return method.begin(plain)


def train(model, *callbacks, method=None, optimizer="bertadam"):
    method = method or homodistil.HomoDistil()
    data, labels = tiny.problem()
    settings = Hyperparameters(1e-3, 8, 4, 4, optimizer, True, 0, "float32", 1)
    teacher = {"train.logits": torch.zeros(48, 2)}
    objective = method.objective(torch.from_numpy(labels), teacher)
    fit(model, data, np.arange(48), objective, settings, [*method.callbacks(), *callbacks])
    return data


@pytest.mark.parametrize("kind", ["bert", "roberta", "mpnet"])
def test_the_student_starts_as_the_teacher(kind):
    plain = Classifier(tiny.encoder(kind), 2, 0.0).double()
    expected = plain.eval()(**tiny.batch()).logits
    model = homodistil.HomoDistil().begin(plain)
    torch.testing.assert_close(model.eval()(**tiny.batch()).logits, expected)
    output = model.train()(**tiny.batch())
    torch.testing.assert_close(output.logits, expected)
    assert output.state_distance < 1e-20 and output.attention_distance < 1e-20


@pytest.mark.parametrize("importance", homodistil.IMPORTANCES)
def test_the_masked_student_is_the_compacted_one(importance):
    method = homodistil.HomoDistil(importance)
    model = student(method)
    data = train(model, method=method)
    expected, _ = predict(model, data)
    compacted = method.finish(model)
    assert compacted.encoder.config.hidden_size == 8
    got, _ = predict(compacted, data)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)
    assert np.ptp(expected, axis=0).max() > 1e-3


def test_the_width_follows_the_cubic_schedule():
    watch = tiny.Watch(lambda training: {k: int(m.sum()) for k, m in training.model.masks.items()})
    train(student(), watch)
    start, end = 0.1 * STEPS, 0.7 * STEPS
    for step, kept in watch.seen.items():
        left = 1 - min(max((step - start) / (end - start), 0), 1)
        assert kept["hidden"] == int(np.ceil(8 + 8 * left**3 - 1e-6))
        assert kept["ffn2"] == int(np.ceil(16 + 16 * left**3 - 1e-6))
        assert kept["attention0"] == 2 * int(np.ceil(4 + 4 * left**3 - 1e-6))  # of two heads
    assert watch.seen[2]["hidden"] == 16 and watch.seen[17]["hidden"] == 8


def test_the_schedule_by_hand():
    width = Width(64, 32, chunks=4)
    counts = [homodistil.kept_count(width, step, 10, 70) for step in (0, 10, 40, 70, 100)]
    assert counts == [64, 64, 36, 32, 32]  # half way: 32 + 32 / 8


def measured(importance, steps):
    """The importance of "ffn1" after gradients 1, 2, ... of known weights."""
    method = homodistil.HomoDistil(importance)
    model = student(method)
    training = SimpleNamespace(model=model)
    up = model.student.get_submodule("encoder.encoder.layer.1.intermediate.dense")
    with torch.no_grad():
        up.weight.copy_(torch.arange(1.0, 33)[:, None].expand(-1, 16))
    for width in model.every.values():
        for place in width.outputs:
            weight = model.student.get_submodule(place).weight
            weight.grad = torch.zeros_like(weight)
    for step in range(1, steps + 1):
        up.weight.grad = torch.full_like(up.weight, -float(step))
        homodistil.PruneColumns(method).on_gradients(training)
    return model.importance["ffn1"], torch.arange(1.0, 33, dtype=torch.float64)


def test_the_importance_of_a_case_computed_by_hand():
    got, weight = measured("sensitivity", 2)
    first = 0.15 * 16 * weight  # 16 entries of sensitivity |weight x 1|
    torch.testing.assert_close(got, 0.85 * first + 0.15 * 16 * 2 * weight)


def test_platons_importance_of_a_case_computed_by_hand():
    got, weight = measured("platon", 2)
    smoothed, uncertainty = 0.15 * weight, 0.05 * (weight - 0.15 * weight)
    smoothed = 0.85 * smoothed + 0.15 * 2 * weight
    uncertainty = 0.95 * uncertainty + 0.05 * (2 * weight - smoothed)
    torch.testing.assert_close(got, 16 * smoothed * uncertainty)


def test_the_importance_of_a_hidden_dimension_is_summed_over_layers():
    model = student()
    for width in model.every.values():
        for place in width.outputs:
            weight = model.student.get_submodule(place).weight
            weight.grad = torch.ones_like(weight)
    homodistil.PruneColumns(homodistil.HomoDistil()).on_gradients(SimpleNamespace(model=model))
    total = sum(
        model.student.get_submodule(f"encoder.encoder.layer.{k}.{name}").weight.abs().sum(1)
        for k in range(3)
        for name in ("attention.output.dense", "output.dense")
    )
    torch.testing.assert_close(model.importance["hidden"], 0.15 * total)


def test_the_least_important_of_each_head_is_pruned_first():
    model = student()
    model.importance["attention0"].copy_(torch.arange(16.0))
    assert model.strongest("attention0", 12).tolist() == ([0] * 2 + [1] * 6) * 2


def test_what_is_pruned_stays_pruned():
    model = student()
    model.masks["hidden"][3] = 0
    model.importance["hidden"].copy_(torch.arange(16.0)).data[3] = 100
    assert model.strongest("hidden", 15)[3] == 0


@pytest.mark.parametrize("optimizer", ["bertadam", "adamw"])
def test_the_optimisers_state_follows_the_pruning(optimizer):
    def see(training):
        model, states = training.model, training.optimizer.state
        down, gone = model.student.get_submodule(DOWN), model.masks["hidden"] == 0
        words = model.student.encoder.get_input_embeddings().rows
        inside = model.masks["ffn1"] == 0
        pruned = [
            tensor[gone] for tensor in moments(states, down.weight) + moments(states, down.bias)
        ]
        pruned += [tensor[:, inside] for tensor in moments(states, down.weight)]
        pruned += [tensor[:, gone] for tensor in moments(states, words)]
        pruned += [tensor[:, gone] for tensor in moments(states, model.projection.weight)]
        kept = states[down.weight]["exp_avg_sq"][~gone][:, ~inside]
        return all((tensor == 0).all() for tensor in pruned), bool((kept > 0).all())

    def moments(states, parameter):
        return [parameter, states[parameter]["exp_avg"], states[parameter]["exp_avg_sq"]]

    watch = tiny.Watch(see)
    train(student(), watch, optimizer=optimizer)
    # nothing pruned comes back, and nothing kept starts anew
    assert [*watch.seen.values()] == [(True, True)] * STEPS


def test_the_teacher_is_not_trained():
    model = student()
    (teacher,) = model._teacher
    before = [p.clone() for p in teacher.parameters()]
    train(model)
    assert all(torch.equal(p, q) for p, q in zip(before, teacher.parameters(), strict=True))
    assert not any("teacher" in name for name, _ in model.named_parameters())


def test_distances_leave_out_the_padding():
    model = student()
    with torch.no_grad():
        model.student.encoder.embeddings.LayerNorm.bias.add_(0.1)
    model.train()
    inputs = tiny.batch()
    before = model(**inputs)
    inputs["input_ids"][-1, -2:] = 9  # padding
    after = model(**inputs)
    assert before.state_distance > 1e-6 and before.attention_distance > 1e-6
    torch.testing.assert_close(after.state_distance, before.state_distance)
    torch.testing.assert_close(after.attention_distance, before.attention_distance)


def test_distances_by_hand():
    """One layer of two heads; the last of three tokens is padding."""
    mask = torch.tensor([[True, True, False]])
    padded = torch.tensor([1.0, 1.0, 9.0])[:, None]

    def observed(queries, keys):
        states = torch.zeros(1, 3, 2)
        return Observed(mask, (states, states), (queries,), (keys,), (keys,))

    keys = padded.expand(1, 2, 3, 4)
    queries = torch.tensor([1.0, 3.0])[None, :, None, None] * keys  # of the two heads
    projected = torch.tensor([[[1.0, 3.0], [0.0, 2.0], [9.0, 9.0]]])
    teacher, student = observed(0 * queries, keys), observed(queries, keys)
    states, attention = homodistil.distances(teacher, student, [projected])
    assert states.item() == pytest.approx((1 + 9 + 0 + 4) / 4)
    # scores of 4 products over sqrt(4): 2 in the first head, 6 in the second
    assert attention.item() == pytest.approx((2**2 + 6**2) / 2)


def test_only_students_of_the_final_width_can_be_the_best():
    class BestAtOnce(Callback):
        def on_step(self, training):
            if training.progress.step == 1:
                training.progress.best_score, training.progress.best_step = 99.0, 1

    watch = tiny.Watch(lambda training: training.progress.best_step)
    train(student(), BestAtOnce(), watch)
    assert (watch.seen[16], watch.seen[17]) == (1, 0)  # the width is final at 70 % of 24 steps


def test_the_terms_of_the_loss():
    method = homodistil.HomoDistil(kl=2.0, states=3.0, attention=5.0)
    teacher = torch.tensor([[0.0, 1.0], [2.0, 0.0], [1.0, 1.0]])
    objective = method.objective(torch.tensor([1, 0, 1]), {"train.logits": teacher})
    logits = torch.tensor([[0.5, 0.0], [0.0, 3.0]])
    output = homodistil.Beside(logits, torch.tensor(0.7), torch.tensor(0.2))
    terms = objective(output, torch.tensor([0, 2]))
    p, log_q = teacher[[0, 2]].softmax(-1), logits.log_softmax(-1)
    kl = (p * (p.log() - log_q)).sum(-1).mean()
    expected = {"ce": -log_q[:, 1].mean(), "kl": 2 * kl, "states": 2.1, "attention": 1.0}
    assert {k: v.item() for k, v in terms.items()} == pytest.approx(
        {k: float(v) for k, v in expected.items()}
    )


def test_variants():
    assert resolve("homodistil:platon", None, None, ()).importance == "platon"
    assert resolve("homodistil", None, None, ()).importance == "sensitivity"
    with pytest.raises(InputError, match="'taylor'; use one of: sensitivity, platon"):
        resolve("homodistil:taylor", None, None, ())
