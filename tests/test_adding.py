"""The steps of docs/add.md, one after the other: a method, a table, a task and an encoder."""

import shutil
from dataclasses import replace

import own_data
import pytest
from synthetic import finished
from tiny_cells import tiny

from repro import methods
from repro.analysis import tables as derived
from repro.config import printed, profiles, tables, tasks
from repro.config.cells import plan
from repro.data import glue
from repro.runs import engine, results, stages

METHOD = """
from dataclasses import dataclass

from repro.training.losses import cross_entropy


@dataclass(frozen=True)
class Doubled:
    weight: float

    def objective(self, labels, teacher):
        return lambda output, rows: {"ce": self.weight * cross_entropy(output.logits, labels[rows])}


def resolve(setting, recipe, pairs):
    return Doubled(2.0)
"""


@pytest.fixture
def numbers(tmp_path, monkeypatch):
    """A copy of the printed numbers that a test may change."""
    folder = shutil.copytree(printed.FOLDER, tmp_path / "printed")
    monkeypatch.setattr(printed, "FOLDER", folder)
    return folder / "tables.csv"


def test_a_method(own_folders, monkeypatch):
    (own_folders / "doubled.py").write_text(METHOD)
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(own_folders)])
    row = tables.Row("Doubled1", 1, tables.Method(loss="doubled"))
    table = tables.TABLES["table4"]
    monkeypatch.setitem(
        tables.TABLES, "table4", replace(table, rows=(*table.rows, row), ablation=False)
    )
    (cell,) = (cell for cell in tiny("table4") if cell.row == row.name)
    assert stages.resolve(cell).trained.spec.loss.weight == 2.0
    engine.run_cells([cell], "serial")
    assert 0 <= results.read(cell)["metrics"]["accuracy"] <= 100


def test_a_table(own_folders, numbers, monkeypatch):
    rows = (
        tables.Row("BERT1", 1, tables.PATIENT_KD),
        tables.Row("BERT1+SPS", 1, tables.SPS),
    )
    table = tables.Table("table6", "One layer", "dev", rows, (("BERT1+SPS", "BERT1"),))
    monkeypatch.setitem(tables.TABLES, table.name, table)
    with numbers.open("a") as file:
        file.write("6,dev,BERT1,1,,50.0,50.0,50.0,50.0,50.0\n")
        file.write("6,dev,BERT1+SPS,1,,51.0,51.0,51.0,51.0,51.0\n")
    frame = derived.aggregate(finished("table6", "RTE", 1))
    printed_scores = frame[frame["task"] == "Avg"].set_index("method")["paper"]
    assert printed_scores.to_dict() == {"BERT1": 50.0, "BERT1+SPS": 51.0}
    assert table.comparisons == "comparisons6"


def test_a_task(own_folders, numbers, monkeypatch):
    task = tasks.Task(
        "CoLA", ("sentence",), ("0", "1"), "accuracy", (0.9, 0.7), ("sentence",), "label"
    )
    known = (*tasks.GLUE, task)
    for module in (tasks, profiles, printed):
        monkeypatch.setattr(module, "GLUE", known)
    monkeypatch.setitem(tasks.TASKS, task.name, task)
    head, *lines = numbers.read_text().splitlines()
    numbers.write_text("\n".join([f"{head},CoLA", *(f"{line}," for line in lines)]) + "\n")
    folder = own_folders / "glue" / "CoLA"
    folder.mkdir(parents=True)
    (folder / "dev.tsv").write_text("sentence\tlabel\na small example\t1\n")
    monkeypatch.setenv("GLUE_DIR", str(own_folders / "glue"))
    split = glue.load(task, "dev")
    assert (split.texts, split.labels.tolist()) == ((("a small example",),), [1])
    assert {cell.task for cell in plan("table2", "cpu", seeds=1)} >= {"RTE", "CoLA"}


def test_an_encoder(own_folders):
    folder = own_data.encoder_folder(own_folders / "encoder", "mpnet")
    (cell,) = (cell for cell in tiny("table4", backbone=str(folder)) if cell.row == "SPS-2")
    structure = stages.resolve(replace(cell, layers=1)).trained.spec.structure
    assert [tuple(use) for use in structure.uses] == [(0, False), (0, True)]
