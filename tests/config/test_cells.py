"""Plans, cell ids, recipes and overrides."""

import copy
import json
import re
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.analysis.groups import changed_settings
from repro.config import own, sweeps
from repro.config.cells import Cell, check_seed, plan, variant
from repro.config.profiles import PRECISIONS, PROFILES, Budget, assignments, override
from repro.config.recipe import TEXTBOOK, Recipe, parse
from repro.config.tables import TABLES
from repro.errors import InputError
from repro.runs.results import command


@pytest.mark.parametrize("name", ["train_cap", "dev_cap", "label_noise"])
def test_settings_without_effect_on_own_data_are_refused(name):
    with pytest.raises(InputError, match=f"{name} has no effect on own data"):
        own.cell("own-1", "embedded", 64, 100, changes={name: 0}, examples=100)
    assert own.cell("own-1", "embedded", 64, 100, examples=100).setting.label_noise == 0.0


@pytest.mark.parametrize("seed", [-1, 100, True, 1.0])
def test_a_seed_is_a_whole_number_below_100(seed):
    with pytest.raises(InputError, match=rf"from 0 to 99, got {seed}"):
        check_seed(seed)
    with pytest.raises(InputError, match=rf"from 0 to 99, got {seed}"):
        sweeps.plan("table2", seed=seed)


def test_the_papers_tables():
    paper = [name for name in TABLES if name.startswith("table")]
    assert [len(plan(name)) for name in paper] == [4, 28, 4, 12, 16]
    assert len(plan("table2", tasks="RTE,mini-MRPC", seeds=3)) == 7 * 2 * 3
    assert [cell.task for cell in plan("table1")] == [
        "mini-RTE",
        "mini-MRPC",
        "mini-SST-2",
        "mini-QNLI",
    ]
    assert [cell.task for cell in plan("table1", "cpu", "RTE")] == ["RTE"]


def test_a_task_that_is_named_twice_counts_once():
    assert plan("table2", tasks="RTE,MRPC,mini-RTE,RTE") == plan("table2", tasks="RTE,MRPC")


def test_a_cell_is_restored_from_its_json():
    for cell in plan("table5", recipe="textbook", seeds=1):
        restored = Cell.from_dict(cell.as_dict())
        assert restored.id == cell.id
        assert restored.setting == cell.setting


def test_the_id_changes_with_everything_that_changes_the_number_and_nothing_else():
    cell = plan("table2")[0]
    assert cell.id.startswith("table2-bert-base-mini-rte-s0-")
    others = [
        plan("table2", overrides={"beta": 1.0})[0],
        plan("table2", recipe="authors+kl_reduction=batchmean")[0],
        replace(cell, seed=1),
        plan("table2", overrides={"student.epochs": 3})[0],
    ]
    assert len({cell.id, *(other.id for other in others)}) == 5
    assert plan("table2", recipe="authors+seeds=2+parameter_count=both")[0].id == cell.id


def test_decision_d14_sets_the_number_of_seeds():
    assert len(plan("table1", recipe="textbook")) == 4 * 5
    assert len(plan("table1", seeds=2, recipe="textbook")) == 4 * 2


def test_decision_d19_sets_the_loss_of_the_ablations():
    assert {cell.method.loss for cell in plan("table4")} == {"patient_kd"}
    assert {cell.method.loss for cell in plan("table4", recipe="authors+ablation_loss=kd")} == {
        "kd"
    }
    assert {cell.method.loss for cell in plan("table2", recipe="authors+ablation_loss=kd")} == {
        "patient_kd",
        "finetune",
    }


def test_there_are_21_decisions_each_with_both_readings():
    decisions = {entry.metadata["decision"]: entry for entry in fields(Recipe)}
    assert list(decisions) == [f"D{k}" for k in range(1, 22)]
    for entry in decisions.values():
        assert {entry.default, entry.metadata["textbook"]} <= set(entry.metadata["options"])
        assert len(entry.metadata["options"]) > 1


OPTIONS = {entry.name: entry.metadata["options"] for entry in fields(Recipe)}
changes = st.fixed_dictionaries(
    {}, optional={name: st.sampled_from(options) for name, options in OPTIONS.items()}
)
recipes = changes.map(lambda options: Recipe(**options))


@given(recipes, recipes)
def test_a_recipe_is_restored_from_its_name(one, other):
    assert parse(one.name) == one
    assert (one.name == other.name) == (one == other)
    assert parse("textbook") == TEXTBOOK


