"""Two cells resolved into values: the authors' recipe, and one in which every option is another."""

from dataclasses import asdict, fields, is_dataclass, replace

import pytest

from repro.config.cells import plan
from repro.runs import specs, stages

INPUTS = {"task", "train_cap", "dev_cap", "label_noise", "encoder", "max_length", "train", "dev"}
INPUTS |= {"encoder_files"}


def resolved(table, row, recipe="authors", task="RTE", **overrides):
    cells = plan(table, "demo", task, 4, recipe, overrides)
    (cell,) = (cell for cell in cells if (cell.row, cell.seed) == (row, 3))
    return stages.resolve(cell)


def values(plan, kind):
    """The values of a stage without its inputs."""
    spec = asdict(plan.stage(kind).spec)
    assert spec.pop("inputs").keys() == INPUTS
    return spec


def training(rate, batch, epochs, stop, optimizer="bertadam", shuffle=False, patience=0, every=2):
    return {
        "learning_rate": rate,
        "batch_size": batch,
        "epochs": epochs,
        "stop_epoch": stop,
        "optimizer": optimizer,
        "shuffle": shuffle,
        "seed": 3,
        "precision": "float32",
        "evaluations_per_epoch": every,
        "patience": patience,
    }


def structure(layers, order, swapped, swap_biases=True):
    uses = tuple((layer, place in swapped) for place, layer in enumerate(order))
    return {"layers": layers, "uses": uses, "swap_biases": swap_biases}


def test_the_authors_peabert3():
    plan = resolved("table2", "PeaBERT3")
    assert [stage.kind for stage in plan.stages] == ["teacher", "outputs", "ptp", "student"]
    twice = structure(3, [0, 1, 2, 0, 1, 2], {3, 4, 5})
    assert values(plan, "teacher") == {
        "loss": {},
        "training": training(2e-4, 32, 4, 4),
        "selection": "lowest_dev_loss",
    }
    assert values(plan, "outputs") == {"precision": "float32"}
    assert values(plan, "ptp") == {
        "structure": twice,
        "ptp": {"variant": "both", "thresholds": (0.80, 0.60), "class_weights": "none"},
        "training": training(2e-4, 32, 3, 2, shuffle=True),
        "selection": "best_dev",
    }
    kd = {"alpha": 0.7, "temperature": 10.0, "reduction": "mean", "reading": "both_squared"}
    assert values(plan, "student") == {
        "structure": twice,
        "loss": {
            "kd": kd,
            "beta": 8.33,
            "match": "normalized_mean",
            "pairs": ((1, 2), (2, 4), (3, 6), (4, 8), (5, 10)),
        },
        "training": training(2e-4, 32, 2, 2),
        "selection": "best_dev",
        "pooler": "kept",
    }
    assert plan.effective_layers == 6


OTHER = (
    "authors+ptp_thresholds=median+temperature=paper+kl_reduction=batchmean+hidden_match=sum"
    "+layer_map=uniform+sps6_order=all_appended+swap_biases=False+ptp_stop=patience"
    "+ptp_selection=last+ptp_pooler=reset+ptp_class_weights=balanced+checkpoint=last"
    "+shuffle=True+teacher_checkpoint=best_dev+optimizer=adamw"
)


