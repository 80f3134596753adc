"""Damaged files are found, set aside and computed again; disk errors are one line."""

import json
import os
import pickle
import re
import resource
import subprocess
from types import SimpleNamespace

import pytest
import synthetic
import torch
from tiny_cells import BUDGET, tiny

from repro import paths
from repro.analysis import tables
from repro.config import cells
from repro.data import encoders
from repro.errors import DiskError, InputError, MissingError, ReproError
from repro.files import digest, sha256, write_atomic
from repro.runs import cache, engine, finish, results, stages
from repro.runs.cache import Artefact
from repro.training.checkpoints import Checkpoint
from repro.training.states import write_tensors

ARTEFACT = Artefact({"a": torch.ones(2)}, {"score": 71.5})
DAMAGE = {
    "empty": lambda data: b"",
    "truncated": lambda data: data[: len(data) // 2],
    "flipped": lambda data: (
        data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]
    ),
}
damages = pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
pytestmark = pytest.mark.usefixtures("own_folders")


def recompute() -> Artefact:
    return Artefact({"a": torch.zeros(2)}, {"computed": "again"})


@damages
@pytest.mark.parametrize("ending", [".json", ".safetensors"])
def test_a_damaged_artefact(damage, ending, capsys):
    cache.save("teacher", "k", ARTEFACT)
    target = cache.location("teacher", "k").with_suffix(ending)
    target.write_bytes(damage(target.read_bytes()))
    assert cache.get("teacher", "k", recompute).meta == {"computed": "again"}
    assert f"set aside, computing it again: {target.name}.damaged" in capsys.readouterr().out
    assert target.with_name(f"{target.name}.damaged").is_file()


@pytest.mark.parametrize("text", ["null", "7", "[]", '"text"'])
def test_an_artefact_of_other_json_is_damaged(text):
    cache.save("teacher", "k", ARTEFACT)
    cache.location("teacher", "k").write_text(text)
    assert cache.meta("teacher", "k") is None
    assert cache.get("teacher", "k", recompute).meta == {"computed": "again"}


def test_an_artefact_with_an_edited_score_is_damaged():
    cache.save("teacher", "k", ARTEFACT)
    target = cache.location("teacher", "k")
    target.write_text(target.read_text().replace("71.5", "91.5"))
    assert cache.meta("teacher", "k") is None
    assert cache.get("teacher", "k", recompute).meta == {"computed": "again"}


@pytest.fixture
def cell():
    return synthetic.finished("table4", "RTE")[0]


@damages
@pytest.mark.parametrize("path", [results.path, results.predictions_path], ids=["json", "parquet"])
def test_a_damaged_result_is_not_done_and_set_aside(cell, damage, path, capsys):
    target = path(cell)
    target.write_bytes(damage(target.read_bytes()))
    assert not results.done(cell)
    results.clear(cell)
    assert f"{target.name}.damaged" in capsys.readouterr().out
    assert not target.exists()
    assert target.with_name(f"{target.name}.damaged").is_file()


@pytest.mark.parametrize("text", ["null", "7", "[]", '"text"'])
def test_a_result_of_other_json_is_damaged(cell, text):
    results.path(cell).write_text(text)
    assert not results.done(cell)
    with pytest.raises(MissingError, match=f"the result of cell {cell.id} is damaged; run: "):
        results.read(cell)


def test_an_undamaged_result_is_not_cleared(cell):
    results.clear(cell)
    assert results.done(cell)


def test_a_table_of_damaged_results_is_refused():
    plan = synthetic.finished("table4", "RTE")
    results.path(plan[1]).write_text(
        results.path(plan[1]).read_text().replace("accuracy", "accuracx", 1)
    )
    with pytest.raises(
        MissingError, match=rf"1 of 3 cells .*damaged.*{plan[1].id}; run: make table4"
    ):
        tables.aggregate(plan)
    results.path(plan[1]).write_text("{")
    with pytest.raises(
        MissingError, match=rf"cell {plan[1].id} is damaged; run: python -m repro run"
    ):
        results.read(plan[1])


def test_a_run_computes_a_damaged_result_again(capsys):
    cell = tiny("table4")[0]
    engine.run_cells([cell], "serial")
    whole = results.path(cell).read_bytes()
    results.path(cell).write_bytes(whole[:100])
    engine.run_cells([cell], "serial")
    assert results.path(cell).read_bytes() == whole
    assert f"{cell.id}.json.damaged" in capsys.readouterr().out


