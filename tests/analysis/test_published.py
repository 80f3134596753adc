"""Publishing a run, verifying what is published, and comparing runs with it."""

import json
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from synthetic import finish, finished, noisy
from tiny_cells import BUDGET

from repro import paths
from repro.analysis import publish as publishing
from repro.analysis import published, sidecar, tables
from repro.analysis.verification import MAKERS
from repro.config.cells import plan
from repro.config.profiles import PROFILES
from repro.errors import DiskError, InputError
from repro.report.beside_published import beside_published
from repro.runs import results as files

COMMIT = "0123456789ab"


def make(name, tasks="RTE", seeds=3, rows=40, **options):
    """The CSVs of a synthetic table, whose cells say that they are of a commit."""
    cells = finished(name, tasks, seeds, rows, **options)
    for cell in cells:
        edit(cell, commit=COMMIT)
    write(name, cells)
    return cells


def write(name, cells):
    for kind in [name, *(other for other, target in tables.DERIVED.items() if target == name)]:
        tables.write_table(kind, "demo", MAKERS[kind].make(cells), cells)


def edit(cell, **changes):
    row = files.read(cell) | changes
    files.path(cell).write_text(json.dumps(files.sealed(row), indent=1, sort_keys=True) + "\n")


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*")}


@pytest.fixture
def run(own_folders):
    """A synthetic run of Table 4 on one task with three seeds."""
    make("table4")
    return own_folders / "results" / "demo"


def test_what_is_published_is_verified_without_the_run(run, repro):
    figures = paths.figures("demo")
    figures.mkdir(parents=True)
    (figures / "paper.tex").write_text("a document")
    (figures / "notes.txt").write_text("not published")
    (figures / "textbook").mkdir()
    (figures / "textbook" / "paper.tex").write_text("another")
    assert publishing.publish("demo")[0].startswith("published: 2 tables and 9 cells, ")
    folder = paths.published_results() / "demo"
    assert {path.name for path in folder.iterdir()} == {
        "cells",
        "predictions.parquet",
        *(f"{name}4.{end}" for name in ("table", "comparisons") for end in ("csv", "run.json")),
    }
    drawn = paths.published_figures() / "demo"
    assert {path.relative_to(drawn).as_posix() for path in drawn.rglob("*.*")} == {
        "paper.tex",
        "textbook/paper.tex",
    }
    shutil.rmtree(run)
    code, out, _ = repro("verify", "--published")
    assert code == 0
    note, summary = out.splitlines()
    assert note.startswith(f"note: made by other code: commit {COMMIT}; this is ")
    assert summary == "profile demo: 9 cells, 9 prediction files, 2 tables: all agree"
    code, out, _ = repro("explain", str(folder / "table4.csv:SPS-2:RTE"))
    assert code == 0
    assert "verified: the table agrees with its 9 cells" in out


@pytest.mark.parametrize(("profile", "whole"), [("demo", True), ("cpu", False)])
def test_models_are_published_whole_only_for_the_demo(tmp_path, profile, whole):
    models = tmp_path / profile / "models"
    (models / "rte-peabert3").mkdir(parents=True)
    (models / "models.csv").write_text("model,sha256")
    (models / "rte-peabert3" / "model.safetensors").write_bytes(b"weights")
    target = tmp_path / "published"
    target.mkdir()
    publishing._fill(target, tmp_path / profile, {}, [])
    assert (target / "models" / "models.csv").read_text() == "model,sha256"
    assert (target / "models" / "rte-peabert3" / "model.safetensors").exists() == whole


def test_predictions_that_cells_share_are_stored_once(run):
    one, other = plan("table4", "demo", "RTE", 3)[:2]
    shutil.copyfile(files.predictions_path(one), files.predictions_path(other))
    target = run.parent / "published.parquet"
    publishing._pack([files.predictions_path(cell) for cell in (one, other)], target)
    assert len(pd.read_parquet(target)) == len(files.predictions(one)) == 40
    by_id = files.packed(target.with_suffix(""))
    assert by_id.keys() == {one.id, other.id}
    for cell in (one, other):
        pd.testing.assert_frame_equal(by_id[cell.id], files.predictions(cell))


def test_a_changed_published_prediction_is_found(run, repro):
    publishing.publish("demo")
    packed = paths.published_results() / "demo" / "predictions.parquet"
    frame = pd.read_parquet(packed)
    frame.loc[0, "logit_0"] += 1e-3
    frame.to_parquet(packed, index=False)
    code, out, _ = repro("verify", "--published")
    assert code == 1
    assert "its labels and logits have SHA-256" in out


