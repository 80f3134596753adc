"""The files that start a cluster: the Slurm script with stand-ins, and the Kubernetes manifest."""

import re
import shutil
import subprocess
import sys
import time
from typing import NamedTuple

import pytest
import yaml

from repro.paths import ROOT

SBATCH, YAML = ROOT / "deploy" / "slurm.sbatch", ROOT / "deploy" / "ray-cluster.yaml"

# Stand-ins for Slurm, make and Ray, which print their arguments. The head of Ray listens on its
# port until it is killed, as the real one does.
STANDINS = {
    "bin/scontrol": "echo one; echo two; echo three",
    "bin/srun": r"""
        until [[ $1 != --* ]]; do [[ $1 == --nodelist=* ]] && node=${1#*=}; shift; done
        export node
        exec "$@"
    """,
    "bin/make": r"""
        until [[ -e two.up && -e three.up ]]; do sleep 0.1; done
        echo "make $*"
        exit "$MAKE_CODE"
    """,
    ".venv/bin/ray": r"""
        given="token=${#RAY_AUTH_TOKEN} stats=$RAY_USAGE_STATS_ENABLED address=$RAY_ADDRESS"
        echo "$node: $* $given"
        : >"$node.up"
        if [[ $* == *--head* ]]; then exec PYTHON -m http.server "${RAY_ADDRESS#*:}" &>/dev/null; fi
        exec sleep 60
    """,
}


class Job(NamedTuple):
    """The exit code and the output of the Slurm script."""

    code: int
    output: str


@pytest.fixture
def submit(tmp_path):
    """Run the script as Slurm would, on three nodes that are all this machine."""
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
        process = subprocess.run(
            ["bash", str(script)], env=environment, capture_output=True, text=True, timeout=300
        )
        return Job(process.returncode, process.stdout + process.stderr)

    return run


def test_slurm_starts_a_head_and_a_worker_on_every_other_node(submit):
    job = submit(PROFILE="paper", SEEDS="5")
    assert job.code == 0, job.output
    started = dict(re.findall(r"^(\w+): start (.*)$", job.output, re.MULTILINE))
    assert started.keys() == {"one", "two", "three"}
    assert [name for name, arguments in started.items() if "--head" in arguments] == ["one"]
    for arguments in started.values():
        assert "--num-cpus=4" in arguments
        assert "token=64 stats=0 address=127.0.0.1:20031" in arguments
    assert "make tables ENGINE=ray PROFILE=paper SEEDS=5" in job.output


def test_the_slurm_job_fails_if_make_fails(submit):
    assert submit(code=2).code == 2


def test_slurm_without_an_environment_says_how_to_install_it(submit, tmp_path):
    (tmp_path / ".venv" / "bin" / "ray").unlink()
    job = submit()
    assert job.code == 2
    assert "run make setup ray" in job.output


def test_the_scripts_are_valid_bash():
    for script in (SBATCH, ROOT / "deploy" / "tables.sh"):
        assert subprocess.run(["bash", "-n", script], capture_output=True).stderr == b""


def test_every_slurm_option_has_a_value():
    options = re.findall(r"^#SBATCH (--[\w-]+)=\S+$", SBATCH.read_text(), re.MULTILINE)
    assert {"--nodes", "--ntasks-per-node", "--cpus-per-task", "--time"} <= set(options)
    assert len(options) == len(re.findall(r"^#SBATCH", SBATCH.read_text(), re.MULTILINE))


def test_kubernetes_runs_the_tables_on_a_shared_volume():
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
        (mount,), (source,) = container["volumeMounts"], template["spec"]["volumes"]
        assert mount["name"] == source["name"]
        assert source["persistentVolumeClaim"]["claimName"] == volume["metadata"]["name"]
        assert {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"} in container["env"]
        assert {"cpu", "memory"} <= container["resources"]["limits"].keys()
    assert volume["spec"]["accessModes"] == ["ReadWriteMany"]
    assert job["spec"]["entrypoint"] == "bash deploy/tables.sh --profile demo --engine ray"


def test_kubernetes_and_the_image_use_the_pinned_ray():
    pinned = re.search(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE).group(
        1
    )
    _, job = yaml.safe_load_all(YAML.read_text())
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == pinned
    assert f"FROM rayproject/ray:{pinned}-py311" in (ROOT / "deploy" / "Dockerfile").read_text()


TABLES = ("bash", "deploy/tables.sh", "--profile", "demo")
MAKE = ("make", "-o", ".venv/.base", "tables")


@pytest.mark.parametrize("command", [TABLES, MAKE], ids=["tables.sh", "make"])
def test_sigterm_reaches_python(tmp_path, command):
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(
        "#!/bin/bash\ntrap 'echo stopped >>log; exit 143' TERM\n"
        "echo $* >>log; sleep 60 & wait $!; kill %1\n"
    )
    python.chmod(0o755)
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    environment = {"PATH": f"{python.parent}:/usr/bin:/bin"}
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    log = tmp_path / "log"
    until(lambda: log.exists() and log.read_text())
    process.terminate()
    assert process.wait(30) != 0
    until(lambda: "stopped" in log.read_text())
    started, stopped = log.read_text().splitlines()
    assert started.startswith("-m repro table table1 --profile")
    assert stopped == "stopped"


def until(condition):
    """Wait for it, at most 30 seconds."""
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("nothing happened")
