"""The list of mutants fits the code; `make mutants` runs them."""

import run_mutants

from repro.paths import ROOT


def test_every_mutant_applies_and_names_tests_that_exist():
    mutants = run_mutants.read()
    assert len(mutants) >= 60
    assert [run_mutants.problem(mutant) for mutant in mutants if run_mutants.problem(mutant)] == []
    assert len({(m.file, m.old, m.new) for m in mutants}) == len(mutants)
    for mutant in mutants:
        for node in mutant.test.split():
            path, *names = node.partition("[")[0].split("::")
            assert all(f"def {name}(" in (ROOT / path).read_text() for name in names), node
            assert (ROOT / path).is_file(), node


def test_the_mutants_are_spread_over_the_packages():
    packages = {mutant.file.split("/")[1] for mutant in run_mutants.read()}
    required = {"analysis", "report", "methods", "models", "training", "runs", "config", "data"}
    assert packages >= required
