"""The numbers that determine the results, written out once beside their declarations."""

from dataclasses import astuple, fields

import pytest

from repro.config.cells import plan
from repro.config.profiles import PROFILES, Budget, beta_for
from repro.config.recipe import TEXTBOOK, Recipe
from repro.config.sweeps import PAPER, blind
from repro.config.tables import TABLES
from repro.config.tasks import TASKS

# Per profile: budgets of teacher, PTP and student (rate, batch, epochs, stop epoch), then beta, the
# caps on train and dev, the length limit, evaluations per epoch, precision.
NUMBERS = {
    "demo": (
        [(2e-4, 32, 4, 0), (2e-4, 32, 3, 2), (2e-4, 32, 2, 0)],
        (8.33, 0, 0, 64, 2, "float32"),
    ),
    "cpu": (
        [(2e-5, 32, 4, 0), (2e-5, 32, 4, 3), (5e-5, 32, 4, 0)],
        (50.0, 8000, 0, 128, 2, "auto"),
    ),
    "base": (
        [(1e-5, 32, 3, 0), (2e-5, 64, 6, 4), (2e-5, 64, 6, 0)],
        (100.0, 0, 0, 128, 4, "auto"),
    ),
    "paper": (
        [(2e-5, 32, 4, 0), (2e-5, 64, 6, 4), (2e-5, 64, 6, 0)],
        (100.0, 0, 0, 128, 4, "auto"),
    ),
}
ENCODERS = {
    "demo": "embedded",
    "cpu": "all-MiniLM-L6-v2",
    "base": "all-mpnet-base-v2",
    "paper": "bert-base-uncased",
}
RATES = {
    "demo": (2e-4, 5e-4, 1e-3),
    "cpu": (5e-5, 1e-4, 2e-4),
    "base": (1e-5, 2e-5, 3e-5, 5e-5),
    "paper": (1e-5, 2e-5, 3e-5, 5e-5),
}
ADAMW = {"cpu": (1e-4, 1e-4, 1e-4), "base": (3e-5, 5e-5, 5e-5)}  # teacher, PTP, student


@pytest.mark.parametrize("name", PROFILES)
def test_adamw_has_its_own_rates(name):
    profile = PROFILES[name]
    assert profile.setting_for(Recipe()) == profile.setting
    setting = profile.setting_for(TEXTBOOK)
    budgets = (setting.teacher, setting.ptp, setting.student)
    own = tuple(rate for rate, *_ in NUMBERS[name][0])
    assert tuple(budget.learning_rate for budget in budgets) == ADAMW.get(name, own)
    for recipe in ("authors", "textbook"):
        (cell, *_) = plan("table2", name, "RTE", 1, recipe)
        assert cell.given == {}
        assert cell.setting == profile.setting_for(cell.recipe)


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile(name):
    profile = PROFILES[name]
    setting = profile.setting
    budgets = [astuple(budget) for budget in (setting.teacher, setting.ptp, setting.student)]
    others = (
        setting.beta,
        setting.train_cap,
        setting.dev_cap,
        setting.max_length,
        setting.evaluations_per_epoch,
        setting.precision,
    )
    assert setting.label_noise == (0.04 if name == "demo" else 0.0)
    assert (budgets, others) == NUMBERS[name]
    assert (setting.alpha, setting.temperature) == (0.7, 10.0)
    assert (setting.backbone, profile.search_rates) == (ENCODERS[name], RATES[name])
    assert profile.task_prefix == ("mini-" if name == "demo" else "")


def test_beta_is_scaled_to_the_width():
    assert (beta_for(768), beta_for(384), beta_for(64)) == (100.0, 50.0, 8.33)


def test_a_budget_stops_at_its_epoch_within_the_schedule():
    assert Budget(1.0, 1, 6, 4).run_epochs == 4
    assert Budget(1.0, 1, 6).run_epochs == 6
    assert Budget(1.0, 1, 3, 4).run_epochs == 3


# Per decision: the authors' and the textbook reading.
READINGS = {
    "ptp_thresholds": ("two", "one"),
    "temperature": ("both_squared", "both_squared"),
    "kl_reduction": ("mean", "batchmean"),
    "hidden_match": ("normalized_mean", "normalized_mean"),
    "layer_map": ("authors", "uniform"),
    "sps6_order": ("top_appended", "top_appended"),
    "swap_biases": (True, True),
    "ptp_stop": ("fixed", "patience"),
    "ptp_selection": ("best_dev", "best_inner"),
    "ptp_pooler": ("kept", "kept"),
    "ptp_class_weights": ("none", "none"),
    "ptp2_threshold": ("t1", "t1"),
    "hyperparameters": ("preset", "searched"),
    "seeds": (1, 5),
    "checkpoint": ("best_dev", "last"),
    "shuffle": (False, True),
    "parameter_count": ("layers", "both"),
    "one_layer_patient": ("kd", "kd"),
    "ablation_loss": ("patient_kd", "patient_kd"),
    "teacher_checkpoint": ("lowest_dev_loss", "last"),
    "optimizer": ("bertadam", "adamw"),
}


def test_the_readings_of_the_recipes():
    authors, names = Recipe(), [entry.name for entry in fields(Recipe)]
    assert {name: (getattr(authors, name), getattr(TEXTBOOK, name)) for name in names} == READINGS


def test_a_sweep_makes_no_choice_on_dev():
    rules = blind(Recipe())
    assert (rules.checkpoint, rules.ptp_selection) == ("best_inner", "best_inner")
    assert rules.teacher_checkpoint == "last"
    assert PAPER["student.batch_size"] == (32, 64) and PAPER["student.epochs"] == (4, 6, 10)
    assert PAPER["alpha"] == (0.1, 0.3, 0.5, 0.7)
    assert PAPER["beta"] == (0.0, 40.0, 100.0, 250.0, 500.0)


