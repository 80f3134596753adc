"""The documents agree with the project: commands, paths, pins, quoted numbers, decisions."""

import ast
import importlib.util
import os
import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import fields
from importlib.metadata import PackageNotFoundError, packages_distributions, version

import pandas as pd
import pytest
import typer.main
import yaml

from repro import cli
from repro.config.profiles import PROFILES, Setting
from repro.config.tables import TABLES
from repro.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / "docs").rglob("*.md")
    if "_build" not in path.parts
)
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "REPRODUCIBILITY.md", *PAGES)
README_WORDS = 900  # at most, as `wc -w` counts them
MAKEFILE = (ROOT / "Makefile").read_text()
README = (ROOT / "README.md").read_text()


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
    """The commands in a document's shell blocks and inline code, without leading assignments."""
    text = (ROOT / document).read_text()
    lines = [
        line
        for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
        for line in block.replace("\\\n", " ").splitlines()
    ]
    lines += re.findall(
        r"`((?:[A-Z_]+=\S+ )*(?:make|python -m repro|\.venv/bin/python -m repro) [^`…]+)`", text
    )
    words = [
        [word for word in shlex.split(line, comments=True) if not re.match(r"[A-Z_]+=", word)]
        for line in lines
    ]
    return [command for command in words if command]


def targets():
    """The targets that a user can give to make."""
    declared_targets = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE).group(1)
    names = declared_targets.replace("$(NUMBERS:%=table%)", " ".join(TABLES)).split()
    return set(names)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_documents_commands_exist(document):
    known = typer.main.get_command(cli.app).commands
    for words in commands(document):
        if words[0] == "make":
            assert set(words[1:]) <= targets(), words
        else:
            assert words[0] in ("python", ".venv/bin/python"), words
            options = {option for parameter in known[words[3]].params for option in parameter.opts}
            assert {word for word in words if word.startswith("--")} <= options, words


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_documents_paths_exist(document):
    text = re.sub(r"```.*?```", "", (ROOT / document).read_text(), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    folders = "repro|notebooks|tests|benchmarks|deploy|\\.ci"
    paths = re.findall(rf"`((?:{folders})/[\w./-]*)`", text)
    paths += re.findall(r"`([\w-]+\.(?:md|toml|yml|cff))`", text)
    assert links or paths
    assert [link for link in links if not ((ROOT / document).parent / link).exists()] == []
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_documents_anchors_exist(document):
    text = (ROOT / document).read_text()
    for page, anchor in re.findall(r"\]\(([^)#:]*)#([^)]*)\)", text):
        headings = re.findall(
            r"^#+ (.*)$", ((ROOT / document).parent / page).read_text(), re.MULTILINE
        )
        anchors = [re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in headings]
        assert anchor in anchors, anchor


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().split()) <= README_WORDS


def test_the_readme_starts_with_its_two_commands():
    first, second = commands("README.md")[:2]
    assert (first, second) == (["make", "table2"], ["make", "test"])


def test_the_settings_in_the_readme_have_the_makefile_s_defaults():
    shown = dict(re.findall(r"^\| `([A-Z]+)` \|.*\| `(\w+)` \|$", README, re.MULTILINE))
    defaults = dict(re.findall(r"^([A-Z]+) \?= (\w+)$", MAKEFILE, re.MULTILINE))
    assert shown.keys() >= {"PROFILE", "RECIPE", "ENGINE"}
    assert shown.items() <= defaults.items()


def test_every_target_is_documented():
    named = {word for words in commands("docs/tables.md") for word in words[1:]}
    assert targets() - named == set()


def test_ci_runs_what_the_contributing_guide_says():
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    run = [line.split() for line in lines if line.startswith("make")]
    assert run == [["make", "lint"], ["make", "test"]]
    documented = commands("CONTRIBUTING.md")
    assert all(words in documented for words in run)
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


# numbers and decisions


