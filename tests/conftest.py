"""For every test: no network, no display, one thread, and no user's own folders."""

import os

import matplotlib
import pytest

matplotlib.use("Agg")
os.environ.update(HF_HUB_OFFLINE="1", REPRO_PROGRESS="lines", OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Tensors here are tiny: a second thread costs more than it gives, most of all on a busy machine."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch):
    monkeypatch.delenv("GLUE_DIR", raising=False)
