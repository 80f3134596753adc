"""The Ray engine: on a cluster of two nodes of this machine, one of which is killed; what it asks of a node."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from secrets import token_hex
from types import SimpleNamespace

import pytest

from repro import paths
from repro.analysis import comparisons
from repro.analysis import tables as results
from repro.config.cells import plan
from repro.errors import MissingError, ReproError, TrainingError
from repro.files import write_atomic
from repro.runs import compute as pipeline
from repro.runs import engine, machine
from repro.runs import ray as clusters
from repro.runs import results as cells

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own
BUDGET = {
    "train_cap": 48,
    "dev_cap": 32,
    "teacher.epochs": 1,
    "ptp.epochs": 1,
    "student.epochs": 1,
    "student.batch_size": 16,
    "teacher.batch_size": 16,
    "ptp.batch_size": 16,
}
NODE = {"num_cpus": 1, "num_gpus": 1, "object_store_memory": 80 * 2**20}
PATIENCE = 300  # seconds that a busy machine may take for what else takes ten


@pytest.fixture(scope="module")
def ray():
    told = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token_hex(32),
    }
    with pytest.MonkeyPatch.context() as patch:
        for (
            name,
            value,
        ) in told.items():  # before the import, which reads them; else a token in the home folder
            patch.setenv(name, value)
        yield pytest.importorskip(
            "ray", reason="Ray is not installed; make ray, or make test, brings it"
        )


@pytest.fixture(scope="module")
def two_nodes(ray):
    """A head and a second node, each with one CPU and what it is told to take for a GPU."""
    from ray import cloudpickle
    from ray.cluster_utils import Cluster

    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import the tests
    cluster = Cluster(initialize_head=True, head_node_args=NODE | {"include_dashboard": False})
    cluster.add_node(**NODE)
    cluster.wait_for_nodes(timeout=PATIENCE)
    yield cluster
    cluster.shutdown()


@pytest.fixture
def on_cluster(two_nodes, own_folders, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", two_nodes.address)
    return two_nodes


def hangs_on(victim, mark, compute, stage):
    """`compute(stage)`; but the first student on the node `victim` says so in the file `mark` and never ends.

    Students elsewhere wait for that: the other node must not finish the run while this one's worker is still starting.
    """
    import ray

    if stage.kind != "student":
        return compute(stage)
    context = ray.get_runtime_context()
    if context.get_node_id() == victim and not mark.exists():
        said = json.dumps({"key": stage.key, "reserved": context.get_assigned_resources()})
        write_atomic(mark, lambda temporary: temporary.write_text(said))
        time.sleep(10 * PATIENCE)
    appears(mark)
    return compute(stage)


def appears(path):
    """Whether the file is there within PATIENCE."""
    end = time.monotonic() + PATIENCE
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.1)
    return path.exists()


def kill_once_marked(cluster, node, mark):
    appears(mark)
    cluster.remove_node(node, allow_graceful=False)


def tables(made):
    """The table's CSV and that of its comparisons, and all predictions, as bytes."""
    written = [
        results.write_table("table5", "demo", results.aggregate(made), made, "tiny"),
        results.write_table("comparisons5", "demo", comparisons.of(made), made, "tiny"),
    ]
    return [path.read_bytes() for path in [*written, *map(cells.predictions_path, made)]]


def test_a_node_dies_and_the_tables_are_those_of_one_process(on_cluster, tmp_path, monkeypatch):
    made, mark = plan("table5", "demo", "RTE,MRPC", 1, "authors", BUDGET), tmp_path / "mark"
    (victim,) = on_cluster.worker_nodes
    killer = threading.Thread(target=kill_once_marked, args=(on_cluster, victim, mark), daemon=True)
    killer.start()
    with monkeypatch.context() as patch:
        patch.setattr(
            pipeline, "run_stage", partial(hangs_on, victim.node_id, mark, pipeline.run_stage)
        )
        engine.run_cells(made, "ray")
    killer.join(PATIENCE)
    assert mark.exists(), "no student ran on the second node"
    lost = json.loads(
        mark.read_text()
    )  # a stage was running on the node that died, and it is in a finished cell
    assert lost["key"] in {cells.read(cell)["stages"].get("student") for cell in made}
    assert lost["reserved"] == {"CPU": 1.0, "GPU": 0.25}
    assert on_cluster.worker_nodes == set()
    clustered = tables(made)
    monkeypatch.setenv("REPRO_RESULTS", str(tmp_path / "serial"))
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path / "serial-cache"))
    engine.run_cells(made, "serial")
    assert tables(made) == clustered


def fails_or_dies(compute, stage):
    """`compute(stage)`; but MRPC's teacher does not converge, and QNLI's takes its worker down, each time."""
    if stage.kind == "teacher" and stage.cell.task == "mini-MRPC":
        raise TrainingError("the loss is not finite at step 3")
    if stage.kind == "teacher" and stage.cell.task == "mini-QNLI":
        os._exit(1)
    return compute(stage)


