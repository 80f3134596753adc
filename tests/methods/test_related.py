"""DistilBERT, TinyBERT and MiniLM: hand-computed losses, and tiny cells against plain transformers.

The expected values of the cells use no loss, model or method of this package.
"""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from test_wiring import Record, bert
from tiny_cells import tiny
from transformers import AutoTokenizer

from repro import methods
from repro.config.profiles import PROFILES
from repro.data import mini
from repro.methods import distilbert, minilm, minilm_v2, tinybert
from repro.models.masked import Words
from repro.models.observe import Observed
from repro.models.pair import Both
from repro.runs import compute, phases, stages

SETTING = PROFILES["demo"].setting
LOG = math.log


# hand-computed


def test_distilberts_cosine_distance():
    """1 - cos is 0 for parallel states, 1 for orthogonal and 2 for opposite ones."""
    states = torch.tensor([[2.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    teacher = torch.tensor([[5.0, 0.0], [0.0, 3.0], [-2.0, -2.0]])
    assert distilbert.cosine_distance(states, teacher).item() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("layers", "teacher_layers", "chosen"),
    [
        (6, 12, (0, 2, 4, 7, 9, 11)),  # published
        (3, 12, (0, 6, 11)),
        (4, 12, (0, 4, 7, 11)),
        (6, 6, (0, 1, 2, 3, 4, 5)),
        (1, 12, (0,)),
    ],
)
def test_distilberts_layers(layers, teacher_layers, chosen):
    assert distilbert.start_layers(layers, teacher_layers) == chosen


def test_tinyberts_squared_error_leaves_padding_out():
    student = torch.tensor([[[1.0, 2.0], [9.0, 9.0]]])
    teacher = torch.tensor([[[0.0, 4.0], [0.0, 0.0]]])
    real = torch.tensor([[True, False]])
    assert tinybert.mean_squared_error(student, teacher, real).item() == pytest.approx(2.5)


def test_tinyberts_prediction_loss():
    """Teacher (1/4, 3/4) and student (1/8, 7/8), averaged over two classes."""
    stored = {"train.logits": torch.tensor([[9.0, 9.0], [0.0, LOG(3)]])}
    terms = tinybert.Prediction().objective(torch.zeros(2), stored)
    output = SimpleNamespace(logits=torch.tensor([[0.0, LOG(7)]]))
    expected = (LOG(8) / 4 + LOG(8 / 7) * 3 / 4) / 2
    assert terms(output, torch.tensor([1]))["prediction"].item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("layers", "teacher_layers", "pairs"),
    [
        (4, 12, ((1, 3), (2, 6), (3, 9), (4, 12))),
        (6, 12, ((1, 2), (2, 4), (3, 6), (4, 8), (5, 10), (6, 12))),
        (4, 6, ((1, 2), (2, 3), (3, 5), (4, 6))),
    ],
)
def test_tinyberts_matched_layers(layers, teacher_layers, pairs):
    assert tinybert.matched_layers(layers, teacher_layers) == pairs


@pytest.mark.parametrize(
    ("profile", "depth", "copies"),
    [("demo", 12, 0), ("cpu", 6, 1), ("base", 12, 1), ("paper", 12, 1)],
)
@pytest.mark.parametrize("layers", [3, 4, 6])
def test_a_tinybert_costs_at_most_three_times_patient_kd(profile, depth, copies, layers):
    """A forward pass is a third of a training pass."""
    patient = PROFILES[profile].setting.student.run_epochs
    used, first, second = tinybert.schedule(patient, layers, depth)
    assert used == copies and first >= 1 and second >= 1
    data, forward = 1 + copies, depth / 3
    cost = data * (first * (layers + forward) + second * layers)
    cost += copies * (2 * forward + 2 * forward)  # to augment twice; predictions of two of each
    assert cost <= 3 * layers * patient
    assert cost + data * (layers + forward) > 3 * layers * patient  # one more epoch is too much


def test_each_tinybert_phase_has_one_epoch_at_least():
    assert tinybert.schedule(1, 1, 12) == (0, 1, 1)


def test_minilms_divergence():
    """One head, one real token of two whose keys the teacher weighs 1/4 and 3/4."""
    student = torch.zeros(1, 1, 3, 3)
    teacher = torch.zeros(1, 1, 3, 3)
    teacher[..., 0, 1] = LOG(3)
    student[..., 2], teacher[..., 2, :] = 50.0, 50.0  # padding
    mask = torch.tensor([[True, True, False]])
    first = LOG(1 / 2) / 4 + LOG(3 / 2) * 3 / 4  # of token 0; token 1 agrees
    found = minilm.relation_divergence(student, teacher, mask).item()
    assert found == pytest.approx(first / 2, rel=1e-5)


def test_minilm_v2_splits_all_heads_again():
    """Two attention heads of size 2 become four relation heads of size 1."""
    states = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]]])
    found = minilm_v2.relation(states, 4)  # (1, 4, 2, 2)
    assert found[0, 1].tolist() == [[4.0, 8.0], [8.0, 16.0]]
    assert found[0, 2].tolist() == [[25.0, 35.0], [35.0, 49.0]]
    two = minilm_v2.relation(states, 2)[0, 0]  # tokens (1, 2) and (3, 4), over sqrt(2)
    assert two.flatten().tolist() == pytest.approx([v / 2**0.5 for v in (5, 11, 11, 25)])


