"""nbgrader grades each lesson: a model solution, a blank one and one with typical mistakes.

Run by `make course`. The claims of the lessons are read from the graded model solution.
"""

import os
import re
import shutil
import sys

import nbformat
import pytest
from wrong import WRONG

from repro.paths import ROOT

COURSE = ROOT / "notebooks" / "course"
pytestmark = [
    pytest.mark.course,
    pytest.mark.filterwarnings("ignore:Object of type:Warning"),  # of nbgrader's use of SQLAlchemy
]


@pytest.fixture(scope="session")
def teacher_cache(tmp_path_factory):
    """One cache for all workers, so that the teacher is trained once."""
    return tmp_path_factory.getbasetemp().parent / "course-cache"


@pytest.fixture
def nbgrader(tmp_path, monkeypatch, teacher_cache):
    """nbgrader's API on a course folder of its own, with the settings of this course."""
    pytest.importorskip("nbgrader", reason="nbgrader is not installed; make course installs it")
    from nbgrader.apps import NbGraderAPI
    from traitlets.config import PyFileConfigLoader

    monkeypatch.setenv("REPRO_CACHE", str(teacher_cache))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # two lessons run at once
    # nbgrader starts the command alembic
    monkeypatch.setenv("PATH", os.path.dirname(sys.executable), prepend=os.pathsep)
    config = PyFileConfigLoader("nbgrader_config.py", path=str(COURSE)).load_config()
    config.CourseDirectory.root = str(tmp_path)
    return NbGraderAPI(config=config)


def submit(folder, lesson, student, notebook):
    path = folder / "submitted" / student / lesson / f"{lesson}.ipynb"
    path.parent.mkdir(parents=True)
    nbformat.write(notebook, path)


def with_mistakes(notebook, mistakes):
    """A copy of a notebook with the solutions in `mistakes` in place of its own."""
    copy = nbformat.from_dict(notebook)
    cells = {cell.id: cell for cell in copy.cells}
    for name, (source, _) in mistakes.items():
        cells[name].source = source
    return copy


def points(api, lesson, student):
    """The points of each test cell, and the most that it gives."""
    with api.gradebook as gradebook:
        submission = gradebook.find_submission_notebook(lesson, lesson, student)
        return {grade.name: (grade.score, grade.max_score) for grade in submission.grades}


@pytest.mark.parametrize("lesson", sorted(WRONG))
def test_a_lesson_is_graded(nbgrader, tmp_path, lesson):
    shutil.copytree(COURSE / "source" / lesson, tmp_path / "source" / lesson)
    assert nbgrader.generate_assignment(lesson)["success"]
    student_version = nbformat.read(tmp_path / "release" / lesson / f"{lesson}.ipynb", 4)
    code = "".join(cell.source for cell in student_version.cells)
    assert "BEGIN" not in code and "END" not in code, "solutions and hidden tests are removed"

    master = nbformat.read(COURSE / "source" / lesson / f"{lesson}.ipynb", 4)
    submit(tmp_path, lesson, "model", master)
    submit(tmp_path, lesson, "blank", student_version)
    submit(tmp_path, lesson, "wrong", with_mistakes(student_version, WRONG[lesson]))
    for student in ("model", "blank", "wrong"):
        graded = nbgrader.autograde(lesson, student)
        assert graded["success"], graded

    best = points(nbgrader, lesson, "model")
    assert {name: score for name, (score, most) in best.items() if score != most} == {}
    assert {score for score, _ in points(nbgrader, lesson, "blank").values()} == {0}
    expected = dict.fromkeys(best, 0) | {
        test: score for _, kept in WRONG[lesson].values() for test, score in kept.items()
    }
    wrong = {name: score for name, (score, _) in points(nbgrader, lesson, "wrong").items()}
    assert wrong == expected
    assert 0 < sum(wrong.values()) < sum(most for _, most in best.values())
    CLAIMS[lesson](printed(tmp_path / "autograded" / "model" / lesson / f"{lesson}.ipynb"))


# what the lessons say can be seen in class


def printed(path):
    """What each cell of an executed notebook printed, by the cell's id."""
    return {
        cell.id: "".join(out.text for out in cell.outputs if out.output_type == "stream")
        for cell in nbformat.read(path, 4).cells
        if cell.cell_type == "code"
    }


def numbers(text):
    return [float(number) for number in re.findall(r"-?\d+\.\d+", text)]


def soft_targets(said):
    a, b, _ = numbers(said["experiment-students"])
    assert b > a + 5, "the teacher's answers on all lines are worth more than 200 labels"


def matching_layers(said):
    _, *plain, _, first, second = numbers(said["experiment-students"])
    assert first > plain[0] + 0.1 and second > plain[1] + 0.1, "patience brings the states together"


def sharing_and_swapping(said):
    stored = re.findall(r"([\d,]+) parameters in layers, (\d) runs", said["experiment-students"])
    assert stored == [("99,968", "2"), ("99,968", "4"), ("99,968", "4")]


def teacher_confidence(said):
    shares = [float(share) for share in re.findall(r": (\d+) %", said["hardness-figure"])]
    assert shares[0] > shares[1] + 3, "examples of which the teacher is unsure are harder"


def is_it_real(said):
    low = [float(low) for low in re.findall(r"\[([+-][\d.]+),", said["both-shown"])]
    high = [float(high) for high in re.findall(r", ([+-][\d.]+)\]", said["both-shown"])]
    assert low[0] > 0, "the difference between 100 labels and KD is real"
    assert low[2] < 0 < high[2], "a method does not differ from itself"


CLAIMS = dict(
    zip(
        sorted(WRONG),
        (soft_targets, matching_layers, sharing_and_swapping, teacher_confidence, is_it_real),
        strict=True,
    )
)
