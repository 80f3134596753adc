"""Sweeps on a budget of seconds: samplers, pruning, resumption, blindness to dev, and what is done with the best."""

import dataclasses
import os

import numpy as np
import pandas as pd
import pytest
from synthetic import finish

from repro.analysis import comparisons, groups, sweeps, tables, verification
from repro.config import cells, tuned
from repro.config.cells import plan as cells_of
from repro.config.profiles import PROFILES
from repro.errors import InputError, MissingError, ReproError, TrainingError
from repro.report import sweep_figures, text
from repro.runs import space, study

BUDGET = {"train_cap": 48, "dev_cap": 32, "teacher.epochs": 1, "ptp.epochs": 1}


@pytest.fixture(autouse=True)
def _folders(tmp_path_factory, tmp_path, monkeypatch):
    """The cache is shared by the tests of this file; results and figures are each test's own."""
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path_factory.getbasetemp() / "sweep-cache"))
    for name in ("results", "figures"):
        monkeypatch.setenv(f"REPRO_{name.upper()}", str(tmp_path / name))


def tiny(sampler="random", pruner="none", budget=4, **options):
    return sweeps.plan(
        "table2",
        "demo",
        "PeaBERT1",
        0,
        "RTE",
        budget,
        sampler,
        pruner,
        overrides=BUDGET | options.pop("overrides", {}),
        **options,
    )


def chosen(plan):
    return sweeps.run(plan, "serial").drop(columns="seconds")


def made_up(plan, scores, states=None, seed=0):
    """The trials of a plan with these scores, without training."""
    rng = np.random.default_rng(seed)
    values = {
        d.name: [d.values[k] for k in rng.integers(0, len(d.values), len(scores))]
        for d in plan.dimensions
    }
    rows = [
        {
            "trial": k,
            "state": "complete" if states is None else states[k],
            "inner_score": score,
            "epochs": 4,
            "steps": 40,
            "seconds": 1.5,
            "scores": [],
        }
        | {name: values[name][k] for name in values}
        | {"failure": ""}
        for k, score in enumerate(scores)
    ]
    return sweeps._frame(plan, rows)


# the space


def test_the_papers_profile_searches_the_papers_grid():
    grid = {dimension.name: dimension.values for dimension in space.full(PROFILES["paper"])}
    assert grid["student.batch_size"] == (32, 64) and grid["student.epochs"] == (4, 6, 10)
    assert grid["student.learning_rate"] == (1e-5, 2e-5, 3e-5, 5e-5)
    assert (grid["alpha"][0], grid["alpha"][-1], grid["beta"][0], grid["beta"][-1]) == (
        0.1,
        0.7,
        0,
        500,
    )


@pytest.mark.parametrize("name", PROFILES)
def test_a_profiles_own_values_lie_in_its_space(name):
    for dimension in space.full(PROFILES[name]):
        own = space.value(PROFILES[name].setting, dimension.name)
        assert dimension.values[0] <= own <= dimension.values[-1]
        assert own in dimension.values or dimension.continuous
        assert all(type(value) is type(own) for value in dimension.values)
        assert dimension.values == tuple(sorted(set(dimension.values)))


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
def test_what_changes_nothing_is_not_searched(table, method, recipe, unused):
    names = {d.name for d in sweeps.plan(table, method=method, recipe=recipe).dimensions}
    assert {d.name for d in space.full(PROFILES["demo"])} - names == unused


def test_a_setting_that_is_set_is_not_searched():
    plan = tiny(overrides={"beta": 3.0})
    assert "beta" not in {d.name for d in plan.dimensions} and plan.cell.setting.beta == 3.0


# the plan


