"""A version of the code that a stage's numbers depend on.

It is a hash of the syntax trees of a few modules, without docstrings and comments, and of the
versions of torch and transformers. It is part of the stage's key: changed code means another key.
Syntax trees also differ between minor versions of Python: 3.11 and 3.12 have different keys.
"""

import ast
import hashlib
import importlib.util
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from repro.runs import machine

# What turns tokens into numbers, for every stage. tests/runs/test_code_version.py checks that each
# other module that these import is listed in UNRELATED.
SHARED = (
    "repro.data.encode",
    "repro.data.metrics",
    "repro.models.classifier",
    "repro.models.fast",
    "repro.models.layers",
    "repro.models.sps",
    "repro.runs.compute",
    "repro.training.loop",
    "repro.training.losses",
    "repro.training.optim",
    "repro.training.states",
)
# Further modules that a method's module depends on
OF_METHOD = {
    "repro.methods.compacter": ("repro.methods.finetune", "repro.models.narrow"),
    "repro.methods.homodistil": ("repro.models.narrow", "repro.models.observe"),
    "repro.methods.minilm_v2": ("repro.methods.minilm",),
    "repro.methods.ptp": ("repro.data.ptp_labels",),
    "repro.methods.wid": ("repro.methods.finetune", "repro.models.narrow"),
}
# Further modules that the rarer kinds of stage depend on
_PHASES = ("data.augment", "models.masked", "models.observe", "models.pair", "runs.phases")
OF_KIND = {
    "words": tuple(f"repro.{name}" for name in _PHASES),
    "phase": tuple(f"repro.{name}" for name in _PHASES),
    "reshaped": ("repro.runs.reshaped", "repro.training.reshaping"),
    "classroom": ("repro.runs.classroom",),  # the teacher of the course
}


def modules(spec: Any) -> list[str]:
    """The modules that determine a stage's numbers: the shared ones, and those of its methods.

    Args:
        spec: The values of a stage. The module of each of its dataclasses below `repro.methods`
            counts, e.g. `patient_kd` and `kd` for a student that is distilled with Patient KD.
    """
    of_methods = {name for name in _classes(spec) if name.startswith("repro.methods.")}
    more = {name for method in of_methods for name in OF_METHOD.get(method, ())}
    return sorted({*SHARED, *of_methods, *more, *OF_KIND.get(spec.kind, ())})


def _classes(value: Any) -> Iterable[str]:
    """Modules of the dataclasses that a value consists of."""
    if is_dataclass(value) and not isinstance(value, type):
        yield type(value).__module__
        for entry in fields(value):
            yield from _classes(getattr(value, entry.name))


def code_version(spec: Any) -> str:
    """16 hex digits that change with the code or the libraries of a stage's computation."""
    versions = {name: machine.versions()[name] for name in ("torch", "transformers")}
    trees = {name: syntax_hash(_source(name)) for name in modules(spec)}
    return hashlib.sha256(repr((versions, trees)).encode()).hexdigest()[:16]


@lru_cache(maxsize=256)
def syntax_hash(source: str) -> str:
    """SHA-256 of the syntax tree of Python code, without docstrings and comments."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if not isinstance(body, list) or not body or not isinstance(body[0], ast.Expr):
            continue
        if isinstance(body[0].value, ast.Constant) and isinstance(body[0].value.value, str):
            body[:] = body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


@lru_cache(maxsize=256)
def _source(module: str) -> str:
    module_spec = importlib.util.find_spec(module)
    assert module_spec is not None and module_spec.origin is not None
    return Path(module_spec.origin).read_text(encoding="utf-8")
