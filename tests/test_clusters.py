"""The Ray engine on a cluster of two nodes, both on this machine, one of which is killed in the middle."""

import os
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from repro import cells, clusters, comparisons, engine, paths, pipeline, results
from repro.errors import InputError, MissingError
from repro.experiments import plan

ray = pytest.importorskip("ray", reason="Ray is not installed; make ray, or make test, brings it")
pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own

BUDGET = {"train_cap": 48, "dev_cap": 32, "teacher.epochs": 1, "ptp.epochs": 1, "student.epochs": 1,
          "student.batch_size": 16, "teacher.batch_size": 16, "ptp.batch_size": 16}  # fmt: skip
NODE = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 80 * 2**20}
PATIENCE = 300  # seconds that a busy machine may take for what else takes ten


@pytest.fixture(scope="module")
def two_nodes():
    """A head and a second node, each with one CPU."""
    from ray import cloudpickle
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import the tests
    cluster = Cluster(initialize_head=True, head_node_args=NODE | {"include_dashboard": False})
    cluster.add_node(**NODE)
    cluster.wait_for_nodes()
    yield cluster
    cluster.shutdown()


@pytest.fixture
def on_cluster(two_nodes, own_folders, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", two_nodes.address)
    return two_nodes


def hangs_on(victim, mark, compute, stage):
    """`compute(stage)`; but the first student on the node `victim` says so in the file `mark` and never ends."""
    here = ray.get_runtime_context().get_node_id()
    if here == victim and stage.kind == "student" and not mark.exists():
        mark.write_text(stage.key)
        time.sleep(10 * PATIENCE)
    return compute(stage)


def kill_once_marked(cluster, node, mark):
    end = time.monotonic() + PATIENCE
    while not mark.exists() and time.monotonic() < end:
        time.sleep(0.1)
    cluster.remove_node(node, allow_graceful=False)


def tables(made):
    """The table's CSV and that of its comparisons, and all predictions, as bytes."""
    written = [results.write_table("table5", "demo", results.aggregate(made), "tiny"),
               results.write_table("comparisons5", "demo", comparisons.of(made), "tiny")]  # fmt: skip
    return [path.read_bytes() for path in [*written, *map(cells.predictions_path, made)]]


def test_a_node_dies_and_the_tables_are_those_of_one_process(on_cluster, tmp_path, monkeypatch):
    made, mark = plan("table5", "demo", "RTE,MRPC", 1, "authors", BUDGET), tmp_path / "mark"
    (victim,) = on_cluster.worker_nodes
    killer = threading.Thread(target=kill_once_marked, args=(on_cluster, victim, mark), daemon=True)
    killer.start()
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "run_stage", partial(hangs_on, victim.node_id, mark, pipeline.run_stage))
        engine.run_cells(made, "ray")
    killer.join(PATIENCE)
    lost = mark.read_text()  # there: a stage was running on the node that died, and it is in a finished cell
    assert lost in {cells.read(cell)["stages"].get("student") for cell in made}
    assert on_cluster.worker_nodes == set()
    clustered = tables(made)
    monkeypatch.setenv("REPRO_RESULTS", str(tmp_path / "serial"))
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path / "serial-cache"))
    engine.run_cells(made, "serial")
    assert tables(made) == clustered