@pytest.mark.parametrize(("method", "layers"), [("PeaBERT3", 0), ("PeaBERT", 3), ("PeaBERT3", 3)])
def test_a_student_is_named_with_or_without_its_layers(method, layers):
    assert sweeps.row_name("table2", method, layers) == "PeaBERT3"
    assert sweeps.row_name("table2", "BERT-PatientKD", 2) == "BERT2-PatientKD"


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
        ({"task": "RTE,MRPC"}, "a sweep is of one task, got 'RTE,MRPC'"),
        (
            {"recipe": "textbook"},
            r"recipe textbook searches .* \(decision D13\).*textbook\+hyperparameters=preset",
        ),
        (
            {
                "overrides": dict.fromkeys(("student.batch_size", "student.epochs"), 4)
                | {"student.learning_rate": 1e-4, "alpha": 0.5, "beta": 1.0}
            },
            "nothing is left to search",
        ),
    ],
)
def test_what_cannot_be_swept_is_refused(options, words):
    with pytest.raises(InputError, match=words):
        sweeps.plan("table2", **options)


# trials


@pytest.mark.parametrize("sampler", study.SAMPLERS)
def test_each_sampler_gives_the_same_trials_again_and_a_larger_budget_goes_on(sampler, monkeypatch):
    first = chosen(tiny(sampler))
    assert list(first["state"]) == ["complete"] * 4
    assert first["inner_score"].between(0, 100).all()
    more = chosen(tiny(sampler, budget=6))
    pd.testing.assert_frame_equal(
        more.iloc[:4].drop(columns="budget"), first.drop(columns="budget")
    )
    from repro.runs import compute

    monkeypatch.setattr(compute, "_COMPUTE", {})  # any training would now be a KeyError
    pd.testing.assert_frame_equal(chosen(tiny(sampler)), first)


def test_another_seed_proposes_other_trials():
    one, other = (study.create("random", seed, tiny().dimensions) for seed in (0, 1))
    known = study.distributions(tiny().dimensions)
    assert one.ask(known).params != other.ask(known).params


def test_a_grid_ends_with_its_last_point():
    fixed = {"student.batch_size": 16, "student.epochs": 1, "alpha": 0.5, "beta": 1.0}
    plan = tiny("grid", budget=50, overrides=fixed)
    frame = sweeps.run(plan, "serial")
    assert sorted(frame["student.learning_rate"]) == list(PROFILES["demo"].search_rates)
    account = sweeps.best(plan, frame).iloc[0]
    assert (account["budget"], account["trials"]) == (50, 4)


def test_processes_give_the_trials_of_one():
    expected = chosen(tiny("random", "median", budget=5))
    made = sweeps.run(tiny("random", "median", budget=5), "processes", 2).drop(columns="seconds")
    pd.testing.assert_frame_equal(made, expected)  # all found: the same stages


def test_two_processes_train_the_trials_that_one_would(tmp_path, monkeypatch):
    expected = chosen(tiny(budget=2, overrides={"student.epochs": 1}))
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path / "cache"))
    made = sweeps.run(tiny(budget=2, overrides={"student.epochs": 1}), "processes", 2).drop(
        columns="seconds"
    )
    assert made["alpha"].tolist() == expected["alpha"].tolist()
    np.testing.assert_allclose(
        made["inner_score"], expected["inner_score"], atol=26
    )  # of four examples


def test_trials_share_their_teacher_and_keep_no_weights():
    plan = tiny()
    one, other = (sweeps._stages(plan, {"alpha": value}, []) for value in (0.2, 0.6))
    assert [a.key == b.key for a, b in zip(one, other, strict=True)] == [True, True, True, False]
    sweeps.run(tiny(budget=1), "serial")
    from repro import paths
    from repro.runs import cache

    found = sorted((paths.cache() / "trial").glob("*.json"))
    assert found and cache.load("trial", found[0].stem).tensors == {}


# pruning


def test_a_watch_ends_what_is_worse_than_the_median_at_the_end_of_an_epoch():
    finished = [([50.0, second, 70.0], True) for second in (60.0, 62.0, 64.0, 66.0)]
    bad, good, alone = (
        study.Watch("median", *rest) for rest in ((finished, 4), (finished, 4), (finished[:3], 4))
    )
    assert [bad(epoch, 61.0) for epoch in (0.5, 1.0, 1.5, 2.0)] == [
        False,
        False,
        False,
        True,
    ]  # the median is 63
    assert bad.pruned and bad.scores == [61.0, 61.0]
    assert not any(good(epoch, 64.0) for epoch in (1.0, 2.0))
    assert not any(alone(epoch, 1.0) for epoch in (1.0, 2.0, 3.0))  # four trials must be complete


