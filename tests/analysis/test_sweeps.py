"""Sweeps with small budgets: space, samplers, pruning, resumption, no use of dev, tuned tables."""

import dataclasses
import json
from types import SimpleNamespace

import nbformat
import optuna
import pytest
from filelock import FileLock
from optuna.trial import TrialState
from synthetic import finish

from repro import paths
from repro.analysis import sweeps, tables, verification
from repro.config import cells
from repro.config import sweeps as searches
from repro.config.cells import plan as cells_of
from repro.config.profiles import PROFILES
from repro.data import glue
from repro.errors import InputError, MissingError, ReproError, TrainingError
from repro.report import sweep_figures
from repro.runs import compute, engine, notebooks, specs, stages, trials

BUDGET = {"train_cap": 48, "dev_cap": 32, "teacher.epochs": 1, "ptp.epochs": 1}


@pytest.fixture(autouse=True)
def _folders(tmp_path_factory, tmp_path, monkeypatch):
    """The tests of this file share a cache; each has its own results and figures."""
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path_factory.getbasetemp() / "sweep-cache"))
    for name in ("results", "figures"):
        monkeypatch.setenv(f"REPRO_{name.upper()}", str(tmp_path / name))


@pytest.fixture
def no_training(monkeypatch):
    """Nothing is trained and a trial scores 1 + 40 alpha; returns the numbers of the trials run."""
    run = []

    def run_trial(stage, trial):
        run.append(trial.number)
        for name, value in {"epochs": 1, "seconds": 1.0, "failure": ""}.items():
            trial.set_user_attr(name, value)
        trial.study.tell(trial, 1 + 40 * trial.params["alpha"])

    monkeypatch.setattr(trials, "run_trial", run_trial)
    monkeypatch.setattr(engine, "run_stages", lambda stages, pool, bar: iter(()))
    return run


def tiny(sampler="random", pruner="none", budget=4, overrides=None, **options):
    changed = BUDGET | (overrides or {})
    options = {"method": "PeaBERT1", "overrides": changed} | options
    return searches.plan("table2", budget=budget, sampler=sampler, pruner=pruner, **options)


def params(study):
    return params_of(sweeps.finished(study))


def params_of(frozen_trials):
    return [trial.params for trial in frozen_trials]


# the space


def test_the_papers_profile_searches_the_papers_grid():
    space = searches.scaled_space("paper")
    assert space["student.batch_size"] == (32, 64) and space["student.epochs"] == (4, 6, 10)
    assert space["student.learning_rate"] == (1e-5, 2e-5, 3e-5, 5e-5)
    assert (space["alpha"][0], space["alpha"][-1]) == (0.1, 0.7)
    assert (space["beta"][0], space["beta"][-1]) == (0, 500)


@pytest.mark.parametrize("name", PROFILES)
def test_a_profiles_own_values_are_in_its_space(name):
    for setting, values in searches.scaled_space(name).items():
        own = searches.value_of(PROFILES[name].setting, setting)
        assert values[0] <= own <= values[-1]
        assert own in values or setting in searches.CONTINUOUS
        assert all(type(value) is type(own) for value in values)
        assert values == tuple(sorted(set(values)))


@pytest.mark.parametrize(
    ("table", "method", "recipe", "unused"),
    [
        ("table2", "PeaBERT3", "authors", set()),
        ("table2", "BERT1-PatientKD", "authors", {"beta"}),
        ("table2", "BERT1-PatientKD", "authors+one_layer_patient=match", set()),
        ("table2", "PeaBERT3", "authors+layer_map=none", {"beta"}),
        ("table4", "SPS-2", "authors+ablation_loss=kd", {"beta"}),
        ("table4", "SPS-2", "authors+ablation_loss=finetune", {"alpha", "beta"}),
    ],
)
def test_a_setting_without_effect_is_not_searched(table, method, recipe, unused):
    space = searches.plan(table, method=method, recipe=recipe).space
    assert {*searches.scaled_space("demo")} - {*space} == unused


def test_a_fixed_setting_is_not_searched():
    sweep = tiny(overrides={"beta": 3.0})
    assert "beta" not in sweep.space and sweep.cell.setting.beta == 3.0


# bad input


@pytest.mark.parametrize(("method", "layers"), [("PeaBERT3", 0), ("PeaBERT", 3), ("PeaBERT3", 3)])
def test_a_student_is_named_with_or_without_its_layers(method, layers):
    assert searches.row_name("table2", method, layers) == "PeaBERT3"
    assert searches.row_name("table2", "BERT-PatientKD", 2) == "BERT2-PatientKD"


