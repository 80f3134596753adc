"""What the project says about itself is so: commands, paths, pins, layers, decisions."""

import ast
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, version

import pytest
import typer.main
import yaml

from repro import cli
from repro.analysis import tables
from repro.config import recipe
from repro.paths import ROOT
from repro.report import sentences, text

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "REPRODUCIBILITY.md", "docs/cluster.md")
MAKEFILE = (ROOT / "Makefile").read_text()


def plain(name):
    """A package's name in its one canonical spelling."""
    return re.sub(r"[-_.]+", "-", name).lower()


def declared():
    groups = (
        PROJECT["project"]["dependencies"],
        *PROJECT["project"]["optional-dependencies"].values(),
    )
    return {plain(name) for group in groups for name in group}


def pins(lines):
    return {plain(name): pin for name, _, pin in (line.partition("==") for line in lines) if pin}


CONSTRAINTS = pins((ROOT / "constraints.txt").read_text().splitlines())


def commands(document):
    """Every command in the document's shell blocks and its inline code, without leading assignments."""
    text = (ROOT / document).read_text()
    lines = [
        line
        for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
        for line in block.splitlines()
    ]
    lines += re.findall(r"`((?:make|python -m repro|\.venv/bin/python -m repro) [^`…]+)`", text)
    found = [
        [word for word in shlex.split(line, comments=True) if not re.match(r"[A-Z_]+=", word)]
        for line in lines
    ]
    return [words for words in found if words]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_documents_commands_exist(document):
    targets = {f"table{n}" for n in range(1, 6)} | set(
        re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE)
    )
    known = typer.main.get_command(cli.app).commands
    for words in commands(document):
        if words[0] == "make":
            assert set(words[1:]) <= targets, words
        else:
            assert words[0] in ("python", ".venv/bin/python"), words
            options = {option for parameter in known[words[3]].params for option in parameter.opts}
            assert {word for word in words if word.startswith("--")} <= options, words


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_documents_paths_exist(document):
    text = re.sub(r"```.*?```", "", (ROOT / document).read_text(), flags=re.DOTALL)
    named = re.findall(r"\]\(([^)#:]+)\)", text)
    named += re.findall(r"`((?:repro|notebooks|tests|benchmarks|\.ci)/[\w./-]*)`", text)
    named += re.findall(r"`([\w-]+\.(?:md|toml|txt|yml|cff))`", text)
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_readme_opens_with_its_two_commands():
    assert [words[:2] for words in commands("README.md")[:2]] == [
        ["make", "table2"],
        ["make", "test"],
    ]


def test_ci_runs_only_what_the_readme_says():
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    run = [line.split() for line in lines if line.startswith("make")]
    assert run == [["make", "lint"], ["make", "test"]]
    assert all(words in commands("README.md") for words in run)
    assert "set -euo pipefail" in lines
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


# packages


def test_every_dependency_is_pinned_and_explained():
    said = (ROOT / "CONTRIBUTING.md").read_text()
    explained = {plain(name) for name in re.findall(r"^\| `([\w-]+)` \|", said, re.MULTILINE)}
    assert declared() <= CONSTRAINTS.keys()
    assert explained >= declared()