def test_a_watch_halves():
    finished = [([10.0 * k] * 4, k == 6) for k in range(1, 7)]
    worse, better = (study.Watch("halving", finished, 6) for _ in range(2))
    assert [worse(epoch, 15.0) for epoch in (1.0, 2.0)] == [False, True]
    assert [better(epoch, 55.0) for epoch in (1.0, 2.0)] == [False, False]


def test_a_watch_does_not_end_what_is_over():
    watch = study.Watch("median", [([60.0, 70.0], True)] * 4, 2)
    assert [watch(epoch, 10.0) for epoch in (1.0, 2.0)] == [False, False]
    assert not watch.pruned


@pytest.mark.parametrize("pruner", ["median", "halving"])
def test_pruning_takes_fewer_steps_and_keeps_the_pruned(pruner, monkeypatch, tmp_path):
    from repro.runs import compute

    monkeypatch.setenv("REPRO_CACHE", str(tmp_path / "cache"))  # of made-up scores
    monkeypatch.setattr(
        compute, "_scorer", lambda cell, *_: lambda model: 90.0 - cell.setting.alpha
    )
    fixed = {"student.epochs": 5, "student.batch_size": 16}
    whole, made = (
        sweeps.run(tiny("random", name, 10, seed=3, overrides=fixed), "serial")
        for name in ("none", pruner)
    )
    pruned = made["state"] == "pruned"
    assert pruned.any() and not pruned.iloc[: 4 if pruner == "median" else 1].any()
    assert made["alpha"].tolist() == whole["alpha"].tolist()
    assert (made.loc[pruned, "steps"] < whole.loc[pruned, "steps"]).all()
    assert (made.loc[~pruned, "steps"] == whole.loc[~pruned, "steps"]).all()
    assert made["steps"].sum() < whole["steps"].sum()
    assert tuned.winner(made)["trial"] == tuned.winner(whole)["trial"]


def test_a_diverging_trial_failed_and_the_others_go_on(monkeypatch, tmp_path):
    from repro.runs import compute

    monkeypatch.setenv("REPRO_CACHE", str(tmp_path / "cache"))
    student = compute._student

    def fail(stage, log, watch=None):
        if stage.cell.setting.student.learning_rate > 5e-4:
            raise TrainingError("the loss is not finite at step 3")
        return student(stage, log, watch)

    monkeypatch.setattr(compute, "_student", fail)
    changes = {"student.epochs": 1, "student.batch_size": 16, "alpha": 0.4, "beta": 2.0}
    frame = sweeps.run(tiny("grid", "none", 4, overrides=changes), "serial")
    failed = frame["student.learning_rate"] > 5e-4
    assert list(frame["state"] == "failed") == list(failed) and failed.sum() == 1
    assert frame.loc[failed, "inner_score"].isna().all()
    assert frame.loc[failed, "failure"].item() == "the loss is not finite at step 3"


