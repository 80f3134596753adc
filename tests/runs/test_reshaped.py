"""Students whose method changes their network, as stages: kept, loaded, resumed, keyed."""

import numpy as np
import pytest
import torch
from tiny_cells import tiny

from repro.errors import InputError
from repro.runs import cache, code_version, compute, distil, engine, reshaped, results, stages
from repro.training import checkpoints
from repro.training.loop import Callback, predict

ROWS = ("WID", "HomoDistil", "HomoDistil-PLATON", "Compacter", "Compacter++")
MODULES = ("wid", "homodistil", "homodistil", "compacter", "compacter")


def cells(**changes):
    return {cell.row: cell for cell in tiny("related", **changes) if cell.row in ROWS}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """All rows with their results, in folders of this module."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("cache", "results"):
            patch.setenv(f"REPRO_{name.upper()}", str(tmp_path_factory.mktemp(name)))
        made = cells()
        engine.run_cells([*made.values()], "serial")
        yield made


@pytest.mark.parametrize("row", ROWS)
def test_the_scored_model_is_the_one_that_is_kept(done, row):
    stage = stages.resolve(done[row]).trained
    data = compute.load_data(stage.spec.inputs)
    logits, _ = predict(reshaped.load_model(stage), data.dev_tokens)
    assert np.array_equal(logits, compute.read(stage).tensors["dev.logits"].numpy())
    assert np.array_equal(results.predictions(done[row])[["logit_0", "logit_1"]], logits)


@pytest.mark.parametrize(
    ("row", "hidden", "start"),
    [("WID", 32, True), ("HomoDistil", 32, True), ("Compacter", 64, False)],
)
def test_widths_and_counts(done, row, hidden, start):
    stage = stages.resolve(done[row]).trained
    model = reshaped.load_model(stage)
    assert model.encoder.config.hidden_size == hidden
    counts = results.read(done[row])["parameters"]
    assert counts["layers"] == model.parameter_counts()["layers"]
    assert (counts["trained"] < counts["total"]) == (row == "Compacter")
    assert stage.spec.loss.from_teacher == start


@pytest.mark.parametrize(
    ("row", "rates"),
    [
        ("WID", [2e-4, 5e-4, 1e-3]),
        ("Compacter", [1.2e-3, 3e-3, 6e-3]),
        ("HomoDistil", [2e-4, 5e-4, 1e-3]),  # has none: the profile's grid
    ],
)
def test_a_search_is_centred_on_the_methods_own_learning_rate(row, rates):
    """No grid of a profile, which is for fine-tuning a whole encoder, has Compacter's rate."""
    searched = {cell.row: cell for cell in tiny("related", "textbook") if cell.row in ROWS}
    candidates = stages.resolve(searched[row]).trained.parent("search").parents
    assert [stage.spec.training.learning_rate for stage in candidates] == rates


@pytest.mark.parametrize("row", ["WID", "HomoDistil"])
def test_a_narrowed_student_is_exported_as_a_plain_model(done, row):
    stock, _ = distil.stock_model(stages.resolve(done[row]))  # its logits are checked there
    assert (stock.config.model_type, stock.config.hidden_size) == ("bert", 32)


def test_adapters_have_no_stock_form(done):
    with pytest.raises(InputError, match="parameters that a stock bert lacks"):
        distil.stock_model(stages.resolve(done["Compacter"]))


def test_a_student_from_the_teacher_starts_there(done, monkeypatch):
    stage = stages.resolve(done["HomoDistil"]).trained
    teacher = compute.read(stage.parent("outputs").parent("teacher")).tensors
    seen = {}

    class Start(Callback):
        def on_start(self, training):
            seen.update({n: p.clone() for n, p in training.model.student.named_parameters()})
            raise KeyboardInterrupt

    monkeypatch.setattr(compute, "usual_callbacks", lambda stage: [Start()])
    with pytest.raises(KeyboardInterrupt):
        compute.function_of("reshaped")(stage)
    for name in ("pooler.weight", "encoder.encoder.layer.3.output.dense.weight"):
        assert torch.equal(seen[name], teacher[name])


@pytest.mark.parametrize("row", ["WID", "HomoDistil-PLATON", "Compacter"])
def test_an_interrupted_training_resumes_bit_identically(done, row, monkeypatch):
    monkeypatch.setenv("REPRO_CHECKPOINT_STEPS", "1")
    monkeypatch.setattr(checkpoints, "_SHARE", 0)
    stage = stages.resolve(cells(**{"student.epochs": 2})[row]).trained
    whole_run, partial = lambda kind, key: cache.location(kind, f"{key}.whole"), cache.partial
    monkeypatch.setattr(cache, "partial", whole_run)
    whole = compute.function_of("reshaped")(stage).tensors
    monkeypatch.setattr(cache, "partial", partial)
    usual, steps = compute.usual_callbacks, []

    class Kill(Callback):
        def on_step(self, training):
            steps.append(training.progress.step)
            if training.progress.step in (2, 5) and steps.count(training.progress.step) == 1:
                raise KeyboardInterrupt

    monkeypatch.setattr(compute, "usual_callbacks", lambda stage: [*usual(stage), Kill()])
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            compute.function_of("reshaped")(stage)
    resumed = compute.function_of("reshaped")(stage).tensors
    assert steps == list(range(1, 7))  # no step is done twice
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.parametrize(("row", "module"), zip(ROWS, MODULES, strict=True))
def test_the_key_covers_the_methods_code_and_the_variant(row, module):
    stage = stages.resolve(cells()[row]).trained
    names = code_version.modules(stage.spec)
    assert {f"repro.methods.{module}", "repro.models.narrow", "repro.training.reshaping"} <= {
        *names
    }
    assert len({stages.resolve(cell).trained.key for cell in cells().values()}) == len(ROWS)


def test_the_learning_rate_is_the_methods_own():
    rates = {
        row: stages.resolve(c).trained.spec.training.learning_rate for row, c in cells().items()
    }
    assert rates["Compacter"] == 3e-3 and rates["HomoDistil"] == 2e-4
