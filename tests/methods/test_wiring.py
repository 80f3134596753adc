"""A PeaBERT3 cell against plain transformers code: start, loss terms and first optimiser steps.

The expected values use no loss, model, method or optimiser of this package. Students are float64,
so that both agree to 1e-8; the teacher's outputs are stored in float32.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import parameters
from tiny_cells import tiny
from transformers import AutoTokenizer, BertModel

from repro.data import mini
from repro.models import classifier
from repro.runs import compute, stages
from repro.training.loop import Callback

# The demo's settings for PeaBERT3 with the authors' recipe.
ALPHA, T, BETA, RATE = 0.7, 10.0, 8.33, 2e-4
PAIRS = [(1, 2), (2, 4), (3, 6), (4, 8), (5, 10)]  # (student, teacher) of 12, counted from 1
T1, T2 = 0.80, 0.60  # PTP's thresholds
BATCH, EPOCHS, STEPS = 4, 2, 5
SCHEDULE = EPOCHS * 48 // BATCH  # steps; the caps leave 48 training examples
CHANGES = {"student.batch_size": BATCH, "student.epochs": EPOCHS, "label_noise": 0.0}


class Record(Callback):
    """Keeps the parameters before and after each of the first steps, and the logged terms."""

    def __init__(self, steps=STEPS):
        self.steps, self.states, self.logged = steps, [], {}

    def on_start(self, training):
        self.states.append(parameters(training.model))

    def on_step(self, training):
        self.states.append(parameters(training.model))
        training.stop = training.progress.step == self.steps

    def on_log(self, training, logged):
        for step, values in logged.items():
            self.logged.setdefault(step, {}).update(values)


@pytest.fixture(scope="module")
def _cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REPRO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def in_float64(patch):
    """Students in float64 and without dropout."""
    made = classifier.student

    def student(*arguments):
        model = made(*arguments).double()
        model.dropout.p = 0.0
        return model

    patch.setattr(classifier, "student", student)
    patch.setattr(classifier.Output, "float", lambda self: self)


def stage_of(row, table="table2", recipe="authors", **changes):
    (cell,) = (c for c in tiny(table, recipe, **CHANGES, **changes) if c.row == row)
    return stages.resolve(cell).trained


def train(stage, record):
    compute.train_student(stage, compute.load_data(stage.spec.inputs), [record])
    return record


@pytest.fixture(scope="module")
def run(_cache):
    """The first steps of PeaBERT3, with the artefacts that they start from."""
    stage = stage_of("PeaBERT3")
    teacher = compute.read(stage.parent("outputs"))
    pretrained = compute.read(stage.parent("ptp"))
    with pytest.MonkeyPatch.context() as patch:
        in_float64(patch)
        record = train(stage, Record())
    trained_teacher = compute.read(stage.parent("outputs").parent("teacher"))
    return SimpleNamespace(
        stage=stage,
        record=record,
        teacher=teacher.tensors,
        ptp=pretrained.tensors,
        ptp_meta=pretrained.meta,
        teacher_state=trained_teacher.tensors,
    )


def batch_of(rows, split="train"):
    """Labels and padded inputs of some examples, by the tokenizer itself."""
    examples = [mini.rows("mini-RTE", split)[row] for row in rows]
    tokenizer = AutoTokenizer.from_pretrained(mini.ENCODER_DIR)
    texts = ([e["sentence1"] for e in examples], [e["sentence2"] for e in examples])
    inputs = tokenizer(*texts, padding=True, truncation=True, max_length=64, return_tensors="pt")
    return torch.tensor([e["label"] for e in examples]), inputs


def bert(layers):
    """The embedded encoder by transformers alone, in float64 and evaluation mode."""
    return BertModel.from_pretrained(
        mini.ENCODER_DIR, num_hidden_layers=layers, add_pooling_layer=False
    ).double()


def forward(parameters, inputs):
    """Logits and [CLS] states (examples, 6, hidden) of three layers that run twice.

    In the second run the Query map computes the keys and the Key map the queries.
    """
    model = bert(3).eval()
    names = [name for name, _ in model.named_parameters()]
    values = {name: parameters[f"encoder.{name}"] for name in names}
    for name, value in values.items():  # the graph leads to `parameters`
        module, _, leaf = name.rpartition(".")
        owner = model.get_submodule(module)
        delattr(owner, leaf)
        setattr(owner, leaf, value)
    hidden = model.embeddings(inputs["input_ids"], token_type_ids=inputs["token_type_ids"])
    bias = torch.where(inputs["attention_mask"][:, None, None] == 1, 0.0, -torch.inf)
    states = []
    for swapped in (False, True):
        for layer in model.encoder.layer:
            attention = layer.attention.self
            query, key, value = (
                map_(hidden).unflatten(-1, (4, 16)).transpose(1, 2)
                for map_ in (attention.query, attention.key, attention.value)
            )
            if swapped:
                query, key = key, query
            weights = (query @ key.transpose(2, 3) / 4.0 + bias).softmax(-1)  # 4 is sqrt(16)
            mixed = (weights @ value).transpose(1, 2).flatten(2)
            hidden = layer.attention.output(mixed, hidden)
            hidden = layer.output(layer.intermediate(hidden), hidden)
            states.append(hidden[:, 0])
    pooled = torch.tanh(states[-1] @ parameters["pooler.weight"].T + parameters["pooler.bias"])
    logits = pooled @ parameters["classifier.weight"].T + parameters["classifier.bias"]
    return logits, torch.stack(states, 1)


def terms(parameters, rows, teacher, beta=BETA):
    """The weighted terms of equation 5, as the authors' code computes them."""
    labels, inputs = batch_of(rows)
    logits, states = forward(parameters, inputs)
    right = logits.log_softmax(-1)[torch.arange(len(rows)), labels]
    log_p = (teacher["train.logits"][rows] / T).log_softmax(-1).double()  # stored in float32
    log_q = (logits / T).log_softmax(-1)
    kl = (log_p.exp() * (log_p - log_q)).sum(-1).mean() / 2 * T**2  # averaged over two classes too
    student = torch.stack([states[:, s - 1] for s, _ in PAIRS], 1)
    target = torch.stack([teacher["train.cls"][rows, t - 1] for _, t in PAIRS], 1).double()
    student = student / student.norm(dim=-1, keepdim=True)
    target = target / target.norm(dim=-1, keepdim=True)
    patience = ((student - target) ** 2).mean()
    return {"ce": -(1 - ALPHA) * right.mean(), "kl": ALPHA * kl, "patience": beta * patience}