def random_both(tokens=5, heads=2, seed=0):
    """A pair's output with 3 student and 3 teacher layers, and one padded token."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=generator).requires_grad_()

    def observed(layers):
        hidden = tuple(draw(2, tokens, 8) for _ in range(layers + 1))
        parts = [tuple(draw(2, heads, tokens, 4) for _ in range(layers)) for _ in range(3)]
        return Observed(mask, hidden, *parts)

    mask = torch.ones(2, tokens, dtype=torch.bool)
    mask[1, -1] = False
    student, teacher = observed(3), observed(3)
    teacher = Observed(mask, *(tuple(p.detach() for p in parts) for parts in teacher[1:]))
    logits = draw(2 * tokens - 1, 7), draw(2 * tokens - 1, 7).detach()
    places, chosen = torch.arange(2 * tokens - 1) % 7, torch.arange(2 * tokens - 1) % 2 == 0
    words = Words(*logits, places, chosen)
    return Both(student, teacher, tuple(2 * part for part in student.hidden), words)


LOSSES = {
    "distilbert": (distilbert.Distillation(), {"hidden"}, [3]),
    "tinybert": (
        tinybert.Intermediate(((1, 1), (2, 2), (3, 3))),
        {"hidden", "queries", "keys"},
        [0, 1, 2, 3],
    ),
    "minilm": (minilm.LastAttention(), {"queries", "keys", "values"}, [2]),
    "minilm_v2": (minilm_v2.Relations(), {"queries", "keys", "values"}, [2]),
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_flow_only_where_they_should(name):
    loss, parts, layers = LOSSES[name]
    both = random_both()
    terms = loss.objective(torch.zeros(2), {})(both, torch.arange(2))
    sum(terms.values()).backward()
    for part in ("hidden", "queries", "keys", "values"):
        for layer, tensor in enumerate(getattr(both.student, part)):
            touched = tensor.grad is not None and bool(tensor.grad.abs().sum() > 0)
            assert touched == (part in parts and (layer in layers)), (part, layer)
            if touched:  # nothing flows into the padding
                padded = tensor.grad[1, -1] if part == "hidden" else tensor.grad[1, :, -1]
                assert padded.abs().sum() == 0


@pytest.mark.parametrize("name", LOSSES)
def test_a_student_like_its_teacher_has_no_distance(name):
    loss = LOSSES[name][0]
    both = random_both()
    words = both.words._replace(student=both.words.teacher)
    same = both._replace(student=both.teacher, projected=both.teacher.hidden, words=words)
    terms = loss.objective(torch.zeros(2), {})(same, torch.arange(2))
    assert all(abs(term.item()) < 1e-12 for key, term in terms.items() if key != "mlm")
    terms = loss.objective(torch.zeros(2), {})(both, torch.arange(2))
    assert all(term.item() > 1e-3 for term in terms.values())


def test_distilberts_weights():
    both = random_both()
    plain = distilbert.Distillation(1.0, 1.0, 1.0).objective(torch.zeros(2), {})(both, None)
    terms = distilbert.Distillation().objective(torch.zeros(2), {})(both, None)
    ratios = {name: round((terms[name] / plain[name]).item(), 6) for name in terms}
    assert ratios == {"kl": 5.0, "mlm": 2.0, "cos": 1.0}
    log_p = (both.words.teacher / 2).log_softmax(-1)
    log_q = (both.words.student / 2).log_softmax(-1)
    kl = 4 * (log_p.exp() * (log_p - log_q)).sum(-1).mean()  # T is 2
    assert plain["kl"].item() == pytest.approx(kl.item())


def test_phases_of_a_single_loss():
    assert methods.phases("patient_kd", SETTING, 3, 12) == ()


# tiny cells


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REPRO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def plan_of(row, **changes):
    (cell,) = (cell for cell in tiny("related", **changes) if cell.row == row)
    return stages.resolve(cell)


def run(stage, monkeypatch, steps=1):
    """The first steps of a phase."""
    for parent in stage.parents:
        compute.read(parent)
    record = Record(steps)
    record.on_start = lambda training: record.states.append(
        {name: p.detach().clone() for name, p in training.model.named_parameters()}
    )

    def on_step(training):
        record.on_start(training)
        training.stop = training.progress.step == steps

    record.on_step = on_step
    monkeypatch.setattr(compute, "usual_callbacks", lambda stage: [record])
    compute.function_of(stage.kind)(stage)
    return record


def inputs_of(rows):
    examples = [mini.rows("mini-RTE", "train")[row] for row in rows]
    tokenizer = AutoTokenizer.from_pretrained(mini.ENCODER_DIR)
    texts = ([e["sentence1"] for e in examples], [e["sentence2"] for e in examples])
    return tokenizer(*texts, padding=True, truncation=True, max_length=64, return_tensors="pt")


def inside(model, inputs):
    """Hidden states, queries, keys and values by the modules of transformers."""
    model.eval()
    with torch.no_grad():
        hidden = model(**inputs, output_hidden_states=True).hidden_states
        maps = {name: [] for name in ("query", "key", "value")}
        for state, layer in zip(hidden, model.encoder.layer, strict=False):
            for name, found in maps.items():
                projected = getattr(layer.attention.self, name)(state)
                found.append(projected.unflatten(-1, (4, 16)).transpose(1, 2))
    return SimpleNamespace(hidden=hidden, **maps)


def fine_tuned(stage):
    model = bert(12)
    state = compute.read(stage.parent("outputs").parent("teacher")).tensors
    names = [name for name, _ in model.named_parameters()]
    model.load_state_dict({name: state[f"encoder.{name}"] for name in names}, strict=False)
    return model


def divergence(student, teacher, inputs):
    """Mean KL over heads and real tokens of softmax over real keys."""
    real = inputs["attention_mask"].bool()
    rows = []
    for k, keys in enumerate(real):
        p = teacher[k][:, keys][:, :, keys].softmax(-1)
        q = student[k][:, keys][:, :, keys].softmax(-1)
        rows.append((p * (p / q).log()).sum(-1))  # (heads, tokens)
    return torch.cat([row.flatten() for row in rows]).mean().item()


def dot(first, second):
    return first @ second.transpose(-1, -2) / first.shape[-1] ** 0.5


def test_a_tinybert_cell_minimises_the_distances_written_out(monkeypatch):
    plan = plan_of("TinyBERT4")
    stage = plan.stages[-2]
    record = run(stage, monkeypatch, steps=2)
    inputs = inputs_of(range(16))  # the first batch, before any copy
    own, other = inside(bert(4), inputs), inside(fine_tuned(stage), inputs)
    real = inputs["attention_mask"].bool()
    both = real[:, :, None] & real[:, None, :]
    attention = sum(
        (dot(own.query[i], own.key[i]) - dot(other.query[j], other.key[j]))
        .square()
        .movedim(1, -1)[both]
        .mean()
        for i, j in ((0, 2), (1, 5), (2, 8), (3, 11))
    )
    hidden = [
        (own.hidden[i] - other.hidden[j])[real].square().mean()
        for i, j in ((0, 0), (1, 3), (2, 6), (3, 9), (4, 12))
    ]
    logged = record.logged[1]
    assert logged["attention"] == pytest.approx(attention.item(), rel=1e-4)
    assert logged["embeddings"] == pytest.approx(hidden[0].item(), rel=1e-3, abs=1e-7)
    assert logged["hidden"] == pytest.approx(sum(hidden[1:]).item(), rel=1e-4)
    before, _, after = record.states  # the first step's learning rate is 0
    assert not torch.equal(before["projection.weight"], after["projection.weight"])
    unused = ("student.pooler", "student.classifier")
    assert all(torch.equal(before[n], after[n]) for n in before if n.startswith(unused))


def test_a_tinybert_predicts_what_its_teacher_predicts_for_the_copies(monkeypatch):
    plan = plan_of("TinyBERT4", **{"student.epochs": 4})  # enough for copies
    stage = plan.trained
    copies = stage.spec.phase.copies
    build = compute.build

    def still(stage):
        model = build(stage)
        model.dropout.p = 0.0
        return model

    monkeypatch.setattr(compute, "build", still)
    record = run(replace_batch(stage, 96), monkeypatch)
    monkeypatch.undo()
    assert copies == 1 and plan.trained.spec.training.epochs == 1
    data = compute.load_data(stage.spec.inputs)
    examples = phases.augmented(stage, data).examples
    teacher = compute.load_model(stage.parent("outputs").parent("teacher")).eval()
    student = compute.build(stage).eval()
    start = {n: v.clone() for n, v in record.states[0].items()}
    terms = []
    with torch.no_grad():
        for name, parameter in student.named_parameters():
            if "word_embeddings" in name:
                before = compute.read(stage.parent("phase")).tensors[name]
                parameter.copy_(before)
            else:
                parameter.copy_(start[name])
        for example in examples:
            one = {name: torch.tensor([ids]) for name, ids in example.items()}
            one["attention_mask"] = torch.ones_like(one["input_ids"])
            soft = teacher(**one).logits.softmax(-1)
            terms.append(-(soft * student(**one).logits.log_softmax(-1)).mean().item())
    assert len(terms) == 96
    assert record.logged[1]["prediction"] == pytest.approx(sum(terms) / 96, rel=1e-4)


def replace_batch(stage, size):
    training = replace(stage.spec.training, batch_size=size)
    return replace(stage, spec=replace(stage.spec, training=training))


@pytest.mark.parametrize("row", ["MiniLM3", "MiniLMv2-3"])
def test_a_minilm_cell_minimises_the_divergences_written_out(monkeypatch, row):
    stage = plan_of(row).stages[-2]
    logged = run(stage, monkeypatch).logged[1]
    inputs = inputs_of(range(16))
    own, other = inside(bert(3), inputs), inside(bert(12), inputs)  # not fine-tuned
    if row == "MiniLM3":
        expected = {
            "attention": (dot(own.query[2], own.key[2]), dot(other.query[11], other.key[11])),
            "values": (dot(own.value[2], own.value[2]), dot(other.value[11], other.value[11])),
        }
    else:
        expected = {}
        for name, plural in (("query", "queries"), ("key", "keys"), ("value", "values")):
            first, second = (
                part.transpose(1, 2).flatten(2).unflatten(-1, (16, 4)).transpose(1, 2)
                for part in (getattr(own, name)[2], getattr(other, name)[11])
            )
            expected[plural] = dot(first, first), dot(second, second)
    for name, (student, teacher) in expected.items():
        found = divergence(student, teacher, inputs)
        assert logged[name] == pytest.approx(found, rel=1e-4), name


def test_a_distilbert_cell_minimises_the_terms_written_out(monkeypatch):
    stage = plan_of("DistilBERT3").stages[-2]

    def every_third(ids, masking):
        chosen = (torch.arange(ids.shape[1]) % 3 == 1) & ~masking.special[
            torch.searchsorted(masking.words, ids)
        ]
        return torch.where(chosen, 4, ids), chosen, torch.searchsorted(masking.words, ids)

    compute.read(stage.parent("words"))
    monkeypatch.setattr("repro.models.pair.mask_words", every_third)
    logged = run(stage, monkeypatch).logged[1]
    inputs, ids = inputs_of(range(16)), inputs_of(range(16))["input_ids"]
    real = inputs["attention_mask"].bool()
    chosen = (torch.arange(ids.shape[1]) % 3 == 1) & (ids > 4)
    masked = {**inputs, "input_ids": torch.where(chosen, 4, ids)}
    teacher, student = bert(12), bert(3)
    for own, layer in zip(student.encoder.layer, (0, 6, 11), strict=True):
        own.load_state_dict(teacher.encoder.layer[layer].state_dict())
    own, other = (inside(model, masked).hidden[-1][real] for model in (student, teacher))
    head = {k: v.double() for k, v in compute.read(stage.parent("words")).tensors.items()}
    rows = [mini.rows("mini-RTE", "train")[row] for row in range(48)]
    tokenizer = AutoTokenizer.from_pretrained(mini.ENCODER_DIR)
    words = tokenizer([r["sentence1"] for r in rows], [r["sentence2"] for r in rows])["input_ids"]
    words = torch.tensor(sorted({0, 1, 2, 3, 4} | {word for row in words for word in row}))
    table = teacher.embeddings.word_embeddings.weight[words]

    def logits(states):
        inner = torch.nn.functional.gelu(states @ head["dense.weight"].T + head["dense.bias"])
        normed = torch.nn.functional.layer_norm(
            inner, (64,), head["norm.weight"], head["norm.bias"]
        )
        return normed @ table.T + head["bias"]

    log_p, log_q = (logits(other) / 2).log_softmax(-1), (logits(own) / 2).log_softmax(-1)
    right = logits(own).log_softmax(-1).gather(1, torch.searchsorted(words, ids[real])[:, None])
    assert logged["kl"] == pytest.approx(
        5 * 4 * (log_p.exp() * (log_p - log_q)).sum(-1).mean().item(), rel=1e-4
    )
    assert logged["mlm"] == pytest.approx(-2 * right[chosen[real]].mean().item(), rel=1e-4)
    cosine = torch.nn.functional.cosine_similarity(own, other, dim=-1)
    assert logged["cos"] == pytest.approx((1 - cosine).mean().item(), rel=1e-4)


@pytest.mark.parametrize("row", ["DistilBERT3", "MiniLM3", "MiniLMv2-3"])
def test_the_last_phase_is_fine_tuning_from_where_the_first_ended(monkeypatch, row):
    stage = plan_of(row).trained
    record = run(stage, monkeypatch)
    start = record.states[0]
    before = compute.read(stage.parent("phase")).tensors
    for name, value in before.items():
        fresh = name.startswith("classifier")
        if name in start and not fresh and "word_embeddings" not in name:
            assert torch.equal(start[name], value), name
    assert set(record.logged[1]) - {"score"} == {"learning_rate", "ce"}