FIXED = {"student.batch_size": 4, "student.epochs": 4, "student.learning_rate": 1e-4}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"method": "PeaBERT"},
            "unknown student of table2 'PeaBERT'; use one of: BERT1-PatientKD, PeaBERT1",
        ),
        ({"method": "BERT-base"}, "unknown student of table2 'BERT-base'"),
        ({"method": "PeaBERT3", "layers": 2}, "unknown student of table2 'PeaBERT3 of 2 layers'"),
        ({"sampler": "cmaes"}, "unknown sampler 'cmaes'; use one of: tpe, random, grid"),
        ({"pruner": "hyperband"}, "unknown pruner 'hyperband'; use one of: none, median, halving"),
        ({"budget": 0}, "budget must be a whole number of trials from 1 to 1000, got 0"),
        ({"task": "RTE,MRPC"}, "a sweep takes one task, got 'RTE,MRPC'"),
        (
            {"recipe": "textbook"},
            r"recipe textbook searches .* \(decision D13\).*textbook\+hyperparameters=preset",
        ),
        ({"overrides": FIXED | {"alpha": 0.5, "beta": 1.0}}, "nothing is left to search"),
    ],
)
def test_bad_input_is_refused(options, words):
    with pytest.raises(InputError, match=words):
        searches.plan("table2", **options)


# the study


@pytest.mark.parametrize("sampler", searches.SAMPLERS)
def test_a_larger_budget_continues_the_study(sampler, no_training, monkeypatch):
    once = params(sweeps.run(tiny(sampler, budget=14, seed=1), "serial"))
    assert len({json.dumps(values) for values in once}) == 14
    sweeps.study_path(tiny(sampler, budget=14, seed=1)).unlink()
    first = params(sweeps.run(tiny(sampler, budget=5, seed=1), "serial"))
    more = params(sweeps.run(tiny(sampler, budget=14, seed=1), "serial"))
    assert (first, more) == (once[:5], once)
    no_training.clear()
    sweeps.run(tiny(sampler, budget=3, seed=1), "serial")
    assert no_training == []
    other = sweeps.run(tiny(sampler, budget=5, seed=2), "serial")
    assert params(other) != first


def test_a_grid_ends_with_its_last_point(no_training):
    fixed = {"student.batch_size": 16, "student.epochs": 1, "beta": 1.0}
    study = sweeps.run(tiny("grid", budget=50, overrides=fixed), "serial")
    points = {
        (trial.params["student.learning_rate"], trial.params["alpha"]) for trial in study.trials
    }
    assert len(study.trials) == len(points) == 12
    assert {rate for rate, _ in points} == {*PROFILES["demo"].search_rates}


@pytest.mark.parametrize("sampler", searches.SAMPLERS)
def test_a_killed_trial_is_run_again(sampler, no_training, monkeypatch):
    sweep, run_trial = tiny(sampler, budget=14), trials.run_trial
    uninterrupted = params(sweeps.run(sweep, "serial"))
    sweeps.study_path(sweep).unlink()

    def interrupt(stage, trial):
        if trial.number == 11:
            raise KeyboardInterrupt
        run_trial(stage, trial)

    monkeypatch.setattr(trials, "run_trial", interrupt)
    with pytest.raises(KeyboardInterrupt):
        sweeps.run(sweep, "serial")
    killed = sweeps.load(sweeps.study_path(sweep)).trials[11]
    assert killed.state == TrialState.RUNNING
    with sweeps.study_path(sweep).open("ab") as file:  # the last line may be incomplete
        file.write(b'{"op_code":4')
    monkeypatch.setattr(trials, "run_trial", run_trial)
    study = sweeps.run(sweep, "serial")
    (again,) = [trial for trial in study.trials if trial.user_attrs.get("retry_of") == 11]
    assert again.params == killed.params and study.trials[11].state == TrialState.FAIL
    key = json.dumps
    assert sorted(map(key, params(study))) == sorted(map(key, uninterrupted))


def flip_dev(monkeypatch):
    """Replace every label of dev by the other one."""
    load = glue.load

    def flipped(task, split, *rest):
        data = load(task, split, *rest)
        return dataclasses.replace(data, labels=1 - data.labels) if split == "dev" else data

    monkeypatch.setattr(glue, "load", flipped)
    specs._load_splits.cache_clear()


