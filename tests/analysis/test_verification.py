"""Findings of `verify` on synthetic results, with one thing changed at a time."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from synthetic import finish, finished

from repro import paths
from repro.analysis import decisions, tables
from repro.analysis.cell_checks import check_cell
from repro.analysis.tables import COLUMNS, MORE_COLUMNS
from repro.analysis.verification import MAKERS, plan_of, verify
from repro.config.cells import plan
from repro.config.tables import TABLES
from repro.errors import InputError
from repro.runs import results as files


def write(name, cells, variant=""):
    maker = MAKERS[name]
    frame = maker.make(cells).assign(**dict.fromkeys(maker.measured, 1.0))
    return tables.write_table(name, "demo", frame, cells, variant)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Table 4 on one task: three cells. Each test changes its own copy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REPRO_RESULTS", str(tmp_path_factory.mktemp("made")))
        write("table4", finished("table4", "RTE", 1, rows=40))
        assert verify("demo").findings == []
        return paths.results("demo")


@pytest.fixture
def folder(made, own_folders):
    return shutil.copytree(made, own_folders / "results" / "demo")


def cell_file(folder, method="sps-2"):
    (path,) = (folder / "cells").glob(f"table4-{method}-*.json")
    return path


def predictions_file(folder, method="sps-2"):
    return folder / "predictions" / f"{cell_file(folder, method).stem}.parquet"


def edit(path, change, seal=False):
    """Change the content of a result; `seal`: and its checksum."""
    row = json.loads(path.read_text())
    change(row)
    path.write_text(json.dumps(files.sealed(row) if seal else row, indent=1, sort_keys=True) + "\n")


def text_of(path):
    """The table with its values as text."""
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def edit_csv(path, change):
    """Change the table's values, as text."""
    change(text_of(path)).to_csv(path, index=False, lineterminator="\n")


def with_value(column, value, rows=slice(4, 4)):
    """Set a column in some rows; by default in that of SPS-2 on mini-RTE."""

    def change(frame):
        frame.loc[rows, column] = value
        return frame

    return change


def found(path, *words):
    """The findings about the file; one of them must have all the words."""
    lines = [line for line in verify("demo").findings if path.name in line.split(": ")[0]]
    assert [line for line in lines if all(word in line for word in words)], (lines, words)
    return lines


# untouched results


def test_every_kind_of_csv_can_be_derived_again():
    assert MAKERS.keys() == TABLES.keys() | tables.DERIVED.keys()


def test_untouched_results_agree(repro):
    for name in TABLES:
        cells = finished(name, "RTE,MRPC", 2, rows=30)
        for kind in [name, *(other for other, target in tables.DERIVED.items() if target == name)]:
            write(kind, cells)
    flipped = finish(decisions.plan("demo", "RTE", 1), rows=30)
    write("decisions", flipped)
    for path in [*paths.results("demo").rglob("*.*")]:  # side files of macOS are no results
        path.with_name(f"._{path.name}").touch()
    code, out, _ = repro("verify")
    count = len(
        {cell.id for cell in flipped}
        | {c.id for n in TABLES for c in plan(n, "demo", "RTE,MRPC", 2)}
    )
    assert out == f"profile demo: {count} cells, {count} prediction files, 16 tables: all agree\n"
    assert code == 0


@pytest.mark.parametrize(
    ("recipe", "overrides"),
    [
        ("textbook", None),
        ("authors+checkpoint=last", {"beta": 40.0, "student.learning_rate": 2e-5}),
        ("authors", {"precision": "bfloat16", "student.epochs": 3}),
    ],
)
def test_a_variant_is_derived_with_its_own_recipe_and_settings(own_folders, recipe, overrides):
    cells = finished("table4", "RTE,QNLI", 2, rows=30, recipe=recipe, overrides=overrides)
    path = write("table4", cells, "mine")
    assert verify("demo").findings == []
    assert plan_of(path) == (cells, [])


def test_changes_of_another_recipe_are_derived_with_it(own_folders):
    cells = finish(decisions.plan("demo", "RTE", 1, "textbook"), rows=30)
    path = write("decisions", cells, "textbook")
    assert verify("demo").findings == []
    assert plan_of(path) == (cells, [])


