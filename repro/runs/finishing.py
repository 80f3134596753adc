"""How a cell whose stages are all there becomes a result."""

from typing import Any

from repro import paths
from repro.config.cells import Cell
from repro.data import encoders, metrics
from repro.models import layers
from repro.runs import cache, machine, results
from repro.runs.compute import read
from repro.runs.stages import load_data, stages
from repro.training.loop import resolve_precision


def finish(cell: Cell) -> None:
    """Write the cell's result and predictions from its finished stages."""
    made = {
        stage.kind: stage for stage in stages(cell)
    }  # of several students the last is the cell's own
    # its tensors before any history: reading makes again what is damaged, and the history is then another
    data, final = (
        load_data(cell),
        read(made["student" if cell.method.kind == "student" else "outputs"]),
    )
    metas = {kind: cache.meta(kind, stage.key) or read(stage).meta for kind, stage in made.items()}
    on_train = cell.method.kind == "labels"  # Table 1 is about the training data
    labels = data.train.labels if on_train else data.dev.labels
    logits = final.tensors["train.logits" if on_train else "dev.logits"].numpy()
    trained = metas["student" if cell.method.kind == "student" else "teacher"]
    result = {
        "metrics": {
            name: float(metrics.score(name, labels, logits.argmax(1))) for name in metrics.METRICS
        },
        "seconds": {kind: meta["seconds"] for kind, meta in metas.items()},
        "stages": {kind: stage.key for kind, stage in made.items()},
        "selection": {key: trained[key] for key in ("rule", "steps", "best_step", "best_score")}
        | _last(cell, trained),
        "parameters": trained["parameters"],
        "effective_layers": _depth(cell),
        "data": {
            "train": data.train.fingerprint,
            "dev": data.dev.fingerprint,
            "source": data.train.source,
            "train_rows": len(data.train.labels),
            "dev_rows": len(data.dev.labels),
        },
        "backbone": {
            "name": cell.setting.backbone,
            "sha256": encoders.locate(cell.setting.backbone).sha256,
            "fingerprint": encoders.fingerprint(cell.setting.backbone),
        },
    } | _environment(cell, trained)
    if cell.method.ptp != "none":
        result["ptp"] = {
            key: metas["ptp"][key] for key in ("thresholds", "label_counts", "best_score")
        }
    results.write(cell, result, labels, logits)


def _last(cell: Cell, trained: dict[str, Any]) -> dict[str, float]:
    """The dev score of a student's last step beside that of its best on dev: how optimistic the choice is."""
    chosen = cell.method.kind == "student" and trained["rule"] == "best_dev"
    return {"last_score": trained["history"][-1]["score"]} if chosen else {}


def _depth(cell: Cell) -> int:
    if cell.method.kind != "student":
        return encoders.depth(cell.setting.backbone)
    return len(layers.effective_layers(cell.layers, cell.method.sharing, cell.recipe.sps6_order))


def _environment(cell: Cell, trained: dict[str, Any]) -> dict[str, Any]:
    """Where and with what the cell was made; the hardware is that of its last training, on a cluster not this one."""
    made_on = {name: trained.get(name, here) for name, here in machine.hardware().items()}
    return made_on | {
        "precision": resolve_precision(cell.setting.precision),
        "commit": paths.commit(),
        "versions": machine.versions(),
    }
