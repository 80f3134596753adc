"""Which checkpoint each rule keeps, which rate a search picks, and what a seed determines."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import parameters
from tiny_cells import BUDGET, tiny

from repro.config.cells import plan
from repro.runs import cache, compute, finish, results, stages
from repro.runs.cache import Artefact
from repro.training.loop import Callback, batches, predict
from repro.training.states import state_of

SHORT = {"teacher.epochs": 3, "student.epochs": 3, "ptp.epochs": 2, "ptp.stop_epoch": 0}
RATES = {"teacher.learning_rate": 1e-3, "student.learning_rate": 2e-3, "ptp.learning_rate": 2e-3}


class Keep(Callback):
    """Keeps, after each step, the parameters and the logits on train and dev."""

    def __init__(self, data):
        self.data, self.states, self.train, self.dev, self.rates = data, [], [], [], []

    def on_step(self, training):
        self.states.append(parameters(training.model))
        self.train.append(predict(training.model, self.data.train_tokens)[0])
        self.dev.append(predict(training.model, self.data.dev_tokens)[0])
        self.rates.append(training.optimizer.param_groups[0]["lr"])


pytestmark = pytest.mark.usefixtures("module_folders")


def planned(table, row, recipe="authors", task="RTE", seed=0, **changes):
    settings = BUDGET | SHORT | RATES | changes
    cells = plan(table, "demo", task, seed + 1, recipe, settings)
    (cell,) = (cell for cell in cells if (cell.row, cell.seed) == (row, seed))
    return stages.resolve(cell)


def trained(monkeypatch, stage):
    """The artefact of a stage, computed here, and what was kept after each step."""
    data = compute.load_data(stage.spec.inputs)
    keep, usual = Keep(data), compute.usual_callbacks
    for parent in stage.parents:
        compute.read(parent)
    monkeypatch.setattr(compute, "usual_callbacks", lambda stage: [keep, *usual(stage)])
    return compute.COMPUTE[stage.kind](stage), keep, data


def losses(logits, labels):
    """Mean cross-entropy after each step."""
    shifted = np.stack(logits).astype(float)
    log_sum = np.log(np.exp(shifted).sum(-1))
    return (log_sum - shifted[:, np.arange(len(labels)), labels]).mean(-1)


def accuracies(logits, labels):
    return 100 * (np.stack(logits).argmax(-1) == labels).mean(-1)


def f1s(logits, labels):
    predicted = np.stack(logits).argmax(-1)
    hits = ((predicted == 1) & (labels == 1)).sum(-1)
    return 200 * hits / ((predicted == 1).sum(-1) + (labels == 1).sum())


def check(artefact, keep, step):
    """The parameters are those after this step, counted from 0."""
    assert artefact.meta["best_step"] == step + 1
    for name, value in keep.states[step].items():
        assert torch.equal(artefact.tensors[name], value), name


def at_evaluations(values, every=1):
    """The values after the steps that are evaluated; with their steps, counted from 0."""
    steps = list(range(every - 1, len(values), every))
    return steps, np.asarray(values)[steps]


# 48 examples in batches of 16: three steps per epoch, each evaluated.
EACH = {"evaluations_per_epoch": 3}


def test_the_teacher_with_the_lowest_dev_loss_is_kept(monkeypatch):
    stage = planned("table1", "PTP labels", **EACH).trained
    artefact, keep, data = trained(monkeypatch, stage)
    loss = losses(keep.dev, data.dev.labels)
    check(artefact, keep, int(loss.argmin()))
    scores = [entry["score"] for entry in artefact.meta["history"]]
    np.testing.assert_allclose(scores, -loss, rtol=1e-5)
    assert loss.argmin() != loss.argmax()


def test_the_teacher_with_the_best_dev_score_is_kept(monkeypatch):
    recipe = "authors+teacher_checkpoint=best_dev"
    stage = planned("table1", "PTP labels", recipe, "MRPC", **EACH).trained
    artefact, keep, data = trained(monkeypatch, stage)
    scores = f1s(keep.dev, data.dev.labels)
    check(artefact, keep, int(scores.argmax()))
    np.testing.assert_allclose([e["score"] for e in artefact.meta["history"]], scores)


def test_the_last_teacher_is_kept(monkeypatch):
    stage = planned("table1", "PTP labels", "authors+teacher_checkpoint=last", **EACH).trained
    artefact, keep, _ = trained(monkeypatch, stage)
    check(artefact, keep, 8)
    assert artefact.meta["history"] == [] and artefact.meta["best_score"] is None


@pytest.mark.parametrize(("task", "scores"), [("RTE", accuracies), ("MRPC", f1s)])
def test_the_student_with_the_best_dev_score_is_kept(monkeypatch, task, scores):
    stage = planned("table2", "BERT2-PatientKD", "authors", task, **EACH).trained
    artefact, keep, data = trained(monkeypatch, stage)
    values = scores(keep.dev, data.dev.labels)
    check(artefact, keep, int(values.argmax()))
    np.testing.assert_allclose([e["score"] for e in artefact.meta["history"]], values)
    np.testing.assert_allclose(artefact.tensors["dev.logits"], keep.dev[values.argmax()], atol=1e-6)


def test_the_last_student_is_kept(monkeypatch):
    stage = planned("table2", "BERT2-PatientKD", "authors+checkpoint=last", **EACH).trained
    artefact, keep, _ = trained(monkeypatch, stage)
    check(artefact, keep, 8)
    assert artefact.meta["history"] == []


def test_the_inner_split_is_a_random_tenth_of_train_that_is_not_trained_on(monkeypatch):
    stage = planned("table2", "BERT2-PatientKD", "authors+checkpoint=best_inner", **EACH).trained
    artefact, keep, data = trained(monkeypatch, stage)
    inner = np.random.default_rng(0).permutation(48)[:4]
    values = accuracies([logits[inner] for logits in keep.train], data.train.labels[inner])
    check(artefact, keep, int(values.argmax()))
    np.testing.assert_allclose([e["score"] for e in artefact.meta["history"]], values)
    rows, _ = compute.select(stage.spec, data, "accuracy", data.train.labels, data.dev.labels)
    assert {*rows} == {*range(48)} - {*inner}


@pytest.mark.parametrize("rule", ["best_dev", "best_inner"])
def test_ptp_is_selected_on_ptp_labels(monkeypatch, rule):
    stage = planned("table5", "BERT3+SPS+PTP-1", f"authors+ptp_selection={rule}", **EACH)
    artefact, keep, data = trained(monkeypatch, stage.stage("ptp"))
    outputs = compute.read(stage.stage("outputs")).tensors
    right, dev_right = (
        (outputs[f"{name}.logits"].numpy().argmax(1) == split.labels)
        for name, split in (("train", data.train), ("dev", data.dev))
    )
    if rule == "best_dev":
        values = accuracies(keep.dev, np.where(dev_right, 0, 1))
    else:
        inner = np.random.default_rng(0).permutation(48)[:4]
        chosen = [logits[inner] for logits in keep.train]
        values = accuracies(chosen, np.where(right, 0, 1)[inner])
    np.testing.assert_allclose([e["score"] for e in artefact.meta["history"]], values)
    check(artefact, keep, int(values.argmax()))


@pytest.mark.parametrize(
    ("row", "classes"), [("BERT3+SPS+PTP-1", 2), ("BERT3+SPS+PTP-2", 2), ("BERT3+SPS+PTP", 4)]
)
def test_ptp_has_a_class_per_label(row, classes):
    resolved = planned("table5", row)
    assert compute.build(resolved.stage("ptp")).classifier.out_features == classes
    assert compute.build(resolved.trained).classifier.out_features == 2


def test_ptp_stops_after_its_epoch_or_with_patience():
    fixed = (
        planned("table2", "PeaBERT1", **{"ptp.epochs": 6, "ptp.stop_epoch": 4}).stage("ptp").spec
    )
    assert (fixed.training.epochs, fixed.training.stop_epoch, fixed.training.patience) == (6, 4, 0)
    recipe = "authors+ptp_stop=patience+ptp_selection=last"
    early = planned("table2", "PeaBERT1", recipe, **{"ptp.epochs": 6, "ptp.stop_epoch": 4})
    spec = early.stage("ptp").spec
    assert (spec.training.stop_epoch, spec.training.patience) == (6, 3)
    assert spec.selection == "best_inner"


def test_only_ptp_shuffles_unless_the_recipe_says_so():
    for recipe, shuffled in (("authors", False), ("authors+shuffle=True", True)):
        resolved = planned("table2", "PeaBERT1", recipe)
        kinds = ("teacher", "ptp", "student")
        orders = {kind: resolved.stage(kind).spec.training.shuffle for kind in kinds}
        assert orders == {"teacher": shuffled, "ptp": True, "student": shuffled}


# the search (decision D13)


def test_the_search_picks_the_rate_with_the_best_inner_score(monkeypatch):
    recipe = "authors+hyperparameters=searched"
    resolved = planned("table2", "BERT2-PatientKD", recipe)
    search = resolved.stage("search")
    candidates = {stage.spec.training.learning_rate: stage for stage in search.parents}
    assert [*candidates] == [2e-4, 5e-4, 1e-3]
    assert {stage.spec.selection for stage in search.parents} == {"best_inner"}
    assert resolved.trained.spec.selection == "best_dev"
    scores, read = dict(zip(candidates, (50.0, 75.0, 62.5), strict=True)), compute.read

    def stored(stage):
        if stage in search.parents:
            return Artefact({}, {"best_score": scores[stage.spec.training.learning_rate]})
        return compute.COMPUTE["search"](stage) if stage == search else read(stage)

    monkeypatch.setattr(compute, "read", stored)
    assert compute.COMPUTE["search"](search).meta["learning_rate"] == 5e-4
    data = compute.load_data(resolved.trained.spec.inputs)
    keep = Keep(data)
    _, _, training = compute.train_student(resolved.trained, data, [keep])
    assert training.learning_rate == 5e-4
    assert keep.rates[:2] == pytest.approx([0.0, 5e-4 * (1 - 1 / 9) / 0.9])


def test_other_seeds_use_the_rate_of_the_first_and_do_not_report_its_cost():
    recipe = "authors+hyperparameters=searched"
    first, other = (planned("table2", "PeaBERT2", recipe, seed=seed) for seed in (0, 1))
    search = first.stage("search")
    assert other.stage("search") == search
    assert set(search.parents) < set(other.stages)
    assert set(other.own) & set(first.stages) == {search}
    trainings = [other.stage(kind).spec.training for kind in ("teacher", "ptp", "student")]
    assert {training.seed for training in trainings} == {1}


# seeds and order


def test_the_order_of_an_epoch_depends_on_seed_and_epoch():
    training = planned("table2", "PeaBERT1", **{"ptp.epochs": 2}).stage("ptp").spec.training
    training = replace(training, batch_size=48)
    for seed in (0, 1):
        orders = [*batches(np.arange(48), replace(training, seed=seed))]
        for epoch, order in enumerate(orders):
            expected = np.random.default_rng((seed, epoch)).permutation(48)
            assert order.tolist() == expected.tolist()
        assert len(orders) == 2 and orders[0].tolist() != orders[1].tolist()
    assert [rows.tolist() for rows in batches(np.arange(3), replace(training, shuffle=False))] == [
        [0, 1, 2]
    ] * 2


def test_a_seed_reaches_every_training_of_its_cell():
    for seed in (0, 1):
        resolved = planned("table2", "PeaBERT1", seed=seed)
        kinds = ("teacher", "ptp", "student")
        assert [resolved.stage(kind).spec.training.seed for kind in kinds] == [seed] * 3


@pytest.mark.parametrize("kind", ["teacher", "ptp", "student"])
def test_a_seed_determines_the_new_classifier(monkeypatch, kind):
    heads = {}
    stage = planned("table2", "PeaBERT1").stage(kind)
    for parent in stage.parents:
        compute.read(parent)

    class Stop(Exception):
        pass

    def stop(stage, model, *_):
        heads.setdefault(stage.spec.training.seed, []).append(state_of(model)["classifier.weight"])
        raise Stop

    monkeypatch.setattr(compute, "train", stop)
    for seed in (0, 0, 1):
        other = replace(stage.spec, training=replace(stage.spec.training, seed=seed))
        torch.rand(seed + 3)  # the state of the generator before does not matter
        with pytest.raises(Stop):
            compute.COMPUTE[kind](replace(stage, spec=other))
    assert torch.equal(*heads[0])
    assert not torch.equal(heads[0][0], heads[1][0])


# what a result reports


@pytest.mark.parametrize(("table", "row"), [("table1", "PTP labels"), ("table2", "BERT-base")])
def test_a_result_has_the_split_of_its_table(table, row):
    """Table 1 describes the teacher's predictions on train, the others score dev."""
    resolved = planned(table, row)
    for stage in resolved.stages:
        compute.run_stage(stage)
    finish.finish(resolved)
    predicted, stored = results.predictions(resolved.cell), results.read(resolved.cell)
    name, rows = ("train", 48) if table == "table1" else ("dev", 32)
    outputs = compute.read(resolved.stage("outputs")).tensors[f"{name}.logits"].numpy()
    data = compute.load_data(resolved.trained.spec.inputs)
    labels = data.train.labels if name == "train" else data.dev.labels
    assert predicted["label"].tolist() == labels.tolist() and len(labels) == rows
    np.testing.assert_array_equal(predicted[["logit_0", "logit_1"]].to_numpy(), outputs)
    assert stored["metrics"]["accuracy"] == accuracies([outputs], labels)[0]
    assert stored["metrics"]["f1"] == pytest.approx(f1s([outputs], labels)[0])
    assert results.done(resolved.cell) and finish.outdated(resolved) == ""


