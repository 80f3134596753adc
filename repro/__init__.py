"""Pea-KD reproduced: shuffled parameter sharing, and pretraining with teacher predictions."""

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """`distill` and `load_student`, imported when used: `import repro` loads nothing heavy."""
    if name in ("distill", "load_student"):
        from repro import api

        return getattr(api, name)
    raise AttributeError(f"module 'repro' has no attribute {name!r}")
