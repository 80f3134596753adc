"""Turn the finished stages of a cell into its result; tell whether a result is outdated."""

from typing import Any

from repro.data import encoders, metrics
from repro.data.glue import Split
from repro.runs import cache, machine, results
from repro.runs.compute import read
from repro.runs.specs import load_splits
from repro.runs.stages import Plan


def finish(plan: Plan) -> None:
    """Write the result and the predictions of a cell.

    Args:
        plan: The resolved cell; all its stages must have artefacts.
    """
    cell = plan.cell
    train, dev = load_splits(cell.task, cell.setting)
    student, on_train = cell.method.kind == "student", cell.method.kind == "labels"  # Table 1
    # Tensors first: reading them recomputes what is damaged, and with it what the metas report.
    tensors = read(plan.trained if student else plan.stage("outputs")).tensors
    metas: dict[str, dict[str, Any]] = {}
    seconds: dict[str, float] = {}  # by kind; the candidates of a search count as students
    for stage in plan.own:
        metas[stage.kind] = cache.meta(stage.kind, stage.key) or read(stage).meta
        seconds[stage.kind] = seconds.get(stage.kind, 0.0) + metas[stage.kind]["seconds"]
    labels = train.labels if on_train else dev.labels
    logits = tensors["train.logits" if on_train else "dev.logits"].numpy()
    predicted = logits.argmax(axis=1)
    trained = metas[plan.trained.kind]
    selection = {name: trained[name] for name in ("rule", "steps", "best_step", "best_score")}
    if student and trained["rule"] == "best_dev":  # shows how optimistic a choice on dev is
        selection["last_score"] = trained["history"][-1]["score"]
    result: dict[str, Any] = {
        "metrics": {
            name: float(metrics.score(name, labels, predicted)) for name in metrics.METRICS
        },
        "seconds": seconds,
        "stages": {stage.kind: stage.key for stage in plan.own},
        "selection": selection,
        "parameters": trained["parameters"],
        "effective_layers": plan.effective_layers,
        "data": _data_facts(train, dev),
        "backbone": _encoder_facts(cell.setting.backbone),
        "precision": plan.trained.spec.training.precision,
        "processor": trained.get("processor", ""),  # not recorded by older artefacts
    } | {name: trained[name] for name in ("device", "threads", "commit", "versions")}
    if "ptp" in metas:
        names = ("thresholds", "label_counts", "best_score")
        result["ptp"] = {name: metas["ptp"][name] for name in names}
    results.write(cell, result, labels, logits)


def _data_facts(train: Split, dev: Split) -> dict[str, Any]:
    return {
        "train": train.fingerprint,
        "dev": dev.fingerprint,
        "source": train.source,
        "train_rows": len(train.labels),
        "dev_rows": len(dev.labels),
    }


def _encoder_facts(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "sha256": encoders.locate(name).sha256,
        "fingerprint": encoders.fingerprint(name),
    }


def outdated(plan: Plan) -> str:
    """Name what has changed since a cell's result was computed, e.g. "dev data".

    Args:
        plan: The cell as it would be computed now.

    Returns:
        The names, separated by commas; "" if nothing has changed.
    """
    stored = results.read(plan.cell)
    if stored["stages"] == {stage.kind: stage.key for stage in plan.own}:
        return ""
    spec = plan.trained.spec
    now = {
        "training data": (stored["data"]["train"], spec.inputs.train),
        "dev data": (stored["data"]["dev"], spec.inputs.dev),
        "encoder": (stored["backbone"]["fingerprint"], spec.inputs.encoder_files),
        "precision": (stored["precision"], spec.training.precision),
    } | {
        f"version of {name}": (stored["versions"].get(name), version)
        for name, version in machine.versions().items()
    }
    changed = [name for name, (before, after) in now.items() if before != after]
    return ", ".join(changed) or "code"