def test_a_published_table_without_its_cells_is_a_failure(run, repro):
    publishing.publish("demo")
    shutil.rmtree(paths.published_results() / "demo" / "cells")
    code, out, _ = repro("verify", "--published")
    assert code == 1
    assert "table4.csv: cannot be verified, its 9 cells are not here" in out


def test_nothing_published_is_one_line(own_folders, repro):
    code, _, err = repro("verify", "--published", "--profile", "cpu")
    assert code == 2
    assert re.fullmatch(r"error: no published results for profile cpu in .*PROFILE=cpu\n", err)


@pytest.mark.parametrize(
    ("tasks", "seeds", "words"),
    [
        ("RTE", 2, "has 3 seeds on mini-RTE, this run has 2 seeds on mini-RTE"),
        ("MRPC", 3, "has 3 seeds on mini-RTE, this run has 3 seeds on mini-MRPC"),
    ],
)
def test_a_smaller_run_replaces_what_is_published_only_on_request(run, repro, tasks, seeds, words):
    publishing.publish("demo")
    before = content(paths.published_results())
    shutil.rmtree(run)
    make("table4", tasks, seeds)
    code, _, err = repro("publish")
    assert (code, err.count("\n")) == (2, 1)
    assert words in err
    assert content(paths.published_results()) == before
    assert repro("publish", "--replace")[0] == 0
    assert published.read_table("table4", "demo")["seeds"].max() == seeds


def test_a_missing_table_is_dropped_only_on_request(run):
    make("table5")
    publishing.publish("demo")
    for path in run.glob("*5*"):
        path.unlink()
    with pytest.raises(InputError, match=r"comparisons5\.csv has 3 seeds .*, this run has none"):
        publishing.publish("demo")
    publishing.publish("demo", replace=True)
    assert published.read_table("table5", "demo") is None


@pytest.mark.parametrize("commit", ["", "unknown", f"{COMMIT}-dirty"])
def test_results_of_uncommitted_code_are_published_only_on_request(run, repro, commit):
    cells = plan("table4", "demo", "RTE", 3)
    edit(cells[4], commit=commit)
    write("table4", cells)
    code, _, err = repro("publish")
    assert code == 2
    assert f"was computed by commit {commit or 'unknown'}, which cannot be checked out" in err
    assert not paths.published_results().exists()
    assert repro("publish", "--allow-dirty")[0] == 0


def test_a_run_that_fails_verify_is_not_published(run):
    (run / "table4.csv").write_text((run / "table4.csv").read_text().replace("mini-RTE", "RTE"))
    with pytest.raises(InputError, match="cannot be verified, nothing was published; first: "):
        publishing.publish("demo")
    assert not paths.published_results().exists()


def test_too_large_a_run_is_refused(run, monkeypatch):
    publishing.publish("demo")
    before = content(paths.published_results())
    monkeypatch.setattr(publishing, "LIMIT", 0.01)
    with pytest.raises(InputError, match=r"at most 0\.01 MB are allowed"):
        publishing.publish("demo")
    assert content(paths.published_results()) == before


def test_a_publish_that_fails_leaves_the_old_one(run, monkeypatch):
    (folder := paths.figures("demo")).mkdir(parents=True)
    (folder / "table4.tex").write_text("old")
    publishing.publish("demo")
    roots = (paths.published_results(), paths.published_figures())
    before = [content(root) for root in roots]
    make("table4", seeds=4)
    (folder / "table4.tex").write_text("new")
    rename = type(folder).rename

    def fails(path, target):
        if target == paths.published_figures() / "demo" and ".new" in str(path):
            raise OSError(28, "No space left on device")
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(type(folder), "rename", fails)
        with pytest.raises(DiskError, match=r"[Nn]o space|disk|full"):
            publishing.publish("demo")
    assert [content(root) for root in roots] == before
    publishing.publish("demo")
    assert published.read_table("table4", "demo")["seeds"].max() == 4
    assert (paths.published_figures() / "demo" / "table4.tex").read_text() == "new"
    assert all([path.name for path in root.iterdir()] == ["demo"] for root in roots)


SENTENCE = "a sentence of GLUE"


