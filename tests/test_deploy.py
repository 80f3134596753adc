"""The files that start a cluster: Slurm's, run with stand-ins for Slurm and Ray, and Kubernetes'."""

import re
import subprocess
from collections import namedtuple

import pytest
import yaml

from repro.paths import ROOT

SBATCH, YAML = ROOT / "deploy" / "slurm.sbatch", ROOT / "deploy" / "ray-cluster.yaml"
Job = namedtuple("Job", "code said")
# each writes what it was called with; ray's head answers on its port until it is killed, as the real one does
STANDINS = {
    "bin/scontrol": "echo one; echo two; echo three",
    "bin/srun": 'until [[ $1 != --* ]]; do [[ $1 == --nodelist=* ]] && on=${1#*=}; shift; done; export on; exec "$@"',
    "bin/make": 'until [[ -e two.up && -e three.up ]]; do sleep 0.1; done; echo "make $*"; exit "$MAKE_CODE"',
    ".venv/bin/ray": 'echo "$on: $* token=${#RAY_AUTH_TOKEN} stats=$RAY_USAGE_STATS_ENABLED address=$RAY_ADDRESS"\n'
    ': >"$on.up"\n'
    'port=${RAY_ADDRESS#*:}; [[ $* != *--head* ]] || exec PYTHON -m http.server "$port" &>/dev/null\n'
    "exec sleep 60",
}


@pytest.fixture
def submit(tmp_path):
    """Run the script as Slurm would on three nodes, all this machine; returns its exit code and what was called."""
    import sys

    for name, text in STANDINS.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/bash\n{text.replace('PYTHON', sys.executable)}\n")
        path.chmod(0o755)

    def run(code=0, **changes):
        environment = {
            "PATH": f"{tmp_path}/bin:/usr/bin:/bin",
            "SLURM_SUBMIT_DIR": str(tmp_path),
            "SLURM_JOB_NODELIST": "[one-three]",
            "SLURM_JOB_ID": "31",
            "SLURM_CPUS_PER_TASK": "4",
            "MAKE_CODE": str(code),
        } | changes
        text = SBATCH.read_text().replace("${nodes[0]}:$port", "127.0.0.1:$port")
        script = tmp_path / "job"
        script.write_text(text.replace("/dev/tcp/${nodes[0]}", "/dev/tcp/127.0.0.1"))
        done = subprocess.run(
            ["bash", str(script)], env=environment, capture_output=True, text=True, timeout=300
        )
        return Job(done.returncode, done.stdout + done.stderr)

    return run


def test_slurm_starts_a_head_and_a_worker_on_each_other_node(submit):
    job = submit(PROFILE="paper", SEEDS="5")
    assert job.code == 0, job.said
    started = dict(re.findall(r"^(\w+): start (.*)$", job.said, re.MULTILINE))
    assert started.keys() == {"one", "two", "three"}
    assert [name for name, words in started.items() if "--head" in words] == ["one"]
    for words in started.values():
        assert "--num-cpus=4" in words and "token=64 stats=0 address=127.0.0.1:20031" in words
    assert "make tables ENGINE=ray PROFILE=paper SEEDS=5" in job.said


def test_slurm_is_told_when_it_fails(submit):
    assert submit(code=2).code == 2


def test_slurm_without_an_environment_says_how_to_make_it(submit, tmp_path):
    (tmp_path / ".venv" / "bin" / "ray").unlink()
    job = submit()
    assert job.code == 2
    assert "run make setup ray" in job.said


def test_the_scripts_are_bash():
    for script in (SBATCH, ROOT / "deploy" / "tables.sh"):
        assert subprocess.run(["bash", "-n", script], capture_output=True).stderr == b""


def test_slurm_reads_its_options():
    options = re.findall(r"^#SBATCH (--[\w-]+)=\S+$", SBATCH.read_text(), re.MULTILINE)
    assert {"--nodes", "--ntasks-per-node", "--cpus-per-task", "--time"} <= set(options)
    assert len(options) == len(re.findall(r"^#SBATCH", SBATCH.read_text(), re.MULTILINE))


def test_kubernetes_runs_the_tables_on_one_volume():
    volume, job = yaml.safe_load_all(YAML.read_text())
    assert (volume["kind"], job["apiVersion"], job["kind"]) == (
        "PersistentVolumeClaim",
        "ray.io/v1",
        "RayJob",
    )
    cluster = job["spec"]["rayClusterSpec"]
    (group,) = cluster["workerGroupSpecs"]
    for template in (cluster["headGroupSpec"]["template"], group["template"]):
        (container,) = template["spec"]["containers"]
        (mounted,), (given,) = container["volumeMounts"], template["spec"]["volumes"]
        assert mounted["name"] == given["name"]
        assert given["persistentVolumeClaim"]["claimName"] == volume["metadata"]["name"]
        assert {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"} in container["env"]
        assert {"cpu", "memory"} <= container["resources"]["limits"].keys()
    assert volume["spec"]["accessModes"] == ["ReadWriteMany"]
    assert job["spec"]["entrypoint"] == "bash deploy/tables.sh --profile demo --engine ray"


def test_kubernetes_and_the_image_have_the_pinned_ray():
    pinned = re.search(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE).group(
        1
    )
    _, job = yaml.safe_load_all(YAML.read_text())
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == pinned
    assert f"FROM rayproject/ray:{pinned}-py311" in (ROOT / "deploy" / "Dockerfile").read_text()
