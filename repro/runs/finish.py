"""Turn the finished stages of a cell into its result."""

from typing import Any

from repro.data import encoders, metrics
from repro.runs import cache, machine, results
from repro.runs.compute import read
from repro.runs.stages import Plan, load_splits


def finish(plan: Plan) -> None:
    """Write the result and the predictions of a cell.

    Args:
        plan: The cell, all of whose stages have artefacts.
    """
    cell, encoder = plan.cell, plan.cell.setting.backbone
    train, dev = load_splits(cell.task, cell.setting)
    student, on_train = cell.method.kind == "student", cell.method.kind == "labels"  # Table 1
    # Tensors first: reading them recomputes what is damaged, and with it what the metas report.
    tensors = read(plan.trained if student else plan.stage("outputs")).tensors
    metas: dict[str, dict[str, Any]] = {}
    seconds: dict[str, float] = {}  # by kind; the candidates of a search count as students
    for stage in plan.stages:
        metas[stage.kind] = cache.meta(stage.kind, stage.key) or read(stage).meta
        seconds[stage.kind] = seconds.get(stage.kind, 0.0) + metas[stage.kind]["seconds"]
    labels = train.labels if on_train else dev.labels
    logits = tensors["train.logits" if on_train else "dev.logits"].numpy()
    trained = metas[plan.trained.kind]
    selection = {name: trained[name] for name in ("rule", "steps", "best_step", "best_score")}
    if student and trained["rule"] == "best_dev":  # shows how optimistic a choice on dev is
        selection["last_score"] = trained["history"][-1]["score"]
    predicted = logits.argmax(axis=1)
    result: dict[str, Any] = {
        "metrics": {
            name: float(metrics.score(name, labels, predicted)) for name in metrics.METRICS
        },
        "seconds": seconds,
        "stages": {stage.kind: stage.key for stage in plan.stages},
        "selection": selection,
        "parameters": trained["parameters"],
        "effective_layers": plan.effective_layers,
        "data": {
            "train": train.fingerprint,
            "dev": dev.fingerprint,
            "source": train.source,
            "train_rows": len(train.labels),
            "dev_rows": len(dev.labels),
        },
        "backbone": {
            "name": encoder,
            "sha256": encoders.locate(encoder).sha256,
            "fingerprint": encoders.fingerprint(encoder),
        },
        "precision": plan.trained.spec.training.precision,
        "processor": trained.get("processor", ""),  # not recorded by older artefacts
    } | {name: trained[name] for name in ("device", "threads", "commit", "versions")}
    if "ptp" in metas:
        names = ("thresholds", "label_counts", "best_score")
        result["ptp"] = {name: metas["ptp"][name] for name in names}
    results.write(cell, result, labels, logits)


def outdated(plan: Plan) -> str:
    """What has changed since a cell's result was computed, such as "data"; "" if nothing has.

    Args:
        plan: The cell as it would be computed now.
    """
    stored = results.read(plan.cell)
    if stored["stages"] == {stage.kind: stage.key for stage in plan.stages}:
        return ""
    spec = plan.trained.spec
    now = {
        "training data": (stored["data"]["train"], spec.inputs.train),
        "dev data": (stored["data"]["dev"], spec.inputs.dev),
        "encoder": (stored["backbone"]["fingerprint"], spec.inputs.encoder_files),
        "precision": (stored["precision"], spec.training.precision),
        "version of torch or transformers": (stored["versions"], machine.versions()),
    }
    changed = [name for name, (before, after) in now.items() if before != after]
    return ", ".join(changed) or "code"
