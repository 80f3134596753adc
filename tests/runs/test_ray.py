"""The Ray engine, on a cluster of two nodes on this machine, one of which is killed."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from secrets import token_hex
from types import SimpleNamespace

import pytest
from tiny_cells import BUDGET

from repro import paths
from repro.analysis import comparisons, tables
from repro.config.cells import plan
from repro.errors import MissingError, ReproError, TrainingError
from repro.files import write_atomic
from repro.runs import compute, engine, machine, results, workers

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own
NODE = {"num_cpus": 1, "num_gpus": 1, "object_store_memory": 80 * 2**20}
PATIENCE = 300  # seconds; a busy machine may need them for what usually takes ten


@pytest.fixture(scope="module")
def ray():
    variables = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token_hex(32),
    }
    with pytest.MonkeyPatch.context() as patch:
        # Set before the import, which otherwise writes a token to the home folder.
        for name, value in variables.items():
            patch.setenv(name, value)
        yield pytest.importorskip(
            "ray", reason="Ray is not installed; make ray, or make test, brings it"
        )


@pytest.fixture(scope="module")
def two_nodes(ray):
    """A head and a second node, each with one CPU and a pretended GPU."""
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


def hangs_on(victim, mark, run_stage, stage):
    """`run_stage(stage)`, but the first student on node `victim` writes the file `mark` and hangs.

    Students on the other node wait for the file: they must not finish the run before.
    """
    import ray

    if stage.kind != "student":
        return run_stage(stage)
    context = ray.get_runtime_context()
    if context.get_node_id() == victim and not mark.exists():
        text = json.dumps({"key": stage.key, "reserved": context.get_assigned_resources()})
        write_atomic(mark, lambda temporary: temporary.write_text(text))
        time.sleep(10 * PATIENCE)
    appears(mark)
    return run_stage(stage)


def appears(path):
    """Whether the file appears within PATIENCE."""
    end = time.monotonic() + PATIENCE
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.1)
    return path.exists()


def kill_once_marked(cluster, node, mark):
    appears(mark)
    cluster.remove_node(node, allow_graceful=False)


def table_bytes(cells):
    """The bytes of the table's CSV, of its comparisons' CSV and of all predictions."""
    written = [
        tables.write_table("table5", "demo", tables.aggregate(cells), cells, "tiny"),
        tables.write_table("comparisons5", "demo", comparisons.of(cells), cells, "tiny"),
    ]
    return [path.read_bytes() for path in [*written, *map(results.predictions_path, cells)]]


def test_after_a_node_is_killed_the_tables_equal_those_of_one_process(
    on_cluster, tmp_path, monkeypatch
):
    cells, mark = plan("table5", "demo", "RTE,MRPC", 1, "authors", BUDGET), tmp_path / "mark"
    (victim,) = on_cluster.worker_nodes
    killer = threading.Thread(target=kill_once_marked, args=(on_cluster, victim, mark), daemon=True)
    killer.start()
    with monkeypatch.context() as patch:
        patch.setattr(
            compute, "run_stage", partial(hangs_on, victim.node_id, mark, compute.run_stage)
        )
        engine.run_cells(cells, "ray")
    killer.join(PATIENCE)
    assert mark.exists(), "no student ran on the second node"
    lost = json.loads(mark.read_text())  # the stage that ran on the killed node was repeated
    assert lost["key"] in {results.read(cell)["stages"].get("student") for cell in cells}
    assert lost["reserved"] == {"CPU": 1.0, "GPU": 0.25}
    assert on_cluster.worker_nodes == set()
    on_ray = table_bytes(cells)
    monkeypatch.setenv("REPRO_RESULTS", str(tmp_path / "serial"))
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path / "serial-cache"))
    engine.run_cells(cells, "serial")
    assert table_bytes(cells) == on_ray


def fails_or_dies(run_stage, stage):
    """`run_stage(stage)`, but MRPC's teacher fails, and QNLI's ends its worker process."""
    if stage.kind == "teacher" and "mini-MRPC" in str(stage):
        raise TrainingError("the loss is not finite at step 3")
    if stage.kind == "teacher" and "mini-QNLI" in str(stage):
        os._exit(1)
    return run_stage(stage)


def test_failed_cells_are_named_in_one_line_and_the_others_finish(on_cluster, monkeypatch):
    cells = plan("table1", "demo", "RTE,MRPC,QNLI", 1, "authors", BUDGET)
    monkeypatch.setattr(workers, "_RETRIES", 1)
    monkeypatch.setattr(compute, "run_stage", partial(fails_or_dies, compute.run_stage))
    with pytest.raises(ReproError) as raised:
        engine.run_cells(cells, "ray")
    assert [results.done(cell) for cell in cells] == [True, False, False]
    message = str(raised.value)
    assert re.match(
        r"2 of 3 cells failed; table1-\S+mrpc\S+: the loss is not finite at step 3 \(again: python",
        message,
    )
    assert "WorkerCrashedError after 1 retries" in message
    assert "\n" not in message
    assert [path.name for path in paths.cache().glob(".ray.*")] == []


# resources and nodes


def test_every_kind_of_stage_has_resources():
    assert workers.NEEDS.keys() == {*compute.COMPUTE, *compute.ELSEWHERE}
    assert all(need.cpus >= 1 and 0 <= need.gpus <= 1 for need in workers.NEEDS.values())


@pytest.mark.parametrize(("cpus", "gpus", "slots"), [(8, 0, 8), (8, 1, 4), (2, 4, 2), (0, 0, 1)])
def test_slots_are_limited_by_the_scarcer_resource(cpus, gpus, slots):
    assert workers._slots({"CPU": cpus, "GPU": gpus} if gpus else {"CPU": cpus}) == slots


def test_workers_get_absolute_paths(own_folders, monkeypatch):
    monkeypatch.chdir(own_folders)
    monkeypatch.setenv("GLUE_DIR", "glue")
    monkeypatch.setenv("HF_HOME", "~/hf")
    monkeypatch.setenv("REPRO_CHECKPOINT_STEPS", "7")
    variables = workers.cluster_environment()
    assert variables["HF_HOME"] == os.path.expanduser("~/hf")
    assert variables["REPRO_CHECKPOINT_STEPS"] == "7"
    assert variables["GLUE_DIR"] == str(own_folders / "glue")
    assert variables["REPRO_CACHE"] == str(own_folders / "cache")
    assert variables["PYTHONPATH"].split(os.pathsep)[0] == str(paths.ROOT)
    assert "REPRO_REMOTE" not in variables


def test_with_a_remote_each_node_has_its_own_cache(monkeypatch):
    monkeypatch.setenv("REPRO_REMOTE", "s3://bucket/peakd")
    monkeypatch.setenv("REPRO_CACHE", "")  # the same as not set
    variables = workers.cluster_environment()
    assert variables["REPRO_REMOTE"] == "s3://bucket/peakd"
    assert "REPRO_CACHE" not in variables
    assert workers._create_probe() == ""


def test_a_node_that_does_not_see_the_cache_is_refused(own_folders):
    probe = workers._create_probe()
    workers._check_node(probe, machine.code())
    Path(probe).unlink()
    workers._check_node.cache_clear()
    with pytest.raises(
        MissingError,
        match=r"does not see .*/cache; put REPRO_CACHE on a folder that all nodes share",
    ):
        workers._check_node(probe, machine.code())


def test_the_probe_of_a_killed_driver_is_removed_by_the_next_driver(own_folders):
    dead = subprocess.run(
        [sys.executable, "-c", "from repro.runs import workers as w; print(w._create_probe())"],
        env=os.environ | {"PYTHONPATH": str(paths.ROOT)},
        capture_output=True,
        text=True,
    )
    left = Path(dead.stdout.strip())
    assert [*paths.cache().iterdir()] == [left]
    ours = Path(workers._create_probe())
    assert [*paths.cache().iterdir()] == [ours] != [left]


def test_a_node_with_other_code_is_refused():
    with pytest.raises(
        MissingError, match="another version of this package, of Python or of its libraries"
    ):
        workers._check_node("", "another")


def test_without_ray_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingError, match="not installed; run: make ray"):
        workers.Cluster(1)


@pytest.mark.parametrize(
    ("address", "reason"), [("127.0.0.1:1", "refused"), ("nonsense", "Invalid address")]
)
def test_an_address_without_a_cluster_is_refused(ray, monkeypatch, address, reason):
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(
        MissingError, match=f"no Ray cluster at RAY_ADDRESS={address}: .*{reason}.*; start one"
    ):
        workers.Cluster(1)


def test_further_arguments_reach_the_function(monkeypatch):
    """On a stand-in for Ray that runs each task at once."""
    submitted = []

    def remote(task):
        def run(*args):
            future = Future()
            future.set_result(task(*args))
            return SimpleNamespace(future=lambda: future)

        def options(**resources):
            submitted.append(resources)
            return SimpleNamespace(remote=run)

        return SimpleNamespace(options=options)

    fake_ray = SimpleNamespace(
        init=lambda **_: None,
        cluster_resources=lambda: {"CPU": 2.0},
        remote=remote,
        shutdown=lambda: None,
    )
    monkeypatch.setitem(sys.modules, "ray", fake_ray)
    monkeypatch.setattr(workers, "_check_node", lambda *_: None)
    stage = SimpleNamespace(kind="student", key="k")
    with workers.Cluster(2) as cluster:
        future = cluster.submit(lambda *args, **kwargs: (args, kwargs), stage, 1, a=2)
    assert future.result() == ((stage, 1), {"a": 2})
    assert submitted == [
        {"name": "student k", "num_cpus": 1, "num_gpus": 0.0, "max_retries": workers._RETRIES}
    ]


@pytest.mark.parametrize(("given", "expected"), [(None, "0"), ("1", "1")])
def test_usage_statistics_are_off_unless_enabled(monkeypatch, given, expected):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    if given:
        monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", given)
    with pytest.raises(MissingError):
        workers.Cluster(1)
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == expected


def test_rays_sigterm_handler_is_replaced(monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    fake_ray = SimpleNamespace(init=lambda **_: signal.signal(signal.SIGTERM, lambda *_: None))
    monkeypatch.setitem(sys.modules, "ray", fake_ray)
    workers._connect(1)
    assert signal.getsignal(signal.SIGTERM) is before
