"""The documents agree with the project: commands, paths, pins, quoted numbers, decisions."""

import ast
import importlib.util
import json
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
from repro.analysis import arithmetic
from repro.analysis import published as of_published
from repro.config import recipe
from repro.config.profiles import PROFILES, Setting
from repro.config.tables import TABLES
from repro.paths import ROOT
from repro.report import text

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
        for line in block.splitlines()
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


def marked(name, document="README.md"):
    """The text between two marks of a document."""
    text = (ROOT / document).read_text()
    return text.partition(f"<!-- {name} -->\n")[2].partition("\n<!-- end -->")[0]


def markdown(head, rows):
    """A Markdown table."""
    lines = [f"| {' | '.join(line)} |".replace("|  |", "| |") for line in (head, *rows)]
    return "\n".join([lines[0], f"|{'---|' * len(head)}", *lines[1:]])


def measured(name):
    """A committed report of benchmarks/."""
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())


def test_the_sums_that_do_not_add_up_are_those_of_the_code():
    assert marked("sums", "REPRODUCIBILITY.md") == arithmetic.markdown(), (
        "put the output of repro.analysis.arithmetic.markdown() between the two marks"
    )


def test_the_decisions_are_those_of_the_code():
    assert marked("decisions", "REPRODUCIBILITY.md") == recipe.markdown(), (
        "put the output of python -m repro decisions between the two marks"
    )


@pytest.mark.parametrize(
    ("document", "mark", "name"),
    [
        ("docs/tables.md", "costs", "tables"),
        ("docs/tables.md", "speed", "speed"),
        ("docs/benchmarks.md", "grid", "grid"),
    ],
)
def test_the_quoted_costs_are_those_measured(monkeypatch, document, mark, name):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert marked(mark, document) == module.markdown(measured(name))


def test_the_quoted_memory_and_minutes_are_those_measured():
    report = measured("tables")
    memory = f"Memory: {report['peak memory GiB']:.1f} GiB at most."
    assert memory in (ROOT / "docs" / "tables.md").read_text()
    minutes = f"{report['seconds']['table2, empty cache'] / 60:.0f} minutes"
    assert f"`make table2` takes about {minutes}" in " ".join(README.split())


def test_the_quoted_techniques_are_those_measured():
    rows = re.findall(
        r"^\| `(.*)` \| ([\d.]+) \| ([\d.]+) \|",
        marked("means", "docs/benchmarks.md"),
        re.MULTILINE,
    )
    means = measured("speed")["means, times faster"]
    assert rows == [
        (name, f"{value['MRPC']:.2f}", f"{value['SST-2']:.2f}") for name, value in means.items()
    ]


def test_the_quoted_precision_is_that_measured():
    points = measured("precision")["points"]
    rows = [
        [
            point["method"],
            point["task"],
            f"{point['bfloat16 - float32']:+.1f}",
            f"{point['low']:+.1f} to {point['high']:+.1f}",
            f"{point['same answer']:.0%}",
        ]
        for point in points
    ]
    head = ["method", "task", "difference", "95 % interval", "same answer"]
    assert marked("precision", "docs/benchmarks.md") == markdown(head, rows)
    assert all(point["low"] < 0 < point["high"] for point in points)


def test_the_quoted_gates_are_the_measured_ones():
    measured_gates = pd.read_csv(ROOT / "benchmarks" / "results" / "gates.csv")
    rows = []
    for gate in measured_gates.to_dict("records"):
        interval = "" if pd.isna(gate["low"]) else f" [{gate['low']:+.1f}, {gate['high']:+.1f}]"
        value = f"{gate['value']:.1f}{interval}"
        rows.append([gate["gate"], value, f"{gate['needed']:g}", "yes" if gate["passed"] else "no"])
    head = ["gate", "measured", "bound", "passed"]
    failed = {
        gate.rpartition("-")[2]
        for gate, passed in zip(measured_gates["gate"], measured_gates["passed"], strict=True)
        if "range over depths" in gate and not passed
    }
    assert {*PROFILES["demo"].cannot_tell} == failed
    assert marked("gates", "docs/calibration.md") == markdown(head, rows)


def test_the_described_settings_exist_with_these_defaults():
    page = (ROOT / "docs" / "change-a-parameter.md").read_text()
    rows = dict(re.findall(r"^\| (`[^|]*`) \| ([^|]*) \|", page, re.MULTILINE))
    named = {name for cell in rows for name in re.findall(r"`(\w+)[.`]", cell)}
    assert named == {field.name for field in fields(Setting)} - {"teacher"}
    defaults = {field.name: field.default for field in fields(Setting)}
    for name in ("alpha", "temperature", "beta", "max_length", "evaluations_per_epoch"):
        assert re.match(r"[\d.]+", rows[f"`{name}`"])[0] == f"{defaults[name]:g}", name