def flip(path):
    path.write_bytes(DAMAGE["flipped"](path.read_bytes()))


@pytest.mark.parametrize("kind", ["teacher", "student"])
def test_a_damaged_artefact_is_a_stage_to_compute(kind, capsys):
    """A worker computes it, with its own threads and progress, not the writer of results."""
    cell = tiny("table4")[0]
    engine.run_cells([cell], "serial")
    whole, key = results.predictions_path(cell).read_bytes(), results.read(cell)["stages"][kind]
    results.path(cell).unlink()
    capsys.readouterr()
    flip(cache.location(kind, key).with_suffix(".safetensors"))
    engine.run_cells([cell], "serial")
    assert "1 stage to compute" in capsys.readouterr().out
    assert results.predictions_path(cell).read_bytes() == whole


def test_a_result_has_the_seconds_of_the_training_it_comes_from():
    cell = tiny("table4")[0]
    engine.run_cells([cell], "serial")
    before = results.read(cell)
    flip(cache.location("student", before["stages"]["student"]).with_suffix(".safetensors"))
    finish.finish(stages.resolve(cell))
    after = cache.meta("student", before["stages"]["student"])["seconds"]
    assert before["seconds"]["student"] != results.read(cell)["seconds"]["student"] == after


class Evil:
    """Creates a folder when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (os.mkdir, (str(self.mark),))


@pytest.mark.parametrize("dump", [pickle.dump, torch.save], ids=["pickle", "torch.save"])
def test_a_pickle_in_place_of_a_model_is_never_opened(tmp_path, monkeypatch, dump):
    """Even with the right checksums."""
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch.load was called"))
    cache.save("teacher", "k", ARTEFACT)
    target = cache.location("teacher", "k")
    for path in (target.with_suffix(".safetensors"), cache.partial("teacher", "k")):
        with path.open("wb") as file:
            dump(Evil(tmp_path / "owned"), file)
    record = {"sha256": sha256(target.with_suffix(".safetensors")), "meta": {}}
    target.write_text(json.dumps(record | {"seal": digest(record, 64)}))
    training = SimpleNamespace()
    Checkpoint(cache.partial("teacher", "k")).on_start(training)
    assert vars(training) == {}  # nothing was restored
    assert not cache.partial("teacher", "k").exists()  # it was set aside
    assert cache.get("teacher", "k", recompute).meta == {"computed": "again"}
    assert not (tmp_path / "owned").exists()


def test_an_encoder_that_is_a_pickle_is_refused(tmp_path):
    (tmp_path / "encoder").mkdir()
    for name in ("pytorch_model.bin", "model.safetensors"):
        with (tmp_path / "encoder" / name).open("wb") as file:
            pickle.dump(Evil(tmp_path / "owned"), file)
    (tmp_path / "encoder/config.json").write_text('{"model_type": "bert", "num_hidden_layers": 1}')
    with pytest.raises(ReproError, match="cannot load the"):
        encoders.load(str(tmp_path / "encoder"))
    (tmp_path / "encoder/model.safetensors").unlink()
    with pytest.raises(MissingError, match=r"there is no model\.safetensors"):
        encoders.load(str(tmp_path / "encoder"))
    assert not (tmp_path / "owned").exists()


# disks


@pytest.fixture
def small_disk(tmp_path):
    """Mounts a file system at tmp_path/cache; call it with options of mount."""
    (tmp_path / "cache").mkdir()

    def mount(options):
        process = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(tmp_path / "cache")],
            capture_output=True,
            text=True,
            check=False,
        )
        if process.returncode:
            pytest.skip(f"a file system cannot be mounted here: {process.stderr.strip()}")

    yield mount
    subprocess.run(["umount", str(tmp_path / "cache")], check=False, capture_output=True)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_full_disk_is_one_line_and_finished_artefacts_are_kept(small_disk, tmp_path):
    small_disk("size=400k")
    cache.get("teacher", "small", lambda: ARTEFACT)
    before = names(tmp_path / "cache/teacher")
    large = Artefact({"a": torch.zeros(1 << 20)}, {})
    with pytest.raises(
        DiskError, match=r"large\.safetensors: No space left on device; free some space, or"
    ):
        cache.get("teacher", "large", lambda: large)
    assert names(tmp_path / "cache/teacher") == sorted([*before, "large.lock"])
    small_disk("remount,size=40m")
    assert cache.get("teacher", "large", lambda: large) is large
    assert cache.load("teacher", "small").meta == ARTEFACT.meta


def test_a_run_on_a_full_disk(small_disk, tmp_path, repro):
    """Exit code 2 and one line, at once; with more space the same command continues."""
    small_disk("size=2m")
    options = [f"--set={name}={value}" for name, value in BUDGET.items()]
    command = ("run", "table4", "--tasks", "RTE", "--seeds", "1", "--engine", "serial", *options)
    code, _, err = repro(*command)
    assert code == 2
    *bar, line = err.splitlines()
    assert re.fullmatch(
        r"error: cannot use \S+: No space left on device; free some space, .* finished is kept",
        line,
    )
    assert len(bar) < 5  # there are five stages
    small_disk("remount,size=80m")
    code, out, _ = repro(*command)
    assert code == 0
    assert "SPS-2 on mini-RTE, seed 0: accuracy" in out


def test_a_read_only_cache_can_be_read(small_disk, tmp_path):
    small_disk("size=400k")
    cache.get("teacher", "k", lambda: ARTEFACT)
    small_disk("remount,ro")
    artefact = cache.get("teacher", "k", lambda: pytest.fail("it was computed again"))
    assert artefact.meta == ARTEFACT.meta
    with pytest.raises(
        DiskError, match=r"new\.lock: Read-only file system; make it and its folder readable"
    ):
        cache.get("teacher", "new", lambda: ARTEFACT)


def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(
        DiskError, match=r"k\.lock: (Not a directory|File exists); move away what is in the way"
    ):
        cache.get("teacher", "k", lambda: ARTEFACT)


def test_a_limit_of_file_sizes(tmp_path):
    """Needs no root: the kernel refuses files of more than 4,096 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(
            DiskError, match=r"x\.safetensors: File too large; raise the limit of file sizes"
        ):
            write_tensors(tmp_path / "x.safetensors", {"a": torch.zeros(1 << 14)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert names(tmp_path) == []


# paths


@pytest.mark.parametrize("name", ["x" * 255, "\N{SNOWMAN}" * 85], ids=["x", "snow"])
def test_every_valid_file_name_is_written(tmp_path, name):
    write_atomic(tmp_path / name, lambda temporary: temporary.write_text("whole"))
    assert (tmp_path / name).read_text() == "whole"


@pytest.mark.parametrize("name", ["../x", "..", "a/b", "/etc", "a\\b", "", "x\0"])
def test_no_name_leads_outside_its_folder(tmp_path, name):
    with pytest.raises(InputError, match="use a name without"):
        paths.below(tmp_path, name)
    for folder in (paths.results, paths.figures):
        with pytest.raises(InputError, match="cannot name a file or folder below"):
            folder(name)
    with pytest.raises(InputError):
        tables.table_path("table2", "demo", name or "/")
    with pytest.raises(InputError):
        cells.plan("table2", "demo", name or "/")


@pytest.mark.parametrize(
    "where", [paths.cache, paths.all_results, lambda: paths.figures("demo").parent]
)
def test_an_empty_variable_counts_as_not_set(monkeypatch, where):
    for name in ("REPRO_CACHE", "REPRO_RESULTS", "REPRO_FIGURES"):
        monkeypatch.setenv(name, "")
    assert where().parent == paths.ROOT


@pytest.mark.parametrize(
    "arguments",
    [
        ("list", "../table2"),
        ("run", "table2", "--profile", "../x"),
        ("run", "table2", "--tasks", "../RTE"),
        ("run", "table2", "--method", "../PeaBERT3"),
        ("table", "table2", "--recipe", "../authors"),
        ("verify", "--profile", ".."),
        ("claims", "--profile", "/tmp"),
        ("report", "--tables", "../paper/tables"),
    ],
    ids=" ".join,
)
def test_no_argument_leads_outside_the_results(repro, own_folders, arguments):
    code, _, err = repro(*arguments)
    assert code == 2
    assert err.startswith("error: ") and err.count("\n") == 1
    assert list(own_folders.iterdir()) == []


def test_an_edited_cell_cannot_name_a_file_outside_the_results():
    data = tiny("table2")[0].as_dict() | {"row": "../../x"}
    with pytest.raises(InputError, match="use a name without"):
        results.path(cells.Cell.from_dict(data))