@pytest.mark.parametrize(
    ("source", "profile", "copied", "shown"),
    [
        ("1 + 1", "cpu", True, True),
        ("notebook.figure(notebook.curves(explore.curves(cells)))", "cpu", True, True),
        ("notebook.examples(explore.teacher_predictions(cells[0]))", "demo", True, True),
        ("notebook.examples(explore.teacher_predictions(cells[0]))", "cpu", True, False),
        ("from repro.data import glue", "demo", True, True),
        ("from repro.data import glue", "cpu", False, False),
        ("widgets.thresholds(predictions)", "cpu", False, False),
    ],
)
def test_no_published_notebook_shows_sentences_of_glue(tmp_path, source, profile, copied, shown):
    output = {"output_type": "stream", "name": "stdout", "text": [SENTENCE]}
    cell = {"cell_type": "code", "source": [source], "outputs": [output]}
    (tmp_path / "one.ipynb").write_text(json.dumps({"cells": [cell]}))
    folder = tmp_path / "published"
    assert publishing._copy_notebook(tmp_path / "one.ipynb", folder, profile) == copied
    assert (folder / "one.ipynb").is_file() == copied
    assert (copied and SENTENCE in (folder / "one.ipynb").read_text()) == shown


def test_the_notebooks_show_examples_only_where_they_call_explore():
    """As `_copy_notebook` assumes."""
    for path in (paths.ROOT / "notebooks").glob("*.ipynb"):
        for cell in json.loads(path.read_text())["cells"]:
            source = "".join(cell["source"])
            assert "examples(" not in source or "explore." in source, path


# a partial run


def test_a_run_with_fewer_seeds_or_tasks_gets_its_own_file(own_folders):
    def written(tasks, seeds):
        cells = finished("table4", tasks, seeds, rows=30)
        return tables.write_table("table4", "demo", MAKERS["table4"].make(cells), cells).name

    assert written("RTE", 1) == "table4.csv"
    assert written("RTE,MRPC", 3) == "table4.csv"  # it has more
    full = tables.table_path("table4", "demo").read_bytes()
    assert written("RTE,MRPC", 2) == "table4.partial+seeds=2.csv"
    assert written("MRPC", 3) == "table4.partial+tasks=mini-MRPC+seeds=3.csv"
    assert written("RTE,SST-2", 5) == "table4.partial+tasks=mini-RTE-mini-SST-2+seeds=5.csv"
    assert tables.table_path("table4", "demo").read_bytes() == full
    assert [*publishing.tables_of(paths.results("demo"))] == ["table4.csv"]


def test_a_table_without_a_readable_sidecar_is_replaced(run):
    sidecar.path(run / "table4.csv").write_text("{")
    cells = plan("table4", "demo", "RTE", 1)
    assert sidecar.target(run / "table4.csv", cells) == run / "table4.csv"


# agreement with the published run


def test_the_same_predictions_agree(run):
    publishing.publish("demo")
    one_seed = plan("table4", "demo", "RTE", 1)
    agreement = published.compare(one_seed, "table4")
    assert (agreement.cells, agreement.identical) == (3, 3)
    text = beside_published(one_seed, "table4", "", "")
    assert "the published run's (3 seeds)" in text
    assert "This run agrees with the published run: the same predictions in all 3 cells." in text
    frame = tables.read_table("table4", "demo")
    mean, paper = frame[frame["method"] == "SPS-2"][["mean", "paper"]].iloc[0]
    assert f"{mean:.1f} / {paper:.1f} / {mean:.1f}" in text


def shifted(points):
    """Predictions of which so many percent more are wrong."""

    def predict(cell, labels):
        logits = noisy(cell, labels)
        count = round(points * len(labels) / 100)
        logits[:count] = -abs(logits[:count]) * (labels[:count, None] == [0, 1]) - 0.5 * (
            labels[:count, None] == [0, 1]
        )
        return logits + 1e-3

    return predict


@pytest.mark.parametrize(
    ("processors", "points", "words"),
    [
        (("A", "A"), 0, "DIFFERS from the published run: 3 of 3 cells have other predictions"),
        (("A", "B"), 0, "agrees with the published run: all 3 scores within the 95% prediction"),
        (("", ""), 0, "agrees with the published run: all 3 scores"),  # unknown: not the same
        (("A", "B"), 100, "DIFFERS from the published run: 3 of 3 scores outside"),
    ],
)
def test_other_predictions(own_folders, processors, points, words):
    for cell in make("table4", seeds=5, rows=200):
        edit(cell, processor=processors[0])
    publishing.publish("demo")
    cells = finish(plan("table4", "demo", "RTE", 1), shifted(points), rows=200)
    for cell in cells:
        edit(cell, processor=processors[1])
    assert words in published.compare(cells, "table4").sentence()


def test_one_published_seed_gives_no_interval(own_folders):
    make("table4", seeds=1)
    publishing.publish("demo")
    cells = finish(plan("table4", "demo", "RTE", 1), shifted(0), rows=40)
    assert "two published seeds" in published.compare(cells, "table4").sentence()


