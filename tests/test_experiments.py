"""Plans, cell ids, recipes and overrides."""

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.cells import command
from repro.errors import InputError
from repro.experiments import TABLES, Cell, plan
from repro.recipe import TEXTBOOK, Recipe, parse


def test_the_papers_tables():
    assert [len(plan(name)) for name in TABLES] == [4, 28, 4, 12, 16]
    assert len(plan("table2", tasks="RTE,mini-MRPC", seeds=3)) == 7 * 2 * 3
    assert [cell.task for cell in plan("table1")] == ["mini-RTE", "mini-MRPC", "mini-SST-2", "mini-QNLI"]
    assert [cell.task for cell in plan("table1", "cpu", "RTE")] == ["RTE"]


def test_a_cell_survives_its_own_json():
    for cell in plan("table5", recipe="textbook", seeds=1):
        restored = Cell.from_dict(cell.as_dict())
        assert restored.id == cell.id
        assert restored.setting == cell.setting


def test_the_id_changes_with_whatever_changes_the_number_and_with_nothing_else():
    cell = plan("table2")[0]
    assert cell.id.startswith("table2-bert-base-mini-rte-s0-")
    others = [plan("table2", overrides={"beta": 1.0})[0], plan("table2", recipe="authors+kl_reduction=batchmean")[0],
              replace(cell, seed=1), plan("table2", overrides={"student.epochs": 2})[0]]  # fmt: skip
    assert len({cell.id, *(other.id for other in others)}) == 5
    assert plan("table2", recipe="authors+seeds=2+parameter_count=both")[0].id == cell.id


def test_decision_d14_sets_the_number_of_seeds():
    assert len(plan("table1", recipe="textbook")) == 4 * 5
    assert len(plan("table1", seeds=2, recipe="textbook")) == 4 * 2


def test_decision_d19_sets_the_loss_of_the_ablations():
    assert {cell.model.loss for cell in plan("table4")} == {"patient"}
    assert {cell.model.loss for cell in plan("table4", recipe="authors+ablation_loss=kd")} == {"kd"}
    assert {cell.model.loss for cell in plan("table2", recipe="authors+ablation_loss=kd")} == {"patient", "finetune"}


def test_there_are_21_decisions_each_with_both_readings():
    decisions = {entry.metadata["decision"]: entry for entry in fields(Recipe)}
    assert list(decisions) == [f"D{k}" for k in range(1, 22)]
    for entry in decisions.values():
        assert {entry.default, entry.metadata["textbook"]} <= set(entry.metadata["options"])
        assert len(entry.metadata["options"]) > 1


changes = st.fixed_dictionaries({}, optional={f.name: st.sampled_from(f.metadata["options"]) for f in fields(Recipe)})


@given(changes)
def test_a_recipe_is_what_its_name_says(options):
    recipe = Recipe(**options)
    assert parse(recipe.name) == recipe
    assert parse("textbook") == TEXTBOOK


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"table_name": "table9"}, "unknown table 'table9'; use one of: table1, table2"),
        ({"profile_name": "gpu"}, "unknown profile 'gpu'; use one of: demo, cpu, base, paper"),
        ({"tasks": "RTE,CoLA"}, "unknown task for profile demo 'CoLA'; use one of: RTE, MRPC, SST-2, QNLI"),
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
        ({"overrides": {"beta.x": 1}}, "unknown setting 'x'"),
        ({"overrides": {"student.epochs": 0}}, "epochs must be above 0, got 0"),
        ({"overrides": {"teacher.learning_rate": -1.0}}, "learning_rate must be above 0, got -1.0"),
        ({"overrides": {"alpha": 1.5}}, "got alpha 1.5"),
        ({"overrides": {"precision": "float16"}}, "'float16'; use one of: auto, float32, bfloat16"),
    ],
)
def test_bad_input_is_one_line_with_the_value_and_those_allowed(arguments, message):
    with pytest.raises(InputError) as caught:
        plan(**({"table_name": "table2"} | arguments))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_command_of_a_cell_says_what_differs_from_its_profile():
    changed = plan("table5", tasks="RTE", seeds=1, recipe="authors+shuffle=True",
                   overrides={"beta": 40, "student.epochs": 3})[3]  # fmt: skip
    assert command(changed) == (
        "python -m repro run table5 --profile demo --method BERT3+SPS+PTP --task mini-RTE --seed 0 "
        "--recipe authors+shuffle=True --set beta=40.0 --set student.epochs=3")  # fmt: skip
    assert command(plan("table1")[0]).endswith("--method 'PTP labels' --task mini-RTE --seed 0")
