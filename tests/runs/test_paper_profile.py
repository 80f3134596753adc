"""The paper profile end to end: bert-base-uncased and nyu-mll/glue from a tiny local hub."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hub_server import build_hub, serve

ROOT = Path(__file__).parents[2]
SHORT = [
    "teacher.epochs=1",
    "ptp.epochs=1",
    "student.epochs=1",
    "evaluations_per_epoch=1",
    "precision=float32",
]


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    build_hub(folder)
    with serve(folder) as url:
        yield url


def repro(words: list[str], folder: Path, url: str) -> subprocess.CompletedProcess:
    variables = {
        "HF_ENDPOINT": url,
        "HF_HOME": folder / "hub-cache",
        "REPRO_CACHE": folder / "cache",
        "REPRO_RESULTS": folder / "results",
    }
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("GLUE_DIR", "HF_HUB_OFFLINE")
    }
    command = [sys.executable, "-m", "repro", *words, "--profile", "paper", "--tasks", "MRPC"]
    return subprocess.run(
        command,
        cwd=ROOT,
        env=environment | {k: str(v) for k, v in variables.items()},
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_a_cell_of_the_paper_profile_from_the_hub(hub, tmp_path):
    settings = [word for change in SHORT for word in ("--set", change)]
    words = [
        "run",
        "table2",
        "--method",
        "PeaBERT1",
        "--seed",
        "0",
        "--engine",
        "serial",
        *settings,
    ]
    process = repro(words, tmp_path, hub)
    assert process.returncode == 0, process.stderr
    rows = [
        json.loads(path.read_text())
        for path in (tmp_path / "results" / "paper" / "cells").glob("*.json")
    ]
    assert [(row["cell"]["row"], row["cell"]["task"]) for row in rows] == [("PeaBERT1", "MRPC")]
    assert rows[0]["data"] | {"train": "", "dev": ""} == {
        "source": "hub",
        "train_rows": 64,
        "dev_rows": 32,
        "train": "",
        "dev": "",
    }
    assert rows[0]["backbone"]["name"] == "bert-base-uncased"
    assert rows[0]["effective_layers"] == 2


def test_an_unreachable_hub_is_one_line_and_leaves_no_files(tmp_path):
    process = repro(["run", "table2", "--seed", "0"], tmp_path, "http://127.0.0.1:9")
    assert process.returncode == 2
    (line,) = process.stderr.strip().splitlines()
    assert "http://127.0.0.1:9 did not give" in line
    assert "HF_ENDPOINT" in line
    assert not (tmp_path / "results").exists()