@given(changes, st.sampled_from(["authors", "textbook"]), st.randoms(use_true_random=False))
def test_options_can_be_named_in_any_order_on_either_base(options, base, random):
    words = [f"{name}={value}" for name, value in random.sample([*options.items()], len(options))]
    assert parse("+".join([base, *words])) == replace(parse(base), **options)


plain = st.text(st.characters(exclude_characters="+="), max_size=12)


@given(plain.filter(lambda name: name not in OPTIONS), plain)
def test_an_unknown_option_is_refused(name, value):
    refused(
        f"authors+{name}={value}",
        f"unknown recipe option {name!r}; use one of: ptp_thresholds, temperature",
    )


valued = st.sampled_from(
    [(name, str(option)) for name, options in OPTIONS.items() for option in options[:4]]
)
misspelt = st.tuples(
    valued, st.sampled_from([str.upper, str.lower, " {}".format, "{} ".format, "{}0".format])
)


@given(
    st.tuples(st.sampled_from([*OPTIONS]), plain)
    | misspelt.map(lambda found: (found[0][0], found[1](found[0][1])))
)
def test_an_unknown_value_is_refused(named):
    name, value = named
    if value in map(str, OPTIONS[name]):
        assert str(getattr(parse(f"authors+{name}={value}"), name)) == value
    else:
        refused(f"textbook+{name}={value}", f"unknown recipe option {name} {value!r}; use one of: ")


@given(plain.filter(lambda base: base not in ("authors", "textbook")))
def test_an_unknown_base_is_refused(base):
    refused(base, f"unknown recipe {base!r}; use one of: authors, textbook")


def refused(text, message):
    with pytest.raises(InputError) as caught:
        parse(text)
    assert str(caught.value).startswith(message)
    assert len(str(caught.value).splitlines()) == 1


positive = st.floats(1e-6, 1e6)
trainings = st.builds(Budget, positive, *[st.integers(1, 512)] * 2, st.integers(0, 9))
few = {
    "alpha": st.floats(0, 1),
    "beta": positive,
    "temperature": positive,
    "max_length": st.integers(1, 512),
    "train_cap": st.integers(0, 9999),
    "dev_cap": st.integers(0, 9999),
    "precision": st.sampled_from(PRECISIONS),
    "backbone": st.sampled_from([profile.setting.backbone for profile in PROFILES.values()]),
    "teacher": trainings,
    "ptp": trainings,
    "student": trainings,
}


@st.composite
def cells(draw):
    """A cell of any table, profile, seed, recipe and setting."""
    cell = draw(
        st.sampled_from(plan(draw(st.sampled_from([*TABLES])), draw(st.sampled_from([*PROFILES]))))
    )
    setting = replace(cell.setting, **draw(st.fixed_dictionaries({}, optional=few)))
    return replace(cell, seed=draw(st.integers(0, 99)), recipe=draw(recipes), setting=setting)


@given(cells(), cells(), st.sampled_from([entry.name for entry in fields(Cell)]))
def test_two_cells_have_the_same_id_if_and_only_if_all_their_values_are_equal(one, other, name):
    """Two independent cells, and two that differ in at most one field."""
    for second in (other, replace(one, **{name: getattr(other, name)})):
        assert (one.id == second.id) == (one.as_dict() == second.as_dict())


@given(cells())
def test_an_id_survives_json_and_can_name_a_file(cell):
    shuffled = dict(reversed(json.loads(json.dumps(cell.as_dict())).items()))
    restored = Cell.from_dict(shuffled)
    assert (restored.id, restored.as_dict(), restored.setting) == (
        cell.id,
        cell.as_dict(),
        cell.setting,
    )
    assert re.fullmatch(r"[a-z0-9+-]+-s\d+-[0-9a-f]{8}", cell.id)


def leaves(data, path=()):
    """Every value of nested dictionaries, with its path."""
    for name, value in data.items():
        yield from (
            leaves(value, (*path, name)) if isinstance(value, dict) else [((*path, name), value)]
        )


def another(path, value):
    """Another value that the field may have."""
    options = (
        OPTIONS[path[1]] if path[0] == "recipe" else PRECISIONS if path[-1] == "precision" else None
    )
    if options:
        return next(option for option in options if option != value)
    return (
        value + "x" if type(value) is str else value + 1 if type(value) is int else value / 2 or 0.5
    )