def warmup(step):
    """The factor of the learning rate in a step counted from 0."""
    share = step / SCHEDULE
    return share / 0.1 if share < 0.1 else (1 - share) / 0.9


def test_the_teachers_outputs_are_those_of_plain_transformers(run):
    model = bert(12).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(run.teacher_state[f"encoder.{name}"])
        hidden = model(**batch_of(range(48))[1], output_hidden_states=True).hidden_states
        states = torch.stack([state[:, 0] for state in hidden[1:]], 1)  # without the embeddings
    state = {name: value.double() for name, value in run.teacher_state.items()}
    pooled = torch.tanh(states[:, -1] @ state["pooler.weight"].T + state["pooler.bias"])
    logits = pooled @ state["classifier.weight"].T + state["classifier.bias"]
    assert run.teacher["train.cls"].shape == (48, 12, 64)
    torch.testing.assert_close(run.teacher["train.cls"].double(), states, rtol=0, atol=1e-4)
    torch.testing.assert_close(run.teacher["train.logits"].double(), logits, rtol=0, atol=1e-4)
    assert run.teacher["dev.logits"].shape == (32, 2)


def test_the_student_starts_from_ptp_with_a_new_classifier(run):
    start, encoder = run.record.states[0], bert(3).state_dict()
    assert start.keys() == run.ptp.keys()
    for name, value in start.items():
        if not name.startswith("classifier"):
            assert torch.equal(value, run.ptp[name].double()), name
    query = "encoder.layer.2.attention.self.query.weight"
    assert not torch.equal(start[f"encoder.{query}"], encoder[query])  # PTP has changed it
    assert start["classifier.weight"].shape == (2, 64)
    assert run.ptp["classifier.weight"].shape == (4, 64)
    assert 0.015 < start["classifier.weight"].std() < 0.025
    assert (start["classifier.bias"] == 0).all()