def test_conda_gets_the_same():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (lines,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert "python=3.11" in environment["dependencies"]
    assert {"--constraint constraints.txt", "--editable ."} <= set(lines)
    assert pins(lines) == {name: CONSTRAINTS[name] for name in declared()}


def test_what_is_installed_is_what_is_pinned():
    def installed(name):
        try:
            return version(name).partition("+")[0]  # without a build's own label, such as +cpu
        except PackageNotFoundError:
            return None  # of an extra that is not installed

    assert {
        n: (installed(n), pin) for n, pin in CONSTRAINTS.items() if installed(n) not in (None, pin)
    } == {}


def test_every_import_is_declared():
    owners = packages_distributions()
    for path in sorted((ROOT / "repro").rglob("*.py")):
        tree = ast.walk(ast.parse(path.read_text()))
        names = [a.name for node in tree if isinstance(node, ast.Import) for a in node.names]
        tree = ast.walk(ast.parse(path.read_text()))
        names += [node.module for node in tree if isinstance(node, ast.ImportFrom) and node.module]
        for name in (
            {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"repro"}
        ):
            assert {plain(owner) for owner in owners.get(name, [name])} & declared(), (
                f"{path.name} imports {name}"
            )


# layers and decisions


def test_the_decisions_are_those_of_the_code():
    found = marked("decisions", "REPRODUCIBILITY.md")
    assert found == recipe.markdown(), (
        "put the output of python -m repro decisions between the two marks"
    )


def marked(name, document="README.md"):
    """What stands between two marks of a document."""
    return (
        (ROOT / document)
        .read_text()
        .partition(f"<!-- {name} -->\n")[2]
        .partition("\n<!-- end -->")[0]
    )


def benchmark(name):
    """A module of benchmarks/ and its committed report."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())


@pytest.mark.parametrize(
    ("document", "mark", "name"),
    [
        ("README.md", "costs", "tables"),
        ("README.md", "speed", "speed"),
        ("docs/cluster.md", "grid", "grid"),
    ],
)
def test_the_costs_that_are_told_are_those_measured(monkeypatch, document, mark, name):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    module, report = benchmark(name)
    assert marked(mark, document) == module.markdown(report)


def test_the_readme_s_memory_is_that_measured():
    _, report = benchmark("tables")
    assert (
        f"Memory: {report['peak memory GiB']:.1f} GiB at most." in (ROOT / "README.md").read_text()
    )


@pytest.mark.usefixtures("committed_results")
def test_the_readme_s_table_is_the_committed_one():
    table = text.to_text(tables.read_table("table2", "demo"))
    assert marked("table2") == f"```text\n{table}```", (
        "put the output of python -m repro show table2 there"
    )


@pytest.mark.usefixtures("committed_results")
def test_the_readme_s_differences_are_the_committed_ones():
    pairs = [tables.read_table(f"comparisons{number}", "demo") for number in (2, 4, 5)]
    said = [f"- {line}" for frame in pairs for line in sentences.differences(frame)]
    shown = marked("gains").splitlines()
    assert len(shown) == 5 and set(shown) <= set(said)
    tuned = [
        f"- {line}"
        for line in sentences.differences(tables.read_table("comparisons2", "demo", "tuned"))
    ]
    assert marked("tuned").splitlines() == tuned[:3]
    assert sentences.claims(tables.read_table("ledger", "demo")) == marked("claims")
    assert sentences.decisions(tables.read_table("decisions", "demo")) == marked("flips")


# make


def dry(*words):
    """What make would run, had nothing been made yet."""
    quiet = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))
    }
    done = subprocess.run(
        ["make", "-nB", *words], cwd=ROOT, env=quiet, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.parametrize(
    ("profile", "packages"), [("demo", []), ("cpu", ["minilm"]), ("base", ["mpnet"]), ("paper", [])]
)
def test_a_profile_brings_its_encoder(profile, packages):
    said = dry("table2", f"PROFILE={profile}")
    assert re.findall(r"repro packages (\w+)", said) == packages
    assert "repro table table2 --profile" in said


def test_each_target_sets_up_what_it_needs():
    assert "[dev]" in dry("test")
    assert "[dev]" in dry("lint")
    assert "[lab]" in dry("lab")
    assert "[ray]" in dry("ray")
    assert "[ray]" in dry("table2", "ENGINE=ray")
    assert not {"[dev]", "[ray]"} & set(re.findall(r"\[\w+\]", dry("table2")))
    assert [n for n in range(1, 6) if f"table table{n} " not in dry(f"table{n}")] == []


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout")
def test_no_file_names_a_machine_or_a_registry():
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    words = re.compile(r"/[w]ork/|/[h]ome/\w|/[r]oot/|[p]ypi\.org|[p]ythonhosted")
    kinds = (
        "Makefile",
        ".py",
        ".md",
        ".toml",
        ".txt",
        ".yml",
        ".yaml",
        ".sbatch",
        ".ipynb",
        ".json",
        "run",
    )
    texts = [ROOT / name for name in listed if name.endswith(kinds) and (ROOT / name).is_file()]
    assert [path.name for path in texts if words.search(path.read_text(encoding="utf-8"))] == []
