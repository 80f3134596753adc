"""Mutation tests: each wrong line in mutants.csv must fail the tests named beside it.

    python tests/run_mutants.py [--first N] [--last N]

A mutant replaces `old`, which occurs once in `file`, by `new`. It is applied in a temporary copy of
the repository, never in place. `test` names files or node ids, separated by spaces.
"""

import argparse
import csv
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
_COPIED = ("repro", "tests", "pyproject.toml", "constraints.txt")
_TESTS_FAILED = 1  # pytest's exit code; others mean that the tests did not run
_SECONDS = 300  # a mutant that makes a test wait this long is killed too


class Mutant(NamedTuple):
    """One line of mutants.csv."""

    file: str
    old: str
    new: str
    test: str


def read() -> list[Mutant]:
    """All mutants, in the order of the file."""
    with (ROOT / "tests" / "mutants.csv").open(encoding="utf-8", newline="") as file:
        return [Mutant(**row) for row in csv.DictReader(file)]


def problem(mutant: Mutant) -> str:
    """Why a mutant cannot be applied; "" if it can."""
    count = (ROOT / mutant.file).read_text(encoding="utf-8").count(mutant.old)
    if count != 1:
        return f"{mutant.old!r} occurs {count} times in {mutant.file}; it must occur once"
    return f"{mutant.old!r} is not changed" if mutant.old == mutant.new else ""


def survives(mutant: Mutant, copy: Path) -> str:
    """Run the tests of a mutant in a copy of the repository.

    Returns:
        "" if they fail, as they should; otherwise what happened.
    """
    path = copy / mutant.file
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-x", "-q"]
    environment = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        run = subprocess.run(
            [*command, *mutant.test.split()],
            cwd=copy,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return ""
    finally:
        path.write_text(text, encoding="utf-8")
    if run.returncode == _TESTS_FAILED:
        return ""
    last_line = (run.stdout + run.stderr).strip().splitlines()[-1:]
    return f"exit code {run.returncode}: {''.join(last_line)}"


def main() -> int:
    """Run the mutants; returns 1 if one survives or cannot be applied."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--first", type=int, default=1, help="number of the first mutant")
    parser.add_argument("--last", type=int, default=len(read()), help="number of the last mutant")
    options = parser.parse_args()
    chosen = [*enumerate(read(), start=1)][options.first - 1 : options.last]
    start, failures = time.monotonic(), 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in _COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, copy / name)
        for number, mutant in chosen:
            begun = time.monotonic()
            reason = problem(mutant) or survives(mutant, copy)
            failures += bool(reason)
            outcome = f"SURVIVED ({reason})" if reason else "killed"
            change = f"{mutant.file}: {mutant.old} -> {mutant.new}"
            print(f"{number:3} {time.monotonic() - begun:5.1f} s {outcome}: {change}", flush=True)
    minutes = (time.monotonic() - start) / 60
    print(
        f"{len(chosen)} mutants, {len(chosen) - failures} killed, {failures} not, {minutes:.1f} min"
    )
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