# missing cells


def test_a_table_without_any_of_its_cells_is_a_failure(folder, repro):
    for path in [*folder.glob("cells/*"), *folder.glob("predictions/*")]:
        path.unlink()
    code, out, _ = repro("verify")
    assert code == 1
    assert (
        "table4.csv: cannot be verified, its 3 cells are not here; "
        "run: make table4 PROFILE=demo TASKS=mini-RTE" in out
    )
    assert out.endswith("0 cells, 0 prediction files, 1 table: 1 finding, above\n")


def test_a_deleted_cell_is_named(folder):
    path = cell_file(folder)
    path.unlink()
    found(folder / "table4.csv", "1 of its 3 cells", path.stem, "not here")
    found(predictions_file_of(path), "predictions without a cell", path.name)


def predictions_file_of(path):
    return path.parent.parent / "predictions" / f"{path.stem}.parquet"


def test_a_cell_deleted_with_its_predictions_is_named(folder):
    path = cell_file(folder)
    predictions_file(folder).unlink()
    path.unlink()
    assert len(found(folder / "table4.csv", "1 of its 3 cells", path.stem)) == 1


def test_deleted_predictions_are_named(folder):
    predictions_file(folder).unlink()
    found(cell_file(folder), "are missing", "--method SPS-2")


# tables


@pytest.mark.parametrize(
    "column", [name for name in (*COLUMNS, *MORE_COLUMNS) if name not in ("method", "task")]
)
def test_any_changed_value_of_a_row_is_named(folder, column):
    path = folder / "table4.csv"
    before = text_of(path)[column][4]
    edit_csv(path, with_value(column, "99"))
    lines = found(
        path,
        "row (SPS-2, mini-RTE)",
        f"column {column}: stored 99, recomputed {before or 'nothing'}",
    )
    assert len(lines) == 1


@pytest.mark.parametrize("column", ["method", "task"])
def test_a_renamed_row_is_named(folder, column):
    edit_csv(folder / "table4.csv", with_value(column, "mini-other"))
    found(folder / "table4.csv", "row (SPS-2, mini-RTE) is missing")
    assert len(found(folder / "table4.csv", "mini-other", "is not in the recomputed table")) == 2


def test_a_changed_last_digit_of_a_comparison_is_found(folder):
    path = write("comparisons4", plan("table4", "demo", "RTE", 1))
    value = text_of(path)["ci_low"][0]
    changed = value[:-1] + str((int(value[-1]) + 1) % 10)
    edit_csv(path, with_value("ci_low", changed, slice(0, 0)))
    assert len(found(path, f"stored {changed}, recomputed {value}")) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda f: pd.concat([f, f.tail(1).assign(method="PeaBERT9")]),
            ("(PeaBERT9, Avg)", "is not in the recomputed table"),
        ),
        (
            lambda f: pd.concat([f, f.tail(1).assign(task="mini-QNLI")]),
            ("(SPS-2, mini-QNLI)", "is not in the recomputed table"),
        ),
        (lambda f: pd.concat([f, f.tail(1)]), ("(SPS-2, Avg)", "more than once")),
        (lambda f: f.drop(index=2), ("(SPS-1, mini-RTE)", "missing")),
        (lambda f: f.iloc[::-1], ("only in form",)),
        (lambda f: f.assign(stars="***"), ("column stars is not in the recomputed table",)),
        (lambda f: f.drop(columns="delta"), ("column delta is missing",)),
        (lambda f: f.drop(columns="seeds"), ("column seeds is missing",)),
        (lambda f: f.drop(columns="method"), ("column method is missing",)),
        (lambda f: f.head(0), ("(SPS-2, Avg) is missing",)),
        (lambda f: f.assign(seeds="two"), ("column seeds: stored two, recomputed 1",)),
        (lambda f: f.assign(recipe="textbook"), ("stored textbook, recomputed authors",)),
        (lambda f: f.assign(settings="beta=40.0"), ("stored beta=40.0, recomputed nothing",)),
        (lambda f: f.assign(task="RTEE"), ("(SPS-2, RTEE) is not in the recomputed table",)),
    ],
)
def test_a_changed_table_is_named(folder, change, words):
    edit_csv(folder / "table4.csv", change)
    found(folder / "table4.csv", *words)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("", "is not a CSV file"),
        ('a,b\n"1', "is not a CSV file"),
        ("a\n1\n", "column recipe is missing"),
    ],
)
def test_a_file_that_is_no_table_is_named(folder, content, word):
    (folder / "table4.csv").write_text(content)
    found(folder / "table4.csv", word)


