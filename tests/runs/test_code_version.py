"""A stage's key changes with the code that its numbers depend on, and with no other code."""

import ast
import importlib.util
from pathlib import Path

import pytest
from tiny_cells import tiny

from repro.runs import code_version, stages

# Modules that the keyed modules import and that change no number: they plan, load what is
# fingerprinted by content, store, log, or check.
UNRELATED = {
    "repro.config.cells",
    "repro.config.profiles",
    "repro.config.recipe",
    "repro.config.tables",
    "repro.config.tasks",
    "repro.data.encoders",
    "repro.data.glue",
    "repro.data.hub",
    "repro.data.mini",
    "repro.data.pypi_encoders",
    "repro.errors",
    "repro.files",
    "repro.methods",
    "repro.paths",
    "repro.runs.cache",
    "repro.runs.callbacks",
    "repro.runs.machine",
    "repro.runs.specs",
    "repro.runs.stages",
    "repro.training.checkpoints",
}


def imported(module: str) -> set[str]:
    """The modules of this package that a module imports."""
    path = Path(importlib.util.find_spec(module).origin)
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("repro"):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                is_module = importlib.util.find_spec(node.module).submodule_search_locations
                found.add(inner if is_module and importlib.util.find_spec(inner) else node.module)
    return found - {"repro"}


def keyed() -> set[str]:
    names = {
        name
        for cell in all_cells()
        for stage in stages.resolve(cell).stages
        for name in code_version.modules(stage.spec)
    }
    return names


def all_cells():
    return [
        *tiny("table2"),
        *tiny("table4"),
        *tiny("table4", "authors+ablation_loss=kd"),
        *tiny("table5"),
        *tiny("related"),
    ]


def keys(cells) -> dict[str, str]:
    return {
        f"{cell.row} {stage.kind}": stage.key
        for cell in cells
        for stage in stages.resolve(cell).stages
    }


def test_every_module_that_a_number_depends_on_is_keyed():
    for module in keyed():
        unknown = imported(module) - keyed() - UNRELATED
        assert unknown == set(), f"{module} imports them; add to SHARED or to UNRELATED"


@pytest.mark.parametrize("row", ["WID", "HomoDistil", "Compacter"])
def test_the_key_covers_all_that_the_methods_module_imports(row):
    (cell,) = (cell for cell in tiny("related") if cell.row == row)
    spec = stages.resolve(cell).trained.spec
    needed = imported(type(spec.loss).__module__) - UNRELATED
    assert needed - {*code_version.modules(spec)} == set()


def edited(monkeypatch, module: str, change) -> None:
    """Let `code_version` see a module as it would be after a change of its source."""
    read = code_version._source.__wrapped__
    monkeypatch.setattr(
        code_version, "_source", lambda name: change(read(name)) if name == module else read(name)
    )


def test_a_changed_loss_changes_every_key_that_uses_it(monkeypatch):
    cells = all_cells()
    before = keys(cells)
    edited(monkeypatch, "repro.training.losses", lambda text: text.replace("temperature**2", "0"))
    after = keys(cells)
    assert all(before[name] != after[name] for name in before)


@pytest.mark.parametrize(
    ("module", "kinds"),
    [
        ("repro.methods.patient_kd", {"student"}),
        ("repro.methods.kd", {"student"}),
        ("repro.methods.ptp", {"ptp", "student"}),
        ("repro.data.ptp_labels", {"ptp", "student"}),
        ("repro.methods.finetune", {"teacher", "outputs", "ptp", "student"}),
        ("repro.methods.tinybert", set()),
        ("repro.runs.phases", set()),
        ("repro.models.observe", set()),
    ],
)
def test_a_changed_method_changes_the_keys_of_its_stages(monkeypatch, module, kinds):
    cells = [cell for cell in tiny("table5") if cell.row == "BERT3+SPS+PTP"]
    before = keys(cells)
    edited(monkeypatch, module, lambda text: text + "\nMORE = 1\n")
    after = keys(cells)
    assert {name.split()[-1] for name in before if before[name] != after[name]} == kinds


@pytest.mark.parametrize(
    ("module", "kinds"),
    [
        ("repro.methods.tinybert", {"phase"}),
        ("repro.methods.minilm", set()),
        ("repro.models.observe", {"words", "phase"}),
        ("repro.models.masked", {"words", "phase"}),
        ("repro.models.pair", {"words", "phase"}),
        ("repro.data.augment", {"words", "phase"}),
        ("repro.runs.phases", {"words", "phase"}),
    ],
)
def test_a_changed_module_changes_the_keys_of_phases(monkeypatch, module, kinds):
    long = tiny("related", **{"student.epochs": 6})  # so that there are copies, and a head for them
    cells = [cell for cell in long if cell.row == "TinyBERT3"]
    before = keys(cells)
    edited(monkeypatch, module, lambda text: text + "\nMORE = 1\n")
    after = keys(cells)
    assert {name.split()[-1] for name in before if before[name] != after[name]} == kinds


def test_minilm_v2_depends_on_minilm(monkeypatch):
    cells = [cell for cell in tiny("related") if cell.row == "MiniLMv2-3"]
    before = keys(cells)["MiniLMv2-3 phase"]
    edited(monkeypatch, "repro.methods.minilm", lambda text: text + "\nMORE = 1\n")
    assert keys(cells)["MiniLMv2-3 phase"] != before


def test_comments_and_docstrings_change_no_key(monkeypatch):
    before = keys(tiny("table4"))

    def reworded(text):
        return text.replace('"""', '"""Reworded. ', 1).replace("\n\n", "\n# x\n\n", 1)

    edited(monkeypatch, "repro.training.losses", reworded)
    assert keys(tiny("table4")) == before


def test_no_other_file_is_read(monkeypatch):
    """So a new method, callback, export or figure, which is a new file, changes no key."""
    read, names = code_version._source.__wrapped__, set()
    monkeypatch.setattr(code_version, "_source", lambda name: names.add(name) or read(name))
    (cell,) = [cell for cell in tiny("table5") if cell.row == "BERT3+SPS+PTP"]
    assert stages.resolve(cell).trained.key
    of_methods = {f"repro.methods.{name}" for name in ("finetune", "kd", "patient_kd", "ptp")}
    assert names == {*code_version.SHARED, *of_methods, "repro.data.ptp_labels"}


def test_a_new_row_changes_no_key(monkeypatch):
    from dataclasses import replace

    from repro.config import tables

    before = keys(tiny("table4"))
    table = tables.TABLES["table4"]
    more = (*table.rows, tables.Row("BERT1", 1, tables.PATIENT_KD))
    monkeypatch.setitem(tables.TABLES, "table4", replace(table, rows=more))
    after = keys(tiny("table4"))
    assert len(after) > len(before)
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize("library", ["torch", "transformers"])
def test_another_version_of_a_library_is_another_key(monkeypatch, library):
    before = keys(tiny("table4"))
    versions = code_version.machine.versions()
    monkeypatch.setattr(code_version.machine, "versions", lambda: versions | {library: "0.0.1"})
    assert not set(keys(tiny("table4")).values()) & set(before.values())