def test_a_result_reports_the_score_after_the_last_step():
    resolved = planned("table2", "BERT2-PatientKD", **EACH)
    for stage in resolved.stages:
        compute.run_stage(stage)
    finish.finish(resolved)
    scores = [entry["score"] for entry in compute.read(resolved.trained).meta["history"]]
    selection = results.read(resolved.cell)["selection"]
    assert (selection["last_score"], selection["best_score"]) == (scores[-1], max(scores))
    assert scores[0] != scores[-1]


def test_the_median_thresholds_are_those_of_train():
    resolved = planned("table5", "BERT3+SPS+PTP", "authors+ptp_thresholds=median")
    outputs = compute.read(resolved.stage("outputs")).tensors["train.logits"].double()
    labels = compute.load_data(resolved.trained.spec.inputs).train.labels
    sure, right = outputs.softmax(-1).amax(-1).numpy(), outputs.argmax(-1).numpy() == labels
    expected = [np.median(sure[right]), np.median(sure[~right])]
    assert compute.read(resolved.stage("ptp")).meta["thresholds"] == pytest.approx(expected)


def test_a_result_of_other_stages_is_outdated():
    resolved = planned("table1", "PTP labels")
    if not results.done(resolved.cell):
        for stage in resolved.stages:
            compute.run_stage(stage)
        finish.finish(resolved)
    other = replace(resolved.stages[0].spec.inputs, dev="other data")
    first = replace(resolved.stages[0], spec=replace(resolved.stages[0].spec, inputs=other))
    changed = replace(resolved, own=(first, *resolved.own[1:]))
    assert finish.outdated(changed) == "dev data"


def test_a_finished_stage_is_not_computed_again(monkeypatch):
    stage = planned("table1", "PTP labels").stages[0]
    compute.run_stage(stage)
    assert cache.exists(stage.kind, stage.key)
    monkeypatch.setattr(compute, "COMPUTE", {})
    compute.run_stage(stage)


def test_the_budget_of_each_stage_is_its_own():
    budgets = {"teacher.epochs": 2, "ptp.epochs": 3, "ptp.stop_epoch": 0}
    budgets |= {"teacher.learning_rate": 1.5e-4, "ptp.learning_rate": 3e-4}
    budgets |= {"student.learning_rate": 4e-4}
    (cell,) = (cell for cell in tiny("table2", **budgets) if cell.row == "PeaBERT2")
    resolved = stages.resolve(cell)
    assert [
        (
            resolved.stage(kind).spec.training.epochs,
            resolved.stage(kind).spec.training.learning_rate,
        )
        for kind in ("teacher", "ptp", "student")
    ] == [(2, 1.5e-4), (3, 3e-4), (1, 4e-4)]
    assert {resolved.stage(k).spec.training.optimizer for k in ("teacher", "ptp", "student")} == {
        "bertadam"
    }
    assert resolved.effective_layers == 4