def test_the_loss_terms_are_those_written_out(run):
    assert sorted(run.record.logged) == list(range(1, STEPS + 1))
    for step in range(STEPS):
        rows = list(range(step * BATCH, (step + 1) * BATCH))  # in the order of the data (D16)
        logged = dict(run.record.logged[step + 1])
        rate = logged.pop("learning_rate")
        assert rate == pytest.approx(RATE * warmup(step), rel=1e-12)
        expected = terms(run.record.states[step], rows, run.teacher)
        assert logged.keys() == expected.keys()
        for name, value in expected.items():
            assert logged[name] == pytest.approx(value.item(), rel=1e-5), (step, name)


def test_the_first_steps_are_those_of_bertadam_written_out(run):
    weights = {k: v.clone().requires_grad_() for k, v in run.record.states[0].items()}
    first = {name: torch.zeros_like(value) for name, value in weights.items()}
    second = {name: torch.zeros_like(value) for name, value in weights.items()}
    for step in range(STEPS):
        rows = list(range(step * BATCH, (step + 1) * BATCH))
        loss = sum(terms(weights, rows, run.teacher).values())
        gradients = torch.autograd.grad(loss, list(weights.values()))
        with torch.no_grad():
            for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
                gradient = gradient / max(1.0, gradient.norm().item() + 1e-6)
                first[name] = 0.9 * first[name] + 0.1 * gradient
                second[name] = 0.999 * second[name] + 0.001 * gradient**2
                update = first[name] / (second[name].sqrt() + 1e-6)
                if weight.ndim == 2:
                    update += 0.01 * weight
                weight -= RATE * warmup(step) * update
        for name, weight in weights.items():
            torch.testing.assert_close(
                weight.detach(), run.record.states[step + 1][name], rtol=0, atol=2e-8, msg=name
            )
    assert not torch.equal(weights["pooler.weight"], run.record.states[0]["pooler.weight"])


def test_beta_weighs_the_patience_term(run, monkeypatch):
    in_float64(monkeypatch)
    record = train(stage_of("PeaBERT3", beta=50.0), Record(1))
    assert record.logged[1]["patience"] * BETA / 50 == pytest.approx(
        run.record.logged[1]["patience"], rel=1e-6
    )
    for name in ("ce", "kl"):
        assert record.logged[1][name] == pytest.approx(run.record.logged[1][name], rel=1e-9)


def test_alpha_and_temperature_reach_the_loss(run, monkeypatch):
    in_float64(monkeypatch)
    record = train(stage_of("PeaBERT3", alpha=0.25, temperature=1.0), Record(1))
    assert record.logged[1]["ce"] / 0.75 == pytest.approx(run.record.logged[1]["ce"] / 0.3)
    log_p = run.teacher["train.logits"][:BATCH].log_softmax(-1).double()
    log_q = forward(record.states[0], batch_of(range(BATCH))[1])[0].log_softmax(-1)
    kl = (log_p.exp() * (log_p - log_q)).sum(-1).mean() / 2
    assert record.logged[1]["kl"] == pytest.approx(0.25 * kl.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("row", "table", "recipe", "names"),
    [
        ("BERT1-PatientKD", "table2", "authors", {"ce", "kl"}),
        ("BERT3", "table4", "authors+ablation_loss=kd", {"ce", "kl"}),
        ("SPS-2", "table4", "authors+ablation_loss=finetune", {"ce"}),
        ("BERT3-PatientKD", "table2", "authors", {"ce", "kl", "patience"}),
        ("BERT1-PatientKD", "table2", "authors+one_layer_patient=match", {"ce", "kl", "patience"}),
    ],
)
@pytest.mark.usefixtures("_cache")
def test_each_method_has_its_terms(row, table, recipe, names):
    logged = train(stage_of(row, table, recipe), Record(1)).logged[1]
    assert {*logged} == names | {"learning_rate"}


