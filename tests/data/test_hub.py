"""Loading from a hub on this machine, and errors if the hub is missing or silent."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hub_server import ALIAS, MODEL, SIZES, build_hub, records, serve
from safetensors.torch import load_file

from repro import paths
from repro.config.tasks import GLUE

LOAD = """
import json, sys
from safetensors.torch import save_file
from repro.data import encoders as backbones, glue as data
from repro.config.tasks import GLUE
encoder, tokenizer = backbones.load("bert-base-uncased", 4)
save_file({name: tensor.contiguous() for name, tensor in encoder.state_dict().items()}, sys.argv[1])
splits = {f"{task.name} {split}": data.load(task, split) for task in GLUE for split in data.SPLITS}
rows = {key: [split.texts, split.labels.tolist(), split.source] for key, split in splits.items()}
print(json.dumps({"rows": rows, "ids": tokenizer("a dog").input_ids}))
"""
CACHED = """
from repro.data import encoders as backbones, glue as data
from repro.config.tasks import TASKS
print(data.load(TASKS["RTE"], "dev").source, backbones.depth("bert-base-uncased"))
"""
FAIL = """
import sys, time
from repro.data import encoders as backbones, glue as data
from repro.errors import MissingError
from repro.config.tasks import TASKS
import datasets
for load in (
    lambda: data.load(TASKS["RTE"], "train"), lambda: backbones.load("bert-base-uncased")
):
    start = time.perf_counter()
    try:
        load()
    except MissingError as error:
        print(f"{time.perf_counter() - start:.1f}|{error}")
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hub")
    build_hub(folder)
    return folder


def run(
    code: str, url: str, home: Path, *arguments: str, **extra: str
) -> subprocess.CompletedProcess[str]:
    """Run code in another process: the hub's client reads its address when it is imported."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("HF_", "GLUE_", "TRANSFORMERS_"))
    }
    environment = kept | {"HF_ENDPOINT": url, "HF_HOME": str(home), "NO_PROXY": "127.0.0.1"} | extra
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment,
        cwd=paths.ROOT,
        text=True,
        capture_output=True,
        timeout=600,
    )


def closed_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_loaded_data_are_those_served_and_are_cached_for_offline_use(hub, tmp_path):
    with serve(hub) as url:
        done = run(LOAD, url, tmp_path / "home", str(tmp_path / "loaded"))
    assert done.returncode == 0, done.stderr
    loaded_data = json.loads(done.stdout)
    for task in GLUE:
        for split, size in SIZES.items():
            texts, labels, source = loaded_data["rows"][
                f"{task.name} {'train' if split == 'train' else 'dev'}"
            ]
            served = records(task, split)
            assert texts == served[list(task.columns)].to_numpy().tolist() and len(texts) == size
            assert labels == served["label"].tolist() and source == "hub"
    loaded, stored = (
        load_file(tmp_path / "loaded"),
        load_file(hub / "models" / MODEL / "model.safetensors"),
    )
    assert {int(name.split(".")[2]) for name in loaded if name.startswith("encoder.layer")} == {
        0,
        1,
        2,
        3,
    }
    assert all(torch.equal(tensor, stored[f"bert.{name}"]) for name, tensor in loaded.items())
    assert loaded_data["ids"] == [2, 5, 33, 3]
    offline = run(CACHED, closed_port(), tmp_path / "home")
    assert offline.stdout.split() == ["hub", "12"], offline.stderr


@pytest.mark.parametrize("extra", [{}, {"HF_HUB_OFFLINE": "1"}])
def test_an_unreachable_hub_is_reported_in_one_line_within_seconds(tmp_path, extra):
    url = closed_port()
    done = run(FAIL, url, tmp_path, **extra)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2 and "Traceback" not in done.stderr
    for line, parts in zip(
        lines, (["nyu-mll/glue rte", "GLUE_DIR", "PROFILE=demo"], [ALIAS, "embedded"]), strict=True
    ):
        seconds, _, message = line.partition("|")
        assert float(seconds) < 10  # the client alone would take 23
        assert [part for part in [url, "HF_ENDPOINT", *parts] if part not in message] == []


def test_a_silent_hub_is_reported_in_one_line_within_the_time_limit(tmp_path):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        done = run("import repro.data.hub; repro.data.hub.SECONDS = 0.5" + FAIL, url, tmp_path)
    lines = done.stdout.splitlines()
    assert [float(line.partition("|")[0]) < 20 and "timed out" in line for line in lines] == [
        True,
        True,
    ], done.stderr


def test_a_hub_without_the_data_or_the_model_is_reported_in_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    with serve(tmp_path / "empty") as url:
        done = run(FAIL, url, tmp_path / "home")
    assert done.returncode == 0, done.stderr
    assert [line.count(f"{url} did not give") for line in done.stdout.splitlines()] == [1, 1]
