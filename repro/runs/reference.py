"""Agreement with the authors' implementation, on reference vectors of SPS and of the losses."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import BertConfig, BertModel

from repro.errors import InputError, MissingError
from repro.methods import kd
from repro.models.classifier import Classifier, Output
from repro.models.layers import SPS6_ORDERS, Use, effective_layers
from repro.models.sps import share
from repro.training import losses

OUTPUT_BOUND, GRADIENT_BOUND = 1e-9, 1e-8  # float64
_SHARING = {"plain": "none", "sps1": "paired", "sps2": "shuffled"}


class Comparison(NamedTuple):
    """The largest absolute error of one quantity of one case, and its bound."""

    case: str
    error: float
    bound: float

    @property
    def agrees(self) -> bool:
        """Whether the error is within the bound; False for NaN."""
        return self.error <= self.bound


def as_text(rows: list[Comparison]) -> str:
    """One line per comparison, then how many agree."""
    lines = [
        f"{'ok  ' if row.agrees else 'OVER'}  {row.case:32} {row.error:.1e} (bound {row.bound:.0e})"
        for row in rows
    ]
    return "\n".join([*lines, f"{sum(row.agrees for row in rows)} of {len(rows)} agree"])


def check_reference(folder: Path) -> list[Comparison]:
    """Compare SPS and the losses with reference vectors.

    Args:
        folder: Has reference.json (cases, losses) and sps.safetensors (inputs, weights, outputs).

    Returns:
        One comparison per case and quantity.

    Raises:
        MissingError: If a file is missing.
        InputError: If a file does not have the reference format.
    """
    for name in ("reference.json", "sps.safetensors"):
        if not (folder / name).is_file():
            raise MissingError(f"no {name} in {folder}; give the folder of the reference vectors")
    comparisons = []
    try:
        record = json.loads((folder / "reference.json").read_text())
        tensors = load_file(folder / "sps.safetensors")
        for case in record["meta"]["cases"]:
            case_tensors = _below(tensors, f"{case['key']}/")
            comparisons += _check_model(case, record["meta"]["config"], case_tensors)
        for number, case in enumerate(record["losses"]):
            check = _check_patience if case["kind"] == "patience" else _check_kd
            comparisons += check(case, f"loss {number}")
    except (KeyError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{folder} is not in the reference format ({type(error).__name__}: {error})"
        ) from error
    return comparisons


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names start with the prefix, named without it."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def _check_model(
    case: dict[str, Any], config: dict[str, Any], expected: dict[str, Tensor]
) -> list[Comparison]:
    """Outputs, gradients and number of parameters of a student with the reference's weights."""
    model = _build(case, config, _below(expected, "state/"))
    inputs = ("input_ids", "token_type_ids", "attention_mask")
    output = model(**{name: expected[name] for name in inputs})
    ce = losses.cross_entropy(output.logits, expected["labels"])
    ce.backward()
    quantities = {
        "cls_per_layer": output.cls_states,
        "pooled": output.pooled,
        "logits": output.logits,
        "ce": ce,
    }
    comparisons = [
        Comparison(f"{case['key']}/{name}", _error(value, expected[name]), OUTPUT_BOUND)
        for name, value in quantities.items()
    ]
    parameters = dict(model.encoder.named_parameters())
    gradient_error = max(
        _error(parameters[name].grad, gradient)
        for name, gradient in _below(expected, "grad/bert.").items()
    )
    count = model.parameter_counts()["with_embeddings"]
    return [
        *comparisons,
        Comparison(f"{case['key']}/gradients", gradient_error, GRADIENT_BOUND),
        Comparison(f"{case['key']}/parameters", abs(count - case["n_params"]), 0),
    ]


def _build(case: dict[str, Any], config: dict[str, Any], state: dict[str, Tensor]) -> Classifier:
    encoder = BertModel(BertConfig(**config, num_hidden_layers=case["layers"]))
    encoder.load_state_dict(_below(state, "bert."))
    share(encoder, _uses(case))
    model = Classifier(encoder, len(state["classifier.bias"]))
    model.classifier.load_state_dict(_below(state, "classifier."))
    return model.double().eval()


def _uses(case: dict[str, Any]) -> list[Use]:
    """Effective layers, in the order of decision D6 that has the case's number of them."""
    for order in SPS6_ORDERS:
        uses = effective_layers(case["layers"], _SHARING[case["kind"]], order)
        if len(uses) == case["effective_layers"]:
            return uses
    raise ValueError(f"{case['key']} has {case['effective_layers']} effective layers")


def _check_patience(case: dict[str, Any], name: str) -> list[Comparison]:
    # The authors' code computes some values in float32; these are exact float32 numbers.
    value = case["value"]
    single = torch.tensor(value, dtype=torch.float32).item() == value
    dtype = torch.float32 if single else torch.float64
    student, teacher = torch.tensor(case["student"], dtype=dtype), case["teacher"]
    reduction = "normalized_mean" if case["normalized"] else "mean"
    loss = losses.patience(student, torch.tensor(teacher, dtype=dtype), reduction)
    return [Comparison(f"{name}/patience", abs(loss.item() - value), OUTPUT_BOUND)]


def _check_kd(case: dict[str, Any], name: str) -> list[Comparison]:
    student = torch.tensor(case["student_logits"], dtype=torch.float64)
    teacher = torch.tensor(case["teacher_logits"], dtype=torch.float64)
    labels = torch.tensor(case["labels"])
    output, rows = Output(student, student, student), torch.arange(len(labels))
    values = {"ce": losses.cross_entropy(student, labels)}
    for reduction in ("mean", "batchmean"):
        kl = losses.soft_cross_entropy(student, teacher, case["T"], reduction)
        loss = kd.KD(case["alpha"], case["T"], reduction, "both_squared")
        terms = loss.objective(labels, {"train.logits": teacher})(output, rows)
        values[f"kl_{reduction}_times_T2"] = kl
        values[f"total_{reduction}"] = torch.stack(list(terms.values())).sum()
    return [
        Comparison(f"{name}/{quantity}", abs(value.item() - case[quantity]), OUTPUT_BOUND)
        for quantity, value in values.items()
    ]


def _error(value: Tensor | None, expected: Tensor) -> float:
    """The largest absolute difference; infinity if the shapes differ."""
    if value is None or value.shape != expected.shape:
        return float("inf")
    return (value - expected).abs().max().item()
