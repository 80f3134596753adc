"""The notebook runner, the notebook lint, and each table's notebook with a tiny budget."""

import json
import sys

import nbformat
import pandas as pd
import pytest
from notebook_lint import problems
from synthetic import finished

from repro import paths
from repro.analysis import comparisons, tables, verification
from repro.config import cells as experiments
from repro.config.tables import TABLES
from repro.errors import InputError, MissingError, ReproError
from repro.report import text
from repro.runs import notebooks

PARAMETERS = 'number: float = 1.0  # any\nname: str = "a"\nmany: int = 3\nextra: dict = {}'


def write(folder, *code, parameters=PARAMETERS, name="tiny"):
    """Write a notebook with a parameters cell and the given code cells."""
    new = nbformat.v4.new_code_cell
    cells = [new(parameters, metadata={"tags": ["parameters"]}), *map(new, code)]
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    path = folder / f"{name}.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)
    return path


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"seed": 3}, "unknown parameter of tiny 'seed'; use one of: number, name, many, extra"),
        ({"number": "5e-5"}, r"parameter number must be of type float, got '5e-5' \(str\)"),
        ({"many": 1.0}, r"parameter many must be of type int, got 1.0 \(float\)"),
        ({"many": True}, r"got True \(bool\)"),
        ({"name": 1}, r"parameter name must be of type str, got 1 \(int\)"),
        ({"extra": [1]}, r"must be of type dict, got \[1\] \(list\)"),
    ],
)
def test_unknown_names_and_wrong_types_are_rejected(tmp_path, parameters, words):
    with pytest.raises(InputError, match=words):
        notebooks.run_notebook(write(tmp_path, "1 / 0"), parameters, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_integers_are_accepted_for_floats(tmp_path):
    checked = notebooks.check_parameters(write(tmp_path), {"number": 2})
    assert checked == {"number": 2.0}
    assert type(checked["number"]) is float


def test_the_error_for_an_unknown_notebook_lists_the_notebooks(tmp_path):
    write(tmp_path, name="one")
    with pytest.raises(InputError, match="unknown notebook 'two'; use one of: one"):
        notebooks.run_notebook(tmp_path / "two.ipynb", {}, tmp_path)


def test_the_kernel_writes_nothing_to_the_home_folder(tmp_path, own_folders, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("IPYTHONDIR", "MPLCONFIGDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    notebooks.run_notebook(write(tmp_path, "import matplotlib.font_manager"), {}, tmp_path / "out")
    assert not (tmp_path / "home").exists()
    assert {path.name for path in (own_folders / "cache").iterdir()} == {"ipython", "matplotlib"}


def test_the_kernel_is_of_this_python_whatever_jupyter_finds(tmp_path, monkeypatch, capsys):
    spec = tmp_path / "jupyter" / "kernels" / "python3"
    spec.mkdir(parents=True)
    foreign = {"argv": ["false", "{connection_file}"], "display_name": "x", "language": "python"}
    (spec / "kernel.json").write_text(json.dumps(foreign))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("MATPLOTLIBRC", str(tmp_path / "own-settings"))
    code = "import os, sys\nassert os.environ['MATPLOTLIBRC'] == os.devnull\nprint(sys.executable)"
    notebooks.run_notebook(write(tmp_path, code), {}, tmp_path / "out")
    assert sys.executable in capsys.readouterr().out


def test_a_kernel_that_does_not_start_in_time_is_one_line(tmp_path, monkeypatch):
    slow = "import sys, time\nif any('ipykernel' in word for word in sys.orig_argv): time.sleep(30)"
    (tmp_path / "sitecustomize.py").write_text(slow)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("REPRO_KERNEL_SECONDS", "1")
    with pytest.raises(
        ReproError, match=r"^the kernel of tiny.ipynb did not start: .* set REPRO_KERNEL_SECONDS"
    ) as caught:
        notebooks.run_notebook(write(tmp_path), {}, tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_a_run_shows_progress_and_saves_one_copy_without_local_paths(tmp_path, capsys):
    show = (
        'import sys, pandas\nprint("half way", file=sys.stderr)\n'
        'print("the plan", number, many, extra)'
    )
    source = write(tmp_path, show, f'"{paths.ROOT}/results"', 'pandas.DataFrame({"secret": [1]})')
    out = tmp_path / "out"
    out.mkdir()
    (out / "tiny.failed.ipynb").write_text("of an earlier run")
    made = notebooks.run_notebook(source, {"number": 2, "extra": {"beta": 1.5}}, out)
    printed = capsys.readouterr()
    assert "half way" in printed.err
    assert "the plan 2.0 3 {'beta': 1.5}" in printed.out
    assert "secret" not in printed.out + printed.err
    assert [path.name for path in out.iterdir()] == ["tiny.ipynb"]
    notebook = nbformat.read(made, as_version=4)
    assert notebook.cells[-1].outputs[0]["output_type"] == "execute_result"
    assert not {"input_path", "output_path"} & set(notebook.metadata.papermill)
    assert str(paths.ROOT) not in json.dumps(notebook)
    assert str(tmp_path) not in json.dumps(notebook)


def test_errors_of_the_package_keep_type_and_message(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "tiny.ipynb").write_text("of an earlier run")
    code = (
        "from repro.errors import MissingError\nraise MissingError('no cell x; run: make table2')"
    )
    with pytest.raises(MissingError, match=r"^no cell x; run: make table2$"):
        notebooks.run_notebook(write(tmp_path, code), {}, out)
    assert (out / "tiny.ipynb").read_text() == "of an earlier run"
    assert [path.name for path in out.iterdir()] == ["tiny.ipynb"]


def test_other_errors_become_one_line(tmp_path):
    with pytest.raises(
        ReproError, match=r"^tiny.ipynb stopped with ZeroDivisionError: .*zero; see tiny.failed"
    ):
        notebooks.run_notebook(write(tmp_path, "1 / 0"), {}, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["tiny.failed.ipynb"]
    assert "ZeroDivisionError" in (tmp_path / "out" / "tiny.failed.ipynb").read_text()


def test_a_dead_kernel_leaves_no_result(tmp_path):
    with pytest.raises(ReproError, match=r"tiny\.ipynb stopped with DeadKernelError"):
        notebooks.run_notebook(write(tmp_path, "import os\nos._exit(9)"), {}, tmp_path / "out")
    assert not (tmp_path / "out" / "tiny.ipynb").exists()


# the lint


@pytest.mark.parametrize(
    "path", sorted(paths.NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem
)
def test_notebooks_pass_the_lint(path):
    assert problems(path) == []


@pytest.mark.parametrize(
    ("code", "parameters", "word"),
    [
        (["def helper():\n    pass"], PARAMETERS, "FunctionDef"),
        (["class Helper:\n    pass"], PARAMETERS, "ClassDef"),
        (["key = lambda row: row"], PARAMETERS, "Lambda"),
        (["pass"] * 22, PARAMETERS, "23 cells"),
        (['open("/data/rte.tsv")'], PARAMETERS, "absolute path"),
        ([], "number = 1.0", "annotated"),
        ([], "number: float = 1.0\nhalf: float = number / 2", "half is not a literal"),
        ([], "number: float = 1.0  # e.g. number=2", "papermill cannot read parameter number"),
    ],
)
def test_the_lint_finds(tmp_path, code, parameters, word):
    assert [
        problem
        for problem in problems(write(tmp_path, *code, parameters=parameters))
        if word in problem
    ]


def test_the_lint_finds_outputs_and_missing_parameters(tmp_path):
    path = write(tmp_path, "1")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[0].metadata.tags = []
    notebook.cells[1].execution_count = 1
    nbformat.write(notebook, path)
    assert problems(path) == [
        "committed with outputs or execution counts",
        "0 cells tagged parameters, 1 is needed",
    ]


# notebooks through the command line


BUDGET = {
    "train_cap": 48,
    "dev_cap": 32,
    "teacher.epochs": 1,
    "ptp.epochs": 1,
    "ptp.stop_epoch": 0,
    "student.epochs": 1,
}
CHANGES = [word for setting, value in BUDGET.items() for word in ("--set", f"{setting}={value}")]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """One cache for all tables, which share teachers and students."""
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("name", TABLES)
def test_a_table_notebook_writes_its_csv(repro, own_folders, monkeypatch, cache, name):
    monkeypatch.setenv("REPRO_CACHE", str(cache))
    code, out, err = repro("table", name, "--tasks", "RTE", "--engine", "serial", *CHANGES)
    assert code == 0, err
    variant = experiments.variant("authors", BUDGET)
    frame = tables.read_table(name, "demo", variant)
    assert set(frame["task"]) == {"mini-RTE", "Avg"}
    assert text.to_text(frame) in out
    assert "cells" in out
    assert "100%" in err
    folder = own_folders / "results" / "demo"
    made = {name, TABLES[name].comparisons, TABLES[name].costs} - {""}
    made |= {"thresholds"} if name == "table1" else set()
    assert {path.name for path in folder.glob("*.csv")} == {f"{n}.{variant}.csv" for n in made}
    executed = nbformat.read(folder / "notebooks" / f"{name}.{variant}.ipynb", as_version=4)
    summary = executed.cells[-1].outputs[-1]["data"]["text/markdown"]
    first = frame[frame["mean"].notna()].iloc[0]
    assert f"{first['mean']:.1f}" in summary
    if TABLES[name].costs:
        costs_are_verified(folder / f"{TABLES[name].costs}.{variant}.csv")


def costs_are_verified(path):
    """What results say of costs is derived again; what was measured needs only to be there."""
    assert verification.check_table(path, set()) == []
    frame = pd.read_csv(path)
    frame.assign(latency_ms=1.0).to_csv(path, index=False)
    assert verification.check_table(path, set()) == []
    frame.assign(parameters=frame["parameters"] + 1).to_csv(path, index=False)
    findings = verification.check_table(path, set())
    assert len(findings) == len(frame)
    assert ", column parameters: stored " in findings[0]
    frame.drop(columns="latency_ms").to_csv(path, index=False)
    (finding,) = verification.check_table(path, set())
    assert finding.endswith("column latency_ms is missing")


def test_a_table_as_json_is_one_document(repro, own_folders, monkeypatch, cache):
    monkeypatch.setenv("REPRO_CACHE", str(cache))
    run = ("table", "table4", "--tasks", "RTE", "--engine", "serial", *CHANGES, "--json")
    code, out, err = repro(*run)
    assert code == 0, err
    said = json.loads(out)
    frame = tables.read_table("table4", "demo", experiments.variant("authors", BUDGET))
    assert [(row["method"], row["mean"]) for row in said["rows"]] == [
        *frame[["method", "mean"]].itertuples(index=False, name=None)
    ]
    assert {row["against"] for row in said["comparisons"]} == {"SPS-1", "BERT3"}
    assert said["published"] is None
    assert "3 cells" in err  # what the notebook prints


def test_claims_and_the_document_of_the_textbook_recipe(repro, own_folders):
    cells = finished("table4", "", 2, rows=30, recipe="textbook")
    for name, frame in (
        ("table4", tables.aggregate(cells)),
        ("comparisons4", comparisons.of(cells)),
    ):
        tables.write_table(name, "demo", frame, cells, "textbook")
    code, out, err = repro("claims", "--recipe", "textbook")
    assert code == 0, err
    ledger = tables.read_table("ledger", "demo", "textbook").set_index("id")
    assert ledger["seeds"]["sps1-average"] == 2 and "ledger.textbook.csv" in out
    assert "make table2 PROFILE=demo RECIPE=textbook" in ledger["reason"]["gain-1-qnli"]
    code, out, err = repro("report", "--tables", "4", "--recipe", "textbook")
    assert code == 0, err
    written = {path.name for path in (own_folders / "figures/demo/textbook").iterdir()}
    assert {"table4.tex", "table4.pdf", "ledger.tex", "paper.tex"} <= written
    assert "recipe textbook" in (own_folders / "figures/demo/textbook/paper.tex").read_text()
    code, out, _ = repro("claims")
    assert code == 2  # there are no tables of the authors' recipe


def test_the_ptp_notebook_writes_its_csvs_and_figures(repro, own_folders, monkeypatch, cache):
    monkeypatch.setenv("REPRO_CACHE", str(cache))
    code, out, err = repro("ptp", "--tasks", "RTE", "--seeds", "2", "--engine", "serial", *CHANGES)
    assert code == 0, err
    variant = experiments.variant("authors", BUDGET)
    names = ("ptp_labels", "ptp_difficulty", "ptp_agreement")
    shares, difficulty, agreement = (tables.read_table(name, "demo", variant) for name in names)
    assert set(shares["seed"]) == {0, 1} and set(agreement["pairs"]) <= {0, 1}
    assert difficulty["count"].tolist()[-1] == 32 == difficulty["count"].iloc[:-1].sum()
    assert all(label in out for label in difficulty["label"])
    written = {path.name for path in (own_folders / "figures" / "demo").iterdir()}
    assert written == {f"{name}.{variant}.{kind}" for name in names[:2] for kind in ("pdf", "png")}
    executed = nbformat.read(
        own_folders / "results" / "demo" / "notebooks" / f"ptp.{variant}.ipynb", as_version=4
    )
    summary = executed.cells[-1].outputs[0]["data"]["text/markdown"]
    kappa = agreement[agreement["label"] == "all"].iloc[0]["kappa"]
    assert f"kappa {kappa:.2f}" in summary