def test_other_line_ends_are_found(folder):
    path = folder / "table4.csv"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    found(path, "only in form")


def test_a_csv_that_nothing_makes_is_named(folder):
    (folder / "table9.csv").write_text((folder / "table4.csv").read_text())
    found(folder / "table9.csv", "unknown table 'table9.csv'", "comparisons4.csv")


def test_a_table_under_another_s_name_is_found(folder):
    (folder / "table4.csv").rename(folder / "table5.csv")
    (folder / "table4.run.json").rename(folder / "table5.run.json")
    finished("table5", "RTE", 1, rows=40)
    found(folder / "table5.csv", "table5.run.json does not list 4 cells", "lists 3 cells")
    found(folder / "table5.csv", "(SPS-2, mini-RTE)", "is not in the recomputed table")


# sidecars


def test_a_sidecar_names_the_arguments_and_the_cells(folder):
    content = json.loads((folder / "table4.run.json").read_text())
    assert content["run"] == {
        "profile": "demo",
        "tasks": "mini-RTE",
        "seeds": 1,
        "recipe": "authors",
        "overrides": {},
        "tuned": False,
    }
    assert content["cells"] == [cell.id for cell in plan("table4", "demo", "RTE", 1)]


def test_a_csv_without_a_sidecar_is_a_finding_with_the_command(folder, repro):
    (folder / "table4.run.json").unlink()
    code, out, _ = repro("verify")
    message = "cannot be verified: no table4.run.json beside it; run: make table4 PROFILE=demo"
    assert (code, message in out) == (1, True)
    assert "1 finding, above" in out
    assert out.count("table4.csv: ") == 1  # the file is named once


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        '{"run": {}, "cells": []}',
        '{"run": {"profile": "demo", "tasks": 3, "seeds": 1}, "cells": []}',
        '{"run": {"profile": "demo", "tasks": "RTE", "seeds": "1"}, "cells": []}',
        '{"run": {"profile": "demo", "tasks": "RTE", "seeds": 1}, "cells": [{}]}',
        '{"run": {"profile": "demo", "tasks": "RTE", "seeds": 1}}',
        '{"run": {"profile": "demo", "tasks": "RTE", "seeds": 1, "engine": "ray"}, "cells": []}',
    ],
)
def test_a_damaged_sidecar_is_one_line(folder, content):
    (folder / "table4.run.json").write_text(content)
    (line,) = verify("demo").findings
    assert "table4.run.json is damaged" in line and "run: make table4 PROFILE=demo" in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seeds": 2}, ("does not list 3 cells", "table4-bert3-mini-rte-s1")),
        ({"seeds": 2}, ("3 of its 6 cells", "not here")),
        ({"tasks": "RTE,MRPC"}, ("does not list 3 cells", "mini-mrpc")),
        ({"seeds": 1000}, ("seeds must be", "1000")),
        ({"tasks": "RTEE"}, ("'RTEE'", "use one of")),
        ({"recipe": "textbook"}, ("recipe textbook", "variant")),
        ({"overrides": {"beta": 40.0}}, ("beta=40.0", "variant")),
        ({"tuned": True}, ("tuned", "variant")),
        ({"profile": "cpu"}, ("folder of profile demo", "cells are of profile cpu")),
    ],
)
def test_edited_arguments_are_found(folder, change, words):
    path = folder / "table4.run.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"run": content["run"] | change}))
    found(folder / "table4.csv", *words)