def test_what_fails_is_named_in_one_line_and_the_others_finish(on_cluster, monkeypatch):
    made = plan("table1", "demo", "RTE,MRPC,QNLI", 1, "authors", BUDGET)
    monkeypatch.setattr(clusters, "_RETRIES", 1)
    monkeypatch.setattr(pipeline, "run_stage", partial(fails_or_dies, pipeline.run_stage))
    with pytest.raises(ReproError) as raised:
        engine.run_cells(made, "ray")
    assert [cells.done(cell) for cell in made] == [True, False, False]
    said = str(raised.value)
    assert re.match(
        r"2 of 3 cells failed; table1-\S+mrpc\S+: the loss is not finite at step 3 \(again: python",
        said,
    )
    assert "WorkerCrashedError after 1 retries" in said
    assert "\n" not in said
    assert [path.name for path in paths.cache().glob(".ray.*")] == []


# what is asked of a node


def test_every_kind_of_stage_has_its_need():
    assert clusters.NEEDS.keys() == pipeline._COMPUTE.keys()
    assert all(need.cpus >= 1 and 0 <= need.gpus <= 1 for need in clusters.NEEDS.values())


@pytest.mark.parametrize(("cpus", "gpus", "slots"), [(8, 0, 8), (8, 1, 4), (2, 4, 2), (0, 0, 1)])
def test_a_cluster_is_as_wide_as_what_is_scarce(cpus, gpus, slots):
    assert clusters._slots({"CPU": cpus, "GPU": gpus} if gpus else {"CPU": cpus}) == slots


def test_workers_are_told_where_things_are(own_folders, monkeypatch):
    monkeypatch.chdir(own_folders)
    monkeypatch.setenv("GLUE_DIR", "glue")
    told = clusters.environment()
    assert told["GLUE_DIR"] == str(own_folders / "glue")
    assert told["REPRO_CACHE"] == str(own_folders / "cache")
    assert told["PYTHONPATH"].split(os.pathsep)[0] == str(paths.ROOT)
    assert "REPRO_REMOTE" not in told


def test_with_a_remote_each_node_has_the_cache_it_likes(monkeypatch):
    monkeypatch.setenv("REPRO_REMOTE", "s3://bucket/peakd")
    monkeypatch.setenv("REPRO_CACHE", "")  # as good as none
    told = clusters.environment()
    assert told["REPRO_REMOTE"] == "s3://bucket/peakd"
    assert "REPRO_CACHE" not in told
    assert clusters._probe() == ""


def test_a_node_that_does_not_see_the_cache_is_refused(own_folders):
    probe = clusters._probe()
    clusters._check_node(probe, machine.code())
    Path(probe).unlink()
    clusters._check_node.cache_clear()
    with pytest.raises(
        MissingError,
        match=r"does not see .*/cache; put REPRO_CACHE on a folder that all nodes share",
    ):
        clusters._check_node(probe, machine.code())


def test_a_killed_drivers_file_is_removed_by_the_next(own_folders):
    dead = subprocess.run(
        [sys.executable, "-c", "from repro.runs import ray as clusters; print(clusters._probe())"],
        env=os.environ | {"PYTHONPATH": str(paths.ROOT)},
        capture_output=True,
        text=True,
    )
    left = Path(dead.stdout.strip())
    assert [*paths.cache().iterdir()] == [left]
    ours = Path(clusters._probe())
    assert [*paths.cache().iterdir()] == [ours] != [left]


def test_a_node_with_other_code_is_refused():
    with pytest.raises(
        MissingError, match="another version of this package, of Python or of its libraries"
    ):
        clusters._check_node("", "another")


def test_without_ray_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingError, match="not installed; run: make ray"):
        clusters.Cluster(1)


@pytest.mark.parametrize(
    ("address", "reason"), [("127.0.0.1:1", "refused"), ("nonsense", "Invalid address")]
)
def test_a_cluster_that_is_not_there(ray, monkeypatch, address, reason):
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(
        MissingError, match=f"no Ray cluster at RAY_ADDRESS={address}: .*{reason}.*; start one"
    ):
        clusters.Cluster(1)


@pytest.mark.parametrize(("given", "expected"), [(None, "0"), ("1", "1")])
def test_no_usage_statistics_unless_asked_for(monkeypatch, given, expected):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    if given:
        monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", given)
    with pytest.raises(MissingError):
        clusters.Cluster(1)
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == expected


def test_sigterm_stays_what_it_was_before_ray(monkeypatch):
    ours = signal.getsignal(signal.SIGTERM)
    theirs = SimpleNamespace(init=lambda **_: signal.signal(signal.SIGTERM, lambda *_: None))
    monkeypatch.setitem(sys.modules, "ray", theirs)
    clusters._connected(1)
    assert signal.getsignal(signal.SIGTERM) is ours