def quoted():
    """docs/quoted.py, which makes what the documents quote."""
    sys.path.append(str(ROOT / "docs"))  # as for `python docs/quoted.py`
    spec = importlib.util.spec_from_file_location("quoted", ROOT / "docs" / "quoted.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


QUOTED = quoted()


@pytest.mark.parametrize(("document", "name"), QUOTED.BLOCKS, ids=" ".join)
def test_the_quoted_numbers_are_those_of_the_files(document, name, monkeypatch):
    monkeypatch.delenv("REPRO_RESULTS")  # the published results are in the checkout
    assert QUOTED.marked(document, name) == QUOTED.BLOCKS[document, name](), (
        "run python docs/quoted.py"
    )


def test_every_marked_block_is_made_from_a_file():
    marks = {
        (document, name)
        for document in DOCUMENTS
        for name in re.findall(r"<!-- (?!end )(\w+) -->", (ROOT / document).read_text())
    }
    assert marks == QUOTED.BLOCKS.keys()


def test_a_block_that_is_out_of_date_is_rewritten(tmp_path, monkeypatch, capsys):
    (tmp_path / "page.md").write_text("before\n<!-- one -->\nold\nlines\n<!-- end -->\nafter\n")
    monkeypatch.setattr(QUOTED, "ROOT", tmp_path)
    monkeypatch.setattr(QUOTED, "BLOCKS", {("page.md", "one"): lambda: "new"})
    QUOTED.main()
    QUOTED.main()
    assert capsys.readouterr().out == "page.md: one\n"
    text = "before\n<!-- one -->\nnew\n<!-- end -->\nafter\n"
    assert (tmp_path / "page.md").read_text() == text


def test_the_quoted_memory_and_minutes_are_those_measured():
    report = QUOTED.benchmark("tables")
    memory = f"Memory: {report['peak memory GiB']:.1f} GiB at most."
    assert memory in (ROOT / "docs" / "tables.md").read_text()
    minutes = f"{report['seconds']['table2, empty cache'] / 60:.0f} minutes"
    assert f"`make table2` takes about {minutes}" in " ".join(README.split())


def test_the_demo_claims_nothing_about_tasks_that_failed_their_gate():
    gates = pd.read_csv(QUOTED.MEASURED / "gates.csv")
    failed = gates[gates["gate"].str.contains("range over depths") & ~gates["passed"]]
    assert {*PROFILES["demo"].failed_gates} == {gate.rpartition("-")[2] for gate in failed["gate"]}


def test_the_described_settings_exist_with_these_defaults():
    page = (ROOT / "docs" / "change-a-parameter.md").read_text()
    rows = dict(re.findall(r"^\| (`[^|]*`) \| ([^|]*) \|", page, re.MULTILINE))
    named = {name for cell in rows for name in re.findall(r"`(\w+)[.`]", cell)}
    assert named == {field.name for field in fields(Setting)} - {"teacher"}
    defaults = {field.name: field.default for field in fields(Setting)}
    for name in ("alpha", "temperature", "beta", "max_length", "evaluations_per_epoch"):
        assert re.match(r"[\d.]+", rows[f"`{name}`"])[0] == f"{defaults[name]:g}", name


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


def test_the_number_of_workers_reaches_every_command_that_trains():
    for target in ("table2", "tables", "sweep", "decisions", "ptp"):
        assert '--workers "${WORKERS:-0}"' in dry(target), target


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout")
def test_git_changes_no_line_ends():
    files = [
        "deploy/tables.sh",
        "results/published/cpu/table2.csv",
        "repro/data/mini/encoder/vocab.json",
    ]
    done = subprocess.run(
        ["git", "check-attr", "text", "--", *files], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.count(": text: unset") == len(files)


def test_each_target_sets_up_what_it_needs():
    assert "[dev]" in dry("test")
    assert "[dev]" in dry("lint")
    assert "[lab]" in dry("lab")
    assert "[docs]" in dry("docs")
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