def test_an_edited_list_of_cells_is_found(folder):
    path = folder / "table4.run.json"
    content = json.loads(path.read_text())
    for cells, words in (
        (content["cells"][1:], "does not list 1 cell (table4-bert3-mini-rte-s0-"),
        (
            [*content["cells"], "table4-x"],
            "lists 1 cell (table4-x) that its arguments do not imply",
        ),
        (content["cells"][::-1], "in another order"),
    ):
        path.write_text(json.dumps(content | {"cells": cells}))
        (line,) = found(folder / "table4.csv", "table4.run.json")
        assert words in line


def test_another_recipe_cannot_be_written_under_the_plain_name(folder):
    before = {path: path.read_bytes() for path in folder.glob("table4*")}
    cells = finished("table4", "RTE", 1, rows=40, recipe="textbook")
    with pytest.raises(InputError, match="recipe textbook; give it a variant name"):
        write("table4", cells)
    assert {path: path.read_bytes() for path in folder.glob("table4*")} == before


def test_a_csv_needs_the_cells_that_it_was_made_from(folder):
    frame = tables.read_table("table4", "demo")
    with pytest.raises(InputError, match="needs the cells"):
        tables.write_table("table4", "demo", frame)


def test_a_failed_write_leaves_the_csv_and_its_sidecar_as_they_were(folder, monkeypatch):
    before = {path: path.read_bytes() for path in folder.glob("table4*")}
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("killed")))
    with pytest.raises(OSError, match="killed"):
        write("table4", plan("table4", "demo", "RTE", 1))
    assert {path: path.read_bytes() for path in folder.glob("table4*")} == before


# cells


def test_a_changed_score_is_named(folder):
    path = cell_file(folder)
    edit(path, lambda row: row["metrics"].update(accuracy=99.0))
    found(path, "accuracy: stored 99.0, recomputed from its predictions")
    found(path, "edited after it was written")
    found(folder / "table4.csv", "1 of its 3 cells", path.stem, "damaged")


@pytest.mark.parametrize(
    "change",
    [
        lambda row: row["parameters"].update(layers=1),
        lambda row: row["seconds"].update(teacher=0.1),
        lambda row: row["stages"].update(student="0" * 16),
        lambda row: row["data"].update(train="0" * 16),
        lambda row: row.update(commit="0123456789ab"),
        lambda row: row.update(device="NVIDIA A100"),
        lambda row: row.update(sha256="0" * 64),
    ],
)
def test_any_edit_of_a_cell_is_found_by_its_checksum(folder, change):
    path = cell_file(folder)
    edit(path, change)
    assert len(found(path, "edited after it was written")) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda row: row["metrics"].update(f1=1.0), ("f1: stored 1.0, recomputed",)),
        (
            lambda row: row.update(id="table4-sps-2-mini-rte-s0-00000000"),
            ("id is 'table4-sps-2-mini-rte-s0-00000000'",),
        ),
        (lambda row: row["cell"].update(seed=7), ("name", "-s7-")),
        (lambda row: row["cell"]["setting"].update(beta=1.0), ("the content belongs to",)),
        (lambda row: row["cell"]["recipe"].update(shuffle=True), ("the content belongs to",)),
        (lambda row: row["cell"]["recipe"].update(shuffle="maybe"), ("'maybe'",)),
        (lambda row: row["cell"].update(profile="cpu"), ("belongs to profile cpu",)),
        (lambda row: row["cell"].pop("seed"), ("cannot be read", "seed")),
        (lambda row: row.pop("metrics"), ("cannot be read", "metrics")),
        (
            lambda row: row["selection"].update(rule="last"),
            ("selection rule: stored last, recomputed best_dev",),
        ),
        (
            lambda row: row["selection"].update(best_score=99.0),
            ("best score on dev: stored 99.0, recomputed",),
        ),
        (lambda row: row["data"].update(dev_rows=39), ("examples: stored 39, recomputed 40",)),
        (
            lambda row: row["backbone"].update(name="bert"),
            ("backbone: stored bert, recomputed embedded",),
        ),
        (
            lambda row: row.update(effective_layers=12),
            ("effective_layers: stored 12, recomputed 6",),
        ),
        (lambda row: row.update(predictions_sha256="0" * 64), ("recorded is 0000",)),
    ],
)
def test_recomputed_facts_are_checked_even_with_a_new_checksum(folder, change, words):
    path = cell_file(folder)
    edit(path, change, seal=True)
    found(path, *words)
    found(folder / "table4.csv", path.stem, "damaged")


