"""Agreement with the authors' implementation: reference vectors against the modules that training uses."""

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
        """Within the bound; NaN is not."""
        return self.error <= self.bound


def check_reference(folder: Path) -> list[Comparison]:
    """Compare SPS and the losses with the vectors in `folder` (reference.json, sps.safetensors).

    Raises MissingError if a file is absent, InputError if it does not have that format.
    """
    for name in ("reference.json", "sps.safetensors"):
        if not (folder / name).is_file():
            raise MissingError(f"no {name} in {folder}; give the folder of the reference vectors")
    try:
        record = json.loads((folder / "reference.json").read_text())
        tensors = load_file(folder / "sps.safetensors")
        cases, config = record["meta"]["cases"], record["meta"]["config"]
        models = [row for case in cases for row in _check_model(case, config, tensors)]
        return models + [
            row for number, case in enumerate(record["losses"]) for row in _check_loss(case, number)
        ]
    except (KeyError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{folder} is not in the reference format ({type(error).__name__}: {error})"
        ) from error


def _uses(case: dict[str, Any]) -> list[Use]:
    """The effective layers of a case: of the orders of decision D6, the one with as many layers as the case has."""
    for order in SPS6_ORDERS:
        uses = effective_layers(case["layers"], _SHARING[case["kind"]], order)
        if len(uses) == case["effective_layers"]:
            return uses
    raise ValueError(f"{case['key']} has {case['effective_layers']} effective layers")


def _model(case: dict[str, Any], config: dict[str, Any], state: dict[str, Tensor]) -> Classifier:
    encoder = BertModel(BertConfig(**config, num_hidden_layers=case["layers"]))
    encoder.load_state_dict(
        {name[5:]: tensor for name, tensor in state.items() if name.startswith("bert.")}
    )
    share(encoder, _uses(case))
    model = Classifier(encoder, len(state["classifier.bias"]))
    model.classifier.load_state_dict(
        {name: state[f"classifier.{name}"] for name in ("weight", "bias")}
    )
    return model.double().eval()


def _check_model(
    case: dict[str, Any], config: dict[str, Any], tensors: dict[str, Tensor]
) -> list[Comparison]:
    prefix = case["key"] + "/"
    expected = {
        name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)
    }
    state = {name[6:]: tensor for name, tensor in expected.items() if name.startswith("state/")}
    model = _model(case, config, state)
    output = model(
        **{name: expected[name] for name in ("input_ids", "token_type_ids", "attention_mask")}
    )
    ce = losses.cross_entropy(output.logits, expected["labels"])
    ce.backward()
    got = {
        "cls_per_layer": output.cls_states,
        "pooled": output.pooled,
        "logits": output.logits,
        "ce": ce,
    }
    rows = [
        Comparison(prefix + name, _error(value, expected[name]), OUTPUT_BOUND)
        for name, value in got.items()
    ]
    gradients = {
        name[5:]: tensor for name, tensor in expected.items() if name.startswith("grad/bert.")
    }
    weights = dict(model.encoder.named_parameters())
    worst = max(_error(weights[name[5:]].grad, tensor) for name, tensor in gradients.items())
    count = model.parameter_counts()["with_embeddings"]
    return [
        *rows,
        Comparison(prefix + "gradients", worst, GRADIENT_BOUND),
        Comparison(prefix + "parameters", abs(count - case["n_params"]), 0),
    ]


def _check_loss(case: dict[str, Any], number: int) -> list[Comparison]:
    if case["kind"] == "patience":
        student, teacher = (
            torch.tensor(case[k], dtype=_made_in(case["value"])) for k in ("student", "teacher")
        )
        value = losses.patience(
            student, teacher, "normalized_mean" if case["normalized"] else "mean"
        )
        return [
            Comparison(f"loss {number}/patience", abs(value.item() - case["value"]), OUTPUT_BOUND)
        ]
    student, teacher = (
        torch.tensor(case[f"{name}_logits"], dtype=torch.float64) for name in ("student", "teacher")
    )
    labels, rows = torch.tensor(case["labels"]), torch.arange(len(case["labels"]))
    got = {"ce": losses.cross_entropy(student, labels)}
    for reduction in ("mean", "batchmean"):
        got[f"kl_{reduction}_times_T2"] = losses.soft_cross_entropy(
            student, teacher, case["T"], reduction
        )
        loss = kd.KD(case["alpha"], case["T"], reduction, "both_squared")
        terms = loss.objective(labels, {"train.logits": teacher})
        got[f"total_{reduction}"] = sum(
            terms(Output(student, student, student), rows).values(), torch.zeros(())
        )
    errors = {name: abs(value.item() - case[name]) for name, value in got.items()}
    return [
        Comparison(f"loss {number}/{name}", error, OUTPUT_BOUND) for name, error in errors.items()
    ]


def _made_in(value: float) -> torch.dtype:
    """The authors' code computes the patience loss in float32; such a value is a float32 number exactly."""
    return (
        torch.float32 if torch.tensor(value, dtype=torch.float32).item() == value else torch.float64
    )


def _error(got: Tensor | None, wanted: Tensor) -> float:
    if got is None or got.shape != wanted.shape:
        return float("inf")
    return (got - wanted).abs().max().item()
