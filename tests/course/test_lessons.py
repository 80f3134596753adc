"""The master notebooks have the form that nbgrader and students need. Needs no nbgrader."""

import ast
import re

import nbformat
import pytest
from wrong import WRONG

from repro.paths import ROOT

MASTERS = sorted((ROOT / "notebooks" / "course" / "source").glob("*/*.ipynb"))
FLAGS = {"solution": (True, False, False), "tests": (False, True, True)}  # solution, grade, locked


@pytest.fixture(params=MASTERS, ids=lambda path: path.stem)
def master(request):
    return nbformat.read(request.param, as_version=4)


def kinds(notebook):
    """Names of the solution cells and of the test cells."""
    found = {"solution": [], "tests": []}
    for cell in notebook.cells:
        if "nbgrader" in cell.metadata:
            about = cell.metadata.nbgrader
            flags = about.solution, about.grade, about.locked
            (kind,) = [kind for kind, wanted in FLAGS.items() if wanted == flags]
            assert about.schema_version == 3 and about.grade_id == cell.id
            found[kind].append(cell)
    return found


def test_there_are_five_lessons():
    assert [path.stem for path in MASTERS] == [path.parent.name for path in MASTERS]
    assert [path.stem for path in MASTERS] == sorted(WRONG)
    assert len(MASTERS) == 5


def test_nothing_is_executed_and_nothing_is_local(master):
    nbformat.validate(master)
    code = [cell for cell in master.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    assert master.metadata.kernelspec.name == "python3"
    everything = "\n".join(cell.source for cell in master.cells)
    assert not re.search(r"[\"'](/|[A-Z]:\\)\w", everything), "an absolute path"
    assert "widget" not in everything, "graded notebooks run without a browser"


def test_a_lesson_has_the_data_that_its_text_describes():
    from repro.config.tasks import task
    from repro.data import glue
    from repro.runs import classroom

    train, dev = classroom.splits("mini-SST-2", 2000)
    clean = glue.load(task("mini-SST-2"), "train", 2000)
    assert train.texts == clean.texts
    assert (train.labels != clean.labels).sum() == 80, "4 % of the training labels are wrong"
    assert dev.labels.tolist() == glue.load(task("mini-SST-2"), "dev", 500).labels.tolist()


def test_a_teacher_is_trained_once(tmp_path, monkeypatch):
    from repro.runs import classroom

    monkeypatch.setenv("REPRO_CACHE", str(tmp_path))
    monkeypatch.setattr(classroom, "TEACHER_LAYERS", 1)
    monkeypatch.setattr(classroom, "TEACHER_EPOCHS", 1)
    first = classroom.load(examples=32)
    monkeypatch.setattr(classroom, "train_model", lambda *_, **__: pytest.fail("trained again"))
    again = classroom.load(examples=32)
    assert first.dev_states.shape == (500, 1, 64)
    assert first.dev_logits.equal(again.dev_logits)


def test_every_exercise_has_tests_with_points(master):
    cells = kinds(master)
    solutions = [cell.id for cell in cells["solution"]]
    for cell in cells["solution"]:
        assert cell.source.count("### BEGIN SOLUTION") == cell.source.count("### END SOLUTION") > 0
        assert any(test.id.startswith(f"{cell.id}-") for test in cells["tests"]), cell.id
    for test in cells["tests"]:
        assert test.id.rpartition("-")[0].removesuffix("-by") in solutions or "-by-" in test.id
        assert test.metadata.nbgrader.points > 0
        hidden = "### BEGIN HIDDEN TESTS" in test.source
        assert hidden == test.id.endswith("-hidden") == ("### END HIDDEN TESTS" in test.source)
        shown = re.sub(r"### BEGIN HIDDEN.*### END HIDDEN TESTS", "", test.source, flags=re.DOTALL)
        assert "assert" in shown, "students see at least one test"


def test_partial_credit_is_a_python_int(master):
    """A NumPy number is printed as np.int64(1), which nbgrader takes for full marks."""
    for test in kinds(master)["tests"]:
        last = ast.parse(test.source).body[-1]
        if isinstance(last, ast.Expr):
            assert re.match(r"int\(", ast.unparse(last)), test.id


def test_the_tests_of_an_exercise_directly_follow_it(master):
    """Otter needs this; and no test may need what another one defines."""
    names = [cell.id for cell in master.cells]
    cells = kinds(master)
    for cell in cells["solution"]:
        own = [test.id for test in cells["tests"] if test.id.startswith(f"{cell.id}-")]
        start = names.index(cell.id) + 1
        assert names[start : start + len(own)] == own
    defined, used_before = {}, []
    for test in cells["tests"]:
        nodes = [node for node in ast.walk(ast.parse(test.source)) if isinstance(node, ast.Name)]
        own = {node.id for node in nodes if isinstance(node.ctx, ast.Store)}
        used_before += [node.id for node in nodes if node.id in defined.keys() - own]
        defined |= dict.fromkeys(own, test.id)
    given = {
        node.id
        for cell in master.cells
        if cell.cell_type == "code" and cell not in cells["tests"]
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    assert set(used_before) <= given


def test_the_conversion_to_otter_keeps_exercises_and_points(master, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "notebooks" / "course"))
    import to_otter

    converted = to_otter.convert(master)
    text = "\n".join(cell.source for cell in converted.cells)
    cells = kinds(master)
    for mark, count in {
        "QUESTION": len(cells["solution"]),
        "TESTS": len(cells["solution"]),
    }.items():
        assert text.count(f"# BEGIN {mark}") == text.count(f"# END {mark}") == count
    points = [int(number) for number in re.findall(r"^points: (\d+)$", text, re.MULTILINE)]
    assert points == [test.metadata.nbgrader.points for test in cells["tests"]]
    assert "###" not in re.sub(r"^#+ .*$", "", text, flags=re.MULTILINE)
    for cell in converted.cells:
        if cell.cell_type == "code":
            ast.parse(cell.source)


def test_every_exercise_has_a_typical_mistake(master):
    lesson = next(path.stem for path in MASTERS if nbformat.read(path, 4) == master)
    assert list(WRONG[lesson]) == [cell.id for cell in kinds(master)["solution"]]
    tests = {cell.id: cell.metadata.nbgrader.points for cell in kinds(master)["tests"]}
    for name, (_, kept) in WRONG[lesson].items():
        assert kept.keys() <= tests.keys()
        of_exercise = {test: most for test, most in tests.items() if test.startswith(f"{name}-")}
        assert sum(kept.values()) < sum(of_exercise.values()), name
