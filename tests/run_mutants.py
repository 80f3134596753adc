"""Mutation tests: each wrong line in mutants.csv must fail the tests named beside it.

    python tests/run_mutants.py [--first N] [--last N]

A mutant replaces `old`, which occurs once in `file`, by `new`. It is applied in a temporary copy of
the repository, never in place. `test` names files or node ids, separated by spaces.
"""

import argparse
import csv
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
_COPIED = ("repro", "tests", "pyproject.toml", "constraints.txt")
_SECONDS = 300  # a mutant that makes its tests wait this long is killed too


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


def run_tests(copy: Path, tests: list[str], log: Path, seconds: int = _SECONDS) -> int:
    """pytest's exit code in a copy of the repository; negative if it was stopped.

    A fork has torch and transformers loaded, which takes longer than most tests, but not `repro`.
    """
    child = os.fork()
    if child == 0:
        signal.alarm(seconds)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(copy)
        os.environ["PYTHONPATH"] = str(copy)  # of processes that a test starts
        sys.path[:0] = [str(copy)]
        code = pytest.main(["-x", "-q", *tests])
        sys.stdout.flush()
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def survives(mutant: Mutant, copy: Path, log: Path) -> str:
    """Apply a mutant to the copy and run its tests; "" if they fail, as they should."""
    path = copy / mutant.file
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        code = run_tests(copy, mutant.test.split(), log)
    finally:
        path.write_text(text, encoding="utf-8")
    killed = code == pytest.ExitCode.TESTS_FAILED or code == -signal.SIGALRM
    # A wrong line that breaks an import is reported as "interrupted"; it would prove nothing.
    return "" if killed else f"pytest's exit code is {code}"


def main() -> int:
    """Run the mutants; returns 1 if one survives or cannot be applied."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--first", type=int, default=1, help="number of the first mutant")
    parser.add_argument("--last", type=int, default=len(read()), help="number of the last mutant")
    options = parser.parse_args()
    chosen = [*enumerate(read(), start=1)][options.first - 1 : options.last]
    start, failures = time.monotonic(), 0
    sys.path.remove(str(ROOT / "tests"))  # modules of the tests come from the copy
    sys.dont_write_bytecode = True  # two versions of a file may have the same time and size
    os.environ |= {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import pandas  # noqa: F401
    import tensorboardX  # noqa: F401
    import torch  # noqa: F401
    from transformers import AutoModel, AutoTokenizer, BertModel  # noqa: F401

    with tempfile.TemporaryDirectory() as folder:
        copy, log = Path(folder, "copy"), Path(folder, "log")
        copy.mkdir()
        for name in _COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, copy / name)
        tests = {node for _, mutant in chosen for node in mutant.test.split()}
        if run_tests(copy, sorted(tests), log, 10 * _SECONDS) != 0:
            print(f"the tests fail without any mutant:\n{log.read_text()[-2000:]}")
            return 1
        print(f"the tests pass without a mutant, {time.monotonic() - start:.0f} s", flush=True)
        for number, mutant in chosen:
            begun = time.monotonic()
            reason = problem(mutant) or survives(mutant, copy, log)
            failures += bool(reason)
            outcome = f"SURVIVED ({reason})" if reason else "killed"
            change = f"{mutant.file}: {mutant.old} -> {mutant.new}".replace("\n", " ")
            print(f"{number:3} {time.monotonic() - begun:5.1f} s {outcome}: {change}", flush=True)
    minutes, killed = (time.monotonic() - start) / 60, len(chosen) - failures
    print(f"{len(chosen)} mutants, {killed} killed, {failures} survived, {minutes:.1f} minutes")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