def published(name, profile, variant=""):
    """A published table; a document that quotes it is not checked while nothing is published."""
    frame = of_published.read_table(name, profile, variant)
    if frame is None:
        pytest.skip(f"{name} ({variant or 'authors'}) of profile {profile} is not published yet")
    return frame


@pytest.mark.parametrize(
    ("name", "variant", "mark", "page"),
    [
        ("table2", "", "table2", "README.md"),
        ("comparisons2", "textbook", "results", "README.md"),
        ("comparisons5", "textbook", "comparisons", "docs/results.md"),
        ("ledger", "textbook", "verdicts", "docs/tables.md"),
        ("decisions", "", "flips", "docs/tables.md"),
    ],
)
def test_no_page_shows_numbers_that_are_not_published(name, variant, mark, page):
    absent = of_published.read_table(name, "demo", variant) is None
    assert (marked(mark, page) == "No results are published yet.") == absent


def test_the_readme_s_table_is_part_of_the_published_one():
    printed = text.to_text(published("table2", "demo")).splitlines()
    quoted = marked("table2").removeprefix("```text\n").removesuffix("\n```").splitlines()
    assert quoted[0] == printed[0]
    assert [line for line in quoted if line not in printed] == []


def test_the_readme_s_results_are_the_published_ones():
    pairs = [
        (2, "PeaBERT1", "BERT1-PatientKD"),
        (2, "PeaBERT2", "BERT2-PatientKD"),
        (2, "PeaBERT3", "BERT3-PatientKD"),
        (4, "SPS-2", "BERT3"),
        (5, "BERT3+SPS+PTP", "BERT3+SPS"),
    ]
    rows = []
    for number, method, against in pairs:
        frame = published(f"comparisons{number}", "demo", "textbook")
        keys = (frame["method"], frame["against"], frame["task"])
        (pair,) = frame[(keys[0] == method) & (keys[1] == against) & (keys[2] == "Avg")].to_dict(
            "records"
        )
        interval = f"{pair['ci_low']:+.1f} to {pair['ci_high']:+.1f}"
        values = [f"{pair['difference']:+.1f}", interval, f"{pair['paper']:+.1f}"]
        rows.append([f"{method} vs {against}", *values])
    assert marked("results") == markdown(["", "ours", "95 % interval", "paper"], rows)


def test_the_quoted_comparisons_are_the_published_ones():
    rows = []
    for number in (2, 4, 5):
        frame = published(f"comparisons{number}", "demo", "textbook")
        for pair in frame[frame["task"] == "Avg"].to_dict("records"):
            name = f"{pair['method']} vs {pair['against']}"
            name += " [ours]" if pair["compared_by"] == "us" else ""
            interval = f"{pair['ci_low']:+.1f} to {pair['ci_high']:+.1f}"
            printed = "" if pd.isna(pair["paper"]) else f"{pair['paper']:+.1f}"
            values = [f"{pair['difference']:+.1f}", interval, pair["verdict"], printed]
            rows.append([f"Table {number}: {name}", *values])
    head = ["", "ours", "95 % interval", "verdict", "paper, on GLUE"]
    assert marked("comparisons", "docs/results.md") == markdown(head, rows)


def test_the_quoted_verdicts_are_the_published_ones():
    counts = published("ledger", "demo", "textbook")["direction"].value_counts()
    rows = [[verdict, str(count)] for verdict, count in counts.items()]
    assert marked("verdicts", "docs/tables.md") == markdown(["verdict", "claims"], rows)


def test_the_quoted_effects_of_the_decisions_are_the_published_ones():
    frame = published("decisions", "demo")
    average = frame[frame["task"] == "Avg"]
    flips = average[average["acts"] == "yes"]
    (default,) = average[average["option"] == "none"]["difference"]
    values = {
        "with the `authors` recipe": default,
        f"lowest of {len(flips)} changes": flips["difference"].min(),
        f"highest of {len(flips)} changes": flips["difference"].max(),
    }
    rows = [[name, f"{value:+.1f}"] for name, value in values.items()]
    head = ["PeaBERT3 vs BERT3-PatientKD", "points"]
    assert marked("flips", "docs/tables.md") == markdown(head, rows)


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