@pytest.fixture
def _reload():
    yield
    specs._load_splits.cache_clear()


@pytest.mark.usefixtures("_reload")
def test_a_study_of_other_data_is_refused(no_training, monkeypatch):
    sweeps.run(tiny(budget=1), "serial")
    flip_dev(monkeypatch)
    with pytest.raises(
        InputError, match=r"\.log was created with different data, settings or code; delete it"
    ):
        sweeps.run(tiny(budget=2), "serial")


def test_a_sweep_runs_in_one_process_at_a_time(no_training):
    sweep = tiny(budget=1)
    sweeps.study_path(sweep).parent.mkdir(parents=True)
    message = "another process runs the sweep table2-peabert1-mini-rte-s0-random-none"
    with (
        FileLock(sweeps.study_path(sweep).with_suffix(".lock")),
        pytest.raises(ReproError, match=message),
    ):
        sweeps.run(sweep, "serial")
    assert len(sweeps.run(sweep, "serial").trials) == 1


# training


def test_two_workers_train_the_trials_of_one():
    changes = {"student.epochs": 2, "student.batch_size": 16}
    one = sweeps.run(tiny(budget=3, overrides=changes), "serial")
    sweeps.study_path(tiny(budget=3, overrides=changes)).unlink()
    two = sweeps.run(tiny(budget=3, overrides=changes), "processes", 2)
    assert params(two) == params(one)  # those of "random" do not depend on scores
    for trial, other in zip(two.trials, one.trials, strict=True):
        assert trial.value == pytest.approx(other.value, abs=26)  # one of four examples
        assert [*trial.intermediate_values] == [1, 2] and trial.user_attrs["epochs"] == 2
        assert trial.value == max(trial.intermediate_values.values())
        assert trial.user_attrs["seconds"] > 0


def test_trials_share_all_but_the_student():
    sweep = tiny()
    one, other = (stages.resolve(sweep.trial_cell({"alpha": alpha})) for alpha in (0.2, 0.6))
    shared = [a.key == b.key for a, b in zip(one.stages, other.stages, strict=True)]
    assert shared == [True, True, True, False]
    assert sweep.trial_cell({"beta": 0.1 + 0.2}).setting.beta == 0.3


def test_pruning_ends_trainings_early(monkeypatch):
    def scorer(spec, *_):
        return lambda model: 90 - spec.loss.kd.alpha if isinstance(spec, specs.Student) else 0.0

    monkeypatch.setattr(compute, "_scorer", scorer)
    changes = {"student.epochs": 4, "student.batch_size": 32}
    every, median, halving = (
        sweeps.run(tiny("random", name, 7, changes), "serial").trials for name in searches.PRUNERS
    )
    check_pruned(median, every, first=4)
    check_pruned(halving, every, first=1)


def check_pruned(some, every, first):
    """first: the number of the first trial that can be pruned."""
    assert params_of(some) == params_of(every)
    pruned = [trial.state == TrialState.PRUNED for trial in some]
    assert any(pruned) and not any(pruned[:first])
    for trial, is_pruned in zip(some, pruned, strict=True):
        epochs = trial.user_attrs["epochs"]
        assert epochs == max(trial.intermediate_values)
        assert 2 <= epochs < 4 if is_pruned else epochs == 4
    complete = [trial for trial in some if trial.state == TrialState.COMPLETE]
    assert max(trial.value for trial in complete) == max(trial.value for trial in every)


def test_an_epoch_is_reported_once_after_an_interruption():
    """The restored history has the scores of earlier processes; steps 3 and 6 end the epochs."""
    study = optuna.create_study()
    trial = study.ask()
    report = trials.ReportEpochs(trial)
    history = [{"step": step, "score": score} for step, score in ((2, 50.0), (4, 40.0), (6, 70.0))]
    training = SimpleNamespace(
        progress=SimpleNamespace(step=6, history=history),
        steps_per_epoch=3,
        last_step=9,
        stop=False,
    )
    report.on_log(training, {6: {"learning_rate": 0.1, "kd": 1.0}})
    report.on_log(training, {6: {"score": 70.0}})
    report.on_log(training, {6: {"score": 70.0}})
    assert study.trials[0].intermediate_values == {1: 50.0, 2: 70.0}