def test_every_option_reaches_its_stage():
    budgets = {
        f"{kind}.{name}": value
        for kind, numbers in {
            "teacher": (1e-3, 3, 7),
            "ptp": (2e-3, 4, 8),
            "student": (3e-3, 5, 9),
        }.items()
        for name, value in zip(("learning_rate", "batch_size", "epochs"), numbers, strict=True)
    }
    others = {"alpha": 0.2, "temperature": 3.0, "beta": 5.0, "evaluations_per_epoch": 6}
    sizes = {"max_length": 31, "train_cap": 41, "dev_cap": 37}
    plan = resolved("table3", "PeaBERT", OTHER, "MRPC", **budgets, **others, **sizes)
    options = {"optimizer": "adamw", "shuffle": True, "every": 6}
    order = structure(6, [*range(6)] * 2, {*range(6, 12)}, swap_biases=False)
    assert values(plan, "teacher") == {
        "loss": {},
        "training": training(1e-3, 3, 7, 7, **options),
        "selection": "best_dev",
    }
    assert values(plan, "ptp") == {
        "structure": order,
        "ptp": {
            "variant": "both",
            "thresholds": ("median of correct", "median of wrong"),
            "class_weights": "balanced",
        },
        "training": training(2e-3, 4, 8, 8, patience=3, **options),
        "selection": "best_inner",
    }
    kd = {"alpha": 0.2, "temperature": 3.0, "reduction": "batchmean", "reading": "paper"}
    pairs = tuple((layer, layer) for layer in range(1, 12))  # twelve layers in both networks
    assert values(plan, "student") == {
        "structure": order,
        "loss": {"kd": kd, "beta": 5.0, "match": "sum", "pairs": pairs},
        "training": training(3e-3, 5, 9, 9, **options),
        "selection": "last",
        "pooler": "reset",
    }
    inputs = plan.trained.spec.inputs
    assert (inputs.task, inputs.encoder, inputs.max_length) == ("mini-MRPC", "embedded", 31)
    train, dev = specs.load_splits("mini-MRPC", plan.cell.setting)
    assert (len(train.labels), len(dev.labels)) == (41, 37)
    assert (inputs.train_cap, inputs.dev_cap) == (41, 37)
    assert (inputs.train, inputs.dev) == (train.fingerprint, dev.fingerprint)


@pytest.mark.parametrize(
    ("row", "thresholds"),
    [("BERT3+SPS+PTP-1", ()), ("BERT3+SPS+PTP-2", (0.8, 0.8)), ("BERT3+SPS+PTP", (0.8, 0.6))],
)
def test_the_thresholds_of_each_variant(row, thresholds):
    assert resolved("table5", row).stage("ptp").spec.ptp.thresholds == thresholds


@pytest.mark.parametrize(
    ("table", "row", "recipe", "pairs"),
    [
        ("table2", "BERT1-PatientKD", "authors+one_layer_patient=match", ((1, 6),)),
        ("table2", "PeaBERT1", "authors", ((1, 6),)),
        ("table2", "BERT2-PatientKD", "authors", ((1, 6),)),
        ("table2", "PeaBERT2", "authors", ((1, 3), (2, 6), (3, 9))),
        ("table2", "BERT3-PatientKD", "authors", ((1, 4), (2, 8))),
        ("table2", "BERT3-PatientKD", "authors+layer_map=last", ((1, 10), (2, 11))),
        ("table4", "SPS-1", "authors", ((1, 2), (2, 4), (3, 6), (4, 8), (5, 10))),
        ("table3", "PeaBERT", "authors", ((3, 4), (6, 8))),
    ],
)
def test_the_matched_pairs_of_each_student(table, row, recipe, pairs):
    assert resolved(table, row, recipe).trained.spec.loss.pairs == pairs


def leaves(spec, path=()):
    """Each value of a stage with its path of field names."""
    for field in fields(spec):
        value = getattr(spec, field.name)
        if is_dataclass(value):
            yield from leaves(value, (*path, field.name))
        else:
            yield (*path, field.name), value


def changed(spec, path, value):
    name, *rest = path
    inner = changed(getattr(spec, name), rest, value) if rest else value
    return replace(spec, **{name: inner})


def another(value):
    if isinstance(value, bool):
        return not value
    return (*value, "x") if isinstance(value, tuple) else value + type(value)("1")


@pytest.mark.parametrize("kind", ["teacher", "outputs", "ptp", "student"])
def test_every_value_of_a_stage_is_in_its_key_but_how_its_data_are_found(kind):
    stage = resolved("table5", "BERT3+SPS+PTP").stage(kind)
    ignored = {
        path[-1]
        for path, value in leaves(stage.spec)
        if replace(stage, spec=changed(stage.spec, path, another(value))).key == stage.key
    }
    assert ignored == {"train_cap", "dev_cap", "label_noise", "encoder"}