def test_fine_tuning_minimises_cross_entropy_with_the_gold_labels(run, monkeypatch):
    made = classifier.teacher

    def teacher(*arguments):
        model = made(*arguments)
        model.dropout.p = 0.0
        return model

    monkeypatch.setattr(classifier, "teacher", teacher)
    record, stage = Record(2), run.stage.parent("outputs").parent("teacher")
    monkeypatch.setattr(compute, "usual_callbacks", lambda stage: [record])
    compute.COMPUTE["teacher"](stage)
    labels, inputs = batch_of(range(16, 32))  # the second step, in the order of the data
    state = {name: value.double() for name, value in record.states[1].items()}
    model = bert(12).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(state[f"encoder.{name}"])
        states = model(**inputs).last_hidden_state[:, 0]
    pooled = torch.tanh(states @ state["pooler.weight"].T + state["pooler.bias"])
    logits = pooled @ state["classifier.weight"].T + state["classifier.bias"]
    right = logits.log_softmax(-1)[torch.arange(16), labels]
    assert record.logged[2]["ce"] == pytest.approx(-right.mean().item(), rel=1e-4)


def test_dropout_before_the_classifier():
    stage = stage_of("PeaBERT3")
    for built in (stage, stage.parent("ptp"), stage.parent("outputs").parent("teacher")):
        assert compute.build(built).dropout.p == 0.1


@pytest.mark.usefixtures("_cache")
def test_a_student_without_ptp_starts_from_the_encoder():
    start = train(stage_of("BERT3-PatientKD"), Record(1)).states[0]
    for name, value in bert(3).state_dict().items():
        assert torch.equal(start[f"encoder.{name}"].double(), value), name


def test_the_pooler_is_reset_if_the_recipe_says_so(run):
    stage = stage_of("PeaBERT3", recipe="authors+ptp_pooler=reset")
    start = train(stage, Record(1)).states[0]
    plain = BertModel.from_pretrained(mini.ENCODER_DIR).pooler.dense
    assert torch.equal(start["pooler.weight"], plain.weight)
    assert not torch.equal(start["pooler.weight"], run.ptp["pooler.weight"])
    query = "encoder.encoder.layer.0.attention.self.query.weight"
    assert torch.equal(start[query], run.ptp[query])


# PTP


def ptp_targets(logits, gold):
    """Four labels: correct or wrong, confident or not (section 3.3, Table 1)."""
    probability = logits.double().softmax(-1).amax(-1).numpy()
    correct = logits.argmax(-1).numpy() == gold
    confident = np.where(correct, probability > T1, probability > T2)
    return 2 * ~correct + ~confident


def test_ptp_minimises_cross_entropy_with_the_ptp_labels(run):
    labels = np.array([row["label"] for row in mini.rows("mini-RTE", "train")[:48]])
    targets = ptp_targets(run.teacher["train.logits"], labels)
    assert run.ptp_meta["label_counts"] == np.bincount(targets, minlength=4).tolist()
    stage, record = run.stage.parent("ptp"), Record(1)
    with pytest.MonkeyPatch.context() as patch:
        in_float64(patch)
        patch.setattr(compute, "usual_callbacks", lambda stage: [record])
        compute.COMPUTE["ptp"](stage)
    rows = np.random.default_rng((0, 0)).permutation(48)[:16]  # PTP always shuffles
    _, inputs = batch_of(rows)
    logits, _ = forward(record.states[0], inputs)
    right = logits.log_softmax(-1)[torch.arange(16), torch.from_numpy(targets[rows])]
    assert record.logged[1]["ptp"] == pytest.approx(-right.mean().item(), rel=1e-6)


def test_ptp_is_selected_on_the_ptp_labels_of_dev(run):
    """Its dev scores are those of the PTP labels, not of the gold labels."""
    gold = np.array([row["label"] for row in mini.rows("mini-RTE", "dev")[:32]])
    targets = ptp_targets(run.teacher["dev.logits"], gold)
    model = {name: value.double() for name, value in run.ptp.items()}
    logits, _ = forward(model, batch_of(range(32), "dev")[1])
    accuracy = 100 * (logits.argmax(-1).numpy() == targets).mean()
    assert run.ptp_meta["best_score"] == pytest.approx(accuracy)
    assert accuracy != pytest.approx(100 * (logits.argmax(-1).numpy() == gold).mean())