def test_a_training_that_diverges_is_a_failed_trial(monkeypatch):
    train_student = compute.train_student

    def diverge(stage, data, callbacks):
        if stage.spec.training.learning_rate > 5e-4:
            raise TrainingError("the loss is not finite at step 3")
        return train_student(stage, data, callbacks)

    monkeypatch.setattr(compute, "train_student", diverge)
    changes = {"student.epochs": 1, "student.batch_size": 16, "alpha": 0.4, "beta": 2.0}
    study = sweeps.run(tiny("grid", "none", 4, changes), "serial")
    for trial in study.trials:
        failed = trial.params["student.learning_rate"] > 5e-4
        assert trial.state == (TrialState.FAIL if failed else TrialState.COMPLETE)
        assert trial.user_attrs["failure"] == "the loss is not finite at step 3" * failed
    assert "3 trials (1 failed, 2 complete; " in sweeps.sentence(study)
    only = changes | {"student.learning_rate": 6e-4}
    del only["alpha"]
    message = "none of 2 trials completed: the loss is not finite at step 3; widen the search"
    with pytest.raises(ReproError, match=message):
        sweeps.run(tiny("grid", "none", 2, only), "serial")


def test_a_shared_stage_that_fails_is_named(monkeypatch, tmp_path):
    def diverge(stage):
        raise TrainingError("the loss is not finite at step 3")

    monkeypatch.setenv("REPRO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(compute.COMPUTE, "teacher", diverge)
    with pytest.raises(
        ReproError, match=r"the teacher on mini-RTE, seed 0, which .* failed: the loss is"
    ):
        sweeps.run(tiny(), "serial")


# dev


@pytest.mark.usefixtures("_reload")
def test_no_label_of_dev_is_used(tmp_path, monkeypatch):
    changes = {"train_cap": 160, "student.batch_size": 32, "student.epochs": 3}
    sweep = tiny("tpe", "median", 5, changes)
    expected = sweeps.run(sweep, "serial").trials
    key = stages.resolve(sweep.trial_cell({})).trained.key
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("REPRO_RESULTS", str(tmp_path / "flipped"))
    flip_dev(monkeypatch)
    assert stages.resolve(sweep.trial_cell({})).trained.key != key  # the labels are other ones
    for trial, before in zip(sweeps.run(sweep, "serial").trials, expected, strict=True):
        assert (trial.params, trial.state, trial.value) == (
            before.params,
            before.state,
            before.value,
        )
        assert trial.intermediate_values == before.intermediate_values


@pytest.mark.parametrize("recipe", ["authors", "textbook", "authors+teacher_checkpoint=best_dev"])
def test_a_blind_recipe_makes_no_choice_on_dev(recipe):
    blind = searches.blind(cells.parse(recipe))
    assert "dev" not in f"{blind.checkpoint} {blind.ptp_selection} {blind.teacher_checkpoint}"


# tuned tables and figures


@pytest.fixture
def swept(no_training):
    """The studies of Table 4's three students on RTE."""
    plans = [searches.plan("table4", method=name, budget=5) for name in ("BERT3", "SPS-1", "SPS-2")]
    return [sweeps.run(plan, "serial") for plan in plans]


def test_the_best_settings_are_those_of_the_best_trial(swept):
    best = sweeps.best("demo")
    assert {*best} == {("table4", name, "mini-RTE") for name in ("BERT3", "SPS-1", "SPS-2")}
    values = best["table4", "SPS-2", "mini-RTE"]
    assert values == searches.settings(swept[2].best_params)
    assert type(values["student.epochs"]) is int and type(values["beta"]) is float
    better = sweeps.run(searches.plan("table4", method="SPS-2", budget=9, sampler="grid"), "serial")
    expected = max(swept[2], better, key=lambda study: study.best_value).best_params
    assert sweeps.best("demo")["table4", "SPS-2", "mini-RTE"] == searches.settings(expected)
    assert sweeps.best("demo", "beta=3.0") == {}


def test_a_tuned_plan_has_each_students_best_settings(swept):
    plain = cells_of("table4", "demo", "RTE", 2)
    best = sweeps.best("demo")
    for cell, before in zip(sweeps.tuned(plain), plain, strict=True):
        values = best["table4", cell.row, cell.task]
        assert {name: searches.value_of(cell.setting, name) for name in values} == values
        assert cell.tuned == tuple(sorted(values)) and cell.given == {} and cell.id != before.id
        assert cells.Cell.from_dict(cell.as_dict()) == cell
    assert "tuned" not in plain[0].as_dict()  # ids of existing results stay
    assert cells.variant("textbook", {"beta": 4.0}, tuned=True) == "textbook+tuned+beta=4"


def test_a_tuned_table_is_a_csv_of_its_own(swept):
    plain = cells_of("table4", "demo", "RTE", 2)
    finished = finish(sweeps.tuned(plain))
    frame = tables.aggregate(finished)
    assert {*frame["settings"]} == {"tuned"}
    with pytest.raises(InputError, match="give it a variant name"):
        tables.write_table("table4", "demo", frame, finished)
    path = tables.write_table("table4", "demo", frame, finished, cells.variant(tuned=True))
    assert path.name == "table4.tuned.csv"
    assert verification.plan_of(path) == (finished, [])
    assert verification.verify("demo").findings == []
    with pytest.raises(InputError, match="all its students tuned"):
        tables.aggregate([*finished[:1], *finish(plain)[1:]])


def test_a_tuned_plan_needs_a_sweep_of_every_student(swept):
    def plan(tasks="RTE", recipe="authors", overrides=None, table="table4"):
        planned = cells_of(table, "demo", tasks, 1, recipe, overrides)
        return sweeps.tuned(planned, recipe, overrides)

    with pytest.raises(
        MissingError, match="no sweep of BERT3 on mini-MRPC, SPS-1 on mini-MRPC, SPS-2 on mini"
    ):
        plan("RTE,MRPC")
    with pytest.raises(MissingError, match=r"run: python -m repro sweep table4 .*--set beta=3.0"):
        plan(overrides={"beta": 3.0})
    with pytest.raises(InputError, match="no student to tune in PTP labels"):
        plan(table="table1")
    with pytest.raises(InputError, match="decision D13"):
        plan(recipe="textbook")


@pytest.mark.parametrize("content", ["", "x", '{"op_code":0}\n{"op', "\0\n\n", "[]\n"])
def test_a_damaged_study_is_named(swept, content):
    sweep = searches.plan("table4", method="SPS-2")
    sweeps.study_path(sweep).write_text(content)
    with pytest.raises(
        MissingError,
        match=r"-sps-2-.*\.log cannot be read \(.*\); restore it, or delete it and run",
    ):
        sweeps.best("demo")
    if content.endswith("\n"):  # an incomplete last line alone is no damage to a run
        with pytest.raises(MissingError, match="cannot be read"):
            sweeps.run(sweep, "serial")


def test_figures_are_optunas(swept):
    written = sweep_figures.write("demo", swept[2])
    stem = "sweep-table4-sps-2-mini-rte-s0-tpe-median"
    names = {
        f"{stem}-{what}.{kind}"
        for what in ("history", "parallel", "importance")
        for kind in ("pdf", "png")
    }
    assert {path.name for path in written} == names
    assert all(path.stat().st_size > 1000 for path in written)


def run_here(name, profile, parameters):
    """The code of a notebook in this process: a kernel takes seconds to start."""
    notebook = nbformat.read(paths.NOTEBOOKS / f"{name}.ipynb", as_version=4)
    names = {}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            exec(cell.source, names)
        if "parameters" in cell.metadata.get("tags", []):
            names.update(parameters, profile=profile)


def test_the_command_line_sweeps_and_tunes(repro, monkeypatch, tmp_path_factory):
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path_factory.getbasetemp() / "sweep-cache"))
    monkeypatch.setattr(notebooks, "table_notebook", run_here)
    changes = BUDGET | {"student.epochs": 1, "student.batch_size": 16}
    words = [word for name, value in changes.items() for word in ("--set", f"{name}={value}")]
    student = ("--engine", "serial", *words)
    search = ("--budget", "2", "--sampler", "random", "--pruner", "none")
    code, out, err = repro(
        "sweep",
        "table2",
        "--method",
        "PeaBERT",
        "--layers",
        "1",
        "--task",
        "RTE",
        *search,
        *student,
    )
    assert code == 0, err
    assert "PeaBERT1 on mini-RTE: 2 trials (2 complete; " in out and "written: " in out
    row = ("--method", "PeaBERT1", "--seed", "0", "--tuned")
    code, out, err = repro("run", "table2", "--tasks", "RTE", *row, *student)
    assert code == 0 and "PeaBERT1 on mini-RTE, seed 0" in out, err
    code, _, err = repro("table", "table2", "--tasks", "RTE", "--seeds", "1", "--tuned", *student)
    assert code == 2 and "no sweep of BERT1-PatientKD on mini-RTE" in err
