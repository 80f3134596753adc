"""For every test: no network, no display, one thread, and no user's own folders."""

import os
import sys

import matplotlib
import pytest
from hypothesis import settings

# No deadline: a busy machine is no error. The same examples in every run: a failure is found again.
settings.register_profile("here", max_examples=50, deadline=None, derandomize=True, database=None)
settings.load_profile("here")
matplotlib.use("Agg")
FOLDERS = ("cache", "results", "figures")
os.environ.update(
    HF_HUB_OFFLINE="1", REPRO_PROGRESS="lines", OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false"
)


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Tensors in the tests are tiny: a second thread costs more than it gains."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _never_the_folders_of_the_checkout(tmp_path_factory):
    """Where tests write that set no folders themselves."""
    with pytest.MonkeyPatch.context() as patch:
        for name in FOLDERS:
            patch.setenv(f"REPRO_{name.upper()}", str(tmp_path_factory.mktemp(name)))
        yield


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch):
    before = dict(os.environ)
    for name in ("GLUE_DIR", "RAY_ADDRESS", "REPRO_REMOTE", "REPRO_GOALS"):
        monkeypatch.delenv(name, raising=False)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture
def own_folders(tmp_path, monkeypatch):
    """cache, results and figures of this test alone, below the folder that is returned."""
    for name in FOLDERS:
        monkeypatch.setenv(f"REPRO_{name.upper()}", str(tmp_path / name))
    return tmp_path


@pytest.fixture(scope="module")
def module_folders(tmp_path_factory):
    """cache and results that the tests of one file share."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REPRO_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("REPRO_RESULTS", str(tmp_path_factory.mktemp("results")))
        yield


@pytest.fixture
def repro(own_folders, monkeypatch, capsys):
    """Run `python -m repro` with arguments in this process: (exit code, stdout, stderr)."""
    from repro import cli

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["repro", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            cli.main()
        said = capsys.readouterr()
        return stop.value.code or 0, said.out, said.err

    return call