# Per row: stored layers, sharing, PTP, loss.
ROWS = {
    "table1": {"PTP labels": (0, "none", "none", "finetune")},
    "table2": {
        "BERT-base": (0, "none", "none", "finetune"),
        "BERT1-PatientKD": (1, "none", "none", "patient_kd"),
        "PeaBERT1": (1, "shuffled", "both", "patient_kd"),
        "BERT2-PatientKD": (2, "none", "none", "patient_kd"),
        "PeaBERT2": (2, "shuffled", "both", "patient_kd"),
        "BERT3-PatientKD": (3, "none", "none", "patient_kd"),
        "PeaBERT3": (3, "shuffled", "both", "patient_kd"),
    },
    "table3": {"PeaBERT": (6, "shuffled", "both", "patient_kd")},
    "table4": {
        "BERT3": (3, "none", "none", "patient_kd"),
        "SPS-1": (3, "paired", "none", "patient_kd"),
        "SPS-2": (3, "shuffled", "none", "patient_kd"),
    },
    "table5": {
        "BERT3+SPS": (3, "shuffled", "none", "patient_kd"),
        "BERT3+SPS+PTP-1": (3, "shuffled", "correct", "patient_kd"),
        "BERT3+SPS+PTP-2": (3, "shuffled", "confident", "patient_kd"),
        "BERT3+SPS+PTP": (3, "shuffled", "both", "patient_kd"),
    },
    "baselines": {
        "BERT-base": (0, "none", "none", "finetune"),
        "BERT1-FineTuned": (1, "none", "none", "finetune"),
        "BERT2-KD": (2, "none", "none", "kd"),
        "BERT3-PatientKD": (3, "none", "none", "patient_kd"),
        "BERT6-SPS-1": (6, "paired", "none", "patient_kd"),
        "BERT1-SPS-2": (1, "shuffled", "none", "patient_kd"),
        "BERT2-PTP": (2, "none", "both", "patient_kd"),
        "PeaBERT3": (3, "shuffled", "both", "patient_kd"),
        "PeaBERT6": (6, "shuffled", "both", "patient_kd"),
    },
    "related": {
        "BERT-base": (0, "none", "none", "finetune"),
        "BERT3-PatientKD": (3, "none", "none", "patient_kd"),
        "PeaBERT3": (3, "shuffled", "both", "patient_kd"),
        "DistilBERT3": (3, "none", "none", "distilbert"),
        "TinyBERT3": (3, "none", "none", "tinybert"),
        "MiniLM3": (3, "none", "none", "minilm"),
        "MiniLMv2-3": (3, "none", "none", "minilm_v2"),
        "BERT4-PatientKD": (4, "none", "none", "patient_kd"),
        "TinyBERT4": (4, "none", "none", "tinybert"),
        "BERT6-PatientKD": (6, "none", "none", "patient_kd"),
        "PeaBERT6": (6, "shuffled", "both", "patient_kd"),
        "DistilBERT6": (6, "none", "none", "distilbert"),
        "TinyBERT6": (6, "none", "none", "tinybert"),
        "MiniLM6": (6, "none", "none", "minilm"),
        "MiniLMv2-6": (6, "none", "none", "minilm_v2"),
    },
}


@pytest.mark.parametrize("name", ROWS)
def test_the_rows_train_what_their_names_say(name):
    rows = {
        row.name: (row.layers, row.method.sharing, row.method.ptp, row.method.loss)
        for row in TABLES[name].rows
        if row.method.kind != "printed"
    }
    assert rows.items() >= ROWS[name].items()
    assert TABLES[name].ablation == (name in ("table4", "table5"))


# Per task: metric, thresholds of PTP, labels in the order of their ids.
GLUE = {
    "RTE": ("accuracy", (0.80, 0.60), ("entailment", "not_entailment")),
    "MRPC": ("f1", (0.95, 0.75), ("not_equivalent", "equivalent")),
    "SST-2": ("accuracy", (0.98, 0.80), ("negative", "positive")),
    "QNLI": ("accuracy", (0.98, 0.70), ("entailment", "not_entailment")),
}


@pytest.mark.parametrize("name", GLUE)
def test_a_task_and_its_miniature(name):
    metric, _, labels = GLUE[name]
    task, mini = TASKS[name], TASKS[f"mini-{name}"]
    assert (task.metric, task.thresholds, task.labels) == GLUE[name]
    assert (mini.metric, mini.thresholds, mini.labels) == (metric, (0.80, 0.60), labels)
    assert (task.embedded, mini.embedded) == (False, True)


def test_published_scores_of_related_methods():
    from math import isnan

    from repro.config import printed

    rows = {row.name for row in TABLES["related"].rows}
    published = printed.related()
    assert {*published.index} <= rows and published["source"].notna().all()
    assert {*published["split"]} == {"dev", "test"}
    assert printed.paper("related", "DistilBERT6", ["RTE"]) == 59.9
    assert printed.paper("related", "DistilBERT6", ["Avg"]) == pytest.approx(81.975)
    assert isnan(printed.paper("related", "MiniLM3", ["RTE"]))  # nobody published it
    assert isnan(printed.paper("related", "MiniLMv2-6", ["Avg"]))  # MRPC is missing
    # no difference between a dev score and a test score
    assert isnan(printed.difference("related", "PeaBERT6", "TinyBERT6", ["RTE"]))
    found = printed.difference("related", "PeaBERT6", "DistilBERT6", ["RTE"])
    assert found == pytest.approx(73.6 - 59.9)
    assert printed.difference("table2", "PeaBERT3", "BERT3-PatientKD", ["RTE"]) == pytest.approx(
        6.1
    )