def test_what_is_not_published_is_not_compared(run):
    cells = finished("table5", "RTE", 1, rows=30)
    assert published.compare(cells, "table5") is None
    assert "table5 of profile demo with these settings is not published" in beside_published(
        cells, "table5", "", ""
    )


# a real run


def test_a_real_run_is_published_and_compared(own_folders, repro):
    given = [word for name, value in BUDGET.items() for word in ("--set", f"{name}={value}")]
    make_table = ("table", "table4", "--tasks", "RTE", "--seeds", "2", "--engine", "serial", *given)
    code, out, err = repro(*make_table)
    assert code == 0, err
    assert "Nothing to compare with: table4 (" in out
    code, out, err = repro("publish", "--allow-dirty")
    assert code == 0, err
    assert "published: 2 tables and 6 cells" in out
    shutil.rmtree(paths.results("demo"))
    shutil.rmtree(paths.cache())
    code, out, _ = repro("verify", "--published")
    assert (code, out.splitlines()[-1]) == (
        0,
        "profile demo: 6 cells, 6 prediction files, 2 tables: all agree",
    )
    assert len([*(paths.published_results() / "demo" / "notebooks").iterdir()]) == 1
    code, out, err = repro(*make_table)
    assert code == 0, err
    assert "This run agrees with the published run: the same predictions in all 6 cells." in out
    code, out, err = repro(*(word if word != "2" else "1" for word in make_table))
    assert code == 0, err
    assert "same predictions in all 3 cells" in out
    assert "has more seeds or tasks and is kept" in out
    assert "+partial+seeds=1.csv\n" in out


@pytest.mark.parametrize("profile", PROFILES)
def test_the_committed_results_agree(profile, tmp_path, monkeypatch):
    names = ["results/published", "figures/published"]
    listed = ["git", "checkout-index", "--all", f"--prefix={tmp_path}/"]
    if subprocess.run(listed, cwd=paths.ROOT, capture_output=True).returncode != 0:
        pytest.skip("not a checkout")
    monkeypatch.setenv("REPRO_RESULTS", str(tmp_path / "results"))
    if not (paths.published_results() / profile).is_dir():
        pytest.skip(f"nothing is published for {profile}")
    verdict = published.verify(profile)
    assert verdict.findings == []
    assert verdict.tables > 0
    size = sum(path.stat().st_size for name in names for path in (tmp_path / name).rglob("*.*"))
    assert size / 1e6 <= publishing.LIMIT


def test_the_prediction_interval_is_the_textbook_one():
    scores = [70.0, 73.0, 71.0, 69.0, 72.0]
    half = stats.t.ppf(0.975, 4) * np.std(scores, ddof=1) * np.sqrt(1 / 5 + 1 / 3)
    expected = pytest.approx((71 - half, 71 + half))
    assert published.prediction_interval(scores, 300, new_seeds=3) == expected


def test_the_intervals_of_a_comparison_hold_jointly(monkeypatch):
    """Two scores, each outside its interval with half the probability of one."""

    def result(method, score):
        cell = {"row": method, "task": "mini-RTE", "method": {"kind": "student"}}
        return {"cell": cell, "metrics": {"accuracy": score}, "data": {"dev_rows": 100}}

    levels = []
    monkeypatch.setattr(
        published, "prediction_interval", lambda *given: levels.append(given[3]) or (0.0, 100.0)
    )
    old = [result(method, score) for method in "ab" for score in (70.0, 71.0)]
    published._compare_scores(old[::2], old, published.Agreement(2, 0, False))
    assert levels == pytest.approx([0.975, 0.975])


@pytest.mark.parametrize("new_seeds", [1, 5])
def test_the_prediction_interval_holds_new_runs(new_seeds):
    rng, agreed = np.random.default_rng(1), []
    for _ in range(1000):
        scores, new = (70 + 3 * rng.normal(size=seeds) for seeds in (5, new_seeds))
        low, high = published.prediction_interval(scores, 300, new_seeds)
        agreed.append(low <= new.mean() <= high)
    assert 0.925 < np.mean(agreed) < 0.99


def test_the_prediction_interval_allows_for_one_changed_answer_where_seeds_agree():
    low, high = published.prediction_interval([80.0] * 5, 200)
    assert low < 79.5 < 80.5 < high < 83


def test_the_prediction_interval_needs_two_published_seeds():
    with pytest.raises(ValueError, match="two published seeds and one new seed, got 1 and 1"):
        published.prediction_interval([70.0], 300)
