"""An exported model computes what ours does, in every architecture and in every form."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import own_data
import pytest
import tiny
import torch
from safetensors import safe_open

from repro.data import encoders
from repro.errors import InputError, MissingError, ReproError
from repro.models import export, onnx_file
from repro.models.classifier import Classifier
from repro.models.layers import effective_layers
from repro.models.sps import ADAPTERS, share
from repro.report import student_report

LABELS = ["blue", "green", "red"]


def student(
    kind: str, sharing: str = "shuffled", swap_biases: bool = True, layers: int = 2
) -> Classifier:
    encoder = tiny.encoder(kind, layers).float()
    share(encoder, effective_layers(layers, sharing), swap_biases)
    for name, parameter in encoder.named_parameters():
        if re.search("(q|k|query|key|q_lin|k_lin).weight$", name):  # so that a missed swap shows
            parameter.data *= 10
    model = Classifier(encoder, 3).eval()
    for linear in (model.pooler, model.classifier):
        torch.nn.init.normal_(linear.weight)
    return model


def assert_equal(found: np.ndarray, expected: np.ndarray) -> None:
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def tokenizer(tmp_path, kind: str):
    return encoders.load_tokenizer(str(own_data.encoder_folder(tmp_path / "encoder", kind)))


@pytest.mark.parametrize("kind", ADAPTERS)
@pytest.mark.parametrize(
    ("sharing", "swap_biases"), [("none", True), ("shuffled", True), ("shuffled", False)]
)
def test_the_stock_model_has_our_logits(kind, sharing, swap_biases):
    model = student(kind, sharing, swap_biases)
    stock = export.to_transformers(model, LABELS)
    logits, batch = export.reference(stock)
    if kind == "distilbert":
        del batch["token_type_ids"]
    ours = model(**batch).logits.detach().numpy()
    assert np.abs(ours).max() > 0.5
    assert_equal(logits, ours)
    assert type(stock).__module__.startswith("transformers.models.")
    assert stock.config.num_hidden_layers == (2 if sharing == "none" else 4)
    assert stock.config.id2label == dict(enumerate(LABELS))


def test_a_layer_that_is_not_swapped_is_found():
    model = student("bert")
    stock = export.to_transformers(model, LABELS)
    attention = stock.bert.encoder.layer[2].attention.self
    attention.query, attention.key = attention.key, attention.query
    with pytest.raises(ReproError, match="differs from the trained model: logits by up to"):
        export.check_same(model, stock)


def test_an_electra_with_narrow_embeddings_is_refused():
    from transformers import ElectraConfig, ElectraModel

    config = ElectraConfig(
        vocab_size=50, hidden_size=16, embedding_size=8, num_attention_heads=2, num_hidden_layers=1
    )
    with pytest.raises(InputError, match="embeddings narrower"):
        export.to_transformers(Classifier(ElectraModel(config), 2), ["a", "b"])


# folders that are read without this package


def run_card(folder) -> list[str]:
    """Run the code of the model card where this package cannot be imported."""
    blocks = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    environment = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    hide = "import sys; sys.modules['repro'] = None\n"
    lines = []
    for block in blocks:
        done = subprocess.run(
            [sys.executable, "-P", "-c", hide + block],
            cwd=folder.parent,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        lines += done.stdout.splitlines()
    return lines


def facts() -> dict:
    score = {
        metric: {"score": 50.0, "low": 40.0, "high": 60.0} for metric in ("accuracy", "macro_f1")
    }
    return {
        "kind": "student",
        "task": "own-1",
        "learning_rate": 5e-5,
        "method": "pea-kd",
        "layers": 2,
        "effective_layers": 4,
        "encoder": "tiny",
        "encoder_sha256": "0" * 64,
        "given_teacher": "",
        "columns": ["review"],
        "labels": LABELS,
        "train": {"examples": 60, "fingerprint": "1"},
        "dev": {"examples": 20, "fingerprint": "2", "also_in_train": 3},
        "setting": {"max_length": 22, "student": {"epochs": 1, "learning_rate": 1e-4}},
        "trainings": ["student"],
        "seed": 0,
        "recipe": "authors",
        "precision": "float32",
        "device": "cpu",
        "seconds": {"student": 1.0},
        "versions": {"torch": "2"},
        "parameters": {"total": 1000},
        "teacher_parameters": None,
        "ptp_label_counts": None,
        "scores": {"teacher": score, "student": score, "difference": score, "most_frequent": 40.0},
    }


@pytest.mark.parametrize(("most_frequent", "warns"), [(39.9, False), (40.0, True), (70.0, True)])
def test_a_report_says_that_a_student_has_learnt_too_little(most_frequent, warns):
    known = facts()
    known["scores"]["most_frequent"] = most_frequent
    report = student_report.report(known)
    assert ("The student is not clearly above the most frequent class" in report) is warns


@pytest.mark.parametrize("kind", ["bert", "mpnet"])
@pytest.mark.parametrize("shared", [False, True])
def test_plain_transformers_loads_a_folder(tmp_path, kind, shared):
    stock = export.to_transformers(student(kind), LABELS)
    read = tokenizer(tmp_path, kind)
    folder = tmp_path / 'a "folder"'
    folder.mkdir()
    export.write(stock, read, folder, shared)
    (folder / "README.md").write_text(student_report.card(facts(), folder.name, shared))
    expected = export.predict(stock, read, [("A text.",)], 3)[0]
    label, probability = run_card(folder)[0].split()
    assert label == LABELS[expected.argmax()]
    assert float(probability) == pytest.approx(expected.max(), abs=1e-5)
    loaded = export.load(folder)
    assert_equal(export.reference(loaded)[0], export.reference(stock)[0])


def test_the_shared_form_stores_every_tensor_once(tmp_path):
    model = student("bert")
    stock = export.to_transformers(model, LABELS)
    export.save_shared(dict(stock.named_parameters()), tmp_path / export.SHARED)
    with safe_open(tmp_path / export.SHARED, "pt") as file:
        stored = sum(file.get_tensor(name).numel() for name in file.keys())  # noqa: SIM118
        same = json.loads(file.metadata()["same"])
    assert stored == model.parameter_counts()["total"]
    name = "bert.encoder.layer.{}.attention.self.{}.weight"
    assert same[name.format(2, "query")] == name.format(0, "key")
    assert same[name.format(2, "key")] == name.format(0, "query")


def test_an_export_replaces_an_earlier_one(tmp_path):
    stock, read = export.to_transformers(student("bert"), LABELS), tokenizer(tmp_path, "bert")
    folder = tmp_path / "folder"
    folder.mkdir()
    for shared, name in ((False, "model.safetensors"), (True, "shared.safetensors")):
        export.write(stock, read, folder, shared)
        assert [path.name for path in folder.glob("*.safetensors")] == [name]


def test_probabilities_are_in_the_order_of_the_texts(tmp_path):
    stock, read = export.to_transformers(student("bert"), LABELS), tokenizer(tmp_path, "bert")
    texts = [("a red ball and a blue box and a cup",), ("a",), ("blue hat",)]
    together = export.predict(stock, read, texts, 3, batch_size=2)
    one_by_one = np.concatenate([export.predict(stock, read, [text], 3) for text in texts])
    assert together == pytest.approx(one_by_one, abs=1e-6)
    assert together.sum(axis=1) == pytest.approx(1.0)
    assert export.predict(stock, read, [], 3).shape == (0, 3)


# ONNX


def test_missing_onnx_packages_are_named(monkeypatch):
    monkeypatch.setattr(onnx_file, "_PACKAGES", ("onnx", "no_such_package"))
    with pytest.raises(MissingError, match=r"needs .*no_such_package; .*'repro\[onnx\]'"):
        onnx_file.check()


@pytest.mark.parametrize("kind", ["bert", "mpnet"])
def test_onnxruntime_has_our_logits(tmp_path, kind):
    pytest.importorskip("onnx", reason="the extra onnx is not installed")
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    model, read = student(kind, layers=1), tokenizer(tmp_path, kind)
    stock = export.to_transformers(model, LABELS)
    folder = tmp_path / "folder"
    folder.mkdir()
    export.write(stock, read, folder, onnx=True)
    for texts, tokens in ((1, 5), (7, 20)):  # other numbers of texts and tokens than exported
        expected, batch = export.reference(stock, texts, tokens)
        found = onnx_file.run(folder / onnx_file.NAME, batch)
        assert_equal(found, expected)
    (folder / "README.md").write_text(student_report.card(facts(), folder.name, onnx=True))
    predicted = int(export.predict(stock, read, [("A text.",)], 3).argmax())
    assert run_card(folder)[-1] == f"[{predicted}]"