def test_a_cell_without_its_checksum_is_named_and_its_table_still_derived(folder):
    path = cell_file(folder)
    edit(path, lambda row: row.pop("sha256"))
    found(path, "no checksum")
    assert not [line for line in verify("demo").findings if "table4.csv" in line.split(": ")[0]]


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"cell": 3}', '{"cell": {}}'])
def test_a_file_that_is_no_cell_is_named(folder, content):
    cell_file(folder).write_text(content)
    lines = found(cell_file(folder), "cannot be read")
    assert len(lines) == 1 and "\n" not in lines[0]


def test_a_copied_cell_is_named(folder):
    copy = cell_file(folder).with_name("table4-sps-2-mini-rte-s1-01234567.json")
    copy.write_text(cell_file(folder).read_text())
    found(copy, "name is 'table4-sps-2-mini-rte-s1-01234567'")


# predictions


@pytest.mark.parametrize("position", [0, 100, -1])
def test_a_flipped_byte_of_predictions_is_named(folder, position):
    path = predictions_file(folder)
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(bytes(content))
    found(cell_file(folder), path.name, "SHA-256")


def test_swapped_predictions_are_named(folder):
    first, second = predictions_file(folder, "bert3"), predictions_file(folder, "sps-1")
    contents = first.read_bytes(), second.read_bytes()
    second.write_bytes(contents[0])
    first.write_bytes(contents[1])
    for method in ("bert3", "sps-1"):
        found(cell_file(folder, method), "SHA-256")


def test_swapped_predictions_are_named_even_with_new_checksums(folder):
    test_swapped_predictions_are_named(folder)
    for method in ("bert3", "sps-1"):
        again = files.sha256(predictions_file(folder, method))
        edit(
            cell_file(folder, method),
            lambda row, again=again: row.update(predictions_sha256=again),
            seal=True,
        )
        found(cell_file(folder, method), ": stored", "recomputed from its predictions")


def test_reordered_predictions_are_named(folder):
    """The score is the same, but its examples are no longer those of the other methods."""
    path = predictions_file(folder)
    pd.read_parquet(path).iloc[::-1].to_parquet(path, index=False)
    edit(
        cell_file(folder), lambda row: row.update(predictions_sha256=files.sha256(path)), seal=True
    )
    found(cell_file(folder), "their index is not 0 .. n - 1")


def test_predictions_of_no_cell_are_named(folder):
    extra = folder / "predictions" / "table4-sps-3-mini-rte-s0-01234567.parquet"
    extra.write_bytes(predictions_file(folder).read_bytes())
    found(extra, "predictions without a cell")


# the command


def test_the_exit_code_is_1_for_a_finding_and_nothing_is_written(folder, repro):
    edit(cell_file(folder), lambda row: row["metrics"].update(accuracy=99.0), seal=True)
    before = {path: path.read_bytes() for path in folder.rglob("*.*")}
    code, out, err = repro("verify")
    assert (code, err) == (1, "")
    assert (
        out.splitlines()[-1]
        == "profile demo: 3 cells, 3 prediction files, 1 table: 3 findings, above"
    )
    assert {path: path.read_bytes() for path in folder.rglob("*.*")} == before


def test_a_profile_without_results_is_bad_input(repro):
    assert repro("verify", "--profile", "base")[0] == 2
    code, _, err = repro("verify", "--profile", "gpu")
    assert code == 2 and "'gpu'; use one of: demo, cpu" in err


def test_the_checksum_does_not_depend_on_the_order_of_keys():
    row = {"b": 1, "a": {"d": 2.5, "c": None}}
    assert (
        files.sealed(row)["sha256"] == files.sealed({"a": {"c": None, "d": 2.5}, "b": 1})["sha256"]
    )
    assert files.sealed(files.sealed(row)) == files.sealed(row)
    assert files.sealed(row | {"b": 2})["sha256"] != files.sealed(row)["sha256"]


def test_a_cell_is_checked_alone(folder):
    assert check_cell(cell_file(folder)) == []
