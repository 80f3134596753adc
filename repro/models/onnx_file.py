"""A stock model as an ONNX file, which needs the packages of the extra `onnx`."""

import logging
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from repro.errors import MissingError

NAME = "model.onnx"
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_OPSET = 18


def check() -> None:
    """MissingError if the packages for ONNX are not installed."""
    missing = [name for name in _PACKAGES if not find_spec(name)]
    if missing:
        raise MissingError(
            f"ONNX export needs {', '.join(missing)}; install them with: pip install 'repro[onnx]'"
        )


def save(model: PreTrainedModel, path: Path, batch: dict[str, Tensor]) -> None:
    """Write a model as ONNX with a free number of texts and tokens; its output is "logits"."""
    names = list(batch)

    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *inputs: Tensor) -> Tensor:
            return self.model(**dict(zip(names, inputs, strict=True))).logits

    axes = {0: torch.export.Dim("texts"), 1: torch.export.Dim("tokens", min=2)}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it misses torchvision
    with warnings.catch_warnings(action="ignore"):  # of torch about its own deprecated calls
        program = torch.onnx.export(
            Logits().eval(),
            tuple(batch.values()),
            input_names=names,
            output_names=["logits"],
            dynamic_shapes=((axes,) * len(names),),
            opset_version=_OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    program.save(path)


def run(path: Path, batch: Mapping[str, Tensor]) -> np.ndarray:
    """Logits (texts, classes) of an ONNX file, computed by onnxruntime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = {entry.name for entry in session.get_inputs()}
    inputs = {name: tensor.numpy() for name, tensor in batch.items() if name in names}
    logits: np.ndarray = session.run(["logits"], inputs)[0]
    return logits