@given(cells())
def test_a_change_of_any_field_changes_the_id(cell):
    data, ids = cell.as_dict(), {cell.id}
    found = [*leaves(data)]
    for path, value in found:
        changed_data = copy.deepcopy(data)
        inner = changed_data
        for name in path[:-1]:
            inner = inner[name]
        inner[path[-1]] = another(path, value)
        ids.add(Cell.from_dict(changed_data).id)
    assert (
        len(found) == 6 + 4 + 10 + 3 * 4 + 19
    )  # the cell's own, model, setting, its trainings, recipe
    assert len(ids) == len(found) + 1


@given(cells())
def test_the_settings_are_restored_from_a_tables_settings_column(cell):
    """`verify` and `explain` plan with it."""
    changes = [text for text in changed_settings(cell).split("; ") if text]
    assert override(PROFILES[cell.profile].setting, assignments(changes)) == cell.setting


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"table_name": "table9"}, "unknown table 'table9'; use one of: table1, table2"),
        ({"profile_name": "gpu"}, "unknown profile 'gpu'; use one of: demo, cpu, base, paper"),
        (
            {"tasks": "RTE,CoLA"},
            "unknown task for profile demo 'CoLA'; use one of: RTE, MRPC, SST-2, QNLI",
        ),
        ({"seeds": -1}, "got -1"),
        ({"seeds": "3"}, "got '3'"),
        ({"recipe": "mine"}, "unknown recipe 'mine'"),
        ({"recipe": "authors+kl=mean"}, "unknown recipe option 'kl'"),
        ({"recipe": "authors+kl_reduction=sum"}, "'sum'; use one of: mean, batchmean"),
        ({"recipe": "authors+seeds=0"}, "use one of: 1 .. 100"),
        ({"overrides": {"gamma": 1.0}}, "unknown setting 'gamma'; use one of: backbone, teacher"),
        ({"overrides": {"student.rate": 1.0}}, "unknown setting 'rate'"),
        ({"overrides": {"beta": "40"}}, "setting beta must be a float, got '40'"),
        ({"overrides": {"student.epochs": True}}, "setting epochs must be a int, got True"),
        ({"overrides": {"beta.x": 1}}, "setting beta has no parts, got 'beta.x'; remove '.x'"),
        ({"overrides": {"student.epochs": 0}}, "epochs must be above 0, got 0"),
        (
            {"overrides": {"student.stop_epoch": -1}},
            "stop_epoch must be 0 (all epochs) or more, got -1",
        ),
        ({"overrides": {"teacher.learning_rate": -1.0}}, "learning_rate must be above 0, got -1.0"),
        ({"overrides": {"alpha": 1.5}}, "alpha must lie in 0 .. 1, got 1.5"),
        ({"overrides": {"precision": "float16"}}, "'float16'; use one of: auto, float32, bfloat16"),
    ],
)
def test_bad_input_is_one_line_with_the_value_and_those_allowed(arguments, message):
    with pytest.raises(InputError) as caught:
        plan(**({"table_name": "table2"} | arguments))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_name_of_a_long_variant_is_short_and_unique():
    many = {
        f"{name}.{field}": 1
        for name in ("teacher", "ptp", "student")
        for field in ("epochs", "batch_size")
    }
    many |= {"train_cap": 100, "dev_cap": 100}
    assert len(variant("textbook", many)) == 109
    assert variant("textbook", many).startswith(
        "textbook+dev_cap=100+ptp.batch_size=1+ptp.epochs=1+"
    )
    assert variant("textbook", many) == variant("textbook", dict(reversed(many.items())))
    assert variant("textbook", many) != variant("textbook", many | {"dev_cap": 101})
    assert variant("textbook", {"beta": 40}) == "textbook+beta=40"


def test_the_command_of_a_cell_names_what_differs_from_its_profile():
    changed = plan(
        "table5",
        tasks="RTE",
        seeds=1,
        recipe="authors+shuffle=True",
        overrides={"beta": 40, "student.epochs": 3},
    )[3]
    assert command(changed) == (
        "python -m repro run table5 --profile demo --method BERT3+SPS+PTP --tasks mini-RTE "
        "--seed 0 --recipe authors+shuffle=True --set beta=40.0 --set student.epochs=3"
    )
    assert command(plan("table1")[0]).endswith("--method 'PTP labels' --tasks mini-RTE --seed 0")


def test_one_value_has_one_name():
    assert variant("authors", {"beta": 40}) == variant("authors", {"beta": 40.0}) == "beta=40"
    assert variant("authors", {"alpha": 0.5}) == "alpha=0.5"
    assert variant("authors", {"beta": 40, "alpha": 0.5}) == "alpha=0.5+beta=40"
