"""Explanations of numbers, from synthetic results."""

import json
import re
import subprocess

import pytest
from synthetic import finished

from repro import paths
from repro.analysis import tables
from repro.analysis.verification import MAKERS
from repro.errors import InputError
from repro.report import provenance
from repro.runs import results as files


def write(name, variant="", **options):
    cells = finished(name, "RTE,MRPC", 2, rows=40, **options)
    return cells, tables.write_table(name, "demo", MAKERS[name].make(cells), cells, variant)


@pytest.fixture
def table4(own_folders):
    cells, _ = write("table4")
    for cell in cells:
        row = json.loads(files.path(cell).read_text())
        row |= {
            "commit": "0123456789ab",
            "seconds": {"teacher": 1234.5, "outputs": 3.0, "student": 61.25},
        }
        row["stages"] = {"teacher": "a1" * 8, "outputs": "b2" * 8, "student": "c3" * 8}
        row["stages"]["reshaped"] = "d4" * 8  # of WID and its like; every stage is named
        row["selection"] |= {"best_step": 12, "steps": 40}
        files.path(cell).write_text(json.dumps(files.sealed(row)))
    return cells, tables.write_table("table4", "demo", MAKERS["table4"].make(cells), cells)


def of(cells, method, name):
    return [cell for cell in cells if (cell.row, cell.task) == (method, name)]


def test_an_explanation_has_the_origin_of_a_number(table4, repro):
    cells, path = table4
    code, out, err = repro("explain", f"{path}:SPS-2:mini-RTE")
    row = (
        tables.read_table("table4", "demo").set_index(["method", "task"]).loc[("SPS-2", "mini-RTE")]
    )
    assert (code, err) == (0, "")
    flat = " ".join(out.split())
    for text in (
        f"number {row['mean']:g} %, sd {row['sd']:g} between 2 seeds",
        f"{row['ci_low']:g} to {row['ci_high']:g}, 95 % over seeds and examples",
        "paper 68.6 on GLUE's dev split; not comparable with a miniature",
        "accuracy, the share of correct predictions",
        "split dev",
        "3 stored layers, 6 applied; 300,000 parameters",
        "authors; differs from the authors' in: nothing",
        "settings the profile's",
        "weights SHA-256 cccccccc, all files dddddddd",
        "train 4 rows (fingerprint aaaaaaaa), dev 40 rows (fingerprint bbbbbbbb), from synthetic",
        "stage teacher a1a1a1a1a1a1a1a1 1,234.5 s stage outputs b2b2b2b2b2b2b2b2 3.0 s",
        "3.0 s stage student c3c3c3c3c3c3c3c3 61.2 s stage reshaped d4d4d4d4d4d4d4d4",
        "commit 0123456789ab; cpu, 1 thread, float32; python 3.11",
        "verified: the table agrees with its 12 cells",
    ):
        assert text in flat
    for cell in of(cells, "SPS-2", "mini-RTE"):
        made = files.read(cell)
        accuracy = f"{made['metrics']['accuracy']:.4f}"
        score = f"score accuracy {accuracy}"
        assert f"cell {cell.id} (seed {cell.seed}) {score}" in flat
        assert f"best_dev, step 12 of 40, score {accuracy}; score of the last step:" in flat
        assert made["predictions_sha256"] in flat
        assert files.command(cell) in flat.replace(" \\ ", " ")
    assert len(re.findall("^cell ", out, re.MULTILINE)) == 2
    assert max(map(len, out.splitlines())) <= 100


def test_an_explanation_as_json(table4, repro):
    cells, path = table4
    own = of(cells, "SPS-2", "mini-RTE")
    files.path(own[1]).unlink()
    code, out, err = repro("explain", f"{path}:SPS-2:RTE", "--json")
    said = json.loads(out)
    assert (code, err) == (0, "")
    row = tables.read_table("table4", "demo").set_index(["method", "task"])
    assert said["row"]["mean"] == row.loc[("SPS-2", "mini-RTE"), "mean"]
    assert [cell["id"] for cell in said["cells"]] == [cell.id for cell in own]
    assert [cell["command"] for cell in said["cells"]] == [files.command(cell) for cell in own]
    assert said["cells"][0]["result"] == files.read(own[0])
    assert said["cells"][1]["result"] is None
    assert len(said["findings"]) == 1 and own[1].id in said["findings"][0]


def test_a_printed_number_as_json_has_no_cells(own_folders, repro):
    _, path = write("table3")
    said = json.loads(repro("explain", f"{path}:TinyBERT:RTE", "--json")[1])
    assert (said["row"]["paper"], said["row"]["mean"]) == (70.4, None)
    assert (said["cells"], said["findings"]) == ([], [])


def test_a_task_may_have_its_name_in_the_paper(table4):
    _, path = table4
    assert provenance.explain(path, "SPS-2", "MRPC") == provenance.explain(
        path, "SPS-2", "mini-MRPC"
    )
    assert "F1 of class 1" in provenance.explain(path, "SPS-2", "MRPC")