def test_a_stage_of_all_trials_that_fails_is_named(monkeypatch, tmp_path):
    from repro.runs import compute

    def fail(stage, log):
        raise TrainingError("the loss is not finite at step 3")

    monkeypatch.setenv("REPRO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(compute._COMPUTE, "teacher", fail)
    with pytest.raises(
        ReproError, match="stages failed; the first is the teacher on mini-RTE, seed 0: the loss"
    ):
        sweeps.run(tiny(), "serial")


# dev


def test_the_choice_does_not_read_dev(tmp_path, monkeypatch):
    from repro.data import glue
    from repro.runs import stages

    plan = tiny("tpe", "median", budget=6, overrides={"train_cap": 300, "teacher.epochs": 3})
    expected = chosen(plan)
    load = glue.load

    def flipped(task, split, *rest):
        made = load(task, split, *rest)
        return dataclasses.replace(made, labels=1 - made.labels) if split == "dev" else made

    monkeypatch.setenv("REPRO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(glue, "load", flipped)
    stages._load_data.cache_clear()
    again = chosen(plan)
    keys = sweeps._stages(plan, {}, [])[-1].key
    stages._load_data.cache_clear()
    monkeypatch.undo()
    pd.testing.assert_frame_equal(again, expected)
    assert keys != sweeps._stages(plan, {}, [])[-1].key  # the labels were other ones


@pytest.mark.parametrize("recipe", ["authors", "textbook", "authors+teacher_checkpoint=best_dev"])
def test_a_blind_recipe_makes_no_choice_on_dev(recipe):
    made = sweeps.blind(cells.parse(recipe))
    assert "dev" not in f"{made.checkpoint} {made.ptp_selection} {made.teacher_checkpoint}"


# what is best


def test_the_best_is_the_first_of_the_best_complete_trials_with_its_account():
    plan = sweeps.plan("table2", budget=4)
    frame = made_up(plan, [60.0, 70.0, 70.0, 90.0], ["complete", "complete", "complete", "pruned"])
    best = sweeps.best(plan, frame)
    assert list(best["setting"]) == [d.name for d in plan.dimensions]
    assert [float(value) for value in best["value"]] == [
        frame.loc[1, d.name] for d in plan.dimensions
    ]
    account = best.iloc[0]
    assert (account["inner_score"], account["trials"], account["complete"], account["pruned"]) == (
        70,
        4,
        3,
        1,
    )
    assert account["seconds"] == 6.0
    said = sweeps.sentence(plan, frame)
    assert (
        "4 trials (3 complete, 1 pruned; 16 epochs, 6 s of training), trial 1 (the first of 2 that"
        in said
    )


def test_best_csv_is_read_back_with_its_types_and_a_new_sweep_replaces_the_old():
    plan, other = (
        sweeps.plan("table2", budget=3),
        sweeps.plan("table2", method="PeaBERT1", budget=3),
    )
    for each, scores in (
        (plan, [1.0, 2.0, 3.0]),
        (other, [3.0, 2.0, 1.0]),
        (plan, [9.0, 2.0, 3.0]),
    ):
        sweeps.write(each, made_up(each, scores))
    found = tuned.read("demo")
    assert set(found) == {("table2", "PeaBERT3", "mini-RTE"), ("table2", "PeaBERT1", "mini-RTE")}
    values = found["table2", "PeaBERT3", "mini-RTE"]
    assert values == {
        d.name: made_up(plan, [9.0, 2.0, 3.0])[d.name].iloc[0] for d in plan.dimensions
    }
    assert type(values["student.epochs"]) is int and type(values["beta"]) is float
    assert sweeps.read(plan)["inner_score"].tolist() == [9.0, 2.0, 3.0]


def test_a_smaller_budget_says_what_it_replaces(capsys):
    for budget in (1, 3, 3, 2):
        plan = sweeps.plan("table2", budget=budget)
        sweeps.write(plan, made_up(plan, [1.0] * budget))
    (said,) = capsys.readouterr().out.splitlines()
    assert said.startswith("2 trials replace the 3 of this sweep in ")
    assert said.endswith("a budget of 3 brings them back without training")


@pytest.fixture
def swept():
    """The sweeps of Table 4's three students on RTE."""
    plans = [sweeps.plan("table4", method=name, budget=3) for name in ("BERT3", "SPS-1", "SPS-2")]
    for seed, plan in enumerate(plans):
        sweeps.write(plan, made_up(plan, [1.0, 3.0, 2.0], seed=seed))
    return plans


def test_a_tuned_plan_has_each_students_own_values_and_says_so(swept):
    made, plain = (
        cells_of("table4", "demo", "RTE", 2, tuned=True),
        cells_of("table4", "demo", "RTE", 2),
    )
    for cell, before in zip(made, plain, strict=True):
        values = tuned.read("demo")["table4", cell.row, cell.task]
        assert {name: space.value(cell.setting, name) for name in values} == values
        assert cell.tuned == tuple(sorted(values)) and cell.given == {} and cell.id != before.id
        assert cells.Cell.from_dict(cell.as_dict()) == cell
    assert "tuned" not in plain[0].as_dict()  # ids of what is there stay
    assert cells.variant("textbook", {"beta": 4.0}, tuned=True) == "textbook+tuned+beta=4.0"


def test_a_tuned_table_is_another_csv_that_says_so_and_can_be_derived(swept):
    made = finish(cells_of("table4", "demo", "RTE", 2, tuned=True))
    frame = tables.aggregate(made)
    assert set(frame["settings"]) == {"tuned"}
    with pytest.raises(InputError, match="give it a variant name"):
        tables.write_table("table4", "demo", frame, made)
    path = tables.write_table("table4", "demo", frame, made, cells.variant(tuned=True))
    tables.write_table("comparisons4", "demo", comparisons.of(made), made, "tuned")
    assert path.name == "table4.tuned.csv"
    assert verification.plan_of(path) == (made, [])
    assert verification.verify("demo").findings == []
    command = groups.make_command(made)
    assert "--tuned" in command and "--set" not in command


def test_cells_of_tuned_and_untuned_plans_do_not_meet(swept):
    made, plain = (
        finish(cells_of("table4", "demo", "RTE", 1, tuned=which)) for which in (True, False)
    )
    with pytest.raises(InputError, match="all its students tuned"):
        tables.aggregate([*made[:1], *plain[1:]])


def test_verify_finds_a_forged_best(swept):
    finish(cells_of("table4", "demo", "RTE", 1))
    path = tuned.path("demo")
    path.write_text(path.read_text().replace(",3.0,3,", ",4.0,3,", 1))
    (finding,) = tuned.check("demo")
    assert "column inner_score: stored 4.0, the sweep's best trial has 3.0" in finding
    assert finding in verification.verify("demo").findings


DAMAGES = {
    "empty": lambda text: "",
    "cut": lambda text: text[: len(text) // 2].rpartition(",")[0],
    "header": lambda text: text.replace("setting", "set", 1),
    "no number": lambda text: text.replace(",0.", ",zero.", 1),
    "no text": lambda text: "\0\udcff",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_best_is_named(swept, damage):
    path = tuned.path("demo")
    path.write_text(damage(path.read_text()), errors="surrogateescape")
    with pytest.raises(
        MissingError,
        match=r"best.csv is damaged \(.*\); restore it, or delete it and run the sweeps",
    ):
        cells_of("table4", "demo", "RTE", 1, tuned=True)
    (finding,) = tuned.check("demo")
    assert "best.csv is damaged" in finding and "\n" not in finding


def test_verify_finds_a_line_that_best_has_lost(swept):
    path = tuned.path("demo")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    (finding,) = tuned.check("demo")
    assert (
        "sweep table4-sps-2-mini-rte-s0-tpe-median also searched student.learning_rate, which has no row"
        in finding
    )


def test_the_lock_of_best_is_every_user_s():
    before = os.umask(0)
    try:
        plan = sweeps.plan("table2", budget=1)
        sweeps.write(plan, made_up(plan, [1.0]))
    finally:
        os.umask(before)
    assert tuned.path("demo").with_name(".best.lock").stat().st_mode & 0o777 == 0o666


def test_a_tuned_plan_needs_every_students_sweep(swept):
    with pytest.raises(
        MissingError, match="no sweep of BERT3 on mini-MRPC, SPS-1 on mini-MRPC, SPS-2 on mini"
    ):
        cells_of("table4", "demo", "RTE,MRPC", 1, tuned=True)
    with pytest.raises(MissingError, match=r"run: python -m repro sweep table4 .*--set beta=3.0"):
        cells_of("table4", "demo", "RTE", 1, overrides={"beta": 3.0}, tuned=True)
    with pytest.raises(InputError, match="table1 has no student"):
        cells_of("table1", "demo", "RTE", 1, tuned=True)
    with pytest.raises(InputError, match="decision D13"):
        cells_of("table4", "demo", "RTE", 1, "textbook", tuned=True)


# importance, figures, the command line


def test_importance_finds_the_setting_that_matters():
    plan = sweeps.plan("table2", budget=24)
    frame = made_up(plan, [0.0] * 24)
    scored = frame.assign(inner_score=50 + 40 * frame["alpha"])
    found = study.importance(scored, plan.dimensions)
    assert next(iter(found)) == "alpha" and sum(found.values()) == pytest.approx(1)
    assert study.importance(frame, plan.dimensions) == {}  # all score the same
    assert study.importance(scored.iloc[:3], plan.dimensions) == {}


def test_figures(tmp_path):
    plan = sweeps.plan("table2", budget=8)
    states = ["complete"] * 5 + ["pruned", "failed", "complete"]
    frame = made_up(plan, [60.0, 70.0, 65.0, 80.0, 75.0, 50.0, np.nan, 66.0], states)
    ax = sweep_figures.budget(frame)
    lines = {line.get_label(): line.get_ydata() for line in ax.get_lines()}
    assert lines["best so far"].tolist() == [60, 70, 70, 80, 80, 80, 80]
    assert lines["expected best of n, in any order"][0] == pytest.approx(
        np.mean([60, 70, 65, 80, 75, 50, 66])
    )
    made = sweep_figures.write(plan.name, frame, plan.dimensions)
    assert len(made) == 6 and all(path.stat().st_size > 1000 for path in made)
    assert made[1].name == "sweep-table2-peabert3-mini-rte-s0-tpe-median-parallel.png"


def test_the_command_line_sweeps_and_tunes(repro, monkeypatch, tmp_path_factory):
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path_factory.getbasetemp() / "sweep-cache"))
    fixed = BUDGET | {"student.epochs": 1, "student.batch_size": 16}
    words = [word for name, value in fixed.items() for word in ("--set", f"{name}={value}")]
    code, out, err = repro(
        "sweep",
        "table2",
        "--method",
        "PeaBERT",
        "--layers",
        "1",
        "--task",
        "RTE",
        "--budget",
        "3",
        "--sampler",
        "random",
        "--pruner",
        "none",
        "--engine",
        "serial",
        *words,
    )
    assert code == 0, err
    assert "PeaBERT1 on mini-RTE: of 3 trials (3 complete" in out and "written: " in out
    code, out, err = repro(
        "run",
        "table2",
        "--method",
        "PeaBERT1",
        "--task",
        "RTE",
        "--seed",
        "0",
        "--tuned",
        "--engine",
        "serial",
        *words,
    )
    assert code == 0 and "PeaBERT1 on mini-RTE, seed 0" in out, err
    code, _, err = repro("table", "table2", "--task", "RTE", "--seeds", "1", "--tuned", *words)
    assert code == 2 and "no sweep of BERT1-PatientKD on mini-RTE" in err


def test_a_tables_notebook_takes_the_tuned_values(repro):
    plan = sweeps.plan(
        "table3", method="PeaBERT", layers=6, budget=2, overrides=BUDGET | {"student.epochs": 1}
    )
    sweeps.write(plan, made_up(plan, [1.0, 2.0]))
    words = [word for name, value in plan.fixed.items() for word in ("--set", f"{name}={value}")]
    code, out, err = repro(
        "table", "table3", "--task", "RTE", "--seeds", "1", "--tuned", "--engine", "serial", *words
    )
    assert code == 0, err
    frame = tables.read_table("table3", "demo", cells.variant("authors", plan.fixed, tuned=True))
    said = frame.loc[frame["method"] == "PeaBERT", "settings"]
    assert said.str.startswith("tuned; dev_cap=32").all() and text.to_text(frame) in out