def test_an_average_lists_the_cells_of_every_task(table4):
    cells, path = table4
    said = provenance.explain(path, "BERT3", "Avg")
    assert re.findall(r"^cell (\S+)", said, re.MULTILINE) == [
        cell.id for cell in cells if cell.row == "BERT3"
    ]
    assert "mean of 2 tasks' scores within each seed, then the mean over seeds" in said
    assert said.count("  data        mini-") == 2


def test_changed_settings_are_listed(own_folders):
    _, path = write("table4", "textbook+beta=40", recipe="textbook", overrides={"beta": 40.0})
    said = " ".join(provenance.explain(path, "SPS-1", "RTE").split())
    assert (
        "recipe textbook; differs from the authors' in: ptp_thresholds=one, kl_reduction=batchmean"
        in said
    )
    assert "settings beta=40.0" in said
    assert "--recipe textbook --set beta=40.0" in said.replace(" \\ ", " ")


def test_a_label_s_share_comes_from_the_teachers(own_folders):
    cells, path = write("table1")
    said = provenance.explain(path, "unconfidently wrong", "RTE")
    assert re.findall(r"^cell (\S+)", said, re.MULTILINE) == [
        cell.id for cell in of(cells, "PTP labels", "mini-RTE")
    ]
    assert "prints no such number" in said
    assert "of the teacher on its training data" in said
    assert "--method 'PTP labels'" in said


def test_a_printed_number_is_named_as_such(own_folders):
    _, path = write("table3")
    assert "70.4 is copied from the paper" in provenance.explain(path, "TinyBERT", "RTE")


def test_a_missing_cell_is_listed_with_its_command(table4):
    cells, path = table4
    for cell in cells:
        files.path(cell).unlink()
    said = provenance.explain(path, "SPS-2", "RTE")
    for cell in of(cells, "SPS-2", "mini-RTE"):
        assert f"{cell.id}.json does not exist" in " ".join(said.split())
    assert "cannot be verified, its 12 cells are not here; run: make table4" in " ".join(
        said.split()
    )
    assert "verified:" not in said


def test_a_number_that_disagrees_with_its_cells_is_reported(table4):
    _, path = table4
    path.write_text(path.read_text().replace(",68.6,", ",60.6,", 1))
    assert "stored 60.6, recomputed 68.6" in " ".join(
        provenance.explain(path, "SPS-2", "RTE").split()
    )


def test_a_table_without_a_sidecar_is_one_line(table4, repro):
    _, path = table4
    path.with_name("table4.run.json").unlink()
    code, out, err = repro("explain", f"{path}:SPS-2:RTE")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "no table4.run.json beside it; run: make table4 PROFILE=demo" in err


@pytest.mark.parametrize(
    ("number", "words"),
    [
        ("table4.csv", ("FILE:METHOD:TASK", "table4.csv")),
        ("demo/table4.csv:SPS-2", ("FILE:METHOD:TASK",)),
        ("demo/table4.csv:SPS-9:RTE", ("method of table4.csv 'SPS-9'", "BERT3, SPS-1, SPS-2")),
        ("demo/table4.csv:SPS-2:CoLA", ("task of table4.csv 'CoLA'", "mini-RTE, mini-MRPC, Avg")),
        ("demo/table9.csv:SPS-2:RTE", ("'table9.csv'", "table1.csv, table2.csv")),
        ("demo/thresholds.csv:SPS-2:RTE", ("'thresholds.csv'", "table1.csv, table2.csv")),
        ("demo/table5.csv:BERT3+SPS:RTE", ("no table5", "make table5 PROFILE=demo")),
        ("gpu/table4.csv:SPS-2:RTE", ("profile 'gpu'", "demo, cpu, base, paper")),
        ("demo/table4.../x.csv:SPS-2:RTE", ("'x.csv'",)),
    ],
)
def test_bad_input_is_one_line(table4, repro, own_folders, number, words):
    code, out, err = repro("explain", str(own_folders / "results" / number))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert [word for word in words if word not in err] == []


def test_a_table_outside_the_results_folder_is_an_error(table4, tmp_path):
    copy = tmp_path / "demo" / "table4.csv"
    copy.parent.mkdir()
    copy.write_text(table4[1].read_text())
    with pytest.raises(InputError, match="is not in the results folder"):
        provenance.explain(copy, "SPS-2", "RTE")


def test_only_files_that_numbers_depend_on_make_a_commit_dirty(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    assert paths.commit.__wrapped__() == "unknown"
    for file in ("repro/module.py", "results/demo/table2.csv", "repro/config/printed/tables.csv"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("as committed")
    own = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        subprocess.run(["git", *own, *words], cwd=tmp_path, check=True)
    clean = paths.commit.__wrapped__()
    assert re.fullmatch("[0-9a-f]{12}", clean)
    (tmp_path / "results/demo/table2.csv").write_text("written by a run")
    assert paths.commit.__wrapped__() == clean
    (tmp_path / "repro/new.py").write_text("not committed")
    assert paths.commit.__wrapped__() == f"{clean}-dirty"
